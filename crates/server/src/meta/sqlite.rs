//! [`SqliteMeta`]: rows in one SQLite file, durable at every answer.
//!
//! One thread writes, with group commit ([`writer`]); a few connections read ([`readers`]); [`schema`] opens and
//! migrates; [`rows`] and [`profiles`] have the statements. Two processes may have the file open at once, during a restart: every decision
//! is made under SQLite's write lock. Knows nothing of the files that rows speak of.

mod failure;
mod profiles;
mod readers;
mod room;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
mod writer;

use std::path::Path;

use futures_core::future::BoxFuture;
use hfs_core::profile::{Profile, ProfileKey};
use hfs_core::{BlobId, SlotPath, Timestamp};
use prometheus_client::metrics::counter::Counter;

pub use schema::OpenError;

use super::{Entry, MetaError, MetaStore, Record, Recorded, Tombstone};
use readers::Readers;
use writer::Writer;

/// The rows of one storage root.
///
/// A write whose future is dropped may still happen. A disk that hangs keeps writes waiting for as long as it hangs:
/// callers bound that, and must then take the outcome as unknown.
#[derive(Debug)]
pub struct SqliteMeta {
    readers: Readers,
    writer: Writer,
    commits: Counter,
}

impl SqliteMeta {
    /// Opens the database at `path` (`<storage root>/.hfs/meta.sqlite`); creates it, with mode 0600, when it is missing.
    /// Blocks: call it before the runtime starts or on a blocking thread.
    ///
    /// # Errors
    /// The file cannot be used, is damaged, or is not ours; it is then left as it was.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_counted(path, Counter::default())
    }

    /// [`SqliteMeta::open`], counting every commit in `commits`, which a registry may share.
    ///
    /// # Errors
    /// As [`SqliteMeta::open`].
    pub fn open_counted(path: &Path, commits: Counter) -> Result<Self, OpenError> {
        let connection = schema::open_writer(path)?;
        let writer = Writer::start(path, connection, commits.clone())?;
        Ok(Self { readers: Readers::new(path), writer, commits })
    }

    /// Transactions committed since it was opened: fewer than writes, when those come together.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.commits.get()
    }

    /// Reads everything and returns what is wrong with it, one finding a line; empty when whole.
    ///
    /// # Errors
    /// The check could not be done.
    pub async fn verify(&self) -> Result<Vec<String>, MetaError> {
        self.readers.unbounded("check the database", rows::defects).await
    }
}

impl Drop for SqliteMeta {
    /// Finishes what was asked for and folds the log into the database. Blocks for as long as that takes.
    fn drop(&mut self) {
        self.readers.close();
    }
}

impl MetaStore for SqliteMeta {
    fn lookup<'a>(&'a self, slot: &'a SlotPath) -> BoxFuture<'a, Result<Option<Entry>, MetaError>> {
        let slot = slot.clone();
        Box::pin(self.readers.run("look up a slot", move |connection| rows::entry(connection, slot.as_str())))
    }

    fn is_vacant(&self, slot: &SlotPath) -> bool {
        self.readers.at_once(|connection| rows::is_vacant(connection, slot.as_str())).unwrap_or(false)
    }

    fn find(&self, id: BlobId) -> BoxFuture<'_, Result<Option<Record>, MetaError>> {
        Box::pin(self.readers.run("find a blob", move |connection| rows::find(connection, id)))
    }

    fn record(&self, record: Record) -> BoxFuture<'_, Result<Recorded, MetaError>> {
        Box::pin(self.writer.run_statement("record a blob", move |connection| rows::insert(connection, &record)))
    }

    fn replace(&self, old: BlobId, record: Record) -> BoxFuture<'_, Result<Recorded, MetaError>> {
        Box::pin(self.writer.run("replace a blob", move |connection| rows::replace(connection, old, &record)))
    }

    fn bury<'a>(
        &'a self,
        slot: &'a SlotPath,
        only: BlobId,
        tombstone: Tombstone,
    ) -> BoxFuture<'a, Result<bool, MetaError>> {
        let slot = slot.clone();
        let bury = move |connection: &_| rows::bury(connection, slot.as_str(), only, &tombstone);
        Box::pin(self.writer.run("bury a blob", bury))
    }

    fn expired(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<Vec<Record>, MetaError>> {
        Box::pin(self.readers.run("list expired blobs", move |connection| rows::expired(connection, now, limit)))
    }

    fn page<'a>(&'a self, after: Option<&'a SlotPath>, limit: usize) -> BoxFuture<'a, Result<Vec<Record>, MetaError>> {
        let after = after.cloned();
        Box::pin(
            self.readers.run("list blobs", move |connection| {
                rows::page(connection, after.as_ref().map(SlotPath::as_str), limit)
            }),
        )
    }

    fn note<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>, MetaError>> {
        let key = key.to_owned();
        Box::pin(self.readers.run("read a note", move |connection| rows::note(connection, &key)))
    }

    fn set_note<'a>(&'a self, key: &'a str, value: &'a str) -> BoxFuture<'a, Result<(), MetaError>> {
        let (key, value) = (key.to_owned(), value.to_owned());
        Box::pin(self.writer.run("write a note", move |connection| rows::set_note(connection, &key, &value)))
    }

    fn profiles(&self, limit: usize) -> BoxFuture<'_, Result<Vec<(ProfileKey, Profile)>, MetaError>> {
        Box::pin(self.readers.run("list profiles", move |connection| profiles::all(connection, limit)))
    }

    fn keep_profiles(
        &self,
        profiles: Vec<(ProfileKey, Profile)>,
        oldest: Timestamp,
        most: usize,
    ) -> BoxFuture<'_, Result<(), MetaError>> {
        let keep = move |connection: &_| profiles::keep(connection, &profiles, oldest, most);
        Box::pin(self.writer.run("keep profiles", keep))
    }
}
