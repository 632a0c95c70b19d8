//! [`Client`]: one client of one server, over HTTP/1.1 or HTTP/2, in cleartext or over TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use h2::client::SendRequest;
use http::{Request, Uri};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::http::{Connection, Response};
use super::tls::testdata;

const PATIENCE: Duration = Duration::from_secs(60);

/// What carries requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Carrier {
    Http1,
    Http1Tls,
    Http2,
    Http2Tls,
}

impl Carrier {
    pub(crate) const ALL: [Self; 4] = [Self::Http1, Self::Http1Tls, Self::Http2, Self::Http2Tls];

    pub(crate) fn is_tls(self) -> bool {
        matches!(self, Self::Http1Tls | Self::Http2Tls)
    }
}

/// A connection of this carrier, made anew when the server has closed it.
pub(crate) struct Client {
    speaks: Speaks,
    /// Drives what is not of `std::net`.
    runtime: Runtime,
}

enum Speaks {
    Http1 { address: SocketAddr, connection: Option<Connection> },
    Http2 { requests: SendRequest<Bytes>, origin: String },
}

impl Client {
    /// A client of the server at `address`, whose certificate is the usual one.
    pub(crate) fn open(address: SocketAddr, carrier: Carrier) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let http1 = |address| Speaks::Http1 { address, connection: None };
        let speaks = match carrier {
            Carrier::Http1 => http1(address),
            Carrier::Http1Tls => http1(runtime.block_on(tunnel(address))?),
            Carrier::Http2 => {
                runtime.block_on(async { http2(TcpStream::connect(address).await?, "http", address).await })?
            }
            Carrier::Http2Tls => {
                runtime.block_on(async { http2(connect_tls(address, "h2").await?, "https", address).await })?
            }
        };
        Ok(Self { speaks, runtime })
    }

    /// As [`Connection::request`].
    pub(crate) fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> io::Result<Response> {
        match &mut self.speaks {
            Speaks::Http1 { address, connection } => {
                let mut open = connection.take().map_or_else(|| Connection::open(*address), Ok)?;
                let answer = open.request(method, target, headers, body)?;
                *connection = (answer.header("connection") != Some("close")).then_some(open);
                Ok(answer)
            }
            Speaks::Http2 { requests, origin } => {
                let uri: Uri = format!("{origin}{target}").parse().map_err(io::Error::other)?;
                let request =
                    headers.iter().fold(Request::builder().method(method).uri(uri), |request, (name, value)| {
                        request.header(*name, *value)
                    });
                let request = match body {
                    Some(body) => request.header("content-length", body.len()),
                    None => request,
                };
                let request = request.body(()).map_err(io::Error::other)?;
                let body = Bytes::copy_from_slice(body.unwrap_or_default());
                let exchanged = async { timeout(PATIENCE, exchange(requests.clone(), request, body)).await };
                self.runtime.block_on(exchanged)?.map_err(io::Error::other)
            }
        }
    }
}

/// The address of a tunnel of TLS to the server, for a client that speaks HTTP/1.1 in cleartext.
async fn tunnel(server: SocketAddr) -> io::Result<SocketAddr> {
    let entry = TcpListener::bind("127.0.0.1:0").await?;
    let address = entry.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut near, _)) = entry.accept().await {
            tokio::spawn(async move {
                let mut far = connect_tls(server, "http/1.1").await?;
                copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    Ok(address)
}

async fn connect_tls(server: SocketAddr, protocol: &str) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(testdata().join("cert.pem")).map_err(io::Error::other)?;
    roots.add(certificate).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(io::Error::other)?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(server).await?).await
}

async fn http2(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    scheme: &str,
    server: SocketAddr,
) -> io::Result<Speaks> {
    let (requests, connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    Ok(Speaks::Http2 { requests, origin: format!("{scheme}://{server}") })
}

/// One request and its whole answer.
async fn exchange(requests: SendRequest<Bytes>, request: Request<()>, body: Bytes) -> Result<Response, h2::Error> {
    let mut requests = requests.ready().await?;
    let (answer, stream) = requests.send_request(request, body.is_empty())?;
    let (answer, ()) = tokio::join!(answer, send(stream, body));
    let (head, mut stream) = answer?.into_parts();
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let mut response = Response { status: head.status.as_u16(), headers, body: Vec::new() };
    while let Some(piece) = stream.data().await {
        let piece = piece?;
        stream.flow_control().release_capacity(piece.len())?;
        response.body.extend_from_slice(&piece);
    }
    Ok(response)
}

/// Sends the body, as far as the server wants it.
async fn send(mut stream: SendStream<Bytes>, mut body: Bytes) {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let Some(Ok(room)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
        let piece = body.split_to(room.min(body.len()));
        if stream.send_data(piece, body.is_empty()).is_err() {
            return;
        }
    }
}
