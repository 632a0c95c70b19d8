//! What must be true through any reverse proxy.

use std::fs;
use std::process::Command;
use std::time::Duration;

use super::server::{SECRET, TestServer};
use super::{sign, wait_until};

/// Uploads and downloads through the proxy at `base` (`https://127.0.0.1:port`, without a slash): bytes, lengths,
/// ranges, headers and the client's address arrive as if nothing was in between.
#[track_caller]
pub(crate) fn assert_transparent(server: &TestServer, base: &str) {
    // Each from a source address of its own, so that the proxy cannot mix them up.
    for (client, body) in [("127.0.0.5", upload(3_000_000)), ("127.0.0.6", b"only text ".repeat(1000))] {
        let slot = format!("{client}/Grüße %2F & co%.txt");
        let file = server.home().join("sent");
        fs::write(&file, &body).expect("file");
        let url = format!("{base}/{}", sign::encode(&slot));
        let signed = format!("{url}?{}", sign::v1(SECRET, &slot, body.len() as u64));
        let expect = ["-H", "Expect:", "-H", "Content-Type: text/plain"];
        let arguments = ["-T", file.to_str().expect("path"), "--interface", client, &signed];
        assert_eq!(curl(&[&expect[..], &arguments].concat()), "201", "{base}");
        assert_logged(server, &slot, client);

        let got = server.home().join("got");
        let got_path = got.to_str().expect("path");
        let forged = ["-o", got_path, "--interface", client, "-H", "X-Forwarded-For: 6.6.6.6", &url];
        assert_eq!(curl(&forged), "200", "{base}");
        assert!(fs::read(&got).expect("download") == body, "{base}: other bytes");
        assert_eq!(curl(&["-o", got_path, "-r", "7-16", &url]), "206", "{base}");
        assert!(fs::read(&got).expect("download") == body[7..17], "{base}: other bytes");

        let head = curl(&["-I", "-H", "Accept-Encoding: gzip, br, zstd", "-H", "Origin: https://chat.example", &url]);
        assert_eq!(values(&head, "content-length"), [body.len().to_string()], "{base}: {head}");
        assert_eq!(values(&head, "access-control-allow-origin"), ["https://chat.example"], "{base}: {head}");
        assert_eq!(values(&head, "content-security-policy").len(), 1, "{base}: {head}");
        assert!(values(&head, "content-encoding").is_empty(), "{base}: {head}");
    }
    assert!(!server.log().contains("client=6.6.6.6"), "{base}: a forged address was believed");
    assert_eq!(curl(&["-o", "/dev/null", &format!("{base}/metrics")]), "404", "{base}: metrics are private");
}

fn upload(size: u32) -> Vec<u8> {
    (0..size).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect()
}

fn values(head: &str, name: &str) -> Vec<String> {
    let named = |line: &str| {
        let (known, value) = line.split_once(':')?;
        known.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    };
    head.lines().filter_map(named).collect()
}

/// The log line of the slot's upload names the client.
#[track_caller]
pub(crate) fn assert_logged(server: &TestServer, slot: &str, client: &str) {
    let mut found = None;
    wait_until("log line of the upload", Duration::from_secs(5), || {
        let log = server.log();
        found = log.lines().find(|line| line.contains("Upload finished") && line.contains(slot)).map(str::to_owned);
        found.is_some()
    });
    let line = found.expect("found");
    assert!(line.contains(&format!("client={client}")), "{line}");
}

/// Runs curl, which trusts every certificate here, and returns what it printed: the status, at the end.
#[track_caller]
pub(crate) fn curl(arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["-sS", "-k", "--max-time", "60", "-w", "%{http_code}"])
        .args(arguments)
        .output()
        .expect("curl runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
