//! Uploads by a real XMPP client (slixmpp) through a real XMPP server, and what must be true of every one of them.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::json;

use super::server::TestServer;
use super::{place, sign};

/// The account that the XMPP servers of the tests know.
pub(crate) const ACCOUNT: &str = "alice@localhost";
/// Its password.
pub(crate) const PASSWORD: &str = "wonderland";

/// A name and a size that a client asks a slot for.
pub(crate) struct Wish {
    pub(crate) name: String,
    pub(crate) size: u64,
}

/// What became of one: a line of the client's output.
#[derive(Debug, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) size: u64,
    #[serde(rename = "type")]
    pub(crate) media_type: String,
    pub(crate) sha256: String,
    /// Download URL, where the upload worked.
    pub(crate) get: Option<String>,
    /// Upload URL and headers, where only a slot was asked for.
    pub(crate) put: Option<String>,
    #[serde(default)]
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) error: Option<String>,
}

/// Twelve names that have broken receivers, 0 B to 100 MB.
pub(crate) fn awkward() -> Vec<Wish> {
    let long = format!("{}.bin", "långt".repeat(36));
    let names: [(&str, u64); 12] = [
        ("empty.txt", 0),
        ("with  spaces .txt", 1),
        ("Grüße 日本語.jpg", 4_095),
        ("🦀🎉.png", 65_537),
        ("100%25 %zz %.txt", 1_000),
        ("it's \"quoted\" \\o_.txt", 1_001),
        ("a&b=c+d;e,f@g!$(h)[i].html", 12_345),
        (&long, 70_000),
        (".hidden", 17),
        ("backup.tar.gz", 100_000_000),
        ("noextension", 1_048_576),
        ("PHOTO.JPEG", 3_000_000),
    ];
    names.map(|(name, size)| Wish { name: name.to_owned(), size }).into()
}

/// Lets the client log in at the port and upload through the service.
#[track_caller]
pub(crate) fn upload(port: u16, service: &str, wishes: &[Wish]) -> Vec<Outcome> {
    client(port, service, wishes, "upload")
}

/// Lets the client ask for slots only.
#[track_caller]
pub(crate) fn slots(port: u16, service: &str, wishes: &[Wish]) -> Vec<Outcome> {
    client(port, service, wishes, "slot")
}

#[track_caller]
fn client(port: u16, service: &str, wishes: &[Wish], action: &str) -> Vec<Outcome> {
    let files: Vec<_> = wishes.iter().map(|wish| json!({"name": wish.name, "size": wish.size})).collect();
    let job = json!({
        "jid": ACCOUNT, "password": PASSWORD, "port": port, "service": service, "action": action, "files": files,
    });
    let mut child = Command::new("timeout")
        .args(["--kill-after=1", "120"])
        .arg(place::python())
        .arg(place::checkout().join("tools/clients/slixmpp_upload.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the client starts");
    child.stdin.take().expect("stdin").write_all(job.to_string().as_bytes()).expect("the client reads its job");
    let output = child.wait_with_output().expect("the client ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the client failed ({}): {said}", output.status);
    let outcomes: Vec<Outcome> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    assert_eq!(outcomes.len(), wishes.len(), "{said}");
    outcomes
}

/// Downloads it in every way and compares.
#[track_caller]
pub(crate) fn assert_served(server: &TestServer, outcome: &Outcome) {
    let name = &outcome.name;
    let url = outcome.get.as_deref().unwrap_or_else(|| panic!("{name} was not uploaded: {:?}", outcome.error));
    let target = target(server, url);

    let got = server.request("GET", target, &[], None);
    assert_eq!(got.status, 200, "{name}: {}", got.text());
    assert_eq!(sign::sha256(&got.body), outcome.sha256, "{name}");
    // Text is served with the character set that browsers would otherwise guess wrong.
    let essence = got.header("content-type").and_then(|text| text.split(';').next());
    assert_eq!(essence, Some(outcome.media_type.as_str()), "{name}");
    assert_eq!(got.header("x-content-type-options"), Some("nosniff"), "{name}");
    let policy = got.header("content-security-policy").unwrap_or_default();
    assert!(policy.contains("default-src 'none'"), "{name}: {policy}");
    assert_disposition(outcome, got.header("content-disposition"));

    let head = server.request("HEAD", target, &[], None);
    assert_eq!(head.status, 200, "{name}");
    assert_eq!(head.header("content-length"), Some(outcome.size.to_string().as_str()), "{name}");
    assert_eq!(head.header("content-encoding"), None, "{name}");
    assert_eq!(head.header("etag"), got.header("etag"), "{name}");

    if outcome.size > 16 {
        assert_ranges(server, target, outcome, &got.body);
    }
    assert_eq!(sign::sha256(&curl(url)), outcome.sha256, "{name} by curl");
}

fn assert_ranges(server: &TestServer, target: &str, outcome: &Outcome, whole: &[u8]) {
    let (name, size) = (&outcome.name, whole.len());
    let ranges = [
        ("bytes=7-".to_owned(), 7..size),
        ("bytes=-5".to_owned(), size - 5..size),
        (format!("bytes=3-{}", size / 2), 3..size / 2 + 1),
    ];
    for (range, span) in ranges {
        let part = server.request("GET", target, &[("Range", &range)], None);
        assert_eq!(part.status, 206, "{name} {range}");
        let described = format!("bytes {}-{}/{size}", span.start, span.end - 1);
        assert_eq!(part.header("content-range"), Some(described.as_str()), "{name} {range}");
        assert!(part.body == whole[span], "{name} {range}: other bytes");
    }
    let beyond = server.request("GET", target, &[("Range", &format!("bytes={size}-"))], None);
    assert_eq!(beyond.status, 416, "{name}");
    assert_eq!(beyond.header("content-range"), Some(format!("bytes */{size}").as_str()), "{name}");
}

/// Pictures are shown, documents that could run a script are saved.
fn assert_disposition(outcome: &Outcome, value: Option<&str>) {
    let value = value.unwrap_or_else(|| panic!("{}: no Content-Disposition", outcome.name));
    let kind = value.split(';').next().unwrap_or(value);
    match outcome.media_type.as_str() {
        "image/jpeg" | "image/png" => assert_eq!(kind, "inline", "{}", outcome.name),
        "text/html" | "application/octet-stream" | "application/x-tar" => {
            assert_eq!(kind, "attachment", "{}", outcome.name);
        }
        _ => {}
    }
}

/// The request target of one of the server's URLs, as it was spelled.
#[track_caller]
pub(crate) fn target<'a>(server: &TestServer, url: &'a str) -> &'a str {
    let origin = format!("http://{}", server.address());
    url.strip_prefix(&origin).unwrap_or_else(|| panic!("{url} is not below {origin}"))
}

fn curl(url: &str) -> Vec<u8> {
    let output = Command::new("curl").args(["-sS", "--fail", "--globoff", "--max-time", "60", url]).output();
    let output = output.expect("curl runs");
    assert!(output.status.success(), "curl {url}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
