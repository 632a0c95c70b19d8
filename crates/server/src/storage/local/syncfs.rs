//! [`Syncfs`]: one sync of the whole file system where many short uploads would each sync a file and its directories.
//!
//! Each of those asks the disk to empty its cache, one after the other; this asks once for all of them. It also writes
//! what others have left dirty, so it is for moments when that is little, and it rests after it was slow.

use std::fs::read_to_string;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, StatVfsMountFlags, fstat, fstatvfs, major, minor, openat, syncfs};
use rustix::io::{Errno, retry_on_intr};
use tracing::{debug, warn};

use super::lock;
use super::tree::DIRECTORY;

/// Since Linux 5.8 it tells of errors in writing, and since 5.17 of the file system's own.
const HONEST: (u32, u32) = (5, 17);
/// From this many uploads on it is cheaper than the syncs of each.
const CROWD: usize = 3;
/// Dirty memory of the whole machine, in KiB, that a slow disk writes in about a second.
const MOST_DIRTY: u64 = 64 << 10;
/// How long an answer about that is good for.
const FRESH: Duration = Duration::from_millis(100);
/// What takes longer, and longer than this for each upload, has written more than those.
const SLOW: Duration = Duration::from_millis(500);
const SLOW_EACH: Duration = Duration::from_millis(50);
/// How long it then rests.
const REST: Duration = Duration::from_secs(60);

pub(super) struct Syncfs {
    temporaries: Arc<OwnedFd>,
    state: Mutex<State>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct State {
    is_able: bool,
    rests_until: Option<Instant>,
    /// When the machine was last asked, and whether little was dirty.
    looked: Option<(Instant, bool)>,
    /// When the syncs that still run began.
    running: Vec<Instant>,
}

/// Uploads that share their syncs.
pub(super) struct Round {
    root: OwnedFd,
    uploads: u32,
}

impl Syncfs {
    /// Of the file system that has `temporaries`.
    pub(super) fn new(temporaries: Arc<OwnedFd>) -> Self {
        let is_able = release().is_some_and(|release| release >= HONEST) && has_journal(&temporaries).unwrap_or(false);
        Self { temporaries, state: Mutex::new(State { is_able, ..State::default() }) }
    }

    /// `None` where so many uploads should each see to themselves.
    pub(super) fn begin(&self, uploads: usize) -> Option<Round> {
        if uploads < CROWD || !self.is_time() {
            return None;
        }
        // A description of its own: each hears of an error once, also of one before it that nobody has heard of.
        let root = openat(&*self.temporaries, ".", DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        Some(Round { root, uploads: u32::try_from(uploads).unwrap_or(u32::MAX) })
    }

    /// Whether this is a moment for it.
    pub(super) fn is_time(&self) -> bool {
        let mut state = lock(&self.state);
        let now = Instant::now();
        let is_resting = state.rests_until.is_some_and(|until| now < until);
        if !state.is_able || is_resting || state.running.iter().any(|&begin| now - begin > SLOW) {
            return false;
        }
        match state.looked {
            Some((at, is_little)) if now - at < FRESH => is_little,
            _ => {
                let is_little = dirty().is_some_and(|dirty| dirty <= MOST_DIRTY);
                state.looked = Some((now, is_little));
                is_little
            }
        }
    }

    /// Makes durable whatever was written or named before. Blocking.
    ///
    /// # Errors
    /// Something was not written, perhaps of other programs or before the round began: nobody can tell what. That ext4
    /// found no blocks for bytes, and lost them, is no error here: [`super::publish::Landing::has_blocks`] tells.
    pub(super) fn sync(&self, round: &Round) -> Result<(), Errno> {
        let begin = Instant::now();
        lock(&self.state).running.push(begin);
        let synced = retry_on_intr(|| syncfs(&round.root)).and_then(|()| is_writable(&round.root));
        let took = begin.elapsed();
        let is_slow = took > SLOW.max(SLOW_EACH * round.uploads);
        {
            let mut state = lock(&self.state);
            let ended = state.running.iter().position(|&since| since == begin);
            ended.map(|index| state.running.swap_remove(index));
            if synced.is_err() || is_slow {
                state.rests_until = Some(begin + took + REST);
            }
        }
        match synced {
            Ok(()) if is_slow => debug!(?took, "Syncing the file system was slow: uploads are synced one by one"),
            Ok(()) => debug!(uploads = round.uploads, "Uploads shared a sync of the file system"),
            Err(error) => warn!(%error, "Could not sync the file system: uploads are synced one by one"),
        }
        synced
    }

    /// It was of no use to most of a round: for a while it would not be to others.
    pub(super) fn rest(&self) {
        lock(&self.state).rests_until = Some(Instant::now() + REST);
        debug!("The file system does not say what it has written: uploads are synced one by one");
    }
}

/// After an error of the disk, an ext4 is mounted read-only, and syncing it does nothing.
fn is_writable(root: &OwnedFd) -> Result<(), Errno> {
    if fstatvfs(root)?.f_flag.contains(StatVfsMountFlags::RDONLY) { Err(Errno::ROFS) } else { Ok(()) }
}

#[cfg(test)]
impl Syncfs {
    /// Whatever the machine and its file system are like.
    pub(super) fn always(&self) -> State {
        let looked = Some((Instant::now() + REST, true));
        let calm = State { is_able: true, looked, ..State::default() };
        (*lock(&self.state)).clone_from(&calm);
        calm
    }

    /// Not once.
    pub(super) fn never(&self) {
        lock(&self.state).is_able = false;
    }
}

/// Major and minor number of the kernel.
fn release() -> Option<(u32, u32)> {
    let uname = rustix::system::uname();
    let mut numbers = uname.release().to_str().ok()?.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Whether it is an ext4 with a journal, as far as the kernel tells. Without one, syncfs makes others lose what they have
/// synced: it cleans an inode before that is on the disk, and whoever syncs the file meanwhile, as the database does,
/// finds nothing to do. (Power cuts show it, once in a hundred.)
fn has_journal(directory: &OwnedFd) -> Option<bool> {
    let device = fstat(directory).ok()?.st_dev;
    let device = std::fs::canonicalize(format!("/sys/dev/block/{}:{}", major(device), minor(device))).ok()?;
    let task = read_to_string(Path::new("/sys/fs/ext4").join(device.file_name()?).join("journal_task")).ok()?;
    Some(task.trim().parse::<u32>().is_ok())
}

/// Memory that waits to be written, in KiB: of the machine or, where a sandbox hides that, of its first node.
fn dirty() -> Option<u64> {
    let text = read_to_string("/proc/meminfo").or_else(|_| read_to_string("/sys/devices/system/node/node0/meminfo"));
    dirty_in(&text.ok()?)
}

fn dirty_in(meminfo: &str) -> Option<u64> {
    let of = |name: &str| {
        let (_, after) = meminfo.split_once(name)?;
        after.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some(of("Dirty:")? + of("Writeback:")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dirty_is_what_the_kernel_says() {
        let machine =
            "MemTotal:  24 kB\nDirty:              1200 kB\nWriteback:            34 kB\nWritebackTmp: 9 kB\n";
        assert_eq!(dirty_in(machine), Some(1234));
        let node = "Node 0 MemFree: 8 kB\nNode 0 Dirty:  7 kB\nNode 0 Writeback: 0 kB\n";
        assert_eq!(dirty_in(node), Some(7));
        assert_eq!(dirty_in("MemTotal: 24 kB\n"), None);
        assert!(dirty().is_some() && release() >= Some((4, 0)));
    }

    #[test]
    fn what_is_on_no_disk_has_no_journal() {
        let processes = std::fs::File::open("/proc").unwrap().into();
        assert_ne!(has_journal(&processes), Some(true));
    }

    #[test]
    fn only_a_crowd_shares_a_sync_and_never_while_it_rests() {
        let folder = tempfile::tempdir().unwrap();
        let syncfs = Syncfs::new(Arc::new(std::fs::File::open(folder.path()).unwrap().into()));
        syncfs.always();
        assert!(syncfs.begin(CROWD - 1).is_none());
        let round = syncfs.begin(CROWD).unwrap();
        assert_eq!([syncfs.sync(&round), syncfs.sync(&round)], [Ok(()), Ok(())]);
        for (change, is_time) in [
            (State { looked: Some((Instant::now() + REST, false)), ..syncfs.always() }, false),
            (State { rests_until: Some(Instant::now() + REST), ..syncfs.always() }, false),
            (State { rests_until: Some(Instant::now()), ..syncfs.always() }, true),
            (State { running: vec![Instant::now()], ..syncfs.always() }, true),
            (State { running: vec![Instant::now() - 2 * SLOW], ..syncfs.always() }, false),
            (State { is_able: false, ..syncfs.always() }, false),
        ] {
            *lock(&syncfs.state) = change;
            assert_eq!(syncfs.begin(CROWD).is_some(), is_time, "{:?}", lock(&syncfs.state));
        }
    }
}
