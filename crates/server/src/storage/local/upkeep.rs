//! What sweep, adoption and audit need of a [`LocalStore`] beyond [`BlobStore`](super::BlobStore).

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hfs_core::BlobId;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, fsync, linkat, openat, statat, unlinkat};
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::layout::{ADOPTION_DUE, BY_ID, OURS, blob_of, split};
use super::open::touch;
use super::walk::{FileStatus, Step, walk};
use super::{LocalStore, Place, StoreError, failed};
use crate::storage::Claim;

/// The state of one name among the temporaries.
pub(in crate::storage) enum Lease {
    /// It is gone.
    Gone,
    /// Its writer lives.
    Living,
    /// Its writer is dead, and now it is leased by us.
    Dead(Dead),
}

/// A temporary whose writer is dead, leased by us until this is dropped.
pub(in crate::storage) struct Dead {
    pub(in crate::storage) name: String,
    /// Whose bytes these are, where the name says so.
    pub(in crate::storage) blob: Option<BlobId>,
    pub(in crate::storage) file: FileStatus,
    _lease: File,
}

/// What lies at a place, not to be swept until this is dropped.
pub(in crate::storage) struct Kept {
    /// A share of it; `None` when nothing lies there.
    _lease: Option<File>,
}

impl LocalStore {
    /// Names of all temporaries.
    pub(in crate::storage) async fn temporaries(&self) -> Result<Vec<String>, StoreError> {
        const ACTION: &str = "list temporaries";
        let inner = Arc::clone(&self.0);
        let list = move || {
            let mut names = Vec::new();
            for entry in Dir::read_from(&*inner.temporaries).map_err(failed(ACTION))? {
                let entry = entry.map_err(failed(ACTION))?;
                let name = entry.file_name().to_string_lossy();
                if !matches!(&*name, "." | "..") {
                    names.push(name.into_owned());
                }
            }
            Ok(names)
        };
        self.0.writes.run(ACTION, list).await
    }

    /// Takes over the lease of a temporary, if its writer is dead.
    pub(in crate::storage) async fn lease(&self, name: String) -> Result<Lease, StoreError> {
        const ACTION: &str = "examine a temporary";
        let inner = Arc::clone(&self.0);
        let lease = move || {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = match openat(&*inner.temporaries, &name, flags, Mode::empty()) {
                Ok(fd) => File::from(fd),
                Err(Errno::NOENT) => return Ok(Lease::Gone),
                Err(error) => return Err(failed(ACTION)(error)),
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(Lease::Living),
                Err(TryLockError::Error(error)) => return Err(failed(ACTION)(error)),
            }
            // It may have been removed between the opening and the lock.
            let (ours, named) =
                (fstat(&file).map_err(failed(ACTION))?, statat(&*inner.temporaries, &name, AtFlags::SYMLINK_NOFOLLOW));
            match named {
                Ok(named) if named.st_ino == ours.st_ino => {}
                Ok(_) | Err(Errno::NOENT) => return Ok(Lease::Gone),
                Err(error) => return Err(failed(ACTION)(error)),
            }
            Ok(Lease::Dead(Dead { blob: blob_of(&name), name, file: FileStatus::of(&ours), _lease: file }))
        };
        self.0.writes.run(ACTION, lease).await
    }

    /// Removes the name of a dead temporary; its lease ends after that.
    pub(in crate::storage) async fn discard(&self, dead: Dead) -> Result<(), StoreError> {
        const ACTION: &str = "remove a temporary";
        let inner = Arc::clone(&self.0);
        let unlink = move || match unlinkat(&*inner.temporaries, &dead.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(failed(ACTION)(error)),
        };
        self.0.writes.run(ACTION, unlink).await
    }

    /// Gives a dead temporary a published name, durably, under the claim of its slot; false when something has that name.
    pub(in crate::storage) async fn restore(
        &self,
        dead: &Dead,
        place: Place,
        claim: &Claim,
    ) -> Result<bool, StoreError> {
        const ACTION: &str = "restore a blob";
        let (inner, own, hold) = (Arc::clone(&self.0), dead.name.clone(), claim.hold());
        let link = move || {
            let _hold = hold;
            let (directory, name) = split(place.as_str());
            let way = inner.tree.way(directory, &inner.seam).map_err(failed(ACTION))?;
            match linkat(&*inner.temporaries, own, &way.parent, name, AtFlags::empty()) {
                Ok(()) => inner.tree.sync(&way, &inner.seam).map_err(failed(ACTION)).map(|()| true),
                Err(Errno::EXIST) => Ok(false),
                Err(error) => Err(failed(ACTION)(error)),
            }
        };
        self.0.writes.run(ACTION, link).await
    }

    /// Ends the leases of publications that have waited this long for someone to say what became of their rows.
    pub(in crate::storage) fn release_unresolved(&self, patience: Duration) {
        self.0.reaper.release_limbo(patience);
    }

    /// All files below the root but ours.
    pub(in crate::storage) fn walk(&self) -> mpsc::Receiver<Step> {
        walk(&self.0, PathBuf::new())
    }

    /// The files below a path, or the file there.
    pub(in crate::storage) fn walk_below(&self, path: PathBuf) -> mpsc::Receiver<Step> {
        walk(&self.0, path)
    }

    /// All published blobs that lie by id.
    pub(in crate::storage) fn walk_by_id(&self) -> mpsc::Receiver<Step> {
        walk(&self.0, PathBuf::from(BY_ID))
    }

    /// The regular files at these places.
    pub(in crate::storage) async fn stat(&self, places: Vec<Place>) -> Result<Vec<Option<FileStatus>>, StoreError> {
        const ACTION: &str = "examine a blob";
        let inner = Arc::clone(&self.0);
        let look = move || {
            let one = |place: &Place| match inner.tree.stat(place.as_str()) {
                Ok(status) if FileType::from_raw_mode(status.st_mode).is_file() => Ok(Some(FileStatus::of(&status))),
                Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG | Errno::XDEV) => Ok(None),
                Err(error) => Err(failed(ACTION)(error)),
            };
            places.iter().map(one).collect()
        };
        self.0.reads.run(ACTION, look).await
    }

    /// Whether the writer of a published blob lives and has not yet said that its row is committed.
    pub(in crate::storage) async fn is_being_published(&self, place: Place) -> Result<bool, StoreError> {
        Ok(self.keep(place).await?.is_none())
    }

    /// Keeps every sweep from what lies there; `None` while its writer lives and has not yet said that its row is
    /// committed, and while a sweep judges it.
    pub(in crate::storage) async fn keep(&self, place: Place) -> Result<Option<Kept>, StoreError> {
        const ACTION: &str = "examine a blob";
        let inner = Arc::clone(&self.0);
        let look = move || {
            let file = match inner.tree.open(place.as_str(), OFlags::RDONLY | OFlags::NONBLOCK) {
                Ok(fd) => File::from(fd),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Some(Kept { _lease: None })),
                Err(error) => return Err(failed(ACTION)(error)),
            };
            match file.try_lock_shared() {
                Ok(()) => Ok(Some(Kept { _lease: Some(file) })),
                Err(TryLockError::WouldBlock) => Ok(None),
                Err(TryLockError::Error(error)) => Err(failed(ACTION)(error)),
            }
        };
        self.0.reads.run(ACTION, look).await
    }

    /// Removes a published blob if it still is this file, under the claim of its slot. A removal that hangs in the kernel
    /// keeps the claim after its caller has given up: it must not end late, over the next holder's file.
    pub(in crate::storage) async fn remove_inode(
        &self,
        place: Place,
        inode: (u64, u64),
        claim: Option<&Claim>,
    ) -> Result<bool, StoreError> {
        const ACTION: &str = "remove an unrecorded blob";
        let inner = Arc::clone(&self.0);
        let hold = claim.map(Claim::hold);
        let remove = move || {
            let _hold = hold;
            match inner.tree.stat(place.as_str()) {
                Ok(status) if FileStatus::of(&status).inode == inode => {
                    inner.tree.remove(place.as_str()).map_err(failed(ACTION))?;
                    Ok(true)
                }
                Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
                Err(error) => Err(failed(ACTION)(error)),
            }
        };
        self.0.writes.run(ACTION, remove).await
    }

    /// Whether this root was a foreign tree when the store was founded, and has not been adopted whole since.
    pub(in crate::storage) async fn is_adoption_due(&self) -> Result<bool, StoreError> {
        let inner = Arc::clone(&self.0);
        let look = move || match inner.tree.stat(&format!("{OURS}/{ADOPTION_DUE}")) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(failed("look for a foreign tree")(error)),
        };
        self.0.reads.run("look for a foreign tree", look).await
    }

    /// Remembers that a part of the tree still has to be adopted.
    pub(in crate::storage) async fn adoption_is_due(&self) -> Result<(), StoreError> {
        const ACTION: &str = "note the adoption";
        let inner = Arc::clone(&self.0);
        let mark = move || {
            let ours = inner.tree.open(OURS, super::tree::DIRECTORY).map_err(failed(ACTION))?;
            touch(&ours, ADOPTION_DUE).and_then(|_| fsync(&ours)).map_err(failed(ACTION))
        };
        self.0.writes.run(ACTION, mark).await
    }

    /// Remembers that the tree is adopted.
    pub(in crate::storage) async fn adoption_done(&self) -> Result<(), StoreError> {
        const ACTION: &str = "note the adoption";
        let inner = Arc::clone(&self.0);
        let forget = move || {
            let ours = inner.tree.open(OURS, super::tree::DIRECTORY).map_err(failed(ACTION))?;
            match unlinkat(&ours, ADOPTION_DUE, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => fsync(&ours).map_err(failed(ACTION)),
                Err(error) => Err(failed(ACTION)(error)),
            }
        };
        self.0.writes.run(ACTION, forget).await
    }
}
