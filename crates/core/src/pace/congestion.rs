//! [`Chooser`]: the congestion control of one download.
//!
//! By far the strongest lever on a path that loses packets without being full: cubic takes every loss for congestion and
//! falls to a few per cent of the path, BBR does not (`docs/benchmarks/` has our figures; Cardwell et al. 2016). On
//! clean short paths the two are equal, and what the host has chosen stays.

use std::time::Duration;

use super::estimate::Estimate;
use super::{Congestion, Expected, Settings};

/// Loss above which a path that has no queue is lossy, not congested.
const LOSSY: f64 = 0.003;
/// Loss below which a path is clean again.
const CLEAN: f64 = 0.001;
/// Round trip over the shortest one, below which no queue stands.
const NO_QUEUE: f64 = 1.5;
/// A round trip on which recovering from one loss takes seconds.
const LONG: Duration = Duration::from_millis(150);
/// A choice is kept for at least this long ...
const DWELL: Duration = Duration::from_secs(20);
/// ... and a transfer changes its mind at most this often.
const MOST_CHANGES: u32 = 4;

/// What is chosen, and why.
#[derive(Clone, Debug)]
pub(super) struct Chooser {
    /// What the connection has if nobody chooses.
    inherited: Option<Congestion>,
    has_bbr: bool,
    chosen: Option<Congestion>,
    since: Duration,
    changes: u32,
    is_expected_lossy: bool,
}

/// A change of mind.
pub(super) struct Change {
    pub(super) to: Option<Congestion>,
    pub(super) because: String,
}

impl Chooser {
    /// Starts from what earlier transfers taught.
    pub(super) fn new(settings: &Settings, expected: &Expected) -> Self {
        let is_lossy = expected.loss.is_some_and(|loss| loss > LOSSY);
        let is_long = expected.min_rtt.is_some_and(|rtt| rtt > LONG);
        let mut chooser = Self {
            inherited: settings.inherited,
            has_bbr: settings.available.contains(Congestion::Bbr),
            chosen: None,
            since: Duration::ZERO,
            changes: 0,
            is_expected_lossy: is_lossy || is_long || expected.congestion == Some(Congestion::Bbr),
        };
        if chooser.is_expected_lossy && chooser.can_bbr() {
            chooser.chosen = Some(Congestion::Bbr);
        }
        chooser
    }

    /// What to set; `None` leaves the connection as the host made it.
    pub(super) fn chosen(&self) -> Option<Congestion> {
        self.chosen
    }

    /// Looks again.
    pub(super) fn reconsider(&mut self, estimate: &Estimate) -> Option<Change> {
        let held = estimate.now().saturating_sub(self.since);
        if self.changes >= MOST_CHANGES || (self.changes > 0 && held < DWELL) {
            return None;
        }
        let loss = estimate.loss().unwrap_or(0.0);
        let shortest = estimate.min_rtt().unwrap_or(Duration::ZERO);
        let inflation = estimate.inflation().unwrap_or(1.0);
        match self.chosen {
            None if loss > LOSSY && inflation < NO_QUEUE => self.change(estimate, Some(Congestion::Bbr), || {
                format!(
                    "{:.2} % lost while the round trip is {inflation:.2} of its shortest: not congestion",
                    loss * 100.0
                )
            }),
            None if shortest > LONG => self.change(estimate, Some(Congestion::Bbr), || {
                format!("the shortest round trip is {} ms", shortest.as_millis())
            }),
            // What the profile said is believed for as long as a change is.
            Some(_) if estimate.loss().is_some_and(|loss| loss < CLEAN) && shortest < LONG && held >= DWELL => {
                self.change(estimate, None, || format!("{:.2} % lost in the last {} s", loss * 100.0, held.as_secs()))
            }
            _ => None,
        }
    }

    fn change(
        &mut self,
        estimate: &Estimate,
        to: Option<Congestion>,
        because: impl FnOnce() -> String,
    ) -> Option<Change> {
        if to == Some(Congestion::Bbr) && !self.can_bbr() {
            return None;
        }
        self.chosen = to;
        self.since = estimate.now();
        self.changes += 1;
        Some(Change { to, because: because() })
    }

    fn can_bbr(&self) -> bool {
        self.has_bbr && self.inherited != Some(Congestion::Bbr)
    }
}
