//! When a path is looked at, what that teaches, and the bound on unsent bytes that follows what is under way.

use std::time::Duration;

use super::link::{Course, Link, ms};
use super::{controller, download, settings, upload};
use crate::pace::{Arm, Expected, Observation, PathSample, Settings, Start};

#[test]
fn a_new_path_is_looked_at_early_and_a_known_one_rarely() {
    let mut adaptive = controller(Arm::Adaptive, &settings(), &download(1 << 30));
    assert_eq!(adaptive.plan().sample_after, Some(ms(10)));
    let mut course = Course::default();
    Link::default().run_on(&mut *adaptive, &mut course, ms(100));
    assert_eq!(adaptive.plan().sample_after, Some(ms(100)));
    Link::default().run_on(&mut *adaptive, &mut course, ms(1_000));
    assert_eq!(adaptive.plan().sample_after, Some(ms(250)));
    Link::default().run_on(&mut *adaptive, &mut course, ms(60_000));
    assert_eq!(adaptive.plan().sample_after, Some(ms(10_000)));
    let slower = Link { rate: 3_000_000, ..Link::default() };
    let mut noticed_after = 0;
    while adaptive.plan().sample_after == Some(ms(10_000)) {
        slower.run_on(&mut *adaptive, &mut course, ms(50));
        noticed_after += 50;
    }
    assert_eq!(adaptive.plan().sample_after, Some(ms(1_000)), "it has become worse");
    assert!(noticed_after <= 20_000, "{noticed_after} ms");
    slower.run_on(&mut *adaptive, &mut course, ms(60_000));
    assert_eq!(adaptive.plan().sample_after, Some(ms(10_000)), "and stays so");
    let longer = Link { rtt: 3 * slower.rtt, ..slower };
    let mut noticed_after = 0;
    while adaptive.plan().sample_after == Some(ms(10_000)) && noticed_after < 30_000 {
        longer.run_on(&mut *adaptive, &mut course, ms(50));
        noticed_after += 50;
    }
    assert_eq!(adaptive.plan().sample_after, Some(ms(1_000)), "a longer round trip is worse, too");

    let steady = Settings { detection: None, ..settings() };
    let mut adaptive = controller(Arm::Adaptive, &steady, &download(1 << 30));
    Link::default().run(&mut *adaptive, ms(60_000));
    assert_eq!(adaptive.plan().sample_after, Some(steady.sample_every));
}

#[test]
fn waiting_for_us_says_nothing_about_the_path() {
    let mut adaptive = controller(Arm::Adaptive, &settings(), &upload(1 << 30));
    let seen = |now, moved, is_app_limited| Observation { now, moved, filled: Some(true), is_app_limited, path: None };
    for second in 1..10u64 {
        adaptive.observe(&seen(ms(second * 1000), 10_000_000, false));
    }
    let before = adaptive.snapshot().rate.unwrap();
    for second in 10..30u64 {
        adaptive.observe(&seen(ms(second * 1000), 1_000, true));
    }
    assert_eq!(adaptive.snapshot().rate.unwrap(), before);
}

#[test]
fn a_proxys_connection_tells_nothing_of_the_client() {
    let shared = |is_shared| {
        let mut adaptive = controller(Arm::Adaptive, &settings(), &Start { is_shared, ..download(1 << 30) });
        let path = Some(PathSample { rtt: ms(40), min_rtt: Some(ms(40)), mss: 1448, ..PathSample::default() });
        let now = ms(250);
        adaptive.observe(&Observation { now, moved: 1 << 20, filled: None, is_app_limited: false, path });
        let seen = adaptive.snapshot();
        (seen.samples, seen.min_rtt)
    };
    assert_eq!((shared(false), shared(true)), ((1, Some(ms(40))), (0, None)));
}

#[test]
fn what_a_socket_takes_follows_what_is_under_way_but_not_each_swing() {
    let mut adaptive = controller(Arm::Adaptive, &settings(), &download(1 << 40));
    let mut course = Course::default();
    let mut after = |rate| {
        Link { rate, ..Link::default() }.run_on(&mut *adaptive, &mut course, ms(60_000));
        adaptive.plan().unsent.unwrap()
    };
    let first = after(12_500_000);
    assert_eq!(after(11_000_000), first);
    assert_eq!(after(14_000_000), first);
    let half = after(6_250_000);
    assert!((first / 2..first * 5 / 8).contains(&half), "{first}, then {half}");
}

#[test]
fn what_a_socket_takes_is_limited_only_where_the_path_is_not_short() {
    for (rtt, is_limited) in [(Duration::from_micros(200), false), (ms(2), true), (ms(40), true)] {
        let link = Link { rtt, ..Link::default() };
        let mut stranger = controller(Arm::Adaptive, &settings(), &download(1 << 30));
        assert!(stranger.plan().unsent.is_some(), "until the path is known");
        link.run(&mut *stranger, ms(2_000));
        assert_eq!(stranger.plan().unsent.is_some(), is_limited, "{rtt:?}");
        let expected = Expected { rate: Some(10_000_000), min_rtt: Some(rtt), ..Expected::default() };
        let known = controller(Arm::Adaptive, &settings(), &Start { expected, ..download(1 << 30) });
        assert_eq!(known.plan().unsent.is_some(), is_limited, "{rtt:?}");
    }
}
