//! The administrator: who is let in and where, and the benchmarks of the two data paths.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::rig::command::{clean, curl_text, finish};
use crate::rig::http::{Connection, Response, exchange};
use crate::rig::server::{Builder, TestServer};
use crate::rig::tls::{self, Certificate};
use crate::rig::{free_port, wait_until};

const TOKEN: &str = "0b7d1c93e5f24a6880cf9e2d4b6a8c1e";
const PAGES: [(&str, &str); 5] = [
    ("POST", "/benchmark/upload/original"),
    ("POST", "/benchmark/upload/adaptive"),
    ("GET", "/benchmark/download/original?size=1000"),
    ("GET", "/benchmark/download/adaptive?size=1000"),
    ("GET", "/benchmark/results"),
];

fn with_token() -> Builder {
    TestServer::builder().set("admin.token", &format!("\"{TOKEN}\""))
}

#[track_caller]
fn ask(server: &TestServer, method: &str, target: &str, body: Option<&[u8]>) -> Response {
    server.request(method, target, &[("Authorization", &format!("Bearer {TOKEN}"))], body)
}

#[track_caller]
fn said(answer: &Response) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.text()))
}

#[test]
fn only_the_token_opens_a_page() {
    let server = with_token().start();
    for (method, target) in PAGES {
        let body = (method == "POST").then_some(b"hello".as_slice());
        for (authorization, status) in [
            ("", 401),
            ("Basic YTpi", 401),
            ("Bearer ", 401),
            ("Bearer 0b7d1c93e5f24a6880cf9e2d4b6a8c1", 403),
            ("Bearer x", 403),
        ] {
            let answer = server.request(method, target, &[("Authorization", authorization)], body);
            assert_eq!(answer.status, status, "{target} with {authorization:?}: {}", answer.text());
            assert_eq!(said(&answer)["success"], json!(false));
        }
        assert_eq!(ask(&server, method, target, body).status, 200, "{target}");
    }
    let metrics = server.request("GET", "/metrics", &[], None).text();
    for (outcome, count) in [("accepted", 5), ("missing", 15), ("forged", 10)] {
        let line = format!("hfs_auth_total{{proof=\"admin\",outcome=\"{outcome}\"}} {count}\n");
        assert!(metrics.contains(&line), "no {line} in {metrics}");
    }
    wait_until("word of it", Duration::from_secs(10), || server.log().contains("Not the administrator"));
    assert!(!server.log().contains(TOKEN));
}

#[test]
fn without_a_token_there_is_no_page() {
    for server in [TestServer::start(), with_token().set("admin.enabled", "false").start()] {
        for (method, target) in PAGES {
            let status = ask(&server, method, target, None).status;
            assert_eq!(status, if method == "POST" { 405 } else { 404 }, "{target}");
        }
    }
}

#[test]
fn another_method_than_a_pages_own_is_told_so() {
    let server = with_token().start();
    let asked =
        |method: &str, target: &str| ask(&server, method, target, (method == "PUT").then_some(b"hello".as_slice()));
    for (method, target, takes) in [
        ("PUT", "/benchmark/upload/adaptive", "POST"),
        ("GET", "/benchmark/upload/original", "POST"),
        ("DELETE", "/benchmark/upload/original", "POST"),
        ("POST", "/benchmark/download/adaptive", "GET"),
        ("PUT", "/benchmark/results", "GET"),
        ("GET", "/upload", "POST"),
        ("GET", "/upload/auto", "POST"),
        ("PATCH", "/upload", "POST"),
    ] {
        let answer = asked(method, target);
        assert_eq!(answer.status, 405, "{method} {target}: {}", answer.text());
        let allowed = if takes == "GET" { "OPTIONS, HEAD, GET" } else { "OPTIONS, POST" };
        assert_eq!(answer.header("allow"), Some(allowed), "{target}");
        let message = format!("This takes {takes}, not {method}");
        assert_eq!(said(&answer)["message"], json!(message), "{target}");
    }
    // What the token let through to a page of the administrator's, by whatever method: the first five.
    assert_eq!(server.metric("hfs_auth_total{proof=\"admin\",outcome=\"accepted\"}"), 5);
    wait_until("their lines", Duration::from_secs(10), || {
        server.log().lines().filter(|line| line.contains("Not served") && line.contains("outcome=\"method\"")).count()
            == 8
    });
    let head = asked("HEAD", "/upload");
    assert_eq!((head.status, head.body.len()), (405, 0));
    // An XMPP server may have called a slot so; the token of a page is no proof for it.
    for slot in ["benchmark/upload/adaptive", "upload"] {
        assert_eq!(server.put(slot, b"hello").status, 201, "{slot}");
        assert_eq!(server.get(slot).body, b"hello", "{slot}");
    }
    assert_eq!(server.request("PUT", "/benchmark/results", &[], Some(b"hello")).status, 401);
}

#[test]
fn head_of_a_page_that_is_read_is_get_without_its_body() {
    let server = with_token().start();
    let download = "/benchmark/download/adaptive?size=1000";
    for target in
        ["/benchmark/results", download, "/benchmark/download/original", "/benchmark/download/original?size=0"]
    {
        let (head, got) = (ask(&server, "HEAD", target, None), ask(&server, "GET", target, None));
        assert_eq!((head.status, head.body.len()), (got.status, 0), "{target}");
        for name in ["content-type", "content-length", "cache-control"] {
            assert_eq!(head.header(name), got.header(name), "{name} of {target}");
            assert!(head.header(name).is_some(), "{name} of {target}");
        }
        // HEAD measured nothing. What GET measured is waited for: the next round is to find the same twice.
        wait_until("the report", Duration::from_secs(10), || {
            let results = said(&ask(&server, "GET", "/benchmark/results", None));
            let wanted = if target == "/benchmark/results" { 0 } else { 1 + usize::from(target != download) };
            results["results"].as_array().is_some_and(|results| results.len() == wanted)
        });
    }
    for (authorization, status) in [("", 401), ("Bearer x", 403)] {
        let answer = server.request("HEAD", download, &[("Authorization", authorization)], None);
        assert_eq!((answer.status, answer.body.len()), (status, 0), "{authorization:?}");
    }
    // As ever, a slot comes first.
    assert_eq!(server.put("benchmark/results", b"hello").status, 201);
    let head = server.request("HEAD", "/benchmark/results", &[], None);
    assert_eq!((head.status, head.header("content-length")), (200, Some("5")));
}

#[test]
fn the_administrators_listener_has_its_pages_and_nothing_else() {
    let port = free_port();
    let server = with_token().set("admin.listen", &port.to_string()).start();
    assert_eq!(server.put("a/b.txt", b"hello").status, 201);
    let own = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let get = |target: &str, headers: &[(&str, &str)]| exchange(own, "GET", target, headers, None).expect("answer");
    let authorization = format!("Bearer {TOKEN}");
    assert_eq!(get("/benchmark/results", &[("Authorization", &authorization)]).status, 200);
    assert_eq!(get("/benchmark/results", &[]).status, 401);
    assert_eq!(get("/health", &[]).status, 200);
    assert_eq!(get("/benchmark/upload/original", &[("Authorization", &authorization)]).status, 405);
    for target in ["/a/b.txt", "/metrics", "/download/a/b.txt", "/"] {
        assert_eq!(get(target, &[("Authorization", &authorization)]).status, 404, "{target}");
    }
    assert_eq!(ask(&server, "GET", "/benchmark/results", None).status, 200, "the main listener answers too");
}

#[test]
fn beyond_this_machine_the_administrators_listener_speaks_tls_only() {
    let folder = tempfile::tempdir().expect("folder");
    let certificate = Certificate::copy(folder.path());
    let (port, loopback_port) = (free_port(), free_port());
    let start = |listen: String| {
        let (builder, _) = tls::builder(&certificate);
        builder.set("admin.token", &format!("\"{TOKEN}\"")).set("admin.listen", &listen).start()
    };
    let ca = certificate.cert.display().to_string();
    let authorization = format!("Authorization: Bearer {TOKEN}");

    let _open = start(format!("\"0.0.0.0:{port}\""));
    let url = format!("https://127.0.0.1:{port}");
    for protocol in ["--http1.1", "--http2"] {
        let status = |more: &[&str]| {
            let results = format!("{url}/benchmark/results");
            let options = ["--cacert", &ca, protocol, "-o", "/dev/null", "-w", "%{http_code}"];
            curl_text(&[&options[..], more, &[&results]].concat())
        };
        assert_eq!((status(&["-H", &authorization]), status(&[])), ("200".to_owned(), "401".to_owned()), "{protocol}");
    }
    let upload = format!("{url}/benchmark/upload/original");
    let report = curl_text(&["--cacert", &ca, "-H", &authorization, "--data-binary", "hello", &upload]);
    assert_eq!(serde_json::from_str::<Value>(&report).expect("JSON")["bytes"], json!(5), "{report}");
    let own = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let in_clear = exchange(own, "GET", "/health", &[], None);
    assert!(in_clear.is_err(), "{in_clear:?}");

    // What nobody can listen to needs no TLS.
    let _local = start(format!("\"127.0.0.1:{loopback_port}\""));
    let local = format!("http://127.0.0.1:{loopback_port}/benchmark/results");
    assert_eq!(curl_text(&["-H", &authorization, "-o", "/dev/null", "-w", "%{http_code}", &local]), "200");
}

#[test]
fn an_upload_is_measured_and_nothing_of_it_stays() {
    let server = with_token().start();
    let body = vec![7; 5_000_000];
    for (page, arm) in [("original", "standard"), ("adaptive", "adaptive")] {
        let answer = ask(&server, "POST", &format!("/benchmark/upload/{page}"), Some(&body));
        let report = said(&answer);
        assert_eq!(answer.status, 200, "{report}");
        assert_eq!(report["bytes"], json!(body.len()));
        assert_eq!(
            (&report["direction"], &report["arm"], &report["complete"]),
            (&json!("upload"), &json!(arm), &json!(true))
        );
        assert_eq!(answer.header("x-request-id"), report["request"].as_str());
        for number in ["seconds", "bytes_per_second", "process_cpu_seconds"] {
            assert!(report[number].as_f64().is_some_and(|number| number > 0.0), "{number}: {report}");
        }
        let lane = &report["plans"]["first"]["lane"];
        assert_eq!(lane, if arm == "standard" { "stepwise" } else { "zero-copy" }, "{report}");
    }
    assert_nothing_stays(&server);
    for name in ["uploads_total", "hfs_transfers_total", "hfs_flows_total", "hfs_zero_copy_bytes_total"] {
        assert_uncounted(&server, name);
    }
}

#[test]
fn a_report_has_the_path_its_quality_and_both_plans() {
    let server = with_token().start();
    // Of unannounced length: in steps that grow, and not in one go on a thread of its own.
    let authorization = format!("Bearer {TOKEN}");
    let chunked = [("Authorization", authorization.as_str()), ("Transfer-Encoding", "chunked")];
    let body = [b"1800000\r\n".as_slice(), &vec![7; 24 << 20], b"\r\n0\r\n\r\n"].concat();
    for (page, is_adaptive) in [("original", false), ("adaptive", true)] {
        let upload = said(&server.request("POST", &format!("/benchmark/upload/{page}"), &chunked, Some(&body)));
        let target = format!("/benchmark/download/{page}?size=64MB");
        assert_eq!(ask(&server, "GET", &target, None).body.len(), 64 << 20);
        let mut download = Value::Null;
        wait_until("the report", Duration::from_secs(10), || {
            let mut results = said(&ask(&server, "GET", "/benchmark/results", None));
            download = results["results"].as_array_mut().and_then(Vec::pop).unwrap_or_default();
            download["direction"] == json!("download")
        });
        for (report, bytes) in [(upload, 24 << 20), (download, 64 << 20)] {
            assert_eq!(report["arm"], json!(if is_adaptive { "adaptive" } else { "standard" }));
            assert_eq!(report["bytes"], json!(bytes), "{report}");
            assert_ne!(report["quality"], json!("unknown"), "{report}");
            let (path, plans) = (&report["path"], &report["plans"]);
            assert!(path["bytes_per_second"].as_u64().is_some_and(|rate| rate > 0), "{report}");
            assert_eq!(path["samples"].as_u64().is_some_and(|samples| samples > 0), is_adaptive, "{report}");
            for seen in [&path["rtt_seconds"], &path["min_rtt_seconds"], &path["last"]["segment_bytes"]] {
                assert_eq!(seen.as_f64().is_some_and(|number| number > 0.0), is_adaptive, "{report}");
            }
            for plan in [&plans["first"], &plans["last"]] {
                let stall = json!({"idle_seconds": 60.0, "window_seconds": 120.0, "min_bytes_per_second": 256});
                assert_eq!(plan["stall"], stall, "{report}");
                assert_eq!(plan["sample_after_seconds"].is_number(), is_adaptive, "{report}");
            }
            assert_eq!(plans["first"] != plans["last"], is_adaptive, "the adaptive one follows its path: {report}");
        }
    }
}

#[test]
fn an_upload_has_a_bound() {
    let server = with_token().start();
    let announce = |length: u64| {
        let mut connection = Connection::open(server.address()).expect("connection");
        let head = format!(
            "POST /benchmark/upload/original HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {length}\r\n\r\n"
        );
        connection.send(head.as_bytes()).expect("sent");
        connection
    };
    let refused = announce((1 << 30) + 1).receive(false).expect("answer");
    assert_eq!((refused.status, &said(&refused)["success"]), (413, &json!(false)), "{}", refused.text());
    assert_eq!(temporaries(&server), 0);
    let mut longest = announce(1 << 30);
    longest.send(&[7; 300_000]).expect("sent");
    wait_until("a temporary", Duration::from_secs(10), || temporaries(&server) == 1);
    longest.reset();
    assert_nothing_stays(&server);
}

/// No benchmark counts as a transfer. The metric must be there to say so.
#[track_caller]
fn assert_uncounted(server: &TestServer, name: &str) {
    let text = server.request("GET", "/metrics", &[], None).text();
    assert!(text.lines().any(|line| line.starts_with(name)), "no {name} in: {text}");
    assert_eq!(server.metric(name), 0, "a benchmark is no transfer: {name}");
}

#[test]
fn an_upload_that_breaks_off_leaves_nothing_and_frees_its_place() {
    let server = with_token().start();
    for _ in 0..3 {
        let mut connection = Connection::open(server.address()).expect("connection");
        let head = format!(
            "POST /benchmark/upload/adaptive HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 1000000\r\n\r\n"
        );
        connection.send(head.as_bytes()).and_then(|()| connection.send(&[7; 300_000])).expect("sent");
        wait_until("a temporary", Duration::from_secs(10), || temporaries(&server) == 1);
        connection.reset();
        wait_until("no temporary", Duration::from_secs(10), || temporaries(&server) == 0);
    }
    assert_eq!(ask(&server, "POST", "/benchmark/upload/adaptive", Some(b"hello")).status, 200);
    assert_nothing_stays(&server);
}

#[test]
fn a_download_is_as_long_as_asked_and_its_report_follows() {
    let server = with_token().start();
    let mut results = Value::Null;
    let asked = [("original", "?size=300KB", 300 << 10), ("adaptive", "?size=1", 1), ("adaptive", "", 16 << 20)];
    for (page, query, length) in asked {
        let before = results.as_array().map_or(0, Vec::len);
        let answer = ask(&server, "GET", &format!("/benchmark/download/{page}{query}"), None);
        assert_eq!((answer.status, answer.body.len()), (200, length));
        assert!(answer.body.iter().all(|byte| *byte == 0));
        // A client may have all of it before the server says so: the next one must not be told of first.
        wait_until("its report", Duration::from_secs(10), || {
            results = said(&ask(&server, "GET", "/benchmark/results", None))["results"].take();
            results.as_array().is_some_and(|all| all.len() > before)
        });
    }
    assert_eq!((&results[0]["arm"], &results[0]["bytes"]), (&json!("standard"), &json!(300 << 10)));
    assert_eq!((&results[2]["arm"], &results[2]["complete"]), (&json!("adaptive"), &json!(true)));
    assert!(results[2]["path"]["rtt_seconds"].as_f64().is_some_and(|rtt| rtt > 0.0), "{results}");
    assert_eq!(results[0]["plans"]["first"]["lane"], json!("zero-copy"), "sendfile, as the original");
    for name in ["downloads_total", "hfs_transfers_total", "hfs_flows_total", "hfs_zero_copy_bytes_total"] {
        assert_uncounted(&server, name);
    }
    for size in ["0", "1GB1", "2GB", "-1", "much"] {
        let answer = ask(&server, "GET", &format!("/benchmark/download/original?size={size}"), None);
        assert_eq!((answer.status, &said(&answer)["error"]), (400, &json!("bad-size")), "{size}");
    }
}

#[test]
fn two_benchmarks_run_at_once_and_a_third_must_wait() {
    let server = with_token().start();
    let head = format!(
        "GET /benchmark/download/original?size=1GB HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    );
    let slow: Vec<Connection> = (0..2)
        .map(|_| {
            let mut connection = Connection::open(server.address()).expect("connection");
            connection.send(head.as_bytes()).expect("sent");
            let mut begun = [0; 12];
            connection.writer().and_then(|mut stream| stream.read_exact(&mut begun)).expect("the head of an answer");
            assert_eq!(&begun, b"HTTP/1.1 200");
            connection
        })
        .collect();
    let third = || ask(&server, "POST", "/benchmark/upload/original", Some(b"hello")).status;
    assert_eq!(third(), 503);
    slow.into_iter().for_each(Connection::reset);
    wait_until("200", Duration::from_secs(10), || third() == 200);
}

#[test]
fn the_configuration_wins_over_the_page() {
    let server = with_token().set("performance.adaptive_buffers", "false").start();
    let report = said(&ask(&server, "POST", "/benchmark/upload/adaptive", Some(b"hello")));
    assert_eq!(report["arm"], json!("standard"));
}

#[test]
fn a_slot_that_is_called_like_a_page_stays_a_slot() {
    let server = with_token().start();
    let slot = "benchmark/download/original";
    assert_eq!(server.get(slot).status, 401);
    assert_eq!(server.put(slot, b"hello").status, 201);
    assert_eq!(server.get(slot).body, b"hello");
}

#[test]
fn a_token_that_can_be_guessed_or_read_by_others_does_not_start() {
    let home = tempfile::tempdir().expect("folder");
    let file = home.path().join("token");
    fs::write(&file, TOKEN).expect("token");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("mode");
    let open = format!("token_file = {:?}", file.display().to_string());
    for (admin, expected) in [
        ("token = \"changeme\"", "published"),
        ("token = \"short\"", "too short"),
        ("token = \"${ADMIN_TOKEN}\"", "too short"),
        ("listen = \"8090\"", "needs `token`"),
        (open.as_str(), "others can read it"),
    ] {
        let config = home.path().join("config.toml");
        let text = format!("[security]\nsecret = \"7c1f0e5b9a2d4f6880b3c5d7e9f1a2b4\"\n[admin]\n{admin}\n");
        fs::write(&config, text).expect("configuration");
        let output = finish(clean(home.path()).args(["check", "--config"]).arg(&config));
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(78), "{admin}: {said}");
        assert!(said.contains(expected), "{admin}: {said}");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("mode");
    let server = TestServer::builder().set("admin.token_file", &format!("{:?}", file.display().to_string())).start();
    assert_eq!(ask(&server, "GET", "/benchmark/results", None).status, 200);
}

#[track_caller]
fn assert_nothing_stays(server: &TestServer) {
    let left: Vec<_> =
        fs::read_dir(server.storage()).expect("storage").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, [".hfs"]);
    wait_until("no temporary", Duration::from_secs(10), || temporaries(server) == 0);
    server.assert_whole();
}

fn temporaries(server: &TestServer) -> usize {
    let folder = server.storage().join(".hfs/tmp");
    let is_file = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_file());
    fs::read_dir(folder).map_or(0, |entries| entries.flatten().filter(is_file).count())
}
