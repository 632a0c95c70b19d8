//! The lane of a transfer, and how large its pieces are: first ones, growth, and who gets none of it.

use super::link::ms;
use super::{controller, download, settings, upload};
use crate::pace::{Arm, Carrier, Controller, Expected, Lane, Levers, Observation, Settings, Start};

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
