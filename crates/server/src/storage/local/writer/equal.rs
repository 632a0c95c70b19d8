//! Whether an upload has the bytes of a blob that is there: what its slot has, when it comes a second time.

use super::LocalWriter;
use crate::storage::local::blob::read_full;
use crate::storage::local::failed;
use crate::storage::{Blob, BlobWriter as _, Scratch, StoreError};

/// Comparing goes in steps of up to this size: two of them are in memory.
const STEP: usize = 256 << 10;
const LEAST_STEP: usize = 8 << 10;

impl LocalWriter {
    /// [`LocalWriter::equal`] of what has not touched the disk: it need not, for that.
    async fn held_equal(&mut self, blob: &dyn Blob) -> Result<bool, StoreError> {
        let (mut theirs, mut offset) = (Scratch::default(), 0);
        for ours in self.gather.held() {
            blob.refill(offset, ours.len(), &mut theirs).await?;
            if theirs.filled() != &ours[..] {
                return Ok(false);
            }
            offset += ours.len() as u64;
        }
        Ok(true)
    }

    /// Whether a blob has the bytes that were written.
    pub(super) async fn equal(&mut self, blob: &dyn Blob) -> Result<bool, StoreError> {
        self.check()?;
        if self.temporary.is_none() {
            return Ok(blob.size() == self.written() && self.held_equal(blob).await?);
        }
        self.flush().await?;
        if blob.size().as_u64() != self.flushed {
            return Ok(false);
        }
        let (mut ours, mut theirs) = (Scratch::default(), Scratch::default());
        let (mut offset, step) = (0, (self.hints.room / 2).clamp(LEAST_STEP, STEP));
        while offset < self.flushed {
            let length = step.min(usize::try_from(self.flushed - offset).unwrap_or(step));
            let temporary = self.temporary();
            let mut lent = std::mem::take(&mut ours);
            let read = move || {
                let temporary = temporary()?;
                lent.refill(length, |room| read_full(temporary.file(), room, offset)).map_err(failed("read back"))?;
                Ok(lent)
            };
            ours = self.inner.writes.run("read back", read).await?;
            blob.refill(offset, length, &mut theirs).await?;
            if ours.filled().len() != length || ours.filled() != theirs.filled() {
                return Ok(false);
            }
            offset += length as u64;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use bytes::Bytes;
    use futures_core::future::BoxFuture;
    use hfs_core::ByteSize;

    use super::*;
    use crate::storage::conformance::{put, settle};
    use crate::storage::local::testing::Root;
    use crate::storage::{BlobStore as _, Hints};

    #[tokio::test]
    async fn a_short_upload_is_compared_without_the_disk() {
        let root = Root::new();
        let store = root.open();
        let place = settle(put(&store, "a", b"short").await).await;
        let there = store.open(&place).await.unwrap();
        store.0.seam.arm(None);
        for (bytes, is_equal) in [(&b"short"[..], true), (b"shore", false), (b"shor", false), (b"shorts", false)] {
            let size = ByteSize::bytes(bytes.len() as u64);
            let mut writer = store.create(Some(size), Hints::default()).await.unwrap();
            for piece in bytes.chunks(2) {
                writer.write(Bytes::from_static(piece)).await.unwrap();
            }
            assert_eq!(writer.equals(&*there).await.unwrap(), is_equal, "{bytes:?}");
        }
        assert!(store.0.seam.seen().is_empty());
    }

    /// A blob, and the longest piece of it that was read.
    #[derive(Debug)]
    struct Watched(Arc<dyn Blob>, AtomicUsize);

    impl Blob for Watched {
        fn size(&self) -> ByteSize {
            self.0.size()
        }

        fn refill<'a>(
            &'a self,
            offset: u64,
            length: usize,
            scratch: &'a mut Scratch,
        ) -> BoxFuture<'a, Result<(), StoreError>> {
            self.1.fetch_max(length, Relaxed);
            self.0.refill(offset, length, scratch)
        }

        fn file(&self) -> Option<&File> {
            None
        }

        fn is_at_hand(&self, _offset: u64, _length: u64) -> bool {
            false
        }

        fn is_untouched(&self) -> bool {
            false
        }
    }

    #[tokio::test]
    async fn both_sides_of_a_comparison_lie_in_the_room_of_the_upload() {
        let root = Root::new();
        let store = root.open();
        let bytes: Vec<u8> = (0..600_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        let there = store.open(&settle(put(&store, "a", &bytes).await).await).await.unwrap();
        for (room, longest) in [(64 << 10, 32 << 10), (1, LEAST_STEP), (1 << 20, STEP)] {
            let hints = Hints { room, ..Hints::default() };
            let mut writer = store.create(Some(there.size()), hints).await.unwrap();
            writer.write(Bytes::copy_from_slice(&bytes)).await.unwrap();
            let watched = Watched(Arc::clone(&there), AtomicUsize::new(0));
            assert!(writer.equals(&watched).await.unwrap());
            assert_eq!(watched.1.into_inner(), longest, "of {room}");
        }
    }
}
