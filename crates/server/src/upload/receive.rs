//! [`Receiver`]: a request body with a stall limit.

use bytes::Bytes;
use hfs_core::ByteSize;
use hfs_core::progress::Progress;

use super::PutError;
use crate::clock::Stopwatch;
use crate::flow::Flow;
use crate::http::exchange::Incoming;

/// Takes a body piece by piece; silence or a drip beyond the limits is [`PutError::Stalled`]. No total time limit.
#[derive(Debug)]
pub(super) struct Receiver {
    body: Incoming,
    watch: Stopwatch,
    progress: Progress,
    received: u64,
    flow: Flow,
}

impl Receiver {
    pub(super) fn new(body: Incoming, flow: Flow) -> Self {
        let watch = Stopwatch::start();
        Self { body, watch, progress: Progress::new(flow.plan().stall, watch.elapsed()), received: 0, flow }
    }

    pub(super) fn received(&self) -> ByteSize {
        ByteSize::bytes(self.received)
    }

    /// The transfer that this is.
    pub(super) fn flow(&self) -> &Flow {
        &self.flow
    }

    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, PutError> {
        let deadline = self.watch.at(self.progress.deadline());
        let Ok(piece) = tokio::time::timeout_at(deadline, self.body.next()).await else {
            return Err(PutError::Stalled { received: self.received() });
        };
        let piece = piece?;
        if piece.is_none() {
            self.flow.complete();
        }
        if let Some(bytes) = &piece {
            self.received += bytes.len() as u64;
            self.progress.moved(self.watch.elapsed(), bytes.len() as u64);
            let filled = self.body.is_pressing(bytes.len());
            self.flow.moved(bytes.len() as u64, filled);
            self.progress.set_limits(self.flow.plan().stall);
        }
        Ok(piece)
    }
}
