//! SIGHUP: a good file takes effect whole, a bad one changes nothing, and what runs meanwhile is not disturbed.

use std::fs;
use std::io::Write as _;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, openat};

use crate::rig::command::curl_text;
use crate::rig::http::{Response, exchange};
use crate::rig::server::{SECRET, TestServer};
use crate::rig::tls::{self, Certificate};
use crate::rig::unfinished::Unfinished;
use crate::rig::{free_port, sign, wait_until};

const NEXT: &str = "0d9c8b7a6f5e4d3c2b1a09f8e7d6c5b4a3928170f6e5d4c3";

fn put_with(server: &TestServer, secret: &str, slot: &str) -> Response {
    let target = format!("{}?{}", server.target(slot), sign::v1(secret, slot, 5));
    server.request("PUT", &target, &[], Some(b"hello"))
}

#[test]
fn a_secret_is_rotated_without_a_restart() {
    let server = TestServer::start();
    assert_eq!(put_with(&server, SECRET, "a/old.txt").status, 201);
    assert_eq!(put_with(&server, NEXT, "a/early.txt").status, 403);

    server.reconfigure(&format!("secret = \"{SECRET}\""), &format!("secret = [\"{NEXT}\", \"{SECRET}\"]"));
    server.reload_until("applied");
    assert_eq!(put_with(&server, NEXT, "a/both-new.txt").status, 201);
    assert_eq!(put_with(&server, SECRET, "a/both-old.txt").status, 201);

    server.reconfigure(&format!("[\"{NEXT}\", \"{SECRET}\"]"), &format!("\"{NEXT}\""));
    server.reload_until("applied");
    assert_eq!(put_with(&server, NEXT, "a/new.txt").status, 201);
    assert_eq!(put_with(&server, SECRET, "a/late.txt").status, 403);
    // Only some of many refusals are explained.
    wait_until("explanation", Duration::from_secs(5), || {
        assert_eq!(put_with(&server, SECRET, "a/late.txt").status, 403);
        server.log().contains("the XMPP server still has the old one")
    });
    assert_eq!(server.get("a/old.txt").status, 200, "what was stored stays");
}

#[test]
fn of_two_reloads_at_once_the_later_file_comes_into_force() {
    let server = TestServer::builder().set("server.max_upload_size", "4").start();
    let (config, before) = (server.config(), fs::read_to_string(server.config()).expect("configuration"));
    let applied = || server.metric("hfs_config_reloads_total{outcome=\"applied\"}");
    // The first one waits for its file.
    fs::remove_file(&config).expect("configuration");
    mknodat(CWD, &config, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("pipe");
    server.reload();
    let mut held = None;
    wait_until("the first reload", Duration::from_secs(10), || {
        held = openat(CWD, &config, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()).ok();
        held.is_some()
    });
    fs::remove_file(&config).expect("pipe");
    fs::write(&config, before.replace("max_upload_size = 4", "max_upload_size = 5")).expect("configuration");
    server.reload();
    // The second one is through by then, if it does not wait for the first.
    (0..50).take_while(|_| applied() == 0).for_each(|_| std::thread::sleep(Duration::from_millis(20)));
    fs::File::from(held.expect("pipe")).write_all(before.as_bytes()).expect("the first one's file");
    wait_until("both reloads", Duration::from_secs(10), || applied() == 2);
    assert_eq!(server.put("a/new.txt", b"hello").status, 201);
}

#[test]
fn a_secret_file_is_read_again() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("secret");
    let write = |secret: &str| {
        fs::write(&file, format!("{secret}\n")).expect("secret");
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("mode");
    };
    write(SECRET);
    let server = TestServer::builder()
        .set("security.secret", "[]")
        .set("security.secret_file", &format!("{:?}", file.display().to_string()))
        .start();
    assert_eq!(put_with(&server, SECRET, "a/old.txt").status, 201);
    write(NEXT);
    server.reload_until("applied");
    assert_eq!(put_with(&server, NEXT, "a/new.txt").status, 201);
    assert_eq!(put_with(&server, SECRET, "a/late.txt").status, 403);
}

#[test]
fn limits_and_the_log_level_follow_the_file() {
    let server = TestServer::builder().set("server.max_upload_size", "4").set("logging.level", "\"error\"").start();
    assert_eq!(server.put("a/quiet.txt", b"hello").status, 413);
    server.reconfigure("max_upload_size = 4", "max_upload_size = 5");
    server.reconfigure("level = \"error\"", "level = \"info\"");
    server.reload_until("applied");
    assert_eq!(server.put("a/loud.txt", b"hello").status, 201);
    assert_eq!(server.put("a/larger.txt", b"hello!").status, 413);
    wait_until("line of the second upload", Duration::from_secs(5), || server.log().contains("a/loud.txt"));
    assert!(!server.log().contains("a/quiet.txt"), "{}", server.log());
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    let server = TestServer::builder().set("server.max_upload_size", "\"10KB\"").start();
    let good = fs::read_to_string(server.config()).expect("configuration");
    let line = 1 + good.lines().position(|line| line.starts_with("max_upload_size")).expect("the limit's line");
    let place = format!("config.toml:{line}:19");
    let bad = [
        ("misspelt key", good.replace("max_upload_size = \"10KB\"", "max_upload_sice = \"1KB\""), "max_upload_size"),
        ("wrong value", good.replace("\"10KB\"", "\"much\""), &*place),
        ("no secret", good.replace(&format!("secret = \"{SECRET}\""), ""), "secret"),
        ("no TOML", good.replace("\"10KB\"", "10KB"), "config.toml"),
        ("empty", String::new(), "secret"),
    ];
    for (name, text, expected) in bad {
        // Each of them also has something that would take effect if only half of it counted.
        let text = text.replace(SECRET, NEXT);
        fs::write(server.config(), text).expect("configuration");
        let said = server.log().len();
        server.reload_until("refused");
        let log = || server.log()[said..].to_owned();
        // Lines are written by a thread of their own.
        wait_until(name, Duration::from_secs(5), || log().contains("the running one stays"));
        let log = log();
        assert!(log.contains(expected), "{name}: {log}");
        assert!(!log.contains(NEXT) && !log.contains(SECRET), "{name}: {log}");
        let slot = format!("{name}/file.txt");
        assert_eq!(put_with(&server, SECRET, &slot).status, 201, "{name}");
        assert_eq!(put_with(&server, NEXT, "a/new.txt").status, 403, "{name}");
        assert_eq!(server.put("a/large.txt", &[7; 10_241]).status, 413, "{name}");
    }
    fs::remove_file(server.config()).expect("configuration");
    server.reload_until("refused");
    fs::write(server.config(), good).expect("configuration");
    server.reload_until("applied");
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_applies() {
    let server = TestServer::start();
    let elsewhere = free_port();
    let address = format!("listen_address = \"{}\"", server.address());
    server.reconfigure(&address, &format!("listen_address = \"127.0.0.1:{elsewhere}\""));
    server.reconfigure(&server.storage().display().to_string(), &server.home().join("other").display().to_string());
    server.reconfigure(SECRET, NEXT);
    server.reload_until("applied");
    for key in ["server.listen_address", "server.storage_path"] {
        let line = format!("`{key}` has changed, and takes effect at the next start");
        wait_until("notice in the log", Duration::from_secs(5), || server.log().contains(&line));
    }
    assert!(exchange(([127, 0, 0, 1], elsewhere).into(), "GET", "/health", &[], None).is_err());
    assert_eq!(put_with(&server, NEXT, "a/new.txt").status, 201);
    assert!(server.storage().join("a/new.txt").is_file(), "it went elsewhere");
    assert!(!server.home().join("other").exists());
}

#[test]
fn an_upload_in_flight_survives_a_reload() {
    let server = TestServer::start();
    let body = vec![7; 300_000];
    let upload = Unfinished::begin(&server, "a/flight.bin", &body);
    server.reconfigure(SECRET, NEXT);
    server.reload_until("applied");
    assert_eq!(upload.finish().expect("answer").status, 201);
    assert!(server.get("a/flight.bin").body == body);
}

#[test]
fn a_renewed_certificate_is_shown_after_a_reload() {
    let folder = tempfile::tempdir().expect("folder");
    let certificate = Certificate::copy(folder.path());
    let (builder, port) = tls::builder(&certificate);
    let server = builder.start();
    let health = format!("https://127.0.0.1:{port}/health");
    let other = tls::testdata().join("other-cert.pem");
    let trusting = |cert: &std::path::Path| {
        let said =
            curl_text(&["--cacert", &cert.display().to_string(), &health, "-o", "/dev/null", "-w", "%{http_code}"]);
        assert_eq!(said, "200");
    };
    trusting(&tls::testdata().join("cert.pem"));

    // Half a renewal: the pair does not fit together. Nothing of the file may count then.
    certificate.renew("other-cert.pem", "key.pem");
    server.reconfigure(SECRET, NEXT);
    server.reload_until("refused");
    trusting(&tls::testdata().join("cert.pem"));
    let put = |secret: &str, slot: &str| {
        let url = format!("https://127.0.0.1:{port}/{slot}?{}", sign::v1(secret, slot, 5));
        let ca = tls::testdata().join("cert.pem").display().to_string();
        curl_text(&[
            "--cacert",
            &ca,
            "-X",
            "PUT",
            "--data-binary",
            "hello",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            &url,
        ])
    };
    assert_eq!(put(NEXT, "a/new.txt"), "403");
    assert_eq!(put(SECRET, "a/old.txt"), "201");

    certificate.renew("other-cert.pem", "other-key.pem");
    server.reload_until("applied");
    trusting(&other);
}
