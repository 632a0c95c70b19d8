//! The rows: the [`MetaStore`] trait, and its SQLite and memory implementations.
//!
//! A blob is visible when its row is. The row is written last, durably, before the 201; so a row never promises bytes
//! that are not on disk. Knows nothing of HTTP or files.

#[cfg(test)]
mod conformance;
pub mod faulty;
pub mod memory;
pub mod sqlite;

use futures_core::future::BoxFuture;
use hfs_core::auth::{Owner, Proof};
use hfs_core::profile::{Profile, ProfileKey};
use hfs_core::{BlobId, ByteSize, Digest, SlotPath, Timestamp};

use crate::storage::Place;

/// One visible blob.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// Its name, never used again; its random part is the ETag.
    pub id: BlobId,
    /// The slot that it filled.
    pub slot: SlotPath,
    /// Where its bytes lie.
    pub place: Place,
    /// Length.
    pub size: ByteSize,
    /// Media type as signed or declared.
    pub media_type: String,
    /// Whose it is, where known.
    pub owner: Option<Owner>,
    /// When it was stored. Its Last-Modified.
    pub stored_at: Timestamp,
    /// When it disappears, if ever.
    pub expires: Option<Timestamp>,
    /// Whether we wrote it ourselves.
    pub integrity: Integrity,
    /// The proof it was written with; `None` for an adopted file.
    pub proof: Option<Proof>,
}

impl Record {
    /// Whether its time is over. It is invisible from then on, before the janitor buries it.
    #[must_use]
    pub fn expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// What we know of the bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Integrity {
    /// Received whole and synced by us.
    Written,
    /// The same, and hashed on the way.
    Digested(Digest),
    /// Found in a tree that another server wrote: unknown.
    Unknown,
}

/// What the rows say of a slot that was ever filled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Entry {
    /// Served (unless it has expired by now: the caller compares).
    Live(Record),
    /// Was there, is gone: GET is 404, PUT is 409 for ever, since v1/v2 URLs never expire by themselves.
    Gone(Tombstone),
}

/// The memory of a blob that is gone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tombstone {
    /// When it went.
    pub at: Timestamp,
    /// Why.
    pub reason: Farewell,
}

/// Why a blob is gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Farewell {
    /// Its time was over.
    Expired,
    /// Its issuer asked (Metronome's DELETE).
    Deleted,
}

/// How [`MetaStore::record`] ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Recorded {
    /// The row is durable.
    Inserted,
    /// The slot already had an entry, which stays.
    Taken(Entry),
}

/// Durable rows. A returned `Ok` has survived power loss from then on.
pub trait MetaStore: std::fmt::Debug + Send + Sync + 'static {
    /// What is known of a slot.
    fn lookup<'a>(&'a self, slot: &'a SlotPath) -> BoxFuture<'a, Result<Option<Entry>, MetaError>>;

    /// Whether a slot surely has no entry, asked on a thread that may wait for the disk. False also where that cannot be
    /// told at once; then [`MetaStore::lookup`] tells.
    fn is_vacant(&self, slot: &SlotPath) -> bool;

    /// The live record of a blob.
    fn find(&self, id: BlobId) -> BoxFuture<'_, Result<Option<Record>, MetaError>>;

    /// Makes a blob visible, durably. Group commit: concurrent calls share one sync. Not cancel-safe: a dropped call
    /// may or may not have written its row.
    fn record(&self, record: Record) -> BoxFuture<'_, Result<Recorded, MetaError>>;

    /// Replaces the live row of the blob `old` by one of another blob in the same slot, durably; [`Recorded::Taken`]
    /// when the slot has another entry by now, which stays. Not cancel-safe, as [`MetaStore::record`].
    fn replace(&self, old: BlobId, record: Record) -> BoxFuture<'_, Result<Recorded, MetaError>>;

    /// Replaces the live row of the blob `only` by a tombstone, durably; false when the slot has no such row (any more).
    /// The file is removed after. What else the slot has stays: another blob, an older tombstone, nothing.
    fn bury<'a>(
        &'a self,
        slot: &'a SlotPath,
        only: BlobId,
        tombstone: Tombstone,
    ) -> BoxFuture<'a, Result<bool, MetaError>>;

    /// Live records whose time is over at `now` (`expires <= now`), oldest first, at most `limit`.
    fn expired(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<Vec<Record>, MetaError>>;

    /// Live records in slot order after `after`, at most `limit`: for walking all of them in pages.
    fn page<'a>(&'a self, after: Option<&'a SlotPath>, limit: usize) -> BoxFuture<'a, Result<Vec<Record>, MetaError>>;

    /// A note of the server's own (adoption finished, format version), `None` when never written.
    fn note<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>, MetaError>>;

    /// Writes such a note, durably.
    fn set_note<'a>(&'a self, key: &'a str, value: &'a str) -> BoxFuture<'a, Result<(), MetaError>>;

    /// What was learnt about clients, the latest first, at most `limit`.
    fn profiles(&self, limit: usize) -> BoxFuture<'_, Result<Vec<(ProfileKey, Profile)>, MetaError>>;

    /// Keeps these in place of what was known of the same clients; forgets what is from before `oldest`, and the oldest
    /// beyond `most`.
    fn keep_profiles(
        &self,
        profiles: Vec<(ProfileKey, Profile)>,
        oldest: Timestamp,
        most: usize,
    ) -> BoxFuture<'_, Result<(), MetaError>>;
}

/// What the rows could not do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetaError {
    /// Certainly nothing was written: the disk is full.
    #[error("no space left for metadata")]
    Full {
        /// The engine's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Certainly nothing was written: the database did not answer in time or was busy.
    #[error("the metadata store was busy")]
    Busy,
    /// Certainly nothing was written: the database cannot be used at the moment.
    #[error("the metadata store cannot be used")]
    Unavailable {
        /// The engine's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It is unknown whether the change was written. A row that cannot be seen now may still appear after a crash, as
    /// long as no later write has succeeded: what belongs to it must be kept until then, or until the next start.
    #[error("the metadata store failed to {action}")]
    Backend {
        /// What was asked of it.
        action: &'static str,
        /// The engine's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
