//! Readers that take little at a time, and for long: the limits of a stall are the same for every protocol.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use hfs_core::progress::StallLimits;
use http::Request;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};

use super::http2::{body, send};
use super::peers::connect_tls;
use super::{Client, TestServer, noise, test_config, test_tls};
use crate::net::{Inherited, Listeners, NetConfig};

/// 10 KB/s.
const PIECE: usize = 512;
const PAUSE: Duration = Duration::from_millis(50);

/// A connection of which its reader takes a piece each [`PAUSE`], until it hurries.
struct Drip {
    stream: TcpStream,
    piece: usize,
    pause: Pin<Box<Sleep>>,
    hurries: Arc<AtomicBool>,
}

impl AsyncRead for Drip {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.hurries.load(Ordering::Relaxed) {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        ready!(self.pause.as_mut().poll(cx));
        let mut piece = vec![0; self.piece.min(buffer.remaining())];
        let mut room = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room))?;
        buffer.put_slice(room.filled());
        self.pause = Box::pin(sleep(PAUSE));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Drip {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// One way to read a file.
#[derive(Clone, Copy, Debug)]
struct Way {
    is_tls: bool,
    is_h2: bool,
    /// Of the server's socket; where it may grow, plain HTTP/1.1 is told of room in steps of a megabyte.
    send_buffer: Option<usize>,
    length: usize,
}

impl Way {
    /// Reads the file, and hurries after a while; whether it arrived.
    async fn read(self, limits: StallLimits, slow: Duration) -> bool {
        let (server, content) = self.serve(limits);
        let hurries = Arc::new(AtomicBool::new(false));
        let hurry = async {
            sleep(slow).await;
            hurries.store(true, Ordering::Relaxed);
        };
        let drip = connect(&server, &hurries).await;
        let (read, ()) = tokio::join!(self.file(drip), hurry);
        read.is_some_and(|read| read == content) && server.ending(0).await.complete
    }

    /// A server with a file, and that.
    fn serve(self, limits: StallLimits) -> (TestServer, Vec<u8>) {
        let keys = tempfile::tempdir().unwrap();
        let tls = self.is_tls.then(|| test_tls(keys.path(), ""));
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        if let Some(size) = self.send_buffer {
            listener.set_send_buffer_size(size).unwrap();
        }
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(1).unwrap();
        let mut inherited = Inherited::none();
        inherited.add_tcp(listener.into()).unwrap();
        let config = NetConfig { stall: limits, idle_timeout: limits.idle, tls, ..test_config() };
        let server = TestServer::on(Listeners::bind(&config.listen, inherited).unwrap(), config);
        let content = noise(self.length);
        server.store(&content);
        (server, content)
    }

    async fn file(self, drip: Drip) -> Option<Vec<u8>> {
        if !self.is_h2 {
            let mut client = match self.is_tls {
                true => Client::over(connect_tls(drip, "", &["http/1.1"], b"").await),
                false => Client::over(drip),
            };
            client.send("GET /file HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
            client.head().await?;
            return Some(client.rest().await);
        }
        let client = match self.is_tls {
            true => handshake(connect_tls(drip, "", &["h2"], b"").await).await,
            false => handshake(drip).await,
        };
        let request = Request::get("http://a.example/file").body(()).unwrap();
        body(send(&client, request, None).await.await.ok()?).await.ok()
    }
}

async fn connect(server: &TestServer, hurries: &Arc<AtomicBool>) -> Drip {
    let socket = TcpSocket::new_v4().unwrap();
    // What its kernel takes ahead is not slow.
    socket.set_recv_buffer_size(4 << 10).unwrap();
    let stream = socket.connect(server.tcp()).await.unwrap();
    Drip { stream, piece: PIECE, pause: Box::pin(sleep(PAUSE)), hurries: Arc::clone(hurries) }
}

/// HTTP/2 with a window that is not what limits.
async fn handshake(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> SendRequest<Bytes> {
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(16 << 20).initial_connection_window_size(16 << 20);
    let (client, connection) = builder.handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client
}

/// All ways at once.
async fn read_all(limits: StallLimits, slow: Duration) -> Vec<(Way, bool)> {
    let small = Some(16 << 10);
    let mut all = JoinSet::new();
    for (is_tls, is_h2, send_buffer, length) in [
        (false, false, None, 8 << 20),
        (true, false, small, 1 << 20),
        // All of it is handed on long before it is taken.
        (true, false, small, 100_000),
        (false, true, small, 1 << 20),
        (false, true, small, 80_000),
        (true, true, small, 1 << 20),
        (true, true, small, 200_000),
    ] {
        let way = Way { is_tls, is_h2, send_buffer, length };
        all.spawn(async move { (way, way.read(limits, slow).await) });
    }
    all.join_all().await
}

#[tokio::test]
async fn who_takes_little_but_goes_on_gets_everything() {
    let limits = StallLimits { idle: Duration::from_secs(2), min_rate: 1000, window: Duration::from_secs(4) };
    let cut: Vec<Way> = read_all(limits, Duration::from_secs(6))
        .await
        .into_iter()
        .filter_map(|(way, arrived)| (!arrived).then_some(way))
        .collect();
    assert!(cut.is_empty(), "cut: {cut:#?}");
}

/// At 20 KB/s a write takes three seconds, in which losses could have been seen.
#[tokio::test]
async fn over_tls_the_path_is_looked_at_while_a_write_goes_on() {
    let way = Way { is_tls: true, is_h2: false, send_buffer: Some(16 << 10), length: 1 << 20 };
    let (server, _content) = way.serve(StallLimits::default());
    let drip = Drip { piece: 2 * PIECE, ..connect(&server, &Arc::default()).await };
    assert!(timeout(Duration::from_secs(8), way.file(drip)).await.is_err(), "it takes minutes");
    assert!(!server.ending(0).await.complete);
    let samples = server.service.0.samples.load(Ordering::SeqCst);
    assert!(samples >= 3, "{samples}");
}
