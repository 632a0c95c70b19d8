//! Requests that are none: a refusal or the end of the connection, never a 2xx, never a hang.

use super::TestServer;

/// `^` stands for CRLF.
const CASES: &[&str] = &[
    "GET / HTTP/1.1^^",
    "GET / HTTP/1.1^Host: a^Host: a^^",
    "GET / HTTP/1.1^Host: a^Host: b^^",
    "GET / HTTP/1.1^Host: ^^",
    "GET / HTTP/1.1^Host: a b^^",
    "GET / HTTP/1.1^Host : a^^",
    "GET / HTTP/1.1^ Host: a^^",
    "GET / HTTP/1.1^Host: a^X: 1^ folded^^",
    "GET / HTTP/1.1\nHost: a\n\n",
    "GET / HTTP/1.1^Host: a\nX: 1^^",
    "GET / HTTP/1.1^Host: a\rX: 1^^",
    "GET / HTTP/1.1^Host: a^X: \0^^",
    "GET / HTTP/1.1^Host: a^X\0: 1^^",
    "GET / HTTP/1.1^Host: a^X: \x07^^",
    "GET / HTTP/1.1^Host: a^: 1^^",
    "GET / HTTP/1.1^Host: a^no colon^^",
    "GET / HTTP/1.1^Host: a^X Y: 1^^",
    "GET  / HTTP/1.1^Host: a^^",
    "GET /  HTTP/1.1^Host: a^^",
    " GET / HTTP/1.1^Host: a^^",
    "GET\t/\tHTTP/1.1^Host: a^^",
    "GET / x HTTP/1.1^Host: a^^",
    "GET /^Host: a^^",
    "GET / HTTP/1.1 ^Host: a^^",
    "GET / http/1.1^Host: a^^",
    "GET / HTTP/2.0^Host: a^^",
    "GET / HTTP/1.10^Host: a^^",
    "GET / HTTP/3.1^Host: a^^",
    "GET x HTTP/1.1^Host: a^^",
    "GET /#f HTTP/1.1^Host: a^^",
    "G@T / HTTP/1.1^Host: a^^",
    "GET http://b/ HTTP/1.1^Host: a^^",
    "GET / HTTP/1.1^Host: a^Expect: bogus^^",
    "^^^GET / HTTP/1.1^Host: a^^",
    "PUT /echo HTTP/1.1^Host: a^Content-Length: 5^Transfer-Encoding: chunked^^hello",
    "PUT /echo HTTP/1.1^Host: a^Content-Length: 5^Content-Length: 5^^hello",
    "PUT /echo HTTP/1.1^Host: a^Content-Length: 5, 5^^hello",
    "PUT /echo HTTP/1.1^Host: a^Content-Length: +5^^hello",
    "PUT /echo HTTP/1.1^Host: a^Content-Length: -5^^hello",
    "PUT /echo HTTP/1.1^Host: a^Content-Length: 0x5^^hello",
    "PUT /echo HTTP/1.1^Host: a^Content-Length: ^^hello",
    "PUT /echo HTTP/1.1^Host: a^Content-Length: 99999999999999999999^^hello",
    "PUT /echo HTTP/1.1^Host: a^Transfer-Encoding: gzip^^hello",
    "PUT /echo HTTP/1.1^Host: a^Transfer-Encoding: chunked, chunked^^0^^",
    "PUT /echo HTTP/1.1^Host: a^Transfer-Encoding: xchunked^^0^^",
    "PUT /echo HTTP/1.0^Host: a^Transfer-Encoding: chunked^^0^^",
    "PUT /echo HTTP/1.1^Host: a^Transfer-Encoding: chunked^^-1^^",
    "PUT /echo HTTP/1.1^Host: a^Transfer-Encoding: chunked^^5\nhello\n0\n\n",
    "PUT /echo HTTP/1.1^Host: a^Transfer-Encoding: chunked^^5^helloX0^^",
    "PUT /echo HTTP/1.1^Host: a^Transfer-Encoding: chunked^^ffffffffffffffffff^",
    "PUT /echo HTTP/1.1^Host: a^Transfer-Encoding: chunked^^0^bad trailer^^",
    "PRI * HTTP/2.0^^XX^^",
    "PROXY TCP4 1.2.3.4 1.2.3.4 1 2^GET / HTTP/1.1^Host: a^^",
    "\x16\x03\x01\x02\0\x01\0\x01",
];

#[tokio::test]
async fn a_malformed_request_is_refused_and_the_connection_ends() {
    let server = TestServer::start().await;
    for case in CASES {
        let mut client = server.client().await;
        client.try_send(case.replace('^', "\r\n")).await;
        let answer = String::from_utf8(client.rest().await).unwrap();
        let mut words = answer.split(' ');
        let (version, status) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        assert_eq!(version, "HTTP/1.1", "{case:?}: {answer:?}");
        assert!(status.starts_with('4') || ["501", "505"].contains(&status), "{case:?}: {answer:?}");
        assert!(answer.contains("connection: close\r\n"), "{case:?}: {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{case:?}: {answer:?}");
    }
    // All but the bodies that broke behind a good head, which the service answers.
    let refused = server.seen.refused.value();
    assert_eq!(refused, CASES.len() - 5);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let server = TestServer::start().await;
    let path = "x".repeat(100_000);
    let lines: String = (0..200).map(|n| format!("x{n}: 1\r\n")).collect();
    for (head, status) in [
        (format!("GET /{path} HTTP/1.1\r\n"), 414),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {path}\r\n\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"), 431),
    ] {
        let mut client = server.client().await;
        client.try_send(head).await;
        assert_eq!(client.reply().await.status, status);
        assert_eq!(client.rest().await, b"");
    }
}

#[tokio::test]
async fn what_follows_a_refused_request_is_never_run() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.send("GET / HTTP/1.1\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let answer = String::from_utf8(client.rest().await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && !answer.contains("smuggled"), "{answer}");
}
