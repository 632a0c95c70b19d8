//! [`Rows`]: the rows that the storage tests need, in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures_core::future::BoxFuture;
use hfs_core::profile::{Profile, ProfileKey};
use hfs_core::{BlobId, ByteSize, SlotPath, Timestamp};

use super::Place;
use crate::meta::{Entry, Integrity, MetaError, MetaStore, Record, Recorded, Tombstone};

/// Rows in memory. Clones are one store.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<SlotPath, Entry>,
    notes: BTreeMap<String, String>,
    profiles: Vec<(ProfileKey, Profile)>,
    full_at: Option<usize>,
}

/// A plain row.
pub(super) fn record(id: BlobId, slot: &str, place: &str, size: u64) -> Record {
    Record {
        id,
        slot: SlotPath::parse(slot).unwrap(),
        place: Place::new(place),
        size: ByteSize::bytes(size),
        media_type: "text/plain".to_owned(),
        owner: None,
        stored_at: Timestamp::from_unix(1),
        expires: None,
        integrity: Integrity::Written,
        proof: None,
    }
}

impl Rows {
    pub(super) fn insert(&self, record: Record) {
        self.0.lock().unwrap().entries.insert(record.slot.clone(), Entry::Live(record));
    }

    pub(super) fn remove(&self, slot: &SlotPath) -> Record {
        match self.0.lock().unwrap().entries.remove(slot) {
            Some(Entry::Live(record)) => record,
            other => panic!("{slot}: {other:?}"),
        }
    }

    pub(super) fn bury_unseen(&self, slot: &str, tombstone: Tombstone) {
        self.0.lock().unwrap().entries.insert(SlotPath::parse(slot).unwrap(), Entry::Gone(tombstone));
    }

    /// There is room for so many rows.
    pub(super) fn fail_after(&self, rows: usize) {
        self.0.lock().unwrap().full_at = Some(rows);
    }

    fn with<T: Send + 'static>(&self, answer: impl FnOnce(&mut State) -> T) -> BoxFuture<'_, Result<T, MetaError>> {
        let answer = answer(&mut self.0.lock().unwrap());
        Box::pin(std::future::ready(Ok(answer)))
    }
}

impl State {
    fn live(&self) -> impl Iterator<Item = &Record> {
        self.entries.values().filter_map(|entry| match entry {
            Entry::Live(record) => Some(record),
            Entry::Gone(_) => None,
        })
    }
}

impl MetaStore for Rows {
    fn lookup<'a>(&'a self, slot: &'a SlotPath) -> BoxFuture<'a, Result<Option<Entry>, MetaError>> {
        self.with(|state| state.entries.get(slot).cloned())
    }

    fn find(&self, id: BlobId) -> BoxFuture<'_, Result<Option<Record>, MetaError>> {
        self.with(|state| state.live().find(|record| record.id == id).cloned())
    }

    fn record(&self, record: Record) -> BoxFuture<'_, Result<Recorded, MetaError>> {
        let mut state = self.0.lock().unwrap();
        if let Some(entry) = state.entries.get(&record.slot).cloned() {
            return Box::pin(std::future::ready(Ok(Recorded::Taken(entry))));
        }
        if state.full_at.is_some_and(|rows| state.entries.len() >= rows) {
            let full = MetaError::Full { source: "planned".into() };
            return Box::pin(std::future::ready(Err(full)));
        }
        state.entries.insert(record.slot.clone(), Entry::Live(record));
        Box::pin(std::future::ready(Ok(Recorded::Inserted)))
    }

    fn replace(&self, _old: BlobId, record: Record) -> BoxFuture<'_, Result<Recorded, MetaError>> {
        self.insert(record);
        Box::pin(std::future::ready(Ok(Recorded::Inserted)))
    }

    fn bury<'a>(
        &'a self,
        slot: &'a SlotPath,
        tombstone: Tombstone,
    ) -> BoxFuture<'a, Result<Option<Record>, MetaError>> {
        self.with(|state| match state.entries.insert(slot.clone(), Entry::Gone(tombstone)) {
            Some(Entry::Live(record)) => Some(record),
            _ => None,
        })
    }

    fn expired(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<Vec<Record>, MetaError>> {
        self.with(|state| {
            let is_over = |record: &&Record| record.expires.is_some_and(|at| at <= now);
            state.live().filter(is_over).take(limit).cloned().collect()
        })
    }

    fn page<'a>(&'a self, after: Option<&'a SlotPath>, limit: usize) -> BoxFuture<'a, Result<Vec<Record>, MetaError>> {
        self.with(|state| {
            state.live().filter(|record| after.is_none_or(|after| &record.slot > after)).take(limit).cloned().collect()
        })
    }

    fn note<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>, MetaError>> {
        self.with(|state| state.notes.get(key).cloned())
    }

    fn set_note<'a>(&'a self, key: &'a str, value: &'a str) -> BoxFuture<'a, Result<(), MetaError>> {
        self.with(|state| {
            state.notes.insert(key.to_owned(), value.to_owned());
        })
    }

    fn profiles(&self, limit: usize) -> BoxFuture<'_, Result<Vec<(ProfileKey, Profile)>, MetaError>> {
        self.with(|state| state.profiles.iter().take(limit).cloned().collect())
    }

    fn keep_profiles(
        &self,
        profiles: Vec<(ProfileKey, Profile)>,
        _oldest: Timestamp,
        _most: usize,
    ) -> BoxFuture<'_, Result<(), MetaError>> {
        self.with(|state| state.profiles = profiles)
    }
}
