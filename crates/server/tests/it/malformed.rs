//! R9: requests that are not HTTP/1.1, or mean two things at once. None gets a 2xx, none hangs, none changes anything.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::rig::server::{SECRET, TestServer};
use crate::rig::sign;

#[test]
fn no_malformed_request_is_believed() {
    let server = TestServer::start();
    let put = format!("PUT /m/x.txt?{} HTTP/1.1\r\n", sign::v1(SECRET, "m/x.txt", 5));
    let host = "Host: files.example.org\r\n";
    let before = server.stored();
    let put_with = |headers: &str, body: &str| format!("{put}{host}{headers}\r\n{body}");
    let get = |line: &str, headers: &str| format!("{line}\r\n{headers}\r\n");
    let long = "a".repeat(200_000);
    let chunked = "Transfer-Encoding: chunked\r\n";
    let cases = [
        ("no Host", format!("{put}Content-Length: 5\r\n\r\nhello")),
        ("two Hosts", put_with("Host: other.example.org\r\nContent-Length: 5\r\n", "hello")),
        ("two equal Hosts", put_with(&format!("{host}Content-Length: 5\r\n"), "hello")),
        ("length and chunks", put_with(&format!("Content-Length: 5\r\n{chunked}"), "hello")),
        ("chunks and length", put_with(&format!("{chunked}Content-Length: 5\r\n"), "0\r\n\r\n")),
        ("two lengths", put_with("Content-Length: 5\r\nContent-Length: 6\r\n", "hello")),
        ("two equal lengths", put_with("Content-Length: 5\r\nContent-Length: 5\r\n", "hello")),
        ("list of lengths", put_with("Content-Length: 5, 5\r\n", "hello")),
        ("signed length", put_with("Content-Length: +5\r\n", "hello")),
        ("negative length", put_with("Content-Length: -5\r\n", "hello")),
        ("hexadecimal length", put_with("Content-Length: 0x5\r\n", "hello")),
        ("empty length", put_with("Content-Length: \r\n", "hello")),
        ("length beyond all numbers", put_with("Content-Length: 99999999999999999999999\r\n", "hello")),
        ("length with a fraction", put_with("Content-Length: 5.0\r\n", "hello")),
        ("space before the colon", put_with("Content-Length : 5\r\n", "hello")),
        ("folded header", put_with("X: a\r\n b\r\nContent-Length: 5\r\n", "hello")),
        ("folded first header", format!("{put} x\r\n{host}Content-Length: 5\r\n\r\nhello")),
        ("header without a colon", put_with("Broken\r\nContent-Length: 5\r\n", "hello")),
        ("header without a name", put_with(": x\r\nContent-Length: 5\r\n", "hello")),
        ("NUL in a header", put_with("X: a\0b\r\nContent-Length: 5\r\n", "hello")),
        ("carriage return in a header", put_with("X: a\rb\r\nContent-Length: 5\r\n", "hello")),
        ("bare line feeds", put_with("Content-Length: 5\r\n", "hello").replace("\r\n", "\n")),
        ("one bare line feed", put_with("X: y\nContent-Length: 5\r\n", "hello")),
        ("unknown coding", put_with("Transfer-Encoding: gzip\r\n", "hello")),
        ("chunked not last", put_with("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n")),
        ("chunked twice", put_with(&format!("{chunked}{chunked}"), "0\r\n\r\n")),
        ("coding with a tab", put_with("Transfer-Encoding:\tchunked\x0b\r\n", "0\r\n\r\n")),
        ("chunk size of nonsense", put_with(chunked, "zz\r\nhello\r\n0\r\n\r\n")),
        ("chunk size with a sign", put_with(chunked, "+5\r\nhello\r\n0\r\n\r\n")),
        ("chunk size beyond all numbers", put_with(chunked, "fffffffffffffffff\r\nhello\r\n0\r\n\r\n")),
        ("chunk without its end", put_with(chunked, "5\r\nhelloXX0\r\n\r\n")),
        ("unknown expectation", put_with("Expect: bogus\r\nContent-Length: 5\r\n", "hello")),
        ("a header of 200 kB", put_with(&format!("X: {long}\r\nContent-Length: 5\r\n"), "hello")),
        ("a target of 200 kB", get(&format!("GET /{long} HTTP/1.1"), host)),
        ("ten thousand headers", put_with(&"X: y\r\n".repeat(10_000), "hello")),
        ("HTTP/1.2.3", get("GET /health HTTP/1.2.3", host)),
        ("HTTP/9.9", get("GET /health HTTP/9.9", host)),
        ("lower-case version", get("GET /health http/1.1", host)),
        ("no version", get("GET /health", host)),
        ("two spaces", get("GET  /health HTTP/1.1", host)),
        ("space in the target", get("GET /hea lth HTTP/1.1", host)),
        ("relative target", get("GET health HTTP/1.1", host)),
        ("fragment", get("GET /health#x HTTP/1.1", host)),
        ("no method", get(" /health HTTP/1.1", host)),
        ("odd method", get("G(T /health HTTP/1.1", host)),
        ("CONNECT", get("CONNECT files.example.org:443 HTTP/1.1", host)),
        ("bytes of TLS", "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03 and so on\r\n\r\n".to_owned()),
        ("nonsense", "\u{1}\u{2}\u{3}\r\n\r\n".to_owned()),
    ];
    for (name, request) in &cases {
        let (status, took) = battery(server.address(), request.as_bytes());
        let refused = status.is_none_or(|status| (400..500).contains(&status) || [501, 505].contains(&status));
        assert!(refused, "{name}: {status:?}");
        assert!(took < Duration::from_secs(5), "{name}: {took:?}");
        assert_eq!(server.stored(), before, "{name}");
    }
    // Right neighbours of the wrong ones, so that the battery cannot pass by refusing everything.
    let right = [put_with("Content-Length: 5\r\n", "hello"), get("GET /health HTTP/1.1", host)];
    for request in right {
        let (status, _) = battery(server.address(), request.as_bytes());
        assert!(status.is_some_and(|status| status < 300), "{request}: {status:?}");
    }
}

/// Sends the bytes and the end of the stream; returns the status of the first answer, if there is one.
fn battery(address: SocketAddr, request: &[u8]) -> (Option<u16>, Duration) {
    let begin = Instant::now();
    let mut stream = TcpStream::connect(address).expect("connection");
    stream.set_read_timeout(Some(Duration::from_secs(6))).expect("time-out");
    // The server may have had enough before the end.
    let _ = stream.write_all(request);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    (status, begin.elapsed())
}
