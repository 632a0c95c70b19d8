//! Full disks: 507 and nothing else; reads go on; space that comes back is used at once.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::rig::disk::Mounted;
use crate::rig::server::TestServer;
use crate::rig::wait_until;

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

fn fills_up_and_recovers(storage: &Path, size: usize, make_room: impl FnOnce()) {
    let mut server = TestServer::builder().storage(storage).set("server.min_free_bytes", "\"1KB\"").start();
    let body = |number: usize| vec![number as u8; size];
    let mut kept = 0;
    let refused = loop {
        let answer = server.put(&format!("f/{kept}/file.bin"), &body(kept));
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
    let whole = |server: &TestServer| {
        for number in 0..kept {
            let answer = server.get(&format!("f/{number}/file.bin"));
            assert!(answer.status == 200 && answer.body == body(number), "file {number}: {}", answer.status);
        }
    };
    whole(&server);
    wait_until("end of the temporaries", Duration::from_secs(10), || server.temporaries().is_empty());

    make_room();
    wait_until("201 once there is room", Duration::from_secs(5), || {
        server.put(&format!("f/{kept}/file.bin"), &body(kept)).status == 201
    });
    whole(&server);
    server.terminate();
    server.assert_whole();
}
