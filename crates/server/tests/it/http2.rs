//! R10: HTTP/2 in cleartext: an upload and a download over it, broken frames, and floods that must not cost memory.

use std::process::Command;

use serde::Deserialize;

use crate::rig::server::{SECRET, TestServer};
use crate::rig::{place, sign};

/// What the frame battery saw.
#[derive(Debug, Deserialize)]
struct Outcome {
    case: String,
    /// Status of the answer to the broken request, if there was one.
    status: Option<u16>,
    /// Whether the connection or the stream was ended with an error, or the connection closed.
    refused: bool,
}

#[test]
fn uploads_and_downloads_travel_over_http2() {
    let server = TestServer::start();
    let body: Vec<u8> = (0..2_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let file = server.home().join("body.bin");
    std::fs::write(&file, &body).expect("file");
    let url = format!("{}/two/file.bin", server.public_url());
    let signed = format!("{url}?{}", sign::v1(SECRET, "two/file.bin", body.len() as u64));
    let upload = curl(&["-T", file.to_str().expect("path"), "-w", "%{http_code} %{http_version}", &signed]);
    assert_eq!(String::from_utf8_lossy(&upload), "201 2");
    assert!(curl(&[&url]) == body, "other bytes came back");
    assert!(curl(&["-r", "1000-1999", &url]) == body[1000..2000], "another range came back");
}

#[test]
fn broken_frames_are_refused() {
    let server = TestServer::start();
    for outcome in battery(&server, "broken") {
        assert!(outcome.refused || outcome.status.is_some_and(|status| (400..500).contains(&status)), "{outcome:?}");
        assert!(server.is_healthy(), "{outcome:?}");
    }
    assert!(server.stored().is_empty(), "{:?}", server.stored());
}

/// The `h2` crate lets them pass. The request beside them is whole and right, and so is what is stored.
#[test]
fn wrong_frames_that_are_borne_change_nothing() {
    let server = TestServer::start();
    for outcome in battery(&server, "borne") {
        assert!(outcome.refused || outcome.status == Some(201), "{outcome:?}");
    }
    assert_eq!(server.get("two/x.txt").body, b"hello");
    assert_eq!(server.stored().len(), 1, "{:?}", server.stored());
}

#[test]
fn floods_of_frames_cost_no_memory() {
    const MOST: u64 = 64 << 20;
    let server = TestServer::builder().set("timeouts.writetimeout", "\"2s\"").start();
    assert_eq!(server.put("before/large.bin", &vec![7; 10_000_000]).status, 201);
    let before = server.peak_memory();
    for outcome in battery(&server, "floods") {
        let grown = server.peak_memory() - before;
        println!("{}: +{} MiB", outcome.case, grown >> 20);
        assert!(grown < MOST, "{outcome:?}: +{} MiB", grown >> 20);
        assert!(server.is_healthy(), "{outcome:?}");
        let must_end = outcome.case == "readers without a window";
        assert!(outcome.refused || !must_end, "{outcome:?}: a reader that takes nothing is not cut");
    }
    assert_eq!(server.put("after/it.txt", b"hello").status, 201);
}

#[track_caller]
fn battery(server: &TestServer, cases: &str) -> Vec<Outcome> {
    let output = Command::new("timeout")
        .args(["--kill-after=1", "100"])
        .arg(place::python())
        .arg(place::checkout().join("tools/clients/http2_frames.py"))
        .args([cases, &server.address().port().to_string(), &sign::v1(SECRET, "two/x.txt", 5)])
        .output()
        .expect("the client runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the client failed ({}): {said}", output.status);
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let outcomes: Vec<Outcome> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    assert!(!outcomes.is_empty(), "{said}");
    outcomes
}

fn curl(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("curl")
        .args(["-sS", "--fail", "--http2-prior-knowledge", "--max-time", "60"])
        .args(arguments)
        .output()
        .expect("curl runs");
    assert!(output.status.success(), "curl: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
