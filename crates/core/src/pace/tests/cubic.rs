//! Paths of a host that is on BBR: which of them get cubic, and that no other does.

use std::time::Duration;

use super::link::{Course, Link, ms};
use super::{congestion_changes, controller, download, settings};
use crate::pace::{Arm, Congestion, Controller, Expected, Settings, Start};

/// 100 Mbit/s and 10 ms, from a host on BBR.
fn short() -> Link {
    Link { rtt: ms(10), host: Congestion::Bbr, ..Link::default() }
}

fn on_bbr(expected: Expected) -> Start {
    Start { inherited: Some(Congestion::Bbr), expected, ..download(1 << 40) }
}

fn adaptive() -> Box<dyn Controller> {
    controller(Arm::Adaptive, &settings(), &on_bbr(Expected::default()))
}

/// What a download over `link` has after so long.
fn chosen(link: &Link, span: Duration) -> Option<Congestion> {
    let mut adaptive = adaptive();
    link.run(&mut *adaptive, span);
    adaptive.plan().congestion
}

/// To what the congestion control changed.
fn changes(controller: &mut dyn Controller) -> Vec<String> {
    congestion_changes(controller).into_iter().map(|change| change.to).collect()
}

#[test]
fn a_clean_short_path_gets_cubic_and_keeps_its_rate() {
    let standard = short().run(&mut *controller(Arm::Standard, &settings(), &on_bbr(Expected::default())), ms(60_000));
    let mut adaptive = adaptive();
    let moved = short().run(&mut *adaptive, ms(60_000));
    assert_eq!(adaptive.plan().congestion, Some(Congestion::Cubic));
    assert!(moved >= standard, "{moved} against {standard}");
    let changes = congestion_changes(&mut *adaptive);
    let [change] = &changes[..] else { panic!("once: {changes:?}") };
    assert_eq!((change.from.as_str(), change.to.as_str()), ("the host's", "cubic"));
    assert!(change.because.ends_with("segments over 10ms fill the path: clean and short"), "{}", change.because);
}

#[test]
fn what_is_not_short_or_not_clean_stays_on_the_hosts_bbr() {
    let span = ms(60_000);
    let slow = Link { rate: 1_250_000, ..short() };
    for (rtt, expected) in [(49, Some(Congestion::Cubic)), (51, None)] {
        assert_eq!(chosen(&Link { rtt: ms(rtt), ..slow }, span), expected, "{rtt} ms");
    }
    for loss in [0.0002, 0.001, 0.02] {
        assert_eq!(chosen(&Link { loss, ..short() }, span), None, "{loss}");
    }
    // A tenth of the window fills a tenth of the path, and bears a hundred times the loss.
    assert_eq!(chosen(&Link { loss: 0.0002, ..slow }, span), Some(Congestion::Cubic));
}

#[test]
fn a_loss_that_only_a_look_from_afar_has_told_of_is_looked_into_first() {
    // It takes more than twenty seconds to send enough, and the looks are ten seconds apart by then.
    let rare = Link { rate: 350_000, overshoot: 50, ..short() };
    assert_eq!(chosen(&rare, ms(40_000)), Some(Congestion::Cubic));
    assert_eq!(chosen(&Link { loss: 0.002, every: ms(19_000), ..rare }, ms(37_500)), None);
}

#[test]
fn enough_must_have_been_sent_to_know_that_a_path_is_clean() {
    assert_eq!(chosen(&short(), ms(1_000)), None, "8,600 segments do not tell one in 7,500 from none");
    assert_eq!(chosen(&short(), ms(6_000)), Some(Congestion::Cubic));
    assert_eq!(chosen(&Link { rate: 1_250_000, ..short() }, ms(3_000)), None, "2,600 may hide one in a thousand");
}

#[test]
fn what_passes_a_standing_queue_without_a_loss_tells_as_much() {
    let queued = Link { queue: ms(20), ..short() };
    assert_eq!(chosen(&queued, ms(6_000)), Some(Congestion::Cubic));
}

#[test]
fn a_path_whose_queue_is_long_already_is_not_even_tried() {
    let mut adaptive = adaptive();
    Link { queue: ms(41), ..short() }.run(&mut *adaptive, ms(60_000));
    assert!(changes(&mut *adaptive).is_empty());
}

#[test]
fn what_makes_it_slower_is_taken_back_and_not_tried_again_at_once() {
    let mut adaptive = adaptive();
    let mut course = Course::default();
    short().run_on(&mut *adaptive, &mut course, ms(6_000));
    assert_eq!(adaptive.plan().congestion, Some(Congestion::Cubic));
    // Whatever it is that has changed meanwhile, the host's is no worse.
    Link { rate: 6_000_000, ..short() }.run_on(&mut *adaptive, &mut course, ms(50_000));
    let changes = congestion_changes(&mut *adaptive);
    assert_eq!(changes.iter().map(|change| change.to.as_str()).collect::<Vec<_>>(), ["cubic", "the host's"]);
    assert!(changes[1].because.starts_with("slower: "), "{changes:?}");
}

#[test]
fn a_reader_that_pauses_does_not_make_a_trial_succeed() {
    let (mut adaptive, mut course) = (adaptive(), Course::default());
    short().run_on(&mut *adaptive, &mut course, ms(6_000));
    assert!(adaptive.plan().is_on_trial);
    Link { reader: 100_000, ..short() }.run_on(&mut *adaptive, &mut course, ms(10_000));
    Link { rate: 6_000_000, ..short() }.run_on(&mut *adaptive, &mut course, ms(10_000));
    let changes = congestion_changes(&mut *adaptive);
    assert!(changes.len() == 2 && changes[1].because.starts_with("slower: "), "{changes:?}");
}

#[test]
fn a_path_that_its_reader_does_not_fill_is_not_tried() {
    let (mut adaptive, mut course) = (adaptive(), Course::default());
    // Seven segments a round trip: nearly every loss is bearable.
    Link { reader: 1_000_000, ..short() }.run_on(&mut *adaptive, &mut course, ms(60_000));
    assert_eq!(adaptive.plan().congestion, None);
    short().run_on(&mut *adaptive, &mut course, ms(30_000));
    assert_eq!(adaptive.plan().congestion, Some(Congestion::Cubic));
}

#[test]
fn losses_that_hold_cubic_back_bring_the_hosts_bbr_back() {
    for loss in [0.0007, 0.002, 0.02] {
        let mut adaptive = adaptive();
        let mut course = Course::default();
        short().run_on(&mut *adaptive, &mut course, ms(40_000));
        assert_eq!(adaptive.plan().congestion, Some(Congestion::Cubic));
        Link { loss, ..short() }.run_on(&mut *adaptive, &mut course, ms(40_000));
        assert_eq!(changes(&mut *adaptive), ["cubic", "the host's"], "{loss}");
    }
}

#[test]
fn losses_that_have_held_cubic_back_let_it_rest() {
    let mut adaptive = adaptive();
    let mut course = Course::default();
    short().run_on(&mut *adaptive, &mut course, ms(40_000));
    let lossy = Link { loss: 0.0007, ..short() };
    while adaptive.plan().congestion.is_some() && course.at < ms(80_000) {
        lossy.run_on(&mut *adaptive, &mut course, ms(50));
    }
    short().run_on(&mut *adaptive, &mut course, ms(55_000));
    assert_eq!(changes(&mut *adaptive), ["cubic", "the host's"]);
    short().run_on(&mut *adaptive, &mut course, ms(30_000));
    assert_eq!(changes(&mut *adaptive), ["cubic"], "a minute later");
}

#[test]
fn what_cubics_own_sawtooth_loses_does_not_hold_it_back() {
    // A queue of next to nothing: 2.1 over the square of the 86 segments that fill the path.
    let mut adaptive = adaptive();
    Link { sawtooth: 2.1 / 86.0 / 86.0, ..short() }.run(&mut *adaptive, ms(300_000));
    assert_eq!(changes(&mut *adaptive), ["cubic"]);
}

#[test]
fn a_queue_that_cubic_fills_is_noticed_soon_and_given_back() {
    let mut adaptive = adaptive();
    let (mut course, mut after) = (Course::default(), Duration::ZERO);
    let slow = Link { rate: 300_000, filled: ms(41), ..short() };
    // The looks are ten seconds apart by then.
    while adaptive.plan().congestion.is_none() && course.at < ms(60_000) {
        slow.run_on(&mut *adaptive, &mut course, ms(50));
    }
    assert!(course.at > ms(12_000), "{course:?}");
    while adaptive.plan().congestion.is_some() && after < ms(10_000) {
        slow.run_on(&mut *adaptive, &mut course, ms(50));
        after += ms(50);
    }
    assert!(after <= ms(500), "{after:?}");
    let changes = congestion_changes(&mut *adaptive);
    assert_eq!(changes[1].because, "41.0 ms of queue stand");
    slow.run_on(&mut *adaptive, &mut course, ms(50_000));
    assert!(congestion_changes(&mut *adaptive).is_empty(), "not tried again at once");
    assert_eq!(chosen(&Link { filled: ms(39), ..slow }, ms(60_000)), Some(Congestion::Cubic), "a short one is shared");
}

#[test]
fn a_path_that_becomes_longer_is_the_hosts_again() {
    let mut adaptive = adaptive();
    let mut course = Course::default();
    short().run_on(&mut *adaptive, &mut course, ms(40_000));
    Link { rtt: ms(100), ..short() }.run_on(&mut *adaptive, &mut course, ms(60_000));
    assert_eq!(changes(&mut *adaptive), ["cubic", "the host's"]);
}

#[test]
fn a_client_that_leaves_the_path_that_cubic_was_tried_on_has_the_hosts_again() {
    let (mut adaptive, mut course) = (adaptive(), Course::default());
    short().run_on(&mut *adaptive, &mut course, ms(40_000));
    Link { has_moved: true, ..short() }.run_on(&mut *adaptive, &mut course, ms(1_000));
    let changes = congestion_changes(&mut *adaptive);
    assert!(changes.len() == 2 && changes[1].because.starts_with("another path: "), "{changes:?}");
    Link { has_moved: true, ..short() }.run_on(&mut *adaptive, &mut course, ms(90_000));
    assert_eq!(self::changes(&mut *adaptive), ["cubic"], "which may suit the new one as well");
}

#[test]
fn on_a_path_of_which_the_kernel_tells_nothing_nothing_is_tried() {
    let silent = Link { is_silent: true, ..short() };
    let (mut adaptive, mut course) = (adaptive(), Course::default());
    short().run_on(&mut *adaptive, &mut course, ms(40_000));
    silent.run_on(&mut *adaptive, &mut course, ms(200_000));
    assert_eq!(changes(&mut *adaptive), ["cubic", "the host's"]);
    // What was lost before it was taken back says nothing any more.
    let lossy = Link { loss: 0.002, is_full: true, ..Link::default() };
    let (mut adaptive, mut course) = (controller(Arm::Adaptive, &settings(), &download(1 << 40)), Course::default());
    lossy.run_on(&mut *adaptive, &mut course, ms(20_000));
    assert_eq!(changes(&mut *adaptive), ["bbr", "the host's"]);
    Link { is_silent: true, ..lossy }.run_on(&mut *adaptive, &mut course, ms(200_000));
    assert!(changes(&mut *adaptive).is_empty());
}

/// A download on cubic that has just begun to try BBR.
fn on_trial_over(lossy: &Link) -> (Box<dyn Controller>, Course) {
    let (mut adaptive, mut course) = (controller(Arm::Adaptive, &settings(), &download(1 << 40)), Course::default());
    while !adaptive.plan().is_on_trial {
        assert!(course.at < ms(20_000), "no trial");
        lossy.run_on(&mut *adaptive, &mut course, ms(50));
    }
    (adaptive, course)
}

#[test]
fn a_trial_ends_with_the_path_that_it_began_on() {
    for is_silent in [false, true] {
        let lossy = Link { loss: 0.002, ..Link::default() };
        let (mut adaptive, mut course) = on_trial_over(&lossy);
        let elsewhere = Link { rate: 700_000, has_moved: true, is_silent, ..lossy };
        elsewhere.run_on(&mut *adaptive, &mut course, ms(20_000));
        let changes = congestion_changes(&mut *adaptive);
        assert!(changes.len() == 2 && changes[1].because.starts_with("another path: "), "{is_silent}: {changes:?}");
    }
}

#[test]
fn a_trial_ends_where_the_client_has_no_path_or_leaves_another_one() {
    for (has_moved, subflows) in [(false, 0), (true, 1)] {
        let lossy = Link { loss: 0.002, has_moved, ..Link::default() };
        let (mut adaptive, mut course) = on_trial_over(&lossy);
        let nowhere = Link { rate: 0, is_silent: true, subflows, ..lossy };
        nowhere.run_on(&mut *adaptive, &mut course, ms(2_000));
        let changes = congestion_changes(&mut *adaptive);
        assert!(changes.len() == 2 && changes[1].because.starts_with("another path: "), "{subflows}: {changes:?}");
    }
}

#[test]
fn what_the_path_before_lost_speaks_for_nothing_on_the_next() {
    // Lossy, and left before anybody could do anything about it.
    let (mut adaptive, mut course) = (controller(Arm::Adaptive, &settings(), &download(1 << 40)), Course::default());
    let lossy = Link { loss: 0.002, ..Link::default() };
    lossy.run_on(&mut *adaptive, &mut course, ms(2_000));
    Link { is_silent: true, ..lossy }.run_on(&mut *adaptive, &mut course, ms(5_000));
    let clean = Link { rate: 1_250_000, has_moved: true, ..Link::default() };
    clean.run_on(&mut *adaptive, &mut course, ms(5_000));
    let rate = adaptive.snapshot().delivered_rate.unwrap();
    assert!((1_000_000..1_400_000).contains(&rate), "{rate} B/s where 1.25 MB/s fit");
}

#[test]
fn a_path_that_flaps_ends_where_the_host_has_it() {
    let mut adaptive = adaptive();
    let mut course = Course::default();
    for round in 0..40 {
        let loss = if round % 2 == 0 { 0.0 } else { 0.02 };
        Link { loss, ..short() }.run_on(&mut *adaptive, &mut course, ms(200_000));
    }
    assert_eq!(changes(&mut *adaptive), ["cubic", "the host's", "cubic", "the host's"]);
}

#[test]
fn what_is_known_of_a_client_makes_no_transfer_begin_with_cubic() {
    let known = Expected { rate: Some(12_500_000), min_rtt: Some(ms(10)), loss: Some(0.0), ..Expected::default() };
    for is_bbr_better in [None, Some(true), Some(false)] {
        let start = on_bbr(Expected { is_bbr_better, ..known });
        assert_eq!(controller(Arm::Adaptive, &settings(), &start).plan().congestion, None);
    }
}

#[test]
fn where_the_process_may_not_have_cubic_or_the_connection_has_it_no_plan_asks_for_it() {
    let first = |settings: &Settings, start: &Start| {
        let mut adaptive = controller(Arm::Adaptive, settings, start);
        short().run(&mut *adaptive, ms(60_000));
        adaptive.plan().congestion
    };
    let start = on_bbr(Expected::default());
    assert_eq!(first(&settings(), &start), Some(Congestion::Cubic));
    assert_eq!(first(&Settings { cubic: false, ..settings() }, &start), None);
    for inherited in [None, Some(Congestion::Cubic)] {
        assert_eq!(first(&settings(), &Start { inherited, ..start }), None);
    }
}
