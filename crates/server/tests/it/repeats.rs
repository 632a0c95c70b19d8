//! A slot that is tried more than once: a dead try blocks nobody, a broken one leaves nothing, equal bytes are a success.

use std::time::Duration;

use crate::rig::server::TestServer;
use crate::rig::unfinished::Unfinished;
use crate::rig::wait_until;

const MOMENT: Duration = Duration::from_secs(5);

fn noise(seed: u8) -> Vec<u8> {
    (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761).to_le_bytes()[3]) ^ seed).collect()
}

#[test]
fn a_try_that_hangs_does_not_block_the_next() {
    let server = TestServer::start();
    let body = noise(0);
    let hanging = [Unfinished::begin(&server, "s/file.bin", &body), Unfinished::begin(&server, "s/file.bin", &body)];
    assert_eq!(server.get("s/file.bin").status, 404, "half a file is no file");
    assert_eq!(server.put("s/file.bin", &body).status, 201);
    assert!(server.get("s/file.bin").body == body);

    // What hangs wakes up: one has the same bytes, the other never ends.
    let [woken, dead] = hanging;
    assert_eq!(woken.finish().expect("answer").status, 201);
    dead.reset();
    wait_until("end of the temporaries", MOMENT, || server.temporaries().is_empty());
    assert!(server.get("s/file.bin").body == body);
    server.assert_whole();
}

#[test]
fn a_late_try_with_other_bytes_is_a_conflict() {
    let server = TestServer::start();
    let late = Unfinished::begin(&server, "s/file.bin", &noise(1));
    assert_eq!(server.put("s/file.bin", &noise(0)).status, 201);
    assert_eq!(late.finish().expect("answer").status, 409);
    assert!(server.get("s/file.bin").body == noise(0));
    wait_until("end of the temporaries", MOMENT, || server.temporaries().is_empty());
    server.assert_whole();
}

#[test]
fn an_interrupted_upload_leaves_nothing() {
    let server = TestServer::start();
    let body = noise(0);
    for name in ["closed", "reset"] {
        let slot = format!("{name}/file.bin");
        let upload = Unfinished::begin(&server, &slot, &body);
        if name == "reset" {
            upload.reset()
        } else {
            drop(upload)
        }
        wait_until("end of the temporary", MOMENT, || server.temporaries().is_empty());
        assert_eq!(server.get(&slot).status, 404, "{name}");
        assert!(!server.storage().join(&slot).exists(), "{name}");
    }
    assert!(server.stored().is_empty(), "{:?}", server.stored());
    for name in ["closed", "reset"] {
        let slot = format!("{name}/file.bin");
        assert_eq!(server.put(&slot, &body).status, 201, "{name}: the slot can be tried again");
        assert!(server.get(&slot).body == body);
    }
    let aborted = server.metric("hfs_transfers_total{direction=\"upload\",outcome=\"aborted\"}");
    assert_eq!(aborted, 2);
    server.assert_whole();
}

#[test]
fn a_file_that_was_lost_is_stored_again_under_another_etag() {
    let mut server = TestServer::start();
    let body = noise(0);
    assert_eq!(server.put("s/file.bin", &body).status, 201);
    let etag = |server: &TestServer| server.get("s/file.bin").header("etag").map(str::to_owned);
    let before = etag(&server);
    std::fs::remove_file(server.storage().join("s/file.bin")).expect("file");
    assert_eq!(server.get("s/file.bin").status, 500);
    assert_eq!(server.put("s/file.bin", &body[1..]).status, 409, "another size was never this slot's");

    assert_eq!(server.put("s/file.bin", &body).status, 201);
    let after = etag(&server);
    assert!(before.is_some() && after.is_some() && before != after, "{before:?}, {after:?}");
    server.kill();
    server.restart();
    assert!(server.get("s/file.bin").body == body);
    assert_eq!(etag(&server), after);
    wait_until("end of the temporaries", MOMENT, || server.temporaries().is_empty());
    server.terminate();
    server.assert_whole();
}

#[test]
fn a_silent_upload_is_told_and_removed() {
    let server =
        TestServer::builder().set("timeouts.readtimeout", "\"1s\"").set("timeouts.writetimeout", "\"1s\"").start();
    let mut upload = Unfinished::begin(&server, "s/file.bin", &noise(0));
    assert_eq!(upload.answer().expect("answer").status, 408);
    wait_until("end of the temporary", MOMENT, || server.temporaries().is_empty());
    assert_eq!(server.get("s/file.bin").status, 404);
    assert_eq!(server.put("s/file.bin", &noise(0)).status, 201);
}

#[test]
fn equal_tries_at_once_all_succeed_and_unequal_ones_have_one_winner() {
    let server = TestServer::start();
    let race = |slot: &str, bodies: &[Vec<u8>]| -> Vec<u16> {
        std::thread::scope(|scope| {
            let tries: Vec<_> = bodies.iter().map(|body| scope.spawn(|| server.put(slot, body).status)).collect();
            tries.into_iter().map(|one| one.join().expect("a try")).collect()
        })
    };
    for round in 0..20 {
        let slot = format!("equal/{round}.bin");
        assert_eq!(race(&slot, &vec![noise(0); 4]), [201; 4], "{slot}");
        let slot = format!("unequal/{round}.bin");
        let bodies: Vec<_> = (0..4).map(noise).collect();
        let statuses = race(&slot, &bodies);
        let winners: Vec<_> = (0..4).filter(|&n| statuses[n] == 201).collect();
        assert!(winners.len() == 1 && statuses.iter().all(|status| [201, 409].contains(status)), "{statuses:?}");
        assert!(server.get(&slot).body == bodies[winners[0]], "{slot}: not the winner's bytes");
    }
    server.assert_whole();
}
