//! Power cuts: what was acknowledged is on the disk, not only in the kernel's memory. SIGKILL can never show that.

use std::time::Duration;

use crate::rig::disk::PowerCutDisk;
use crate::rig::load::{Writers, broken_promises};
use crate::rig::server::TestServer;
use crate::rig::syncs::Dropped;
use crate::rig::{Dice, soak_or, wait_until};

#[test]
fn power_cuts_lose_nothing_that_was_acknowledged() {
    let mut dice = Dice::new();
    let mut acknowledged = 0;
    for cut in 0..soak_or(10, 200) {
        let (count, broken) = cut_during_uploads(&PowerCutDisk::new(128), &[], 20 + dice.below(60) as usize);
        assert_eq!(broken, Vec::<String>::new(), "cut {cut}");
        acknowledged += count;
    }
    println!("{acknowledged} uploads acknowledged before the cuts, all there");
}

/// The tests below take one kind of sync away and must lose: or the test above would prove nothing.
///
/// `eatmydata` takes those of the database, which calls libc's functions; the server's own system calls it does not reach.
#[test]
fn without_the_syncs_of_the_database_power_cuts_lose_uploads() {
    must_lose(&PowerCutDisk::new(128), &["eatmydata"]);
}

/// The rows are on the disk, their bytes are not.
#[test]
fn without_the_syncs_of_files_power_cuts_lose_uploads() {
    let folder = tempfile::tempdir().expect("folder");
    must_lose(&PowerCutDisk::new(128), &Dropped::calls("fdatasync", folder.path()).wrapper());
}

/// The rows and the bytes are on the disk, the names are not. With a journal they would be: it takes along whatever
/// happened before what the database syncs.
#[test]
fn without_the_syncs_of_folders_power_cuts_lose_uploads() {
    let folder = tempfile::tempdir().expect("folder");
    // The server never calls it: the same launcher with nothing taken away loses nothing.
    let nothing = Dropped::calls("msync", folder.path());
    let (_, broken) = cut_during_uploads(&PowerCutDisk::without_journal(128), &nothing.wrapper(), 20);
    assert_eq!(broken, Vec::<String>::new(), "with every sync");
    must_lose(&PowerCutDisk::without_journal(128), &Dropped::calls("fsync", folder.path()).wrapper());
}

/// Many short uploads at once share a sync of the whole file system.
#[test]
fn power_cuts_lose_nothing_of_a_crowd() {
    cut_crowds(&[]);
}

/// A sync of all that leaves bytes without blocks, as ext4 does where it cannot give them any, and says nothing: each
/// file is asked, and syncs for itself.
#[test]
fn power_cuts_lose_nothing_of_a_crowd_whose_shared_sync_does_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    cut_crowds(&Dropped::calls("syncfs", folder.path()).wrapper());
}

/// Cuts the power under crowds, which must lose nothing, until there were some that shared their syncs.
#[track_caller]
fn cut_crowds(wrapper: &[&str]) {
    let (mut shared, mut acknowledged) = (0, 0);
    for number in 0..MOST_CUTS {
        if shared > 0 && number >= soak_or(3, 100) {
            println!(
                "{acknowledged} uploads acknowledged before {number} cuts, all there; in {shared} they shared syncs"
            );
            return;
        }
        let cut = cut_crowd(wrapper);
        assert_eq!(cut.broken, Vec::<String>::new(), "cut {number}");
        shared += usize::from(cut.was_shared);
        acknowledged += cut.acknowledged;
    }
    panic!("uploads never shared their syncs");
}

fn cut_crowd(wrapper: &[&str]) -> Cut {
    // Before the sync: no other disk may be frozen while there is this one. While much is dirty, which other tests may see
    // to, each upload syncs for itself.
    let disk = PowerCutDisk::new(128);
    rustix::fs::sync();
    cut_during(&disk, wrapper, CROWD, 200)
}

/// Those of the files themselves, which see to what a shared one has left, are taken away with it.
#[test]
fn without_the_syncs_of_a_crowd_power_cuts_lose_uploads() {
    let folder = tempfile::tempdir().expect("folder");
    let wrapper = Dropped::calls("syncfs,fdatasync", folder.path());
    let lost = (0..MOST_CUTS).any(|_| {
        let cut = cut_crowd(&wrapper.wrapper());
        println!("{} uploads acknowledged before the cut, {} of them gone", cut.acknowledged, cut.broken.len());
        cut.was_shared && !cut.broken.is_empty()
    });
    assert!(lost, "nothing was lost without these syncs");
}

#[track_caller]
fn must_lose(disk: &PowerCutDisk, wrapper: &[&str]) {
    let Cut { acknowledged, broken, .. } = cut_during(disk, wrapper, FEW, 20);
    println!("{acknowledged} uploads acknowledged before the cut, {} of them gone", broken.len());
    assert!(!broken.is_empty(), "nothing was lost without these syncs: the rig does not cut");
}

/// Uploads until `count` are acknowledged, cuts the power, boots from what the disk holds. Returns how many uploads
/// were acknowledged in the end, and what is wrong with them.
fn cut_during_uploads(disk: &PowerCutDisk, wrapper: &[&str], count: usize) -> (usize, Vec<String>) {
    let cut = cut_during(disk, wrapper, Load { writers: 4, largest: 200_000 }, count);
    (cut.acknowledged, cut.broken)
}

/// Who uploads what.
#[derive(Clone, Copy)]
struct Load {
    writers: usize,
    largest: u64,
}

/// Too few to share a sync.
const FEW: Load = Load { writers: 2, largest: 200_000 };
const CROWD: Load = Load { writers: 24, largest: 8_000 };

/// Where the machine is busy, some of the cuts find no crowd.
const MOST_CUTS: usize = 200;

/// What a cut left.
struct Cut {
    acknowledged: usize,
    broken: Vec<String>,
    /// Whether some of the uploads shared their syncs.
    was_shared: bool,
}

fn cut_during(disk: &PowerCutDisk, wrapper: &[&str], load: Load, count: usize) -> Cut {
    let storage = |path: &std::path::Path| path.join("storage");
    let mut server = TestServer::builder()
        .storage(&storage(disk.path()))
        .set("server.min_free_bytes", "\"1KB\"")
        .set("logging.level", "\"debug\"")
        .wrapper(wrapper)
        .start();
    let writers = Writers::start(server.address(), load.writers, load.largest);
    wait_until("acknowledged uploads", Duration::from_secs(60), || writers.acknowledged() >= count);

    let was_shared = server.log().contains("Uploads shared a sync");
    let cut = disk.cut();
    let ledger = writers.ledger();
    let after = cut.after_reboot();
    drop(cut);
    drop(writers);
    server.kill();

    let mut survivor =
        TestServer::builder().storage(&storage(after.path())).set("server.min_free_bytes", "\"1KB\"").start();
    let broken = broken_promises(survivor.address(), &ledger);
    if broken.is_empty() {
        wait_until("end of the temporaries", Duration::from_secs(20), || survivor.temporaries().is_empty());
        survivor.terminate();
        survivor.assert_whole();
    }
    Cut { acknowledged: ledger.acknowledged.len(), broken, was_shared }
}
