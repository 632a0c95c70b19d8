//! SIGKILL at random moments: what was acknowledged is there, what was not is there whole or not at all, and nothing
//! is left over.

use std::time::Duration;

use crate::rig::load::{Writers, broken_promises};
use crate::rig::server::TestServer;
use crate::rig::{Dice, soak_or};

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
    assert_eq!(server.temporaries().len(), 0, "{:?}", server.temporaries());
    assert!(acknowledged > kills, "too few uploads between the kills: nothing was tested");
    server.terminate();
    server.assert_whole();
}
