//! What holds for every request: identification, cross-origin headers, the URL table, counters.

mod arms;

use std::time::Duration;

use hfs_core::ByteSize;
use hfs_core::auth::Dialect;
use http::header::{AUTHORIZATION, ORIGIN, RANGE};
use http::{HeaderValue, Method, Request};
use tower_service::Service;

use super::exchange::{Incoming, Peer};
use super::router::{Router, Surface};
use super::testing::{Answer, PAGE, Rig, ask, get, listen, path, proven, put, slot_of};
use crate::meta::faulty::Fault as RowFault;
use crate::storage::faulty::{Fault, Faults, Operation};

const BYTES: &[u8] = b"forty-two";

fn changed(mut request: Request<Incoming>, name: http::HeaderName, value: &str) -> Request<Incoming> {
    request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
    request
}

/// A PUT whose `v` nobody signed.
fn forged(slot: &str) -> Request<Incoming> {
    let mut request = put(slot, BYTES);
    *request.uri_mut() = format!("/{slot}?v={}", "00".repeat(32)).parse().unwrap();
    request
}

/// One answer of each status that the handlers give.
async fn one_of_each_status() -> Vec<(u16, Answer)> {
    let rig = Rig::with(|config| config.limits.max_size = Some(ByteSize::bytes(20)));
    let mut answers = Vec::new();
    let stored = rig.send(put("a/b.txt", BYTES)).await;
    let tag = stored.header("etag").to_owned();
    answers.push((201, stored));
    let delete = || proven(Dialect::Delete, &slot_of(&path("a/b.txt"), 0)).body(Incoming::empty()).unwrap();
    let no_length = proven(Dialect::V1, &slot_of(&path("a/c"), 9)).body(Incoming::empty()).unwrap();
    rig.fill("a/damaged", BYTES, |record| record.size = ByteSize::bytes(1)).await;
    for (status, request) in [
        (200, get("a/b.txt")),
        (200, ask(Method::GET, "/health")),
        (200, ask(Method::GET, "/metrics")),
        (206, changed(get("a/b.txt"), RANGE, "bytes=1-2")),
        (304, changed(get("a/b.txt"), http::header::IF_NONE_MATCH, &tag)),
        (400, ask(Method::PUT, "/a/../b")),
        (401, ask(Method::PUT, "/a/c")),
        (401, changed(ask(Method::PUT, "/a/c"), AUTHORIZATION, "Bearer x.y.z")),
        (403, forged("a/c")),
        (404, get("a/none")),
        (405, ask(Method::POST, "/a/b.txt")),
        (405, ask(Method::PUT, "/health")),
        (409, put("a/b.txt", b"forty-too")),
        (411, no_length),
        (412, changed(get("a/b.txt"), http::header::IF_MATCH, "\"x\"")),
        (413, put("a/c", b"more than twenty bytes")),
        (416, changed(get("a/b.txt"), RANGE, "bytes=9-")),
        (500, get("a/damaged")),
        (204, ask(Method::OPTIONS, "/a/b.txt")),
        (204, delete()),
    ] {
        answers.push((status, rig.send(request).await));
    }
    rig.faults.fail(Operation::Create, 1, Fault::Io);
    answers.push((503, rig.send(put("a/c", BYTES)).await));
    rig.meta.fail_write(1, RowFault::Full);
    answers.push((507, rig.send(put("a/c", BYTES)).await));
    answers
}

#[tokio::test]
async fn every_answer_can_be_read_by_a_page_and_found_in_the_log() {
    let mut seen = std::collections::HashSet::new();
    for (status, answer) in one_of_each_status().await {
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.header("access-control-allow-origin"), PAGE, "{status}");
        assert_eq!(answer.header("access-control-allow-credentials"), "true", "{status}");
        assert!(answer.header("access-control-expose-headers").contains("Content-Range"), "{status}");
        assert!(answer.headers.get_all("vary").iter().any(|value| value == "Origin"), "{status}");
        let id = answer.header("x-request-id");
        assert!(id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{status}: {id}");
        assert!(seen.insert(id.to_owned()), "{status}: {id} repeats");
    }
}

#[tokio::test]
async fn every_refusal_is_short_text_that_no_cache_keeps() {
    for (status, answer) in one_of_each_status().await {
        if status < 400 {
            continue;
        }
        assert_eq!(answer.header("cache-control"), "no-store", "{status}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{status}");
        assert!(answer.header("content-security-policy").contains("default-src 'none'"), "{status}");
        assert!((5..120).contains(&answer.body.len()), "{status}: {}", answer.text());
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8", "{status}");
        assert_eq!(answer.header("retry-after"), if status == 503 { "0" } else { "" }, "{status}");
        let challenge = answer.header("www-authenticate");
        assert_eq!(challenge.starts_with("Bearer"), status == 401, "{status}: {challenge}");
        assert_eq!(answer.header("allow").contains("GET"), status == 405, "{status}");
    }
}

#[tokio::test]
async fn a_failing_store_is_not_ready_until_it_stores_again() {
    let rig = Rig::new();
    let ready = async || rig.send(ask(Method::GET, "/ready")).await.status;
    assert_eq!(ready().await, 200);
    rig.faults.fail(Operation::Create, 1, Fault::Io);
    assert_eq!(rig.send(put("a/b", BYTES)).await.status, 503);
    assert_eq!(ready().await, 503);
    assert_eq!(rig.send(ask(Method::GET, "/health")).await.status, 200);
    assert_eq!(rig.send(put("a/b", BYTES)).await.status, 201);
    assert_eq!(ready().await, 200);
    rig.faults.fail(Operation::Create, 1, Fault::Io);
    assert_eq!(rig.send(put("a/c", BYTES)).await.status, 503);
    rig.app.probe().await;
    assert_eq!(ready().await, 200);
}

#[tokio::test]
async fn a_bad_token_is_told_from_a_missing_one() {
    let rig = Rig::new();
    let missing = rig.send(ask(Method::PUT, "/a/b")).await;
    assert_eq!(missing.header("www-authenticate"), "Bearer");
    let bad = rig.send(changed(ask(Method::PUT, "/a/b"), AUTHORIZATION, "Bearer x.y.z")).await;
    assert_eq!(bad.header("www-authenticate"), "Bearer error=\"invalid_token\"");
}

#[tokio::test]
async fn without_an_origin_any_page_is_named() {
    let rig = Rig::new();
    let mut request = get("a/none");
    request.headers_mut().remove(ORIGIN);
    let answer = rig.send(request).await;
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_eq!(answer.header("access-control-allow-credentials"), "");
}

#[tokio::test]
async fn a_preflight_allows_what_it_asks_for() {
    let rig = Rig::with(|config| config.http.base_path = "/upload".to_owned());
    for target in ["/upload/a/b", "/elsewhere", "/health", "*"] {
        let asked = http::header::ACCESS_CONTROL_REQUEST_HEADERS;
        let answer = rig.send(changed(ask(Method::OPTIONS, target), asked, "authorization, x-new")).await;
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{target}");
        assert_eq!(answer.header("access-control-allow-headers"), "authorization, x-new", "{target}");
        assert!(answer.header("access-control-allow-methods").contains("PUT"), "{target}");
    }
}

#[tokio::test]
async fn slots_lie_below_the_base_path_and_nowhere_else() {
    let rig = Rig::with(|config| config.http.base_path = "/upload".to_owned());
    let below = |mut request: Request<Incoming>| {
        *request.uri_mut() = format!("/upload{}", request.uri()).parse().unwrap();
        request
    };
    // The signature is over the path below the base path.
    assert_eq!(rig.send(below(put("a/b", BYTES))).await.status, 201);
    assert_eq!(rig.send(below(get("a/b"))).await.body, BYTES);
    assert_eq!(rig.send(put("a/c", BYTES)).await.status, 404);
    assert_eq!(rig.entry("a/c").await, None);
    for target in ["/a/b", "/", "/upload", "/upload/", "/uploads/a/b", "/upload//a/b", "/upload/upload/a/b", "/upl"] {
        for method in [Method::GET, Method::HEAD, Method::DELETE] {
            let answer = rig.send(ask(method.clone(), target)).await;
            let status = match (&method, target) {
                // Without a token, what could be a slot is refused before it is looked for.
                (&Method::DELETE, "/upload/upload/a/b") => 401,
                // There one may POST.
                (&Method::GET | &Method::HEAD, "/upload") => 405,
                _ => 404,
            };
            assert_eq!(answer.status, status, "{method} {target}");
        }
    }
    assert_eq!(rig.send(ask(Method::PUT, "/upload")).await.status, 404);
    assert_eq!(rig.send(ask(Method::PUT, "/upload/")).await.status, 400);
    assert_eq!(rig.send(ask(Method::GET, "/health")).await.status, 200);
}

#[tokio::test]
async fn health_answers_while_nothing_else_works() {
    let rig = Rig::new().sibling(Faults::random(1, 1));
    rig.meta.fail_read(1);
    rig.meta.fail_write(1, RowFault::Busy);
    for (method, body) in [(Method::GET, "OK"), (Method::HEAD, "")] {
        let answer = rig.send(ask(method, "/health")).await;
        assert_eq!((answer.status, answer.text()), (200, body));
    }
    // The planned failure is still due, so no row was read.
    assert_eq!(rig.send(get("a/b")).await.status, 503);
    use Operation::{Claim, Create, Free, Open, Read};
    assert!([Claim, Create, Free, Open, Read].iter().all(|operation| rig.faults.seen(*operation) == 0));
    assert_eq!(rig.send(put("a/b", BYTES)).await.status, 503);
}

#[tokio::test]
async fn ready_says_whether_the_last_upload_could_be_stored() {
    let rig = Rig::new();
    let ready = async || rig.send(ask(Method::GET, "/ready")).await.status;
    assert_eq!(ready().await, 200);
    for (operation, fault) in [(Operation::Publish, Fault::Io), (Operation::Write, Fault::Slow)] {
        rig.faults.fail(operation, 1, fault);
        rig.send(put("a/b", BYTES)).await;
        assert_eq!(ready().await, 503, "{operation:?}");
        // What is the client's fault says nothing about the storage.
        assert_eq!(rig.send(forged("a/b")).await.status, 403);
        assert_eq!(ready().await, 503, "{operation:?}");
        rig.app.probe().await;
        assert_eq!(ready().await, 200, "{operation:?}");
    }
    rig.meta.fail_write(1, RowFault::LostBefore);
    rig.send(put("a/b", BYTES)).await;
    rig.meta.fail_write(1, RowFault::Busy);
    rig.app.probe().await;
    assert_eq!(ready().await, 503, "the probe failed too");
    assert_eq!(rig.send(put("a/b", BYTES)).await.status, 201);
    assert_eq!(ready().await, 200);
    assert_eq!(rig.send(put("a/b", b"forty-too")).await.status, 409);
    assert_eq!(ready().await, 200);
}

fn metrics_from(peer: &str, header: Option<(&'static str, &str)>) -> Request<Incoming> {
    let mut request = ask(Method::GET, "/metrics");
    request.extensions_mut().insert(Peer { socket: Some(peer.parse().unwrap()), ..Peer::default() });
    match header {
        Some((name, value)) => changed(request, http::HeaderName::from_static(name), value),
        None => request,
    }
}

#[tokio::test]
async fn metrics_are_for_this_machine_without_a_proxy_between() {
    let rig = Rig::with(|config| config.net.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]);
    for (peer, header, status) in [
        ("127.0.0.1:9", None, 200),
        ("[::1]:9", None, 200),
        ("[::ffff:127.0.0.1]:9", None, 200),
        ("192.0.2.1:9", None, 404),
        ("192.0.2.1:9", Some(("x-forwarded-for", "127.0.0.1")), 404),
        ("127.0.0.1:9", Some(("x-forwarded-for", "127.0.0.1")), 404),
        ("127.0.0.1:9", Some(("x-real-ip", "127.0.0.1")), 404),
        ("127.0.0.1:9", Some(("forwarded", "for=127.0.0.1")), 404),
        ("127.0.0.1:9", Some(("via", "1.1 proxy")), 404),
    ] {
        let answer = rig.send(metrics_from(peer, header)).await;
        assert_eq!(answer.status, status, "{peer} {header:?}");
        assert_eq!(answer.text().contains("hfs_"), status == 200);
    }
    let mut announced = metrics_from("127.0.0.1:9", None);
    announced.extensions_mut().get_mut::<Peer>().unwrap().announced = Some([127, 0, 0, 1].into());
    assert_eq!(rig.send(announced).await.status, 404);
    // Refused like a file that never was.
    let hidden = rig.send(metrics_from("192.0.2.1:9", None)).await;
    assert_eq!(hidden.text(), rig.send(get("a/none")).await.text());
}

#[tokio::test]
async fn metrics_with_a_listener_of_their_own_are_only_there() {
    let rig = Rig::with(|config| config.metrics.listen = Some("127.0.0.1:9090".parse().unwrap()));
    rig.send(put("a/b", BYTES)).await;
    assert_eq!(rig.send(metrics_from("127.0.0.1:9", None)).await.status, 404);
    let mut own = Router::new(std::sync::Arc::clone(&rig.app), Surface::Metrics);
    let mut status = async |request| Answer::of(own.call(request).await.unwrap()).await.status;
    assert_eq!(status(metrics_from("192.0.2.1:9", None)).await, 200);
    assert_eq!(status(ask(Method::GET, "/health")).await, 200);
    for request in [get("a/b"), put("a/c", BYTES), get("")] {
        assert_eq!(status(request).await, 404, "no files there");
    }
}

#[tokio::test]
async fn metrics_that_are_off_are_nowhere() {
    let rig = Rig::with(|config| config.metrics.enabled = false);
    assert_eq!(rig.send(metrics_from("127.0.0.1:9", None)).await.status, 404);
}

#[tokio::test]
async fn counters_tell_what_happened() {
    let rig = Rig::new();
    rig.send(put("a/b", BYTES)).await;
    rig.send(forged("a/c")).await;
    rig.send(changed(get("a/b"), RANGE, "bytes=0-3")).await;
    for (name, value) in [
        ("uploads_total", 1.0),
        ("upload_errors_total", 1.0),
        ("downloads_total", 1.0),
        ("download_errors_total", 0.0),
        ("upload_size_bytes_sum", 9.0),
        ("download_size_bytes_sum", 4.0),
        ("active_connections_total", 0.0),
        ("hfs_received_bytes_total", 9.0),
        ("hfs_sent_bytes_total", 4.0),
        ("hfs_upload_refusals_total{reason=\"proof\"}", 1.0),
        ("hfs_auth_total{proof=\"v1\",outcome=\"accepted\"}", 1.0),
        ("hfs_auth_total{proof=\"v1\",outcome=\"forged\"}", 1.0),
        ("hfs_requests_total{method=\"PUT\",status=\"2xx\"}", 1.0),
        ("hfs_requests_total{method=\"PUT\",status=\"4xx\"}", 1.0),
        ("hfs_requests_total{method=\"GET\",status=\"2xx\"}", 1.0),
        ("hfs_transfers_total{direction=\"upload\",outcome=\"complete\"}", 1.0),
        ("hfs_transfers_total{direction=\"download\",outcome=\"complete\"}", 1.0),
    ] {
        assert_eq!(rig.metric(name), value, "{name}");
    }
}

#[tokio::test]
async fn each_transfer_is_one_line_with_the_id_of_its_answer() {
    let rig = Rig::new();
    let log = listen();
    let mut ids = vec![rig.send(put("a/b", BYTES)).await, rig.send(get("a/b")).await];
    ids.push(rig.send(put("a/b", b"forty-too")).await);
    for (answer, message) in ids.iter().zip(["Upload finished", "Download finished", "Upload refused"]) {
        let lines = log.lines_with(answer.header("x-request-id"));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(message) && lines[0].contains("a/b"), "{lines:?}");
    }
}

/// A server below `/upload` whose XMPP server signs that prefix too.
fn with_a_prefix_too_many() -> (Rig, impl Fn() -> Request<Incoming>) {
    let rig = Rig::with(|config| config.http.base_path = "/upload".to_owned());
    (rig, || put("upload/a/b", BYTES))
}

#[tokio::test]
async fn a_refused_signature_is_explained_without_showing_a_secret() {
    let (rig, request) = with_a_prefix_too_many();
    let log = listen();
    let mac = request().uri().query().unwrap().strip_prefix("v=").unwrap().to_owned();
    assert_eq!(rig.send(request()).await.status, 403);
    let lines = log.lines_with("Signature refused");
    assert!(lines.iter().any(|line| line.contains("upload/a/b")), "{lines:?}");
    for secret in [mac.as_str(), "a secret that is only for tests"] {
        assert!(log.lines_with(secret).is_empty(), "{:?}", log.lines_with(secret));
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_bad_signatures_gets_ten_explanations_a_second() {
    let (rig, request) = with_a_prefix_too_many();
    let log = listen();
    let explained = || {
        let lines = log.lines_with("Signature refused");
        let ids = lines.iter().filter_map(|line| line.split_once("request=")?.1.split(' ').next());
        ids.collect::<std::collections::HashSet<_>>().len()
    };
    for _ in 0..100 {
        assert_eq!(rig.send(request()).await.status, 403);
    }
    assert_eq!(explained(), 1);
    for _ in 0..1000 {
        tokio::time::advance(Duration::from_millis(1)).await;
        rig.send(request()).await;
    }
    assert_eq!(explained(), 11);
    tokio::time::advance(Duration::from_secs(3600)).await;
    // Quiet times are not saved up.
    for _ in 0..100 {
        rig.send(request()).await;
    }
    assert_eq!(explained(), 12);
}

/// Thousands of slow uploads wait in theirs, and malloc rounds up: one byte more than this takes sixteen.
#[tokio::test]
async fn what_answers_an_upload_is_small() {
    let rig = Rig::new();
    let answering = Router::new(rig.app.clone(), Surface::Public).call(put("a/b.txt", BYTES));
    assert!(size_of_val(&*answering) <= 1944, "{} bytes", size_of_val(&*answering));
}
