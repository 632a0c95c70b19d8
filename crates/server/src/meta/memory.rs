//! [`MemoryMeta`]: rows in memory, for tests and for trying things out. Nothing survives the process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_core::future::BoxFuture;
use hfs_core::profile::{Profile, ProfileKey};
use hfs_core::{BlobId, SlotPath, Timestamp};

use super::{Entry, MetaError, MetaStore, Record, Recorded, Tombstone};

/// Rows that live as long as the process. Cheap to clone: all clones are one store.
#[derive(Clone, Debug, Default)]
pub struct MemoryMeta {
    rows: Arc<Mutex<Rows>>,
}

#[derive(Debug, Default)]
struct Rows {
    entries: BTreeMap<SlotPath, Entry>,
    notes: BTreeMap<String, String>,
    profiles: BTreeMap<ProfileKey, Profile>,
}

impl MemoryMeta {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    // No caller's code runs under the lock and each change is one map operation, so a poisoned lock is still whole.
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl MemoryMeta {
    /// Makes it the slot's entry, whatever that was.
    pub(crate) fn put(&self, slot: &SlotPath, entry: Entry) {
        self.rows().entries.insert(slot.clone(), entry);
    }

    /// Forgets a slot, as a restored backup does.
    pub(crate) fn forget(&self, slot: &SlotPath) -> Option<Entry> {
        self.rows().entries.remove(slot)
    }
}

impl Rows {
    fn live(&self) -> impl Iterator<Item = &Record> {
        self.entries.values().filter_map(|entry| match entry {
            Entry::Live(record) => Some(record),
            Entry::Gone(_) => None,
        })
    }

    fn record(&mut self, record: Record) -> Result<Recorded, MetaError> {
        if let Some(entry) = self.entries.get(&record.slot) {
            return Ok(Recorded::Taken(entry.clone()));
        }
        if self.live().any(|other| other.id == record.id) {
            return Err(MetaError::Backend { action: "record a blob", source: "its id is in use".into() });
        }
        self.entries.insert(record.slot.clone(), Entry::Live(record));
        Ok(Recorded::Inserted)
    }

    fn replace(&mut self, old: BlobId, record: Record) -> Result<Recorded, MetaError> {
        match self.entries.get(&record.slot) {
            Some(Entry::Live(live)) if live.id == old => {
                self.entries.insert(record.slot.clone(), Entry::Live(record));
                Ok(Recorded::Inserted)
            }
            Some(entry) => Ok(Recorded::Taken(entry.clone())),
            None => Err(MetaError::Backend { action: "replace a blob", source: "its slot was never filled".into() }),
        }
    }

    fn bury(&mut self, slot: &SlotPath, only: BlobId, tombstone: Tombstone) -> bool {
        match self.entries.get_mut(slot) {
            Some(entry) if matches!(&*entry, Entry::Live(live) if live.id == only) => {
                *entry = Entry::Gone(tombstone);
                true
            }
            _ => false,
        }
    }

    fn expired(&self, now: Timestamp, limit: usize) -> Vec<Record> {
        let over = |record: &&Record| record.expires.is_some_and(|expires| expires <= now);
        let mut records: Vec<_> = self.live().filter(over).cloned().collect();
        records.sort_by(|a, b| (a.expires, &a.slot).cmp(&(b.expires, &b.slot)));
        records.truncate(limit);
        records
    }
}

impl Rows {
    fn profiles(&self, limit: usize) -> Vec<(ProfileKey, Profile)> {
        let mut all: Vec<_> = self.profiles.iter().map(|(key, profile)| (key.clone(), *profile)).collect();
        all.sort_by_key(|(_, profile)| std::cmp::Reverse(profile.at));
        all.truncate(limit);
        all
    }

    fn keep_profiles(&mut self, profiles: Vec<(ProfileKey, Profile)>, oldest: Timestamp, most: usize) {
        self.profiles.extend(profiles.into_iter().filter(|(key, _)| key.prefix.is_some()));
        self.profiles.retain(|_, profile| profile.at >= oldest);
        self.profiles = self.profiles(most).into_iter().collect();
    }
}

impl MetaStore for MemoryMeta {
    fn lookup<'a>(&'a self, slot: &'a SlotPath) -> BoxFuture<'a, Result<Option<Entry>, MetaError>> {
        Box::pin(async move { Ok(self.rows().entries.get(slot).cloned()) })
    }

    fn is_vacant(&self, slot: &SlotPath) -> bool {
        !self.rows().entries.contains_key(slot)
    }

    fn find(&self, id: BlobId) -> BoxFuture<'_, Result<Option<Record>, MetaError>> {
        Box::pin(async move { Ok(self.rows().live().find(|record| record.id == id).cloned()) })
    }

    fn record(&self, record: Record) -> BoxFuture<'_, Result<Recorded, MetaError>> {
        Box::pin(async move { self.rows().record(record) })
    }

    fn replace(&self, old: BlobId, record: Record) -> BoxFuture<'_, Result<Recorded, MetaError>> {
        Box::pin(async move { self.rows().replace(old, record) })
    }

    fn bury<'a>(
        &'a self,
        slot: &'a SlotPath,
        only: BlobId,
        tombstone: Tombstone,
    ) -> BoxFuture<'a, Result<bool, MetaError>> {
        Box::pin(async move { Ok(self.rows().bury(slot, only, tombstone)) })
    }

    fn expired(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<Vec<Record>, MetaError>> {
        Box::pin(async move { Ok(self.rows().expired(now, limit)) })
    }

    fn page<'a>(&'a self, after: Option<&'a SlotPath>, limit: usize) -> BoxFuture<'a, Result<Vec<Record>, MetaError>> {
        Box::pin(async move {
            let rows = self.rows();
            Ok(rows
                .live()
                .filter(|record| after.is_none_or(|after| record.slot > *after))
                .take(limit)
                .cloned()
                .collect())
        })
    }

    fn note<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>, MetaError>> {
        Box::pin(async move { Ok(self.rows().notes.get(key).cloned()) })
    }

    fn set_note<'a>(&'a self, key: &'a str, value: &'a str) -> BoxFuture<'a, Result<(), MetaError>> {
        Box::pin(async move {
            self.rows().notes.insert(key.to_owned(), value.to_owned());
            Ok(())
        })
    }

    fn profiles(&self, limit: usize) -> BoxFuture<'_, Result<Vec<(ProfileKey, Profile)>, MetaError>> {
        Box::pin(async move { Ok(self.rows().profiles(limit)) })
    }

    fn keep_profiles(
        &self,
        profiles: Vec<(ProfileKey, Profile)>,
        oldest: Timestamp,
        most: usize,
    ) -> BoxFuture<'_, Result<(), MetaError>> {
        Box::pin(async move {
            self.rows().keep_profiles(profiles, oldest, most);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::conformance::conformance_tests;

    fn fresh() -> ((), MemoryMeta) {
        ((), MemoryMeta::new())
    }

    conformance_tests!(fresh);
}
