//! [`adopt`]: rows for the files of a tree that another server wrote.
//!
//! One recorded pass, at the first start on a folder that was not ours, or by command. Nothing is moved or changed.
//! Running it again is safe: what has a row, or had one, keeps it. Files that appear later without a row are never
//! adopted silently: they are leftovers. Parts that were unreadable are noted and looked at again at each start, as they
//! were at the time of that pass: what changed since then may be a leftover of our own.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hfs_core::auth::Owner;
use hfs_core::{BlobId, ByteSize, InvalidSlotPath, SlotPath, Timestamp, media};
use tokio::task::JoinSet;

use super::local::{Found, Kept, LocalStore, Step};
use super::{Place, StoreError};
use crate::clock;
use crate::meta::{Integrity, MetaError, MetaStore, Record, Recorded};

/// The note that says when a tree was adopted, in seconds since 1970.
const NOTE: &str = "adopted";
/// The note of the parts that were unreadable then.
const LEFT: &str = "adoption-left";
/// Parts the notes of one adoption.
const SEPARATOR: &str = "//";
/// More parts than this are noted as one: the whole tree.
const MOST_LEFT: usize = 1000;
/// Files that changed within this time may still be written by the other server.
const SETTLED_SECONDS: i64 = 120;
/// Rows on their way at once, so that they share commits.
const IN_FLIGHT: usize = 256;

/// What an adoption did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Adopted {
    /// Files that got a row.
    pub files: u64,
    /// Their bytes.
    pub size: ByteSize,
    /// Files whose slot had an entry already.
    pub known: u64,
    /// Files that were reported.
    pub skipped: u64,
}

/// A file that was not adopted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Skipped {
    /// Adopt again later.
    #[error("{} changed less than {SETTLED_SECONDS} s before the adoption, or since: adopt again to pick it up", .0.display())]
    Fresh(PathBuf),
    /// No URL leads to it.
    #[error("{} cannot be a slot", path.display())]
    Name {
        /// Path below the root.
        path: PathBuf,
        /// Why; nothing when it is not UTF-8.
        #[source]
        source: Option<InvalidSlotPath>,
    },
    /// A symlink, device, socket or FIFO.
    #[error("{} is not a regular file", .0.display())]
    Special(PathBuf),
    /// Nobody knows what lies there.
    #[error("{} is unreadable", path.display())]
    Unreadable {
        /// Path below the root.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

/// Why an adoption ended early. Run it again: it goes on where it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdoptError {
    /// The tree could not be read, or the note not be written.
    #[error("could not adopt the existing files")]
    Store(#[from] StoreError),
    /// A row could not be written.
    #[error("could not record the existing files")]
    Meta(#[from] MetaError),
}

/// Adopts the tree if the store was founded in a foreign one and that has not been done. `None`: nothing was due.
///
/// # Errors
/// As [`adopt`].
pub async fn adopt_if_due(
    store: &LocalStore,
    meta: &Arc<dyn MetaStore>,
    now: Timestamp,
    report: &mut (dyn FnMut(Skipped) + Send),
) -> Result<Option<Adopted>, AdoptError> {
    if !store.is_adoption_due().await? {
        return Ok(None);
    }
    let Some(noted) = meta.note(NOTE).await? else { return adopt(store, meta, now, report).await.map(Some) };
    // A mark with a note: something was left, or the last one ended between its note and the removal of its mark.
    let then = noted.parse().map_or(now, Timestamp::from_unix);
    let left = parts(&meta.note(LEFT).await?.unwrap_or_default());
    pass(store, meta, then, left, report).await.map(Some)
}

/// Whether an adoption has ended before, though parts of the tree may have been unreadable.
///
/// # Errors
/// The note could not be read.
pub async fn has_adopted(meta: &dyn MetaStore) -> Result<bool, MetaError> {
    Ok(meta.note(NOTE).await?.is_some())
}

/// Gives every file below the root that has none a row, with what its name and its inode tell.
///
/// # Errors
/// When a row or the final note cannot be written, or the system's randomness fails.
pub async fn adopt(
    store: &LocalStore,
    meta: &Arc<dyn MetaStore>,
    now: Timestamp,
    report: &mut (dyn FnMut(Skipped) + Send),
) -> Result<Adopted, AdoptError> {
    pass(store, meta, now, vec![PathBuf::new()], report).await
}

/// Adopts what lies below these paths (the empty one is the root), and notes what of it was unreadable.
async fn pass(
    store: &LocalStore,
    meta: &Arc<dyn MetaStore>,
    now: Timestamp,
    below: Vec<PathBuf>,
    report: &mut (dyn FnMut(Skipped) + Send),
) -> Result<Adopted, AdoptError> {
    let mut adopted = Adopted::default();
    let mut left = Vec::new();
    for path in below {
        adopt_below(store, meta, now, path, &mut adopted, &mut |skipped| {
            if let Skipped::Unreadable { path, .. } = &skipped {
                left.push(path.clone());
            }
            report(skipped);
        })
        .await?;
    }
    meta.set_note(LEFT, &note_of(&left)).await?;
    meta.set_note(NOTE, &now.as_unix().to_string()).await?;
    if left.is_empty() {
        store.adoption_done().await?;
    } else {
        store.adoption_is_due().await?;
    }
    Ok(adopted)
}

async fn adopt_below(
    store: &LocalStore,
    meta: &Arc<dyn MetaStore>,
    now: Timestamp,
    path: PathBuf,
    adopted: &mut Adopted,
    report: &mut (dyn FnMut(Skipped) + Send),
) -> Result<(), AdoptError> {
    let mut rows = JoinSet::new();
    let mut steps = store.walk_below(path);
    while let Some(step) = steps.recv().await {
        match candidate(store, step, now).await? {
            Candidate::Adopt(record, kept) => {
                if rows.len() >= IN_FLIGHT
                    && let Some(done) = rows.join_next().await
                {
                    adopted.count(done)?;
                }
                let meta = Arc::clone(meta);
                rows.spawn(async move {
                    let _kept = kept;
                    let size = record.size;
                    meta.record(*record).await.map(|recorded| (recorded, size))
                });
            }
            Candidate::Skip(skipped) => {
                adopted.skipped += 1;
                report(skipped);
            }
            Candidate::Ignore => {}
        }
    }
    while let Some(done) = rows.join_next().await {
        adopted.count(done)?;
    }
    Ok(())
}

/// No path has an empty element, so two slashes keep them apart. What is not UTF-8 has no slot below it.
fn note_of(left: &[PathBuf]) -> String {
    // The root itself has no name that a note could hold.
    if left.len() > MOST_LEFT || left.iter().any(|path| path.as_os_str().is_empty()) {
        return SEPARATOR.to_owned();
    }
    let paths: Vec<&str> = left.iter().filter_map(|path| path.to_str()).collect();
    paths.join(SEPARATOR)
}

fn parts(note: &str) -> Vec<PathBuf> {
    match note {
        "" => Vec::new(),
        SEPARATOR => vec![PathBuf::new()],
        note => note.split(SEPARATOR).map(PathBuf::from).collect(),
    }
}

type Row = Result<Result<(Recorded, ByteSize), MetaError>, tokio::task::JoinError>;

impl Adopted {
    fn count(&mut self, row: Row) -> Result<(), MetaError> {
        let row = row.map_err(|error| MetaError::Backend { action: "adopt a file", source: Box::new(error) })?;
        match row? {
            (Recorded::Inserted, size) => {
                self.files += 1;
                self.size = ByteSize::bytes(self.size.as_u64().saturating_add(size.as_u64()));
            }
            (Recorded::Taken(_), _) => self.known += 1,
        }
        Ok(())
    }
}

/// Only root may look into this one, and nobody puts files there.
const FILE_SYSTEMS_OWN: &str = "lost+found";

enum Candidate {
    /// Not to be swept before it has its row.
    Adopt(Box<Record>, Option<Kept>),
    Skip(Skipped),
    /// The other server's own.
    Ignore,
}

async fn candidate(store: &LocalStore, step: Step, now: Timestamp) -> Result<Candidate, StoreError> {
    let Found { path, file } = match step {
        Step::File(found) => found,
        Step::Special(path) => return Ok(Candidate::Skip(Skipped::Special(path))),
        Step::Unreadable(path, _) if path == Path::new(FILE_SYSTEMS_OWN) => return Ok(Candidate::Ignore),
        Step::Unreadable(path, source) => return Ok(Candidate::Skip(Skipped::Unreadable { path, source })),
    };
    let slot = match slot_of(&path) {
        Ok(slot) => slot,
        Err(Some(InvalidSlotPath::Reserved)) => return Ok(Candidate::Ignore),
        Err(source) => return Ok(Candidate::Skip(Skipped::Name { path, source })),
    };
    let place = Place::new(slot.as_str());
    if file.modified > now.plus_seconds(-SETTLED_SECONDS) {
        return Ok(Candidate::Skip(Skipped::Fresh(path)));
    }
    // Our own server may be publishing it right now: its row is on the way.
    let kept = if file.is_linked { store.keep(place.clone()).await? } else { None };
    if file.is_linked && kept.is_none() {
        return Ok(Candidate::Skip(Skipped::Fresh(path)));
    }
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|error| StoreError::Io { action: "draw an id", source: std::io::Error::other(error) })?;
    let record = Record {
        id: BlobId::drawn(clock::since_epoch(), random),
        place,
        size: ByteSize::bytes(file.size),
        media_type: media::type_of_name(slot.file_name()).to_owned(),
        owner: owner_of(&slot),
        stored_at: file.modified,
        expires: None,
        integrity: Integrity::Unknown,
        proof: None,
        slot,
    };
    Ok(Candidate::Adopt(Box::new(record), kept))
}

/// The slot whose path is this file's.
pub(super) fn slot_of(path: &Path) -> Result<SlotPath, Option<InvalidSlotPath>> {
    SlotPath::parse(path.to_str().ok_or(None)?).map_err(Some)
}

/// ejabberd puts files below the hash of their owner's address.
fn owner_of(slot: &SlotPath) -> Option<Owner> {
    let first = slot.first_element();
    let is_hash = first.len() == 40 && first.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    (is_hash && first != slot.as_str()).then(|| Owner::JidSha1(first.to_owned()))
}
