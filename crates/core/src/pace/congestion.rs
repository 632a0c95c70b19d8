//! [`Chooser`]: the congestion control of one download.
//!
//! By far the strongest lever on a path that loses packets without being full: cubic takes every loss for congestion and
//! falls to a few per cent of the path, BBR does not (`docs/benchmarks/` has our figures; Cardwell et al. 2016). On
//! clean short paths the two are equal, and what the host has chosen stays.
//!
//! Only what is lost while no queue stands, nor has just stood, speaks for BBR. A change because of it is a trial all the
//! same: a policed path is full without a queue, and then BBR is no faster. What does not help is taken back.

use std::time::Duration;

use super::estimate::Estimate;
use super::{Congestion, Expected};

/// Loss from which a path that is certainly not full is lossy: at 0.2 % cubic reaches a fifth of such a path.
const LOSSY: f64 = 0.001;
/// Loss from which a path is worth a trial although its round trip is not at its shortest ...
const VERY_LOSSY: f64 = 0.01;
/// ... but below this multiple of it.
const QUEUED: f64 = 1.5;
/// Loss below which a path is clean again.
const CLEAN: f64 = 0.0003;
/// A round trip on which recovering from one loss takes seconds ...
const LONG: Duration = Duration::from_millis(150);
/// ... where this much is under way. With less, cubic recovers as well, and the start of BBR, which sends nearly three
/// times what the path carries until it knows better, loses more than it gains: 10 Mbit/s, 300 ms and a queue of 100 ms,
/// 9 s each, 7.6 Mbit/s either way, but 11 to 17 % sent again instead of 2 %.
const MUCH: u64 = 1 << 20;
/// A trial is judged after this time ...
const TRIAL: Duration = Duration::from_secs(8);
/// ... by the growth of the rate that losses must have held back.
const GAIN: f64 = 1.1;
/// A trial that failed is not repeated within this time.
const REST: Duration = Duration::from_secs(60);
/// A choice is kept for at least this long ...
const DWELL: Duration = Duration::from_secs(20);
/// ... and a transfer changes its mind at most this often.
const MOST_CHANGES: u32 = 4;

/// What is chosen, and why.
#[derive(Clone, Debug)]
pub(super) struct Chooser {
    chosen: Option<Congestion>,
    since: Duration,
    changes: u32,
    /// Bytes per second before the trial that runs.
    trial: Option<u64>,
    rests_until: Duration,
}

/// A change of mind.
pub(super) struct Change {
    pub(super) to: Option<Congestion>,
    pub(super) because: String,
}

impl Chooser {
    /// Starts from what earlier transfers taught.
    pub(super) fn new(expected: &Expected) -> Self {
        let is_lossy = expected.loss.is_some_and(|loss| loss > LOSSY);
        let under_way = expected.rate.zip(expected.min_rtt).map(|(rate, rtt)| (rate as f64 * rtt.as_secs_f64()) as u64);
        let is_long = expected.min_rtt.is_some_and(|rtt| rtt > LONG) && under_way.is_some_and(|bytes| bytes >= MUCH);
        // What served a client better is known better than what should.
        let begins_with_bbr = expected.is_bbr_better.unwrap_or(is_lossy || is_long);
        Self {
            chosen: begins_with_bbr.then_some(Congestion::Bbr),
            since: Duration::ZERO,
            changes: 0,
            trial: None,
            rests_until: Duration::ZERO,
        }
    }

    /// Why it begins with BBR, where it does.
    pub(super) fn why_first(expected: &Expected) -> String {
        let figure = match (expected.is_bbr_better, expected.loss, expected.min_rtt) {
            (Some(true), _, _) => "it was faster with such clients".to_owned(),
            (_, Some(loss), _) if loss > LOSSY => format!("{:.2} % were lost", loss * 100.0),
            (_, _, rtt) => format!("the shortest round trip was {} ms", rtt.unwrap_or_default().as_millis()),
        };
        format!("earlier transfers: {figure}")
    }

    /// What to set; `None` leaves the connection as the host made it.
    pub(super) fn chosen(&self) -> Option<Congestion> {
        self.chosen
    }

    /// Looks again.
    pub(super) fn reconsider(&mut self, estimate: &Estimate) -> Option<Change> {
        let now = estimate.now();
        if let Some(before) = self.trial {
            return self.judge(before, estimate);
        }
        let held = now.saturating_sub(self.since);
        if self.changes >= MOST_CHANGES || (self.changes > 0 && held < DWELL) {
            return None;
        }
        match self.chosen {
            None => {
                let (because, is_trial) = self.why_bbr(estimate)?;
                self.trial = estimate.rate().filter(|_| is_trial);
                Some(self.change(now, Some(Congestion::Bbr), because))
            }
            Some(_) => {
                let loss = estimate.unqueued_loss().filter(|&loss| loss < CLEAN && held >= DWELL)?;
                // Half: a rate that varies must not make the choice flap.
                let is_short = !is_long(estimate, MUCH / 2);
                let because = format!("{:.2} % lost in the last {} s", loss * 100.0, held.as_secs());
                is_short.then(|| self.change(now, None, because))
            }
        }
    }

    /// What speaks for BBR, and whether it has to show that it helps.
    fn why_bbr(&self, estimate: &Estimate) -> Option<(String, bool)> {
        let floor = estimate.floor()?;
        if is_long(estimate, MUCH) {
            let under_way = estimate.delivered_per_round_trip().unwrap_or(0);
            let figures = format!("the shortest round trip is {} ms, {under_way} B are under way", floor.as_millis());
            return Some((figures, false));
        }
        let (loss, inflation) = (estimate.unqueued_loss()?, estimate.inflation()?);
        let is_lossy = loss > LOSSY && estimate.is_clear() || loss > VERY_LOSSY && inflation < QUEUED;
        if !is_lossy || !estimate.losses().is_steady() || estimate.now() < self.rests_until {
            return None;
        }
        let queue = estimate.queue()?.as_micros() as f64 / 1e3;
        Some((format!("{:.2} % lost while only {queue:.1} ms of queue stand: not congestion", loss * 100.0), true))
    }

    /// A full path gives BBR no more than it gave before.
    fn judge(&mut self, before: u64, estimate: &Estimate) -> Option<Change> {
        let now = estimate.now();
        if now.saturating_sub(self.since) < TRIAL {
            return None;
        }
        self.trial = None;
        let rate = estimate.rate().unwrap_or(0);
        if rate as f64 >= GAIN * before as f64 {
            return None;
        }
        self.rests_until = now.saturating_add(REST);
        Some(self.change(now, None, format!("no faster: {before} B/s before, {rate} B/s after")))
    }

    fn change(&mut self, now: Duration, to: Option<Congestion>, because: String) -> Change {
        self.chosen = to;
        self.since = now;
        self.changes += 1;
        Change { to, because }
    }
}

/// Whether recovering takes long and at least `much` is under way.
fn is_long(estimate: &Estimate, much: u64) -> bool {
    // Both round trips, since one of them may still remember another path.
    let exceeds = |rtt: Option<Duration>| rtt.is_some_and(|rtt| rtt > LONG);
    let is_far = exceeds(estimate.floor()) && exceeds(estimate.min_rtt());
    is_far && estimate.delivered_per_round_trip().is_some_and(|bytes| bytes >= much)
}
