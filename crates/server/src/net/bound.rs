//! [`Bound`]: how much of an unwanted body is read, so that the client sees our answer, and for how long.
//!
//! Both adapters need it: over HTTP/1.1 unread bytes end in a reset of the connection, over HTTP/2 in one of the stream,
//! and clients that are still sending then drop the answer. `h1::discard` and `h2::body` do the reading.

use std::time::Duration;

use hfs_core::progress::{Progress, StallLimits};
use tokio::time::Instant;

/// How much is read in vain, and for how long.
#[derive(Debug)]
pub(super) struct Bound {
    bytes: u64,
    progress: Progress,
    clock: Instant,
}

impl Bound {
    /// For bytes that the client still owes: up to 64 MiB, for 30 s, and longer while they come at 16 KiB/s.
    pub(super) fn generous() -> Self {
        let limits = StallLimits { idle: Duration::from_secs(5), min_rate: 16 << 10, window: Duration::from_secs(30) };
        Self::new(64 << 20, limits)
    }

    /// For a client that owes nothing, and only has to notice that we are through.
    pub(super) fn short() -> Self {
        let limits = StallLimits { idle: Duration::from_secs(2), min_rate: 1 << 20, window: Duration::from_secs(2) };
        Self::new(1 << 20, limits)
    }

    fn new(bytes: u64, limits: StallLimits) -> Self {
        Self { bytes, progress: Progress::new(limits, Duration::ZERO), clock: Instant::now() }
    }

    /// Notes `bytes` read in vain; false when that was the last of what is allowed.
    pub(super) fn spend(&mut self, bytes: usize) -> bool {
        self.progress.moved(self.clock.elapsed(), bytes as u64);
        self.bytes = self.bytes.saturating_sub(bytes as u64);
        self.bytes > 0
    }

    /// When patience ends unless something comes.
    pub(super) fn deadline(&self) -> Instant {
        self.clock + self.progress.deadline()
    }
}
