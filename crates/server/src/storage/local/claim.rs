//! Who may publish at a slot: one lock per slot among all processes on the store.
//!
//! The lock is one byte of `.hfs/claims`, at an offset that every process and version computes alike. The kernel
//! releases it however its holder ends. Two slots that share an offset only wait for each other.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use hfs_core::SlotPath;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, ResolveFlags, fstatfs, openat, openat2};
use rustix::io::Errno;
use tokio::time::{Instant, sleep};

use super::layout::CLAIMS;
use super::{Claim, Inner, StoreError, failed, lock};

const CLAIM: &str = "claim a slot";
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

pub(super) async fn claim(inner: &Inner, slot: &SlotPath, patience: Duration) -> Result<Claim, StoreError> {
    let key = key(slot);
    let until = Instant::now() + patience;
    let mut pause = FIRST_PAUSE;
    loop {
        let taken = match inner.claims.try_take_at_once(key) {
            Some(taken) => taken.map_err(failed(CLAIM))?,
            None => {
                let claims = Arc::clone(&inner.claims);
                inner.writes.run(CLAIM, move || claims.try_take(key).map_err(failed(CLAIM))).await?
            }
        };
        if let Some(hold) = taken {
            return Ok(Claim::new(slot.clone(), hold));
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(StoreError::Busy { slot: slot.clone() });
        }
        // The kernel cannot tell when such a lock is free without a thread that waits for it.
        sleep(pause.min(left)).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

/// Offset of a slot's lock. Part of the store's format: never change it while two versions may share a root.
fn key(slot: &SlotPath) -> u64 {
    let hash = digest(&SHA256, slot.as_str().as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_ref()[..8]);
    u64::from_be_bytes(first) >> 2
}

/// File systems of this machine: their byte-range locks live in the kernel's memory, where taking one waits for nothing.
const LOCAL: [u64; 8] = [
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683e, // Btrfs
    0x0102_1994, // tmpfs
    0xf2f5_2010, // F2FS
    0x2fc1_2fc1, // ZFS
    0xca45_1a4e, // bcachefs
    0x794c_7630, // overlayfs
];

/// The right itself: whatever it is, dropping it gives it back.
type Hold = Box<dyn Send + Sync>;

pub(super) struct Claims {
    ours: OwnedFd,
    is_local: bool,
    /// Where the file system has no byte-range locks, only this process is kept apart from itself.
    within: Option<Arc<Mutex<HashSet<u64>>>>,
}

impl Claims {
    /// `ours` is `.hfs`, which has the lock file.
    pub(super) fn new(ours: OwnedFd) -> io::Result<Self> {
        let is_local =
            fstatfs(&ours).is_ok_and(|status| LOCAL.iter().any(|&kind| i128::from(kind) == i128::from(status.f_type)));
        let mut claims = Self { ours, is_local, within: None };
        match hfs_sock::try_lock_byte(&claims.file()?, 1 << 62) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Unsupported => claims.within = Some(Arc::default()),
            Err(error) => return Err(error),
        }
        Ok(claims)
    }

    /// Whether other processes are kept out too.
    pub(super) fn are_shared(&self) -> bool {
        self.within.is_none()
    }

    /// Blocking.
    fn try_take(&self, key: u64) -> io::Result<Option<Hold>> {
        if let Some(held) = &self.within {
            return Ok(take_within(held, key));
        }
        take_byte(self.file()?, key)
    }

    /// [`Claims::try_take`] where that waits for nothing; `None` where it might: a change of threads for each upload costs
    /// more than the claim.
    fn try_take_at_once(&self, key: u64) -> Option<io::Result<Option<Hold>>> {
        if let Some(held) = &self.within {
            return Some(Ok(take_within(held, key)));
        }
        if !self.is_local {
            return None;
        }
        match openat2(&self.ours, CLAIMS, FLAGS, Mode::empty(), ResolveFlags::CACHED) {
            Ok(file) => Some(take_byte(file.into(), key)),
            // Not in the kernel's cache, or a kernel that cannot tell (before 5.12) or must not (some sandboxes).
            Err(Errno::AGAIN | Errno::INVAL | Errno::NOSYS | Errno::PERM) => None,
            Err(error) => Some(Err(error.into())),
        }
    }

    /// A new description each time: it is what the lock belongs to.
    fn file(&self) -> io::Result<File> {
        Ok(File::from(openat(&self.ours, CLAIMS, FLAGS, Mode::empty())?))
    }
}

const FLAGS: OFlags = OFlags::RDWR.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

fn take_byte(file: File, key: u64) -> io::Result<Option<Hold>> {
    let is_free = hfs_sock::try_lock_byte(&file, key)?;
    Ok(is_free.then(|| Box::new(file) as Hold))
}

fn take_within(held: &Arc<Mutex<HashSet<u64>>>, key: u64) -> Option<Hold> {
    let is_free = lock(held).insert(key);
    is_free.then(|| Box::new(Within { held: Arc::clone(held), key }) as Hold)
}

struct Within {
    held: Arc<Mutex<HashSet<u64>>>,
    key: u64,
}

impl Drop for Within {
    fn drop(&mut self) {
        lock(&self.held).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_never_change() {
        let of = |path: &str| key(&SlotPath::parse(path).unwrap());
        // First 62 bits of SHA-256("abc"), as FIPS 180-4 has it: ba7816bf 8f01cfea.
        assert_eq!(of("abc"), 0xba78_16bf_8f01_cfea >> 2);
        assert_ne!(of("a/b"), of("a/c"));
    }

    #[test]
    fn at_once_or_not_a_claim_is_the_same() {
        let directory = tempfile::tempdir().unwrap();
        File::create(directory.path().join(CLAIMS)).unwrap();
        let open = || Claims::new(File::open(directory.path()).unwrap().into()).unwrap();
        let (one, other) = (open(), open());
        let at_once = one.try_take_at_once(7).expect("a temporary folder is on this machine").unwrap();
        assert!(at_once.is_some() && other.try_take(7).unwrap().is_none());
        assert!(other.try_take_at_once(7).unwrap().unwrap().is_none());
        drop(at_once);
        let later = other.try_take(7).unwrap();
        assert!(later.is_some() && one.try_take_at_once(7).unwrap().unwrap().is_none());
        let far = Claims { is_local: false, ..open() };
        assert!(far.try_take_at_once(8).is_none() && far.try_take(8).unwrap().is_some());
    }

    #[test]
    fn without_byte_locks_one_process_still_excludes_itself() {
        let directory = tempfile::tempdir().unwrap();
        let ours = OwnedFd::from(File::open(directory.path()).unwrap());
        let claims = Claims { ours, is_local: true, within: Some(Arc::default()) };
        let hold = claims.try_take(1).unwrap().unwrap();
        assert!(claims.try_take(1).unwrap().is_none());
        assert!(claims.try_take(2).unwrap().is_some());
        drop(hold);
        assert!(claims.try_take(1).unwrap().is_some());
    }
}
