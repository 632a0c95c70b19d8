//! From a whole temporary to a durable name: fdatasync, link, fsync of every directory that gained an entry.
//!
//! Blocking: by itself as one job on a lane, or with others ([`super::together`]). Invariant: an error means that no name was given, or that the temporary's own name
//! stays for the sweep, because it could not be taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_core::future::BoxFuture;
use hfs_core::{Digest, SlotPath};
use rustix::fs::{AtFlags, fdatasync, ftruncate, linkat, renameat, unlinkat};
use rustix::io::Errno;
use tracing::warn;

use super::call::Call;
use super::layout::{self, SECOND_NAME, split};
use super::temporary::Temporary;
use super::tree::{Directory, Way, is_replaceable};
use super::writer::{hash, write_all};
use super::{Inner, Place, StoreError, failed};
use crate::storage::digest::Hasher;
use crate::storage::{Aftermath, Claim, Published};

const PUBLISH: &str = "publish the upload";
const SYNC: &str = "sync the upload";
/// A directory can be pruned between its making and the link in it; not that often.
const TRIES: usize = 16;

/// All that one publication needs.
pub(super) struct Landing {
    pub(super) inner: Arc<Inner>,
    pub(super) temporary: Arc<Temporary>,
    pub(super) slot: SlotPath,
    /// What is not yet in the file, and where it goes.
    pub(super) rest: Vec<Bytes>,
    pub(super) rest_at: u64,
    pub(super) length: u64,
    /// More was allocated than came.
    pub(super) shrink: bool,
    /// Not by the slot's name, which a row has already.
    pub(super) apart: bool,
    /// Over what is in the file.
    pub(super) hasher: Option<Hasher>,
    /// Until the end, also when the caller has left.
    #[expect(dead_code, reason = "owned, for its drop")]
    pub(super) hold: Arc<dyn Send + Sync>,
}

/// A name that was given and may not be durable.
pub(super) struct Named {
    pub(super) place: Place,
    pub(super) way: Way,
}

impl Landing {
    /// Publishes one upload by itself.
    pub(super) fn land(self, abandoned: &AtomicBool) -> Result<Landed, StoreError> {
        self.write()?;
        self.sync()?;
        let named = self.name_unless(abandoned)?;
        match self.inner.tree.sync(&named.way, &self.inner.seam) {
            Ok(()) => Ok(self.landed(named)),
            Err(error) => Err(self.take_back(&named, error.into())),
        }
    }

    /// The last of the bytes.
    pub(super) fn write(&self) -> Result<(), StoreError> {
        let file = self.temporary.file();
        if !self.rest.is_empty() {
            self.inner.seam.pass(Call::Write).map_err(failed("write"))?;
            write_all(file, &self.rest, self.rest_at).map_err(failed("write"))?;
        }
        if self.shrink {
            ftruncate(file, self.length).map_err(failed("write"))?;
        }
        Ok(())
    }

    /// Whether the file system says that all of it is in blocks on the disk. `false` where it does not say.
    pub(super) fn has_blocks(&self) -> bool {
        let asked = self.inner.seam.pass(Call::Extents);
        asked.and_then(|()| hfs_sock::has_blocks(self.temporary.file(), self.length)).unwrap_or(false)
    }

    fn sync(&self) -> Result<(), StoreError> {
        // Never again on the same file if it fails: the kernel reports an error once, and forgets the pages.
        self.inner.seam.pass(Call::Sync).map_err(failed(SYNC))?;
        fdatasync(self.temporary.file()).map_err(failed(SYNC))
    }

    /// Gives the bytes, which are durable, their name, which is not yet; not for a caller who has left.
    pub(super) fn name_unless(&self, abandoned: &AtomicBool) -> Result<Named, StoreError> {
        unless(abandoned)?;
        let by_name = layout::by_name(&self.slot).filter(|_| self.inner.exact_names && !self.apart);
        let named = match by_name.map(|place| self.name(place)) {
            Some(Err(error)) if !is_no_file_name(&error) => Err(error),
            Some(Ok(named)) => Ok(named),
            Some(Err(_)) | None => self.name(layout::by_id(self.temporary.id())),
        };
        named.map_err(failed(PUBLISH))
    }

    fn name(&self, place: Place) -> std::io::Result<Named> {
        let mut tries = 1;
        loop {
            match self.name_once(place.as_str()) {
                // A directory on the way was pruned.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && tries < TRIES => tries += 1,
                Err(error) => {
                    self.inner.tree.prune(split(place.as_str()).0);
                    return Err(error);
                }
                Ok(way) => return Ok(Named { place, way }),
            }
        }
    }

    fn name_once(&self, path: &str) -> std::io::Result<Way> {
        let (directory, name) = split(path);
        let way = self.inner.tree.way(directory, &self.inner.seam)?;
        self.inner.seam.pass(Call::Link)?;
        self.temporary.set_unresolved(true);
        if let Err(error) = self.link(&way.parent, name) {
            self.temporary.set_unresolved(false);
            return Err(error.into());
        }
        Ok(way)
    }

    /// Takes back a name that could not be made durable. Returns why.
    pub(super) fn take_back(self, named: &Named, why: std::io::Error) -> StoreError {
        match self.inner.tree.remove_same(named.place.as_str(), self.temporary.file()) {
            Ok(_) => self.temporary.set_unresolved(false),
            Err(error) => warn!(slot = %self.slot, %error, "Could not take back a publication; the next sweep will"),
        }
        failed(PUBLISH)(why)
    }

    /// What a name that is durable ends in.
    pub(super) fn landed(mut self, named: Named) -> Landed {
        hash(&mut self.hasher, &self.rest);
        let digest = self.hasher.map(Hasher::finish);
        Landed { inner: self.inner, temporary: self.temporary, place: named.place, digest }
    }

    /// Gives the name. What already has it is the leftover of a crash: the caller holds the claim and saw no row.
    fn link(&self, parent: &Directory, name: &str) -> rustix::io::Result<()> {
        let (ours, own) = (&*self.inner.temporaries, self.temporary.id().to_string());
        match linkat(ours, &own, parent, name, AtFlags::empty()) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) if !is_replaceable(parent, name)? => Err(Errno::ISDIR),
            Err(Errno::EXIST) => {
                // Through a second name, because the first is the record of this publication.
                let second = format!("{own}{SECOND_NAME}");
                linkat(ours, &own, ours, &second, AtFlags::empty())?;
                renameat(ours, &second, parent, name).inspect_err(|_| {
                    let _ = unlinkat(ours, &second, AtFlags::empty());
                })
            }
            // No hard links here (vfat, some network and FUSE file systems): the record is lost in a crash, and what
            // it leaves is a file without a row, which `audit` reports and the next upload of the slot replaces.
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) if is_replaceable(parent, name)? => {
                renameat(ours, &own, parent, name)
            }
            Err(error) => Err(error),
        }
    }
}

/// An error when the caller has left.
pub(super) fn unless(abandoned: &AtomicBool) -> Result<(), StoreError> {
    if abandoned.load(Ordering::Acquire) {
        return Err(failed(PUBLISH)(std::io::Error::other("the request has ended")));
    }
    Ok(())
}

/// Whether the file system can hold no file there: its name, or what others have put in its way.
fn is_no_file_name(error: &std::io::Error) -> bool {
    let by_name = [Errno::NAMETOOLONG, Errno::INVAL, Errno::ILSEQ];
    let in_the_way = [Errno::NOTDIR, Errno::ISDIR, Errno::LOOP, Errno::XDEV, Errno::ACCESS];
    Errno::from_io_error(error).is_some_and(|errno| by_name.contains(&errno) || in_the_way.contains(&errno))
}

/// A blob with a durable name and no row yet.
pub(super) struct Landed {
    inner: Arc<Inner>,
    temporary: Arc<Temporary>,
    place: Place,
    digest: Option<Digest>,
}

impl Landed {
    pub(super) fn into_published(self) -> Published {
        Published { place: self.place.clone(), digest: self.digest, aftermath: Box::new(self) }
    }
}

impl Aftermath for Landed {
    fn settle(self: Box<Self>) -> BoxFuture<'static, ()> {
        // The reaper does the rest; nobody needs to wait for it.
        self.temporary.set_unresolved(false);
        Box::pin(std::future::ready(()))
    }

    fn retract(self: Box<Self>, claim: Claim) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let Self { inner, temporary, place, .. } = *self;
            let store = Arc::clone(&inner);
            let take_back = move || {
                let _claim = claim;
                store.tree.remove_same(place.as_str(), temporary.file()).map_err(failed("take back an upload"))?;
                temporary.set_unresolved(false);
                Ok(())
            };
            if let Err(error) = inner.writes.run("take back an upload", take_back).await {
                warn!(%error, "Could not take back a publication; the next sweep will");
            }
        })
    }
}

/// Tells a publication that its caller has given up (timed out, cancelled), as long as it lives and is not called off.
#[derive(Default)]
pub(super) struct Abandoned(Arc<AtomicBool>, bool);

impl Abandoned {
    pub(super) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }

    /// The caller has the result.
    pub(super) fn not(mut self) {
        self.1 = true;
    }
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        if !self.1 {
            self.0.store(true, Ordering::Release);
        }
    }
}
