//! Who is at the other end: the PROXY protocol and TLS.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Client, ListenAddress, TestServer, describe, noise, set_mode, test_tls};
use crate::net::{NetConfig, TlsAcceptor, TlsError};

const V1: &[u8] = b"PROXY TCP4 203.0.113.9 192.0.2.1 40000 443\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0f\xcb\x00\x71\x09\xc0\x00\x02\x01\x9c\x40\x01\xbb\x04\x00\x00";
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";
const GET: &[u8] = b"GET /peer HTTP/1.1\r\nHost: a\r\n\r\n";

fn behind_a_proxy(config: &mut NetConfig) {
    config.proxy_protocol = true;
    config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
}

#[tokio::test]
async fn a_trusted_proxy_names_its_client() {
    let server = TestServer::with(behind_a_proxy).await;
    for (header, peer) in [(V1, "203.0.113.9"), (V2, "203.0.113.9"), (V2_LOCAL, "-"), (b"PROXY UNKNOWN\r\n", "-")] {
        let mut client = server.client().await;
        // In one packet with the request, and byte by byte.
        client.send([header, GET].concat()).await;
        assert_eq!(client.reply().await.text(), format!("127.0.0.1 {peer} false a"));
        client.send(GET).await;
        assert_eq!(client.reply().await.text(), format!("127.0.0.1 {peer} false a"));
        let mut client = server.client().await;
        for byte in header {
            client.send([*byte]).await;
        }
        client.send(GET).await;
        assert_eq!(client.reply().await.text(), format!("127.0.0.1 {peer} false a"));
    }
}

#[tokio::test]
async fn a_trusted_proxy_that_names_nobody_is_refused() {
    let server = TestServer::with(|config| {
        behind_a_proxy(config);
        config.header_timeout = Duration::from_millis(300);
    })
    .await;
    for (n, header) in [GET, b"PROXY TCP4 x y 1 2\r\n", b"PROXY TCP4 203.0.1"].into_iter().enumerate() {
        let mut client = server.client().await;
        client.try_send(header).await;
        assert_eq!(client.rest().await, b"");
        server.seen.rejected.reaches(n + 1).await;
    }
}

#[tokio::test]
async fn nobody_else_is_believed() {
    let untrusted = |config: &mut NetConfig| {
        config.proxy_protocol = true;
        config.trusted_proxies = vec!["192.0.2.0/24".parse().unwrap()];
    };
    let switched_off = |config: &mut NetConfig| config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    for server in [TestServer::with(untrusted).await, TestServer::with(switched_off).await] {
        for header in [V1, V2] {
            let mut client = server.client().await;
            client.try_send([header, GET].concat()).await;
            assert_eq!(client.reply().await.status, 400);
        }
        let mut client = server.client().await;
        assert_eq!(client.get("/peer").await.text(), "127.0.0.1 - false a.example");
    }
}

#[tokio::test]
async fn a_unix_socket_is_a_proxy_where_it_is_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hfs.sock");
    let server = TestServer::with(|config| {
        config.proxy_protocol = true;
        config.trust_unix = true;
        config.listen = vec![ListenAddress::Unix(path.clone())];
    })
    .await;
    let mut client = Client::unix(&path).await;
    client.send([V2, GET].concat()).await;
    assert_eq!(client.reply().await.text(), "unix 203.0.113.9 false a");
    assert_eq!(server.seen.rejected.value(), 0);
}

/// Trusts the certificate called `name`, and nothing else.
pub(super) async fn connect_tls<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    name: &str,
    alpn: &[&str],
    first: &[u8],
) -> TlsStream<S> {
    tokio::io::AsyncWriteExt::write_all(&mut stream, first).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(test_tls(directory.path(), name).cert).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

#[tokio::test]
async fn http_1_1_runs_over_tls_behind_a_proxy_header() {
    let keys = tempfile::tempdir().unwrap();
    let server = TestServer::with(|config| {
        behind_a_proxy(config);
        config.tls = Some(test_tls(keys.path(), ""));
    })
    .await;
    let content = noise(3_456_789);
    server.store(&content);
    let stream = TcpStream::connect(server.tcp()).await.unwrap();
    let mut client = Client::over(connect_tls(stream, "", &["http/1.1"], V1).await);
    assert_eq!(client.get("/peer").await.text(), "127.0.0.1 203.0.113.9 true a.example");
    assert!(client.get("/file").await.body == content);
    assert_eq!(client.put("/echo", &content).await.text(), describe(&content));
    assert_eq!(client.put("/refused", &content).await.status, 403);
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn a_tls_server_speaks_nothing_else() {
    let keys = tempfile::tempdir().unwrap();
    let server = TestServer::with(|config| config.tls = Some(test_tls(keys.path(), ""))).await;
    let mut client = server.client().await;
    client.send(GET).await;
    // At most a TLS alert.
    assert!(!String::from_utf8_lossy(&client.rest().await).contains("HTTP"));
    server.seen.rejected.reaches(1).await;
}

#[tokio::test]
async fn a_certificate_is_replaced_only_by_one_that_works() {
    let keys = tempfile::tempdir().unwrap();
    let (first, second) = (test_tls(keys.path(), ""), test_tls(keys.path(), "other-"));
    let acceptor = Arc::new(TlsAcceptor::load(&first).unwrap());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = Arc::clone(&acceptor);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = serving.accept(stream.into()).await;
        }
    });
    let connect = async |name| connect_tls(TcpStream::connect(address).await.unwrap(), name, &[], b"").await;
    connect("").await;

    let mixed = crate::net::TlsConfig { cert: first.cert.clone(), key: second.key.clone() };
    assert!(matches!(acceptor.reload(&mixed), Err(TlsError::Unusable { .. })));
    set_mode(&second.key, 0o644);
    assert!(matches!(acceptor.reload(&second), Err(TlsError::Exposed { mode: 0o644, .. })));
    let missing = crate::net::TlsConfig { key: keys.path().join("nowhere"), ..second.clone() };
    assert!(matches!(acceptor.reload(&missing), Err(TlsError::Read { .. })));
    let swapped = crate::net::TlsConfig { cert: first.key.clone(), key: first.key.clone() };
    assert!(matches!(acceptor.reload(&swapped), Err(TlsError::Read { what: "a certificate", .. })));
    connect("").await;

    set_mode(&second.key, 0o640);
    acceptor.reload(&second).unwrap();
    connect("other-").await;
}
