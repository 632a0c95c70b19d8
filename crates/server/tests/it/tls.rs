//! TLS of our own: both protocols by ALPN, a key that others can read, the client commands, and what is no TLS.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use crate::rig::command::{clean, curl, curl_text, run, said};
use crate::rig::process::Process;
use crate::rig::server::SECRET;
use crate::rig::tls::{self, Certificate};
use crate::rig::{free_port, sign, wait_until};

#[test]
fn files_travel_over_both_protocols() {
    let folder = tempfile::tempdir().expect("folder");
    let certificate = Certificate::copy(folder.path());
    let (builder, port) = tls::builder(&certificate);
    let _server = builder.start();
    let ca = certificate.cert.display().to_string();
    let body: Vec<u8> = (0..700_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let file = folder.path().join("body.bin");
    fs::write(&file, &body).expect("file");
    let file = file.to_str().expect("a path of our own");

    let ways: [(&str, &[&str], &str); 3] =
        [("one", &["--http1.1"], "1.1"), ("two", &["--http2"], "2"), ("old", &["--http2", "--tls-max", "1.2"], "2")];
    for (name, options, version) in ways {
        let slot = format!("{name}/file.bin");
        let url = format!("https://127.0.0.1:{port}/{slot}");
        let options = [&["--cacert", &ca], options].concat();
        let signed = format!("{url}?{}", sign::v1(SECRET, &slot, body.len() as u64));
        let upload = ["-o", "/dev/null", "-w", "%{http_code} %{http_version}", "-T", file];
        assert_eq!(curl_text(&[&options[..], &upload, &[&signed]].concat()), format!("201 {version}"), "{name}");
        assert!(curl(&[&options[..], &[&url]].concat()) == body, "{name}: other bytes came back");
        let range = curl(&[&options[..], &["-r", "1000-601000", &url]].concat());
        assert!(range == body[1000..=601_000], "{name}: another range came back");
        assert_eq!(curl_text(&[&options[..], &upload, &[&url]].concat()), format!("401 {version}"), "{name}");
    }
}

#[test]
fn a_slow_reader_gets_its_file_after_sigterm() {
    let folder = tempfile::tempdir().expect("folder");
    let certificate = Certificate::copy(folder.path());
    let (builder, port) = tls::builder(&certificate);
    let mut server = builder.start();
    let ca = certificate.cert.display().to_string();
    let content: Vec<u8> = (0..8_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let (file, got) = (folder.path().join("body.bin"), folder.path().join("got.bin"));
    fs::write(&file, &content).expect("file");
    let url = format!("https://127.0.0.1:{port}/slow/file.bin");
    let signed = format!("{url}?{}", sign::v1(SECRET, "slow/file.bin", content.len() as u64));
    let upload = ["--cacert", &ca, "-T", file.to_str().expect("a path of our own"), &signed];
    curl(&upload);

    let mut command = Command::new("curl");
    command.args(["-sS", "--fail", "--http2", "--max-time", "60", "--limit-rate", "3M", "--cacert", &ca, "-o"]);
    let mut reader = Process::start(command.arg(&got).arg(&url), &folder.path().join("curl.log"));
    wait_until("the first bytes", Duration::from_secs(20), || fs::metadata(&got).is_ok_and(|file| file.len() > 0));
    server.terminate();
    assert!(reader.wait(Duration::from_secs(20)).success(), "{}", reader.log());
    assert!(fs::read(&got).expect("file") == content, "it is not whole");
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let certificate = Certificate::copy(folder.path());
    let config = folder.path().join("config.toml");
    let text = format!(
        "[server]\nlisten_address = \"127.0.0.1:{}\"\nstorage_path = {:?}\n[security]\nsecret = \"{SECRET}\"\n\
         [tls]\ncert = {:?}\nkey = {:?}\n",
        free_port(),
        folder.path().join("storage"),
        certificate.cert,
        certificate.key,
    );
    fs::write(&config, text).expect("configuration");
    let config = config.display().to_string();
    for mode in [0o604, 0o644] {
        certificate.key_mode(mode);
        for arguments in [&["--config", &config][..], &["check", "--config", &config]] {
            let said = run(folder.path(), arguments);
            assert_eq!(said.code, Some(78), "{mode:o} {arguments:?}: {}", said.all());
            assert!(said.all().contains("key.pem") && said.all().contains("chmod"), "{}", said.all());
        }
        assert!(!folder.path().join("storage").exists(), "a refused start made the storage folder");
    }
    certificate.key_mode(0o640);
    assert_eq!(run(folder.path(), &["check", "--config", &config]).code, Some(0), "a group may read it");
    certificate.renew("cert.pem", "other-key.pem");
    let said = run(folder.path(), &["--config", &config]);
    assert_eq!(said.code, Some(78), "another key: {}", said.all());
}

#[test]
fn the_client_commands_speak_tls() {
    let folder = tempfile::tempdir().expect("folder");
    let certificate = Certificate::copy(folder.path());
    let (builder, _) = tls::builder(&certificate);
    let server = builder.start();
    fs::write(folder.path().join("Grüße.txt"), "hello").expect("file");
    let (config, ca) = (server.config().display().to_string(), certificate.cert.display().to_string());

    let put = said(clean(folder.path()).args(["put", "Grüße.txt", "--config", &config, "--ca", &ca]));
    assert_eq!(put.code, Some(0), "{}", put.all());
    let url = put.out.trim();
    let get = run(folder.path(), &["get", url, "--ca", &ca, "--output", "back.txt"]);
    assert_eq!(get.code, Some(0), "{}", get.all());
    assert_eq!(fs::read_to_string(folder.path().join("back.txt")).expect("file"), "hello");

    let distrusting = run(folder.path(), &["get", url, "--output", "never.txt"]);
    assert_eq!(distrusting.code, Some(1), "{}", distrusting.all());
    assert!(distrusting.err.to_lowercase().contains("certificate"), "{}", distrusting.err);
    assert!(!folder.path().join("never.txt").exists());
}

/// OpenSSL's `req -x509` makes certificates that may sign others, which the usual rules forbid to a server's.
#[test]
fn a_certificate_that_the_user_names_is_trusted() {
    let folder = tempfile::tempdir().expect("folder");
    let certificate = Certificate::copy(folder.path());
    let (cert, key) = (certificate.cert.display().to_string(), certificate.key.display().to_string());
    let request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    let names = ["-subj", "/CN=files", "-addext", "basicConstraints=critical,CA:TRUE"];
    let made = Command::new("openssl").args(request).args(names).args(["-out", &cert, "-keyout", &key]).output();
    assert!(made.expect("openssl runs").status.success());
    certificate.key_mode(0o600);
    let (builder, _) = tls::builder(&certificate);
    let server = builder.start();
    fs::write(folder.path().join("hello.txt"), "hello").expect("file");
    let config = server.config().display().to_string();

    let put = said(clean(folder.path()).args(["put", "hello.txt", "--config", &config, "--ca", &cert]));
    assert_eq!(put.code, Some(0), "{}", put.all());
    let url = put.out.trim();
    let get = run(folder.path(), &["get", url, "--ca", &cert, "--output", "back.txt"]);
    assert_eq!(get.code, Some(0), "{}", get.all());
    assert_eq!(fs::read_to_string(folder.path().join("back.txt")).expect("file"), "hello");

    let other = tls::testdata().join("other-cert.pem").display().to_string();
    let naming_another = run(folder.path(), &["get", url, "--ca", &other, "--output", "never.txt"]);
    assert_eq!(naming_another.code, Some(1), "{}", naming_another.all());
    assert!(naming_another.err.to_lowercase().contains("certificate"), "{}", naming_another.err);
    assert!(!folder.path().join("never.txt").exists());
}

#[test]
fn what_is_no_tls_gets_no_answer_and_costs_no_connection() {
    let folder = tempfile::tempdir().expect("folder");
    let certificate = Certificate::copy(folder.path());
    let (builder, port) = tls::builder(&certificate);
    let server = builder.set("timeouts.header_timeout", "\"1s\"").start();
    let speak = |words: &[u8]| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connection");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("time-out");
        stream.write_all(words).expect("sent");
        let mut answer = Vec::new();
        // A reset ends it as well as a close.
        let _ = stream.read_to_end(&mut answer);
        answer
    };
    let plain = speak(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(!plain.windows(4).any(|bytes| bytes == b"HTTP"), "{plain:?}");
    assert!(speak(b"").is_empty(), "a silent client");
    assert!(speak(b"\x16\x03\x01").is_empty(), "a client that stops in its hello");
    assert_eq!(server.metric("hfs_connections_rejected_total"), 3);
    assert!(server.is_healthy());
}
