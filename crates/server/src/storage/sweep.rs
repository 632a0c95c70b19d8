//! [`sweep`]: what a dead server left among the temporaries, resolved by its rows.
//!
//! A temporary is leased by the process that writes it and keeps its name until its row is committed. So one without
//! a living owner is: of a committed upload (forget the name), of a broken one (remove it), or of one that was
//! published and never recorded (remove its published name too). Runs from the start on, every hour, beside uploads and
//! downloads; several processes may sweep at once, because whoever acts on a temporary holds its lease.
//!
//! A published name is found by its inode, which says nothing of whose it is: two blobs share one where a program has
//! made equal files hard links of each other. So a name goes only if no live row says that it is its.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use hfs_core::BlobId;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::adopt::{has_adopted, slot_of};
use super::local::{Dead, Lease, LocalStore, Step};
use super::recorded::{id_of, is_recorded};
use super::{BlobStore, Place, StoreError};
use crate::meta::{MetaError, MetaStore, Record};

/// How long a row whose fate nobody knows may still be committed by a slow metadata store.
const UNRESOLVED: Duration = Duration::from_secs(300);
/// How long a publication may keep a slot from being swept.
const PATIENCE: Duration = Duration::from_secs(10);

/// The note that a sweep writes first.
const NOTE: &str = "sweep";

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Swept {
    /// Of broken uploads, or with no other name that is their own: removed.
    pub orphans: usize,
    /// Of committed uploads: only their temporary name was left.
    pub settled: usize,
    /// Published without a row: removed under both names.
    pub retracted: usize,
    /// Of uploads that run.
    pub living: usize,
    /// Left for the next sweep, each with a line in the log.
    pub failed: usize,
}

/// Why a sweep ended early. What it did until then stays done; the next one goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SweepError {
    /// The temporaries could not be listed.
    #[error("could not sweep the store")]
    Store(#[from] StoreError),
    /// The rows could not be asked.
    #[error("could not sweep the store without its rows")]
    Meta(#[from] MetaError),
}

/// How far a sweep goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// What temporaries and rows tell: broken uploads go, and what is the last copy of a recorded blob gets its name back.
    Temporaries,
    /// Besides, what was published and never recorded: its name may have to be looked for in the whole tree.
    Tree,
}

impl Reach {
    /// Of the sweep that a start waits for.
    ///
    /// Uploads and downloads need not wait for a walk: rows decide what is visible, leases and claims keep a sweep from what
    /// is under way. But a first adoption would take what a crash left for another server's files. A later one, of parts that
    /// were unreadable then, passes by what is younger than the first.
    pub async fn of_start(store: &LocalStore, meta: &dyn MetaStore) -> Self {
        // What cannot be told is told by the adoption.
        let is_due = store.is_adoption_due().await.unwrap_or(true);
        if is_due && !has_adopted(meta).await.unwrap_or(false) { Self::Tree } else { Self::Temporaries }
    }
}

/// Removes what dead processes left behind.
///
/// # Errors
/// When the temporaries or the rows as a whole cannot be read; trouble with a single file is counted and logged.
pub async fn sweep(store: &LocalStore, meta: &dyn MetaStore, reach: Reach) -> Result<Swept, SweepError> {
    let begun = begin(meta).await?;
    resolve(store, meta, begun, reach).await
}

/// A sweep may judge: no row of unknown fate can appear any more.
#[derive(Debug)]
pub struct Begun(());

/// The first part of [`sweep`], and all that it writes into the database.
///
/// # Errors
/// The note could not be written.
pub async fn begin(meta: &dyn MetaStore) -> Result<Begun, MetaError> {
    // A durable write behind every earlier one: from here on no row of unknown fate can still appear. Without it,
    // nothing is judged, here or by another process that finds a lease ended.
    meta.set_note(NOTE, "begun").await?;
    Ok(Begun(()))
}

/// The rest of [`sweep`].
///
/// # Errors
/// As [`sweep`].
pub async fn resolve(
    store: &LocalStore,
    meta: &dyn MetaStore,
    _begun: Begun,
    reach: Reach,
) -> Result<Swept, SweepError> {
    store.release_unresolved(UNRESOLVED);
    let mut swept = Swept::default();
    let mut unrecorded = HashMap::new();
    let mut names = store.temporaries().await?;
    // Second names (and whatever else is no blob's) first: they share the lease of the blob's own.
    names.sort_by_key(|name| name.parse::<BlobId>().is_ok());
    for name in names {
        let dead = match store.lease(name).await {
            Ok(Lease::Dead(dead)) => dead,
            Ok(Lease::Living) => {
                swept.living += 1;
                continue;
            }
            Ok(Lease::Gone) => continue,
            Err(error) => {
                swept.fail(&error);
                continue;
            }
        };
        let verdict = match verdict(store, &dead, meta).await {
            Err(SweepError::Store(error)) => {
                swept.fail(&error);
                continue;
            }
            verdict => verdict?,
        };
        match verdict {
            Verdict::Orphan => swept.count(store.discard(dead).await, |swept| &mut swept.orphans),
            Verdict::Settled => swept.count(store.discard(dead).await, |swept| &mut swept.settled),
            Verdict::Unrecorded => {
                unrecorded.insert(dead.file.inode, dead);
            }
            Verdict::LastCopy(record) => restore(store, meta, dead, &record, &mut swept).await?,
        }
    }
    if reach == Reach::Tree {
        retract(store, meta, unrecorded, &mut swept).await?;
    }
    Ok(swept)
}

impl Swept {
    fn fail(&mut self, error: &StoreError) {
        self.failed += 1;
        warn!(error = error as &dyn std::error::Error, "Could not sweep a temporary");
    }

    fn count(&mut self, result: Result<(), StoreError>, counter: impl FnOnce(&mut Self) -> &mut usize) {
        match result {
            Ok(()) => *counter(self) += 1,
            Err(error) => self.fail(&error),
        }
    }
}

enum Verdict {
    Orphan,
    Settled,
    Unrecorded,
    /// Recorded, but nothing else has the bytes: someone removed the published file.
    LastCopy(Box<Record>),
}

async fn verdict(store: &LocalStore, dead: &Dead, meta: &dyn MetaStore) -> Result<Verdict, SweepError> {
    let Some(id) = dead.blob else { return Ok(Verdict::Orphan) };
    let Some(record) = meta.find(id).await? else {
        return Ok(if dead.file.is_linked { Verdict::Unrecorded } else { Verdict::Orphan });
    };
    // The number of its names says nothing here: a backup may be made of hard links.
    let published = store.stat(vec![record.place.clone()]).await?;
    let is_published = published.iter().flatten().any(|file| file.inode == dead.file.inode);
    Ok(if is_published { Verdict::Settled } else { Verdict::LastCopy(Box::new(record)) })
}

/// Gives a recorded blob its published name back, if nothing else has that.
async fn restore(
    store: &LocalStore,
    meta: &dyn MetaStore,
    dead: Dead,
    record: &Record,
    swept: &mut Swept,
) -> Result<(), MetaError> {
    let (slot, place) = (&record.slot, &record.place);
    let claim = match store.claim(slot, PATIENCE).await {
        Ok(claim) => claim,
        Err(error) => {
            swept.fail(&error);
            return Ok(());
        }
    };
    match store.restore(&dead, place.clone(), &claim).await {
        // Asked last: a removal writes its tombstone before it unlinks, so one that is not seen now takes this name too.
        Ok(true) if meta.find(record.id).await?.is_none() => {
            match store.remove_inode(place.clone(), dead.file.inode, Some(&claim)).await {
                Ok(_) => swept.count(store.discard(dead).await, |swept| &mut swept.orphans),
                Err(error) => swept.fail(&error),
            }
        }
        Ok(true) => {
            warn!(%slot, %place, "A recorded blob was missing; it has its name back");
            swept.count(store.discard(dead).await, |swept| &mut swept.settled);
        }
        Ok(false) => {
            warn!(temporary = dead.name, %place, "Another file lies in a blob's place; its bytes are kept in the temporary");
            swept.failed += 1;
        }
        Err(error) => swept.fail(&error),
    }
    Ok(())
}

/// Removes the published names of blobs that have no row, in one walk for all of them, then their temporary names.
async fn retract(
    store: &LocalStore,
    meta: &dyn MetaStore,
    mut unrecorded: HashMap<(u64, u64), Dead>,
    swept: &mut Swept,
) -> Result<(), MetaError> {
    if unrecorded.is_empty() {
        return Ok(());
    }
    info!(count = unrecorded.len(), "Looking through the tree for files that a crash left");
    let mut complete = true;
    for is_by_id in [false, true] {
        let mut steps = if is_by_id { store.walk_by_id() } else { store.walk() };
        complete &= retract_found(store, meta, &mut steps, &mut unrecorded, swept).await?;
    }
    for dead in unrecorded.into_values() {
        if complete {
            // Its other names went between, or are those of others: nothing is left of the publication.
            swept.count(store.discard(dead).await, |swept| &mut swept.orphans);
        } else {
            swept.failed += 1;
            warn!(temporary = dead.name, "Could not find an unrecorded blob: a part of the tree is unreadable");
        }
    }
    Ok(())
}

/// Whether everything could be looked at.
async fn retract_found(
    store: &LocalStore,
    meta: &dyn MetaStore,
    steps: &mut mpsc::Receiver<Step>,
    unrecorded: &mut HashMap<(u64, u64), Dead>,
    swept: &mut Swept,
) -> Result<bool, MetaError> {
    let mut complete = true;
    while !unrecorded.is_empty()
        && let Some(step) = steps.recv().await
    {
        let found = match step {
            Step::File(found) => found,
            Step::Special(_) => continue,
            Step::Unreadable(path, error) => {
                complete = false;
                warn!(path = %path.display(), %error, "Could not look into a part of the tree");
                continue;
            }
        };
        let Some(dead) = unrecorded.remove(&found.file.inode) else { continue };
        match unpublish(store, meta, &found.path, &dead).await {
            Ok(true) => swept.count(store.discard(dead).await, |swept| &mut swept.retracted),
            // Not its own name: that one may lie elsewhere.
            Ok(false) => drop(unrecorded.insert(found.file.inode, dead)),
            Err(SweepError::Store(error)) => swept.fail(&error),
            Err(SweepError::Meta(error)) => return Err(error),
        }
    }
    Ok(complete)
}

/// Removes a published name of a dead blob, holding the slot's claim: a new upload may be about to replace the file
/// there. False when it is none, or another blob's.
async fn unpublish(store: &LocalStore, meta: &dyn MetaStore, path: &Path, dead: &Dead) -> Result<bool, SweepError> {
    // Our own names are ASCII and slots are UTF-8: another path was not published by us.
    let Some(place) = path.to_str().map(Place::new) else { return Ok(false) };
    let claim = match slot_of(path) {
        Ok(slot) => Some(store.claim(&slot, PATIENCE).await?),
        // By id: nobody else ever publishes there.
        Err(_) if dead.blob.is_some() && id_of(path) == dead.blob => None,
        Err(_) => return Ok(false),
    };
    // Under the claim no upload writes such a row from here on; an adoption shares the lease until it has written its own.
    if is_recorded(meta, path).await? != Some(false) {
        return Ok(false);
    }
    Ok(store.remove_inode(place, dead.file.inode, claim.as_ref()).await?)
}
