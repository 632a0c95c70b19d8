//! Bytes in, row last: [`ingest`], and the equal repeat of an upload that already succeeded.

use std::sync::Arc;
use std::time::Duration;

use hfs_core::admit::{Admission, Refusal};
use hfs_core::{BlobId, ByteSize, Digest, SlotPath};
use tokio::task::JoinError;
use tracing::error;

use super::PutError;
use super::receive::Receiver;
use super::row::Row;
use crate::app::App;
use crate::clock;
use crate::meta::{Entry, Integrity, MetaError, Record, Recorded};
use crate::storage::digest::digest_of;
use crate::storage::{Attempt, Blob, BlobWriter, Claim, Place, Published, StoreError, Vacancy};

/// How long an upload waits for a rival that is publishing the same slot. A rival needs a few syncs, so seconds mean a
/// disk in trouble; the client must hear something before its own patience (10 s for the shortest) is over.
const CLAIM_PATIENCE: Duration = Duration::from_secs(8);

/// How often the free space is looked at while a body of unknown length arrives.
const LOOK_EVERY: ByteSize = ByteSize::mib(8);

/// A PUT that ended in 201.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stored {
    /// The blob that the slot holds.
    pub id: BlobId,
    /// Its length.
    pub size: ByteSize,
    /// False when an equal upload had already filled the slot.
    pub fresh: bool,
}

/// Receives one body and makes it visible.
pub(super) async fn ingest(app: &Arc<App>, admission: Admission, body: &mut Receiver) -> Result<Stored, PutError> {
    let writer = receive(app, &admission, body).await?;
    let (app, memory) = (Arc::clone(app), body.hand_over());
    // A client that walks away from here on must not leave a name without a row behind: this runs to its end.
    let commit = async move {
        let _memory = memory;
        commit(app, admission, writer).await
    };
    finish(tokio::spawn(commit).await)
}

/// [`ingest`] without the row: the bytes become durable under their name, and are removed again.
pub(super) async fn rehearse(app: &Arc<App>, admission: Admission, body: &mut Receiver) -> Result<(), PutError> {
    let writer = receive(app, &admission, body).await?;
    let (app, memory) = (Arc::clone(app), body.hand_over());
    let publication = async move {
        let _memory = memory;
        let claim = app.store().claim(admission.grant().slot(), CLAIM_PATIENCE).await?;
        let published = writer.publish(&claim).await?;
        published.aftermath.retract(claim).await;
        Ok(())
    };
    finish(tokio::spawn(publication).await)
}

/// Receives one body into a temporary, for as long as it keeps to what was admitted.
async fn receive(app: &App, admission: &Admission, body: &mut Receiver) -> Result<Box<dyn BlobWriter>, PutError> {
    let digest = app.config().storage.digests;
    let mut hints = body.hints(digest);
    let mut writer = app.store().create(admission.size(), hints).await?;
    let mut looked_at = LOOK_EVERY;
    loop {
        if body.pump(&mut *writer, digest).await? {
            continue;
        }
        let Some(piece) = body.next().await? else { break };
        if body.hints(digest) != hints {
            hints = body.hints(digest);
            writer.follow(hints);
        }
        check_length(admission, body.received(), false)?;
        if admission.size().is_none() && body.received() >= looked_at {
            check_space(app).await?;
            looked_at = ByteSize::bytes(body.received().as_u64() + LOOK_EVERY.as_u64());
        }
        writer.write(piece).await?;
    }
    check_length(admission, writer.written(), true)?;
    Ok(writer)
}

fn finish<T>(joined: Result<Result<T, PutError>, JoinError>) -> Result<T, PutError> {
    joined.unwrap_or_else(|death| {
        error!(error = %death, "The storing task died");
        Err(PutError::Aborted)
    })
}

/// The floor of free space holds also for a body whose length nobody announced.
async fn check_space(app: &App) -> Result<(), PutError> {
    let floor = app.config().limits.min_free;
    match app.store().free().await {
        Some(free) if free < floor => Err(Refusal::NoSpace.into()),
        _ => Ok(()),
    }
}

/// Compares the length so far (`done`: the whole length) with what the proof and the operator allow.
fn check_length(admission: &Admission, received: ByteSize, done: bool) -> Result<(), PutError> {
    if let Some(signed) = admission.size()
        && (received > signed || done && received != signed)
    {
        return Err(PutError::OtherLength { received, signed });
    }
    match admission.ceiling() {
        Some(max) if received > max => Err(PutError::Refused(Refusal::TooLarge { max })),
        _ => Ok(()),
    }
}

async fn commit(app: Arc<App>, admission: Admission, writer: Box<dyn BlobWriter>) -> Result<Stored, PutError> {
    let grant = admission.grant();
    let claim = app.store().claim(grant.slot(), CLAIM_PATIENCE).await?;
    let stored = Stored { id: writer.id(), size: writer.written(), fresh: true };
    let (published, lost) = match writer.publish_if_vacant(&claim, vacancy(&app, grant.slot())).await? {
        Attempt::Published(published) => (published, None),
        Attempt::Kept(mut writer) => match app.meta().lookup(grant.slot()).await? {
            None => (writer.publish(&claim).await?, None),
            Some(entry) => match against(&app, entry, &mut *writer).await? {
                Rival::Equal(stored) => return Ok(stored),
                Rival::Lost(record) => (writer.publish_apart(&claim).await?, Some(record)),
            },
        },
    };
    let row = Row::new(grant, stored, &published, clock::now());
    let row = match lost {
        None => row,
        Some(lost) => {
            // An error leaves the publication to the sweep, which finds no row.
            if !may_be(&app, &lost, &published.place, published.digest).await? {
                published.aftermath.retract(claim).await;
                return Err(PutError::Taken);
            }
            row.instead_of(lost)
        }
    };
    // On a hung disk the client hears 503 after the deadline, while the row may still be written: so a task of its own
    // keeps the claim until the row's fate is known, and a rival waits instead of replacing the file.
    let deadline = app.config().storage.io_deadline;
    let recording = tokio::spawn(make_visible(app, claim, published, row, stored));
    match tokio::time::timeout(deadline, recording).await {
        Ok(joined) => finish(joined),
        Err(_) => Err(StoreError::Slow { action: "record the upload", deadline }.into()),
    }
}

fn vacancy(app: &Arc<App>, slot: &SlotPath) -> Vacancy {
    let (app, slot) = (Arc::clone(app), slot.clone());
    Box::new(move || app.meta().is_vacant(&slot))
}

/// Whether these bytes may be those that were lost. Without a digest nobody can tell.
async fn may_be(app: &App, lost: &Record, place: &Place, digest: Option<Digest>) -> Result<bool, StoreError> {
    let Integrity::Digested(wanted) = lost.integrity else { return Ok(true) };
    if let Some(found) = digest {
        return Ok(found == wanted);
    }
    // Uploads are no longer hashed while they arrive, as that one was.
    let blob = app.store().open(place).await?;
    Ok(digest_of(&*blob).await? == wanted)
}

/// Writes the row and ends the publication accordingly. The claim is held until then.
async fn make_visible(
    app: Arc<App>,
    claim: Claim,
    published: Published,
    row: Row,
    stored: Stored,
) -> Result<Stored, PutError> {
    match row.write(app.meta()).await {
        Ok(Recorded::Inserted) => {
            published.aftermath.settle().await;
            Ok(stored)
        }
        Ok(Recorded::Taken(Entry::Live(live))) if live.place == published.place => {
            // Somebody recorded this slot without a claim. The name is the row's now, so it must stay, and nothing may
            // lead a sweep to it.
            error!(slot = %live.slot, "A row appeared while its slot was claimed");
            published.aftermath.settle().await;
            Err(PutError::Taken)
        }
        Ok(Recorded::Taken(_)) => {
            published.aftermath.retract(claim).await;
            Err(PutError::Taken)
        }
        Err(failure @ (MetaError::Full { .. } | MetaError::Busy | MetaError::Unavailable { .. })) => {
            published.aftermath.retract(claim).await;
            Err(failure.into())
        }
        // The row may be on disk or not: the file stays, and the next sweep decides by the row.
        Err(unknown) => Err(unknown.into()),
    }
}

/// What an upload meets when its slot has a row already.
enum Rival {
    /// A rival was first, with the same bytes: a success. (Others are a conflict.)
    Equal(Stored),
    /// The row's file is missing, and these bytes may be what it was.
    Lost(Record),
}

async fn against(app: &App, entry: Entry, writer: &mut dyn BlobWriter) -> Result<Rival, PutError> {
    let record = match entry {
        Entry::Live(record) if !record.expired(clock::now()) => record,
        Entry::Live(_) | Entry::Gone(_) => return Err(PutError::Gone),
    };
    if writer.written() != record.size {
        return Err(PutError::Taken);
    }
    let Some(blob) = open_whole(app, &record).await? else { return Ok(Rival::Lost(record)) };
    if writer.equals(&*blob).await? {
        Ok(Rival::Equal(Stored { id: record.id, size: record.size, fresh: false }))
    } else {
        Err(PutError::Taken)
    }
}

/// Compares a repeated PUT with what the slot holds, while it arrives and without writing anything. `None`, with nothing
/// read yet: the slot's file is missing, so an upload of its size may take its place.
///
/// 201 for equal bytes: HTTP libraries replay a PUT whose 201 was lost on the way. Other bytes are a conflict: what
/// others already link to must not change.
pub(super) async fn repeat_of(
    app: &App,
    record: &Record,
    announced: Option<ByteSize>,
    body: &mut Receiver,
) -> Result<Option<Stored>, PutError> {
    if announced.is_some_and(|announced| announced != record.size) {
        return Err(PutError::Taken);
    }
    let Some(blob) = open_whole(app, record).await? else { return Ok(None) };
    let mut offset = 0;
    while let Some(piece) = body.next().await? {
        let mut theirs = &piece[..];
        while !theirs.is_empty() {
            let ours = blob.read_at(offset, theirs.len()).await?;
            if ours.is_empty() || ours[..] != theirs[..ours.len()] {
                return Err(PutError::Taken);
            }
            offset += ours.len() as u64;
            theirs = &theirs[ours.len()..];
        }
    }
    if offset == record.size.as_u64() {
        return Ok(Some(Stored { id: record.id, size: record.size, fresh: false }));
    }
    Err(PutError::Taken)
}

/// Opens what a slot holds, to compare with; `None` when it is missing. A file of another length says nothing about the
/// bytes that were promised, and may be all that is left of them: it stays as it is.
async fn open_whole(app: &App, record: &Record) -> Result<Option<Arc<dyn Blob>>, PutError> {
    match app.store().open(&record.place).await {
        Ok(blob) if blob.size() == record.size => Ok(Some(blob)),
        Ok(_) => Err(PutError::Damaged),
        Err(StoreError::Missing { .. }) => Ok(None),
        Err(failure) => Err(failure.into()),
    }
}
