//! SIGKILL at random moments: what was acknowledged is there, what was not is there whole or not at all, and nothing
//! is left over.

use std::path::Path;
use std::time::Duration;

use crate::rig::leftover::leave;
use crate::rig::load::{Writers, broken_promises};
use crate::rig::server::TestServer;
use crate::rig::{Dice, soak_or, wait_until};

/// How long a sweep may take before it counts as hanging.
const SWEEP: Duration = Duration::from_secs(60);

#[test]
fn kills_at_random_moments_lose_nothing_that_was_acknowledged() {
    let kills = soak_or(200, 2_000);
    let mut dice = Dice::new();
    let mut server = TestServer::start();
    let writers = Writers::start(server.address(), 8, 400_000);
    for _ in 0..kills {
        // Chance is the point here: a kill must hit every step of an upload.
        std::thread::sleep(Duration::from_millis(dice.below(120)));
        server.kill();
        server.restart();
    }
    let ledger = writers.stop();
    // What the last kill left, with nobody writing any more.
    server.kill();
    server.restart();

    let (acknowledged, open) = (ledger.acknowledged.len(), ledger.open.len());
    println!("{kills} kills, {acknowledged} uploads acknowledged, {open} not");
    assert_eq!(ledger.odd, Vec::<String>::new(), "answers that no right upload should get");
    assert_eq!(broken_promises(server.address(), &ledger), Vec::<String>::new());
    wait_until("end of the temporaries", SWEEP, || server.temporaries().is_empty());
    assert!(acknowledged > kills, "too few uploads between the kills: nothing was tested");
    server.terminate();
    server.assert_whole();
}

/// Over a large tree that takes minutes; here it does not end at all.
#[test]
fn a_start_after_a_crash_does_not_wait_for_the_walk_over_the_tree() {
    let home = tempfile::tempdir().expect("folder");
    let root = home.path().canonicalize().expect("path").join("storage");
    let mut server = TestServer::builder().storage(&root).start();
    assert_eq!(server.put("a/kept.txt", b"kept").status, 201);
    server.kill();
    let left = leave(&root, "b/left.txt", b"never acknowledged");

    // Nothing but the walk lists the root of a store that is ours.
    let (listed, log) = (root.display().to_string(), home.path().join("strace.log").display().to_string());
    let hang = "inject=getdents64:delay_enter=1000000000";
    let strace =
        ["strace", "-f", "-qq", "-o", &log, "-e", "signal=none", "-e", "trace=getdents64", "-e", hang, "-P", &listed];
    let server = TestServer::builder().storage(&root).wrapper(&strace).start();
    wait_until("walk over the tree", SWEEP, || server.log().contains("Looking through the tree"));
    assert_eq!(server.get("a/kept.txt").body, b"kept");
    assert_eq!(server.get("b/left.txt").status, 404);
    assert_eq!(server.put("c/new.txt", b"new").status, 201);
    assert_eq!(server.put("b/left.txt", b"the client's repeat").status, 201, "its slot is free again");
    assert!(left.exists(), "the walk has ended");
    let served = format!("/proc/{}", server.pid().as_raw_nonzero());
    drop(server);
    // Until then the temporaries are its own.
    wait_until("end of the server below strace", SWEEP, || !Path::new(&served).exists());

    let mut server = TestServer::builder().storage(&root).start();
    wait_until("end of the temporaries", SWEEP, || server.temporaries().is_empty());
    assert_eq!(server.get("b/left.txt").body, b"the client's repeat");
    server.terminate();
    server.assert_whole();
}
