//! [`Window`]: what one HTTP/2 connection may have under way towards us.
//!
//! A fixed window limits an upload to one window per round trip, however fast the path is: 1 MiB over 300 ms is 28
//! Mbit/s. So it is compared with what arrives within one round trip, and grows while it is what limits, in large steps: what
//! a sender that the window holds back is let send comes as a burst, a third of the window at line rate, which a short
//! queue loses. Past the path's own limit it is TCP's to say how much leaves when.

use std::time::Duration;

/// Share of the window that must arrive within one round trip before the window counts as what limits.
const FULL: f64 = 2.0 / 3.0;
/// It grows by this factor while the rate more than doubles, and doubles else. Over 100 Mbit/s, 300 ms and a queue of 100 ms 0.8 % was sent again, where doubling made it 2.4 %.
const GROWTH: u32 = 4;
/// A window that has grown grows again only when the rate rose by this factor: where the path is full, bytes merely wait
/// in the client's queue, the round trip grows with them, and a larger window would bring memory and nothing else.
const GAIN: f64 = 1.1;

/// What a connection received between a question and its answer.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Body bytes.
    pub bytes: u64,
    /// The round trip.
    pub took: Duration,
}

impl Round {
    /// Bytes per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.bytes as f64 / self.took.as_secs_f64().max(1e-6)
    }
}

/// The receive window of one connection.
#[derive(Clone, Debug)]
pub struct Window {
    size: u32,
    /// The rate at which it last grew.
    reached: f64,
}

impl Default for Window {
    fn default() -> Self {
        Self { size: Self::FIRST, reached: 0.0 }
    }
}

impl Window {
    /// What the streams of a connection may have under way together before anybody says more, and at least (RFC 9113
    /// 6.9.2).
    pub const IDLE: u32 = 65_535;
    /// Where each begins, and where the standard arm leaves it: Go's HTTP/2 server gives as much.
    pub const FIRST: u32 = 1 << 20;
    /// The largest: 100 Mbit/s over 1.3 s, or 1 Gbit/s over 130 ms. Memory only where the disk is slower than the network.
    pub const MOST: u32 = 16 << 20;

    /// What all streams of a connection may have under way where each has a window of `size`: others go on while the disk
    /// is slow for one.
    #[must_use]
    pub const fn of_connection(size: u32) -> u32 {
        const OTHERS: u32 = 1 << 20;
        size.saturating_add(OTHERS)
    }

    /// Its size.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.size
    }

    /// The size that `round` asks for, at most `most`; `None` leaves it as it is.
    #[must_use]
    pub fn wanted(&self, round: &Round, most: u32) -> Option<u32> {
        let is_full = round.bytes as f64 >= f64::from(self.size) * FULL;
        let has_gained = round.rate() > self.reached * GAIN;
        // Less says that the path begins to limit.
        let growth = if round.rate() > self.reached * 2.0 { GROWTH } else { 2 };
        (is_full && has_gained && self.size < most).then(|| self.size.saturating_mul(growth).min(most))
    }

    /// Notes that it has `size` now, because of `round`.
    pub fn grow(&mut self, size: u32, round: &Round) {
        self.size = size;
        self.reached = round.rate();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A path: bytes per second, round trip, and what its client's queue takes.
    struct Path {
        rate: f64,
        rtt: Duration,
        queue: u32,
    }

    impl Path {
        /// What a client that always has more to send gets through `window` in one round trip.
        fn round(&self, window: u32) -> Round {
            let under_way = self.rate * self.rtt.as_secs_f64();
            let queued = (f64::from(window) - under_way).clamp(0.0, f64::from(self.queue));
            let took = self.rtt + Duration::from_secs_f64(queued / self.rate);
            let bytes = f64::from(window).min(self.rate * took.as_secs_f64());
            Round { bytes: bytes as u64, took }
        }

        /// The rate, and the window, after this many round trips.
        fn after(&self, rounds: u32, most: u32) -> (f64, Window) {
            let mut window = Window::default();
            for _ in 0..rounds {
                let round = self.round(window.size());
                if let Some(size) = window.wanted(&round, most) {
                    window.grow(size, &round);
                }
            }
            (self.round(window.size()).rate(), window)
        }
    }

    const LONG: Path = Path { rate: 12.5e6, rtt: Duration::from_millis(300), queue: 0 };

    #[test]
    fn a_long_fast_path_is_filled_within_a_few_round_trips() {
        assert!(LONG.round(Window::FIRST).rate() < 0.3 * LONG.rate, "the first window is what limits");
        let (rate, window) = LONG.after(3, Window::MOST);
        assert!(rate >= 0.99 * LONG.rate, "{rate} with {window:?}");
    }

    #[test]
    fn one_step_is_past_the_sizes_that_would_let_a_sender_go_in_bursts() {
        let window = LONG.after(1, Window::MOST).1;
        assert!(f64::from(window.size()) > LONG.rate * LONG.rtt.as_secs_f64(), "{window:?} limits yet");
    }

    #[test]
    fn a_window_that_the_path_has_caught_up_with_is_not_made_four_times_as_large() {
        // 1.3 MB fill it; what is more waits in the client's queue, and brings a fifth.
        let path = Path { rate: 13_107_200.0, rtt: Duration::from_millis(100), queue: 4 << 20 };
        let (_, window) = path.after(50, Window::MOST);
        assert!(window.size() <= 8 << 20, "{window:?}");
    }

    #[test]
    fn a_short_path_keeps_the_first_window() {
        let short = Path { rate: 12.5e6, rtt: Duration::from_millis(40), queue: 0 };
        assert_eq!(short.after(100, Window::MOST).1.size(), Window::FIRST);
    }

    #[test]
    fn a_full_queue_is_not_a_long_path() {
        let bloated = Path { rate: 1.25e6, rtt: Duration::from_millis(40), queue: 64 << 20 };
        let (_, window) = bloated.after(100, Window::MOST);
        assert!(window.size() <= GROWTH * Window::FIRST, "{window:?} where a window of 50 KB would do");
    }

    #[test]
    fn a_path_that_became_longer_is_filled_again() {
        let slower = Path { rate: LONG.rate / 4.0, ..LONG };
        let mut window = slower.after(100, Window::MOST).1;
        let before = window.size();
        let faster = Path { rate: 4.0 * LONG.rate, ..LONG };
        for _ in 0..5 {
            let round = faster.round(window.size());
            if let Some(size) = window.wanted(&round, Window::MOST) {
                window.grow(size, &round);
            }
        }
        assert!(window.size() > before && faster.round(window.size()).rate() >= 0.99 * faster.rate, "{window:?}");
    }

    proptest! {
        #[test]
        fn no_path_gets_more_than_it_may_or_much_more_than_it_needs(
            rate in 1e3..1e10_f64,
            rtt in 1..5_000_u64,
            queue in 0..u32::MAX,
            most in Window::FIRST..Window::MOST,
        ) {
            let path = Path { rate, rtt: Duration::from_millis(rtt), queue };
            let (reached, window) = path.after(50, most);
            let needed = rate * path.rtt.as_secs_f64();
            prop_assert!(window.size() <= most);
            prop_assert!(f64::from(window.size()) <= f64::from(Window::FIRST).max(2.0 * needed) * f64::from(GROWTH));
            prop_assert!(window.size() == most || reached >= 0.6 * rate, "{} of {rate}", reached);
        }
    }
}
