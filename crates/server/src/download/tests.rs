//! The path of one GET or HEAD over memory, from the request to the last byte.

use hfs_core::ByteSize;
use hfs_core::auth::Dialect;
use http::header::{ETAG, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, RANGE};
use http::{HeaderName, Method, Request};

use crate::config::Config;
use crate::http::exchange::{Incoming, Outgoing};
use crate::http::testing::{Answer, Rig, ask, get, listen, path, proven, put, slot_of};
use crate::storage::faulty::{Fault, Faults, Operation};
use crate::storage::{BlobStore, Place, Scratch};

const BYTES: &[u8] = b"0123456789";

async fn with_file(slot: &str) -> Rig {
    let rig = Rig::new();
    rig.fill(slot, BYTES, |_| {}).await;
    rig
}

fn with(method: Method, slot: &str, headers: &[(HeaderName, &str)]) -> Request<Incoming> {
    let mut request = ask(method, &format!("/{slot}"));
    for (name, value) in headers {
        request.headers_mut().append(name, value.parse().unwrap());
    }
    request
}

/// Headers that differ from answer to answer, or that the adapter adds to a body.
fn comparable(answer: &Answer) -> Vec<(String, String)> {
    let skipped = ["x-request-id", "content-length"];
    let headers = answer.headers.iter().filter(|(name, _)| !skipped.contains(&name.as_str()));
    let mut headers: Vec<_> =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    headers.sort();
    headers
}

#[tokio::test]
async fn a_head_has_the_status_the_headers_and_the_length_of_a_get() {
    let rig = with_file("a/b.txt").await;
    rig.fill("a/damaged", BYTES, |record| record.size = ByteSize::bytes(11)).await;
    let tag = rig.send(get("a/b.txt")).await.header("etag").to_owned();
    let fresh = [(IF_NONE_MATCH, tag.as_str())];
    let other = [(IF_MATCH, "\"other\"")];
    for (slot, headers, status) in [
        ("a/b.txt", [].as_slice(), 200),
        ("a/b.txt", &fresh, 304),
        ("a/b.txt", &other, 412),
        ("a/none", &[], 404),
        ("..", &[], 404),
        ("", &[], 404),
        ("a/damaged", &[], 500),
        ("health", &[], 200),
    ] {
        let full = rig.send(with(Method::GET, slot, headers)).await;
        let head = rig.send(with(Method::HEAD, slot, headers)).await;
        assert_eq!((full.status, head.status), (status, status), "{slot}");
        assert_eq!(comparable(&full), comparable(&head), "{slot}");
        assert!(head.body.is_empty(), "{slot}");
        if status == 304 || status == 412 {
            continue;
        }
        assert_eq!(head.header("content-length"), full.body.len().to_string(), "{slot}");
    }
}

#[tokio::test]
async fn a_range_gives_its_part_to_a_get_and_means_nothing_to_a_head() {
    let rig = with_file("a/b.txt").await;
    for (range, status, content_range, body) in [
        ("bytes=2-4", 206, "bytes 2-4/10", "234"),
        ("bytes=-3", 206, "bytes 7-9/10", "789"),
        ("bytes=8-", 206, "bytes 8-9/10", "89"),
        ("bytes=10-", 416, "bytes */10", "The range is not satisfiable (range)\n"),
        ("bytes=0-1,4-5", 200, "", "0123456789"),
        ("lines=1-2", 200, "", "0123456789"),
    ] {
        let part = rig.send(with(Method::GET, "a/b.txt", &[(RANGE, range)])).await;
        assert_eq!((part.status, part.header("content-range"), part.text()), (status, content_range, body), "{range}");
        let head = rig.send(with(Method::HEAD, "a/b.txt", &[(RANGE, range)])).await;
        assert_eq!((head.status, head.header("content-length")), (200, "10"), "{range}");
        assert_eq!((head.header("content-range"), head.body.len()), ("", 0), "{range}");
    }
}

#[tokio::test]
async fn a_file_that_the_client_has_is_not_sent_again() {
    let rig = with_file("a/b.txt").await;
    let whole = rig.send(get("a/b.txt")).await;
    let (tag, date) = (whole.header(ETAG.as_str()), whole.header(LAST_MODIFIED.as_str()));
    for condition in [(IF_NONE_MATCH, tag), (IF_NONE_MATCH, "*"), (IF_MODIFIED_SINCE, date)] {
        let answer = rig.send(with(Method::GET, "a/b.txt", std::slice::from_ref(&condition))).await;
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{condition:?}");
        assert_eq!((answer.header("etag"), answer.header("content-type")), (tag, ""), "{condition:?}");
    }
    let other = rig.send(with(Method::GET, "a/b.txt", &[(IF_NONE_MATCH, "\"other\"")])).await;
    assert_eq!((other.status, other.text()), (200, "0123456789"));
    // Only what went out whole counts as a download.
    assert_eq!(rig.metric("downloads_total"), 2.0);
}

#[tokio::test]
async fn a_file_of_another_length_than_its_row_is_reported_and_not_served() {
    for recorded in [0, 9, 11] {
        let rig = Rig::new();
        rig.fill("a/b", BYTES, |record| record.size = ByteSize::bytes(recorded)).await;
        let log = listen();
        for method in [Method::GET, Method::HEAD] {
            assert_eq!(rig.send(ask(method, "/a/b")).await.status, 500, "{recorded}");
        }
        let lines = log.lines_with("Stored file has another length");
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains(&format!("recorded={recorded} found=10")), "{lines:?}");
    }
}

#[tokio::test]
async fn a_missing_file_is_reported() {
    let rig = with_file("a/b").await;
    rig.store.remove(&Place::new("a/b")).await.unwrap();
    let log = listen();
    let answer = rig.send(get("a/b")).await;
    assert_eq!((answer.status, answer.text()), (500, "The stored file is damaged (damaged)\n"));
    assert_eq!(log.lines_with("Stored file is missing").len(), 1);
}

#[tokio::test]
async fn a_store_or_a_database_that_fails_is_a_retry() {
    let rig = with_file("a/b").await;
    rig.faults.fail(Operation::Open, 1, Fault::Io);
    rig.faults.fail(Operation::Open, 2, Fault::Slow);
    let mut answers = vec![rig.send(get("a/b")).await, rig.send(get("a/b")).await];
    rig.meta.fail_read(1);
    answers.push(rig.send(get("a/b")).await);
    for answer in answers {
        assert_eq!((answer.status, answer.header("retry-after")), (503, "0"), "{}", answer.text());
    }
    assert_eq!(rig.send(get("a/b")).await.body, BYTES);
}

#[tokio::test]
async fn a_download_that_fails_before_it_begins_counts_in_the_arm_that_it_would_have_taken() {
    let cases = [
        (true, "a/b.txt", 1.0),
        (false, "a/b.txt", 0.0),
        (false, "download/adaptive/a/b.txt", 0.0),
        (true, "download/adaptive/a/b.txt", 1.0),
        (true, "download/a/b.txt", 0.0),
    ];
    for ((is_on, target, adaptive), is_all) in cases.into_iter().flat_map(|case| [(case, false), (case, true)]) {
        let rig = Rig::with(|config: &mut Config| config.pace.enabled = is_on);
        rig.fill("a/b.txt", BYTES, |_| {}).await;
        let mut request = get(target);
        // The proof that those routes want, and others ignore.
        *request.uri_mut() = proven(Dialect::V1, &slot_of(&path(target), 0)).body(()).unwrap().uri().clone();
        // `/download/...` might be a slot, which is asked for first; or nobody can tell what it is.
        let last = 1 + u64::from(target.starts_with("download"));
        for nth in if is_all { 1..=last } else { last..=last } {
            rig.meta.fail_read(nth);
        }
        assert_eq!(rig.send(request).await.status, 503, "{target}");
        let failed = |arm| rig.metric(&format!("hfs_transfers_total{{outcome=\"failed\",arm=\"{arm}\"}}"));
        assert_eq!((failed("adaptive"), failed("standard")), (adaptive, 1.0 - adaptive), "{target}");
        let errors = (rig.metric("download_errors_total"), rig.metric("adaptive_download_errors_total"));
        assert_eq!(errors, (1.0, adaptive), "{target}");
    }
}

#[tokio::test]
async fn a_slot_that_is_found_at_the_second_look_is_refused_as_slots_are() {
    let rig = Rig::new();
    rig.fill("download/a/b.txt", BYTES, |_| {}).await;
    let beyond = || with(Method::GET, "download/a/b.txt", &[(RANGE, "bytes=99-")]);
    let media_type = |answer: &Answer| answer.header("content-type").to_owned();
    let usual = rig.send(beyond()).await;
    assert_eq!((usual.status, media_type(&usual)), (416, "text/plain; charset=utf-8".to_owned()));
    rig.meta.fail_read(1);
    let second = rig.send(beyond()).await;
    assert_eq!((second.status, media_type(&second), &second.body), (416, media_type(&usual), &usual.body));
    rig.store.remove(&Place::new("download/a/b.txt")).await.unwrap();
    let other = rig.sibling(Faults::none());
    other.meta.fail_read(1);
    let damaged = other.send(get("download/a/b.txt")).await;
    assert_eq!((damaged.status, media_type(&damaged)), (500, media_type(&usual)));
    // Nobody can tell: it says so as the route does, which is what is asked for mostly.
    other.meta.fail_read(1);
    other.meta.fail_read(2);
    let unknown = other.send(get("download/a/b.txt")).await;
    assert_eq!((unknown.status, media_type(&unknown)), (503, "application/json".to_owned()));
}

#[tokio::test]
async fn only_listed_extensions_are_given_out() {
    let rig = Rig::with(|config| config.download_extensions = vec!["txt".to_owned()]);
    for (slot, status) in [("a/b.txt", 200), ("a/b.TXT", 200), ("a/b.txt.exe", 403), ("a/b", 403), ("a.txt/b", 403)] {
        assert_eq!(rig.send(put(slot, BYTES)).await.status, 201, "{slot}");
        for method in [Method::GET, Method::HEAD] {
            assert_eq!(rig.send(ask(method, &format!("/{slot}"))).await.status, status, "{slot}");
        }
    }
    let endless = format!("a/b.{}", "x".repeat(1000));
    let answer = rig.send(get(&endless)).await;
    assert_eq!(answer.status, 403);
    // Some clients save whatever comes as the file.
    assert!(answer.body.len() < 100, "{}", answer.text());
    assert_eq!(rig.send(get("a/never.txt")).await.status, 404);
}

#[tokio::test]
async fn a_client_that_leaves_during_a_download_is_counted_as_broken_off() {
    let rig = with_file("a/b").await;
    let log = listen();
    let mut response = rig.call(get("a/b")).await;
    let Outgoing::File(file) = response.body_mut() else { panic!("no file") };
    let mut scratch = Scratch::default();
    file.refill(4, &mut scratch).await.unwrap();
    assert_eq!(scratch.filled(), b"0123");
    file.note_unsent(1);
    drop(response);
    assert_eq!((rig.metric("downloads_total"), rig.metric("download_errors_total")), (0.0, 1.0));
    assert_eq!(rig.metric("hfs_sent_bytes_total"), 3.0, "what was read and did not leave counts as little");
    assert_eq!(log.lines_with("outcome=\"aborted\"").len(), 1);
}

#[tokio::test]
async fn a_read_that_fails_ends_the_body_early() {
    let rig = with_file("a/b").await;
    rig.faults.fail(Operation::Read, 2, Fault::Io);
    let mut response = rig.call(get("a/b")).await;
    let Outgoing::File(file) = response.body_mut() else { panic!("no file") };
    assert!(file.refill(4, &mut Scratch::default()).await.is_ok());
    file.refill(4, &mut Scratch::default()).await.unwrap_err();
    assert_eq!(file.remaining(), 6);
    drop(response);
    assert_eq!(rig.metric("hfs_transfers_total{direction=\"download\",outcome=\"aborted\"}"), 1.0);
}
