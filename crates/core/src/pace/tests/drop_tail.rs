//! A link that loses only what its full queue drops, with cubic's sawtooth on it: full at the loss, empty after it.

use std::time::Duration;

use super::link::ms;
use super::{congestion_changes, controller, download, settings};
use crate::Timestamp;
use crate::pace::{Arm, Congestion, Controller, Direction, Expected, Observation, PathSample, Start};
use crate::profile::{Guess, Lesson, Profile, Vantage};

const MSS: f64 = 1448.0;
const TICK: Duration = Duration::from_millis(50);
/// Cubic (RFC 9438): what is left after a loss, and how it grows after it, segments per second cubed.
const BETA: f64 = 0.7;
const GROWTH: f64 = 0.4;

/// One cubic connection through a bottleneck with a drop-tail queue.
struct DropTail {
    /// Bytes per second.
    rate: f64,
    rtt: Duration,
    queue: Duration,
    at: Duration,
    /// Bytes.
    window: f64,
    /// The window before the last reduction, and when that was; none in slow start.
    reduced: Option<(f64, Duration)>,
    /// Bytes that the queue dropped and that the sender has not heard of, and when it will.
    dropped: f64,
    hears_at: Option<Duration>,
    /// Bytes to be sent again, and how many in each tick.
    to_resend: f64,
    resend: f64,
    sent: f64,
    resent: f64,
    sampled: Duration,
}

impl DropTail {
    /// So many bytes per second, 300 ms, and a queue of 100 ms.
    fn new(rate: f64) -> Self {
        Self {
            rate,
            rtt: ms(300),
            queue: ms(100),
            at: Duration::ZERO,
            window: 10.0 * MSS,
            reduced: None,
            dropped: 0.0,
            hears_at: None,
            to_resend: 0.0,
            resend: 0.0,
            sent: 0.0,
            resent: 0.0,
            sampled: Duration::ZERO,
        }
    }

    fn pipe(&self) -> f64 {
        self.rate * self.rtt.as_secs_f64()
    }

    fn round_trip(&self) -> Duration {
        let standing = (self.window - self.pipe()).max(0.0) / self.rate;
        self.rtt + Duration::from_secs_f64(standing).min(self.queue)
    }

    /// One tick of cubic; returns the bytes that moved.
    fn step(&mut self) -> f64 {
        self.at += TICK;
        let round_trip = self.round_trip();
        let moved = (self.window / round_trip.as_secs_f64()).min(self.rate) * TICK.as_secs_f64();
        let again = self.resend.min(self.to_resend);
        self.to_resend -= again;
        self.resent += again;
        self.sent += moved;
        if self.hears_at.is_some_and(|at| self.at >= at) {
            self.reduce(round_trip);
        } else if self.to_resend <= 0.0 {
            self.grow(moved);
        }
        moved - again
    }

    fn reduce(&mut self, round_trip: Duration) {
        self.reduced = Some((self.window, self.at));
        self.window *= BETA;
        self.to_resend = self.dropped;
        // Two round trips, since some of what is sent again is lost again.
        self.resend = self.dropped * TICK.as_secs_f64() / (2.0 * round_trip.as_secs_f64());
        (self.dropped, self.hears_at) = (0.0, None);
    }

    fn grow(&mut self, moved: f64) {
        let before = self.window;
        self.window = match self.reduced {
            None => before + moved,
            Some((most, at)) => {
                let (most, since) = (most / MSS, self.at.saturating_sub(at).as_secs_f64());
                let middle = (most * (1.0 - BETA) / GROWTH).cbrt();
                before.max(MSS * (GROWTH * (since - middle).powi(3) + most))
            }
        };
        let excess = self.window - (self.pipe() + self.rate * self.queue.as_secs_f64());
        if excess > 0.0 {
            self.dropped += excess.min(self.window - before).max(MSS);
            self.hears_at = self.hears_at.or(Some(self.at + self.round_trip()));
        }
    }

    /// Drives `controller` for `span`; returns the bytes that arrived.
    fn run(&mut self, controller: &mut dyn Controller, span: Duration) -> f64 {
        let (end, mut total) = (self.at + span, 0.0);
        while self.at < end {
            let moved = self.step();
            total += moved;
            let is_due = controller.plan().sample_after.is_some_and(|after| self.at >= self.sampled + after);
            let path = is_due.then(|| self.sample());
            let (now, moved) = (self.at, moved as u64);
            controller.observe(&Observation { now, moved, filled: Some(true), is_app_limited: false, path });
        }
        total
    }

    fn sample(&mut self) -> PathSample {
        self.sampled = self.at;
        let delivered = (self.window / self.rtt.as_secs_f64()).min(self.rate);
        PathSample {
            rtt: self.round_trip(),
            rtt_var: self.rtt / 16,
            min_rtt: Some(self.rtt),
            delivery_rate: Some(delivered as u64),
            mss: MSS as u32,
            segments_out: Some((self.sent / MSS) as u64),
            retransmits: (self.resent / MSS) as u64,
            congestion: Some(Congestion::Cubic),
            subflows: 1,
            has_moved: false,
            ..PathSample::default()
        }
    }
}

/// What a client's profile knows after downloads of these spans over such links, each begun from what it knew.
fn taught(rate: f64, spans: &[u64]) -> Profile {
    let mut profile = Profile::default();
    for span in spans {
        let expected = profile.expected(Direction::Download);
        let mut adaptive = controller(Arm::Adaptive, &settings(), &Start { expected, ..download(1 << 30) });
        let bytes = DropTail::new(rate).run(&mut *adaptive, ms(*span)) as u64;
        let lesson = Lesson {
            snapshot: adaptive.snapshot(),
            plan: adaptive.plan(),
            direction: Direction::Download,
            elapsed: ms(*span),
            bytes,
            is_whole: true,
            guess: Guess::default(),
            vantage: Vantage::Client,
            has_asked: false,
        };
        profile.learn(&lesson, 0.2, Timestamp::from_unix(1));
    }
    profile
}

fn first(expected: Expected) -> Option<Congestion> {
    controller(Arm::Adaptive, &settings(), &Start { expected, ..download(1 << 30) }).plan().congestion
}

/// 10 and 100 Mbit/s.
const RATES: [f64; 2] = [1_250_000.0, 12_500_000.0];

#[test]
fn cubic_fills_such_a_link_and_loses_by_it() {
    let mut standard = controller(Arm::Standard, &settings(), &download(1 << 30));
    let (mut link, seconds) = (DropTail::new(RATES[0]), 60.0);
    let moved = link.run(&mut *standard, Duration::from_secs_f64(seconds));
    assert!(moved > 0.9 * link.rate * seconds, "{moved}");
    assert!(link.resent / link.sent > 0.001, "{} of {}", link.resent, link.sent);
}

#[test]
fn a_queue_that_was_full_at_the_loss_and_is_empty_after_it_is_congestion() {
    for rate in RATES {
        let mut adaptive = controller(Arm::Adaptive, &settings(), &download(1 << 30));
        DropTail::new(rate).run(&mut *adaptive, ms(300_000));
        let changes = congestion_changes(&mut *adaptive);
        assert!(changes.is_empty(), "{rate}: {changes:?}");
    }
}

#[test]
fn a_client_that_was_seen_to_fill_its_path_does_not_begin_with_bbr() {
    for (rate, spans) in RATES.iter().flat_map(|rate| [(rate, [9_000; 10]), (rate, [2_000; 10]), (rate, [60_000; 10])])
    {
        let profile = taught(*rate, &spans);
        assert_eq!(first(profile.expected(Direction::Download)), None, "{rate}, {spans:?}: {profile:?}");
    }
}
