//! [`LocalStore`]: blobs as plain files below one root, laid out by slot path as the original server does.
//!
//! ```text
//! <root>/<slot path>               published blobs
//! <root>/.hfs/tmp/<blob id>        temporaries, each leased by a lock for as long as its writer lives
//! <root>/.hfs/tmp/<id>.removal     second names of blobs that are being removed
//! <root>/.hfs/blobs/<2 hex>/<id>   published blobs whose slot path the file system cannot hold
//! <root>/.hfs/reserve/<number>     space that is held back for a full disk
//! <root>/.hfs/claims               byte-range locks: who publishes at which slot
//! <root>/.hfs/adoption-due         there while a foreign tree still has to be adopted
//! ```
//! Several processes may share a root. The temporary's name outlives its publication until the row is committed: it
//! is the record from which [`super::sweep`] cleans up after a crash. Nothing here reads or writes rows.

mod blob;
mod call;
mod claim;
mod durable;
mod gather;
mod joint;
mod lane;
mod layout;
mod open;
mod probe;
mod publish;
mod pump;
mod reserve;
#[cfg_attr(test, path = "local/seam_armed.rs")]
mod seam;
mod syncfs;
mod temporary;
mod together;
mod tree;
mod upkeep;
mod walk;
mod writer;

#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_core::future::BoxFuture;
use hfs_core::{BlobId, ByteSize, SlotPath};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, linkat, unlinkat};
use rustix::io::Errno;
use tokio::sync::Semaphore;
use tokio::time::timeout;

pub use self::open::OpenError;
pub(super) use self::upkeep::{Dead, Kept, Lease};
pub(super) use self::walk::{FileStatus, Found, Step};
use super::{Blob, BlobStore, BlobWriter, Claim, Hints, Place, StoreError};
use crate::crew::Crew;
use claim::Claims;
use lane::Lane;
use layout::REMOVAL;
use reserve::Reserve;
use seam::Seam;
use syncfs::Syncfs;
use temporary::Reaper;
use together::Together;
use tree::Tree;

/// How long [`BlobStore::free`] trusts its last answer.
const FREE_MEMORY: Duration = Duration::from_secs(1);

/// Blobs as files below one root. Cheap to clone: all clones are one store.
#[derive(Clone, Debug)]
pub struct LocalStore(Arc<Inner>);

struct Inner {
    root: PathBuf,
    tree: Tree,
    /// `.hfs/tmp`.
    temporaries: Arc<OwnedFd>,
    claims: Arc<Claims>,
    reserve: Reserve,
    /// Syscalls that write. Readers have their own lane, so that a burst of syncs cannot starve them.
    writes: Lane,
    reads: Lane,
    /// Short uploads that are whole, each by itself.
    shorts: Lane,
    /// The beginning of uploads, and the small writes of those that are slow anyway.
    trickles: Lane,
    /// Short uploads that are published together, by few threads.
    together: Together,
    groups: Crew,
    syncfs: Syncfs,
    reaper: Arc<Reaper>,
    /// Uploads that have a thread to themselves, and the pipes that they use.
    pumps: Arc<Semaphore>,
    pipes: Mutex<Vec<pump::Pipe>>,
    /// Whether splice is worth trying: until the kernel has said that it cannot here.
    splices: AtomicBool,
    free: Mutex<Option<(Instant, ByteSize)>>,
    /// Held by whoever asks the system for that.
    asking: Semaphore,
    /// Whether the file system keeps every name apart from every other; if not, names say nothing and blobs lie by id.
    exact_names: bool,
    seam: Seam,
}

impl LocalStore {
    /// The root, as configured.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// [`BlobStore::give_up_reserve`] for a start, which may block. Best effort.
    #[must_use]
    pub fn give_up_reserve_now(&self) -> bool {
        self.0.reserve.give_up().unwrap_or(false)
    }

    /// Waits until everything that was dropped or settled so far is off the disk. For an orderly exit, and tests.
    pub async fn quiesce(&self) {
        self.0.reaper.drained().await;
    }
}

impl BlobStore for LocalStore {
    fn create(
        &self,
        expected: Option<ByteSize>,
        hints: Hints,
    ) -> BoxFuture<'_, Result<Box<dyn BlobWriter>, StoreError>> {
        Box::pin(async move {
            let writer = writer::LocalWriter::create(Arc::clone(&self.0), expected, hints).await?;
            Ok(Box::new(writer) as Box<dyn BlobWriter>)
        })
    }

    fn claim<'a>(&'a self, slot: &'a SlotPath, patience: Duration) -> BoxFuture<'a, Result<Claim, StoreError>> {
        Box::pin(claim::claim(&self.0, slot, patience))
    }

    fn open<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Result<Arc<dyn Blob>, StoreError>> {
        Box::pin(async move { Ok(Arc::new(blob::open(&self.0, place).await?) as Arc<dyn Blob>) })
    }

    /// A name of its own among the temporaries, which nobody leases: to a sweep, the blob of a dead process. With its
    /// row it only loses that name; without it, all.
    fn condemn<'a>(&'a self, place: &'a Place, id: BlobId) -> BoxFuture<'a, Result<(), StoreError>> {
        const ACTION: &str = "note a removal";
        let (inner, place) = (Arc::clone(&self.0), place.clone());
        let link = move || {
            let (directory, name) = layout::split(place.as_str());
            let parent = inner.tree.open(directory, tree::DIRECTORY);
            let note = format!("{id}{REMOVAL}");
            match parent.and_then(|parent| linkat(parent, name, &*inner.temporaries, note, AtFlags::empty())) {
                // Noted already, nothing to note, or no hard links here.
                Ok(()) | Err(Errno::EXIST | Errno::NOENT | Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK) => Ok(()),
                Err(error) => Err(failed(ACTION)(error)),
            }
        };
        Box::pin(self.0.writes.run(ACTION, link))
    }

    fn absolve(&self, id: BlobId) -> BoxFuture<'_, Result<(), StoreError>> {
        const ACTION: &str = "forget a removal";
        let inner = Arc::clone(&self.0);
        let unlink = move || match unlinkat(&*inner.temporaries, format!("{id}{REMOVAL}"), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(failed(ACTION)(error)),
        };
        Box::pin(self.0.writes.run(ACTION, unlink))
    }

    fn remove<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Result<(), StoreError>> {
        let (inner, place) = (Arc::clone(&self.0), place.clone());
        // No fsync: the tombstone, committed before, decides what is visible. A name that comes back with the power
        // is a leftover to `audit`.
        Box::pin(
            self.0
                .writes
                .run("remove a blob", move || inner.tree.remove(place.as_str()).map_err(failed("remove a blob"))),
        )
    }

    fn give_up_reserve(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        const ACTION: &str = "give up the reserve";
        let inner = Arc::clone(&self.0);
        Box::pin(self.0.writes.run(ACTION, move || inner.reserve.give_up().map_err(failed(ACTION))))
    }

    fn take_reserve(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        const ACTION: &str = "take the reserve";
        let inner = Arc::clone(&self.0);
        Box::pin(self.0.writes.run(ACTION, move || inner.reserve.take().map_err(failed(ACTION))))
    }

    fn free(&self) -> BoxFuture<'_, Option<ByteSize>> {
        Box::pin(async move {
            let known = *lock(&self.0.free);
            if let Some((at, free)) = known
                && at.elapsed() < FREE_MEMORY
            {
                return Some(free);
            }
            // A disk that hangs is for the writers to notice: the last answer is better than none.
            let asked = timeout(self.0.reads.deadline(), self.0.ask_for_free()).await;
            asked.ok().flatten().or(known.map(|(_, free)| free))
        })
    }
}

impl Inner {
    /// Free space, from the system. What arrives meanwhile waits for this answer: a crowd needs one of them, and one
    /// thread.
    async fn ask_for_free(self: &Arc<Self>) -> Option<ByteSize> {
        let _turn = self.asking.acquire().await;
        if let Some((at, free)) = *lock(&self.free)
            && at.elapsed() < FREE_MEMORY
        {
            return Some(free);
        }
        let inner = Arc::clone(self);
        let ask = move || inner.tree.free().map_err(failed("measure free space"));
        let free = self.reads.run("measure free space", ask).await.ok()?;
        *lock(&self.free) = Some((Instant::now(), free));
        Some(free)
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("root", &self.root)
            .field("exact_names", &self.exact_names)
            .finish_non_exhaustive()
    }
}

/// Turns a system error into the store's, by what the caller can do about it.
fn failed<E: Into<std::io::Error>>(action: &'static str) -> impl FnOnce(E) -> StoreError {
    move |error| {
        let source = error.into();
        match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => StoreError::Full { source },
            _ => StoreError::Io { action, source },
        }
    }
}

/// Locks what no panic can leave half changed: each critical section here is one assignment or one collection call.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
