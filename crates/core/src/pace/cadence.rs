//! [`Cadence`]: how often the path of a running transfer is looked at.
//!
//! Often while the path is new, while it is not clear what losses mean, while a change of ours has to be watched, and
//! when the path has become worse; rarely while nothing changes, or while a slow reader keeps a change from its verdict.

use std::time::Duration;

use super::Settings;
use super::estimate::Estimate;
use super::losses::Losses;

/// The first sample comes this soon: a short transfer teaches something, too.
pub(super) const FIRST: Duration = Duration::from_millis(10);
/// The next ones come at twice the time each, until they are this far apart ...
pub(super) const CLOSE: Duration = Duration::from_millis(250);
/// ... and stay so until it is known what the path is like.
const EARLY: Duration = Duration::from_secs(10);

/// Between which times samples are taken once a path is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Detection {
    /// `[network_resilience] detection_interval`: after a change for the worse.
    pub fast: Duration,
    /// `[network_resilience] max_detection_interval`: when nothing has changed for long.
    pub slow: Duration,
}

/// What the path was like when it was last found to have changed.
#[derive(Clone, Debug)]
pub(super) struct Cadence {
    every: Duration,
    rate: Option<u64>,
    rtt: Option<Duration>,
}

impl Cadence {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { every: settings.sample_every, rate: None, rtt: None }
    }

    /// Time until the next sample, when one has just been taken; at most `watched`, where the path is to be watched.
    pub(super) fn next(&mut self, settings: &Settings, estimate: &Estimate, watched: Option<Duration>) -> Duration {
        let now = estimate.now();
        let is_suspicious = || estimate.losses().is_some_and(Losses::is_suspicious);
        let is_open = now < EARLY || watched.is_none() && is_suspicious();
        if let Some(most) = if is_open { Some(CLOSE) } else { watched } {
            self.keep(estimate);
            return now.clamp(FIRST, most).min(settings.sample_every);
        }
        let Some(Detection { fast, slow }) = settings.detection else { return settings.sample_every };
        self.every = if self.is_worse(settings.degraded, estimate) {
            self.keep(estimate);
            fast.min(settings.sample_every)
        } else {
            (self.every * 2).min(slow.max(settings.sample_every))
        };
        self.every
    }

    /// Whether the rate fell by that share, or the round trip rose as much.
    fn is_worse(&self, share: f64, estimate: &Estimate) -> bool {
        let left = 1.0 - share;
        let is_slower = self.rate.zip(estimate.rate()).is_some_and(|(then, now)| (now as f64) < left * then as f64);
        let is_longer =
            self.rtt.zip(estimate.rtt()).is_some_and(|(then, now)| now.as_secs_f64() * left > then.as_secs_f64());
        is_slower || is_longer
    }

    fn keep(&mut self, estimate: &Estimate) {
        (self.rate, self.rtt) = (estimate.rate(), estimate.rtt());
    }
}
