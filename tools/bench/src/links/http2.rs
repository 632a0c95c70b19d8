//! [`Client`]: transfers over HTTP/2 and TLS, on connections whose own windows are never what limits.

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use http::{Method, Request};
use rustls::ClientConfig;
use socket2::SockRef;
use tokio::runtime;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::http::BYTES;
use crate::tls::Certificate;

/// What a server may have under way to us: several times what any of the links holds, as browsers have it.
const WINDOW: u32 = 16 << 20;
/// Body bytes given to the connection at once.
const PIECE: usize = 64 << 10;
/// A server that takes so long to begin fails the run.
const SILENCE: Duration = Duration::from_secs(60);

/// What trusts the servers.
#[derive(Debug)]
pub(super) struct Client(Arc<ClientConfig>);

impl Client {
    /// Of servers with this certificate.
    pub(super) fn new(certificate: &Certificate) -> Result<Self> {
        let mut config = ClientConfig::clone(&*certificate.client()?);
        config.alpn_protocols = vec![b"h2".to_vec()];
        // Each connection begins from nothing.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Self(Arc::new(config)))
    }

    /// Downloads for that long; returns body bits per second.
    pub(super) fn get(&self, from: Ipv4Addr, server: SocketAddr, target: &str, span: Duration) -> Result<f64> {
        let begin = Instant::now();
        let socket = netlab::connect(from, server)?;
        self.talk(socket, server, async |mut connection| {
            let (answer, _) = connection.ask(Method::GET, target, None).await?;
            let answer = timeout(SILENCE, answer).await.context("no answer")??;
            ensure!(answer.status() == 200, "GET {target}: {}", answer.status());
            let (mut body, mut received) = (answer.into_body(), 0);
            while let Ok(piece) = timeout(span.saturating_sub(begin.elapsed()), body.data()).await {
                let piece = piece.context("the body has ended")??;
                received += piece.len() as u64;
                body.flow_control().release_capacity(piece.len())?;
            }
            Ok(received as f64 * 8.0 / begin.elapsed().as_secs_f64())
        })
    }

    /// Uploads for that long; returns bits per second that the server's kernel has acknowledged.
    pub(super) fn put(
        &self,
        from: Ipv4Addr,
        server: SocketAddr,
        target: &str,
        size: u64,
        span: Duration,
    ) -> Result<f64> {
        let begin = Instant::now();
        let socket = netlab::connect(from, server)?;
        let seen = socket.try_clone()?;
        self.talk(socket, server, async |mut connection| {
            let (answer, body) = connection.ask(Method::PUT, target, Some(size)).await?;
            let sending = async {
                send(body, size).await?;
                Ok(answer.await?.status())
            };
            if let Ok(ended) = timeout(span.saturating_sub(begin.elapsed()), sending).await {
                ended.and_then(|status: http::StatusCode| anyhow::bail!("the server ended the upload: {status}"))?;
            }
            let acked = hfs_sock::tcp_info(seen.as_fd())?.bytes_acked.context("this kernel does not count bytes")?;
            Ok(acked as f64 * 8.0 / begin.elapsed().as_secs_f64())
        })
    }

    /// Keeps `at_once` of them under way for that long; returns body bits per second of those that came to their end.
    pub(super) fn many(
        &self,
        from: Ipv4Addr,
        server: SocketAddr,
        at_once: usize,
        span: Duration,
        mut next: impl FnMut() -> Result<Small>,
    ) -> Result<f64> {
        let begin = Instant::now();
        let socket = netlab::connect(from, server)?;
        self.talk(socket, server, async |connection| {
            let (mut under_way, mut moved) = (JoinSet::new(), 0);
            loop {
                while under_way.len() < at_once {
                    under_way.spawn(small(connection.clone(), next()?));
                }
                let left = span.saturating_sub(begin.elapsed());
                let Ok(Some(ended)) = timeout(left, under_way.join_next()).await else { break };
                moved += ended??;
            }
            ensure!(moved > 0, "nothing came to its end");
            Ok(moved as f64 * 8.0 / begin.elapsed().as_secs_f64())
        })
    }

    /// Uploads all of it.
    pub(super) fn put_whole(&self, server: SocketAddr, target: &str, size: u64) -> Result<()> {
        self.talk(TcpStream::connect(server)?, server, async |mut connection| {
            let (answer, body) = connection.ask(Method::PUT, target, Some(size)).await?;
            timeout(SILENCE, send(body, size)).await.context("the upload hangs")??;
            let status = timeout(SILENCE, answer).await.context("no answer")??.status();
            ensure!(status == 201, "PUT {target}: {status}");
            Ok(())
        })
    }

    /// Makes a connection of the socket, on the calling thread and so in its network. What is queued on it at the end is
    /// thrown away: it would be in the way of the next transfer.
    fn talk<R>(
        &self,
        socket: TcpStream,
        server: SocketAddr,
        work: impl AsyncFnOnce(Connection) -> Result<R>,
    ) -> Result<R> {
        socket.set_nonblocking(true)?;
        SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
        runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
            let socket = tokio::net::TcpStream::from_std(socket)?;
            let (requests, connection) = timeout(SILENCE, async {
                let tls = TlsConnector::from(Arc::clone(&self.0)).connect(server.ip().into(), socket).await?;
                let mut builder = h2::client::Builder::new();
                builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
                anyhow::Ok(builder.handshake(tls).await?)
            })
            .await
            .context("no connection")??;
            // Ends with the runtime.
            tokio::spawn(connection);
            work(Connection { requests, server }).await
        })
    }
}

/// One of many bodies.
#[derive(Debug)]
pub(super) struct Small {
    pub(super) target: String,
    /// Its size, where it is sent and not fetched.
    pub(super) upload: Option<u64>,
}

/// Sends or fetches it; returns its bytes.
async fn small(mut connection: Connection, Small { target, upload }: Small) -> Result<u64> {
    let method = if upload.is_some() { Method::PUT } else { Method::GET };
    let (answer, body) = connection.ask(method, &target, upload).await?;
    if let Some(size) = upload {
        send(body, size).await?;
    }
    let answer = answer.await?;
    ensure!(answer.status() == if upload.is_some() { 201 } else { 200 }, "{target}: {}", answer.status());
    let (mut body, mut received) = (answer.into_body(), 0);
    while let Some(piece) = body.data().await {
        let piece = piece?;
        received += piece.len() as u64;
        body.flow_control().release_capacity(piece.len())?;
    }
    Ok(upload.unwrap_or(received))
}

/// One that is open.
#[derive(Clone)]
struct Connection {
    requests: SendRequest<Bytes>,
    server: SocketAddr,
}

impl Connection {
    /// Sends the head of a request, which announces a body or has none.
    async fn ask(
        &mut self,
        method: Method,
        target: &str,
        body: Option<u64>,
    ) -> Result<(ResponseFuture, SendStream<Bytes>)> {
        let uri = format!("https://{}{target}", self.server);
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(size) = body {
            request = request.header(http::header::CONTENT_LENGTH, size);
        }
        let mut requests = self.requests.clone().ready().await?;
        Ok(requests.send_request(request.body(())?, body.is_none())?)
    }
}

/// Sends a body of that size, as fast as the other side's windows let it.
async fn send(mut stream: SendStream<Bytes>, size: u64) -> Result<()> {
    let mut left = size;
    while left > 0 {
        stream.reserve_capacity(usize::try_from(left)?.min(PIECE));
        let room = poll_fn(|cx| stream.poll_capacity(cx)).await.context("the server ended the upload")??;
        let piece = room.min(usize::try_from(left)?);
        left -= piece as u64;
        stream.send_data(Bytes::from_static(&BYTES[..piece]), left == 0)?;
    }
    Ok(())
}
