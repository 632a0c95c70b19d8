//! packaging/systemd: what systemd itself says of the units, and that the server can live with what they forbid.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::rig::document::read;
use crate::rig::http::Connection;
use crate::rig::server::{SECRET, TestServer};
use crate::rig::{place, sign};

const SERVICE: &str = "packaging/systemd/hmac-file-server.service";
const SOCKET: &str = "packaging/systemd/hmac-file-server.socket";
const INSTALLED: &str = "/usr/local/bin/hmac-file-server";

/// Most exposure that `systemd-analyze security` may see, from 0 (best) to 10.
const EXPOSURE: f64 = 1.5;

#[test]
fn systemd_finds_no_fault_with_the_units() {
    let home = units();
    let analyze =
        analyze(&["verify", "--man=no", "./hmac-file-server.service", "./hmac-file-server.socket"], home.path());
    assert!(analyze.trim().is_empty(), "{analyze}");
}

#[test]
fn the_service_is_hardly_exposed() {
    let home = units();
    let said = analyze(&["security", "--offline=true", "./hmac-file-server.service"], home.path());
    let overall = said.lines().find(|line| line.contains("Overall exposure level")).expect("a verdict");
    let level = overall.split(':').nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    let level: f64 = level.unwrap_or_else(|| panic!("{overall}"));
    assert!(level <= EXPOSURE, "{said}");
}

#[test]
fn systemd_can_make_the_user() {
    let home = tempfile::tempdir().expect("folder");
    let file = place::checkout().join("packaging/systemd/hmac-file-server.sysusers");
    let output = Command::new("systemd-sysusers")
        .args(["--dry-run", &format!("--root={}", home.path().display()), "--replace=/usr/lib/sysusers.d/x.conf"])
        .arg(&file)
        .output()
        .expect("systemd-sysusers: `cargo xtask test` installs systemd");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("hmac-file-server"), "{said}");
}

#[test]
fn service_socket_configuration_and_server_agree() {
    let service = read(SERVICE);
    let value = |key: &str| {
        let line = service.lines().find_map(|line| line.strip_prefix(&format!("{key}=")));
        line.unwrap_or_else(|| panic!("{SERVICE} has no {key}="))
    };
    let example = read("packaging/hmac-file-server.toml");
    let configured = |key: &str| {
        let line = example.lines().find_map(|line| line.trim_start_matches("# ").strip_prefix(&format!("{key} = ")));
        line.unwrap_or_else(|| panic!("the packaged configuration has no {key}")).trim_matches('"').to_owned()
    };
    assert_eq!(configured("storage_path"), format!("/var/lib/{}", value("StateDirectory")));
    assert!(value("LoadCredential").starts_with(&format!("{}:", configured("secret_file"))));
    assert!(value("ExecStart").starts_with(&format!("{INSTALLED} --config /etc/hmac-file-server/config.toml")));
    assert!(read(SOCKET).contains(&format!("\nListenStream={}\n", configured("listen_address"))));
    let drain: u64 = configured("shutdown").trim_end_matches('s').parse().expect("seconds");
    assert!(value("TimeoutStopSec").parse::<u64>().expect("seconds") > drain);
    let connections: u64 = configured("max_connections").parse().expect("a number");
    assert!(value("LimitNOFILE").parse::<u64>().expect("a number") > 3 * connections);
    assert_eq!(value("RestartPreventExitStatus"), "78");
    let user = format!("u {} ", value("User"));
    assert!(read("packaging/systemd/hmac-file-server.sysusers").starts_with(&user));
}

#[test]
fn the_packaged_configuration_starts_as_the_service_does() {
    let home = tempfile::tempdir().expect("folder");
    fs::write(home.path().join("secret"), SECRET).expect("secret");
    fs::create_dir(home.path().join("state")).expect("folder");
    let output = Command::new(place::binary())
        .args(["check", "--config"])
        .arg(place::checkout().join("packaging/hmac-file-server.toml"))
        .current_dir("/")
        .env("CREDENTIALS_DIRECTORY", home.path())
        .env("HMAC_FILE_SERVER__SERVER__STORAGE_PATH", home.path().join("state"))
        .output()
        .expect("check");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.ends_with("0 errors, 0 warnings\n"), "{said}");
}

/// The unit's filter cannot be tried without systemd as the first process, but what the server calls can be seen.
#[test]
fn the_server_calls_nothing_that_the_service_forbids() {
    let home = tempfile::tempdir().expect("folder");
    let trace = home.path().join("trace");
    let calls = trace.to_str().expect("path");
    // From the first instruction of the server on; `execve` itself is systemd's.
    let server = TestServer::builder().set("timeouts.shutdown", "\"1s\"").wrapper(&[
        "strace",
        "-f",
        "-qq",
        "-e",
        "signal=none",
        "-o",
        calls,
    ]);
    let mut server = server.start();
    exercise(&server);
    server.reload();
    crate::rig::wait_until("reload", Duration::from_secs(10), || server.log().contains("Configuration reloaded"));
    rustix::process::kill_process(server.pid(), rustix::process::Signal::TERM).expect("the server runs");
    assert!(server.wait(Duration::from_secs(60)).success(), "the drain failed");
    let called: BTreeSet<String> = fs::read_to_string(&trace)
        .expect("trace")
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1)?.split_once('(').map(|(name, _)| name.to_owned()))
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'))
        .collect();
    assert!(called.len() > 30 && called.contains("fdatasync"), "{called:?}");
    let (mut allowed, mut denied) = filter();
    // SQLite gives its files to the owner of the database when it runs as root, which the service does not.
    allowed.insert("fchown".to_owned());
    denied.remove("fchown");
    // cachestat(2), which older strace and systemd do not know by name: refused, the server looks another way.
    allowed.extend(["cachestat".to_owned(), "syscall_0x1c3".to_owned()]);
    let refused: Vec<_> = called.iter().filter(|call| !allowed.contains(*call) || denied.contains(*call)).collect();
    assert_eq!(refused, Vec::<&String>::new(), "of {called:?}");
}

/// Something of everything: uploads, repeats, downloads, ranges, a token, a refusal, metrics.
fn exercise(server: &TestServer) {
    assert_eq!(server.put("a/small.txt", b"hello").status, 201);
    assert_eq!(server.put("a/small.txt", b"hello").status, 201);
    assert_eq!(server.put("a/small.txt", b"other").status, 409);
    assert_eq!(server.put("b/large.bin", &vec![7; 20_000_000]).status, 201);
    assert_eq!(server.put(&format!("c/{}", "x".repeat(300)), b"long name").status, 201);
    assert_eq!(server.get("b/large.bin").body.len(), 20_000_000);
    assert_eq!(server.request("GET", "/b/large.bin", &[("Range", "bytes=5-")], None).status, 206);
    let claims = json!({
        "sub": "alice@localhost", "slot": "slot", "filename": "f", "filesize": 1, "filetype": "text/plain",
        "iat": sign::in_seconds(0), "exp": sign::in_seconds(60), "expires": sign::in_seconds(3600),
    });
    let bearer = sign::file_share(SECRET, &claims);
    assert_eq!(server.request("PUT", "/slot/f", &[("Authorization", &bearer)], Some(b"x")).status, 201);
    assert_eq!(server.request("GET", "/metrics", &[], None).status, 200);
    let mut broken = Connection::open(server.address()).expect("connection");
    broken.send(b"GET / HTTP/9\r\n\r\n").expect("request");
    assert_eq!(broken.receive(false).expect("answer").status, 400);
}

/// The system calls of `SystemCallFilter=`: what it allows, and what it takes out again.
fn filter() -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut allowed, mut denied) = (BTreeSet::new(), BTreeSet::new());
    for line in read(SERVICE).lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        let (set, names) = match line.strip_prefix('~') {
            Some(names) => (&mut denied, names),
            None => (&mut allowed, line),
        };
        names.split(' ').for_each(|name| expand(name, set));
    }
    // Always allowed, so that a process can start.
    expand("@default", &mut allowed);
    (allowed, denied)
}

fn expand(name: &str, into: &mut BTreeSet<String>) {
    if !name.starts_with('@') {
        into.insert(name.to_owned());
        return;
    }
    let listed = analyze(&["syscall-filter", name], Path::new("/"));
    let entries = listed.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    entries.for_each(|entry| expand(entry, into));
}

/// The units in a folder of their own, for the binary under test.
fn units() -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("folder");
    let service = read(SERVICE);
    assert!(service.contains(INSTALLED));
    let service = service.replace(INSTALLED, &place::binary().display().to_string());
    fs::write(home.path().join("hmac-file-server.service"), service).expect("unit");
    fs::write(home.path().join("hmac-file-server.socket"), read(SOCKET)).expect("unit");
    home
}

/// What `systemd-analyze` says.
#[track_caller]
fn analyze(arguments: &[&str], folder: &Path) -> String {
    let output = Command::new("systemd-analyze")
        .args(arguments)
        .current_dir(folder)
        .env("SYSTEMD_COLORS", "0")
        .output()
        .expect("systemd-analyze: `cargo xtask test` installs systemd");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "systemd-analyze {arguments:?}: {said}");
    said.into_owned()
}
