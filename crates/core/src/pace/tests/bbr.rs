//! When a download gets BBR, when not, and when it goes back.

use super::link::{Course, Link, ms};
use super::{congestion_changes, controller, download, settings};
use crate::pace::{Arm, Congestion, Expected, Settings, Start};

#[test]
fn a_lossy_path_gets_bbr_and_keeps_its_rate() {
    for loss in [0.002, 0.005, 0.02] {
        let lossy = Link { loss, ..Link::default() };
        let standard = lossy.run(&mut *controller(Arm::Standard, &settings(), &download(1 << 30)), ms(30_000));
        let mut adaptive = controller(Arm::Adaptive, &settings(), &download(1 << 30));
        let moved = lossy.run(&mut *adaptive, ms(30_000));
        assert_eq!(adaptive.plan().congestion, Some(Congestion::Bbr), "{loss}");
        assert!(moved > 3 * standard, "{moved} against {standard} at {loss}");
    }
}

#[test]
fn a_known_lossy_client_gets_bbr_from_its_first_byte() {
    let expected = Expected { loss: Some(0.02), ..Expected::default() };
    let start = Start { expected, ..download(1 << 20) };
    assert_eq!(controller(Arm::Adaptive, &settings(), &start).plan().congestion, Some(Congestion::Bbr));
    let decisions = controller(Arm::Adaptive, &settings(), &start).decisions();
    assert_eq!(decisions[0].because, "earlier transfers: 2.00 % were lost");
    let behind_a_proxy = Start { is_shared: true, ..start };
    assert_eq!(controller(Arm::Adaptive, &settings(), &behind_a_proxy).plan().congestion, None);
    let nothing_to_choose = Settings { bbr: false, ..settings() };
    assert_eq!(controller(Arm::Adaptive, &nothing_to_choose, &start).plan().congestion, None);
}

#[test]
fn a_clean_short_path_is_left_alone() {
    let clean = Link::default();
    let standard = clean.run(&mut *controller(Arm::Standard, &settings(), &download(1 << 30)), ms(30_000));
    let mut adaptive = controller(Arm::Adaptive, &settings(), &download(1 << 30));
    let moved = clean.run(&mut *adaptive, ms(30_000));
    assert_eq!(adaptive.plan().congestion, None);
    assert!(moved >= standard, "{moved} against {standard}");
    assert!(congestion_changes(&mut *adaptive).is_empty());
}

#[test]
fn a_congested_path_is_not_mistaken_for_a_lossy_one() {
    for (loss, queue) in [(0.01, 80), (0.009, 15), (0.002, 12)] {
        let congested = Link { loss, queue: ms(queue), is_full: true, ..Link::default() };
        let mut adaptive = controller(Arm::Adaptive, &settings(), &download(1 << 30));
        congested.run(&mut *adaptive, ms(30_000));
        assert!(congestion_changes(&mut *adaptive).is_empty(), "{loss} lost because a queue of {queue} ms is full");
    }
}

#[test]
fn slow_start_that_overshoots_is_not_mistaken_for_a_lossy_path() {
    let overshot = Link { overshoot: 400, ..Link::default() };
    let mut adaptive = controller(Arm::Adaptive, &settings(), &download(1 << 30));
    overshot.run(&mut *adaptive, ms(30_000));
    assert!(congestion_changes(&mut *adaptive).is_empty());
}

#[test]
fn what_does_not_help_is_taken_back_and_not_tried_again_at_once() {
    // No queue is seen (a policer drops what is too much), and yet the path is full.
    let policed = Link { loss: 0.02, is_full: true, ..Link::default() };
    let mut adaptive = controller(Arm::Adaptive, &settings(), &download(1 << 40));
    policed.run(&mut *adaptive, ms(50_000));
    let changes = congestion_changes(&mut *adaptive);
    assert_eq!(changes.iter().map(|change| change.to.as_str()).collect::<Vec<_>>(), ["bbr", "the host's"]);
    assert!(changes[1].because.starts_with("no faster: "), "{changes:?}");
}

#[test]
fn after_a_handover_to_a_longer_lossy_path_losses_are_seen_for_what_they_are() {
    let mut adaptive = controller(Arm::Adaptive, &settings(), &download(1 << 40));
    let mut course = Course::default();
    Link { rtt: ms(5), ..Link::default() }.run_on(&mut *adaptive, &mut course, ms(60_000));
    assert_eq!(adaptive.plan().congestion, None);
    // The kernel takes 5 ms for the shortest round trip for minutes to come.
    Link { rtt: ms(70), loss: 0.02, ..Link::default() }.run_on(&mut *adaptive, &mut course, ms(60_000));
    assert_eq!(adaptive.plan().congestion, Some(Congestion::Bbr));
}

#[test]
fn on_a_long_path_less_loss_is_too_much() {
    let chosen = |rtt, loss| {
        let link = Link { rtt, loss, ..Link::default() };
        let mut adaptive = controller(Arm::Adaptive, &settings(), &download(1 << 30));
        link.run(&mut *adaptive, ms(60_000));
        adaptive.plan().congestion
    };
    assert_eq!((chosen(ms(300), 0.0005), chosen(ms(40), 0.0005)), (Some(Congestion::Bbr), None));
    let first = |rtt, loss| {
        let expected = Expected { loss: Some(loss), min_rtt: Some(rtt), ..Expected::default() };
        controller(Arm::Adaptive, &settings(), &Start { expected, ..download(1 << 30) }).plan().congestion
    };
    assert_eq!((first(ms(300), 0.0005), first(ms(40), 0.0005)), (Some(Congestion::Bbr), None));
}

#[test]
fn a_clean_long_path_is_left_alone() {
    let long = Link { rtt: ms(300), overshoot: 1000, ..Link::default() };
    let mut adaptive = controller(Arm::Adaptive, &settings(), &download(1 << 30));
    long.run(&mut *adaptive, ms(60_000));
    assert!(congestion_changes(&mut *adaptive).is_empty());
    let expected = Expected { rate: Some(12_500_000), min_rtt: Some(ms(300)), loss: Some(0.0), ..Expected::default() };
    let known = controller(Arm::Adaptive, &settings(), &Start { expected, ..download(1 << 30) });
    assert_eq!(known.plan().congestion, None);
}

#[test]
fn a_path_that_flaps_does_not_make_the_choice_flap() {
    let mut adaptive = controller(Arm::Adaptive, &settings(), &download(1 << 40));
    let mut course = Course::default();
    for round in 0..40 {
        let loss = if round % 2 == 0 { 0.02 } else { 0.0 };
        Link { loss, ..Link::default() }.run_on(&mut *adaptive, &mut course, ms(40_000));
    }
    let changes = congestion_changes(&mut *adaptive).len();
    assert!((1..=4).contains(&changes), "{changes} changes in 40 rounds");
}

#[test]
fn a_path_that_heals_goes_back() {
    let mut healed = controller(Arm::Adaptive, &settings(), &download(1 << 40));
    let mut course = Course::default();
    Link { loss: 0.02, ..Link::default() }.run_on(&mut *healed, &mut course, ms(10_000));
    assert_eq!(healed.plan().congestion, Some(Congestion::Bbr));
    Link::default().run_on(&mut *healed, &mut course, ms(180_000));
    assert_eq!(healed.plan().congestion, None, "three clean minutes");
}

#[test]
fn what_is_lost_under_bbr_is_not_taken_for_what_the_host_would_lose() {
    let expected = Expected { loss: Some(0.02), ..Expected::default() };
    let mut adaptive = controller(Arm::Adaptive, &settings(), &Start { expected, ..download(1 << 30) });
    Link { loss: 0.02, ..Link::default() }.run(&mut *adaptive, ms(30_000));
    let seen = adaptive.snapshot();
    assert!(seen.unqueued_loss.is_some_and(|loss| loss > 0.01) && seen.hosts_loss.is_none(), "{seen:?}");
    let mut adaptive = controller(Arm::Adaptive, &settings(), &download(1 << 30));
    Link { loss: 0.02, overrun: 0.06, ..Link::default() }.run(&mut *adaptive, ms(30_000));
    let seen = adaptive.snapshot();
    assert_eq!(adaptive.plan().congestion, Some(Congestion::Bbr));
    assert!(seen.hosts_loss.is_some_and(|loss| loss < 0.03) && seen.unqueued_loss > Some(0.05), "{seen:?}");
}

#[test]
fn what_a_trial_that_failed_has_lost_is_not_taken_for_what_the_host_would_lose() {
    let policed = Link { loss: 0.002, overrun: 0.05, is_full: true, ..Link::default() };
    let (mut adaptive, mut course) = (controller(Arm::Adaptive, &settings(), &download(1 << 40)), Course::default());
    while congestion_changes(&mut *adaptive).iter().all(|change| change.to != "the host's") && course.at < ms(60_000) {
        policed.run_on(&mut *adaptive, &mut course, ms(50));
    }
    assert_eq!(adaptive.plan().congestion, None);
    for _ in 0..10 {
        policed.run_on(&mut *adaptive, &mut course, ms(1_000));
        let seen = adaptive.snapshot();
        assert!(seen.hosts_loss.is_some_and(|loss| (0.0015..0.0025).contains(&loss)), "{seen:?}");
    }
}

#[test]
fn what_came_with_the_last_change_goes_when_the_path_heals() {
    let expected = Expected { loss: Some(0.02), ..Expected::default() };
    let start = Start { expected, ..download(1 << 40) };
    let (mut adaptive, mut course) = (controller(Arm::Adaptive, &settings(), &start), Course::default());
    let lossy = Link { loss: 0.02, ..Link::default() };
    let mut changes = 0;
    for link in [Link::default(), lossy, Link::default(), lossy, Link::default(), lossy] {
        link.run_on(&mut *adaptive, &mut course, ms(180_000));
        changes += congestion_changes(&mut *adaptive).len();
        assert!(link.loss > 0.0 || adaptive.plan().congestion.is_none(), "after {changes} changes");
    }
    // It began with it, went back, had it twice more, and after four changes nothing is tried.
    assert_eq!((changes, adaptive.plan().congestion), (6, None));
}

#[test]
fn what_is_known_of_a_client_is_better_than_what_should_be() {
    let first = |loss, is_bbr_better| {
        let expected = Expected { loss: Some(loss), is_bbr_better, ..Expected::default() };
        controller(Arm::Adaptive, &settings(), &Start { expected, ..download(1 << 20) }).plan().congestion
    };
    assert_eq!(first(0.02, Some(false)), None);
    assert_eq!(first(0.0, Some(true)), Some(Congestion::Bbr));
}
