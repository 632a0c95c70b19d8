//! [`Chooser`]: the congestion control of one download.
//!
//! By far the strongest lever on a path that loses packets without being full: cubic takes every loss for congestion and
//! falls to a few per cent of the path, BBR does not (`docs/benchmarks/` has our figures; Cardwell et al. 2016). On
//! clean paths the two are equally fast, and what the host has chosen stays, also where the round trip is long: there
//! BBR overruns a short queue for as long as it lives (100 Mbit/s, 300 ms and a queue of 100 ms, 30 s each: no faster,
//! but 6 to 14 % sent again instead of 1.3 %). What a long round trip changes is how much loss is too much for cubic. So a
//! host that is on BBR stays there, too: no plan asks for cubic.
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
/// Loss of the last half minute or so below which a path is clean again.
const CLEAN: f64 = 0.0003;
/// A round trip on which cubic takes seconds to recover from one loss ...
const LONG: Duration = Duration::from_millis(150);
/// ... and so many times less loss is too much: at 0.03 % and 300 ms it reaches 7 Mbit/s, whatever the path carries (RFC
/// 9438, 5.1).
const SHARE_OF_LONG: f64 = 0.3;
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
        let bounds = Bounds::over(expected.min_rtt);
        let is_lossy = expected.loss.is_some_and(|loss| loss > bounds.lossy);
        // What served a client better is known better than what should.
        let begins_with_bbr = expected.is_bbr_better.unwrap_or(is_lossy);
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
        match expected.is_bbr_better {
            Some(true) => "earlier transfers: it was faster with such clients".to_owned(),
            _ => format!("earlier transfers: {:.2} % were lost", expected.loss.unwrap_or(0.0) * 100.0),
        }
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
                let because = self.why_bbr(estimate)?;
                self.trial = estimate.rate();
                Some(self.change(now, Some(Congestion::Bbr), because))
            }
            Some(_) => {
                let clean = Bounds::of(estimate).clean;
                let loss = estimate.lasting_loss().filter(|&loss| loss < clean && held >= DWELL)?;
                let because = format!("{:.2} % lost in the last {} s", loss * 100.0, held.as_secs());
                Some(self.change(now, None, because))
            }
        }
    }

    /// What speaks for BBR.
    fn why_bbr(&self, estimate: &Estimate) -> Option<String> {
        let bounds = Bounds::of(estimate);
        let (loss, inflation) = (estimate.unqueued_loss()?, estimate.inflation()?);
        let is_lossy = loss > bounds.lossy && estimate.is_clear() || loss > VERY_LOSSY && inflation < QUEUED;
        let losses = estimate.losses()?;
        let is_known = losses.is_steady() || bounds.is_long && losses.is_repeated();
        if !is_lossy || !is_known || estimate.now() < self.rests_until {
            return None;
        }
        let queue = estimate.queue()?.as_micros() as f64 / 1e3;
        Some(format!("{:.2} % lost while only {queue:.1} ms of queue stand: not congestion", loss * 100.0))
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

/// Which loss is too much for cubic, and which is little enough again.
struct Bounds {
    lossy: f64,
    clean: f64,
    /// Cubic sends so little there that three losses may take minutes.
    is_long: bool,
}

impl Bounds {
    fn over(rtt: Option<Duration>) -> Self {
        let is_long = rtt.is_some_and(|rtt| rtt > LONG);
        let share = if is_long { SHARE_OF_LONG } else { 1.0 };
        Self { lossy: share * LOSSY, clean: share * CLEAN, is_long }
    }

    /// By the shorter one of both round trips, since one of them may still remember another path.
    fn of(estimate: &Estimate) -> Self {
        Self::over(estimate.floor().zip(estimate.min_rtt()).map(|(floor, rtt)| floor.min(rtt)))
    }
}
