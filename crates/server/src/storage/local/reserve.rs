//! [`Reserve`]: a mebibyte that is held back for what must work on a full disk.
//!
//! A removal needs room for its tombstone, a start for the database's log and shared memory: without a reserve, a disk
//! that is full to the last byte could only be emptied by hand. It lies in several files, so that it can be taken back
//! by parts, and because each also holds back an inode. All processes on the store share it, in turn: one that uses it
//! up keeps the others waiting until it has taken back what is left. Blocking; nothing is promised: a file system that
//! cannot reserve has none, and uploads may be quicker to use what was given up.

use std::fs::{File, TryLockError};
use std::io;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags, fstat, fsync, mkdirat, openat, unlinkat};
use rustix::io::Errno;

use super::layout::RESERVE;
use super::lock;
use super::tree::DIRECTORY;

/// More than the database, its log and its shared memory gain from one tombstone, or from a start.
const PARTS: u64 = 8;
/// Bytes of one part.
const PART: u64 = 128 << 10;
/// How long another process may use it: about as long as a removal, on a slow disk.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

pub(super) struct Reserve {
    /// `.hfs`.
    ours: OwnedFd,
    /// Its folder, from giving it up until taking it back: locked, unless another process took too long.
    turn: Mutex<Option<File>>,
}

impl Reserve {
    pub(super) fn new(ours: OwnedFd) -> Self {
        Self { ours, turn: Mutex::default() }
    }

    /// Frees all that is held; false when that is nothing. Waits for another process that uses it, within reason.
    pub(super) fn give_up(&self) -> io::Result<bool> {
        let mut turn = lock(&self.turn);
        if turn.is_none() {
            *turn = self.folder()?;
            turn.as_ref().map_or(Ok(()), wait_for_turn)?;
        }
        let Some(folder) = &*turn else { return Ok(false) };
        let mut freed = false;
        for part in 0..PARTS {
            match unlinkat(folder, part.to_string(), AtFlags::empty()) {
                Ok(()) => freed = true,
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if freed {
            // ext4 gives freed blocks out again only once the journal has the removal.
            fsync(folder)?;
        }
        Ok(freed)
    }

    /// Takes back as much as there is room for, and lets others have their turn; whether it is whole now. False also
    /// while another process uses it.
    pub(super) fn take(&self) -> io::Result<bool> {
        let turn = lock(&self.turn).take();
        match mkdirat(&self.ours, RESERVE, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return unless_full(error.into()),
        }
        let folder = match turn {
            Some(folder) => folder,
            None => match self.folder()? {
                Some(folder) if is_our_turn(&folder)? => folder,
                _ => return Ok(false),
            },
        };
        for part in 0..PARTS {
            let name = part.to_string();
            let taken = take_part(&folder, &name);
            if !matches!(taken, Ok(true)) {
                // Half a part, or one that holds nothing back.
                let _ = unlinkat(&folder, &name, AtFlags::empty());
                return taken.or_else(unless_full);
            }
        }
        Ok(true)
    }

    fn folder(&self) -> io::Result<Option<File>> {
        let flags = DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match openat(&self.ours, RESERVE, flags, Mode::empty()) {
            Ok(folder) => Ok(Some(folder.into())),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn wait_for_turn(folder: &File) -> io::Result<()> {
    let begin = Instant::now();
    while !is_our_turn(folder)? && begin.elapsed() < PATIENCE {
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Locks the folder, for as long as it is open here; false while another process has it.
fn is_our_turn(folder: &File) -> io::Result<bool> {
    match folder.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether it is there and holds its bytes back; false where the file system reserves none.
fn take_part(folder: &File, name: &str) -> io::Result<bool> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let part = File::from(openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?);
    let is_whole = u64::try_from(fstat(&part)?.st_size).is_ok_and(|size| size == PART);
    if is_whole { Ok(true) } else { hfs_sock::preallocate(&part, PART) }
}

/// That there is no room is no failure: it is taken another time.
fn unless_full(error: io::Error) -> io::Result<bool> {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Ok(false),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn held(folder: &std::path::Path) -> u64 {
        let parts = std::fs::read_dir(folder.join(RESERVE)).unwrap();
        parts.map(|part| part.unwrap().metadata().unwrap().blocks() * 512).sum()
    }

    #[test]
    fn it_is_held_given_up_and_held_again() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::new(File::open(folder.path()).unwrap().into());
        assert!(!reserve.give_up().unwrap(), "nothing was held");
        for _ in 0..2 {
            assert!(reserve.take().unwrap() && reserve.take().unwrap());
            assert!(held(folder.path()) >= PARTS * PART);
            assert!(reserve.give_up().unwrap());
            assert_eq!(held(folder.path()), 0);
        }
    }

    #[test]
    fn processes_use_it_in_turn() {
        let folder = tempfile::tempdir().unwrap();
        let process = || Reserve::new(File::open(folder.path()).unwrap().into());
        let (one, other) = (process(), process());
        assert!(one.take().unwrap());
        assert!(one.give_up().unwrap());
        assert!(!other.take().unwrap(), "what one uses is not taken by the other");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| other.give_up().unwrap());
            assert!(one.take().unwrap());
            assert!(waiting.join().unwrap(), "it was held again when the other got its turn");
        });
        assert!(other.take().unwrap() && one.take().unwrap());
    }

    #[test]
    fn what_is_missing_of_it_is_added() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::new(File::open(folder.path()).unwrap().into());
        reserve.take().unwrap();
        std::fs::remove_file(folder.path().join(RESERVE).join("3")).unwrap();
        File::create(folder.path().join(RESERVE).join("5")).unwrap();
        assert!(reserve.take().unwrap());
        assert!(held(folder.path()) >= PARTS * PART);
    }
}
