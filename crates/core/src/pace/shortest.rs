//! [`Shortest`]: the shortest round trip of the last half minute.
//!
//! The kernel's own minimum reaches back five minutes: after a handover to a longer path it would make that path look
//! as if a queue stood on it all that time.

use std::time::Duration;

use super::PathSample;

/// A value is forgotten after one to two of these.
const HALF: Duration = Duration::from_secs(15);

/// A minimum over a sliding window, in two halves: no list of values to keep.
#[derive(Clone, Debug, Default)]
pub(super) struct Shortest {
    current: Option<Duration>,
    previous: Option<Duration>,
    since: Duration,
    /// What the kernel said last: it counts when it is news.
    kernel: Option<Duration>,
}

impl Shortest {
    pub(super) fn observe(&mut self, now: Duration, path: &PathSample) {
        let age = now.saturating_sub(self.since);
        if age >= HALF {
            self.previous = self.current.take().filter(|_| age < 2 * HALF);
            self.since = now;
        }
        let news = path.min_rtt.filter(|_| path.min_rtt != self.kernel);
        self.kernel = path.min_rtt;
        for rtt in [Some(path.rtt).filter(|rtt| !rtt.is_zero()), news].into_iter().flatten() {
            self.current = Some(self.current.map_or(rtt, |known| known.min(rtt)));
        }
    }

    pub(super) fn rtt(&self) -> Option<Duration> {
        match (self.current, self.previous) {
            (Some(current), Some(previous)) => Some(current.min(previous)),
            (current, previous) => current.or(previous),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(rtt: u64, min_rtt: u64) -> PathSample {
        let ms = Duration::from_millis;
        PathSample { rtt: ms(rtt), min_rtt: Some(ms(min_rtt)), ..PathSample::default() }
    }

    #[test]
    fn the_shortest_of_the_last_half_minute_counts() {
        let (mut shortest, second) = (Shortest::default(), Duration::from_secs);
        shortest.observe(second(0), &sample(20, 5));
        assert_eq!(shortest.rtt(), Some(Duration::from_millis(5)));
        for now in 1..60 {
            shortest.observe(second(now), &sample(80, 5));
            let expected = if now < 30 { 5 } else { 80 };
            assert_eq!(shortest.rtt(), Some(Duration::from_millis(expected)), "after {now} s");
        }
        shortest.observe(second(600), &sample(90, 70));
        assert_eq!(shortest.rtt(), Some(Duration::from_millis(70)), "news of the kernel's, and nothing of old");
    }
}
