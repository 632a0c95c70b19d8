//! [`Progress`]: has a transfer stalled?
//!
//! Deadlines roll with progress; no transfer has a total time limit, so that a phone that changes network or crosses
//! a tunnel keeps its upload. Pure: the caller brings the clock. Used for both directions.

use std::time::Duration;

/// When a transfer counts as stalled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StallLimits {
    /// No byte for this long.
    pub idle: Duration,
    /// Fewer than this many bytes per second ...
    pub min_rate: u64,
    /// ... averaged over this long; no minimum when the rate is 0.
    pub window: Duration,
}

impl Default for StallLimits {
    /// 60 s without a byte, or below 256 B/s over 120 s: slower than EDGE, longer than a handover.
    fn default() -> Self {
        Self { idle: Duration::from_secs(60), min_rate: 256, window: Duration::from_secs(120) }
    }
}

/// Follows one transfer.
///
/// Each byte pays for its share of a second at the minimum rate; at most one window can be saved up, and the first
/// window is free. So a steady rate at the minimum never ends, and a burst does not buy an hour of silence.
#[derive(Clone, Debug)]
pub struct Progress {
    limits: StallLimits,
    last_byte: Duration,
    paid_until: Duration,
}

impl Progress {
    /// Starts at `now`, on any monotonic clock.
    #[must_use]
    pub fn new(limits: StallLimits, now: Duration) -> Self {
        Self { limits, last_byte: now, paid_until: now + limits.window }
    }

    /// Goes on with other limits. What was saved up stays, and a longer window is free once: limits that grow while a
    /// transfer runs never cut it earlier than the old ones would have.
    pub fn set_limits(&mut self, limits: StallLimits) {
        let longer = limits.window.saturating_sub(self.limits.window);
        self.paid_until = self.paid_until.saturating_add(longer);
        self.limits = limits;
    }

    /// Notes that `bytes` moved; none is no progress.
    pub fn moved(&mut self, now: Duration, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.last_byte = now;
        if let Some(nanos) = bytes.saturating_mul(1_000_000_000).checked_div(self.limits.min_rate) {
            let paid = self.paid_until.saturating_add(Duration::from_nanos(nanos));
            self.paid_until = paid.min(now + self.limits.window);
        }
    }

    /// The moment at which the transfer counts as stalled if nothing more moves until then.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        let idle = self.last_byte + self.limits.idle;
        if self.limits.min_rate == 0 { idle } else { idle.min(self.paid_until) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn silence_ends_after_the_idle_limit() {
        let mut progress = Progress::new(StallLimits::default(), seconds(10));
        assert_eq!(progress.deadline(), seconds(70));
        progress.moved(seconds(50), 1);
        assert_eq!(progress.deadline(), seconds(110));
    }

    #[test]
    fn a_drip_ends_after_the_window() {
        let mut progress = Progress::new(StallLimits::default(), seconds(0));
        for second in (10..130).step_by(10) {
            progress.moved(seconds(second), 10);
        }
        // 120 bytes at 256 B/s paid for half a second beyond the free window.
        assert!(progress.deadline() > seconds(120) && progress.deadline() < seconds(121));
    }

    #[test]
    fn a_burst_does_not_buy_silence() {
        let mut progress = Progress::new(StallLimits { idle: seconds(1000), ..StallLimits::default() }, seconds(0));
        progress.moved(seconds(1), 100 << 20);
        assert_eq!(progress.deadline(), seconds(121));
    }

    #[test]
    fn a_steady_slow_link_never_ends() {
        let mut progress = Progress::new(StallLimits::default(), seconds(0));
        for second in 1..10_000 {
            progress.moved(seconds(second), 300);
            assert!(progress.deadline() > seconds(second), "cut after {second} s");
        }
    }

    #[test]
    fn longer_limits_count_from_where_the_transfer_is() {
        let mut progress = Progress::new(StallLimits::default(), seconds(0));
        progress.moved(seconds(50), 10);
        let limits = StallLimits { idle: seconds(300), min_rate: 256, window: seconds(600) };
        progress.set_limits(limits);
        assert_eq!(progress.deadline(), seconds(350));
        progress.set_limits(limits);
        assert_eq!(progress.deadline(), seconds(350), "the same limits give nothing more");
    }

    proptest! {
        #[test]
        fn a_gap_below_both_limits_never_ends_a_fast_transfer(gaps in prop::collection::vec(1u64..60, 1..200)) {
            let mut now = 0;
            let mut progress = Progress::new(StallLimits::default(), seconds(0));
            for gap in gaps {
                now += gap;
                prop_assert!(progress.deadline() >= seconds(now));
                progress.moved(seconds(now), 256 * 60);
            }
        }
    }
}
