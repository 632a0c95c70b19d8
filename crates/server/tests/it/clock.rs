//! R12: clocks that jump. Nothing is removed by a wrong clock; transfers and their limits do not notice.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::rig::load::{Writers, broken_promises};
use crate::rig::server::{Builder, SECRET, TestServer};
use crate::rig::unfinished::Unfinished;
use crate::rig::{sign, wait_until};

const DAY: u64 = 24 * 3600;

#[test]
fn a_clock_that_jumps_under_load_removes_nothing_and_cuts_nobody() {
    let clock = Clock::new();
    let mut server = clock.server().start();
    let limits = [("brief", 10), ("week", 7 * DAY), ("month", 29 * DAY)];
    for (slot, seconds) in limits {
        assert_eq!(put_for(&server, slot, seconds), 201, "{slot}");
    }
    let body = vec![7; 1_000_000];
    let slow = Unfinished::begin(&server, "slow/file.bin", &body);
    let writers = Writers::start(server.address(), 2, 50_000);
    for jump in ["+1d", "+30d", "-2h", "+0"] {
        clock.set(jump);
        let before = writers.acknowledged();
        wait_until(&format!("uploads at {jump}"), Duration::from_secs(20), || writers.acknowledged() > before + 100);
        if jump == "+30d" {
            wait_until("the server's month later", Duration::from_secs(10), || {
                server.get("month/file.bin").status == 404
            });
            let looks = server.log().matches("not believed").count();
            wait_until("two looks", Duration::from_secs(10), || {
                server.log().matches("not believed").count() > looks + 1
            });
            assert_eq!(server.metric("hfs_janitor_paused"), 1);
        }
        let stored = server.stored();
        for (slot, _) in &limits[1..] {
            assert!(stored.contains(&Path::new(slot).join("file.bin")), "{slot} is gone at {jump}");
        }
    }
    assert_eq!(slow.finish().expect("answer").status, 201, "no limit noticed the jumps");
    let ledger = writers.stop();
    assert_eq!(ledger.odd, Vec::<String>::new());
    assert_eq!(broken_promises(server.address(), &ledger), Vec::<String>::new());

    // Back in time, what is over goes and the rest is served.
    wait_until("end of what is over", Duration::from_secs(30), || !server.storage().join("brief/file.bin").exists());
    assert_eq!(server.metric("hfs_janitor_paused"), 0);
    for (slot, _) in &limits[1..] {
        assert_eq!(server.get(&format!("{slot}/file.bin")).status, 200, "{slot}");
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
    server.terminate();
    server.assert_whole();
}

#[test]
fn a_start_with_a_clock_in_the_future_removes_nothing() {
    let clock = Clock::new();
    let mut server = clock.server().start();
    assert_eq!(put_for(&server, "week", 7 * DAY), 201);
    server.terminate();

    clock.set("+30d");
    server.restart();
    assert_eq!(server.get("week/file.bin").status, 404, "it is hidden: the clock says that it is over");
    wait_until("two looks", Duration::from_secs(20), || server.log().matches("not believed").count() > 1);
    assert_eq!(server.metric("hfs_janitor_paused"), 1);
    assert!(server.storage().join("week/file.bin").exists());
    server.terminate();

    clock.set("+0");
    server.restart();
    assert_eq!(server.get("week/file.bin").status, 200);
    server.assert_whole();
}

/// A wall clock that a server sees through libfaketime; its monotonic one stays as it is.
struct Clock(tempfile::TempDir);

impl Clock {
    fn new() -> Self {
        let clock = Self(tempfile::tempdir().expect("folder"));
        clock.set("+0");
        clock
    }

    fn set(&self, offset: &str) {
        // At once, or the server reads half of it.
        let next = self.0.path().join("next");
        fs::write(&next, offset).expect("offset");
        fs::rename(next, self.file()).expect("offset");
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("offset")
    }

    fn server(&self) -> Builder {
        TestServer::builder()
            .set("server.cleanup_interval", "\"1s\"")
            .set("logging.level", "\"debug\"")
            .env("LD_PRELOAD", library().display().to_string())
            .env("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string())
            .env("FAKETIME_CACHE_DURATION", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }
}

fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").expect("/usr/lib").filter_map(|entry| Some(entry.ok()?.path()));
    let mut libraries = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    libraries.find(|library| library.exists()).expect("libfaketime is installed")
}

/// A PUT of a file that is over in so many seconds of the real time.
fn put_for(server: &TestServer, slot: &str, seconds: u64) -> u16 {
    let claims = json!({
        "iat": sign::in_seconds(0), "exp": sign::in_seconds(600), "sub": "romeo@example.org", "slot": slot,
        "filename": "file.bin", "filesize": 5, "filetype": "text/plain", "expires": sign::in_seconds(seconds),
    });
    let token = sign::file_share(SECRET, &claims);
    let headers = [("Authorization", &*token), ("Content-Type", "text/plain")];
    server.request("PUT", &format!("/{slot}/file.bin"), &headers, Some(b"hello")).status
}
