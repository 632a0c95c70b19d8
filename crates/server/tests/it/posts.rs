//! A POST on every way and with everything in its way: HTTP/2, TLS, pages of other origins, full and broken disks,
//! too many at once. What it means is in `direct.rs`.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::rig::command::{curl, curl_text};
use crate::rig::disk::Mounted;
use crate::rig::http::Connection;
use crate::rig::post::{JWT_SECRET, content_type, file, form, head, post, said, taking_tokens, target_of, token};
use crate::rig::server::{Builder, TestServer};
use crate::rig::tls::{self, Certificate};
use crate::rig::{sign, wait_until};

const MOMENT: Duration = Duration::from_secs(20);
/// More than is held back until a body is whole: there is a temporary while it comes.
const LARGE: usize = 300_000;

fn on(disk: &Mounted) -> Builder {
    let builder = TestServer::builder().storage(&disk.path().join("storage"));
    taking_tokens(builder.set("server.min_free_bytes", "\"1KB\""))
}

#[test]
fn a_form_on_a_full_disk_is_507_and_the_next_one_is_stored_once_there_is_room() {
    let disk = Mounted::ext4(64);
    let mut server = on(&disk).start();
    let kept = target_of(&server, &post(&server, "/upload", &token("a@b"), &file("kept.txt", b"kept")));
    let filler = disk.fill();
    let raw = [("Authorization", &*token("a@b"))];
    for length in [5, LARGE] {
        let body = vec![7; length];
        let by_form = post(&server, "/upload", &token("a@b"), &file("a.bin", &body));
        let by_body = server.request("POST", "/upload?filename=a.bin", &raw, Some(&body));
        for answer in [by_form, by_body] {
            assert_eq!((answer.status, &said(&answer)["success"]), (507, &json!(false)), "{}", answer.text());
        }
    }
    assert_eq!(server.request("GET", &kept, &[], None).body, b"kept");
    wait_until("end of the temporaries", MOMENT, || server.temporaries().is_empty());
    assert_eq!(server.stored().len(), 1, "{:?}", server.stored());
    fs::remove_file(filler).expect("filler");
    wait_until("200 once there is room", MOMENT, || {
        post(&server, "/upload", &token("a@b"), &file("a.bin", &vec![7; LARGE])).status == 200
    });
    server.terminate();
    server.assert_whole();
}

#[test]
fn a_form_on_a_disk_that_takes_no_writes_is_503_and_leaves_nothing() {
    let disk = Mounted::ext4(64);
    let server = on(&disk).start();
    let kept = target_of(&server, &post(&server, "/upload", &token("a@b"), &file("kept.txt", b"kept")));
    disk.turn_read_only();
    for length in [5, LARGE] {
        let answer = post(&server, "/upload", &token("a@b"), &file("a.bin", &vec![7; length]));
        assert_eq!((answer.status, &said(&answer)["success"]), (503, &json!(false)), "{}", answer.text());
    }
    assert_eq!(server.request("GET", &kept, &[], None).body, b"kept");
    assert_eq!(server.stored().len(), 1, "{:?}", server.stored());
    assert!(server.is_healthy());
}

#[test]
fn a_form_travels_over_http2_and_over_tls() {
    let folder = tempfile::tempdir().expect("folder");
    let certificate = Certificate::copy(folder.path());
    let bytes: Vec<u8> = (0..2_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let path = folder.path().join("a.png");
    fs::write(&path, &bytes).expect("file");
    let form = format!("file=@{};type=image/png", path.display());
    let authorization = format!("Authorization: {}", token("juliet@example.org"));

    let plain = taking_tokens(TestServer::builder()).start();
    let (builder, port) = tls::builder(&certificate);
    let secure = taking_tokens(builder).start();
    let ca = certificate.cert.display().to_string();
    let secure_url = format!("https://127.0.0.1:{port}");
    for (server, origin, options, version) in [
        (&plain, plain.public_url(), &["--http2-prior-knowledge"][..], "2"),
        (&secure, secure_url.clone(), &["--http1.1", "--cacert", &ca], "1.1"),
        (&secure, secure_url, &["--http2", "--cacert", &ca], "2"),
    ] {
        let upload = format!("{origin}/upload");
        let all = [options, &["-F", &form, "-H", &authorization, "-w", "\n%{http_code} %{http_version}", &upload]];
        let answer = curl_text(&all.concat());
        let (answer, outcome) = answer.rsplit_once('\n').expect("two lines");
        assert_eq!(outcome, format!("200 {version}"), "{options:?}: {answer}");
        let said: Value = serde_json::from_str(answer).expect("JSON");
        assert_eq!((&said["filename"], &said["size"]), (&json!("a.png"), &json!(bytes.len())), "{options:?}");
        let url = said["url"].as_str().expect("URL");
        assert!(url.starts_with(&origin), "{url} is not below {origin}");
        assert!(curl(&[options, &[url]].concat()) == bytes, "{options:?}: other bytes");
        server.assert_whole();
    }
}

#[test]
fn a_page_of_another_origin_may_post_and_reads_every_answer() {
    let server = taking_tokens(TestServer::builder()).start();
    let origin = ("Origin", "https://chat.example.org");
    for target in ["/upload", "/upload/adaptive", "/upload/auto"] {
        let asked = [
            origin,
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "authorization, content-type"),
        ];
        let preflight = server.request("OPTIONS", target, &asked, None);
        assert!([200, 204].contains(&preflight.status), "{target}: {}", preflight.status);
        let methods = preflight.header("access-control-allow-methods").expect("methods");
        assert!(methods.split(", ").any(|method| method == "POST"), "{target}: {methods}");
        assert_eq!(preflight.header("access-control-allow-headers"), Some("authorization, content-type"), "{target}");
        assert_eq!(preflight.header("access-control-allow-origin"), Some(origin.1), "{target}");

        for (authorization, status) in [(token("a@b"), 200), (String::new(), 401)] {
            let headers = [origin, ("Authorization", &*authorization), ("Content-Type", &content_type())];
            let answer = server.request("POST", target, &headers, Some(&file("a.txt", b"hello")));
            assert_eq!(answer.status, status, "{target}: {}", answer.text());
            assert_eq!(answer.header("access-control-allow-origin"), Some(origin.1), "{target}: {status}");
        }
    }
}

#[test]
fn one_sender_stores_64_files_at_once_and_hinders_nobody() {
    const MOST: usize = 64;
    let server = taking_tokens(TestServer::builder()).start();
    let body = file("a.bin", &vec![7; LARGE]);
    let (begun, rest) = body.split_at(LARGE - 10_000);
    let mut uploads: Vec<Connection> = (0..MOST)
        .map(|_| {
            let mut connection = Connection::open(server.address()).expect("connection");
            let head = head(&token("romeo@example.org"), body.len());
            connection.send(head.as_bytes()).and_then(|()| connection.send(begun)).expect("sent");
            connection
        })
        .collect();
    wait_until("64 temporaries", MOMENT, || server.temporaries().len() == MOST);
    let one_more = || post(&server, "/upload", &token("romeo@example.org"), &file("b.txt", b"hello"));
    let refused = one_more();
    assert_eq!((refused.status, &said(&refused)["error"]), (503, &json!("crowded")));
    assert_eq!(post(&server, "/upload", &token("juliet@example.org"), &file("b.txt", b"hello")).status, 200);

    let mut first = uploads.remove(0);
    first.send(rest).expect("the rest");
    assert_eq!(first.receive(false).expect("answer").status, 200);
    wait_until("a place for one more", MOMENT, || one_more().status == 200);
    uploads.into_iter().for_each(Connection::reset);
    wait_until("end of the temporaries", MOMENT, || server.temporaries().is_empty());
    server.assert_whole();
}

#[test]
fn a_token_in_the_query_is_never_logged() {
    let builder = TestServer::builder().env("RUST_LOG", "trace").set("logging.level", "\"debug\"");
    let server = taking_tokens(builder).start();
    let headers = [("Content-Type", &*content_type())];
    let mut signatures = Vec::new();
    for (secret, lifetime, status) in
        [(JWT_SECRET, 300, 200), ("another-secret-0123456789", 300, 401), (JWT_SECRET, 0, 410)]
    {
        let claims = json!({ "sub": "romeo@example.org", "exp": sign::in_seconds(lifetime) - 1 });
        let token = sign::jwt(r#"{"alg":"HS256","typ":"JWT"}"#, secret, &claims);
        let target = format!("/upload?token={token}&filename=a.txt");
        let answer = server.request("POST", &target, &headers, Some(&file("a.txt", b"hello")));
        assert_eq!(answer.status, status, "{}", answer.text());
        let read = server.request("GET", &format!("/download/a/b.txt?token={token}"), &[], None);
        assert_ne!(read.status, 200);
        signatures.push(token.rsplit('.').next().expect("a signature").to_owned());
        for text in [answer.text(), read.text()] {
            assert!(!text.contains(&signatures[signatures.len() - 1]), "{text}");
        }
    }
    let is_said = |what: &str, count| server.log().lines().filter(|line| line.contains(what)).count() == count;
    wait_until("word of each", MOMENT, || is_said("Upload finished", 1) && is_said("Upload refused", 2));
    let log = server.log();
    for signature in signatures {
        assert!(!log.contains(&signature), "{signature} is in the log: {log}");
    }
}

#[test]
fn a_form_without_a_file_has_not_broken_off() {
    let server = taking_tokens(TestServer::builder())
        .set("performance.adaptive_buffers", "true")
        .set("performance.client_profile_logging", "true")
        .start();
    let nothing = form("name=\"other\"", &[7; 300_000]);
    assert_eq!(post(&server, "/upload/adaptive", &token("a@b"), &nothing).status, 400);
    let learnt = || server.log().lines().find(|line| line.contains("Learnt about a client")).map(str::to_owned);
    wait_until("what it taught", MOMENT, || learnt().is_some());
    let learnt = learnt().expect("a line");
    assert!(learnt.contains("breaks=0.0"), "{learnt}");
}
