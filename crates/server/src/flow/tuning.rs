//! [`Tuning`]: what transfers on a sort of path begin with, learnt from all of them; and how the paths compare.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hfs_core::pace::{Expected, Settings, Start};
use hfs_core::profile::{Guess, Lesson, Quality};
use hfs_core::tune::{self, Adoption, Baseline, Choice, Kind, SizeClass, Sort, Tuner};

use super::PaceConfig;
use crate::clock::Stopwatch;
use crate::random::random;

/// Shared by all flows of a server.
#[derive(Debug)]
pub(super) struct Tuning {
    started: Stopwatch,
    learnt: Mutex<Learnt>,
}

#[derive(Debug, Default)]
struct Learnt {
    tuner: Tuner,
    baseline: Baseline,
}

/// What one transfer of a known client takes part in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    kind: Kind,
    choice: Choice,
    /// Bytes per second that its client reached before.
    known: u64,
}

impl Tuning {
    pub(super) fn new() -> Self {
        Self { started: Stopwatch::start(), learnt: Mutex::default() }
    }

    /// Completes what a transfer may expect by what is best on such paths; nothing for a stranger, whose rate cannot
    /// be compared with anything, nor for a transfer that is too small to show a difference.
    pub(super) fn choose(&self, config: &PaceConfig, class: Guess, start: &mut Start) -> Option<Trial> {
        let settings = &config.settings;
        let is_small = start.size.is_some_and(|size| size < tune::TELLING_BYTES);
        // What a proxy takes shows nothing.
        if is_small || start.is_shared {
            return None;
        }
        let known = start.expected.rate.filter(|&rate| rate > 0)?;
        let kind = Kind {
            direction: start.direction,
            quality: config.thresholds.quality(None, start.expected.min_rtt),
            link: class.sure(),
        };
        // Nothing else is tried where nobody learns how it went.
        let chances = if config.learning { chances() } else { [1.0; 2] };
        let choice = self.learnt().tuner.choose(&kind, chances);
        // What is known of a client is better than what is known of its kind: it takes no part in that contest. Nor does who
        // would not take what is chosen.
        let is_open = settings.foresees && settings.may_bbr(start) && !start.expected.is_decided();
        let choice = if is_open { choice } else { choice.without_congestion() };
        let choice = if settings.may_size(start) { choice } else { choice.without_ceiling() };
        apply(choice, settings, &mut start.expected);
        choice.is_any().then_some(Trial { kind, choice, known })
    }

    /// Learns from a transfer of the adaptive path; returns what came into force.
    pub(super) fn learn(&self, trial: Option<Trial>, lesson: &Lesson, memory: u32, every: Duration) -> Vec<Adoption> {
        let Some(rate) = lesson.rate() else { return Vec::new() };
        let mut learnt = self.learnt();
        if let Some(trial) = trial.filter(|_| lesson.bytes >= tune::TELLING_BYTES) {
            learnt.tuner.learn(trial.kind, trial.choice, rate / trial.known as f64, memory);
        }
        learnt.tuner.settle(self.started.elapsed(), every)
    }

    /// The rate of a transfer of the adaptive path over that of the standard path's transfers like it, where enough of those
    /// are known.
    pub(super) fn gain(&self, quality: Quality, lesson: &Lesson) -> Option<f64> {
        self.learnt().baseline.gain(&sort(lesson, quality), lesson.rate()?)
    }

    /// Learns from a transfer of the standard path, for the comparison only.
    pub(super) fn note_standard(&self, quality: Quality, lesson: &Lesson, memory: u32) {
        if let Some(rate) = lesson.rate() {
            self.learnt().baseline.learn(sort(lesson, quality), rate, memory);
        }
    }

    /// What transfers begin with, and what that rests on, to be kept.
    pub(super) fn to_text(&self) -> String {
        self.learnt().tuner.to_text()
    }

    /// Takes in what an earlier process kept.
    pub(super) fn recall(&self, text: &str) {
        self.learnt().tuner.recall(text);
    }

    fn learnt(&self) -> MutexGuard<'_, Learnt> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn apply(choice: Choice, settings: &Settings, expected: &mut Expected) {
    expected.ceiling = choice.ceiling(settings.max_step);
    if choice.congestion().is_some() {
        (expected.is_bbr_better, expected.is_bbr_tried) = (Some(true), choice.is_congestion_tried());
    }
}

fn sort(lesson: &Lesson, quality: Quality) -> Sort {
    Sort { direction: lesson.direction, quality, size: SizeClass::of(lesson.bytes) }
}

/// Two numbers in [0, 1).
fn chances() -> [f64; 2] {
    let bytes: [u8; 8] = random();
    let [a, b, c, d, e, f, g, h] = bytes;
    [[a, b, c, d], [e, f, g, h]].map(|half| f64::from(u32::from_ne_bytes(half)) / (f64::from(u32::MAX) + 1.0))
}

/// For the log: what an adoption changes, and to what.
pub(super) fn told(adoption: &Adoption, settings: &Settings) -> [String; 2] {
    let told = |choice: Choice| match adoption.question {
        tune::CEILING => choice.ceiling(settings.max_step).unwrap_or(settings.max_step).to_string(),
        _ => choice.congestion().map_or("as it seems best", |congestion| congestion.as_str()).to_owned(),
    };
    [told(adoption.from), told(adoption.to)]
}

#[cfg(test)]
mod tests {
    use hfs_core::pace::{Carrier, Congestion, Direction, Levers};

    use super::*;
    use crate::flow::testing::{lesson, stranger};

    fn known(rate: u64) -> Start {
        Start { expected: Expected { rate: Some(rate), ..Expected::default() }, ..stranger() }
    }

    /// What a transfer takes part in, where nothing is known but its client's rate.
    fn choose(tuning: &Tuning, settings: &Settings, start: &mut Start) -> Option<Trial> {
        let config = PaceConfig { settings: *settings, ..PaceConfig::default() };
        tuning.choose(&config, Guess::default(), start)
    }

    #[test]
    fn a_stranger_takes_no_part_and_a_known_client_does() {
        let (tuning, settings) = (Tuning::new(), Settings::default());
        let choose = |start: &mut Start| choose(&tuning, &settings, start);
        let mut stranger = Start { expected: Expected::default(), ..known(0) };
        assert!(choose(&mut stranger).is_none() && stranger.expected == Expected::default());
        let mut client = Start { carrier: Carrier::Tls, ..known(1_000_000) };
        let trial = choose(&mut client).unwrap();
        assert!(client.expected.ceiling.is_some_and(|ceiling| ceiling <= settings.max_step));
        assert_eq!(trial.choice.congestion(), None, "this machine's settings offer no BBR");
        let over_tls = Start { carrier: Carrier::Tls, ..known(1_000_000) };
        let mut small = Start { size: Some(64 << 10), ..over_tls };
        assert!(choose(&mut small).is_none() && small.expected == over_tls.expected);
        let mut proxied = Start { is_shared: true, ..over_tls };
        assert!(choose(&mut proxied).is_none() && proxied.expected == over_tls.expected);
    }

    #[test]
    fn who_would_not_take_the_option_takes_no_part_in_its_contest() {
        let tuning = Tuning::new();
        let settings = Settings { bbr: true, ..Settings::default() };
        let tries_bbr = |settings: &Settings, expected: Expected| {
            (0..2000).any(|_| {
                let mut start = Start { inherited: Some(Congestion::Cubic), ..known(1_000_000) };
                start.expected = Expected { rate: start.expected.rate, ..expected };
                let trial = choose(&tuning, settings, &mut start);
                let tries = trial.is_some_and(|trial| trial.choice.congestion().is_some());
                assert_eq!(start.expected.is_bbr_tried, tries, "nothing is known to be better yet");
                tries
            })
        };
        let nothing = Expected::default();
        assert!(tries_bbr(&settings, nothing), "one of which nothing is known explores");
        for is_bbr_better in [Some(true), Some(false)] {
            assert!(!tries_bbr(&settings, Expected { is_bbr_better, ..nothing }));
        }
        assert!(!tries_bbr(&Settings { foresees: false, ..settings }, nothing));
        let over = |rtt, loss| Expected { min_rtt: Some(Duration::from_millis(rtt)), loss: Some(loss), ..nothing };
        assert!(!tries_bbr(&settings, over(40, 0.0)) && !tries_bbr(&settings, over(300, 0.0)), "their paths are clean");
        assert!(!tries_bbr(&settings, over(40, 0.0002)) && tries_bbr(&settings, over(300, 0.0002)));
        assert!(tries_bbr(&settings, over(40, 0.0005)), "neither clean nor lossy");
        assert!(!tries_bbr(&settings, over(40, 0.002)), "it begins with BBR anyway");
    }

    #[test]
    fn steps_are_tried_where_they_carry_the_bytes() {
        let tuning = Tuning::new();
        let tries = |settings: &Settings, start: Start| {
            let mut start = start;
            let trial = choose(&tuning, settings, &mut start);
            assert_eq!(trial.is_some(), start.expected.ceiling.is_some(), "there is nothing else to try");
            trial.is_some()
        };
        let settings = Settings::default();
        let large = Start { size: Some(1 << 30), direction: Direction::Upload, ..known(1_000_000) };
        assert!(!tries(&settings, known(1_000_000)), "sendfile");
        assert!(!tries(&settings, large), "splice");
        assert!(tries(&settings, Start { carrier: Carrier::H2, ..known(1_000_000) }));
        let over_tls = Start { carrier: Carrier::Tls, ..large };
        assert!(tries(&settings, over_tls));
        let through_memory = Settings { zero_copy: false, ..settings };
        assert!(tries(&through_memory, known(1_000_000)) && tries(&through_memory, large));
        assert!(!tries(&Settings { levers: Levers::NONE, ..settings }, over_tls));
        assert!(tries(&Settings { foresees: false, ..settings }, over_tls), "that is about congestion control");
    }

    #[test]
    fn four_per_cent_try_something_else_of_each_question_and_nobody_where_nothing_is_learnt() {
        let tuning = Tuning::new();
        let settings = Settings { bbr: true, ..Settings::default() };
        for (learning, expected) in [(true, 300..500), (false, 0..1)] {
            let config = PaceConfig { settings, learning, ..PaceConfig::default() };
            let mut tried = [0; 2];
            for _ in 0..10_000 {
                let mut start = Start { carrier: Carrier::Tls, ..known(1_000_000) };
                let choice = tuning.choose(&config, Guess::default(), &mut start).unwrap().choice;
                tried[0] += u32::from(choice.ceiling(settings.max_step) != Some(settings.max_step));
                tried[1] += u32::from(choice.congestion().is_some());
            }
            assert!(tried.iter().all(|count| expected.contains(count)), "{tried:?} of 10,000");
        }
    }

    #[test]
    fn a_gain_is_said_once_the_standard_path_is_known() {
        let tuning = Tuning::new();
        let gain = |rate| tuning.gain(Quality::Good, &lesson(rate));
        assert_eq!(gain(3_000_000), None);
        for _ in 0..20 {
            tuning.note_standard(Quality::Good, &lesson(1_500_000), 100);
        }
        assert!(gain(3_000_000).is_some_and(|gain| (1.9..2.1).contains(&gain)));
        assert_eq!(gain(300_000), None, "another size");
    }
}
