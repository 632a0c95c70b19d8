//! A tree as the original server leaves it: adopted in place at the first start, once, and never silently after that.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::{Signal, geteuid};

use crate::rig::command::{clean, run};
use crate::rig::leftover::leave;
use crate::rig::process::Process;
use crate::rig::server::{SECRET, TestServer};
use crate::rig::{free_port, wait_until};

const HASH: &str = "c3499c2729730a7f807efb8676a92dcb6f8a3f8f";
/// 2023-11-14 22:13:20 UTC.
const THEN: u64 = 1_700_000_000;

/// A file that was last written long ago.
fn old(root: &Path, path: &str, bytes: &[u8]) {
    fresh(root, path, bytes);
    age(&root.join(path));
}

fn fresh(root: &Path, path: &str, bytes: &[u8]) {
    let file = root.join(path);
    fs::create_dir_all(file.parent().expect("below the root")).expect("folder");
    fs::write(file, bytes).expect("file");
}

fn age(file: &Path) {
    let file = File::options().write(true).open(file).expect("file");
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(THEN)).expect("time");
}

/// What months of the original server come to.
fn foreign_tree(root: &Path) {
    old(root, &format!("{HASH}/iV7o/photo.jpg"), b"jpeg");
    old(root, &format!("{HASH}/iV7o/photo.thumb.jpg"), b"thumbnail");
    old(root, "0b3c/Grüße & mehr.txt", b"text");
    old(root, "0b3c/no-extension", b"what");
    old(root, "flat.pdf", b"%PDF-");
    old(root, ".upload_sessions/sess_1.session", b"{}");
    old(root, ".upload_sessions/sess_1/chunk_0", b"chunk");
    old(root, ".metadata/files.db", b"SQLite format 3");
    symlink("/etc/passwd", root.join("0b3c/link.txt")).expect("symlink");
    mkfifoat(CWD, root.join("0b3c/pipe.txt"), Mode::from_raw_mode(0o644)).expect("FIFO");
    fresh(root, "0b3c/fresh.txt", b"still being written");
}

fn check(server: &TestServer) -> (Option<i32>, String) {
    let said =
        run(server.home(), &["check", "--storage", "--quiet", "--config", &server.config().display().to_string()]);
    (said.code, said.all())
}

#[test]
fn the_originals_files_are_served_from_the_first_start_on() {
    let storage = tempfile::tempdir().expect("folder");
    foreign_tree(storage.path());
    let server = TestServer::builder().storage(storage.path()).start();

    for (slot, bytes, media_type) in [
        (&*format!("{HASH}/iV7o/photo.jpg"), &b"jpeg"[..], "image/jpeg"),
        (&format!("{HASH}/iV7o/photo.thumb.jpg"), b"thumbnail", "image/jpeg"),
        ("0b3c/Grüße & mehr.txt", b"text", "text/plain"),
        ("0b3c/no-extension", b"what", "application/octet-stream"),
        ("flat.pdf", b"%PDF-", "application/pdf"),
    ] {
        let answer = server.get(slot);
        assert_eq!((answer.status, &*answer.body), (200, bytes), "{slot}");
        let said = answer.header("content-type").expect("a type");
        assert_eq!(said.split(';').next(), Some(media_type), "{slot}");
        assert_eq!(answer.header("last-modified"), Some("Tue, 14 Nov 2023 22:13:20 GMT"), "{slot}");
        assert_eq!(fs::read(storage.path().join(slot)).expect("in its place"), bytes);
    }
    let hidden = [
        ".upload_sessions/sess_1.session",
        ".upload_sessions/sess_1/chunk_0",
        ".metadata/files.db",
        ".hfs/meta.sqlite",
        "0b3c/link.txt",
        "0b3c/pipe.txt",
        "0b3c/fresh.txt",
        "0b3c",
    ];
    for slot in hidden {
        assert_eq!(server.get(slot).status, 404, "{slot}");
    }
    let log = server.log();
    for told in ["files=5", "0b3c/link.txt", "0b3c/pipe.txt", "0b3c/fresh.txt"] {
        assert!(log.contains(told), "no {told} in {log}");
    }
    assert_eq!(server.put("flat.pdf", b"other").status, 409, "an adopted slot is taken");
    assert_eq!(server.put("flat.pdf", b"%PDF-").status, 201, "and can be repeated");
    assert_eq!(server.put("0b3c/new.txt", b"hello").status, 201);
}

#[test]
fn what_came_later_needs_the_command() {
    let storage = tempfile::tempdir().expect("folder");
    foreign_tree(storage.path());
    let mut server = TestServer::builder().storage(storage.path()).start();
    let (code, said) = check(&server);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("0b3c/fresh.txt") && said.contains("without a row"), "{said}");
    for unnamed in ["photo", "flat", "link", "pipe", ".upload_sessions", ".metadata"] {
        assert!(!said.contains(unnamed), "{unnamed} is no leftover: {said}");
    }

    old(storage.path(), "later/file.txt", b"copied here by hand");
    age(&storage.path().join("0b3c/fresh.txt"));
    server.terminate();
    server.restart();
    for slot in ["later/file.txt", "0b3c/fresh.txt"] {
        assert_eq!(server.get(slot).status, 404, "{slot}: a second start adopted it");
    }
    assert!(check(&server).1.contains("later/file.txt"));

    // While it serves.
    let config = server.config().display().to_string();
    let adopted = run(server.home(), &["adopt", "--config", &config]);
    assert_eq!(adopted.code, Some(0), "{}", adopted.all());
    assert!(adopted.out.contains("2 files adopted") && adopted.out.contains("link.txt"), "{}", adopted.all());
    assert_eq!(server.get("later/file.txt").body, b"copied here by hand");
    assert_eq!(server.get("0b3c/fresh.txt").body, b"still being written");
    server.assert_whole();
    let again = run(server.home(), &["adopt", "--config", &config]);
    assert!(again.out.contains("0 files adopted"), "{}", again.all());
}

#[test]
fn what_a_crash_left_of_our_own_is_not_adopted() {
    let mut server = TestServer::start();
    for by_command in [false, true] {
        server.terminate();
        leave(server.storage(), "a/left.txt", b"never acknowledged");
        old(server.storage(), &format!("theirs/{by_command}.txt"), b"text");
        if by_command {
            let adopted = run(server.home(), &["adopt", "--config", &server.config().display().to_string()]);
            assert!(adopted.out.contains("1 files adopted"), "{}", adopted.all());
        } else {
            fs::write(server.storage().join(".hfs/adoption-due"), "").expect("mark");
        }
        server.restart();
        assert_eq!(server.get("a/left.txt").status, 404);
        assert_eq!(server.get(&format!("theirs/{by_command}.txt")).body, b"text");
        server.assert_whole();
    }
}

#[test]
fn what_is_gone_is_not_adopted_again() {
    let storage = tempfile::tempdir().expect("folder");
    let secret = "deletes-9f8e7d6c5b4a3928170f6e5d4c3b2a19";
    let server =
        TestServer::builder().storage(storage.path()).set("security.delete_secret", &format!("{secret:?}")).start();
    assert_eq!(server.put("d/file.txt", b"hello").status, 201);
    let delete = format!("/d/file.txt?{}", crate::rig::sign::delete(SECRET, secret, "d/file.txt"));
    assert_eq!(server.request("DELETE", &delete, &[], None).status, 204);
    old(storage.path(), "d/file.txt", b"hello");
    let adopted = run(server.home(), &["adopt", "--config", &server.config().display().to_string()]);
    assert!(adopted.out.contains("0 files adopted"), "{}", adopted.all());
    assert_eq!(server.get("d/file.txt").status, 404);
}

#[test]
fn what_was_unreadable_is_adopted_once_it_is_readable() {
    let storage = tempfile::tempdir().expect("folder");
    old(storage.path(), "open/file.txt", b"text");
    old(storage.path(), "locked/file.txt", b"locked in");
    let lock = |mode| {
        fs::set_permissions(storage.path().join("locked"), Permissions::from_mode(mode)).expect("permissions");
    };
    lock(0o000);
    // Root reads everything, unless it may not.
    let wrapper = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"];
    let builder = TestServer::builder().storage(storage.path());
    let mut server = if geteuid().is_root() { builder.wrapper(&wrapper).start() } else { builder.start() };
    assert_eq!(server.get("open/file.txt").status, 200);
    assert_eq!(server.get("locked/file.txt").status, 404);
    assert!(server.log().contains("locked is unreadable"), "{}", server.log());
    server.restart();
    assert_eq!(server.get("locked/file.txt").status, 404, "still locked");

    lock(0o700);
    fresh(storage.path(), "locked/later.txt", b"came later");
    old(storage.path(), "open/later.txt", b"came later");
    server.restart();
    assert_eq!(server.get("locked/file.txt").body, b"locked in");
    for later in ["locked/later.txt", "open/later.txt"] {
        assert_eq!(server.get(later).status, 404, "{later} was adopted silently");
    }
    assert!(!storage.path().join(".hfs/adoption-due").exists());
}

/// Whether the signal ends it in an orderly way by now.
fn catches_sigterm(server: &Process) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap_or_default();
    let caught = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigCgt:")?.trim(), 16).ok());
    caught.is_some_and(|caught| caught & 1 << (Signal::TERM.as_raw() - 1) != 0)
}

#[test]
fn an_adoption_that_is_stopped_goes_on_at_the_next_start() {
    const FILES: usize = 3000;
    let home = tempfile::tempdir().expect("folder");
    let storage = home.path().join("storage");
    for number in 0..FILES {
        old(&storage, &format!("d{}/{number}.txt", number % 50), b"text");
    }
    let config = home.path().join("config.toml");
    let text = format!(
        "[server]\nlisten_address = \"127.0.0.1:{}\"\nstorage_path = {storage:?}\n[security]\nsecret = \"{SECRET}\"\n",
        free_port()
    );
    fs::write(&config, text).expect("configuration");
    let mut command: Command = clean(home.path());
    command.arg("--config").arg(&config);
    for _ in 0..3 {
        let mut server = Process::start(&command, &home.path().join("server.log"));
        // Somewhere in it: rows are written, requests are not answered yet, or just so.
        // The log alone says nothing: one that was stopped while it read leaves its own to the next.
        wait_until("database", Duration::from_secs(10), || {
            catches_sigterm(&server) && storage.join(".hfs/meta.sqlite-wal").exists()
        });
        server.signal(Signal::TERM);
        let status = server.wait(Duration::from_secs(10));
        assert!(status.success(), "{status}: {}", server.log());
    }
    let server = Process::start(&command, &home.path().join("server.log"));
    wait_until("listener", Duration::from_secs(20), || server.log().contains("Listening"));
    let said = run(home.path(), &["check", "--storage", "--config", &config.display().to_string()]);
    assert_eq!(said.code, Some(0), "{}", said.all());
    assert!(said.out.contains(&format!("{FILES} rows, {FILES} files")), "{}", said.all());
}
