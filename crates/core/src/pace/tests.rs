//! Controllers on a simulated link.

mod cubic;
mod drop_tail;
mod invariants;
mod levers;
pub(crate) mod link;
mod lossy;
mod shared;

use std::sync::Arc;
use std::time::Duration;

use self::link::{Course, Link, ms};
use super::{
    Carrier, Congestion, Controller, Decision, Direction, Expected, Lane, Levers, Observation, PathSample, Plan,
    Settings, Start,
};
use crate::pace::Arm;
use crate::progress::StallLimits;

/// With settings of its own.
pub(crate) fn controller(arm: Arm, settings: &Settings, start: &Start) -> Box<dyn Controller> {
    super::controller(arm, &Arc::new(*settings), start)
}

pub(crate) fn settings() -> Settings {
    Settings { bbr: true, cubic: true, explain: true, ..Settings::default() }
}

pub(crate) fn download(size: u64) -> Start {
    Start {
        direction: Direction::Download,
        size: Some(size),
        carrier: Carrier::Plain,
        is_shared: false,
        inherited: Some(Congestion::Cubic),
        expected: Expected::default(),
    }
}

fn upload(size: u64) -> Start {
    Start { direction: Direction::Upload, ..download(size) }
}

/// Hands over what was decided about congestion control.
fn congestion_changes(controller: &mut dyn Controller) -> Vec<Decision> {
    let mut decisions = controller.decisions();
    decisions.retain(|decision| decision.lever == "congestion control");
    decisions
}

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
fn the_change_is_explained_with_its_figures() {
    let mut adaptive = controller(Arm::Adaptive, &settings(), &download(1 << 30));
    Link { loss: 0.02, ..Link::default() }.run(&mut *adaptive, ms(5_000));
    let decisions = adaptive.decisions();
    let choice = decisions.iter().find(|decision| decision.lever == "congestion control").unwrap();
    assert_eq!((choice.from.as_str(), choice.to.as_str()), ("the host's", "bbr"));
    assert!(choice.because.contains("% lost"), "{}", choice.because);
    assert!(adaptive.decisions().is_empty(), "each is told once");
}

/// What a decision may be about, as the log shows it.
fn levers(plan: &Plan) -> [(&'static str, String); 5] {
    [
        ("step", plan.step.to_string()),
        ("write", plan.write.to_string()),
        ("congestion control", plan.congestion.map_or("the host's", Congestion::as_str).to_owned()),
        ("unsent", plan.unsent.map_or("the host's".to_owned(), |bytes| bytes.to_string())),
        ("stall", format!("{:?}", plan.stall.idle)),
    ]
}

#[test]
fn every_change_of_a_plan_is_explained_once() {
    let slow = Link { rtt: ms(600), rate: 3_000_000, ..Link::default() };
    let links = [Link { loss: 0.02, ..Link::default() }, slow, Link { rtt: Duration::from_micros(100), ..slow }];
    for carrier in [Carrier::Plain, Carrier::Tls] {
        let mut adaptive = controller(Arm::Adaptive, &settings(), &Start { carrier, ..download(1 << 40) });
        let (mut course, mut seen) = (Course::default(), std::collections::BTreeSet::new());
        assert_eq!(adaptive.decisions(), [], "a stranger begins as everybody does");
        for round in 0..3000 {
            let before = levers(&adaptive.plan());
            // A handover now and then, which costs most of the time that there is.
            course.at += if round % 1000 == 999 { Duration::from_secs(58) } else { Duration::ZERO };
            links[round / 1000].run_on(&mut *adaptive, &mut course, ms(10));
            let after = levers(&adaptive.plan());
            let decisions = adaptive.decisions();
            for ((lever, from), (_, to)) in before.into_iter().zip(after) {
                let told: Vec<_> = decisions.iter().filter(|decision| decision.lever == lever).collect();
                let (first, last) = (told.first().map(|it| &it.from), told.last().map(|it| &it.to));
                let expected = (from != to).then_some((&from, &to));
                assert_eq!(first.zip(last), expected, "{lever} after {round}: {told:?}");
                let has_figures = |decision: &&Decision| decision.because.contains(|c: char| c.is_ascii_digit());
                assert!(told.iter().all(has_figures), "{told:?}");
                seen.extend(told.first().map(|_| lever));
            }
        }
        let size = if carrier == Carrier::Plain { "step" } else { "write" };
        assert!(["congestion control", "stall", "unsent", size].iter().all(|lever| seen.contains(lever)), "{seen:?}");
    }
}

#[test]
fn what_is_known_of_a_client_explains_its_first_plan() {
    let expected = Expected {
        rate: Some(10_000_000),
        min_rtt: Some(ms(40)),
        step: Some(256 << 10),
        patience: Some(2.0),
        ..Expected::default()
    };
    let told = |start: Start| {
        let decisions = controller(Arm::Adaptive, &settings(), &Start { expected, ..start }).decisions();
        decisions.iter().map(|it| format!("{}: {} {} {}", it.lever, it.from, it.to, it.because)).collect::<Vec<_>>()
    };
    let unsent = "unsent: the host's 800000 earlier transfers: 10000000 B/s over a round trip of 40ms";
    let stall = "stall: 60s 120s such clients are granted 2 times the limit";
    let step = "step: 65536 262144 earlier transfers: the last upload ended with 262144";
    assert_eq!(told(download(1 << 30)), [stall, unsent]);
    assert_eq!(told(upload(64 << 10)), [step, stall]);
}

#[test]
fn a_handover_that_ends_well_makes_the_next_one_bearable() {
    let mut adaptive = controller(Arm::Adaptive, &settings(), &download(1 << 30));
    let mut course = Course::default();
    let link = Link { rtt: ms(600), ..Link::default() };
    link.run_on(&mut *adaptive, &mut course, ms(5_000));
    let before = adaptive.plan().stall.idle;
    course.at += Duration::from_secs(58);
    link.run_on(&mut *adaptive, &mut course, ms(5_000));
    let after = adaptive.plan().stall.idle;
    assert!(after > before && after >= Duration::from_secs(69), "{before:?} then {after:?}");
    assert!(after <= settings().longest_stall.unwrap());
    let fixed = Settings { longest_stall: None, ..settings() };
    let mut adaptive = controller(Arm::Adaptive, &fixed, &download(1 << 30));
    let mut course = Course::default();
    course.at += Duration::from_secs(59);
    link.run_on(&mut *adaptive, &mut course, ms(5_000));
    assert_eq!(adaptive.plan().stall, fixed.stall);
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
fn a_short_upload_of_a_slow_client_is_one_piece() {
    let settings = settings();
    let first = |size| {
        let expected = Expected { step: Some(settings.min_step), ..Expected::default() };
        controller(Arm::Adaptive, &settings, &Start { expected, ..upload(size) }).plan().step
    };
    let short = settings.first_step as u64;
    assert_eq!((first(short), first(short + 1)), (settings.first_step, settings.min_step));
}

#[test]
fn steps_grow_while_they_are_full_and_shrink_when_they_are_not() {
    let settings = settings();
    let mut adaptive = controller(Arm::Adaptive, &settings, &Start { size: Some(64 << 10), ..upload(0) });
    assert_eq!((adaptive.plan().lane, adaptive.plan().step), (Lane::Buffered, settings.first_step));
    let mut now = 0;
    let mut step = |adaptive: &mut dyn Controller, filled| {
        now += 300;
        let filled = Some(filled);
        adaptive.observe(&Observation { now: ms(now), moved: 4096, filled, is_app_limited: false, path: None });
        adaptive.plan().step
    };
    assert_eq!(step(&mut *adaptive, true), 4 * settings.first_step);
    assert_eq!((0..5).map(|_| step(&mut *adaptive, true)).last(), Some(settings.max_step));
    assert_eq!(step(&mut *adaptive, false), settings.max_step, "once is chance");
    assert_eq!((0..100).map(|_| step(&mut *adaptive, false)).last(), Some(settings.min_step));
}

#[test]
fn only_what_sizes_the_pieces_of_a_transfer_grows() {
    let first = settings().first_step;
    let sizes = |start: Start, filled| {
        let mut adaptive = controller(Arm::Adaptive, &settings(), &start);
        let before = adaptive.plan();
        for n in 1..20 {
            adaptive.observe(&Observation { now: ms(n * 10), moved: 4096, filled, is_app_limited: false, path: None });
        }
        let changed: Vec<_> = adaptive.decisions().iter().map(|decision| decision.lever).collect();
        let (step, write) = (adaptive.plan().step / before.step, adaptive.plan().write / before.write);
        (step > 1, write > 1, changed.first().copied())
    };
    let over = |carrier| Start { carrier, ..download(1 << 30) };
    assert_eq!(sizes(upload(1 << 30), Some(true)), (true, false, Some("step")));
    assert_eq!(sizes(over(Carrier::Plain), Some(true)), (true, false, Some("step")), "what a cold disk is read in");
    assert_eq!(sizes(over(Carrier::Tls), Some(true)), (false, true, Some("write")));
    assert_eq!(sizes(over(Carrier::H2), Some(true)), (false, true, Some("write")));
    assert_eq!(sizes(upload(1 << 30), None), (false, false, None), "zero copy has pieces of its own");
    assert_eq!(controller(Arm::Adaptive, &settings(), &over(Carrier::Tls)).plan().write, first);
}

#[test]
fn steps_do_not_swing_with_a_reader_that_hesitates() {
    let settings = Settings { explain: false, ..settings() };
    let mut adaptive = controller(Arm::Adaptive, &settings, &Start { size: Some(64 << 10), ..upload(0) });
    let (mut changes, mut before) = (0, 0);
    for n in 0..2400u64 {
        let (now, filled) = (ms(n * 250), n % 6 == 0);
        adaptive.observe(&Observation { now, moved: 4096, filled: Some(filled), is_app_limited: false, path: None });
        changes += u32::from(adaptive.plan().step != before);
        before = adaptive.plan().step;
    }
    assert!(changes <= 12, "{changes} changes in ten minutes");
}

#[test]
fn a_step_shrinks_after_a_second_and_with_each_swing_takes_longer_to() {
    let begin = || controller(Arm::Adaptive, &settings(), &Start { size: Some(64 << 10), ..upload(0) });
    let observe = |adaptive: &mut dyn Controller, now, filled| {
        let filled = Some(filled);
        adaptive.observe(&Observation { now: ms(now), moved: 4096, filled, is_app_limited: false, path: None });
        adaptive.plan().step
    };
    let mut adaptive = begin();
    let first = adaptive.plan().step;
    assert!((0..100).all(|n| observe(&mut *adaptive, n * 10, false) == first), "a hundred times within a second");
    assert_eq!(observe(&mut *adaptive, 1_000, false), first / 2);

    // One that takes six pieces at once, and then none for as long, would make it swing for ever.
    let (mut adaptive, mut changes, mut before) = (begin(), 0, 0);
    for n in 0..2400 {
        let step = observe(&mut *adaptive, n * 250, n / 6 % 2 == 0);
        changes += u32::from(step != before);
        before = step;
    }
    assert!((4..=20).contains(&changes), "{changes} changes in ten minutes");
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
fn each_part_can_be_switched_off() {
    let lossy = Link { loss: 0.02, ..Link::default() };
    let blind = Settings { watches: false, ..settings() };
    let mut adaptive = controller(Arm::Adaptive, &blind, &download(1 << 30));
    lossy.run(&mut *adaptive, ms(30_000));
    assert_eq!((adaptive.plan().sample_after, adaptive.snapshot().samples), (None, 0));
    let fixed = Settings { follows: false, ..settings() };
    let mut adaptive = controller(Arm::Adaptive, &fixed, &upload(1 << 30));
    Link::default().run(&mut *adaptive, ms(30_000));
    assert_eq!(adaptive.plan().step, fixed.first_step);
    let known = Start { expected: Expected { step: Some(256 << 10), ..Expected::default() }, ..upload(1 << 30) };
    let first = |settings| controller(Arm::Adaptive, settings, &known).plan().step;
    assert_eq!((first(&fixed), first(&settings())), (fixed.first_step, 256 << 10), "nor do they begin elsewhere");
    let expected = Expected { loss: Some(0.02), ..Expected::default() };
    let waiting = Settings { foresees: false, ..settings() };
    let adaptive = controller(Arm::Adaptive, &waiting, &Start { expected, ..download(1 << 30) });
    assert_eq!(adaptive.plan().congestion, None, "the path has to show it");
}

#[test]
fn a_client_is_granted_more_patience_and_never_less() {
    let idle = |patience| {
        let expected = Expected { patience: Some(patience), ..Expected::default() };
        controller(Arm::Adaptive, &settings(), &Start { expected, ..download(1 << 30) }).plan().stall.idle
    };
    let configured = settings().stall.idle;
    assert_eq!((idle(2.0), idle(0.5)), (2 * configured, configured));
    assert_eq!(idle(1e9), settings().longest_stall.unwrap());
}

#[test]
fn an_adaptive_plan_is_at_least_as_patient_as_the_configuration_wants() {
    let stall = |arm, settings: &Settings| controller(arm, settings, &download(1 << 30)).plan().stall;
    let wanted = Settings { shortest_stall: Duration::from_secs(200), ..settings() };
    let StallLimits { idle, window, .. } = stall(Arm::Adaptive, &wanted);
    assert_eq!((idle, window), (wanted.shortest_stall, wanted.shortest_stall), "a window is no shorter than a silence");
    let fixed = Settings { longest_stall: None, ..wanted };
    let pinned = Settings { levers: Levers { stall: false, ..Levers::ALL }, ..wanted };
    for (arm, settings) in [(Arm::Adaptive, &fixed), (Arm::Adaptive, &pinned), (Arm::Standard, &wanted)] {
        assert_eq!(stall(arm, settings), settings.stall, "{arm:?}");
    }
}

#[test]
fn steps_grow_no_further_than_what_is_worth_it() {
    let most = |ceiling| {
        let expected = Expected { ceiling: Some(ceiling), ..Expected::default() };
        let mut adaptive = controller(Arm::Adaptive, &settings(), &Start { expected, ..upload(1 << 30) });
        for n in 1..20 {
            let now = ms(n * 10);
            let filled = Some(true);
            adaptive.observe(&Observation { now, moved: 4096, filled, is_app_limited: false, path: None });
        }
        adaptive.plan().step
    };
    assert_eq!(most(256 << 10), 256 << 10);
    assert_eq!((most(1), most(1 << 30)), (settings().min_step, settings().max_step), "within the configuration");
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

#[test]
fn large_plain_uploads_are_spliced_and_others_are_not() {
    let lane = |start: &Start| controller(Arm::Adaptive, &settings(), start).plan().lane;
    assert_eq!(lane(&upload(1 << 30)), Lane::ZeroCopy);
    assert_eq!(lane(&upload(10_000)), Lane::Buffered);
    assert_eq!(lane(&Start { size: None, ..upload(0) }), Lane::Buffered);
    assert_eq!(lane(&Start { carrier: Carrier::Tls, ..upload(1 << 30) }), Lane::Buffered);
}

#[test]
fn without_zero_copy_bytes_go_through_memory_both_ways_in_steps_as_planned() {
    for levers in [Levers::ALL, Levers::NONE] {
        let off = Settings { zero_copy: false, levers, ..settings() };
        let down = controller(Arm::Adaptive, &off, &download(1 << 30)).plan();
        let up = controller(Arm::Adaptive, &off, &upload(1 << 30)).plan();
        let usual = controller(Arm::Adaptive, &Settings { levers, ..settings() }, &upload(1 << 30)).plan();
        assert_eq!(down.lane, Lane::Buffered);
        assert_ne!(up.lane, Lane::ZeroCopy);
        assert_eq!((up.step, up.write_back, down.step), (usual.step, usual.write_back, usual.step));
    }
}
