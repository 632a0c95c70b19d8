//! When a download is paced: what its window allows is spread over the round trip instead of sent as it comes.
//!
//! What arrives in one burst must find room in the queue of the slowest hop. Slow start sends a round trip's window at the
//! rate of the server's own network, twice as much each time, and so does a sender that has just recovered from losses: on
//! a path whose window is longer than its queue, cubic loses a burst or two long before the path is full, and takes half a
//! minute to come back. Paced, it finds the path's rate (RFC 9002, 7.7): over 100 Mbit/s, 300 ms and a queue of 100 ms 64
//! Mbit/s arrive instead of 57, and 0.1 % is sent again instead of 2.1 %.
//!
//! The last window of a download then takes up to a round trip to leave (Linux paces at twice the window in one, later at
//! six fifths), and a timer costs CPU. So it begins where windows are long, several are left, and the path is no short one.
//! Beside connections that are not paced it keeps its half. BBR paces by itself, and a connection that once had it goes
//! on; where the host's queue discipline is `fq`, that paces all connections, and nothing changes here.

use std::time::Duration;

use super::{Congestion, PathSample};

/// From this round trip on a window may be more than a queue holds.
const LONG: Duration = Duration::from_millis(20);
/// From this many segments on it is paced. Below, slow start is left to its bursts: Linux ends a paced one later (twice the
/// threshold of HyStart), and from 128 segments on 1.7 % was sent again over 10 Mbit/s and 300 ms, instead of 1.2 %, for
/// no more goodput.
const MANY: u32 = 512;

/// What is left is worth it from so many windows on.
const SEVERAL: u64 = 4;

/// What speaks for it on this path, where `left` bytes have yet to go.
pub(super) fn why(path: &PathSample, left: u64) -> Option<String> {
    let rtt = path.min_rtt?;
    let window = u64::from(path.window) * u64::from(path.mss);
    let may_burst = rtt >= LONG && path.window >= MANY && left >= SEVERAL * window;
    let is_new = !path.is_paced && path.congestion != Some(Congestion::Bbr);
    (may_burst && is_new)
        .then(|| format!("{} segments over {rtt:?}: at once they may be more than a queue holds", path.window))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_windows_over_long_paths_are_spread_out_where_several_are_left() {
        let path = |window, ms| {
            let min_rtt = Some(Duration::from_millis(ms));
            PathSample { window, min_rtt, mss: 1_000, congestion: Some(Congestion::Cubic), ..PathSample::default() }
        };
        let (long, all) = (path(512, 20), u64::MAX);
        assert!(why(&long, all).is_some() && why(&long, 4 * 512_000).is_some());
        assert!(why(&long, 4 * 512_000 - 1).is_none(), "its end would come later for it");
        assert!(why(&path(511, 300), all).is_none(), "slow start is shorter without");
        assert!(why(&path(1_000, 19), all).is_none(), "a timer costs more than it is worth");
        assert!(why(&PathSample { congestion: Some(Congestion::Bbr), ..long }, all).is_none(), "it does so by itself");
        assert!(why(&PathSample { is_paced: true, ..long }, all).is_none(), "somebody has asked for it");
        assert!(why(&PathSample { min_rtt: None, ..long }, all).is_none(), "a path that tells no round trip");
    }
}
