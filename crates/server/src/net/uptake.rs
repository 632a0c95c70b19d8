//! [`Uptake`]: whether a reader takes writes as fast as they are made.
//!
//! Large writes cost less CPU per byte, and are memory that a slow reader holds. So a write is as large as the reader
//! takes within [`SOON`]: 256 KiB at 100 Mbit/s, a megabyte from 50 MB/s on.

use std::time::Duration;

use tokio::time::Instant;

/// A write that is taken within this time could have been larger.
pub(super) const SOON: Duration = Duration::from_millis(20);

/// Times writes that are made of several pieces.
#[derive(Debug)]
pub(super) struct Uptake {
    since: Instant,
    bytes: usize,
}

impl Uptake {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), bytes: 0 }
    }

    /// Says that the reader was not what took this long.
    pub(super) fn excuse(&mut self, spent: Duration) {
        self.since += spent;
    }

    /// Until when the write that goes on may be quick.
    pub(super) fn until(&self) -> Instant {
        self.since + SOON
    }

    /// Notes a piece of `bytes`; false when the reader has taken longer than [`SOON`] for the `write` that it belongs to.
    pub(super) fn is_quick(&mut self, bytes: usize, write: usize) -> bool {
        self.bytes += bytes;
        let is_quick = self.since.elapsed() <= SOON;
        if self.bytes >= write {
            *self = Self::new();
        }
        is_quick
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_write_of_several_pieces_is_timed_as_one() {
        let mut uptake = Uptake::new();
        let pass = |time| tokio::time::advance(time);
        pass(SOON).await;
        assert!(uptake.is_quick(10, 20));
        pass(SOON).await;
        assert!(!uptake.is_quick(10, 20));
        pass(2 * SOON).await;
        assert!(!uptake.is_quick(10, 20), "a piece that is late shows it before the rest of its write came");
        assert!(!uptake.is_quick(10, 20));
        pass(SOON / 2).await;
        assert!(uptake.is_quick(20, 20));
        pass(2 * SOON).await;
        uptake.excuse(2 * SOON);
        assert!(uptake.is_quick(20, 20), "it was the disk");
    }
}
