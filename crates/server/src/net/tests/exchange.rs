//! Requests and answers on one HTTP/1.1 connection.

use std::sync::Arc;
use std::time::Duration;

use super::client::put_head;
use super::{Client, Echo, ListenAddress, State, TestServer, describe, noise, test_config};
use crate::http::exchange::Peer;
use crate::net::Shutdown;
use crate::net::accept::{Link, connection};

#[tokio::test]
async fn a_connection_is_kept_for_request_after_request() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    for n in 0..20 {
        let reply = client.get(&format!("/{n}?q")).await;
        assert_eq!((reply.status, reply.text()), (200, format!("/{n}?q").as_str()));
        assert!(!reply.closes() && reply.head.contains("date: "));
    }
    let body = noise(100_000);
    assert_eq!(client.put("/echo", &body).await.text(), describe(&body));
    assert_eq!(client.get("/large").await.body.len(), 1 << 20);
    assert_eq!(server.seen.opened.value(), 1);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = TestServer::start().await;
    let file = noise(3_000_000);
    server.store(&file);
    let mut client = server.client().await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let mut requests = get("/a") + &get("/file") + &get("/b") + &put_head("/echo", 5, "") + "hello";
    requests += "PUT /echo HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    requests += &get("/file");
    client.send(requests).await;
    assert_eq!(client.reply().await.text(), "/a");
    assert!(client.reply().await.body == file);
    assert_eq!(client.reply().await.text(), "/b");
    assert_eq!(client.reply().await.text(), describe(b"hello"));
    assert_eq!(client.reply().await.text(), describe(b"abc"));
    assert!(client.reply().await.body == file);
}

#[tokio::test]
async fn chunks_arrive_however_they_are_cut() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let body = noise(20_000);
    let mut wire = b"PUT /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(997) {
        wire.extend_from_slice(format!("{:x};x=y\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\nTrailer: dropped\r\n\r\n");
    for piece in wire.chunks(101) {
        client.send(piece).await;
    }
    assert_eq!(client.reply().await.text(), describe(&body));
    assert_eq!(client.get("/next").await.status, 200);
}

#[tokio::test]
async fn http_1_0_closes_unless_it_asks_not_to() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    let reply = client.reply().await;
    assert!(reply.head.contains("connection: keep-alive\r\n"));
    client.send("GET /b HTTP/1.0\r\n\r\n").await;
    let reply = client.reply().await;
    assert_eq!((reply.text(), reply.closes()), ("/b", true));
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn a_head_says_the_length_of_what_does_not_follow() {
    let server = TestServer::start().await;
    server.store(b"12345");
    let mut client = server.client().await;
    for (request, length) in [("HEAD /sized", Some(123_456_789)), ("HEAD /x", Some(2)), ("GET /none", None)] {
        client.send(format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert_eq!(client.head().await.unwrap().length(), length, "{request}");
    }
    assert_eq!(client.get("/file").await.body, b"12345");
}

#[tokio::test]
async fn a_client_that_asks_for_the_end_gets_it() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.send("GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(client.reply().await.closes());
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn a_client_that_stops_sending_still_gets_its_answers() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.half_close().await;
    assert_eq!(client.reply().await.text(), "/a");
    assert_eq!(client.reply().await.text(), "/b");
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn a_unix_socket_serves_like_tcp() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hfs.sock");
    let server = TestServer::with(|config| config.listen = vec![ListenAddress::Unix(path.clone())]).await;
    let file = noise(2_500_000);
    server.store(&file);
    let mut client = Client::unix(&path).await;
    assert!(client.get("/file").await.body == file);
    assert_eq!(client.get("/peer").await.text(), "unix - false a.example");
    assert_eq!(client.put("/echo", &file).await.text(), describe(&file));
}

#[tokio::test]
async fn half_a_head_is_told_and_an_idle_connection_is_not() {
    let server = TestServer::with(|config| {
        config.header_timeout = Duration::from_millis(200);
        config.idle_timeout = Duration::from_millis(200);
    })
    .await;
    let mut silent = server.client().await;
    let mut slow = server.client().await;
    let mut kept = server.client().await;
    slow.send("GET / HTTP/1.1\r\nHos").await;
    assert_eq!(kept.get("/a").await.status, 200);
    let reply = slow.reply().await;
    assert_eq!((reply.status, reply.closes()), (408, true));
    for client in [&mut silent, &mut kept, &mut slow] {
        assert_eq!(client.rest().await, b"");
    }
    server.seen.closed.reaches(3).await;
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_their_turn() {
    let server = TestServer::with(|config| config.max_connections = 1).await;
    let mut first = server.client().await;
    assert_eq!(first.get("/a").await.status, 200);
    let mut second = server.client().await;
    second.send("GET /b HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(first.get("/a").await.status, 200);
    assert_eq!(server.seen.opened.value(), 1);
    drop(first);
    assert_eq!(second.reply().await.text(), "/b");
}

#[tokio::test]
async fn an_idle_connection_is_small() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let link = Link {
        config: Arc::new(test_config()),
        service: Echo(Arc::new(State::in_directory("".as_ref()))),
        peer: Peer::default(),
        phases: Shutdown::new().watch(),
        events: Arc::new(()),
    };
    let task = connection(stream.into(), Box::new(link), None, ());
    assert!(size_of_val(&task) < 1024, "{} bytes", size_of_val(&task));
}
