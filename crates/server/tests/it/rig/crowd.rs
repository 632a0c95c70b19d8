//! [`Crowd`]: hundreds of clients of one kind, each with a connection of its own and one transfer on it.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{Method, Request};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

/// How they speak.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    /// HTTP/1.1 in cleartext.
    Plain,
    /// HTTP/1.1 over TLS.
    Tls,
    /// HTTP/2 over TLS.
    H2,
}

/// What a client takes into its kernel by itself: more would hide what the server holds.
const RECEIVE_BUFFER: u32 = 8 << 10;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

enum Client {
    H1(Box<dyn Stream>),
    H2(SendRequest<Bytes>, Option<ResponseFuture>),
}

/// The clients.
pub(crate) struct Crowd {
    runtime: Runtime,
    clients: Vec<Client>,
}

impl Crowd {
    /// `count` connections, each of which has had an answer.
    pub(crate) fn connect(way: Way, address: SocketAddr, ca: &Path, count: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let tls = (way != Way::Plain).then(|| connector(way, ca));
        let clients = runtime.block_on(async {
            let mut clients = Vec::new();
            for _ in 0..count {
                clients.push(connect(way, address, tls.as_ref()).await);
            }
            clients
        });
        Self { runtime, clients }
    }

    /// Each asks for a file, and takes nothing of it.
    pub(crate) fn ask(&mut self, target: &str) {
        self.runtime.block_on(async {
            for client in &mut self.clients {
                match client {
                    Client::H1(stream) => send(stream, head("GET", target, "").as_bytes()).await,
                    Client::H2(sender, answer) => {
                        let mut sender = sender.clone().ready().await.expect("room for a stream");
                        *answer = Some(sender.send_request(request(Method::GET, target), true).expect("sent").0);
                    }
                }
            }
        });
    }

    /// Each begins an upload of `length` bytes to a target of its own, sends the first `part` as far as the server lets
    /// it, and then nothing more.
    pub(crate) fn upload(&mut self, length: u64, part: usize, mut target: impl FnMut(usize) -> String) {
        let body = Bytes::from(vec![b'x'; part]);
        for (number, client) in self.clients.iter_mut().enumerate() {
            let (target, body) = (target(number), body.clone());
            match client {
                Client::H1(stream) => {
                    let head = head("PUT", &target, &format!("Content-Length: {length}\r\n"));
                    let sent = [head.as_bytes(), &body].concat();
                    // The kernel takes it, also where the server waits for memory.
                    self.runtime.block_on(send(stream, &sent));
                }
                Client::H2(sender, answer) => {
                    let mut request = request(Method::PUT, &target);
                    request.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
                    let sender = sender.clone();
                    let mut sender = self.runtime.block_on(sender.ready()).expect("room for a stream");
                    let (coming, mut stream) = sender.send_request(request, false).expect("sent");
                    *answer = Some(coming);
                    self.runtime.spawn(async move {
                        let mut body = body;
                        while !body.is_empty() {
                            stream.reserve_capacity(body.len());
                            let Some(Ok(room)) = poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
                            if stream.send_data(body.split_to(room.min(body.len())), false).is_err() {
                                return;
                            }
                        }
                        std::future::pending().await
                    });
                }
            }
        }
    }

    /// All but the last `count` leave; those take what they have asked for. Returns how many bytes of body each got.
    pub(crate) fn take(mut self, count: usize) -> Vec<u64> {
        let stay = self.clients.split_off(self.clients.len() - count);
        drop(std::mem::take(&mut self.clients));
        self.runtime.block_on(async {
            let taking: Vec<_> = stay.into_iter().map(|client| tokio::spawn(client.take())).collect();
            let mut lengths = Vec::new();
            for taken in taking {
                lengths.push(taken.await.expect("a client"));
            }
            lengths
        })
    }
}

impl Client {
    async fn take(self) -> u64 {
        match self {
            Self::H1(mut stream) => {
                let mut received = Vec::new();
                let head = loop {
                    let end = received.windows(4).position(|bytes| bytes == b"\r\n\r\n");
                    if let Some(end) = end {
                        break end + 4;
                    }
                    assert!(stream.read_buf(&mut received).await.expect("an answer") > 0, "{received:?}");
                };
                let text = String::from_utf8_lossy(&received[..head]).to_lowercase();
                let length = text.split_once("content-length: ").and_then(|(_, rest)| rest.split_once('\r'));
                let length: u64 = length.and_then(|(length, _)| length.parse().ok()).expect("a length");
                let left = length - (received.len() - head) as u64;
                let mut rest = stream.take(left);
                length - left + tokio::io::copy(&mut rest, &mut tokio::io::sink()).await.expect("the body")
            }
            Self::H2(_sender, answer) => {
                let mut body = answer.expect("asked").await.expect("an answer").into_body();
                let mut length = 0;
                while let Some(piece) = body.data().await {
                    let piece = piece.expect("the body");
                    length += piece.len() as u64;
                    body.flow_control().release_capacity(piece.len()).expect("a window");
                }
                length
            }
        }
    }
}

/// Sends it all, and leaves nothing in TLS.
async fn send(stream: &mut Box<dyn Stream>, bytes: &[u8]) {
    stream.write_all(bytes).await.expect("sent");
    stream.flush().await.expect("flushed");
}

fn head(method: &str, target: &str, headers: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

fn request(method: Method, target: &str) -> Request<()> {
    let uri = format!("https://localhost{target}");
    Request::builder().method(method).uri(uri).body(()).expect("a request")
}

fn connector(way: Way, ca: &Path) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).expect("certificate")).expect("a root");
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![if way == Way::H2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Arc::new(config).into()
}

async fn connect(way: Way, address: SocketAddr, tls: Option<&TlsConnector>) -> Client {
    let socket = TcpSocket::new_v4().expect("socket");
    socket.set_recv_buffer_size(RECEIVE_BUFFER).expect("a small buffer");
    let stream = socket.connect(address).await.expect("connection");
    stream.set_nodelay(true).expect("no delay");
    let mut stream: Box<dyn Stream> = match tls {
        None => Box::new(stream),
        Some(tls) => {
            let name = ServerName::try_from("localhost").expect("a name");
            Box::new(tls.connect(name, stream).await.expect("handshake"))
        }
    };
    if way != Way::H2 {
        send(&mut stream, head("GET", "/health", "").as_bytes()).await;
        assert!(stream.read(&mut [0; 4096]).await.expect("an answer") > 0);
        return Client::H1(stream);
    }
    // Its windows are not what limits.
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(16 << 20).initial_connection_window_size(16 << 20);
    let (sender, connection) = builder.handshake(stream).await.expect("handshake");
    tokio::spawn(connection);
    let mut sender = sender.ready().await.expect("room for a stream");
    let (answer, _) = sender.send_request(request(Method::GET, "/health"), true).expect("sent");
    assert_eq!(answer.await.expect("an answer").status(), 200);
    Client::H2(sender, None)
}
