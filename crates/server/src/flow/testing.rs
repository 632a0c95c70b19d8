//! An engine that has learnt something, without a transfer.

use std::time::Duration;

use hfs_core::Timestamp;
use hfs_core::pace::{Arm, Carrier, Direction, Expected, Settings, Snapshot, Start, controller};
use hfs_core::profile::{Guess, Lesson, ProfileKey, Vantage};

use super::Engine;
use crate::clock;

/// One download of a second over 40 ms, at `rate` bytes per second.
pub(crate) fn lesson(rate: u64) -> Lesson {
    let start = Start {
        direction: Direction::Download,
        size: None,
        carrier: Carrier::Plain,
        is_shared: false,
        inherited: None,
        expected: Expected::default(),
    };
    Lesson {
        snapshot: Snapshot { min_rtt: Some(Duration::from_millis(40)), ..Snapshot::default() },
        plan: controller(Arm::Adaptive, &Settings::default().into(), &start).plan(),
        direction: Direction::Download,
        elapsed: Duration::from_secs(1),
        bytes: rate,
        is_whole: true,
        guess: Guess::default(),
        vantage: Vantage::Client,
    }
}

/// Teaches `engine` that the clients around `address` reach `rate`.
pub(crate) fn learnt(engine: &Engine, address: &str, rate: u64) {
    let (key, now): (_, Timestamp) = (ProfileKey::new(None, address.parse().ok()), clock::now());
    engine.profiles().learn(&key, &lesson(rate), 0.2, now);
}
