//! [`Quality`]: how good a path is, by the operator's thresholds.

use std::time::Duration;

use crate::pace::Snapshot;

/// How good the path to a client is.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Quality {
    /// Not measured, or below every threshold.
    #[default]
    Unknown,
    /// `poor` of the configuration, and whatever is worse.
    Poor,
    /// `fair` of the configuration.
    Fair,
    /// `good` of the configuration.
    Good,
    /// `excellent` of the configuration.
    Excellent,
}

impl Quality {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Unknown, Self::Poor, Self::Fair, Self::Good, Self::Excellent];

    /// As it is written in logs, labels and the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Poor => "poor",
            Self::Fair => "fair",
            Self::Good => "good",
            Self::Excellent => "excellent",
        }
    }
}

/// Where one quality begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Threshold {
    /// Bytes per second, at least.
    pub min_rate: u64,
    /// Round trip, at most.
    pub max_rtt: Duration,
}

/// `[streaming] quality_thresholds`, best first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Thresholds([Threshold; 4]);

/// Thresholds that contradict each other.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{better}` must ask for a higher rate and a shorter latency than `{worse}`")]
pub struct InvalidThresholds {
    better: &'static str,
    worse: &'static str,
}

const NAMED: [Quality; 4] = [Quality::Excellent, Quality::Good, Quality::Fair, Quality::Poor];

impl Default for Thresholds {
    /// 10 MB/s and 50 ms; 1 MB/s and 200 ms; 100 KB/s and 500 ms; 10 KB/s and 2 s.
    fn default() -> Self {
        let threshold = |min_rate, millis| Threshold { min_rate, max_rtt: Duration::from_millis(millis) };
        Self([threshold(10 << 20, 50), threshold(1 << 20, 200), threshold(100 << 10, 500), threshold(10 << 10, 2000)])
    }
}

impl Thresholds {
    /// Excellent, good, fair, poor.
    ///
    /// # Errors
    /// A better quality must ask for more than a worse one.
    pub fn new(best_first: [Threshold; 4]) -> Result<Self, InvalidThresholds> {
        for (pair, names) in best_first.windows(2).zip(NAMED.windows(2)) {
            if pair[0].min_rate < pair[1].min_rate || pair[0].max_rtt > pair[1].max_rtt {
                return Err(InvalidThresholds { better: names[0].as_str(), worse: names[1].as_str() });
            }
        }
        Ok(Self(best_first))
    }

    /// The quality of a path that moves `rate` bytes per second at a round trip of `rtt`. What is not known does not
    /// count; of nothing, nothing is known. Below the last threshold it is poor.
    #[must_use]
    pub fn quality(&self, rate: Option<u64>, rtt: Option<Duration>) -> Quality {
        if rate.is_none() && rtt.is_none() {
            return Quality::Unknown;
        }
        let reaches = |threshold: &Threshold| {
            rate.is_none_or(|rate| rate >= threshold.min_rate) && rtt.is_none_or(|rtt| rtt <= threshold.max_rtt)
        };
        self.0.iter().zip(NAMED).find(|(threshold, _)| reaches(threshold)).map_or(Quality::Poor, |(_, quality)| quality)
    }
}

/// `[network_resilience]`: figures from which on a path is no better than fair, or poor, whatever its rate.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Alarms {
    /// `rtt_warning_threshold`, `packet_loss_warning`: no better than fair.
    pub warning: Alarm,
    /// `rtt_critical_threshold`, `packet_loss_critical`: poor.
    pub critical: Alarm,
    /// `stability_minimum`: poor, where the round trip varies by more than one minus this.
    pub stability: Option<f64>,
}

/// What one level of alarm looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Alarm {
    /// Round trip.
    pub rtt: Option<Duration>,
    /// Share of lost segments, 0 to 1.
    pub loss: Option<f64>,
}

impl Alarm {
    fn is_raised(&self, rtt: Option<Duration>, loss: Option<f64>) -> bool {
        let is_long = self.rtt.zip(rtt).is_some_and(|(limit, rtt)| rtt >= limit);
        is_long || self.loss.zip(loss).is_some_and(|(limit, loss)| loss >= limit)
    }
}

impl Alarms {
    /// What is left of `quality` on a path with these figures.
    #[must_use]
    pub fn cap(&self, quality: Quality, seen: &Snapshot) -> Quality {
        let rtt = seen.rtt.or(seen.min_rtt);
        let varies = seen.jitter.zip(rtt).map(|(jitter, rtt)| jitter.as_secs_f64() / rtt.as_secs_f64().max(1e-6));
        let is_unstable = self.stability.zip(varies).is_some_and(|(least, varies)| 1.0 - varies < least);
        let most = if is_unstable || self.critical.is_raised(rtt, seen.loss) {
            Quality::Poor
        } else if self.warning.is_raised(rtt, seen.loss) {
            Quality::Fair
        } else {
            return quality;
        };
        if quality == Quality::Unknown { most } else { quality.min(most) }
    }
}
