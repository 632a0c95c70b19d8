//! Paths that lose packets, where it is hard to see: when BBR comes, and that it stays.

use std::time::Duration;

use super::link::{Course, Link, ms};
use super::{congestion_changes, controller, download, settings};
use crate::pace::{Arm, Expected, Start};

/// What a socket takes at once: half of the unsent bytes that it is allowed.
const GULP: u64 = 64 << 10;

/// When BBR is chosen on `link`, if within a minute.
fn bbr_after(link: &Link) -> Option<Duration> {
    let mut adaptive = controller(Arm::Adaptive, &settings(), &download(1 << 30));
    let mut course = Course::default();
    while adaptive.plan().congestion.is_none() && course.at < ms(60_000) {
        link.run_on(&mut *adaptive, &mut course, ms(50));
    }
    adaptive.plan().congestion.map(|_| course.at)
}

#[test]
fn on_a_path_too_slow_for_close_looks_losses_are_believed() {
    for (rtt, loss) in [(300, 0.04), (300, 0.06), (600, 0.02), (600, 0.04)] {
        let link = Link { rtt: ms(rtt), loss, gulp: GULP, ..Link::default() };
        let after = bbr_after(&link);
        assert!(after.is_some_and(|after| after < ms(20_000)), "{rtt} ms, {loss}: {after:?}");
    }
}

#[test]
fn on_a_long_lossy_path_bbr_comes_within_a_few_seconds() {
    for (rtt, loss) in [(100, 0.05), (200, 0.05), (300, 0.05), (300, 0.1)] {
        let after = bbr_after(&Link { rtt: ms(rtt), loss, ..Link::default() });
        assert!(after.is_some_and(|after| after <= ms(20) * rtt as u32), "{rtt} ms, {loss}: {after:?}");
    }
}

#[test]
fn a_pause_between_two_bursts_of_losses_is_no_healing() {
    let expected = Expected { loss: Some(0.002), ..Expected::default() };
    for (rate, every) in [(125_000_000, ms(2_000)), (125_000_000, ms(5_000)), (12_500_000, ms(5_000))] {
        let bursty = Link { rate, every, loss: 0.002, ..Link::default() };
        let mut adaptive = controller(Arm::Adaptive, &settings(), &Start { expected, ..download(1 << 40) });
        adaptive.decisions();
        bursty.run(&mut *adaptive, ms(300_000));
        let changes = congestion_changes(&mut *adaptive);
        assert!(changes.is_empty(), "{rate} B/s, each {every:?}: {changes:?}");
    }
}
