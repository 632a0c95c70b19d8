//! [`Tree`]: paths below the root that no symlink, `..` or mount leads out of, and directories that last.
//!
//! Blocking; called on a lane. Invariant: a published name is durable only when every directory on its way is, so
//! whoever passes through a directory whose own entry is not known to be synced syncs it too. That it exists says
//! nothing: a process that was killed may have made it.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::sync::Mutex;

use hfs_core::ByteSize;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Stat, fstat, fsync, mkdirat, openat, openat2, statat, unlinkat};
use rustix::io::{Errno, Result, retry_on_intr};

use super::call::Call;
use super::durable::{Durable, Identity};
use super::joint::Joint;
use super::layout::split;
use super::lock;
use super::seam::Seam;

/// How a directory is opened.
pub(super) const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);
const SAFE: OFlags = OFlags::CLOEXEC.union(OFlags::NOFOLLOW);
const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

pub(super) struct Tree {
    root: OwnedFd,
    root_identity: Option<Identity>,
    /// Kernels before 5.6 and some sandboxes lack openat2.
    has_openat2: bool,
    /// Directories whose entry in their parent this process has synced.
    durable: Mutex<Durable>,
    joint: Joint,
}

/// An open directory to publish in, and those above it with an entry on the way that may not be durable.
pub(super) struct Way {
    pub(super) parent: Directory,
    unsynced: Vec<Unsynced>,
}

/// An open directory.
pub(super) struct Directory {
    fd: OwnedFd,
    identity: Option<Identity>,
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// An entry that may not be durable: the directory that has it, and what it leads to.
struct Unsynced {
    above: Directory,
    path: String,
    directory: Option<Identity>,
}

impl Tree {
    pub(super) fn new(root: OwnedFd) -> Self {
        let probe = openat2(&root, ".", DIRECTORY | SAFE, Mode::empty(), BENEATH);
        Self::of(root, probe.is_ok())
    }

    #[cfg(test)]
    pub(super) fn without_openat2(root: OwnedFd) -> Self {
        Self::of(root, false)
    }

    fn of(root: OwnedFd, has_openat2: bool) -> Self {
        let root_identity = Identity::of(&root);
        Self { root, root_identity, has_openat2, durable: Mutex::default(), joint: Joint::default() }
    }

    /// Opens what lies at a relative path; the empty path is the root.
    pub(super) fn open(&self, path: impl AsRef<Path>, flags: OFlags) -> Result<OwnedFd> {
        let (path, flags) = (path.as_ref(), flags | SAFE);
        if path.as_os_str().is_empty() {
            return retry_on_intr(|| openat(&self.root, ".", flags, Mode::empty()));
        }
        if self.has_openat2 {
            return retry_on_intr(|| openat2(&self.root, path, flags, Mode::empty(), BENEATH));
        }
        let mut parent = self.open("", DIRECTORY)?;
        for step in path.parent().into_iter().flat_map(Path::iter) {
            parent = open_step(&parent, step, DIRECTORY)?;
        }
        open_step(&parent, path.file_name().ok_or(Errno::NOENT)?, flags)
    }

    /// Like [`Tree::open`], but never waits for the disk: `AGAIN` when the name is not in the kernel's cache, another
    /// error when the kernel cannot tell.
    pub(super) fn open_known(&self, path: &str, flags: OFlags) -> Result<OwnedFd> {
        openat2(&self.root, path, flags | SAFE, Mode::empty(), BENEATH | ResolveFlags::CACHED)
    }

    /// What lies at a relative path; a symlink is `LOOP`.
    pub(super) fn stat(&self, path: &str) -> Result<Stat> {
        fstat(self.open(path, OFlags::PATH)?)
    }

    /// Opens a directory, making what is missing. `NOENT` when one was pruned on the way: try again.
    pub(super) fn way(&self, directory: &str, seam: &Seam) -> std::io::Result<Way> {
        let root = Directory { fd: self.open("", DIRECTORY)?, identity: self.root_identity };
        let mut way = Way { parent: root, unsynced: Vec::new() };
        let mut end = 0;
        while end < directory.len() {
            let start = if end == 0 { 0 } else { end + 1 };
            end = directory[start..].find('/').map_or(directory.len(), |at| start + at);
            let path = &directory[..end];
            let next = self.step(&way.parent.fd, &directory[start..end], path, seam)?;
            let identity = Identity::of(&next);
            let above = std::mem::replace(&mut way.parent, Directory { fd: next, identity });
            if !identity.is_some_and(|identity| lock(&self.durable).contains(path, identity)) {
                way.unsynced.push(Unsynced { above, path: path.to_owned(), directory: identity });
            }
        }
        Ok(way)
    }

    /// One directory further down, made if need be.
    fn step(&self, parent: &OwnedFd, name: &str, path: &str, seam: &Seam) -> std::io::Result<OwnedFd> {
        match open_step(parent, name, DIRECTORY) {
            Ok(directory) => return Ok(directory),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        seam.pass(Call::MakeDirectory)?;
        // Forgotten before it exists again: a rival that finds it must not take it for the one that was pruned.
        lock(&self.durable).remove(path);
        match mkdirat(parent, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Ok(open_step(parent, name, DIRECTORY)?),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a new name durable: syncs its directory and all that may have gained an entry for it.
    pub(super) fn sync(&self, way: &Way, seam: &Seam) -> Result<()> {
        for directory in way.unsynced.iter().map(|unsynced| &unsynced.above).chain([&way.parent]) {
            self.sync_directory(directory, seam)?;
        }
        self.synced(way);
        Ok(())
    }

    fn sync_directory(&self, directory: &Directory, seam: &Seam) -> Result<()> {
        let sync = || {
            seam.pass(Call::SyncDirectory).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            match retry_on_intr(|| fsync(directory)) {
                // A file system that syncs no directories.
                Err(Errno::INVAL) => Ok(()),
                synced => synced,
            }
        };
        match directory.identity {
            Some(identity) => self.joint.sync(identity, sync),
            None => sync(),
        }
    }

    /// Remembers what was made durable.
    pub(super) fn synced(&self, way: &Way) {
        // The new name keeps them from being pruned, so these still are the directories that were synced.
        for Unsynced { path, directory, .. } in &way.unsynced {
            if let Some(identity) = directory {
                lock(&self.durable).insert(path.clone(), *identity);
            }
        }
    }

    /// Removes a file and the directories that it leaves empty; nothing there is success.
    pub(super) fn remove(&self, path: &str) -> Result<()> {
        let (directory, name) = split(path);
        let unlinked = self.open(directory, DIRECTORY).and_then(|parent| unlinkat(parent, name, AtFlags::empty()));
        match unlinked {
            Ok(()) => {
                self.prune(directory);
                Ok(())
            }
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Like [`Tree::remove`], but only if the name still is that file's. The caller makes sure that nobody publishes
    /// there meanwhile. Returns whether it was.
    pub(super) fn remove_same(&self, path: &str, file: &File) -> Result<bool> {
        let ours = fstat(file)?;
        match self.stat(path) {
            Ok(there) if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino) => {
                self.remove(path)?;
                Ok(true)
            }
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes a directory and those above it, as long as they are empty; never the root.
    pub(super) fn prune(&self, directory: &str) {
        let mut path = directory;
        while !path.is_empty() {
            let (above, name) = split(path);
            let removed = self.open(above, DIRECTORY).and_then(|parent| unlinkat(parent, name, AtFlags::REMOVEDIR));
            match removed {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(_) => return,
            }
            lock(&self.durable).remove(path);
            path = above;
        }
    }

    /// Bytes free for an unprivileged writer.
    pub(super) fn free(&self) -> Result<ByteSize> {
        let status = rustix::fs::fstatvfs(&self.root)?;
        Ok(ByteSize::bytes(status.f_bavail.saturating_mul(status.f_frsize)))
    }
}

/// Opens one name in a directory.
fn open_step(parent: impl AsFd, name: impl AsRef<OsStr>, flags: OFlags) -> Result<OwnedFd> {
    let name = name.as_ref();
    // Only a place that was tampered with has these.
    if name.is_empty() || name == "." || name == ".." || name == "/" {
        return Err(Errno::NOENT);
    }
    retry_on_intr(|| openat(parent.as_fd(), name, flags | SAFE, Mode::empty()))
}

/// Whether a file may be renamed over what `name` is: nothing, or a regular file.
pub(super) fn is_replaceable(parent: impl AsFd, name: &str) -> Result<bool> {
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(there) => Ok(rustix::fs::FileType::from_raw_mode(there.st_mode).is_file()),
        Err(Errno::NOENT) => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::super::testing::Root;
    use super::*;

    const CROWD: usize = 3;

    #[test]
    fn names_given_at_once_share_the_sync_of_their_directory() {
        let root = Root::new();
        let store = root.open();
        let (tree, seam) = (&store.0.tree, &store.0.seam);
        let give_name = || tree.sync(&tree.way("names", seam).unwrap(), seam).unwrap();
        give_name();
        // Old file systems do not tell one directory from another.
        let Some(names) = tree.way("names", seam).unwrap().parent.identity else { return };
        seam.arm(None);
        let (begin, begun) = mpsc::channel();
        let (release, held) = mpsc::channel::<()>();
        let running = move || {
            begin.send(()).unwrap();
            let _ = held.recv();
            Ok(())
        };
        thread::scope(|scope| {
            scope.spawn(|| tree.joint.sync(names, running));
            begun.recv().unwrap();
            let crowd: Vec<_> = (0..CROWD).map(|_| scope.spawn(give_name)).collect();
            while tree.joint.waiting(names) < CROWD && !crowd.iter().any(|one| one.is_finished()) {
                thread::yield_now();
            }
            drop(release);
        });
        assert_eq!(seam.seen(), [Call::SyncDirectory]);
    }
}
