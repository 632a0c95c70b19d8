//! [`FileBody`]: the bytes of one download, in order.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use super::Flow;
use crate::clock::Stopwatch;
use crate::storage::{Blob, Scratch, StoreError};

/// How a transfer ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ending {
    /// Bytes that the connection took.
    pub bytes: u64,
    /// Whether that was everything.
    pub complete: bool,
}

/// Told how a download ended.
type OnEnd = Box<dyn FnOnce(Ending, &Flow) + Send>;

/// The bytes of one download, in order.
pub struct FileBody {
    blob: Arc<dyn Blob>,
    rest: Range<u64>,
    sent: u64,
    /// Of those, what was read and may not have left.
    unsent: u64,
    flow: Flow,
    on_end: Option<OnEnd>,
}

impl FileBody {
    /// A body of `range` of `blob`, moved by `flow`; `on_end` runs once, when the body is dropped.
    #[must_use]
    pub fn new(
        blob: Arc<dyn Blob>,
        range: Range<u64>,
        flow: Flow,
        on_end: impl FnOnce(Ending, &Flow) + Send + 'static,
    ) -> Self {
        Self { blob, rest: range, sent: 0, unsent: 0, flow, on_end: Some(Box::new(on_end)) }
    }

    /// The transfer that this is.
    #[must_use]
    pub fn flow(&mut self) -> &mut Flow {
        &mut self.flow
    }

    /// Bytes still to read, or to send by zero copy.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.rest.end.saturating_sub(self.rest.start)
    }

    /// Reads the next piece, at most `max` bytes, into `scratch`; nothing at the end. It counts as sent once
    /// [`FileBody::note_unsent`] says so. A blob that shrank is an error: the adapter must abort the connection, since the
    /// announced length can no longer be kept.
    ///
    /// # Errors
    /// The store failed, or the blob is shorter than its record.
    pub async fn refill(&mut self, max: usize, scratch: &mut Scratch) -> Result<(), StoreError> {
        let length = usize::try_from(self.remaining()).unwrap_or(usize::MAX).min(max);
        let asked = Stopwatch::start();
        scratch.shrink_to(max);
        self.blob.refill(self.rest.start, length, scratch).await?;
        self.flow.held(asked.elapsed());
        let read = scratch.filled().len();
        if read == 0 && length > 0 {
            return Err(StoreError::Io {
                action: "read a blob to its end",
                source: std::io::ErrorKind::UnexpectedEof.into(),
            });
        }
        self.note_read(read as u64);
        Ok(())
    }

    /// The file and the offset of the next byte, where the store has files: for sendfile.
    #[must_use]
    pub fn file(&self) -> Option<(&File, u64)> {
        self.blob.file().map(|file| (file, self.rest.start))
    }

    /// Whether the next `length` bytes would most likely not wait for the disk.
    #[must_use]
    pub fn is_at_hand(&self, length: u64) -> bool {
        self.blob.is_at_hand(self.rest.start, length)
    }

    /// Notes that `bytes` went out by zero copy.
    pub fn advance(&mut self, bytes: u64) {
        self.flow.begin_piece();
        let bytes = bytes.min(self.remaining());
        self.rest.start += bytes;
        self.sent += bytes;
    }

    /// Notes that the next `bytes` were read, and have yet to leave.
    pub fn note_read(&mut self, bytes: u64) {
        let before = self.sent;
        self.advance(bytes);
        self.unsent += self.sent - before;
    }

    /// Notes that of all that was read, at most `bytes` have yet to leave. What has not when the body is dropped, for
    /// whatever reason, was not sent.
    pub fn note_unsent(&mut self, bytes: u64) {
        self.unsent = self.unsent.min(bytes);
    }
}

impl Drop for FileBody {
    fn drop(&mut self) {
        self.rest.start -= self.unsent;
        self.sent -= self.unsent;
        if self.remaining() == 0 {
            self.flow.complete();
        }
        if let Some(on_end) = self.on_end.take() {
            on_end(Ending { bytes: self.sent, complete: self.remaining() == 0 }, &self.flow);
        }
    }
}

impl std::fmt::Debug for FileBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileBody").field("rest", &self.rest).field("sent", &self.sent).finish_non_exhaustive()
    }
}
