//! The original server's routes beside the slots: `POST /upload`, `GET /download/`, and the arms that they take.

use std::fs;
use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::rig::command::{curl, curl_text};
use crate::rig::http::{Connection, Response};
use crate::rig::post::{END, JWT_SECRET, content_type, file, form, head, post, said, taking_tokens, target_of, token};
use crate::rig::server::{Builder, SECRET, TestServer};
use crate::rig::sign::{self, in_seconds};
use crate::rig::wait_until;

fn with_tokens() -> Builder {
    taking_tokens(TestServer::builder())
}

#[test]
fn curl_uploads_a_form_and_gets_it_back_by_its_url() {
    let server = with_tokens().start();
    let path = server.home().join("Grüße 1.png");
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n.wrapping_mul(n).to_le_bytes()[1]).collect();
    fs::File::create(&path).and_then(|mut file| file.write_all(&bytes)).expect("file");
    let authorization = format!("Authorization: {}", token("juliet@example.org"));
    let form = format!("file=@{};type=image/png", path.display());
    let upload = format!("{}/upload", server.public_url());
    let answer = curl_text(&["-F", &form, "-H", &authorization, &upload]);
    let said: Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!(
        (&said["success"], &said["filename"], &said["size"]),
        (&json!(true), &json!("Grüße 1.png"), &json!(bytes.len()))
    );
    assert!(said["duration"].as_str().is_some_and(|text| text.ends_with('s')), "{said}");
    let url = said["url"].as_str().expect("URL");
    assert!(curl(&[url]) == bytes);
    assert!(curl_text(&["-I", url]).to_lowercase().contains("content-type: image/png"));

    let slot = url.strip_prefix(&server.public_url()).expect("a URL of ours");
    let download = format!("{}/download{slot}", server.public_url());
    assert!(curl(&["-H", &authorization, &download]) == bytes);
    let head = curl_text(&["-I", "-H", &authorization, &download]).to_lowercase();
    assert!(head.contains("content-type: application/octet-stream"), "{head}");
    assert!(head.contains("content-disposition: attachment"), "{head}");
    assert_eq!(curl(&["-r", "5-9", "-H", &authorization, &download]), bytes[5..10]);
    server.assert_whole();
}

#[test]
fn curl_uploads_a_raw_body_with_and_without_a_length() {
    let server = with_tokens().start();
    let path = server.home().join("raw");
    fs::write(&path, b"raw bytes").expect("file");
    let authorization = format!("Authorization: {}", token("juliet@example.org"));
    let upload = format!("{}/upload?filename=a%20b.txt", server.public_url());
    let body = format!("@{}", path.display());
    for framing in ["Expect:", "Transfer-Encoding: chunked"] {
        let headers = ["-H", &authorization, "-H", framing, "-H", "Content-Type: text/plain"];
        let answer = curl_text(&[&headers[..], &["--data-binary", &body, &upload]].concat());
        let said: Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!((&said["filename"], &said["size"]), (&json!("a b.txt"), &json!(9)), "{framing}");
        assert_eq!(curl_text(&[said["url"].as_str().expect("URL")]), "raw bytes");
    }
}

#[test]
fn without_rights_nothing_is_open() {
    let server = with_tokens().start();
    let body = file("a.txt", b"hello");
    let file_share = sign::file_share(
        SECRET,
        &json!({
            "slot": "upload", "filename": "a.txt", "filesize": 5, "iat": in_seconds(0), "exp": in_seconds(300),
        }),
    );
    let wrong_key = sign::file_share(SECRET, &json!({ "sub": "a@b", "exp": in_seconds(300) }));
    let past = sign::file_share(JWT_SECRET, &json!({ "sub": "a@b", "exp": in_seconds(0) - 1 }));
    for (name, authorization, status) in [
        ("nothing", "", 401),
        ("basic", "Basic YTpi", 401),
        ("a broken token", "Bearer x.y.z", 401),
        ("another key", &wrong_key, 401),
        ("a slot's token", &file_share, 403),
        ("a token past its time", &past, 410),
    ] {
        for target in ["/upload", "/upload/adaptive", "/upload/auto"] {
            let answer = post(&server, target, authorization, &body);
            assert_eq!(answer.status, status, "{name} at {target}: {}", answer.text());
            assert_eq!(said(&answer)["success"], json!(false));
            assert_eq!(answer.header("www-authenticate").is_some(), status == 401, "{name}");
        }
        for target in ["/download/a/b.txt", "/download/adaptive/a/b.txt"] {
            let answer = server.request("GET", target, &[("Authorization", authorization)], None);
            assert_eq!(answer.status, status, "{name} at {target}: {}", answer.text());
        }
    }
    let without = TestServer::start();
    assert_eq!(post(&without, "/upload", &token("a@b"), &body).status, 401);
    assert_eq!(without.request("GET", "/download/a/b.txt", &[], None).status, 401);
}

#[test]
fn a_constant_signature_needs_its_key_of_the_configuration_and_is_told_of() {
    let signature = sign::path(SECRET, "/upload");
    let body = file("a.txt", b"hello");
    let headers = [("X-Signature", signature.as_str()), ("Content-Type", &content_type())];
    let refusing = TestServer::start();
    assert_eq!(refusing.request("POST", "/upload", &headers, Some(&body)).status, 403);
    wait_until("word of it", Duration::from_secs(10), || refusing.log().contains("x_signature"));

    let server = TestServer::builder().set("compat.x_signature", "true").start();
    let answer = server.request("POST", "/upload", &headers, Some(&body));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(server.request("GET", &target_of(&server, &answer), &[], None).body, b"hello");
    assert_eq!(server.request("POST", "/upload/adaptive", &headers, Some(&body)).status, 403, "another path");
    wait_until("word of it", Duration::from_secs(10), || server.log().contains("X-Signature was accepted"));
    let metrics = server.request("GET", "/metrics", &[], None).text();
    assert!(metrics.contains("hfs_auth_total{proof=\"x-signature\",outcome=\"accepted\"} 1"), "{metrics}");
    assert!(!server.log().contains(&signature));
    let rows = Command::new("sqlite3")
        .arg(server.storage().join(".hfs/meta.sqlite"))
        .arg("SELECT proof, count(*) FROM blob GROUP BY proof")
        .output()
        .expect("sqlite3");
    assert_eq!(String::from_utf8_lossy(&rows.stdout), "x-signature|1\n", "{rows:?}");
    server.assert_whole();
}

#[test]
fn a_read_by_the_originals_signature_works() {
    let server = TestServer::start();
    assert_eq!(server.put("a/b.txt", b"hello").status, 201);
    let target = |slot: &str| format!("/download/{slot}?{}", sign::v1(SECRET, "download/a/b.txt", 0));
    assert_eq!(server.request("GET", &target("a/b.txt"), &[], None).body, b"hello");
    assert_eq!(server.request("GET", &target("a/c.txt"), &[], None).status, 403);
}

#[test]
fn one_name_at_once_gives_two_files() {
    let server = with_tokens().start();
    let answers: Vec<Response> = std::thread::scope(|scope| {
        let uploads: Vec<_> = [b"first".as_slice(), b"other"]
            .map(|bytes| scope.spawn(|| post(&server, "/upload", &token("a@b"), &file("photo.jpg", bytes))))
            .into_iter()
            .collect();
        uploads.into_iter().map(|upload| upload.join().expect("answer")).collect()
    });
    let urls: Vec<String> = answers.iter().map(|answer| target_of(&server, answer)).collect();
    assert_ne!(urls[0], urls[1]);
    assert_eq!(server.request("GET", &urls[0], &[], None).body, b"first");
    assert_eq!(server.request("GET", &urls[1], &[], None).body, b"other");
    assert!(urls.iter().all(|url| url.ends_with("/photo.jpg")));
}

#[test]
fn hostile_names_stay_below_their_slot() {
    let server = with_tokens().start();
    let long = format!("{}.txt", "x".repeat(300));
    for (name, kept) in [
        ("../../../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("/.hfs/meta.sqlite", "meta.sqlite"),
        ("a%2f..%2fb", "a%2f..%2fb"),
        ("-rf *;?#&.txt", "-rf *;?#&.txt"),
        (&long, &long),
    ] {
        let answer = post(&server, "/upload", &token("a@b"), &file(name, name.as_bytes()));
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        assert_eq!(said(&answer)["filename"], json!(kept));
        let got = server.request("GET", &target_of(&server, &answer), &[], None);
        assert_eq!((got.status, got.body.as_slice()), (200, name.as_bytes()), "{name}");
    }
    for name in ["..", ".", "folder/.."] {
        let answer = post(&server, "/upload", &token("a@b"), &file(name, b"x"));
        assert_eq!((answer.status, &said(&answer)["error"]), (400, &json!("bad-path")), "{name}");
    }
    let raw = [("Authorization", &*token("a@b"))];
    for name in ["..", "a%00b", "a/"] {
        let answer = server.request("POST", &format!("/upload?filename={name}"), &raw, Some(b"x"));
        assert_eq!((answer.status, &said(&answer)["error"]), (400, &json!("bad-path")), "{name}");
    }
    server.assert_whole();
}

#[test]
fn what_is_no_form_with_one_file_is_refused_and_leaves_nothing() {
    let server = with_tokens().set("server.max_upload_size", "\"1MB\"").start();
    let two = [&form("name=\"file\"; filename=\"a\"", b"1")[..], &file("b", b"2")].concat();
    let two = String::from_utf8(two).expect("text").replacen(END, "", 1).into_bytes();
    let mut unfinished = file("a", b"half");
    unfinished.truncate(unfinished.len() - "\r\n".len() - END.len());
    for (name, body, status, code) in [
        ("two files", two, 400, "bad-form"),
        ("no file", form("name=\"other\"", b"x"), 400, "bad-form"),
        ("no name", form("name=\"file\"", b"x"), 400, "bad-form"),
        ("nothing", Vec::new(), 400, "bad-form"),
        ("no end", unfinished, 400, "bad-form"),
        ("too large by a byte", file("a", &vec![0; (1 << 20) + 1]), 413, "too-large"),
        ("far too large", file("a", &vec![0; 3 << 20]), 413, "too-large"),
    ] {
        let answer = post(&server, "/upload", &token("a@b"), &body);
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        assert_eq!(said(&answer)["error"], json!(code), "{name}");
    }
    assert_eq!(post(&server, "/upload", &token("a@b"), &file("a", &vec![0; 1 << 20])).status, 200);
    assert_eq!(published(&server), 1);
    server.assert_whole();
}

#[test]
fn whatever_a_direct_route_refuses_it_says_in_json() {
    let server = with_tokens().start();
    assert_eq!(server.put("a/b.txt", b"hello").status, 201);
    let token = token("a@b");
    let get =
        |target: &str, header: (&str, &str)| server.request("GET", target, &[("Authorization", &*token), header], None);
    for base in ["/download", "/download/adaptive"] {
        for (path, header, status, code) in [
            ("a/c.txt", ("A", "b"), 404, "not-found"),
            ("..%2fa", ("A", "b"), 404, "not-found"),
            ("", ("A", "b"), 404, "not-found"),
            ("a/b.txt", ("Range", "bytes=5-"), 416, "range"),
            ("a/b.txt", ("If-Match", "\"other\""), 412, "precondition"),
        ] {
            let answer = get(&format!("{base}/{path}"), header);
            assert_eq!((answer.status, &said(&answer)["error"]), (status, &json!(code)), "{path}: {}", answer.text());
            assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
        }
    }
    assert_eq!(get("/download/a/b.txt", ("Range", "bytes=5-")).header("content-range"), Some("bytes */5"));
    let plain = get("/a/b.txt", ("Range", "bytes=5-"));
    assert_eq!((plain.status, plain.header("content-type")), (416, Some("text/plain; charset=utf-8")));
    let metrics = || server.request("GET", "/metrics", &[], None).text();
    assert_eq!(post(&server, "/upload", &token, b"no form").status, 400);
    assert!(metrics().contains("hfs_upload_refusals_total{reason=\"form\"} 1"), "{}", metrics());
}

#[test]
fn another_method_than_a_downloads_own_is_told_so_and_logged() {
    let server = with_tokens().base_path("/files").start();
    let of_slots = "OPTIONS, HEAD, GET, PUT, DELETE";
    for (method, target, allowed) in [
        // Outside of the base path there are no slots; inside, one may be called so.
        ("POST", "/download/a/b.txt", "OPTIONS, HEAD, GET"),
        ("PATCH", "/files/download/adaptive/a/b.txt", of_slots),
        ("POST", "/files/download/", "OPTIONS, HEAD, GET"),
    ] {
        let answer = server.request(method, target, &[], None);
        assert_eq!((answer.status, &said(&answer)["error"]), (405, &json!("method")), "{}", answer.text());
        assert_eq!(said(&answer)["message"], json!(format!("This takes GET, not {method}")), "{target}");
        assert_eq!(answer.header("allow"), Some(allowed), "{target}");
    }
    // Not a route of those.
    assert_eq!(server.request("POST", "/files/a/b.txt", &[], None).status, 405);
    for (target, takes) in [
        ("/download/a/b.txt", "GET"),
        ("/files/download/adaptive/a/b.txt", "GET"),
        ("/files/download/", "GET"),
        ("/files/a/b.txt", of_slots),
    ] {
        let is_it = |line: &str| {
            line.contains("Not served") && line.contains("status=405") && line.contains(&format!("it takes {takes}"))
        };
        wait_until("its line", Duration::from_secs(10), || {
            server.log().lines().any(|line| is_it(line) && line.contains(&format!("slot=\"{target}\"")))
        });
    }
    assert_eq!(server.put("download/adaptive/a/b.txt", b"hello").status, 201);
    let below = with_tokens().base_path("/download").start();
    let post = below.request("GET", "/download/upload", &[], None);
    assert_eq!((post.status, post.header("allow")), (405, Some("OPTIONS, POST")), "that one is POSTed to");
}

#[test]
fn an_extension_that_is_not_allowed_is_refused_by_name() {
    let server = with_tokens().set("uploads.allowed_extensions", "[\"txt\"]").start();
    assert_eq!(post(&server, "/upload", &token("a@b"), &file("a.txt", b"x")).status, 200);
    let refused = post(&server, "/upload", &token("a@b"), &file("a.exe", b"x"));
    assert_eq!((refused.status, &said(&refused)["error"]), (400, &json!("extension")));
}

#[test]
fn a_form_that_breaks_off_leaves_nothing() {
    let server = with_tokens().start();
    let mut connection = Connection::open(server.address()).expect("connection");
    let body = file("a.txt", &vec![7; 300_000]);
    let head = head(&token("a@b"), body.len());
    connection.send(head.as_bytes()).and_then(|()| connection.send(&body[..200_000])).expect("sent");
    wait_until("a temporary", Duration::from_secs(10), || temporaries(&server) == 1);
    connection.reset();
    wait_until("no temporary", Duration::from_secs(10), || temporaries(&server) == 0);
    assert_eq!(published(&server), 0);
    server.assert_whole();
}

#[test]
fn a_slot_that_is_called_like_a_route_stays_a_slot() {
    let server = with_tokens().start();
    for slot in ["upload", "upload/adaptive", "download/a.txt", "download/adaptive/a.txt"] {
        assert_eq!(server.get(slot).status, if slot.starts_with("download") { 401 } else { 405 }, "{slot}");
        if slot != "upload" {
            assert_eq!(server.put(slot, slot.as_bytes()).status, 201, "{slot}");
            let got = server.get(slot);
            assert_eq!((got.status, got.body.as_slice()), (200, slot.as_bytes()), "{slot}");
            assert_eq!(got.header("content-type"), Some("text/plain; charset=utf-8"), "{slot}");
        }
    }
    assert_eq!(server.put("a.txt", b"another").status, 201);
    let authorization = [("Authorization", &*token("a@b"))];
    let got = server.request("GET", "/download/a.txt", &authorization, None);
    assert_eq!(got.body, b"download/a.txt", "the slot comes first");
}

#[test]
fn the_routes_are_below_the_base_path_and_at_the_root() {
    let server = with_tokens().base_path("/files").start();
    for target in ["/upload", "/files/upload"] {
        let answer = post(&server, target, &token("a@b"), &file("a.txt", b"hello"));
        let url = target_of(&server, &answer);
        let slot = url.strip_prefix("/files/").expect("below the base path");
        assert_eq!(server.request("GET", &url, &[], None).body, b"hello");
        for prefix in ["/download/", "/files/download/"] {
            let headers = [("Authorization", &*token("a@b"))];
            assert_eq!(server.request("GET", &format!("{prefix}{slot}"), &headers, None).body, b"hello");
        }
    }
    assert_eq!(server.request("GET", "/upload", &[], None).status, 405, "as the original has it");
}

#[test]
fn each_route_takes_its_arm() {
    for (settings, expected) in [
        (&[][..], ["standard", "adaptive", "adaptive", "standard", "adaptive"]),
        (&["fully_adaptive"], ["adaptive"; 5]),
    ] {
        let adaptive = with_tokens().set("performance.adaptive_buffers", "true");
        let builder = settings.iter().fold(adaptive, |all, key| all.set(&format!("performance.{key}"), "true"));
        assert_eq!(arms(&builder.start()), expected, "{settings:?}");
    }
    let off = with_tokens().set("performance.adaptive_buffers", "false").start();
    assert_eq!(arms(&off), ["standard"; 5], "the configuration wins over every route");
}

/// The arms of three uploads and two downloads, as the log names them.
fn arms(server: &TestServer) -> [String; 5] {
    let authorization = token("a@b");
    let (mut slot, mut arms) = (String::new(), Vec::new());
    for target in ["/upload", "/upload/adaptive", "/upload/auto"] {
        let answer = post(server, target, &authorization, &file("a.txt", b"hello"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        slot = target_of(server, &answer);
        arms = finished(server, arms.len() + 1);
    }
    for route in ["/download", "/download/adaptive"] {
        let answer = server.request("GET", &format!("{route}{slot}"), &[("Authorization", &*authorization)], None);
        assert_eq!(answer.body, b"hello");
        arms = finished(server, arms.len() + 1);
    }
    arms.try_into().expect("five")
}

/// The arms of all transfers in the log, once there are `count`: a line comes after its answer, and two that follow each
/// other closely may change places.
#[track_caller]
fn finished(server: &TestServer, count: usize) -> Vec<String> {
    let mut arms = Vec::new();
    wait_until(&format!("{count} lines"), Duration::from_secs(10), || {
        let log = server.log();
        let lines = log.lines().filter(|line| line.contains(" finished "));
        arms = lines.filter_map(|line| Some(line.split_once("arm=\"")?.1.split('"').next()?.to_owned())).collect();
        arms.len() == count
    });
    arms
}

#[test]
fn a_test_splits_uploads_evenly_and_each_client_for_good() {
    let adaptive = with_tokens().set("performance.adaptive_buffers", "true");
    let server = adaptive.set("performance.testing_mode", "true").start();
    let users: Vec<String> = (0..40).map(|n| format!("user{n}@example.org")).collect();
    for user in users.iter().chain(&users) {
        assert_eq!(post(&server, "/upload/auto", &token(user), &file("a.txt", b"hello")).status, 200);
    }
    let mut lines = Vec::new();
    wait_until("80 lines", Duration::from_secs(10), || {
        lines = server.log().lines().filter(|line| line.contains("Upload finished")).map(str::to_owned).collect();
        lines.len() == 2 * users.len()
    });
    let arm = |user: &str| {
        let owner = format!("owner=\"{user}\"");
        let own: Vec<bool> =
            lines.iter().filter(|line| line.contains(&owner)).map(|line| line.contains("arm=\"adaptive\"")).collect();
        assert!(own.len() == 2 && own[0] == own[1], "{user}: {own:?}");
        own[0]
    };
    let adaptive = users.iter().filter(|user| arm(user)).count();
    assert!((8..=32).contains(&adaptive), "{adaptive} of 40");
}

/// Temporaries that still have a name.
fn temporaries(server: &TestServer) -> usize {
    let folder = server.storage().join(".hfs/tmp");
    fs::read_dir(folder).map_or(0, |entries| entries.filter(|entry| entry.as_ref().is_ok_and(is_file)).count())
}

fn is_file(entry: &fs::DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_file())
}

/// Folders of slots below the root.
fn published(server: &TestServer) -> usize {
    let entries = fs::read_dir(server.storage()).expect("storage");
    entries.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name() != ".hfs")).count()
}
