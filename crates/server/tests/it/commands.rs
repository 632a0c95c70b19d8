//! The commands of the same binary: what they print, and how they end.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::process::Signal;

use crate::rig::command::{Said, clean, curl, curl_text, run};
use crate::rig::place;
use crate::rig::process::Process;
use crate::rig::server::{SECRET, TestServer};
use crate::rig::wait_until;

const DELETE_SECRET: &str = "deletes-9f8e7d6c5b4a3928170f6e5d4c3b2a19";
const JWT_SECRET: &str = "tokens-1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b";

/// The command with the server's configuration.
fn of(server: &TestServer, home: &Path, arguments: &[&str]) -> Said {
    run(home, &[arguments, &["--config", &server.config().display().to_string()]].concat())
}

fn configuration(home: &Path, text: &str) -> PathBuf {
    let path = home.join("config.toml");
    fs::write(&path, text).expect("configuration");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("mode");
    path
}

fn good(home: &Path) -> String {
    format!(
        "[server]\nstorage_path = {:?}\nmin_free_bytes = 0\n[security]\nsecret = \"{SECRET}\"\n",
        home.join("store")
    )
}

#[test]
fn check_says_where_and_what_was_meant() {
    let home = tempfile::tempdir().expect("folder");
    configuration(home.path(), &good(home.path()));
    let said = run(home.path(), &["check"]);
    assert_eq!(said.code, Some(0), "{}", said.all());
    assert!(said.out.ends_with("0 errors, 0 warnings\n"), "{}", said.out);

    let bad = "[server]\nlisten_adress = \"8080\"\nmax_upload_size = \"much\"\n\n[securitty]\nsecret = \"x\"\n\n[clamav]\nclamavenabled = true\n";
    configuration(home.path(), bad);
    let said = run(home.path(), &["check"]);
    assert_eq!(said.code, Some(78), "{}", said.all());
    for expected in [
        "config.toml:2:1",
        // A key that is not known may hold anything, so its value is not shown.
        "2 | listen_adress = ***\n  | ^^^^^^^^^^^^^\n",
        "did you mean `[server] listen_address`?",
        "3 | max_upload_size = \"much\"\n  |                   ^^^^^^\n",
        "security",
        "clamavenabled",
    ] {
        assert!(said.out.contains(expected), "no {expected} in: {}", said.out);
    }
    assert_eq!(fs::read_to_string(home.path().join("config.toml")).expect("configuration"), bad);
    assert_eq!(fs::read_dir(home.path()).expect("folder").count(), 1, "something was made");

    configuration(home.path(), "[server\n");
    let said = run(home.path(), &["check"]);
    assert_eq!(said.code, Some(78), "{}", said.all());
    assert!(said.out.contains("config.toml:1:"), "{}", said.out);
    let missing = run(home.path(), &["check", "--config", "missing.toml"]);
    assert_eq!(missing.code, Some(78), "{}", missing.all());
    assert!(missing.all().contains("missing.toml"), "{}", missing.all());
}

#[test]
fn the_originals_flags_still_mean_something() {
    let home = tempfile::tempdir().expect("folder");
    configuration(home.path(), &good(home.path()));
    for arguments in [
        &["-config", "config.toml", "-validate-config"][..],
        &["--config", "config.toml", "--validate-config"],
        &["-validate-config", "-config=config.toml"],
    ] {
        let said = run(home.path(), arguments);
        assert_eq!(said.code, Some(0), "{arguments:?}: {}", said.all());
        assert!(said.out.contains("0 errors"), "{arguments:?}: {}", said.all());
    }
    let version = run(home.path(), &["-version"]);
    assert_eq!((version.code, version.out), (Some(0), format!("hmac-file-server {}\n", env!("CARGO_PKG_VERSION"))));
    let help = run(home.path(), &["--help"]);
    assert!(help.code == Some(0) && help.out.contains("check") && help.err.is_empty(), "{}", help.all());
    for arguments in [&["-bogus"][..], &["bogus"], &["check", "--bogus"], &["get"]] {
        let said = run(home.path(), arguments);
        assert_eq!(said.code, Some(2), "{arguments:?}: {}", said.all());
        assert!(said.err.contains("Usage") && said.out.is_empty(), "{arguments:?}: {}", said.all());
    }
}

#[test]
fn the_manual_and_the_example_are_those_of_the_program() {
    let home = tempfile::tempdir().expect("folder");
    let manual = run(home.path(), &["config", "reference"]);
    let documented = fs::read_to_string(place::checkout().join("docs/configuration.md")).expect("manual");
    assert!(manual.out == documented, "docs/configuration.md is not what `config reference` prints");

    assert_eq!(run(home.path(), &["config", "example", "--output", "new.toml"]).code, Some(0));
    assert_ne!(run(home.path(), &["config", "example", "--output", "new.toml"]).code, Some(0), "it was overwritten");
    let example = run(home.path(), &["config", "example"]).out;
    assert_eq!(fs::read_to_string(home.path().join("new.toml")).expect("example"), example);

    let secret = home.path().join("secret");
    fs::write(&secret, SECRET).expect("secret");
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).expect("mode");
    let text = example
        .replace("/etc/hmac-file-server/secret", &secret.display().to_string())
        .replace("/var/lib/hmac-file-server", &home.path().join("store").display().to_string());
    configuration(home.path(), &text);
    let said = run(home.path(), &["check"]);
    assert_eq!(said.code, Some(0), "{}", said.all());
    assert!(said.out.ends_with("0 errors, 0 warnings\n"), "{}", said.all());
}

#[test]
fn check_storage_names_every_disagreement() {
    let server = TestServer::start();
    for slot in ["a/whole.txt", "a/missing.txt", "a/short.txt"] {
        assert_eq!(server.put(slot, b"hello").status, 201);
    }
    server.assert_whole();
    fs::remove_file(server.storage().join("a/missing.txt")).expect("file");
    fs::write(server.storage().join("a/short.txt"), "hell").expect("file");
    fs::write(server.storage().join("a/leftover.txt"), "left").expect("file");
    let said = of(&server, server.home(), &["check", "--storage"]);
    assert_eq!(said.code, Some(1), "{}", said.all());
    for expected in [
        "a/missing.txt: recorded, but there is no file",
        "a/short.txt: recorded with 5 bytes, but the file has 4",
        "a/leftover.txt: a file of",
        "3 findings",
    ] {
        assert!(said.out.contains(expected), "no {expected} in: {}", said.out);
    }
    assert!(!said.out.contains("whole.txt"), "{}", said.out);
    for slot in ["a/missing.txt", "a/short.txt"] {
        assert_eq!(server.get(slot).status, 500, "{slot}: a damaged file is not served as if it was whole");
    }
    assert_eq!(server.get("a/leftover.txt").status, 404);
}

#[test]
fn what_sign_prints_works_with_curl() {
    let server = TestServer::builder()
        .base_path("/upload")
        .set("security.delete_secret", &format!("{DELETE_SECRET:?}"))
        .set("security.enablejwt", "true")
        .set("security.jwtsecret", &format!("{JWT_SECRET:?}"))
        .start();
    let file = server.home().join("file.bin");
    fs::write(&file, "hello, world").expect("file");
    let file = format!("@{}", file.display());
    for dialect in ["v1", "v2", "token", "v3", "file-share", "jwt"] {
        let path = format!("{dialect} ü/a b.txt");
        let said = of(&server, server.home(), &["sign", &path, "--size", "12", "--dialect", dialect]);
        assert_eq!(said.code, Some(0), "{dialect}: {}", said.all());
        let mut lines: Vec<&str> = said.out.lines().collect();
        let put = lines.remove(0).strip_prefix("PUT ").expect("a PUT first");
        let get = lines.pop().and_then(|line| line.strip_prefix("GET ")).expect("a GET last");
        let headers: Vec<&str> = lines.into_iter().flat_map(|header| ["-H", header]).collect();
        let common = ["-X", "PUT", "--data-binary", &file, "-o", "/dev/null", "-w", "%{http_code}"];
        assert_eq!(curl_text(&[&common[..], &headers, &[put]].concat()), "201", "{dialect}: {}", said.out);
        assert_eq!(curl(&[get]), b"hello, world", "{dialect}");
        let delete = of(&server, server.home(), &["sign", &path, "--size", "12", "--dialect", "delete"]);
        let url = delete.out.trim().strip_prefix("DELETE ").expect("a DELETE");
        assert_eq!(curl_text(&["-X", "DELETE", "-w", "%{http_code}", url]), "204", "{dialect}: {}", delete.all());
    }
    let without = TestServer::start();
    let said = of(&without, without.home(), &["sign", "a/b.txt", "--size", "5", "--dialect", "jwt"]);
    assert!(said.code == Some(1) && said.err.contains("no jwtsecret is configured"), "{}", said.all());
}

#[test]
fn put_and_get_bring_a_file_there_and_back() {
    let server = TestServer::start();
    let home = server.home();
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    fs::write(home.join("Grüße & mehr.bin"), &body).expect("file");
    for dialect in ["v1", "v2", "token", "v3", "file-share"] {
        let put = of(&server, home, &["put", "Grüße & mehr.bin", "--dialect", dialect]);
        assert_eq!(put.code, Some(0), "{dialect}: {}", put.all());
        let get = run(home, &["get", put.out.trim(), "--output", dialect]);
        assert_eq!(get.code, Some(0), "{dialect}: {}", get.all());
        assert!(fs::read(home.join(dialect)).expect("file") == body, "{dialect}: other bytes came back");
    }
    let put = of(&server, home, &["put", "Grüße & mehr.bin", "--slot", "fixed/name.bin"]);
    let url = put.out.trim();
    let again = of(&server, home, &["put", "config.toml", "--slot", "fixed/name.bin"]);
    assert!(again.code == Some(1) && again.err.contains("409"), "{}", again.all());
    let over = run(home, &["get", url, "--output", "v1"]);
    assert!(over.code == Some(1) && over.err.contains("exists"), "a file was replaced: {}", over.all());
    assert_eq!(run(home, &["get", url, "--output", "v1", "--force"]).code, Some(0));
    let nothing = run(home, &["get", &format!("{}/no/such.txt", server.public_url())]);
    assert!(nothing.code == Some(1) && nothing.err.contains("404"), "{}", nothing.all());
    assert!(!home.join("such.txt").exists());
    let refused = run(home, &["put", "config.toml", "--to", &format!("{}/a/b.txt?v=00", server.public_url())]);
    assert!(refused.code == Some(1) && refused.err.contains("403"), "{}", refused.all());
}

#[test]
fn get_goes_on_where_a_killed_server_left_it() {
    let mut server = TestServer::start();
    let home = tempfile::tempdir().expect("folder");
    // More than all the buffers on the way, so that the transfer hangs while the client is stopped.
    let body: Vec<u8> = (0..64_u32 << 20).map(|n| (n >> 12).wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    assert_eq!(server.put("a/large.bin", &body).status, 201);
    let url = format!("{}/a/large.bin", server.public_url());
    let part = home.path().join("large.bin.part");
    let mut command = clean(home.path());
    command.args(["get", &url]);
    let mut client = Process::start(&command, &home.path().join("client.log"));
    wait_until("first bytes", Duration::from_secs(10), || fs::metadata(&part).is_ok_and(|part| part.len() > 0));
    client.signal(Signal::STOP);
    server.kill();
    client.signal(Signal::CONT);
    let status = client.wait(Duration::from_secs(20));
    let have = fs::metadata(&part).map(|part| part.len()).unwrap_or_default();
    assert_eq!(status.code(), Some(1), "{}", client.log());
    assert!(have > 0 && have < body.len() as u64 && !home.path().join("large.bin").exists(), "{have}");

    server.restart();
    let said = run(home.path(), &["get", &url]);
    assert_eq!(said.code, Some(0), "{}", said.all());
    assert!(fs::read(home.path().join("large.bin")).expect("file") == body, "other bytes came");
    assert!(!part.exists());
    let sent = server.metric("hfs_sent_bytes_total");
    assert!(sent <= body.len() as u64 - have + 1_000_000, "{sent} bytes were sent for the rest");
}

#[test]
fn adopt_and_check_storage_need_a_store() {
    let home = tempfile::tempdir().expect("folder");
    configuration(home.path(), &good(home.path()));
    let said = run(home.path(), &["check", "--storage"]);
    assert!(said.code == Some(1) && said.out.contains("no store in"), "{}", said.all());
    assert!(!home.path().join("store").exists(), "a check made a store");

    fs::create_dir_all(home.path().join("store/a")).expect("folder");
    let old = home.path().join("store/a/old.txt");
    fs::write(&old, "hello").expect("file");
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    File::options().write(true).open(&old).and_then(|file| file.set_modified(long_ago)).expect("time");
    let said = run(home.path(), &["adopt"]);
    assert!(said.code == Some(0) && said.out.contains("1 files adopted"), "{}", said.all());
    assert_eq!(run(home.path(), &["check", "--storage"]).code, Some(0));
}
