//! Full disks and used-up quotas: 507 and nothing else; reads go on; space that comes back is used at once.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::rig::disk::Mounted;
use crate::rig::server::{Builder, SECRET, TestServer};
use crate::rig::{sign, wait_until};

const DELETE_SECRET: &str = "deletes-1f2e3d4c5b6a79881726354453627180";

#[test]
fn a_full_disk_is_507_and_recovers_by_itself() {
    let disk = Mounted::ext4(64);
    let ballast = disk.path().join("ballast");
    fs::write(&ballast, vec![0; 24 << 20]).expect("ballast");
    fills_up_and_recovers(&disk.path().join("storage"), 4_000_000, || fs::remove_file(&ballast).expect("ballast"));
}

#[test]
fn a_disk_without_inodes_is_507_and_recovers_by_itself() {
    let disk = Mounted::tmpfs("size=64m,nr_inodes=96");
    let ballast = disk.path().join("ballast");
    fs::create_dir(&ballast).expect("folder");
    for number in 0..40 {
        fs::write(ballast.join(number.to_string()), "").expect("ballast");
    }
    fills_up_and_recovers(&disk.path().join("storage"), 10, || fs::remove_dir_all(&ballast).expect("ballast"));
}

#[test]
fn a_quota_that_is_used_up_is_507_and_a_removal_makes_room() {
    let disk = Mounted::with_quota(48);
    let mut server = on(&disk).start();
    let kept = fill_up(&server, 4_000_000);
    assert_eq!(delete(&server, "f/0/file.bin"), 204);
    let next = format!("f/{kept}/file.bin");
    wait_until("201 in the quota that came back", Duration::from_secs(20), || {
        server.put(&next, &body(kept, 4_000_000)).status == 201
    });
    assert_eq!(server.get("f/0/file.bin").status, 404);
    assert_whole(&server, 1..=kept, 4_000_000);
    server.terminate();
    server.assert_whole();
}

#[test]
fn with_a_quota_without_a_free_byte_files_can_be_deleted_and_the_server_starts() {
    let disk = Mounted::with_quota(48);
    starts_on(&disk, || drop(disk.fill()));
}

#[test]
fn below_the_floor_uploads_are_refused_and_downloads_go_on() {
    let server = TestServer::start();
    assert_eq!(server.put("a/before.txt", b"before").status, 201);
    let config = fs::read_to_string(server.config()).expect("configuration");
    let raised = config.replace("[server]", "[server]\nmin_free_bytes = \"1000000GB\"");
    fs::write(server.config(), raised).expect("configuration");
    server.reload();
    let mut number = 0;
    wait_until("507 after the reload", Duration::from_secs(10), || {
        number += 1;
        server.put(&format!("a/{number}.txt"), b"after").status == 507
    });
    assert_eq!(server.get("a/before.txt").body, b"before");
}

#[test]
fn on_a_disk_without_a_free_byte_files_can_be_deleted() {
    let disk = Mounted::ext4(64);
    let mut server = on(&disk).start();
    for number in 0..200 {
        assert_eq!(server.put(&format!("small/{number}"), b"x").status, 201);
    }
    assert_eq!(server.put("large/file.bin", &vec![7; 4_000_000]).status, 201);
    // A fresh log: each tombstone needs room for it to grow.
    server.terminate();
    server.restart();
    let filler = disk.fill();
    assert_eq!(server.put("more/file.bin", b"x").status, 507);

    // Together they write more log than the reserve has, and give back less than they write.
    for number in 0..200 {
        assert_eq!(delete(&server, &format!("small/{number}")), 204, "{number}");
        assert_eq!(server.get(&format!("small/{number}")).status, 404);
    }
    assert_eq!(delete(&server, "large/file.bin"), 204);
    wait_until("201 in the space that came back", Duration::from_secs(5), || {
        server.put("more/file.bin", &vec![8; 1_000_000]).status == 201
    });
    fs::remove_file(filler).expect("filler");
    assert!(server.stored().len() == 1 && server.temporaries().is_empty(), "{:?}", server.stored());
    server.assert_whole();
}

#[test]
fn a_server_starts_on_a_disk_without_a_free_byte() {
    let disk = Mounted::ext4(64);
    starts_on(&disk, || drop(disk.fill()));
}

#[test]
fn a_server_starts_on_a_disk_without_an_inode() {
    let disk = Mounted::tmpfs("size=64m,nr_inodes=96");
    starts_on(&disk, || drop(disk.fill_inodes()));
}

#[test]
fn a_crashed_upload_that_fills_the_disk_is_swept_at_the_start() {
    let disk = Mounted::ext4(64);
    let mut server = on(&disk).start();
    assert_eq!(server.put("a/file.bin", b"kept").status, 201);
    server.kill();
    let left = server.storage().join(".hfs/tmp").join("0".repeat(32));
    fs::write(&left, vec![1; 4_000_000]).expect("what a crash leaves");
    disk.fill();
    server.restart();
    assert!(server.temporaries().is_empty(), "{:?}", server.temporaries());
    wait_until("201 in the space that came back", Duration::from_secs(5), || {
        server.put("b/file.bin", &vec![8; 1_000_000]).status == 201
    });
}

#[test]
fn what_expires_on_a_full_disk_gives_its_space_back() {
    let disk = Mounted::ext4(64);
    let mut server = on(&disk).set("server.cleanup_interval", "\"1h\"").start();
    let size = 4_000_000;
    let expires = sign::in_seconds(4);
    for slot in ["brief", "short"] {
        let claims = json!({
            "iat": sign::in_seconds(0), "exp": sign::in_seconds(60), "sub": "romeo@example.org", "slot": slot,
            "filename": "file.bin", "filesize": size, "filetype": "application/octet-stream", "expires": expires,
        });
        let token = sign::file_share(SECRET, &claims);
        let headers = [("Authorization", &*token), ("Content-Type", "application/octet-stream")];
        let stored = server.request("PUT", &format!("/{slot}/file.bin"), &headers, Some(&vec![7; size]));
        assert_eq!(stored.status, 201, "{}", stored.text());
    }
    server.terminate();
    disk.fill();
    let config = fs::read_to_string(server.config()).expect("configuration");
    fs::write(server.config(), config.replace("\"1h\"", "\"1s\"")).expect("configuration");
    server.restart();
    wait_until("end of what has expired", Duration::from_secs(20), || server.stored().is_empty());
    // Counted once the last of a look is gone.
    wait_until("count of both", Duration::from_secs(20), || server.metric("hfs_janitor_removed_total") == 2);
    assert_eq!(server.put("next/file.bin", &vec![8; 4_000_000]).status, 201);
    server.assert_whole();
}

fn on(disk: &Mounted) -> Builder {
    let delete_secret = format!("{DELETE_SECRET:?}");
    TestServer::builder()
        .storage(&disk.path().join("storage"))
        .set("server.min_free_bytes", "\"1KB\"")
        .set("security.delete_secret", &delete_secret)
}

fn delete(server: &TestServer, slot: &str) -> u16 {
    let target = format!("/{slot}?{}", sign::delete(SECRET, DELETE_SECRET, slot));
    server.request("DELETE", &target, &[], None).status
}

/// Starts again after all that was left of the disk is taken; files are served, and one makes room for another.
fn starts_on(disk: &Mounted, fill: impl FnOnce()) {
    let mut server = on(disk).start();
    for slot in ["a/file.bin", "b/file.bin"] {
        assert_eq!(server.put(slot, slot.as_bytes()).status, 201);
    }
    server.terminate();
    fill();
    // It opens the database too, and must not use up what the start needs.
    server.assert_whole();
    server.restart();
    assert_eq!(server.get("a/file.bin").body, b"a/file.bin");
    assert_eq!(delete(&server, "a/file.bin"), 204);
    assert_eq!(server.get("b/file.bin").body, b"b/file.bin");
    server.assert_whole();
}

fn fills_up_and_recovers(storage: &Path, size: usize, make_room: impl FnOnce()) {
    let mut server = TestServer::builder().storage(storage).set("server.min_free_bytes", "\"1KB\"").start();
    let kept = fill_up(&server, size);
    make_room();
    wait_until("201 once there is room", Duration::from_secs(5), || {
        server.put(&format!("f/{kept}/file.bin"), &body(kept, size)).status == 201
    });
    assert_whole(&server, 0..=kept, size);
    server.terminate();
    server.assert_whole();
}

/// Stores files `f/0/file.bin`, `f/1/file.bin` ... until there is no room for one; returns how many there are then.
fn fill_up(server: &TestServer, size: usize) -> usize {
    let mut kept = 0;
    let refused = loop {
        let answer = server.put(&format!("f/{kept}/file.bin"), &body(kept, size));
        if answer.status != 201 {
            break answer;
        }
        kept += 1;
        assert!(kept < 200, "the disk never fills up");
    };
    assert_eq!(refused.status, 507, "{}", refused.text());
    assert!(kept > 2, "the disk was full from the beginning");
    assert!(server.is_healthy());
    assert_eq!(server.get(&format!("f/{kept}/file.bin")).status, 404);
    assert_whole(server, 0..kept, size);
    wait_until("end of the temporaries", Duration::from_secs(10), || server.temporaries().is_empty());
    kept
}

fn assert_whole(server: &TestServer, numbers: impl IntoIterator<Item = usize>, size: usize) {
    for number in numbers {
        let answer = server.get(&format!("f/{number}/file.bin"));
        assert!(answer.status == 200 && answer.body == body(number, size), "file {number}: {}", answer.status);
    }
}

fn body(number: usize, size: usize) -> Vec<u8> {
    vec![number as u8; size]
}
