//! [`Temporary`]: bytes on their way in, below a name that nobody serves, leased as long as their writer lives.
//!
//! Nothing here is removed by the thread that drops it: a disk that hangs would hang the runtime. The reaper's one
//! thread does it, and keeps the lease until it has.

use std::fs::{File, TryLockError};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use hfs_core::{BlobId, ByteSize};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags, fstat, openat, unlinkat};
use rustix::io::Errno;
use tokio::sync::oneshot;
use tracing::warn;

use super::call::Call;
use super::{Inner, StoreError, failed, lock};
use crate::clock;

const CREATE: &str = "create a temporary";
/// A sweep, also of another process, can take a temporary between its creation and its lease. It needs a moment to find
/// that there is no row, and to remove the name; with a disk in trouble, longer than anybody should wait.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(1);
/// How long removals gather, which nobody waits for: to wake the thread for each costs as much as the removal.
const GATHER: Duration = Duration::from_millis(5);

pub(super) struct Temporary {
    id: BlobId,
    file: Option<File>,
    /// It has (or may have) a published name too, and no decision about it: then its own name must stay.
    unresolved: AtomicBool,
    reaper: Arc<Reaper>,
}

impl Temporary {
    /// A name for one: about in the order of time, which the index of rows is glad of.
    pub(super) fn draw() -> Result<BlobId, StoreError> {
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random).map_err(io::Error::other).map_err(failed(CREATE))?;
        Ok(BlobId::drawn(clock::since_epoch(), random))
    }

    /// Creates and leases one of that name, with room for `reserved` bytes. Blocking.
    pub(super) fn create(inner: &Inner, id: BlobId, reserved: Option<ByteSize>) -> Result<Self, StoreError> {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            let Some(temporary) = Self::try_create(inner, id, begin)? else {
                pause();
                continue;
            };
            if let Some(size) = reserved {
                inner.seam.pass(Call::Allocate).map_err(failed("reserve space"))?;
                hfs_sock::preallocate(temporary.file(), size.as_u64()).map_err(failed("reserve space"))?;
            }
            return Ok(temporary);
        }
        Err(failed(CREATE)(io::Error::from(io::ErrorKind::WouldBlock)))
    }

    /// `None` while a sweep has the name.
    fn try_create(inner: &Inner, id: BlobId, begin: Instant) -> Result<Option<Self>, StoreError> {
        inner.seam.pass(Call::Create).map_err(failed(CREATE))?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = match openat(&*inner.temporaries, id.to_string(), flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => File::from(file),
            Err(Errno::EXIST) => return Ok(None),
            Err(error) => return Err(failed(CREATE)(error)),
        };
        if !lease(&file, begin, pause)? {
            return Ok(None);
        }
        Ok(Some(Self { id, file: Some(file), unresolved: AtomicBool::new(false), reaper: Arc::clone(&inner.reaper) }))
    }

    pub(super) fn id(&self) -> BlobId {
        self.id
    }

    pub(super) fn file(&self) -> &File {
        self.file.as_ref().expect("only drop takes it")
    }

    /// Says whether its fate hangs on a row that may or may not be committed.
    pub(super) fn set_unresolved(&self, unresolved: bool) {
        self.unresolved.store(unresolved, Ordering::Release);
    }
}

fn pause() {
    std::thread::sleep(PAUSE);
}

/// Locks a new file; false when it has lost its name to a sweep by then. An audit, which may have it for a moment too,
/// removes nothing.
fn lease(file: &File, begin: Instant, mut pause: impl FnMut()) -> Result<bool, StoreError> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(fstat(file).map_err(failed(CREATE))?.st_nlink > 0),
            Err(TryLockError::WouldBlock) if begin.elapsed() < PATIENCE => pause(),
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(failed(CREATE)(error)),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        if *self.unresolved.get_mut() {
            lock(&self.reaper.limbo).push((Instant::now(), file));
        } else {
            self.reaper.send(Job::Unlink(self.id, file));
        }
    }
}

/// Removes the names of temporaries, on a thread of its own that ends with the last reference.
pub(super) struct Reaper {
    jobs: mpsc::Sender<Job>,
    /// Published, but nobody said whether the row was committed. Their leases last on, because a metadata store that
    /// is slow may still commit; `sweep` takes over after a while.
    limbo: Mutex<Vec<(Instant, File)>>,
}

enum Job {
    Unlink(BlobId, File),
    Tell(oneshot::Sender<()>),
}

impl Reaper {
    pub(super) fn start(temporaries: Arc<OwnedFd>) -> io::Result<Arc<Self>> {
        let (jobs, queue) = mpsc::channel();
        std::thread::Builder::new().name("hfs-reaper".to_owned()).spawn(move || reap(&temporaries, &queue, gather))?;
        Ok(Arc::new(Self { jobs, limbo: Mutex::default() }))
    }

    fn send(&self, job: Job) {
        // It fails only if the thread has died; then the file closes here and the next sweep removes it.
        let _ = self.jobs.send(job);
    }

    /// Waits until all that was given so far is done.
    pub(super) async fn drained(&self) {
        let (tell, told) = oneshot::channel();
        self.send(Job::Tell(tell));
        let _ = told.await;
    }

    /// Ends the leases of what has waited for its row longer than `patience`.
    pub(super) fn release_limbo(&self, patience: Duration) {
        lock(&self.limbo).retain(|(since, _)| since.elapsed() < patience);
    }
}

/// Lets them gather.
fn gather() {
    std::thread::sleep(GATHER);
}

/// Does what comes, until nothing can come any more; `rest` is called each time that all is done.
fn reap(temporaries: &OwnedFd, queue: &mpsc::Receiver<Job>, mut rest: impl FnMut()) {
    while let Ok(first) = queue.recv() {
        reap_all(temporaries, std::iter::once(first).chain(queue.try_iter()));
        rest();
    }
}

fn reap_all(temporaries: &OwnedFd, jobs: impl Iterator<Item = Job>) {
    for job in jobs {
        match job {
            Job::Unlink(id, _leased) => match unlinkat(temporaries, id.to_string(), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => warn!(blob = %id, %error, "Could not remove a temporary; the next sweep will"),
            },
            Job::Tell(who) => {
                let _ = who.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::storage::local::testing::Root;

    #[test]
    fn what_gathers_while_the_reaper_rests_is_done_in_one_go() {
        let root = Root::new();
        let folder = File::open(root.path()).unwrap().into();
        let (jobs, queue) = mpsc::channel();
        let give = |jobs: &mpsc::Sender<Job>| {
            let id = Temporary::draw().unwrap();
            let file = File::create_new(root.path().join(id.to_string())).unwrap();
            jobs.send(Job::Unlink(id, file)).unwrap();
        };
        let left = || fs::read_dir(root.path()).unwrap().count();
        give(&jobs);
        let (mut jobs, mut rests) = (Some(jobs), 0);
        reap(&folder, &queue, || {
            assert_eq!(left(), 0);
            rests += 1;
            // The last one closes the queue.
            if let Some(jobs) = jobs.take() {
                (0..9).for_each(|_| give(&jobs));
            }
        });
        assert_eq!(rests, 2, "the first alone, then the nine that gathered");
    }

    #[test]
    fn an_id_begins_with_the_time_and_ends_by_chance() {
        let now = || BlobId::drawn(clock::since_epoch(), [0; 16]).as_bytes()[..6].to_vec();
        let (before, [one, other], after) = (now(), [(); 2].map(|()| Temporary::draw().unwrap()), now());
        let begins = |id: &BlobId| before[..] <= id.as_bytes()[..6] && id.as_bytes()[..6] <= after[..];
        assert!(begins(&one) && begins(&other), "{one} {other}");
        assert_ne!(one.as_bytes()[6..], other.as_bytes()[6..]);
    }

    #[test]
    fn what_another_process_looks_at_is_leased_once_it_lets_go() {
        let folder = tempfile::tempdir().unwrap();
        for is_swept in [false, true] {
            let path = folder.path().join(is_swept.to_string());
            let (file, other) = (File::create_new(&path).unwrap(), File::open(&path).unwrap());
            other.try_lock().unwrap();
            let mut other = Some(other);
            let lets_go = || {
                if is_swept {
                    fs::remove_file(&path).unwrap();
                }
                drop(other.take());
            };
            assert_eq!(lease(&file, Instant::now(), lets_go).unwrap(), !is_swept);
        }
    }

    #[tokio::test]
    async fn a_name_that_a_sweep_has_taken_is_free_again_soon() {
        let root = Root::new();
        let store = root.open();
        let id = Temporary::draw().unwrap();
        let path = root.path().join(format!(".hfs/tmp/{id}"));
        fs::write(&path, b"").unwrap();
        store.0.seam.arm(None);
        std::thread::scope(|scope| {
            let create = scope.spawn(|| Temporary::create(&store.0, id, None));
            while store.0.seam.seen().len() < 2 {
                std::thread::yield_now();
            }
            assert!(!create.is_finished());
            fs::remove_file(&path).unwrap();
            create.join().unwrap().unwrap();
        });
    }
}
