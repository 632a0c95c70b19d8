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

    /// Notes a piece of `bytes`; false when the reader took longer than [`SOON`] for the `write` that it completes.
    pub(super) fn is_quick(&mut self, bytes: usize, write: usize) -> bool {
        self.bytes += bytes;
        if self.bytes < write {
            return true;
        }
        let took = self.since.elapsed();
        *self = Self::new();
        took <= SOON
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_whole_write_shows_how_fast_a_reader_is() {
        let mut uptake = Uptake::new();
        let pass = |time| tokio::time::advance(time);
        pass(2 * SOON).await;
        assert!(uptake.is_quick(10, 20));
        assert!(!uptake.is_quick(10, 20));
        pass(SOON / 2).await;
        assert!(uptake.is_quick(20, 20));
        pass(2 * SOON).await;
        uptake.excuse(2 * SOON);
        assert!(uptake.is_quick(20, 20), "it was the disk");
    }
}
