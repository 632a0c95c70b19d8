//! Paths that lose packets, where it is hard to see: when BBR comes, and that it stays.

use std::time::Duration;

use super::link::{Course, Link, ms};
use super::{congestion_changes, controller, download, settings};
use crate::Timestamp;
use crate::pace::{Arm, Congestion, Direction, Expected, Start};
use crate::profile::{Guess, Lesson, Profile, Vantage};

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
fn a_reader_that_pauses_does_not_make_a_trial_fail() {
    let lossy = Link { loss: 0.002, ..Link::default() };
    for pause in [Link { reader: 500_000, ..lossy }, Link { is_paused: true, ..lossy }] {
        let (mut adaptive, mut course) =
            (controller(Arm::Adaptive, &settings(), &download(1 << 40)), Course::default());
        while adaptive.plan().congestion.is_none() && course.at < ms(20_000) {
            lossy.run_on(&mut *adaptive, &mut course, ms(50));
        }
        pause.run_on(&mut *adaptive, &mut course, ms(10_000));
        assert!(adaptive.plan().is_on_trial, "nobody knows what BBR would reach");
        lossy.run_on(&mut *adaptive, &mut course, ms(9_000));
        assert_eq!((adaptive.plan().congestion, adaptive.plan().is_on_trial), (Some(Congestion::Bbr), false));
    }
}

#[test]
fn a_trial_that_a_slow_reader_holds_up_looks_rarely_and_is_judged_soon_once_it_reads() {
    let lossy = Link { loss: 0.002, ..Link::default() };
    let slow = Link { reader: 500_000, ..lossy };
    // Wherever between two looks the reader begins to read.
    for phase in (0..2_000).step_by(250) {
        let (mut adaptive, mut course) =
            (controller(Arm::Adaptive, &settings(), &download(1 << 40)), Course::default());
        while adaptive.plan().congestion.is_none() && course.at < ms(20_000) {
            lossy.run_on(&mut *adaptive, &mut course, ms(50));
        }
        slow.run_on(&mut *adaptive, &mut course, ms(10_000));
        assert!(adaptive.plan().sample_after.is_some_and(|after| after < ms(1_500)), "an eighth of that time");
        // One that reads next to nothing loses so little that it is not known any more what that means.
        Link { reader: 50_000, ..slow }.run_on(&mut *adaptive, &mut course, ms(300_000));
        assert_eq!(adaptive.plan().sample_after, Some(ms(2_000)));
        slow.run_on(&mut *adaptive, &mut course, ms(290_000 + phase));
        assert_eq!((adaptive.plan().is_on_trial, adaptive.plan().sample_after), (true, Some(ms(2_000))));
        let before = course.at;
        while adaptive.plan().is_on_trial && course.at < before + ms(20_000) {
            lossy.run_on(&mut *adaptive, &mut course, ms(50));
        }
        assert_eq!(adaptive.plan().congestion, Some(Congestion::Bbr), "{phase}");
        assert!((ms(6_000)..=ms(9_500)).contains(&(course.at - before)), "{phase}: {:?}", course.at - before);
    }
}

#[test]
fn a_trial_whose_reader_pauses_now_and_then_is_watched_closely() {
    let lossy = Link { loss: 0.002, ..Link::default() };
    let (mut adaptive, mut course) = (controller(Arm::Adaptive, &settings(), &download(1 << 40)), Course::default());
    while adaptive.plan().congestion.is_none() && course.at < ms(20_000) {
        lossy.run_on(&mut *adaptive, &mut course, ms(50));
    }
    let mut pauses = 0;
    while adaptive.plan().is_on_trial {
        Link { is_paused: true, ..lossy }.run_on(&mut *adaptive, &mut course, ms(1_500));
        assert_eq!(adaptive.plan().sample_after, Some(ms(250)));
        lossy.run_on(&mut *adaptive, &mut course, ms(500));
        pauses += 1;
    }
    assert!((16..=32).contains(&pauses), "{pauses}: eight seconds in which it read");
    assert_eq!(adaptive.plan().congestion, Some(Congestion::Bbr));
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

/// What each of so many downloads of that time begins and ends with, each by what those before it taught.
fn each_of(count: u32, elapsed: Duration, link: &Link, profile: &mut Profile) -> Vec<[Option<Congestion>; 2]> {
    let mut download = || {
        let (asked, has_asked) = (profile.asked(), profile.asked().is_some());
        let expected = asked.unwrap_or(profile.expected(Direction::Download));
        let mut adaptive = controller(Arm::Adaptive, &settings(), &Start { expected, ..download(1 << 30) });
        let first = adaptive.plan().congestion;
        let bytes = link.run(&mut *adaptive, elapsed);
        let (snapshot, plan) = (adaptive.snapshot(), adaptive.plan());
        let (direction, guess, vantage) = (Direction::Download, Guess::default(), Vantage::Client);
        let lesson = Lesson { snapshot, plan, direction, elapsed, bytes, is_whole: true, guess, vantage, has_asked };
        profile.learn(&lesson, 0.2, Timestamp::from_unix(1));
        [first, plan.congestion]
    };
    (0..count).map(|_| download()).collect()
}

#[test]
fn a_path_on_which_bbr_is_no_faster_is_known_after_a_few_downloads() {
    // Policed. Each download that tries BBR and gives it up has had it for a third of its time.
    let policed = Link { loss: 0.002, is_full: true, ..Link::default() };
    // On the slower one the trial ends when the path was known for long, and next to nobody looks any more.
    let slower = Link { rate: 1_250_000, rtt: ms(100), ..policed };
    for (link, seconds) in [(policed, 30), (slower, 20)] {
        let downloads = each_of(10, ms(1000 * seconds), &link, &mut Profile::default());
        let has_begun_with_it = downloads[..3].iter().any(|[first, _]| first.is_some());
        assert!(has_begun_with_it && downloads[3..].iter().all(|[first, _]| first.is_none()), "{downloads:?}");
    }
}

#[test]
fn what_bbr_loses_itself_does_not_keep_it_for_ever() {
    let mut profile = Profile { loss: Some(0.001), min_rtt: Some(0.3), ..Profile::default() };
    profile.transfers = 1;
    let clean = Link { rtt: ms(300), overrun: 0.06, ..Link::default() };
    let downloads = each_of(40, ms(30_000), &clean, &mut profile);
    assert_eq!(downloads[0], [Some(Congestion::Bbr); 2], "what was known");
    assert!(downloads[25..].iter().all(|download| *download == [None; 2]), "{downloads:?}");
}

#[test]
fn a_client_whose_path_stays_lossy_begins_with_bbr_nearly_always() {
    for (rtt, loss) in [(40, 0.002), (300, 0.02)] {
        let mut profile = Profile::default();
        let downloads = each_of(100, ms(30_000), &Link { rtt: ms(rtt), loss, ..Link::default() }, &mut profile);
        let otherwise = downloads.iter().filter(|[first, _]| first.is_none()).count();
        assert!((1..=4).contains(&otherwise), "{rtt} ms, {loss}: {otherwise} of 100");
        assert!(downloads.iter().all(|[_, last]| *last == Some(Congestion::Bbr)), "{rtt} ms, {loss}");
    }
}
