//! [`Shelf`]: the rows and open files of what was asked for lately, so that a popular file costs neither a look into
//! the database nor an opening.
//!
//! Nobody has to tell the shelf, in whatever process, that a blob is gone: an entry counts only while its file says
//! that nothing has happened to it ([`Blob::is_untouched`], one call of the kernel). Whoever removes a blob first gives
//! it a second name, then writes the tombstone, then unlinks both, and each step shows in the file itself; in between
//! and after it, the row is asked. Should the second name fail (a full disk) and the unlinking, too, an entry of another
//! process is still not believed longer than [`BELIEVED`]. Rows themselves never change, and their expiry is looked at
//! each time.
//!
//! Bounded in number and in idle time, since an open file holds its space on the disk also after it was removed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hfs_core::{SlotPath, Timestamp};
use rustix::process::{Resource, getrlimit};

use super::Known;
use crate::clock::Stopwatch;
use crate::storage::Blob;

/// How often [`Shelf::turn`] wants to be called: what nobody asks for goes after one to two of these.
pub const TURN: Duration = Duration::from_secs(10);
/// Longest time without a look at the row.
const BELIEVED: Duration = Duration::from_secs(10);
/// Most entries of one generation; each costs a descriptor and less than a kilobyte.
const MOST: usize = 512;

/// Rows and open files, by slot. All methods are short and wait for nothing.
pub struct Shelf {
    generations: Mutex<Generations>,
    most: usize,
}

/// Two maps instead of a list in order of use: what is used moves to the young one, and what is still in the old one
/// when that is full, or a while has passed, was not used since.
#[derive(Default)]
struct Generations {
    young: HashMap<SlotPath, Arc<Entry>>,
    old: HashMap<SlotPath, Arc<Entry>>,
}

struct Entry {
    known: Arc<Known>,
    blob: Arc<dyn Blob>,
    since: Stopwatch,
}

impl Shelf {
    /// An empty one that takes at most an eighth of the descriptors that the process may have.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it looks at the process's limits")]
    pub fn new() -> Self {
        let limit = getrlimit(Resource::Nofile).current.and_then(|most| usize::try_from(most).ok());
        // Two generations.
        let most = limit.map_or(MOST, |descriptors| MOST.min(descriptors / 16));
        Self { generations: Mutex::default(), most }
    }

    /// What is live at `slot`, if that is known and nothing has happened to it.
    #[must_use]
    pub fn find(&self, slot: &SlotPath, now: Timestamp) -> Option<(Arc<Known>, Arc<dyn Blob>)> {
        let (entry, aged) = self.generations().find(slot, self.most)?;
        drop(aged);
        if entry.since.elapsed() < BELIEVED && !entry.known.record().expired(now) && entry.blob.is_untouched() {
            return Some((Arc::clone(&entry.known), Arc::clone(&entry.blob)));
        }
        self.forget(slot);
        None
    }

    /// Keeps what was just looked up, if the store can tell when something happens to it.
    pub fn keep(&self, known: &Arc<Known>, blob: &Arc<dyn Blob>) {
        if blob.is_untouched() {
            let entry = Entry { known: Arc::clone(known), blob: Arc::clone(blob), since: Stopwatch::start() };
            let aged = self.generations().insert(known.record().slot.clone(), entry.into(), self.most);
            drop(aged);
        }
    }

    /// Lets go of `slot`: its file is being removed, and would keep its space.
    pub fn forget(&self, slot: &SlotPath) {
        self.generations().forget(slot);
    }

    /// Lets go of what was not asked for since the turn before.
    pub fn turn(&self) {
        let aged = self.generations().turn();
        drop(aged);
    }

    fn generations(&self) -> MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What has gone out of use. Closing files takes a moment: it is dropped once the lock is free.
type Aged = HashMap<SlotPath, Arc<Entry>>;

impl Generations {
    fn find(&mut self, slot: &SlotPath, most: usize) -> Option<(Arc<Entry>, Aged)> {
        if let Some(entry) = self.young.get(slot) {
            return Some((Arc::clone(entry), Aged::new()));
        }
        let (slot, entry) = self.old.remove_entry(slot)?;
        let aged = self.insert(slot, Arc::clone(&entry), most);
        Some((entry, aged))
    }

    fn insert(&mut self, slot: SlotPath, entry: Arc<Entry>, most: usize) -> Aged {
        let aged = if self.young.len() >= most { self.turn() } else { Aged::new() };
        self.young.insert(slot, entry);
        aged
    }

    fn forget(&mut self, slot: &SlotPath) {
        self.young.remove(slot);
        self.old.remove(slot);
    }

    /// Begins a generation; returns the one before the last.
    fn turn(&mut self) -> Aged {
        let aged = std::mem::take(&mut self.young);
        std::mem::replace(&mut self.old, aged)
    }
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shelf").field("most", &self.most).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures_core::future::BoxFuture;
    use hfs_core::{BlobId, ByteSize};

    use super::*;
    use crate::meta::{Integrity, Record};
    use crate::storage::{Place, Scratch, StoreError};

    #[derive(Debug)]
    struct Touchable(AtomicBool);

    impl Touchable {
        fn new() -> Arc<Self> {
            Arc::new(Self(AtomicBool::new(false)))
        }

        fn touch(&self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    impl Blob for Touchable {
        fn size(&self) -> ByteSize {
            ByteSize::ZERO
        }

        fn refill<'a>(&'a self, _: u64, _: usize, _: &'a mut Scratch) -> BoxFuture<'a, Result<(), StoreError>> {
            Box::pin(std::future::ready(Ok(())))
        }

        fn file(&self) -> Option<&File> {
            None
        }

        fn is_at_hand(&self, _: u64, _: u64) -> bool {
            false
        }

        fn is_untouched(&self) -> bool {
            !self.0.load(Ordering::Relaxed)
        }
    }

    fn slot(n: usize) -> SlotPath {
        SlotPath::parse(&format!("a/{n}")).unwrap()
    }

    fn keep(shelf: &Shelf, n: usize) -> Arc<Touchable> {
        let blob = Touchable::new();
        let record = Record {
            id: BlobId::from_random([7; 16]),
            slot: slot(n),
            place: Place::new(slot(n).as_str()),
            size: ByteSize::ZERO,
            media_type: "text/plain".to_owned(),
            owner: None,
            stored_at: Timestamp::from_unix(0),
            expires: Some(Timestamp::from_unix(60)),
            integrity: Integrity::Written,
            proof: None,
        };
        shelf.keep(&Arc::new(Known::new(record)), &(Arc::clone(&blob) as Arc<dyn Blob>));
        blob
    }

    fn has(shelf: &Shelf, n: usize) -> bool {
        shelf.find(&slot(n), Timestamp::from_unix(59)).is_some_and(|(known, _)| known.record().slot == slot(n))
    }

    fn held(shelf: &Shelf) -> usize {
        let generations = shelf.generations();
        generations.young.len() + generations.old.len()
    }

    #[tokio::test]
    async fn what_is_kept_is_found_until_something_happens_to_it() {
        let shelf = Shelf::new();
        let (blob, other) = (keep(&shelf, 1), keep(&shelf, 2));
        assert!(has(&shelf, 1) && has(&shelf, 2) && !has(&shelf, 3));
        blob.touch();
        assert!(!has(&shelf, 1) && has(&shelf, 2));
        assert_eq!(Arc::strong_count(&blob), 1, "nor is its file kept");
        shelf.forget(&slot(2));
        assert!(!has(&shelf, 2) && Arc::strong_count(&other) == 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_row_is_looked_at_again_after_a_while() {
        let shelf = Shelf::new();
        keep(&shelf, 1);
        tokio::time::advance(BELIEVED - Duration::from_millis(1)).await;
        assert!(has(&shelf, 1));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!has(&shelf, 1), "also when it was in use all the time");
    }

    #[tokio::test]
    async fn what_expires_is_not_found_any_more() {
        let shelf = Shelf::new();
        let blob = keep(&shelf, 1);
        assert!(has(&shelf, 1) && shelf.find(&slot(1), Timestamp::from_unix(60)).is_none());
        assert_eq!(Arc::strong_count(&blob), 1);
    }

    #[tokio::test]
    async fn what_nobody_asks_for_goes_and_the_rest_stays() {
        let shelf = Shelf::new();
        for n in [1, 2] {
            keep(&shelf, n);
        }
        for _ in 0..3 {
            shelf.turn();
            assert!(has(&shelf, 1));
        }
        assert!(!has(&shelf, 2));
    }

    #[tokio::test]
    async fn it_never_holds_more_than_two_generations() {
        let shelf = Shelf { most: 8, ..Shelf::new() };
        for n in 0..100 {
            keep(&shelf, n);
            assert!(held(&shelf) <= 16 && has(&shelf, n) && (n == 0 || has(&shelf, n - 1)));
        }
        let none = Shelf { most: 0, ..Shelf::new() };
        keep(&none, 1);
        assert!(held(&none) <= 1, "a process without descriptors to spare");
    }
}
