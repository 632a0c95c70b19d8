//! Power cuts: what was acknowledged is on the disk, not only in the kernel's memory. SIGKILL can never show that.

use std::time::Duration;

use crate::rig::disk::PowerCutDisk;
use crate::rig::load::{Writers, broken_promises};
use crate::rig::server::TestServer;
use crate::rig::{Dice, soak_or, wait_until};

#[test]
fn power_cuts_lose_nothing_that_was_acknowledged() {
    let mut dice = Dice::new();
    let mut acknowledged = 0;
    for cut in 0..soak_or(10, 200) {
        let (count, broken) = cut_during_uploads(&[], 20 + dice.below(60) as usize);
        assert_eq!(broken, Vec::<String>::new(), "cut {cut}");
        acknowledged += count;
    }
    println!("{acknowledged} uploads acknowledged before the cuts, all there");
}

/// The same with every sync turned into nothing must lose: or the test above would prove nothing.
#[test]
fn without_syncs_power_cuts_lose_uploads() {
    let (acknowledged, broken) = cut_during_uploads(&["eatmydata"], 20);
    println!("{acknowledged} uploads acknowledged before the cut, {} of them gone", broken.len());
    assert!(!broken.is_empty(), "a server that never syncs lost nothing: the rig does not cut");
}

/// Uploads until `count` are acknowledged, cuts the power, boots from what the disk holds. Returns how many uploads
/// were acknowledged in the end, and what is wrong with them.
fn cut_during_uploads(wrapper: &[&str], count: usize) -> (usize, Vec<String>) {
    let disk = PowerCutDisk::new(128);
    let storage = |path: &std::path::Path| path.join("storage");
    let mut server = TestServer::builder()
        .storage(&storage(disk.path()))
        .set("server.min_free_bytes", "\"1KB\"")
        .wrapper(wrapper)
        .start();
    let writers = Writers::start(server.address(), 4, 200_000);
    wait_until("acknowledged uploads", Duration::from_secs(60), || writers.acknowledged() >= count);

    let cut = disk.cut();
    let ledger = writers.ledger();
    let after = cut.after_reboot();
    drop(cut);
    drop(writers);
    server.kill();

    let mut survivor =
        TestServer::builder().storage(&storage(after.path())).set("server.min_free_bytes", "\"1KB\"").start();
    let broken = broken_promises(survivor.address(), &ledger);
    assert_eq!(survivor.temporaries().len(), 0, "{:?}", survivor.temporaries());
    if broken.is_empty() {
        survivor.terminate();
        survivor.assert_whole();
    }
    (ledger.acknowledged.len(), broken)
}
