//! [`FaultyMeta`]: fails one chosen read or write of a store, for tests of those who call it.
//!
//! A write can fail in three ways that a caller must tell apart: certainly not written, not written though nobody
//! knows, and written though nobody knows. A read fails in one.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};

use futures_core::future::BoxFuture;
use hfs_core::profile::{Profile, ProfileKey};
use hfs_core::{BlobId, SlotPath, Timestamp};

use super::{Entry, MetaError, MetaStore, Record, Recorded, Tombstone};

/// How a write fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// [`MetaError::Full`], nothing written.
    Full,
    /// [`MetaError::Busy`], nothing written.
    Busy,
    /// [`MetaError::Unavailable`], nothing written.
    Unavailable,
    /// [`MetaError::Backend`], nothing written.
    LostBefore,
    /// [`MetaError::Backend`], yet the row is there: the commit worked and its answer was lost.
    LostAfter,
    /// No answer at all, nothing written: the disk hangs.
    Stuck,
}

/// A store that fails on request.
#[derive(Debug)]
pub struct FaultyMeta<M> {
    inner: M,
    writes: Mutex<Plan>,
    reads: Mutex<Plan>,
    lookups: AtomicUsize,
    rival: Mutex<Option<Record>>,
}

/// Failures to come: how many operations from now on each is, and which.
type Plan = Vec<(u64, Fault)>;

impl<M: MetaStore> FaultyMeta<M> {
    /// Wraps a store; nothing fails until told.
    #[must_use]
    pub fn new(inner: M) -> Self {
        let (writes, reads, lookups) = (Mutex::default(), Mutex::default(), AtomicUsize::new(0));
        Self { inner, writes, reads, lookups, rival: Mutex::default() }
    }

    /// Just before the next blob is recorded, this one is: by somebody who did not claim the slot.
    pub fn forestall(&self, rival: Record) {
        *self.rival.lock().unwrap_or_else(PoisonError::into_inner) = Some(rival);
    }

    /// The `nth` write from now on (1 is the next one) fails that way; those before and after it work, as far as they
    /// are not planned to fail too.
    pub fn fail_write(&self, nth: u64, fault: Fault) {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner).push((nth, fault));
    }

    /// The `nth` read from now on is [`MetaError::Backend`]; those before and after it work.
    pub fn fail_read(&self, nth: u64) {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).push((nth, Fault::LostBefore));
    }

    /// Failures of writes that have not happened yet.
    #[must_use]
    pub fn failures_left(&self) -> usize {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// How often a slot was looked up, not counting what was seen at once.
    #[must_use]
    pub fn lookups(&self) -> usize {
        self.lookups.load(Relaxed)
    }

    /// The store below.
    #[must_use]
    pub fn inner(&self) -> &M {
        &self.inner
    }

    async fn write<T>(
        &self,
        action: &'static str,
        write: impl Future<Output = Result<T, MetaError>>,
    ) -> Result<T, MetaError> {
        let lost = || MetaError::Backend { action, source: "injected fault".into() };
        match next_fault(&self.writes) {
            None => write.await,
            Some(Fault::Full) => Err(MetaError::Full { source: "injected fault".into() }),
            Some(Fault::Busy) => Err(MetaError::Busy),
            Some(Fault::Unavailable) => Err(MetaError::Unavailable { source: "injected fault".into() }),
            Some(Fault::LostBefore) => Err(lost()),
            Some(Fault::LostAfter) => write.await.and_then(|_| Err(lost())),
            Some(Fault::Stuck) => std::future::pending().await,
        }
    }

    async fn read<T>(&self, read: impl Future<Output = Result<T, MetaError>>) -> Result<T, MetaError> {
        match next_fault(&self.reads) {
            None => read.await,
            Some(_) => Err(MetaError::Backend { action: "read", source: "injected fault".into() }),
        }
    }
}

fn next_fault(plan: &Mutex<Plan>) -> Option<Fault> {
    let mut plan = plan.lock().unwrap_or_else(PoisonError::into_inner);
    for (left, _) in plan.iter_mut() {
        *left = left.saturating_sub(1);
    }
    let due = plan.iter().position(|(left, _)| *left == 0)?;
    Some(plan.swap_remove(due).1)
}

#[deny(clippy::missing_trait_methods)]
impl<M: MetaStore> MetaStore for FaultyMeta<M> {
    fn lookup<'a>(&'a self, slot: &'a SlotPath) -> BoxFuture<'a, Result<Option<Entry>, MetaError>> {
        self.lookups.fetch_add(1, Relaxed);
        Box::pin(self.read(self.inner.lookup(slot)))
    }

    /// Nothing is known at once while a read is to fail, and it is not counted as one.
    fn is_vacant(&self, slot: &SlotPath) -> bool {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).is_empty() && self.inner.is_vacant(slot)
    }

    fn find(&self, id: BlobId) -> BoxFuture<'_, Result<Option<Record>, MetaError>> {
        Box::pin(self.read(self.inner.find(id)))
    }

    fn record(&self, record: Record) -> BoxFuture<'_, Result<Recorded, MetaError>> {
        let rival = self.rival.lock().unwrap_or_else(PoisonError::into_inner).take();
        Box::pin(async move {
            if let Some(rival) = rival {
                self.inner.record(rival).await?;
            }
            self.write("record a blob", self.inner.record(record)).await
        })
    }

    fn replace(&self, old: BlobId, record: Record) -> BoxFuture<'_, Result<Recorded, MetaError>> {
        Box::pin(self.write("replace a blob", self.inner.replace(old, record)))
    }

    fn bury<'a>(
        &'a self,
        slot: &'a SlotPath,
        only: BlobId,
        tombstone: Tombstone,
    ) -> BoxFuture<'a, Result<bool, MetaError>> {
        Box::pin(self.write("bury a blob", self.inner.bury(slot, only, tombstone)))
    }

    fn expired(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<Vec<Record>, MetaError>> {
        Box::pin(self.read(self.inner.expired(now, limit)))
    }

    fn page<'a>(&'a self, after: Option<&'a SlotPath>, limit: usize) -> BoxFuture<'a, Result<Vec<Record>, MetaError>> {
        Box::pin(self.read(self.inner.page(after, limit)))
    }

    fn note<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>, MetaError>> {
        Box::pin(self.read(self.inner.note(key)))
    }

    fn set_note<'a>(&'a self, key: &'a str, value: &'a str) -> BoxFuture<'a, Result<(), MetaError>> {
        Box::pin(self.write("write a note", self.inner.set_note(key, value)))
    }

    fn profiles(&self, limit: usize) -> BoxFuture<'_, Result<Vec<(ProfileKey, Profile)>, MetaError>> {
        Box::pin(self.read(self.inner.profiles(limit)))
    }

    fn keep_profiles(
        &self,
        profiles: Vec<(ProfileKey, Profile)>,
        oldest: Timestamp,
        most: usize,
    ) -> BoxFuture<'_, Result<(), MetaError>> {
        Box::pin(self.write("keep profiles", self.inner.keep_profiles(profiles, oldest, most)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::conformance::{conformance_tests, sample};
    use crate::meta::memory::MemoryMeta;

    fn fresh() -> ((), FaultyMeta<MemoryMeta>) {
        ((), FaultyMeta::new(MemoryMeta::new()))
    }

    conformance_tests!(fresh);

    #[tokio::test]
    async fn only_the_chosen_write_fails() {
        let ((), meta) = fresh();
        meta.fail_write(2, Fault::Full);
        assert_eq!(meta.record(sample("a", 1)).await.unwrap(), Recorded::Inserted);
        assert!(matches!(meta.record(sample("b", 2)).await, Err(MetaError::Full { .. })));
        assert_eq!(meta.lookup(&sample("b", 2).slot).await.unwrap(), None);
        assert_eq!(meta.record(sample("b", 2)).await.unwrap(), Recorded::Inserted);
    }

    #[tokio::test]
    async fn a_lost_answer_leaves_the_row_or_not() {
        let ((), meta) = fresh();
        meta.fail_write(1, Fault::LostAfter);
        assert!(matches!(meta.record(sample("a", 1)).await, Err(MetaError::Backend { .. })));
        assert_eq!(meta.lookup(&sample("a", 1).slot).await.unwrap(), Some(Entry::Live(sample("a", 1))));
        meta.fail_write(1, Fault::LostBefore);
        assert!(matches!(meta.record(sample("b", 2)).await, Err(MetaError::Backend { .. })));
        assert_eq!(meta.lookup(&sample("b", 2).slot).await.unwrap(), None);
    }

    #[tokio::test]
    async fn only_the_chosen_read_fails() {
        let ((), meta) = fresh();
        meta.fail_read(2);
        let slot = sample("a", 1).slot;
        assert_eq!(meta.lookup(&slot).await.unwrap(), None);
        assert!(matches!(meta.lookup(&slot).await, Err(MetaError::Backend { .. })));
        assert_eq!(meta.lookup(&slot).await.unwrap(), None);
    }

    #[test]
    fn a_vacant_slot_is_seen_at_once_but_while_a_read_is_to_fail() {
        let ((), meta) = fresh();
        let slot = sample("a", 1).slot;
        assert!(meta.is_vacant(&slot));
        meta.fail_read(2);
        assert!(!meta.is_vacant(&slot));
    }
}
