//! Disks that lie about their size, are slow, or hang: uploads fail honestly, everything else goes on.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};

use crate::rig::command::{curl, curl_text};
use crate::rig::disk::{Mounted, PowerCutDisk};
use crate::rig::health::HealthProbe;
use crate::rig::load::{Upload, Writers, broken_promises};
use crate::rig::server::{SECRET, TestServer};
use crate::rig::tls::{self, Certificate};
use crate::rig::{sign, wait_until};

/// R6: the file system promises space that the device below does not have.
#[test]
fn write_back_errors_are_5xx_and_lose_nothing() {
    let (disk, _below) = Mounted::thin(256, 40);
    let server =
        TestServer::builder().storage(&disk.path().join("storage")).set("server.min_free_bytes", "\"1KB\"").start();
    let uploads: Vec<_> = (0..12).map(|n| Upload { slot: format!("thin/{n}.bin"), size: 6_000_000 }).collect();
    let statuses: Vec<u16> = uploads.iter().map(|upload| server.put(&upload.slot, &upload.body()).status).collect();
    assert!(statuses.contains(&201), "{statuses:?}");
    assert!(statuses.iter().all(|status| [201, 503, 507].contains(status)), "{statuses:?}");
    assert!(statuses.iter().any(|&status| status != 201), "60 MB fit into 40: the rig does not bite");
    assert!(server.is_healthy());
    for (upload, status) in uploads.iter().zip(statuses) {
        let answer = server.get(&upload.slot);
        if status == 201 {
            assert_eq!(sign::sha256(&answer.body), sign::sha256(&upload.body()), "{upload:?}: {}", answer.status);
        } else {
            assert_ne!(answer.status, 200, "{upload:?} was refused with {status}, and is there");
        }
    }
}

/// R6: the same for a crowd of short uploads, which share their syncs.
#[test]
fn write_back_errors_in_a_crowd_lose_nothing() {
    let (disk, _below) = Mounted::thin(256, 24);
    let server =
        TestServer::builder().storage(&disk.path().join("storage")).set("server.min_free_bytes", "\"1KB\"").start();
    let writers = Writers::start(server.address(), 24, 60_000);
    wait_until("the first failure", Duration::from_secs(120), || !writers.ledger().open.is_empty());
    let ledger = writers.stop();
    assert!(ledger.odd.iter().all(|answer| answer.contains(" 507 ")), "{:?}", ledger.odd);
    assert!(ledger.acknowledged.len() > 100, "{}", ledger.acknowledged.len());
    assert_eq!(broken_promises(server.address(), &ledger), Vec::<String>::new());
    assert!(server.is_healthy());
}

/// R6: the kernel turns the file system read-only while the server runs, as it does after an error of its journal.
#[test]
fn a_file_system_that_turns_read_only_takes_no_uploads_and_goes_on_serving() {
    let disk = Mounted::ext4(64);
    let mut server =
        TestServer::builder().storage(&disk.path().join("storage")).set("server.min_free_bytes", "\"1KB\"").start();
    let ready = |server: &TestServer| server.request("GET", "/ready", &[], None).status;
    assert_eq!(server.put("before/it.txt", b"before").status, 201);
    assert_eq!(ready(&server), 200);

    disk.turn_read_only();
    for number in 0..3 {
        let refused = server.put(&format!("after/{number}.txt"), b"after");
        assert_eq!(refused.status, 503, "{}", refused.text());
        assert_eq!(ready(&server), 503);
        assert_eq!(server.get("before/it.txt").body, b"before");
        assert_eq!(server.get(&format!("after/{number}.txt")).status, 404);
    }
    assert!(server.is_healthy());
    assert_eq!(server.exited(), None);
}

/// R7: 2 MB/s and 50 operations per second.
#[test]
fn a_slow_disk_makes_uploads_slow_and_nothing_else() {
    let disk = PowerCutDisk::throttled(128, "x-bps-write=2000000,x-iops-write=50");
    let server =
        TestServer::builder().storage(&disk.path().join("storage")).set("server.min_free_bytes", "\"1KB\"").start();
    let upload = Upload { slot: "slow/5.bin".to_owned(), size: 5_000_000 };
    std::thread::scope(|scope| {
        let put = scope.spawn(|| server.put(&upload.slot, &upload.body()).status);
        let mut health = HealthProbe::default();
        while !put.is_finished() {
            health.ask(&server);
        }
        health.judge("a slow disk");
        assert_eq!(put.join().expect("the upload"), 201);
    });
    assert!(server.get(&upload.slot).body == upload.body());
}

/// R7: a download that must wait for the disk, piece by piece, at 4 MB/s; another file is in memory.
#[test]
fn a_cold_download_from_a_slow_disk_stalls_nobody() {
    let disk = PowerCutDisk::throttled(128, "x-bps-read=4000000");
    let server =
        TestServer::builder().storage(&disk.path().join("storage")).set("server.min_free_bytes", "\"1KB\"").start();
    let [cold, hot] = [("cold/12.bin", 12_000_000), ("hot/64.bin", 65_536)]
        .map(|(slot, size)| Upload { slot: slot.to_owned(), size });
    for upload in [&cold, &hot] {
        assert_eq!(server.put(&upload.slot, &upload.body()).status, 201);
        assert!(server.get(&upload.slot).body == upload.body());
    }
    disk.forget(&server.storage().join(&cold.slot));
    std::thread::scope(|scope| {
        let begin = Instant::now();
        let get = scope.spawn(|| server.get(&cold.slot).body == cold.body());
        let mut health = HealthProbe::default();
        while !get.is_finished() {
            health.ask(&server);
            assert!(server.get(&hot.slot).body == hot.body());
        }
        assert!(begin.elapsed() > Duration::from_secs(2), "the pages were in memory: the rig does not bite");
        health.judge("a cold download");
        assert!(get.join().expect("the download"), "other bytes");
    });
}

/// Of each window of 1 MiB, memory has the pages that a cheap look would find, and nothing between them. At 1 MB/s each
/// window takes a second: sendfile would hold both threads of the runtime for that.
#[test]
fn downloads_with_holes_in_memory_stall_nobody() {
    let disk = PowerCutDisk::throttled(128, "x-bps-read=1000000");
    let server =
        TestServer::builder().storage(&disk.path().join("storage")).set("server.min_free_bytes", "\"1KB\"").start();
    let uploads = ["a", "b", "c"].map(|name| Upload { slot: format!("holes/{name}.bin"), size: 2 << 20 });
    for upload in &uploads {
        assert_eq!(server.put(&upload.slot, &upload.body()).status, 201);
        let path = server.storage().join(&upload.slot);
        disk.forget(&path);
        let file = File::open(&path).expect("a file on the disk");
        // Without this the kernel reads what lies between, too.
        fadvise(&file, 0, None, Advice::Random).expect("no read-ahead");
        for window in (0..upload.size).step_by(1 << 20) {
            for at in [0, 1 << 19, (1 << 20) - 1] {
                file.read_exact_at(&mut [0], window + at).expect("a page");
            }
        }
    }
    disk.forget_itself();
    std::thread::scope(|scope| {
        let begin = Instant::now();
        let gets = uploads.each_ref().map(|upload| {
            let server = &server;
            scope.spawn(move || server.get(&upload.slot).body == upload.body())
        });
        let mut health = HealthProbe::default();
        while !gets.iter().all(|get| get.is_finished()) {
            health.ask(&server);
        }
        assert!(begin.elapsed() > Duration::from_secs(3), "the pages were in memory: the rig does not bite");
        let longest = health.longest();
        health.judge("downloads with holes");
        assert!(longest < Duration::from_secs(2), "/health took {longest:?} once: a thread waited for the disk");
        for get in gets {
            assert!(get.join().expect("the download"), "other bytes");
        }
    });
}

/// Downloads over TLS, by both protocols at once: each piece is read into a buffer of ours there.
#[test]
fn cold_downloads_over_tls_stall_nobody() {
    let disk = PowerCutDisk::throttled(128, "x-bps-read=4000000");
    let folder = tempfile::tempdir().expect("folder");
    let certificate = Certificate::copy(folder.path());
    let (builder, port) = tls::builder(&certificate);
    let server = builder.storage(&disk.path().join("storage")).set("server.min_free_bytes", "\"1KB\"").start();
    let ca = certificate.cert.display().to_string();
    let cold = ["--http1.1", "--http2"].map(|protocol| {
        let upload = Upload { slot: format!("cold/{}.bin", &protocol[2..]), size: 6_000_000 };
        let (body, sent) = (upload.body(), folder.path().join(&protocol[2..]));
        std::fs::write(&sent, &body).expect("body");
        let url = format!("https://127.0.0.1:{port}/{}", upload.slot);
        let signed = format!("{url}?{}", sign::v1(SECRET, &upload.slot, upload.size));
        let sent = sent.display().to_string();
        let status = curl_text(&["--cacert", &ca, "-o", "/dev/null", "-w", "%{http_code}", "-T", &sent, &signed]);
        assert_eq!(status, "201");
        disk.forget(&server.storage().join(&upload.slot));
        (protocol, url, body)
    });
    std::thread::scope(|scope| {
        let begin = Instant::now();
        let gets = cold.each_ref().map(|(protocol, url, body)| {
            let ca = &ca;
            scope.spawn(move || curl(&["--cacert", ca, protocol, url]) == *body)
        });
        let mut health = HealthProbe::default();
        while !gets.iter().all(|get| get.is_finished()) {
            health.ask(&server);
        }
        assert!(begin.elapsed() > Duration::from_secs(2), "the pages were in memory: the rig does not bite");
        health.judge("cold downloads over TLS");
        for get in gets {
            assert!(get.join().expect("the download"), "other bytes");
        }
    });
}

/// R7: the disk answers nothing at all, then comes back.
#[test]
fn a_hung_disk_blocks_uploads_until_the_deadline_and_health_never() {
    let disk = PowerCutDisk::new(128);
    let server = TestServer::builder()
        .storage(&disk.path().join("storage"))
        .set("server.min_free_bytes", "\"1KB\"")
        .set("server.io_deadline", "\"2s\"")
        .start();
    let writers = Writers::start(server.address(), 2, 50_000);
    wait_until("acknowledged uploads", Duration::from_secs(30), || writers.acknowledged() > 5);
    drop(writers.stop());

    let cut = disk.cut();
    std::thread::scope(|scope| {
        let blocked = scope.spawn(|| server.put("hung/during.txt", b"during"));
        let mut health = HealthProbe::default();
        while !blocked.is_finished() {
            health.ask(&server);
        }
        health.judge("a hung disk");
        let blocked = blocked.join().expect("the upload");
        assert_eq!(blocked.status, 503, "{}", blocked.text());
    });
    drop(cut);
    wait_until("201 once the disk is back", Duration::from_secs(10), || {
        server.put("hung/after.txt", b"after").status == 201
    });
    let during = server.get("hung/during.txt");
    assert!(during.status == 404 || during.body == b"during", "{}", during.status);
}
