//! A walk over all files of the tree, for adoption, sweep and audit.
//!
//! It never follows a symlink, keeps a bounded number of directories open, and lives with a tree that changes under
//! it: what comes or goes meanwhile may or may not be seen, so its callers look twice before they act.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hfs_core::Timestamp;
use rustix::fs::{AtFlags, Dir, FileType, Stat, statat};
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::Inner;
use super::layout::OURS;
use super::tree::DIRECTORY;

/// Directories that are open at once; deeper ones are visited later.
const OPEN: usize = 64;

/// What the walk came across.
#[derive(Debug)]
pub(in crate::storage) enum Step {
    /// A regular file.
    File(Found),
    /// A symlink, device, socket or FIFO: never served.
    Special(PathBuf),
    /// What lies there is not known.
    Unreadable(PathBuf, io::Error),
}

/// A regular file, by its path below the root.
#[derive(Debug)]
pub(in crate::storage) struct Found {
    pub(in crate::storage) path: PathBuf,
    pub(in crate::storage) file: FileStatus,
}

/// What the file system knows of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::storage) struct FileStatus {
    pub(in crate::storage) inode: (u64, u64),
    pub(in crate::storage) size: u64,
    pub(in crate::storage) modified: Timestamp,
    /// It has more than one name, as a blob does whose publication is not settled.
    pub(in crate::storage) is_linked: bool,
}

impl FileStatus {
    #[expect(clippy::useless_conversion, reason = "the fields' types differ between architectures")]
    pub(super) fn of(status: &Stat) -> Self {
        Self {
            inode: (u64::from(status.st_dev), u64::from(status.st_ino)),
            size: u64::try_from(status.st_size).unwrap_or(0),
            modified: Timestamp::from_unix(i64::try_from(status.st_mtime).unwrap_or(i64::MAX)),
            is_linked: status.st_nlink > 1,
        }
    }
}

/// Walks everything below `base` (empty: the root), but not our own folder inside it; a file there is the only step.
/// Dropping the receiver ends it.
pub(super) fn walk(inner: &Arc<Inner>, base: PathBuf) -> mpsc::Receiver<Step> {
    let (steps, receiver) = mpsc::channel(256);
    let inner = Arc::clone(inner);
    // Not on a lane: it may take minutes, and it is one thread.
    tokio::task::spawn_blocking(move || Walk { inner, steps, later: vec![base] }.run());
    receiver
}

struct Walk {
    inner: Arc<Inner>,
    steps: mpsc::Sender<Step>,
    later: Vec<PathBuf>,
}

/// The receiver is gone.
struct Unwanted;

impl Walk {
    fn run(mut self) {
        while let Some(path) = self.later.pop() {
            if self.below(path).is_err() {
                return;
            }
        }
    }

    /// Everything below one directory, or as much as can be open at once.
    fn below(&mut self, path: PathBuf) -> Result<(), Unwanted> {
        let mut open = Vec::new();
        self.enter(path, &mut open)?;
        while let Some((directory, path)) = open.last_mut() {
            let Some(entry) = directory.read() else {
                open.pop();
                continue;
            };
            let path = path.clone();
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    open.pop();
                    self.tell(Step::Unreadable(path, error.into()))?;
                    continue;
                }
            };
            let name = entry.file_name().to_bytes();
            let is_ours = name == OURS.as_bytes() && path.as_os_str().is_empty();
            if is_ours || matches!(name, b"." | b"..") {
                continue;
            }
            let status = directory.fd().and_then(|fd| statat(fd, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW));
            self.visit(path.join(OsStr::from_bytes(name)), status, &mut open)?;
        }
        Ok(())
    }

    fn visit(
        &mut self,
        path: PathBuf,
        status: rustix::io::Result<Stat>,
        open: &mut Vec<(Dir, PathBuf)>,
    ) -> Result<(), Unwanted> {
        let status = match status {
            Ok(status) => status,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return self.tell(Step::Unreadable(path, error.into())),
        };
        match FileType::from_raw_mode(status.st_mode) {
            FileType::RegularFile => self.tell(Step::File(Found { path, file: FileStatus::of(&status) })),
            FileType::Directory if open.len() < OPEN => self.enter(path, open),
            FileType::Directory => {
                self.later.push(path);
                Ok(())
            }
            _ => self.tell(Step::Special(path)),
        }
    }

    fn enter(&self, path: PathBuf, open: &mut Vec<(Dir, PathBuf)>) -> Result<(), Unwanted> {
        match self.open(&path) {
            Ok(directory) => open.push((directory, path)),
            Err(Errno::NOENT) => {}
            Err(Errno::NOTDIR) => self.file(path)?,
            Err(error) => self.tell(Step::Unreadable(path, error.into()))?,
        }
        Ok(())
    }

    /// What was taken for a directory, or was one a moment ago.
    fn file(&self, path: PathBuf) -> Result<(), Unwanted> {
        let status = path.to_str().ok_or(Errno::ILSEQ).and_then(|path| self.inner.tree.stat(path));
        match status {
            Ok(status) if FileType::from_raw_mode(status.st_mode).is_file() => {
                self.tell(Step::File(Found { path, file: FileStatus::of(&status) }))
            }
            Ok(_) => self.tell(Step::Special(path)),
            Err(error) => self.tell(Step::Unreadable(path, error.into())),
        }
    }

    fn open(&self, path: &Path) -> rustix::io::Result<Dir> {
        Dir::new(self.inner.tree.open(path, DIRECTORY)?)
    }

    fn tell(&self, step: Step) -> Result<(), Unwanted> {
        self.steps.blocking_send(step).map_err(|_| Unwanted)
    }
}
