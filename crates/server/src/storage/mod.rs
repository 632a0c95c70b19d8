//! Where bytes live: the [`BlobStore`] trait, and its local, memory and fault-injecting implementations.
//!
//! A store knows nothing of HTTP, proofs or rows. It gives: temporaries that nobody sees, publication that is atomic
//! and durable, one publisher per slot among all processes, reads at an offset. What is *visible* is decided by the
//! metadata row alone, which is written last (see `meta`).

pub mod adopt;
pub mod audit;
#[cfg(test)]
mod conformance;
pub(crate) mod digest;
pub mod faulty;
pub mod local;
pub mod memory;
mod recorded;
mod scratch;
pub mod sweep;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use hfs_core::{BlobId, ByteSize, Digest, SlotPath};
use hfs_sock::Tap;

pub use scratch::Scratch;

/// Where a blob lies: its path relative to the store's root, as its row remembers it. Usually the slot path itself
/// (the layout of the original server); a name that the file system cannot hold lies below `.hfs/blobs/`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Place(String);

impl Place {
    /// Wraps a relative path that came from a row or from a store's own layout.
    #[must_use]
    pub fn new(relative: impl Into<String>) -> Self {
        Self(relative.into())
    }

    /// The relative path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Bytes at rest and the way there.
///
/// Every method may wait for the disk but never blocks the runtime; a disk that does not answer within the store's
/// deadline is [`StoreError::Slow`].
pub trait BlobStore: std::fmt::Debug + Send + Sync + 'static {
    /// Starts a temporary that nobody can see; `expected` is how long it will be.
    fn create(
        &self,
        expected: Option<ByteSize>,
        hints: Hints,
    ) -> BoxFuture<'_, Result<Box<dyn BlobWriter>, StoreError>>;

    /// Takes the sole right to publish at `slot`, among all processes on this store. Waits for a rival at most
    /// `patience`, then [`StoreError::Busy`].
    fn claim<'a>(&'a self, slot: &'a SlotPath, patience: Duration) -> BoxFuture<'a, Result<Claim, StoreError>>;

    /// Opens a published blob. [`StoreError::Missing`] when no file lies there.
    fn open<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Result<Arc<dyn Blob>, StoreError>>;

    /// Notes that a blob is about to lose its row: what a crash leaves between its tombstone and its removal is then
    /// found by the sweep. Best effort: a store that cannot note it still removes.
    fn condemn<'a>(&'a self, place: &'a Place, id: BlobId) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Takes that note back: the blob is removed, or stays.
    fn absolve(&self, id: BlobId) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Removes a published blob and the directories that it leaves empty; nothing there is success.
    fn remove<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Gives up what is held back for what must work on a full store; false when nothing was.
    fn give_up_reserve(&self) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Holds it back (again), as far as there is room; whether it is whole now. False also where a store has none.
    fn take_reserve(&self) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Free bytes for an unprivileged writer, `None` when the store cannot tell. Cheap: may be up to a second old.
    fn free(&self) -> BoxFuture<'_, Option<ByteSize>>;
}

/// An upload that is announced to be at most this long comes mostly whole. So it touches the disk once, when it is whole,
/// unless it comes slowly; and what its slot has is asked once, under the claim, and not also before it comes.
pub const SHORT: ByteSize = ByteSize::kib(64);

/// How an upload wants to be written. A store may ignore all of it; none of it changes what is durable when.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hints {
    /// Reserve the expected length at once.
    pub preallocate: bool,
    /// Start writing to the disk while bytes still arrive.
    pub write_back: bool,
    /// Bytes that an upload may hold: those that are gathered into one write, and the next piece.
    pub step: usize,
    /// Of those, what the next piece may be.
    pub piece: usize,
    /// Bytes that it may hold while nothing comes: where it is compared with a blob.
    pub room: usize,
    /// Hash the bytes while they pass. Counts when the temporary is created.
    pub digest: bool,
}

impl Default for Hints {
    /// What is good for an upload of which nothing is known.
    fn default() -> Self {
        Self { preallocate: true, write_back: true, step: 256 << 10, piece: 64 << 10, room: 512 << 10, digest: false }
    }
}

/// How [`BlobWriter::pump`] moves bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pump {
    /// Inside the kernel, in large writes; through memory where the kernel or the file system has no way.
    Splice,
    /// Through memory, because something must see the bytes.
    Seen {
        /// Bytes per write; where it is 1 MiB, they are the same writes.
        piece: usize,
    },
    /// One read and one write of this many bytes at a time.
    Stepwise {
        /// Bytes.
        step: usize,
    },
}

/// What one call of [`BlobWriter::pump`] did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pumped {
    /// Bytes that are in the temporary now.
    pub bytes: u64,
    /// Whether they stayed inside the kernel.
    pub is_spliced: bool,
    /// Why it ended.
    pub end: PumpEnd,
}

/// Why a pump ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PumpEnd {
    /// Everything asked for was moved, or it was time for a break: there is more.
    Flowing,
    /// The socket has nothing at the moment.
    Dry,
    /// The other side is gone.
    Closed,
}

/// A temporary blob on its way in. Dropping it removes it: a broken upload leaves nothing.
pub trait BlobWriter: std::fmt::Debug + Send {
    /// Its name, of which the ETag is.
    fn id(&self) -> BlobId;

    /// Bytes taken so far.
    fn written(&self) -> ByteSize;

    /// Changes how the bytes to come are written.
    fn follow(&mut self, hints: Hints);

    /// Appends; gathers small pieces into large writes.
    fn write(&mut self, data: Bytes) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Appends up to `most` bytes of a socket, on a thread that may wait for the disk and, a little, for the socket.
    /// `None`: this store cannot, or no thread is free; nothing was read then. Dropping the future leaves the socket at
    /// an unknown place: its connection must end.
    fn pump(&mut self, source: Arc<dyn Tap>, most: u64, how: Pump)
    -> BoxFuture<'_, Result<Option<Pumped>, StoreError>>;

    /// Whether the bytes written so far equal `blob` (for the equal repeat of a PUT).
    fn equals<'a>(&'a mut self, blob: &'a dyn Blob) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Makes the bytes durable, then gives them their name: fdatasync, link, fsync of every directory that gained an
    /// entry. A file that already has the name has no row (the caller looked, holding the claim): it is the leftover
    /// of a crash and is replaced.
    fn publish(self: Box<Self>, claim: &Claim) -> BoxFuture<'_, Result<Published, StoreError>>;

    /// [`BlobWriter::publish`] of a slot that nobody has looked up, if `vacancy` says that it has no row. That is asked on
    /// the thread that publishes: to look it up before costs two changes of threads.
    fn publish_if_vacant(
        self: Box<Self>,
        claim: &Claim,
        vacancy: Vacancy,
    ) -> BoxFuture<'_, Result<Attempt, StoreError>>;

    /// The same at a place that nothing else ever had: for a slot whose row still names another one. Whoever reads by
    /// that row must not get these bytes.
    fn publish_apart(self: Box<Self>, claim: &Claim) -> BoxFuture<'_, Result<Published, StoreError>>;
}

/// Whether a slot surely has no row. May wait for the disk; false also where that cannot be told at once.
pub type Vacancy = Box<dyn FnOnce() -> bool + Send>;

/// How [`BlobWriter::publish_if_vacant`] ended.
#[derive(Debug)]
pub enum Attempt {
    /// As by [`BlobWriter::publish`].
    Published(Published),
    /// Nothing was done: the slot may have a row.
    Kept(Box<dyn BlobWriter>),
}

/// A published blob that has no row yet. [`Published::settle`] it once its row is committed; dropped before, it stays
/// for the sweep to resolve by its row.
pub struct Published {
    /// Where it lies.
    pub place: Place,
    /// What its bytes amount to, where that was asked for.
    pub digest: Option<Digest>,
    /// What is left to do once the row's fate is known.
    pub aftermath: Box<dyn Aftermath>,
}

/// The end of a publication.
pub trait Aftermath: Send {
    /// The row is committed: forget the temporary name.
    fn settle(self: Box<Self>) -> BoxFuture<'static, ()>;
    /// The row is certainly not committed: remove the file.
    /// It takes the claim, so that a removal that hangs in the kernel cannot end over the next holder's file.
    fn retract(self: Box<Self>, claim: Claim) -> BoxFuture<'static, ()>;
}

impl std::fmt::Debug for Published {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Published").field("place", &self.place).finish_non_exhaustive()
    }
}

/// The sole right to publish at a slot; released on drop.
///
/// Keep it from before the look-up of the slot's row until the fate of the new row is known: whoever holds it takes a
/// file without a row for the leftover of a crash.
pub struct Claim {
    slot: SlotPath,
    // Whatever holds the right: a lock's file, a guard of a map. Shared with a publication that hangs in the kernel.
    hold: Arc<dyn Send + Sync>,
}

impl Claim {
    /// A claim on `slot` that lasts as long as `hold`.
    #[must_use]
    pub fn new(slot: SlotPath, hold: Box<dyn Send + Sync>) -> Self {
        Self { slot, hold: Arc::from(hold) }
    }

    /// A share of the right. A publication keeps one until the kernel is done with it, also when its caller has given
    /// up: else it could finish late, over the file of whoever claimed the slot next.
    pub(crate) fn hold(&self) -> Arc<dyn Send + Sync> {
        Arc::clone(&self.hold)
    }

    /// The slot.
    #[must_use]
    pub fn slot(&self) -> &SlotPath {
        &self.slot
    }
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Claim").field(&self.slot).finish()
    }
}

/// A published blob, open for reading. Stays readable after it is removed, until dropped.
pub trait Blob: std::fmt::Debug + Send + Sync {
    /// Length in bytes when it was opened.
    fn size(&self) -> ByteSize;

    /// Fills `scratch` with `length` bytes at `offset`; fewer only at the end of a blob that shrank. On an error, or when
    /// the future is dropped, nothing is in it.
    fn refill<'a>(
        &'a self,
        offset: u64,
        length: usize,
        scratch: &'a mut Scratch,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// The file itself, where there is one, for zero-copy delivery.
    fn file(&self) -> Option<&std::fs::File>;

    /// Whether a send of this range out of its file would most likely not wait for the disk. Never waits itself; a store
    /// that cannot tell says no.
    fn is_at_hand(&self, offset: u64, length: u64) -> bool;

    /// Whether nothing has happened to it since it was opened: it has one name, and neither that nor its bytes have
    /// changed. Every removal shows here before its tombstone is written, whichever process removes
    /// ([`BlobStore::condemn`]). Never waits; a store that cannot tell says no.
    fn is_untouched(&self) -> bool;
}

impl dyn Blob + '_ {
    /// Reads into memory of its own; see [`Blob::refill`].
    ///
    /// # Errors
    /// The store failed.
    pub async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, StoreError> {
        let mut scratch = Scratch::default();
        self.refill(offset, length, &mut scratch).await?;
        Ok(scratch.into_bytes())
    }
}

/// What a store could not do, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// 507. Nothing was stored; reads go on.
    #[error("no space left on the store")]
    Full {
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// 404 where a row promised a file: the store was changed behind our back.
    #[error("{place} is missing from the store")]
    Missing {
        /// Where it should lie.
        place: Place,
    },
    /// 503: another upload of the same slot is being published.
    #[error("another upload of {slot} is being published")]
    Busy {
        /// The contested slot.
        slot: SlotPath,
    },
    /// 503: the disk did not answer within the deadline.
    #[error("the store did not {action} within {deadline:?}")]
    Slow {
        /// What was asked of it.
        action: &'static str,
        /// For how long.
        deadline: Duration,
    },
    /// 503: an I/O error. A file whose fsync failed is dropped, never retried.
    #[error("the store failed to {action}")]
    Io {
        /// What was asked of it.
        action: &'static str,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// `[server] storage_path` and what belongs to it.
#[derive(Clone, Debug)]
pub struct StorageConfig {
    /// Root of the tree; created when missing.
    pub path: std::path::PathBuf,
    /// Floor of free space: below it uploads are refused with 507.
    pub min_free: ByteSize,
    /// How long one disk operation may take before the upload is answered 503.
    pub io_deadline: Duration,
    /// `[uploads] content_hash`: whether uploads are hashed while they arrive.
    pub digests: bool,
    /// Between two looks at what has expired.
    pub cleanup_interval: Duration,
}
