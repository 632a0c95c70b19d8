//! [`Estimate`]: what the observations of one transfer say about its path.

use std::time::Duration;

use super::{Observation, PathSample, Snapshot};

/// Segments below which a share of lost ones means nothing.
const ENOUGH_SEGMENTS: f64 = 50.0;
/// Segments that the estimate of loss remembers: a path that heals shows so within about this many.
const MEMORY: f64 = 2_000.0;
/// The first round trips say nothing about their variation: the kernel starts with half the round trip.
const SETTLED: u32 = 4;

/// Moving figures of one transfer.
#[derive(Clone, Debug)]
pub(super) struct Estimate {
    gain: f64,
    now: Duration,
    last_moved: Duration,
    longest_gap: Duration,
    /// Bytes per second that the application saw move.
    rate: Option<f64>,
    min_rtt: Option<Duration>,
    segments: f64,
    lost: f64,
    samples: u32,
    last: Option<PathSample>,
}

impl Estimate {
    pub(super) fn new(gain: f64) -> Self {
        Self {
            gain: gain.clamp(0.01, 1.0),
            now: Duration::ZERO,
            last_moved: Duration::ZERO,
            longest_gap: Duration::ZERO,
            rate: None,
            min_rtt: None,
            segments: 0.0,
            lost: 0.0,
            samples: 0,
            last: None,
        }
    }

    pub(super) fn observe(&mut self, seen: &Observation) {
        // A clock that stands or runs backwards teaches nothing about rates.
        let elapsed = seen.now.saturating_sub(self.now);
        self.now = self.now.max(seen.now);
        if seen.moved > 0 {
            self.longest_gap = self.longest_gap.max(self.now.saturating_sub(self.last_moved));
            self.last_moved = self.now;
        }
        if !elapsed.is_zero() {
            self.note_rate(seen.moved as f64 / elapsed.as_secs_f64(), elapsed, seen.is_app_limited);
        }
        if let Some(path) = seen.path {
            self.note_path(path);
        }
    }

    /// A transfer that waits for us shows less than the path carries: it can raise the figure, never lower it.
    /// The weight of a figure grows with the time that it covers: one over 250 ms has the configured gain.
    fn note_rate(&mut self, rate: f64, covered: Duration, is_app_limited: bool) {
        let weight = 1.0 - (1.0 - self.gain).powf(covered.as_secs_f64() / 0.25);
        self.rate = Some(match self.rate {
            Some(known) if is_app_limited && rate < known => known,
            Some(known) => known + weight * (rate - known),
            None => rate,
        });
    }

    fn note_path(&mut self, path: PathSample) {
        self.samples = self.samples.saturating_add(1);
        if let Some(rtt) = path.min_rtt {
            self.min_rtt = Some(self.min_rtt.map_or(rtt, |known| known.min(rtt)));
        }
        if let Some(before) = self.last {
            // Counters run from the start of the connection; what another transfer did on it is not ours to judge, so
            // the first sample is only a base.
            let sent = since(before.segments_out, path.segments_out);
            let again = path.retransmits.saturating_sub(before.retransmits) as f64;
            let spurious = since(before.spurious.map(u64::from), path.spurious.map(u64::from));
            self.segments += sent;
            self.lost += (again - spurious).max(0.0).min(sent);
            if self.segments > MEMORY {
                let keep = MEMORY / self.segments;
                self.segments *= keep;
                self.lost *= keep;
            }
        }
        self.last = Some(path);
    }

    /// Bytes per second, recent.
    pub(super) fn rate(&self) -> Option<u64> {
        self.rate.map(|rate| rate as u64)
    }

    /// Shortest round trip.
    pub(super) fn min_rtt(&self) -> Option<Duration> {
        self.min_rtt
    }

    /// Share of the segments that were lost, once there are enough of them.
    pub(super) fn loss(&self) -> Option<f64> {
        (self.segments >= ENOUGH_SEGMENTS).then(|| self.lost / self.segments)
    }

    /// Smoothed round trip over the shortest one: above 1.5 a queue stands on the path.
    pub(super) fn inflation(&self) -> Option<f64> {
        let (last, shortest) = (self.last?, self.min_rtt?);
        (!shortest.is_zero()).then(|| last.rtt.as_secs_f64() / shortest.as_secs_f64())
    }

    /// Bytes per second that the path carries: what the kernel saw delivered, where nothing held it back.
    pub(super) fn carried(&self) -> Option<u64> {
        self.last.and_then(|last| last.delivery_rate.filter(|_| !last.is_rate_app_limited)).max(self.rate())
    }

    /// Bytes that are under way when the path is full.
    pub(super) fn bandwidth_delay(&self) -> Option<u64> {
        let (carried, rtt) = (self.carried()?, self.min_rtt?);
        Some((carried as f64 * rtt.as_secs_f64()).min(u64::MAX as f64) as u64)
    }

    /// The kernel's retransmission time-out (RFC 6298), as far as its parts are known.
    pub(super) fn retransmission_timeout(&self) -> Option<Duration> {
        let last = self.last?;
        Some((last.rtt.saturating_add(last.rtt_var.saturating_mul(4))).max(Duration::from_millis(200)))
    }

    /// The longest time in which nothing moved and that ended well.
    pub(super) fn longest_gap(&self) -> Duration {
        self.longest_gap
    }

    pub(super) fn now(&self) -> Duration {
        self.now
    }

    pub(super) fn samples(&self) -> u32 {
        self.samples
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let last = self.last;
        Snapshot {
            rate: self.rate(),
            min_rtt: self.min_rtt,
            rtt: last.map(|last| last.rtt),
            jitter: last.filter(|_| self.samples >= SETTLED).map(|last| last.rtt_var),
            loss: self.loss(),
            samples: self.samples,
            last,
        }
    }
}

/// How far a counter came; nothing when it is missing or ran backwards.
fn since(before: Option<u64>, now: Option<u64>) -> f64 {
    match (before, now) {
        (Some(before), Some(now)) => now.saturating_sub(before) as f64,
        _ => 0.0,
    }
}
