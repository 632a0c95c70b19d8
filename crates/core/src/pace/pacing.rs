//! When a download is paced: what its window allows is spread over the round trip instead of sent as it comes.
//!
//! What arrives in one burst must find room in the queue of the slowest hop. Slow start sends a round trip's window at the
//! rate of the server's own network, twice as much each time, and so does a sender that has just recovered from losses: on
//! a path whose window is longer than its queue, cubic loses a burst or two long before the path is full, and takes half a
//! minute to come back. Paced, it finds the path's rate (RFC 9002, 7.7): at 100 Mbit/s,
//! 300 ms and a queue of 100 ms a third more arrives, and nothing is sent again.
//!
//! It costs up to half a round trip at the end of a short download, so it begins where a window has become long; and
//! timers, so short paths do without. Beside connections that are not paced it keeps its half. BBR paces by itself.

use std::time::Duration;

use super::{Congestion, PathSample};

/// From this round trip on a window may be more than a queue holds.
const LONG: Duration = Duration::from_millis(20);
/// From this many segments on it is paced. Below, slow start is left to its bursts: Linux ends a paced one later (twice the
/// threshold of HyStart), and from 128 segments on 1.7 % was sent again over 10 Mbit/s and 300 ms, instead of 1.2 %, for
/// no more goodput.
const MANY: u32 = 512;

/// What speaks for it on this path.
pub(super) fn why(path: &PathSample) -> Option<String> {
    let rtt = path.min_rtt?;
    let may_burst = path.congestion != Some(Congestion::Bbr) && rtt >= LONG && path.window >= MANY;
    may_burst.then(|| format!("{} segments over {rtt:?}: at once they may be more than a queue holds", path.window))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_windows_over_long_paths_are_spread_out() {
        let path = |window, ms, congestion| {
            let (min_rtt, congestion) = (Some(Duration::from_millis(ms)), Some(congestion));
            PathSample { window, min_rtt, congestion, ..PathSample::default() }
        };
        assert!(why(&path(512, 20, Congestion::Cubic)).is_some());
        assert!(why(&path(511, 300, Congestion::Cubic)).is_none(), "the end of a short download would wait");
        assert!(why(&path(1_000, 19, Congestion::Cubic)).is_none(), "a timer costs more than it is worth");
        assert!(why(&path(1_000, 300, Congestion::Bbr)).is_none(), "it does so by itself");
        assert!(
            why(&PathSample { window: 1_000, ..PathSample::default() }).is_none(),
            "a path that tells no round trip"
        );
    }
}
