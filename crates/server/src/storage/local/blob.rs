//! Published blobs, open for reading: from the page cache on the spot, from the disk on a lane.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_core::future::BoxFuture;
use hfs_core::ByteSize;
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, OFlags, Stat, fstat};
use rustix::io::Errno;

use super::{Blob, Inner, Place, StoreError, failed};
use crate::clock::Stopwatch;
use crate::storage::Scratch;

const OPEN: &str = "open a blob";
const READ: &str = "read a blob";
/// A FIFO or a device that someone put there must not hang the opening.
const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

pub(super) async fn open(inner: &Arc<Inner>, place: &Place) -> Result<LocalBlob, StoreError> {
    // Names of popular files are in the kernel's cache: no need to change threads for them.
    if let Ok(fd) = inner.tree.open_known(place.as_str(), FLAGS) {
        return LocalBlob::new(inner, fd, place);
    }
    let (store, wanted) = (Arc::clone(inner), place.clone());
    let open = move || match store.tree.open(wanted.as_str(), FLAGS) {
        Ok(fd) => LocalBlob::new(&store, fd, &wanted),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NXIO | Errno::NAMETOOLONG) => {
            Err(StoreError::Missing { place: wanted })
        }
        Err(error) => Err(failed(OPEN)(error)),
    };
    inner.reads.run(OPEN, open).await
}

#[derive(Debug)]
pub(super) struct LocalBlob {
    file: Arc<File>,
    size: u64,
    /// As it was when it was opened.
    status: Stat,
    /// When the whole of it was last found in the page cache, before it was sent.
    seen: Lately,
    /// When a piece was last read from the disk, or may have been.
    fetched: Lately,
    inner: Arc<Inner>,
}

impl LocalBlob {
    fn new(inner: &Arc<Inner>, fd: OwnedFd, place: &Place) -> Result<Self, StoreError> {
        let status = fstat(&fd).map_err(failed(OPEN))?;
        if !FileType::from_raw_mode(status.st_mode).is_file() {
            return Err(StoreError::Missing { place: place.clone() });
        }
        let size = u64::try_from(status.st_size).unwrap_or(0);
        let (seen, fetched) = (Lately::never(), Lately::never());
        Ok(Self { file: Arc::new(File::from(fd)), size, status, seen, fetched, inner: Arc::clone(inner) })
    }

    /// Pages that were sent this lately are the last that the kernel gives up: no need to look at each of thousands of
    /// requests.
    const RECENT: u64 = 100;
    /// What the kernel reads ahead of a fetched piece comes within this, from a disk that is not hopeless.
    const ON_ITS_WAY: u64 = 10_000;

    async fn read(&self, offset: u64, length: usize, scratch: &mut Scratch) -> Result<(), StoreError> {
        let length = usize::try_from(self.size.saturating_sub(offset)).map_or(length, |left| left.min(length));
        // What the page cache has is copied on the spot: cheaper than a change of threads.
        let cached = scratch
            .refill(length, |room| if length == 0 { Ok(0) } else { hfs_sock::read_cached(&self.file, room, offset) });
        if cached.is_ok_and(|read| read == length) {
            return Ok(());
        }
        self.fetched.note();
        let (file, mut lent) = (Arc::clone(&self.file), std::mem::take(scratch));
        let read = move || {
            lent.refill(length, |room| read_full(&file, room, offset)).map_err(failed(READ))?;
            Ok(lent)
        };
        *scratch = self.inner.reads.run(READ, read).await?;
        Ok(())
    }

    /// Whether sendfile would find all of it. The kernel is asked for holes, where it tells of them; where it does not, a page
    /// is looked for in each part that it reads ahead at once. What it counts may be on its way from the disk still, which
    /// shows at single pages: few, where nothing of the file was fetched for a while.
    fn is_cached(&self, offset: u64, length: u64) -> bool {
        const READ_AHEAD: u64 = 128 << 10;
        const FETCHED: u64 = 16 << 10;
        let apart = match hfs_sock::is_resident(&self.file, offset, length) {
            Ok(false) => return false,
            _ if self.fetched.is_within(Self::ON_ITS_WAY) => FETCHED,
            Ok(true) => (length / 2).max(READ_AHEAD),
            Err(_) => READ_AHEAD,
        };
        let is_there = |at| hfs_sock::read_cached(&self.file, &mut [0], at).is_ok();
        is_there(offset + length.saturating_sub(1))
            && (0..length).step_by(apart as usize).all(|at| is_there(offset + at))
    }
}

impl Blob for LocalBlob {
    fn size(&self) -> ByteSize {
        ByteSize::bytes(self.size)
    }

    fn refill<'a>(
        &'a self,
        offset: u64,
        length: usize,
        scratch: &'a mut Scratch,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.read(offset, length, scratch))
    }

    fn file(&self) -> Option<&File> {
        Some(&self.file)
    }

    fn is_at_hand(&self, offset: u64, length: u64) -> bool {
        let is_whole = offset == 0 && length == self.size;
        if is_whole && self.seen.is_within(Self::RECENT) {
            return true;
        }
        let is_there = self.is_cached(offset, length);
        if is_whole && is_there {
            self.seen.note();
        }
        is_there
    }

    fn is_untouched(&self) -> bool {
        // The change time is set by every link, unlink, rename and write.
        let mark = |status: &Stat| (status.st_nlink, status.st_size, status.st_ctime, status.st_ctime_nsec);
        self.status.st_nlink == 1 && fstat(&self.file).is_ok_and(|now| mark(&now) == mark(&self.status))
    }
}

/// When something last happened to a file, in milliseconds.
#[derive(Debug)]
struct Lately {
    opened: Stopwatch,
    /// Since then; zero is never.
    at: AtomicU64,
}

impl Lately {
    fn never() -> Self {
        Self { opened: Stopwatch::start(), at: AtomicU64::new(0) }
    }

    fn is_within(&self, span: u64) -> bool {
        let at = self.at.load(Ordering::Relaxed);
        at != 0 && self.now() < at + span
    }

    fn note(&self) {
        self.at.store(self.now(), Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX / 2) + 1
    }
}

/// Fills `buffer` from `offset` on; less only at the end of the file. Blocking.
pub(super) fn read_full(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
