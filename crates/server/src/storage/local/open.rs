//! [`LocalStore::open`]: makes or finds the store's own folder, and says early and clearly why a root cannot be used.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, fsync, mkdirat, openat, statat};
use rustix::io::Errno;
use tokio::sync::Semaphore;
use tracing::warn;

use super::claim::Claims;
use super::lane::Lane;
use super::layout::{ADOPTION_DUE, CLAIMS, OURS, TEMPORARIES};
use super::pump;
use super::reserve::Reserve;
use super::seam::Seam;
use super::syncfs::Syncfs;
use super::temporary::Reaper;
use super::together::{self, Together};
use super::tree::{DIRECTORY, Tree};
use super::{Inner, LocalStore, probe};
use crate::storage::StorageConfig;

/// Why a folder cannot be the store's root.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Something else has its name.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// The configured root.
        path: PathBuf,
    },
    /// It is missing and cannot be made.
    #[error("{} does not exist and cannot be created", path.display())]
    Create {
        /// The configured root.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Its file system is mounted read-only, or has become so after an error.
    #[error("{} is on a read-only file system", path.display())]
    ReadOnly {
        /// The configured root.
        path: PathBuf,
    },
    /// This user may not write there.
    #[error("{} is not writable for this user", path.display())]
    NotWritable {
        /// The configured root.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Temporaries of a running server could not be told from those of a dead one.
    #[error("the file system of {} has no file locks", path.display())]
    NoLocks {
        /// The configured root.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot {action} in {}", path.display())]
    Io {
        /// What failed.
        action: &'static str,
        /// The configured root.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

impl LocalStore {
    /// Opens the store at `config.path`; makes the folder and its `.hfs` when missing. Blocking: call it at start.
    ///
    /// A folder that has files but no `.hfs` is a foreign tree: [`crate::storage::adopt`] is due then, and stays due
    /// until it has finished once.
    ///
    /// # Errors
    /// Why the folder cannot be used; nothing was changed but what could be made.
    pub fn open(config: &StorageConfig) -> Result<Self, OpenError> {
        let path = &config.path;
        let root = open_root(path)?;
        let (ours, temporaries) = found(path, &root)?;
        let exact_names = match probe::exact_names(&temporaries) {
            Ok(exact) => exact,
            // A full disk must not keep the server from serving what it has; common file systems are exact.
            Err(Errno::NOSPC | Errno::DQUOT) => true,
            Err(error) => return Err(unusable(path, "create files")(error)),
        };
        if !exact_names {
            warn!(root = %path.display(), "The file system confuses similar names: blobs are stored by id");
        }
        let reserve = ours.try_clone().map_err(|source| io_error(path, "open .hfs", source))?;
        let claims = Claims::new(ours).map_err(|source| io_error(path, "lock files", source))?;
        if !claims.are_shared() {
            warn!(root = %path.display(), "The file system has no byte-range locks: run one process at a time on it");
        }
        let temporaries = Arc::new(temporaries);
        let reaper =
            Reaper::start(Arc::clone(&temporaries)).map_err(|source| io_error(path, "start a thread", source))?;
        let syncfs = Syncfs::new(Arc::clone(&temporaries));
        Ok(Self(Arc::new(Inner {
            root: path.clone(),
            tree: Tree::new(root),
            temporaries,
            claims: Arc::new(claims),
            reserve: Reserve::new(reserve),
            writes: Lane::new(config.io_deadline),
            reads: Lane::new(config.io_deadline),
            shorts: Lane::gradual(config.io_deadline),
            trickles: Lane::narrow(config.io_deadline),
            together: Together::default(),
            groups: together::crew(),
            syncfs,
            reaper,
            pumps: Arc::new(Semaphore::new(pump::WIDTH)),
            pipes: Mutex::default(),
            splices: AtomicBool::new(true),
            free: Mutex::default(),
            asking: Semaphore::new(1),
            exact_names,
            seam: Seam::new(),
        })))
    }
}

fn open_root(path: &Path) -> Result<OwnedFd, OpenError> {
    let is_new = !path.exists();
    match DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(OpenError::NotADirectory { path: path.to_owned() });
        }
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            return Err(OpenError::ReadOnly { path: path.to_owned() });
        }
        Err(source) => return Err(OpenError::Create { path: path.to_owned(), source }),
    }
    if is_new {
        sync_above(path);
    }
    openat(CWD, path, DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(|error| match error {
        Errno::NOTDIR => OpenError::NotADirectory { path: path.to_owned() },
        error => unusable(path, "read")(error),
    })
}

/// A root that is lost with the power takes every blob with it. As far as this user may: system folders are old.
fn sync_above(path: &Path) {
    let Ok(absolute) = path.canonicalize() else { return };
    for above in absolute.ancestors().skip(1) {
        if File::open(above).and_then(|directory| directory.sync_all()).is_err() {
            return;
        }
    }
}

/// Finds or founds `.hfs`; returns it and its folder of temporaries.
fn found(path: &Path, root: &OwnedFd) -> Result<(OwnedFd, OwnedFd), OpenError> {
    let is_ours = statat(root, format!("{OURS}/{CLAIMS}"), AtFlags::SYMLINK_NOFOLLOW).is_ok();
    let ours = directory(root, OURS).map_err(unusable(path, "create .hfs"))?;
    let temporaries = directory(&ours, TEMPORARIES).map_err(unusable(path, "create .hfs/tmp"))?;
    if !is_ours {
        // In this order: a crash in between founds anew, and finds the tree as foreign as before.
        if has_others(root).map_err(unusable(path, "list files"))? {
            touch(&ours, ADOPTION_DUE).map_err(unusable(path, "create files"))?;
            fsync(&ours).map_err(unusable(path, "sync"))?;
        }
        touch(&ours, CLAIMS).map_err(unusable(path, "create files"))?;
    }
    let locks = File::from(touch(&ours, CLAIMS).map_err(unusable(path, "create files"))?);
    if let Err(std::fs::TryLockError::Error(source)) = locks.try_lock_shared() {
        return Err(OpenError::NoLocks { path: path.to_owned(), source });
    }
    for made in [&temporaries, &ours, root] {
        fsync(made)
            .or_else(|error| if error == Errno::INVAL { Ok(()) } else { Err(error) })
            .map_err(unusable(path, "sync"))?;
    }
    Ok((ours, temporaries))
}

fn directory(parent: &OwnedFd, name: &str) -> rustix::io::Result<OwnedFd> {
    match mkdirat(parent, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        // A read-only file system says so even when the directory is there.
        Err(error) => return Err(error),
    }
    openat(parent, name, DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
}

pub(super) fn touch(parent: &OwnedFd, name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
}

/// Whether the root has anything that is neither ours nor of a new file system.
fn has_others(root: &OwnedFd) -> rustix::io::Result<bool> {
    for entry in Dir::read_from(root)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b".." | b".hfs" | b"lost+found") {
            return Ok(true);
        }
    }
    Ok(false)
}

fn unusable(path: &Path, action: &'static str) -> impl FnOnce(Errno) -> OpenError {
    move |error| match error {
        Errno::ROFS => OpenError::ReadOnly { path: path.to_owned() },
        Errno::ACCESS | Errno::PERM => OpenError::NotWritable { path: path.to_owned(), source: error.into() },
        error => io_error(path, action, error.into()),
    }
}

fn io_error(path: &Path, action: &'static str, source: io::Error) -> OpenError {
    OpenError::Io { action, path: path.to_owned(), source }
}
