//! Contests over simulated links.

use std::time::Duration;

use proptest::prelude::*;

use super::contest::Contest;
use super::*;
use crate::pace::tests::link::Link as Path;
use crate::pace::tests::{controller, download, settings};
use crate::pace::{Arm, Expected, Start};

const KIND: Kind = Kind { direction: Direction::Download, quality: Quality::Excellent, link: Link::Unknown };

/// Reproducible chance (xorshift): the same tests everywhere.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Transfers over `path`, whose rate swings by half and twice; returns what came into force, and when.
fn transfers(path: &Path, tuner: &mut Tuner, chance: &mut Chance, count: u32) -> Vec<(u32, Adoption)> {
    let span = Duration::from_secs(5);
    let reach = |choice: Choice, chance: &mut Chance| {
        let expected = Expected { is_bbr_better: choice.congestion().map(|_| true), ..Expected::default() };
        let start = Start { expected, ..download(1 << 30) };
        let moved = path.run(&mut *controller(Arm::Adaptive, &settings(), &start), span);
        moved as f64 * (0.5 + 1.5 * chance.next())
    };
    let usual = reach(Choice::default(), chance);
    let mut adopted = Vec::new();
    for n in 0..count {
        let choice = tuner.choose(&KIND, [chance.next(), chance.next()]);
        let ratio = reach(choice, chance) / usual;
        tuner.learn(KIND, choice, ratio, 100);
        let now = Duration::from_secs(u64::from(n) * 10);
        adopted.extend(tuner.settle(now, Duration::from_secs(30)).into_iter().map(|adoption| (n, adoption)));
    }
    adopted
}

/// Losses below what one transfer can be sure of, which cubic suffers from all the same.
const SUBTLE: f64 = 0.0005;

#[test]
fn the_better_option_comes_into_force_and_stays() {
    let lossy = Path { loss: SUBTLE, ..Path::default() };
    for seed in 1..=8 {
        let (mut tuner, mut chance) = (Tuner::default(), Chance(seed));
        let adopted = transfers(&lossy, &mut tuner, &mut chance, 3000);
        let [(n, adoption)] = adopted[..] else { panic!("seed {seed}: one change, and no other: {adopted:?}") };
        assert_eq!((adoption.question, adoption.to.congestion()), (CONGESTION, Some(Congestion::Bbr)));
        assert!(adoption.gain > 3.0 && n < 1500, "seed {seed}: {adoption:?} after {n}");
        assert_eq!(tuner.choose(&KIND, [0.9, 0.9]).congestion(), Some(Congestion::Bbr));
    }
}

#[test]
fn where_nothing_is_better_nothing_changes() {
    for seed in 1..=8 {
        let (mut tuner, mut chance) = (Tuner::default(), Chance(seed));
        assert_eq!(transfers(&Path::default(), &mut tuner, &mut chance, 5000), [], "seed {seed}");
        let steps = Choice { ceiling: Some(0), ..Choice::default() };
        assert_eq!(tuner.choose(&KIND, [0.9, 0.9]).without_congestion(), steps);
    }
}

#[test]
fn what_changes_for_all_makes_none_look_better() {
    let (mut contest, mut chance) = (Contest::new(3), Chance(5));
    for n in 0..20_000u32 {
        // Evenings are four times slower.
        let of_day = if n / 2_000 % 2 == 0 { 0.0 } else { -1.4 };
        contest.learn(contest.pick(chance.next()), of_day + chance.next() - 0.5, 100);
        assert_eq!(contest.settle(), None, "after {n}");
    }
}

#[test]
fn what_is_clearly_better_comes_into_force_however_few_measurements_are_to_count() {
    for (memory, options) in [(0, 2), (10, 2), (10, 3), (100, 3)] {
        let (mut contest, mut chance) = (Contest::new(options), Chance(11));
        let adopts = |_: &u32| {
            let option = contest.pick(chance.next());
            contest.learn(option, if option == 1 { 1.0 } else { 0.0 } + chance.next() - 0.5, memory);
            contest.settle().is_some()
        };
        let after = (0..10_000u32).find(adopts);
        assert!(after.is_some() && contest.in_force() == 1, "{memory} of {options}: {after:?}");
    }
}

#[test]
fn a_small_gain_is_worth_no_change_however_sure_it_is() {
    for (gain, is_worth_it) in [(0.08, false), (0.12, true)] {
        let (mut contest, mut chance) = (Contest::new(2), Chance(11));
        let adopts = |_: &u32| {
            let option = contest.pick(chance.next());
            contest.learn(option, if option == 1 { gain } else { 0.0 }, 1000);
            contest.settle().is_some()
        };
        assert_eq!((0..20_000).find(adopts).is_some(), is_worth_it, "{gain}");
    }
}

#[test]
fn an_option_is_compared_with_what_the_one_in_force_gives_at_the_time() {
    let mut contest = Contest::new(2);
    for of_day in [0.0, -1.4] {
        (0..200).for_each(|_| contest.learn(0, of_day, 100));
    }
    (0..30).for_each(|_| contest.learn(1, -1.4, 100));
    let means = [0, 1].map(|option| contest.options()[option].mean());
    assert!(means[0].abs() < 0.2 && means[1].abs() < 0.01, "{means:?}");
}

#[test]
fn what_was_hardly_tried_is_tried_again_whatever_it_gave() {
    let mut contest = Contest::new(3);
    for (option, reward, count) in [(0, 0.0, 100), (1, -1.0, 3), (2, -0.3, 200)] {
        (0..count).for_each(|_| contest.learn(option, reward, 1000));
    }
    assert_eq!(contest.pick(0.0), 1);
    (0..200).for_each(|_| contest.learn(1, -1.0, 1000));
    assert_eq!(contest.pick(0.0), 2, "now it is known to be worse");
}

#[test]
fn what_comes_into_force_begins_the_other_question_anew() {
    let mut tuner = Tuner::default();
    for _ in 0..100 {
        for (chances, ratio) in [([0.9, 0.9], 1.0), ([0.0, 0.9], 3.0)] {
            tuner.learn(KIND, tuner.choose(&KIND, chances), ratio, 100);
        }
    }
    let known = |tuner: &Tuner| tuner.contests[&KIND].congestion.options()[0].weight();
    assert!(known(&tuner) > 70.0);
    let adopted = tuner.settle(Duration::from_secs(30), Duration::from_secs(30));
    assert!(adopted.len() == 1 && adopted[0].question == CEILING, "{adopted:?}");
    assert_eq!(known(&tuner), 0.0, "it was asked with other steps");
}

#[test]
fn as_many_measurements_of_an_option_count_as_are_to_be_remembered() {
    for memory in [40, 400] {
        let (mut contest, mut chance) = (Contest::new(2), Chance(11));
        for _ in 0..60_000 {
            contest.learn(contest.pick(chance.next()), 0.0, memory);
        }
        let share = contest.options()[1].weight() / f64::from(memory);
        assert!((0.6..1.4).contains(&share), "{share} of {memory}");
    }
}

#[test]
fn a_path_that_changes_is_found_out_again() {
    let (mut tuner, mut chance) = (Tuner::default(), Chance(3));
    let lossy = Path { loss: SUBTLE, ..Path::default() };
    assert_eq!(transfers(&lossy, &mut tuner, &mut chance, 3000).len(), 1);
    // Now BBR gets only half of it.
    let mut contest = tuner.contests[&KIND].congestion.clone();
    let mut changes = 0;
    for _ in 0..20_000 {
        let option = contest.pick(chance.next());
        contest.learn(option, if option == 1 { 0.5f64.ln() } else { 0.0 } + chance.next() - 0.5, 100);
        changes += u32::from(contest.settle().is_some());
    }
    assert_eq!((contest.in_force(), changes), (0, 1));
}

#[test]
fn a_choice_is_within_the_configuration() {
    let ceiling = |option| Choice { ceiling: Some(option), ..Choice::default() }.ceiling(1 << 20);
    assert_eq!([0, 1, 2].map(ceiling), [Some(1 << 20), Some(256 << 10), Some(64 << 10)]);
    let choice = Choice { ceiling: Some(2), congestion: Some(1), is_congestion_tried: true };
    assert_eq!((choice.without_congestion().congestion(), choice.without_ceiling().ceiling(1 << 20)), (None, None));
    assert!(choice.without_congestion().is_any() && !choice.without_congestion().without_ceiling().is_any());
}

#[test]
fn who_has_no_part_in_a_contest_teaches_it_nothing() {
    let mut tuner = Tuner::default();
    tuner.learn(KIND, Choice { ceiling: Some(0), congestion: Some(0), is_congestion_tried: false }, 1.0, 100);
    let before = tuner.to_text();
    tuner.learn(KIND, Choice::default(), 3.0, 100);
    assert_eq!(tuner.to_text(), before);
}

#[test]
fn a_comparison_needs_enough_of_the_standard_path() {
    let sort = |bytes| Sort { direction: Direction::Download, quality: Quality::Good, size: SizeClass::of(bytes) };
    let (mut baseline, mut chance) = (Baseline::default(), Chance(5));
    for n in 0..200 {
        assert_eq!(baseline.gain(&sort(100_000), 3e6).is_some(), n >= 13, "after {n}");
        baseline.learn(sort(100_000), 1e6 * (0.8 + 0.4 * chance.next()), 100);
    }
    let gain = baseline.gain(&sort(100_000), 3e6).unwrap();
    assert!((2.8..3.3).contains(&gain), "{gain}");
    assert_eq!(baseline.gain(&sort(2 << 20), 3e6), None, "other sizes are another sort");
    for n in 0..100 {
        baseline.learn(sort(20 << 20), if n % 2 == 0 { 1e3 } else { 1e9 }, 100);
    }
    assert_eq!(baseline.gain(&sort(20 << 20), 3e6), None, "what swings is not known");
}

#[test]
fn what_is_known_survives_as_text() {
    let (mut tuner, mut chance) = (Tuner::default(), Chance(7));
    transfers(&Path { loss: SUBTLE, ..Path::default() }, &mut tuner, &mut chance, 1500);
    let text = tuner.to_text();
    assert!(text.lines().count() == 2 && text.starts_with("download excellent unknown ceiling 0 "), "{text}");
    let mut heir = Tuner::default();
    heir.recall(&text);
    assert_eq!(heir.to_text(), text);
    assert_eq!(heir.choose(&KIND, [0.9, 0.9]), tuner.choose(&KIND, [0.9, 0.9]));
}

#[test]
fn a_line_that_does_not_fit_is_left_out() {
    let good = "download excellent unknown congestion 1 0.5 3 0.1 0.2 1 0.1 0.1";
    let force = |text: &str| {
        let mut tuner = Tuner::default();
        tuner.recall(text);
        tuner.choose(&KIND, [0.9, 0.9]).congestion()
    };
    assert_eq!(force(good), Some(Congestion::Bbr));
    for (from, to) in [
        ("excellent", "splendid"),
        ("congestion", "luck"),
        (" 1 0.5", " 2 0.5"),
        ("0.5", "inf"),
        ("3 0.1", "-3 0.1"),
        ("0.2", "NaN"),
        ("1 0.1 0.1", "1 0.1"),
        ("1 0.1 0.1", "1 0.1 0.1 7"),
    ] {
        assert_eq!(force(&good.replacen(from, to, 1)), None, "{from} -> {to}");
    }
}

#[test]
fn settling_waits_for_its_time() {
    let mut tuner = Tuner::default();
    for _ in 0..40 {
        for (chances, ratio) in [([0.9, 0.9], 1.0), ([0.9, 0.0], 3.0)] {
            tuner.learn(KIND, tuner.choose(&KIND, chances), ratio, 100);
        }
    }
    let every = Duration::from_secs(30);
    assert_eq!(tuner.settle(Duration::from_secs(29), every), []);
    assert_eq!(tuner.settle(Duration::from_secs(30), every).len(), 1);
}

proptest! {
    #[test]
    fn a_few_per_cent_try_something_else(seed in 1u64.., options in 1usize..6) {
        let (mut contest, mut chance) = (Contest::new(options), Chance(seed));
        let mut tried = 0;
        for _ in 0..2000 {
            let option = contest.pick(chance.next());
            tried += u32::from(option != contest.in_force());
            contest.learn(option, 0.0, 100);
        }
        prop_assert!(if options == 1 { tried == 0 } else { (30..150).contains(&tried) }, "{tried} of 2000");
    }

    #[test]
    fn no_text_breaks_anything(text in "[a-z0-9 .\\-\n]{0,200}", chance in 0.0f64..1.0) {
        let mut tuner = Tuner::default();
        tuner.recall(&text);
        let _ = tuner.choose(&KIND, [chance, chance]);
    }

    #[test]
    fn absurd_rewards_break_nothing(
        seen in prop::collection::vec((0usize..5, any::<f64>(), 0u32..200), 0..200),
        chance in 0.0f64..1.0,
    ) {
        let mut contest = Contest::new(3);
        for (option, reward, memory) in seen {
            contest.learn(option, reward, memory);
            let before = contest.in_force();
            let gain = contest.settle();
            prop_assert!(contest.pick(chance) < 3);
            prop_assert_eq!(gain.is_some(), contest.in_force() != before);
            prop_assert!(gain.is_none_or(|gain| gain.is_finite() && gain > 1.09));
        }
    }
}
