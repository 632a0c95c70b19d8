//! The table of statuses: what each kind of request is answered, with CORS headers on every answer.

use std::time::Duration;

use serde_json::json;

use crate::rig::http::Response;
use crate::rig::server::{SECRET, TestServer};
use crate::rig::sign::{self, in_seconds};
use crate::rig::wait_until;

const ORIGIN: (&str, &str) = ("Origin", "https://chat.example.org");

/// One row: a request and the status that it gets.
struct Row {
    name: &'static str,
    method: &'static str,
    target: String,
    headers: Vec<(&'static str, String)>,
    body: Option<&'static [u8]>,
    status: u16,
}

fn row(name: &'static str, method: &'static str, target: impl Into<String>, status: u16) -> Row {
    let body = (method == "PUT").then_some(b"hello".as_slice());
    Row { name, method, target: target.into(), headers: Vec::new(), body, status }
}

impl Row {
    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn body(mut self, body: &'static [u8]) -> Self {
        self.body = Some(body);
        self
    }

    #[track_caller]
    fn check(&self, server: &TestServer) -> Response {
        let mut headers = vec![ORIGIN];
        headers.extend(self.headers.iter().map(|(name, value)| (*name, value.as_str())));
        let answer = server.request(self.method, &self.target, &headers, self.body);
        let Self { name, method, target, .. } = self;
        assert_eq!(answer.status, self.status, "{name}: {method} {target}: {}", answer.text());
        let allowed = answer.header("access-control-allow-origin");
        assert!(allowed.is_some_and(|origin| origin == "*" || origin == ORIGIN.1), "{name}: {:?}", answer.headers);
        if answer.status >= 400 {
            assert!(answer.body.len() < 200, "{name}: some clients save what they get as the file: {}", answer.text());
        }
        answer
    }
}

fn v1(slot: &str, size: u64) -> String {
    format!("/{}?{}", sign::encode(slot), sign::v1(SECRET, slot, size))
}

fn v2(slot: &str, size: u64, media_type: &str) -> String {
    format!("/{}?{}", sign::encode(slot), sign::v2(SECRET, slot, size, media_type))
}

fn token(slot: &str, exp: u64, size: u64) -> String {
    let claims = json!({
        "sub": "alice@localhost", "slot": slot, "filename": "file.txt", "filesize": size, "filetype": "text/plain",
        "iat": in_seconds(0) - 60, "exp": exp, "expires": in_seconds(3600),
    });
    sign::file_share(SECRET, &claims)
}

#[test]
fn every_request_gets_its_status() {
    let server = TestServer::builder().set("server.max_upload_size", "\"1MB\"").start();
    let soon = in_seconds(300);
    let table = [
        row("v1", "PUT", v1("a/v1.txt", 5), 201),
        row("the same again", "PUT", v1("a/v1.txt", 5), 201),
        row("other bytes", "PUT", v1("a/v1.txt", 5), 409).body(b"other"),
        row("v1 of nothing", "PUT", v1("a/empty.txt", 0), 201).body(b""),
        row("v1 of another length", "PUT", v1("a/length.txt", 6), 403),
        row("v1 of another path", "PUT", v1("a/b.txt", 5).replace("b.txt", "c.txt"), 403),
        row("v1 that is no hexadecimal", "PUT", "/a/hex.txt?v=zzzz", 403),
        row("v1 without a length", "PUT", v1("a/chunked.txt", 5), 411)
            .header("Transfer-Encoding", "chunked")
            .body(b"5\r\nhello\r\n0\r\n\r\n"),
        row("v2", "PUT", v2("a/v2.txt", 5, "text/plain"), 201).header("Content-Type", "text/plain"),
        row("v2 of the extension's type", "PUT", v2("a/v2.png", 5, "image/png"), 201),
        row("v2 of another type", "PUT", v2("a/v2.html", 5, "image/png"), 403).header("Content-Type", "text/html"),
        row("v2 counts where v is right too", "PUT", v1("a/both.txt", 5) + "&v2=00", 403),
        row("token of Prosody", "PUT", "/slot1/file.txt", 201).header("Authorization", token("slot1", soon, 5)),
        row("token past its time", "PUT", "/slot2/file.txt", 410)
            .header("Authorization", token("slot2", in_seconds(0) - 100, 5)),
        row("token of another slot", "PUT", "/slot3/file.txt", 403).header("Authorization", token("slot4", soon, 5)),
        row("token of another length", "PUT", "/slot5/file.txt", 413).header("Authorization", token("slot5", soon, 6)),
        row("broken token", "PUT", "/slot6/file.txt", 401).header("Authorization", token("slot6", soon, 5) + "x"),
        row("no proof", "PUT", "/a/none.txt", 401),
        row("too large", "PUT", v1("a/large.bin", 1_048_577), 413).body(&[7; 1_048_577]),
        row("parent folder", "PUT", v1("a/../b.txt", 5), 400),
        row("encoded parent folder", "PUT", v1("a/../b.txt", 5).replace("..", "%2e%2e"), 400),
        row("NUL", "PUT", v1("a/b\0.txt", 5), 400),
        row("the server's own folder", "PUT", v1(".hfs/x.txt", 5), 400),
        row("download", "GET", "/a/v1.txt", 200),
        row("another spelling of the same", "GET", "/%61/v1%2Etxt", 200),
        row("head", "HEAD", "/a/v1.txt", 200),
        row("range", "GET", "/a/v1.txt", 206).header("Range", "bytes=1-2"),
        row("range beyond", "GET", "/a/v1.txt", 416).header("Range", "bytes=5-"),
        row("what was refused", "GET", "/a/length.txt", 404),
        row("head of nothing", "HEAD", "/a/nothing.txt", 404),
        row("a folder", "GET", "/a/", 404),
        row("the database", "GET", "/.hfs/meta.sqlite", 404),
        row("health", "GET", "/health", 200),
        row("metrics from loopback", "GET", "/metrics", 200),
        row("metrics through a proxy", "GET", "/metrics", 404).header("X-Forwarded-For", "192.0.2.1"),
        row("another method", "POST", "/a/v1.txt", 405),
        row("delete without a proof", "DELETE", "/a/v1.txt", 401),
        row("still there", "GET", "/a/v1.txt", 200),
    ];
    for row in table {
        let answer = row.check(&server);
        if row.status == 401 && row.method == "PUT" {
            assert!(answer.header("www-authenticate").is_some(), "{}", row.name);
        }
        if row.status == 405 {
            assert!(answer.header("allow").is_some(), "{}", row.name);
        }
    }
    let preflight = server.request(
        "OPTIONS",
        "/a/new.txt",
        &[ORIGIN, ("Access-Control-Request-Method", "PUT"), ("Access-Control-Request-Headers", "x-odd, content-type")],
        None,
    );
    assert!([200, 204].contains(&preflight.status));
    let methods = preflight.header("access-control-allow-methods").unwrap_or_default();
    assert!(["PUT", "GET", "HEAD", "OPTIONS"].iter().all(|method| methods.contains(method)), "{methods}");
    let headers = preflight.header("access-control-allow-headers").unwrap_or_default().to_lowercase();
    assert!(headers.contains("x-odd") && headers.contains("content-type"), "{headers}");
}

#[test]
fn an_unchanged_file_is_304() {
    let server = TestServer::start();
    assert_eq!(server.put("a/file.txt", b"hello").status, 201);
    let got = server.get("a/file.txt");
    let etag = got.header("etag").expect("ETag").to_owned();
    let modified = got.header("last-modified").expect("Last-Modified").to_owned();
    let again = |name, value: &str| server.request("GET", "/a/file.txt", &[(name, value)], None).status;
    assert_eq!(again("If-None-Match", &etag), 304);
    assert_eq!(again("If-Modified-Since", &modified), 304);
    assert_eq!(again("If-None-Match", "\"other\""), 200);
}

#[test]
fn a_file_past_its_time_is_gone_for_ever() {
    let server = TestServer::start();
    let claims = json!({
        "sub": "alice@localhost", "slot": "brief", "filename": "file.txt", "filesize": 5, "filetype": "text/plain",
        "iat": in_seconds(0), "exp": in_seconds(300), "expires": in_seconds(2),
    });
    let authorization = sign::file_share(SECRET, &claims);
    let put = || server.request("PUT", "/brief/file.txt", &[("Authorization", &authorization)], Some(b"hello")).status;
    assert_eq!(put(), 201);
    wait_until("404 for the file past its time", Duration::from_secs(10), || {
        server.get("brief/file.txt").status == 404
    });
    assert!([409, 410].contains(&put()), "a slot is never filled twice");
}

#[test]
fn outside_the_base_path_there_is_nothing() {
    let server = TestServer::builder().base_path("/upload").start();
    assert_eq!(server.put("a/b.txt", b"hello").status, 201);
    assert_eq!(server.get("a/b.txt").status, 200);
    assert_eq!(server.request("GET", "/a/b.txt", &[], None).status, 404);
    assert_eq!(server.request("PUT", &v1("a/c.txt", 5), &[], Some(b"hello")).status, 404);
    assert_eq!(server.request("GET", "/uploads/a/b.txt", &[], None).status, 404);
}
