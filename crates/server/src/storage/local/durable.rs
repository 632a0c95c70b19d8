//! [`Durable`]: the directories that are known to survive a power cut, as far as they are worth remembering.

use std::collections::HashMap;

use rustix::fd::AsFd;
use rustix::fs::{AtFlags, StatxFlags, statx};

/// Directories of one generation: about as many as users who upload in a while (ejabberd's slots share one for each).
const GENERATION: usize = 2048;

/// Tells a directory from another that has its path, and perhaps its inode, later: one that another process made.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Identity {
    inode: u64,
    /// When it was made: seconds and nanoseconds, in steps of some milliseconds.
    born: (i64, u32),
}

impl Identity {
    /// `None` where the kernel cannot tell: then it is never known to be durable.
    pub(super) fn of(directory: impl AsFd) -> Option<Self> {
        let status = statx(directory, "", AtFlags::EMPTY_PATH, StatxFlags::INO | StatxFlags::BTIME).ok()?;
        // Old file systems keep no birth time.
        let is_dated = StatxFlags::from_bits_retain(status.stx_mask).contains(StatxFlags::BTIME);
        is_dated.then_some(Self { inode: status.stx_ino, born: (status.stx_btime.tv_sec, status.stx_btime.tv_nsec) })
    }

    #[cfg(test)]
    pub(super) fn invented(inode: u64) -> Self {
        Self { inode, born: (0, 0) }
    }
}

/// A bounded set of directories. What was not met for a generation or two is forgotten, and synced once more: Prosody's
/// slots make a directory each, and none of those comes again.
#[derive(Debug, Default)]
pub(super) struct Durable {
    young: HashMap<String, Identity>,
    old: HashMap<String, Identity>,
}

impl Durable {
    /// Whether it is known; one that is met again stays young.
    pub(super) fn contains(&mut self, path: &str, identity: Identity) -> bool {
        if let Some(known) = self.young.get(path) {
            return *known == identity;
        }
        let Some((path, known)) = self.old.remove_entry(path) else { return false };
        self.insert(path, known);
        known == identity
    }

    pub(super) fn insert(&mut self, path: String, identity: Identity) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(path, identity);
    }

    pub(super) fn remove(&mut self, path: &str) {
        self.young.remove(path);
        self.old.remove(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Identity = Identity { inode: 1, born: (2, 3) };

    #[test]
    fn what_is_met_again_is_remembered_and_the_rest_forgotten() {
        let mut durable = Durable::default();
        durable.insert("hash".to_owned(), HERE);
        for number in 0..20 * GENERATION {
            durable.insert(number.to_string(), HERE);
            assert!(durable.contains("hash", HERE), "after {number}");
        }
        assert!(!durable.contains("0", HERE));
        assert!(durable.young.len() + durable.old.len() <= 2 * GENERATION);
        durable.remove("hash");
        assert!(!durable.contains("hash", HERE));
    }

    #[test]
    fn a_directory_that_was_made_again_is_another() {
        let mut durable = Durable::default();
        durable.insert("hash".to_owned(), HERE);
        assert!(!durable.contains("hash", Identity { inode: 4, ..HERE }));
        assert!(!durable.contains("hash", Identity { born: (2, 4_000_000), ..HERE }));
        assert!(durable.contains("hash", HERE));
    }
}
