//! [`Hasher`]: the digest of an upload, while its bytes pass; and [`digest_of`] a blob that lies there.

use hfs_core::Digest;

use super::{Blob, Scratch, StoreError};

/// A read of this size costs least per byte.
const STEP: usize = 1 << 20;

/// BLAKE3 over the bytes so far. Boxed: it is 2 KiB, and most uploads have none.
#[derive(Clone, Debug)]
pub(super) struct Hasher(Box<blake3::Hasher>);

impl Hasher {
    /// Where one is wanted.
    pub(super) fn wanted(is_wanted: bool) -> Option<Self> {
        is_wanted.then(|| Self(Box::new(blake3::Hasher::new())))
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> Digest {
        Digest::from_bytes(*self.0.finalize().as_bytes())
    }
}

/// The digest of what lies there now.
pub(crate) async fn digest_of(blob: &dyn Blob) -> Result<Digest, StoreError> {
    let (mut hasher, mut scratch, mut offset) = (blake3::Hasher::new(), Scratch::default(), 0);
    while offset < blob.size().as_u64() {
        blob.refill(offset, STEP, &mut scratch).await?;
        if scratch.filled().is_empty() {
            break;
        }
        hasher.update(scratch.filled());
        offset += scratch.filled().len() as u64;
        // Bytes from the page cache never wait: lets others of this thread in.
        tokio::task::yield_now().await;
    }
    Ok(Digest::from_bytes(*hasher.finalize().as_bytes()))
}
