//! The log: no secret in it at any level, why a proof failed, and the file with its rotation.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::rig::command::{curl_text, run};
use crate::rig::http::Connection;
use crate::rig::server::{SECRET, TestServer};
use crate::rig::sign::{self, in_seconds};
use crate::rig::wait_until;

const DELETE_SECRET: &str = "deletes-9f8e7d6c5b4a3928170f6e5d4c3b2a19";
const JWT_SECRET: &str = "tokens-1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b";
const MOMENT: Duration = Duration::from_secs(5);

/// Query and `Authorization` of every proof for the slot.
fn proofs(secret: &str, slot: &str) -> Vec<(String, Option<String>)> {
    let claims = json!({
        "sub": "alice@example.org", "slot": "s", "filename": "file.txt", "filesize": 5, "filetype": "text/plain",
        "iat": in_seconds(0), "exp": in_seconds(300),
    });
    let plain = json!({ "sub": "alice@example.org", "exp": in_seconds(300) });
    let header = r#"{"alg":"HS256","typ":"JWT"}"#;
    vec![
        (sign::v1(secret, slot, 5), None),
        (sign::v2(secret, slot, 5, "text/plain"), None),
        (sign::token(secret, slot, 5, "text/plain"), None),
        (sign::v3(secret, slot, in_seconds(300)), None),
        (String::new(), Some(sign::file_share(secret, &claims))),
        (String::new(), Some(format!("Bearer {}", sign::jwt(header, JWT_SECRET, &plain)))),
        (format!("token={}", sign::jwt(header, secret, &claims)), None),
        (sign::delete(secret, DELETE_SECRET, slot), None),
    ]
}

/// What must not be seen of a proof: its MAC, or the signature of its token.
fn tag(proof: &(String, Option<String>)) -> String {
    let (query, authorization) = proof;
    let text = authorization.as_deref().unwrap_or(query);
    let value = text.split(['=', ' ']).nth(1).expect("a proof").split('&').next().expect("a value");
    value.rsplit('.').next().expect("a signature").to_owned()
}

#[test]
fn no_proof_and_no_secret_is_ever_logged() {
    for (level, format) in [("debug", "text"), ("trace", "json")] {
        let server = TestServer::builder()
            .env("RUST_LOG", "trace")
            .set("logging.level", &format!("{level:?}"))
            .set("logging.format", &format!("{format:?}"))
            .set("security.delete_secret", &format!("{DELETE_SECRET:?}"))
            .set("security.enablejwt", "true")
            .set("security.jwtsecret", &format!("{JWT_SECRET:?}"))
            .start();
        let mut tags = vec![SECRET.to_owned(), DELETE_SECRET.to_owned(), JWT_SECRET.to_owned()];
        let mut said = String::new();
        for secret in [SECRET, "another-secret-of-somebody-else-0123456789"] {
            for (number, proof) in proofs(secret, "s/file.txt").into_iter().enumerate() {
                tags.push(tag(&proof));
                said.push_str(&misuse(&server, &proof));
                said.push_str(&misuse_over_http2(&server, &proof, number));
            }
        }
        wait_until("lines", MOMENT, || server.log().contains("Upload finished"));
        for (place, text) in [("log", server.log()), ("answers", said), ("metrics", server.get("metrics").text())] {
            let text = text.to_lowercase();
            for tag in &tags {
                assert!(!text.contains(&tag.to_lowercase()), "{tag} is in the {place} at {level}: {text}");
            }
        }
    }
}

/// The proof where it belongs, where it does not, and in requests that are none. Returns every answer.
fn misuse(server: &TestServer, (query, authorization): &(String, Option<String>)) -> String {
    let authorization = authorization.as_deref().unwrap_or("Basic dXNlcjpwYXNz");
    let headers = [("Authorization", authorization), ("Referer", &format!("http://localhost/s/file.txt?{query}"))];
    let host = "Host: localhost\r\n";
    let line = format!("Authorization: {authorization}\r\n");
    let mut said = String::new();
    for (method, slot, body) in [
        ("PUT", "s/file.txt", &b"hello"[..]),
        ("PUT", "s/file.txt", b"other"),
        ("PUT", "s/other.txt", b"hello"),
        ("PUT", "s/../file.txt", b"hello"),
        ("PUT", "s/file.txt", b"much longer than it was signed"),
        ("GET", "s/file.txt", b""),
        ("DELETE", "s/file.txt", b""),
        ("POST", "s/file.txt", b"hello"),
    ] {
        let answer = server.request(method, &format!("/{slot}?{query}"), &headers, Some(body));
        said.push_str(&format!("{:?} {}", answer.headers, answer.text()));
    }
    for malformed in [
        format!("PUT /s/x.txt?{query} HTTP/9.9\r\n{host}{line}\r\n"),
        format!("PUT /s/x.txt?{query} HTTP/1.1\r\n{host}{host}{line}\r\n"),
        format!("PUT /s/x y.txt?{query} HTTP/1.1\r\n{host}{line}\r\n"),
        format!("PUT /s/x.txt?{query} HTTP/1.1\r\n{host}{line}Content-Length: +5\r\n\r\nhello"),
        format!("PUT /s/x.txt?{query} HTTP/1.1\r\n{host}{line}X\u{1}: y\r\n\r\n"),
        format!("PUT http://user:pass@localhost/s/x.txt?{query} HTTP/1.1\r\n{host}{line}\r\n"),
    ] {
        let mut connection = Connection::open(server.address()).expect("connection");
        connection.send(malformed.as_bytes()).expect("sent");
        if let Ok(answer) = connection.receive(false) {
            assert!(answer.status >= 400, "{malformed}: {}", answer.status);
            said.push_str(&format!("{:?} {}", answer.headers, answer.text()));
        }
    }
    said
}

fn misuse_over_http2(server: &TestServer, (query, authorization): &(String, Option<String>), number: usize) -> String {
    let url = format!("{}/h2/{number}.txt?{query}", server.public_url());
    let header = format!("Authorization: {}", authorization.as_deref().unwrap_or("Basic dXNlcjpwYXNz"));
    let common = ["--http2-prior-knowledge", "-i", "-H", &header, "-X", "PUT", "--data-binary", "hello"];
    let normal = curl_text(&[&common[..], &[&url]].concat());
    normal + &curl_text(&[&common[..], &["-H", "Expect: magic", &url]].concat())
}

#[test]
fn no_complaint_about_a_configuration_shows_a_secret() {
    let home = tempfile::tempdir().expect("folder");
    let config = home.path().join("config.toml");
    let bad = [
        format!("[security]\nsecret = \"{SECRET}\nlevel = 1\n"),
        format!("[security]\nsecret = {SECRET}\n"),
        format!("[security]\nsecret = '{SECRET}' '{JWT_SECRET}'\n"),
        format!("[security]\nsecrett = \"{SECRET}\"\n"),
        format!("[securitty]\nsecret = \"{SECRET}\"\n"),
        format!("[server]\nsecret = \"{SECRET}\"\n"),
        format!("secret = \"{SECRET}\"\n"),
        format!("[security]\nsecret = [\"{SECRET}\", 5]\nsecret = \"{SECRET}\"\n"),
        format!("[security]\nsecret = {{ a = \"{SECRET}\" }}\n"),
        format!("[security]\njwtalgorithm = \"{SECRET}\"\njwtsecret = \"{JWT_SECRET}\nx\n"),
        format!("security = {{ secret = \"{SECRET}\", secret2 = \"{JWT_SECRET}\" }}\n"),
        format!("[security]\nsecret = \"\"\"\n{SECRET}\n"),
    ];
    for text in bad {
        fs::write(&config, &text).expect("configuration");
        let config = config.display().to_string();
        for arguments in [
            &["--config", &config][..],
            &["check", "--config", &config],
            &["sign", "a/b.txt", "--size", "5", "--config", &config],
        ] {
            let said = run(home.path(), arguments);
            assert_eq!(said.code, Some(78), "{text}{arguments:?}: {}", said.all());
            for secret in [SECRET, JWT_SECRET] {
                assert!(!said.all().contains(secret), "{text}{arguments:?}: {}", said.all());
            }
        }
    }
}

#[test]
fn a_refused_signature_is_explained_to_the_operator_alone() {
    let server = TestServer::builder().base_path("/upload").start();
    let bare = TestServer::start();
    let cases = [
        (&server, "/upload/a/b.txt", sign::v1(SECRET, "upload/a/b.txt", 5), "\"upload/a/b.txt\""),
        (&bare, "/upload/a/b.txt", sign::v1(SECRET, "a/b.txt", 5), "base path missing?"),
        (&server, "/upload/a/b.txt", sign::v1(SECRET, "/a/b.txt", 5), "leading slash"),
        (&server, "/upload/a/b.txt", sign::v1(SECRET, "a/b.txt", 21), "length of 21"),
        (&server, "/upload/a/b.txt", sign::v2(SECRET, "a/b.txt", 5, "text/plain").replace("v2=", "v="), "but as v2"),
        (&server, "/upload/a/b.txt", sign::v1(&format!("{SECRET}\n"), "a/b.txt", 5), "line break"),
        (&server, "/upload/a/b.txt", sign::v3(SECRET, "a/b.txt", in_seconds(0) - 90), "do the clocks agree?"),
    ];
    for (server, path, query, expected) in cases {
        // Explaining is rationed to ten a second.
        wait_until(&format!("explanation with {expected}"), MOMENT, || {
            let answer = server.request("PUT", &format!("{path}?{query}"), &[], Some(b"hello"));
            assert_eq!(answer.status, 403, "{expected}");
            assert!(!answer.text().contains(expected), "{}", answer.text());
            let id = answer.header("x-request-id").expect("an id").to_owned();
            let log = server.log();
            log.lines().any(|line| line.contains(&id) && line.contains("Signature refused") && line.contains(expected))
        });
    }
}

#[test]
fn every_line_of_json_is_json_and_names_its_request() {
    let server = TestServer::builder().set("logging.format", "\"json\"").start();
    let hostile = "s/a\n{\"level\":\"ERROR\"}\u{1b}[31m\u{202e}\"'.txt";
    let answers = [server.put(hostile, b"hello"), server.get(hostile), server.put(hostile, b"other")];
    assert_eq!(answers.each_ref().map(|answer| answer.status), [201, 200, 409]);
    let lines = || -> Vec<Value> {
        let log = server.log();
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        log.lines().map(parse).collect()
    };
    for answer in answers {
        let id = answer.header("x-request-id").expect("an id");
        wait_until("line of the request", MOMENT, || {
            lines()
                .iter()
                .any(|line| line["request"] == id && line["slot"] == hostile && line["status"] == answer.status)
        });
    }
}

#[test]
fn a_line_of_text_stays_one_line() {
    let server = TestServer::start();
    let hostile = "s/a\n2026-01-01T00:00:00Z ERROR forged\u{1b}[31m\u{202e}.txt";
    assert_eq!(server.put(hostile, b"hello").status, 201);
    wait_until("line of the upload", MOMENT, || server.log().contains("forged"));
    let log = server.log();
    assert!(!log.contains(['\u{1b}', '\u{202e}']), "{log}");
    assert!(!log.lines().any(|line| line.starts_with("2026-01-01T00")), "{log}");
}

/// A server whose standard error leads into a pipe, and the pipe's other end.
fn log_to_pipe() -> (TestServer, fs::File) {
    let home = tempfile::tempdir().expect("folder");
    let pipe = home.path().join("stderr");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("pipe");
    // Open for both, or the server's own opening would wait for a reader, and reading would end with the server.
    let reader = fs::File::options().read(true).write(true).open(&pipe).expect("pipe");
    let script = "exec \"$@\" 2>\"$0\"";
    let server = TestServer::builder().wrapper(&["sh", "-c", script, &pipe.display().to_string()]).start();
    (server, reader)
}

#[test]
fn a_reader_of_the_log_that_hangs_stops_no_request() {
    const REQUESTS: usize = 6_000;
    let (mut server, reader) = log_to_pipe();
    let mut connection = Connection::open(server.address()).expect("connection");
    let slot = format!("s/{}.txt", "x".repeat(900));
    for number in 0..REQUESTS {
        let answer = connection.request("PUT", &format!("/{slot}?v=00"), &[], Some(b""));
        assert_eq!(answer.unwrap_or_else(|error| panic!("request {number}: {error}")).status, 403);
    }
    assert_eq!(server.put("s/through.txt", b"hello").status, 201);
    let lost = "hfs_log_lines_lost_total ";
    let metrics = server.get("metrics").text();
    let counted: usize = metrics.lines().find_map(|line| line.strip_prefix(lost)).expect(lost).parse().expect("number");
    assert!(counted > 0 && counted < REQUESTS, "{counted} of {REQUESTS}");

    // Read on, and the log says how many are missing.
    let (line, lines) = channel();
    std::thread::spawn(move || BufReader::new(reader).lines().map_while(Result::ok).try_for_each(|l| line.send(l)));
    let (mut written, mut confessed) = (0, 0);
    while written + confessed < REQUESTS + 1 {
        let line = lines.recv_timeout(MOMENT).expect("a line");
        written += usize::from(line.contains("Upload refused") || line.contains("Upload finished"));
        let lost = line.split_once("Log lines were lost here lines=").map(|(_, lines)| lines.parse::<usize>());
        confessed += lost.map_or(0, |lines| lines.expect("a number"));
    }
    assert_eq!((written, confessed), (REQUESTS + 1 - counted, counted));
    server.signal(Signal::TERM);
    while !lines.recv_timeout(MOMENT).expect("a line").ends_with("Stopped") {}
    assert!(server.wait(MOMENT).success());
}

#[test]
fn a_reader_of_the_log_that_hangs_does_not_keep_the_server_from_stopping() {
    let (mut server, _reader) = log_to_pipe();
    let mut connection = Connection::open(server.address()).expect("connection");
    for _ in 0..200 {
        let answer = connection.request("PUT", &format!("/s/{}.txt?v=00", "x".repeat(900)), &[], Some(b""));
        assert_eq!(answer.expect("answer").status, 403);
    }
    server.signal(Signal::TERM);
    assert!(server.wait(Duration::from_secs(20)).success());
}

fn log_to(file: &Path) -> TestServer {
    TestServer::builder()
        .set("logging.file", &format!("{:?}", file.display().to_string()))
        .set("logging.max_size", "1")
        .set("logging.max_backups", "2")
        .start()
}

#[test]
fn the_log_file_is_private_and_rotates() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("server.log");
    let mut server = log_to(&file);
    let mut connection = Connection::open(server.address()).expect("connection");
    let slot = format!("s/{}.txt", "x".repeat(1900));
    let mut count = 0;
    while !folder.path().join("server.log.1").exists() {
        count += 1;
        assert!(count < 3000, "no rotation");
        let answer = connection.request("PUT", &format!("/{slot}?v=00"), &[], Some(b""));
        assert_eq!(answer.expect("answer").status, 403);
    }
    server.terminate();
    for name in ["server.log", "server.log.1"] {
        let meta = fs::metadata(folder.path().join(name)).expect(name);
        assert_eq!(meta.permissions().mode() & 0o777, 0o600, "{name}");
        assert!(meta.len() <= 1 << 20, "{name}: {}", meta.len());
    }
    let text =
        fs::read_to_string(folder.path().join("server.log.1")).expect("log") + &fs::read_to_string(&file).expect("log");
    assert_eq!(text.matches("Upload refused").count(), count, "a line was lost");
    assert!(text.ends_with("Stopped\n"), "the last line was not written out");
}

#[test]
fn the_log_file_follows_an_external_rotation() {
    let folder = tempfile::tempdir().expect("folder");
    let (file, moved) = (folder.path().join("server.log"), folder.path().join("yesterday.log"));
    let server = log_to(&file);
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    assert_eq!(server.put("s/before.txt", b"hello").status, 201);
    wait_until("line", MOMENT, || read(&file).contains("s/before.txt"));
    fs::rename(&file, &moved).expect("rotated");
    assert_eq!(server.put("s/between.txt", b"hello").status, 201);
    wait_until("line in the moved file", MOMENT, || read(&moved).contains("s/between.txt"));
    server.reload_until("applied");
    assert_eq!(server.put("s/after.txt", b"hello").status, 201);
    wait_until("line in the new file", MOMENT, || read(&file).contains("s/after.txt"));
    assert!(!read(&moved).contains("s/after.txt") && !read(&file).contains("s/between.txt"));
    assert_eq!(fs::metadata(&file).expect("log").permissions().mode() & 0o777, 0o600);
}
