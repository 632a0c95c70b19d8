//! Request bodies: who waits for whom, and what a client sees that is refused early.

use std::io::{Read, Write};

use super::client::{Client, Reply, put_head};
use super::{ListenAddress, TestServer, describe, noise};

const EXPECT: &str = "Expect: 100-continue\r\n";

#[tokio::test]
async fn a_wanted_body_is_asked_for() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    for _ in 0..2 {
        client.send(put_head("/echo", 5, EXPECT)).await;
        assert_eq!(client.reply().await.status, 100);
        client.send("hello").await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.text()), (201, describe(b"hello").as_str()));
    }
}

#[tokio::test]
async fn an_unwanted_body_is_not_asked_for() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.send(put_head("/refused", 5_000_000, EXPECT)).await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.closes()), (403, true));
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn nobody_is_asked_for_what_is_already_there() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.send(put_head("/echo", 5, EXPECT) + "hello").await;
    assert_eq!(client.reply().await.status, 201);
    client.send(put_head("/refused", 5, EXPECT) + "hello").await;
    assert_eq!(client.reply().await.status, 403);
    assert_eq!(client.get("/next").await.text(), "/next");
}

/// Writes everything before it reads anything, as many HTTP libraries do.
fn blocking_put(address: std::net::SocketAddr, path: &str, body: &[u8]) -> String {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(put_head(path, body.len(), "").as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test]
async fn an_early_refusal_reaches_a_client_that_writes_everything_first() {
    let server = TestServer::start().await;
    let address = server.tcp();
    for (path, status) in [("/refused", 403), ("/first", 409), ("/direct", 507)] {
        let body = noise(10_000_000);
        let answer = tokio::task::spawn_blocking(move || blocking_put(address, path, &body)).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
        assert!(answer.contains("connection: close"));
    }
}

#[tokio::test]
async fn an_early_refusal_does_not_wait_for_the_body() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.send(put_head("/refused", 10_000_000, "")).await;
    assert_eq!(client.reply().await.status, 403);
}

#[tokio::test]
async fn a_short_unread_body_does_not_cost_the_connection() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    for path in ["/refused", "/first"] {
        let reply = client.put(path, &noise(500_000)).await;
        assert!(reply.status > 400 && !reply.closes());
    }
    assert_eq!(client.get("/next").await.text(), "/next");
}

#[tokio::test]
async fn a_body_of_any_size_arrives_whole() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    for length in [0, 1, 4095, 4096, 16_384, 65_537, 5_000_000] {
        let body = noise(length);
        assert_eq!(client.put("/echo", &body).await.text(), describe(&body));
    }
}

#[tokio::test]
async fn a_broken_upload_is_broken_for_the_handler() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.send(put_head("/echo", 1000, "") + "not a thousand bytes").await;
    client.half_close().await;
    assert_eq!(client.reply().await.status, 400);
    let mut client = server.client().await;
    client.send("PUT /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n").await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.closes()), (400, true));
    assert_eq!(client.rest().await, b"");
}

/// How a server answers an upload in chunks and what comes with it, of which it reads nothing before all of it is there.
async fn with_requests_ahead(ahead: &[u8]) -> (Reply, Client) {
    const LENGTH: usize = 100_000;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    // What is written to it is there.
    let server = TestServer::with(|config| config.listen = vec![ListenAddress::Unix(path.clone())]).await;
    let mut client = Client::unix(&path).await;
    let head = "PUT /late HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = [format!("{LENGTH:x}\r\n").as_bytes(), &[7; LENGTH], b"\r\n0\r\n\r\n"].concat();
    client.send([head.as_bytes(), &chunk, ahead].concat()).await;
    server.service.0.entered.notified().await;
    server.service.0.release.notify_waiters();
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.text()), (201, LENGTH.to_string().as_str()));
    (reply, client)
}

#[tokio::test]
async fn requests_ahead_of_their_turn_are_answered_and_not_held_without_bound() {
    let ahead = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    let (reply, mut client) = with_requests_ahead(&ahead.repeat(400)).await;
    assert!(!reply.closes());
    for _ in 0..400 {
        assert_eq!(client.reply().await.text(), "/next");
    }
    let (reply, mut client) = with_requests_ahead(&ahead.repeat(1600)).await;
    assert!(reply.closes(), "54 KB");
    assert_eq!(client.rest().await, b"");
}
