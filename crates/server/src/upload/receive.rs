//! [`Receiver`]: a request body with a stall limit.

use bytes::Bytes;
use hfs_core::ByteSize;
use hfs_core::progress::{Progress, StallLimits};

use super::PutError;
use crate::clock::Stopwatch;
use crate::http::exchange::Incoming;

/// Takes a body piece by piece; silence or a drip beyond the limits is [`PutError::Stalled`]. No total time limit.
#[derive(Debug)]
pub(super) struct Receiver {
    body: Incoming,
    watch: Stopwatch,
    progress: Progress,
    received: u64,
}

impl Receiver {
    pub(super) fn new(body: Incoming, limits: StallLimits) -> Self {
        let watch = Stopwatch::start();
        Self { body, watch, progress: Progress::new(limits, watch.elapsed()), received: 0 }
    }

    pub(super) fn received(&self) -> ByteSize {
        ByteSize::bytes(self.received)
    }

    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, PutError> {
        let deadline = self.watch.at(self.progress.deadline());
        let Ok(piece) = tokio::time::timeout_at(deadline, self.body.next()).await else {
            return Err(PutError::Stalled { received: self.received() });
        };
        let piece = piece?;
        if let Some(bytes) = &piece {
            self.received += bytes.len() as u64;
            self.progress.moved(self.watch.elapsed(), bytes.len() as u64);
        }
        Ok(piece)
    }
}
