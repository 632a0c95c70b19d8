//! The same bytes, read by hyper and by us: where both accept a message it is the same message, so that no front that
//! reads like hyper can be made to disagree with us about where a request ends.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::header::CONNECTION;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::ours::{self, End, Message, Reading};
use crate::requests;

/// A connection whose client has sent everything and reads every answer: no socket, no task, no clock.
struct Wire {
    incoming: Vec<u8>,
    at: usize,
    piece: usize,
}

impl Read for Wire {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let end = self.incoming.len().min(self.at + self.piece.min(buffer.remaining()));
        buffer.put_slice(&self.incoming[self.at..end]);
        self.at = end;
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What hyper's server makes of `bytes`.
fn hyper_reads(runtime: &tokio::runtime::Runtime, bytes: &[u8], piece: usize) -> Reading {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let broken = Arc::new(Mutex::new(false));
    let service = service_fn(|request: Request<Incoming>| {
        let (seen, broken) = (Arc::clone(&seen), Arc::clone(&broken));
        async move {
            let (parts, body) = request.into_parts();
            // A 2xx to CONNECT would turn the connection into a tunnel.
            let status = if parts.method == Method::CONNECT { StatusCode::METHOD_NOT_ALLOWED } else { StatusCode::OK };
            match body.collect().await {
                Ok(body) => {
                    let http::request::Parts { method, uri, version, headers, .. } = parts;
                    let body = body.to_bytes().to_vec();
                    seen.lock().unwrap().push(Message { method, uri, version, headers, body });
                }
                Err(_) => *broken.lock().unwrap() = true,
            }
            let mut response = Response::new(Empty::<Bytes>::new());
            *response.status_mut() = status;
            Ok::<_, Infallible>(response)
        }
    });
    let wire = Wire { incoming: bytes.to_vec(), at: 0, piece };
    let outcome = runtime.block_on(http1::Builder::new().half_close(true).serve_connection(wire, service));
    let messages = std::mem::take(&mut *seen.lock().unwrap());
    let clean = outcome.is_ok() && !*broken.lock().unwrap();
    Reading { messages, end: if clean { End::Clean } else { End::Refused(400) } }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// `close` beside `keep-alive`: we close, hyper goes by the last line. Closing early misleads nobody.
fn contradicts_itself(message: &Message) -> bool {
    let lines: Vec<_> = message.headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok()).collect();
    let options = lines.join(",").to_ascii_lowercase();
    options.contains("close") && options.contains("keep-alive")
}

#[test]
fn what_both_accept_means_the_same() {
    let runtime = runtime();
    let (cases, agreed, refused) = (4000, Cell::new(0), Cell::new(0));
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let input = (requests::stream(), vec(1_usize..60, 1..4));
    let verdict = TestRunner::new(config).run(&input, |(bytes, pieces)| {
        let ours = ours::read(&bytes, &pieces);
        let theirs = hyper_reads(&runtime, &bytes, pieces[0]);
        for (one, other) in ours.messages.iter().zip(&theirs.messages) {
            prop_assert_eq!(one, other);
            agreed.set(agreed.get() + 1);
        }
        if matches!(ours.end, End::Refused(_)) {
            refused.set(refused.get() + 1);
        }
        let whole = ours.end == End::Clean && theirs.end == End::Clean;
        if whole && !ours.messages.iter().any(contradicts_itself) {
            prop_assert_eq!(ours.messages.len(), theirs.messages.len(), "both are content, with other message counts");
        }
        Ok(())
    });
    verdict.unwrap();
    // Without both kinds the comparison would say nothing.
    assert!(agreed.get() > 1000 && refused.get() > 400, "{} messages agreed, {} refused", agreed.get(), refused.get());
}

/// Shapes of which hyper alone lets several pass. Each must be refused by us, and by us alone before a byte of body.
#[test]
fn the_malformed_battery_is_refused() {
    let long = |len: usize| "a".repeat(len);
    let with_host = |rest: &str| format!("PUT /f HTTP/1.1\r\nHost: a\r\n{rest}\r\n\r\nhello");
    let battery: Vec<(String, u16)> = vec![
        ("GET / HTTP/1.1\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".into(), 400),
        (with_host("Content-Length: 5\r\nTransfer-Encoding: chunked"), 400),
        ("GET / HTTP/1.1\nHost: a\n\n".into(), 400),
        (with_host("Content-Length: 5\r\nExpect: bogus"), 417),
        (with_host("Content-Length: 5\r\nContent-Length: 6"), 400),
        (with_host("Content-Length: 5\r\nContent-Length: 5"), 400),
        (with_host("Content-Length: +5"), 400),
        (with_host("Content-Length: -5"), 400),
        (with_host("Content-Length: 5,5"), 400),
        (with_host("Content-Length: 0x5"), 400),
        (with_host("Content-Length:"), 400),
        (with_host("Content-Length: 99999999999999999999"), 400),
        (with_host("Content-Length: 18446744073709551615"), 400),
        (with_host("Transfer-Encoding: chunked, identity"), 400),
        (with_host("Transfer-Encoding: xchunked"), 501),
        (with_host("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), 400),
        (with_host("Transfer-Encoding : chunked"), 400),
        (with_host("Transfer-Encoding: chunked"), 400), // "hello" is no chunk
        ("PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n".into(), 400),
        ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n".into(), 400),
        ("GET / HTTP/9.9\r\nHost: a\r\n\r\n".into(), 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 505),
        ("GET /\r\n\r\n".into(), 400),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
        ("GET / a HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
        ("G\u{e9}T / HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
        ("\x16\x03\x01\x02".into(), 400),
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", long(70_000)), 414),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", long(70_000)), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(200)), 431),
    ];
    for (bytes, status) in &battery {
        let reading = ours::read(bytes.as_bytes(), &[usize::MAX]);
        let shown: String = bytes.chars().take(80).collect();
        assert_eq!(reading, Reading { messages: Vec::new(), end: End::Refused(*status) }, "{shown:?}");
    }
}

/// Our extra checks exist because of these: should hyper ever refuse them too, this says so.
#[test]
fn hyper_alone_lets_several_of_them_pass() {
    let runtime = runtime();
    for bytes in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
    ] {
        assert_eq!(hyper_reads(&runtime, bytes.as_bytes(), 1000).messages.len(), 1, "{bytes:?}");
        assert!(ours::read(bytes.as_bytes(), &[1000]).messages.is_empty(), "{bytes:?}");
    }
}
