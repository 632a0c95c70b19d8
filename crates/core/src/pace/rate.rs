//! [`Rate`]: how fast something moves, from what moved between looks.

use std::time::Duration;

/// The span over which a new rate has the configured weight.
const SPAN: Duration = Duration::from_millis(250);

/// Bytes over time, both fading: what moved in a burst counts for as long as it took and no longer.
#[derive(Clone, Debug)]
pub(super) struct Rate {
    /// Share of its weight that a figure keeps over [`SPAN`].
    kept: f64,
    bytes: f64,
    seconds: f64,
}

impl Rate {
    /// A figure that covers [`SPAN`] has the weight `gain` against all that came before.
    pub(super) fn new(gain: f64) -> Self {
        Self { kept: 1.0 - gain.clamp(0.01, 0.99), bytes: 0.0, seconds: 0.0 }
    }

    /// Notes that so many bytes moved in so much time; `is_app_limited`: they might have moved faster.
    pub(super) fn observe(&mut self, moved: u64, elapsed: Duration, is_app_limited: bool) {
        if elapsed.is_zero() {
            self.bytes += moved as f64;
            return;
        }
        let seconds = elapsed.as_secs_f64();
        // A transfer that waits for us shows less than the path carries: it can raise the figure, never lower it.
        if is_app_limited && self.value().is_some_and(|known| (moved as f64) < known as f64 * seconds) {
            return;
        }
        // Most transfers are seen once, at their end: nothing came before.
        if self.seconds + self.bytes > 0.0 {
            let keep = self.kept.powf(seconds / SPAN.as_secs_f64());
            (self.bytes, self.seconds) = (self.bytes * keep, self.seconds * keep);
        }
        self.bytes += moved as f64;
        self.seconds += seconds;
    }

    /// Nothing is known any more.
    pub(super) fn forget(&mut self) {
        (self.bytes, self.seconds) = (0.0, 0.0);
    }

    /// Bytes per second; `None` until some time has passed.
    pub(super) fn value(&self) -> Option<u64> {
        (self.seconds > 0.0).then(|| (self.bytes / self.seconds) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_burst_into_the_socket_is_no_rate() {
        let mut rate = Rate::new(0.2);
        rate.observe(1 << 20, Duration::from_millis(1), false);
        for _ in 0..12 {
            rate.observe(25_000, Duration::from_millis(250), false);
        }
        let value = rate.value().unwrap();
        assert!((100_000..200_000).contains(&value), "{value}: 100 KB/s for three seconds");
    }

    #[test]
    fn a_rate_follows_within_a_few_seconds() {
        let mut rate = Rate::new(0.2);
        for _ in 0..40 {
            rate.observe(250_000, Duration::from_millis(250), false);
        }
        for _ in 0..20 {
            rate.observe(25_000, Duration::from_millis(250), false);
        }
        let value = rate.value().unwrap();
        assert!((100_000..120_000).contains(&value), "{value}");
    }
}
