//! [`LocalWriter`]: one upload's bytes into its temporary.
//!
//! Invariant: after a failed, late or cancelled write nothing more is written and nothing is ever published: what the
//! kernel took is unknown.

mod equal;

use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use hfs_core::{BlobId, ByteSize};
use hfs_sock::Tap;
use rustix::io::{Errno, pwritev};

use super::call::Call;
use super::gather::Gather;
use super::publish::{Abandoned, Landed, Landing};
use super::pump::Job;
use super::temporary::Temporary;
use super::{Blob, BlobWriter, Claim, Inner, StoreError, failed};
use crate::storage::digest::Hasher;
use crate::storage::{Attempt, Hints, Published, Pump, Pumped, SHORT, Vacancy};

const WRITE: &str = "write";
/// Writes of up to this many bytes go through the narrow lane: they come from clients that nobody waits for.
const TRICKLE: usize = 16 << 10;
/// Write-back starts for each part of this size, and waits for the one two parts before: that hides the disk behind
/// the network, and leaves the last fdatasync at most 24 MiB, however slow the disk.
const PART: u64 = 8 << 20;
const UNASKED: &str = "nobody was asked whether to publish";

#[derive(Debug)]
pub(super) struct LocalWriter {
    inner: Arc<Inner>,
    id: BlobId,
    /// Made by the first write, where the upload is short.
    temporary: Option<Arc<Temporary>>,
    expected: Option<u64>,
    gather: Gather,
    /// Bytes that are in the file.
    flushed: u64,
    allocated: u64,
    hints: Hints,
    /// Over what is in the file; where there is one, and while nobody else has it.
    hasher: Option<Hasher>,
    broken: bool,
}

impl LocalWriter {
    pub(super) async fn create(
        inner: Arc<Inner>,
        expected: Option<ByteSize>,
        hints: Hints,
    ) -> Result<Self, StoreError> {
        let id = Temporary::draw()?;
        let (mut temporary, mut allocated) = (None, 0);
        if expected.is_none_or(|size| size > SHORT) {
            let store = Arc::clone(&inner);
            let reserved = expected.filter(|_| hints.preallocate);
            let create = move || Temporary::create(&store, id, reserved);
            // Narrow: hundreds of uploads that begin together would wake as many threads.
            temporary = Some(Arc::new(inner.trickles.run("create a temporary", create).await?));
            allocated = reserved.map_or(0, ByteSize::as_u64);
        }
        let gather = Gather::new(hints.step);
        let expected = expected.map(ByteSize::as_u64);
        let hasher = Hasher::wanted(hints.digest);
        Ok(Self { inner, id, temporary, expected, gather, flushed: 0, allocated, hints, hasher, broken: false })
    }

    /// How the temporary is had where it is needed: on a thread that may wait.
    fn temporary(&self) -> impl FnOnce() -> Result<Arc<Temporary>, StoreError> + Send + use<> {
        let (inner, id, known) = (Arc::clone(&self.inner), self.id, self.temporary.clone());
        move || known.map_or_else(|| Temporary::create(&inner, id, None).map(Arc::new), Ok)
    }

    fn length(&self) -> u64 {
        self.flushed + self.gather.len() as u64
    }

    /// How much may come next.
    fn next(&self) -> usize {
        let left = self.expected.map_or(u64::MAX, |expected| expected.saturating_sub(self.length()));
        usize::try_from(left).unwrap_or(usize::MAX).min(self.hints.piece)
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.broken {
            return Err(StoreError::Io { action: WRITE, source: io::Error::other("an earlier write failed") });
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        self.check()?;
        if self.gather.len() == 0 {
            return Ok(());
        }
        let (from, to) = (self.flushed, self.length());
        let lane = if self.gather.len() <= TRICKLE { &self.inner.trickles } else { &self.inner.writes };
        let pieces = self.gather.take();
        let (inner, temporary, hints) = (Arc::clone(&self.inner), self.temporary(), self.hints);
        // Until it is known to have worked, also when this future is dropped half-way.
        self.broken = true;
        let mut hasher = self.hasher.take();
        let write = move || {
            let temporary = temporary()?;
            inner.seam.pass(Call::Write).map_err(failed(WRITE))?;
            write_all(temporary.file(), &pieces, from).map_err(failed(WRITE))?;
            if hints.write_back {
                write_back(temporary.file(), from, to).map_err(failed(WRITE))?;
            }
            hash(&mut hasher, &pieces);
            Ok((temporary, hasher))
        };
        let (temporary, hasher) = lane.run(WRITE, write).await?;
        (self.temporary, self.hasher) = (Some(temporary), hasher);
        self.broken = false;
        self.flushed = to;
        Ok(())
    }

    async fn pump_some(&mut self, source: Arc<dyn Tap>, most: u64, how: Pump) -> Result<Option<Pumped>, StoreError> {
        self.check()?;
        let Ok(permit) = Arc::clone(&self.inner.pumps).try_acquire_owned() else { return Ok(None) };
        self.flush().await?;
        let (inner, temporary, hints, at) = (Arc::clone(&self.inner), self.temporary(), self.hints, self.flushed);
        let abandoned = Abandoned::default();
        let flag = abandoned.flag();
        // As for a write: unknown until it is known to have worked.
        self.broken = true;
        let mut hasher = self.hasher.take();
        let work = move || {
            let _permit = permit;
            let temporary = temporary()?;
            let job = Job { inner: &inner, file: temporary.file(), at, most, hints, abandoned: &flag };
            let mut pumped = Err(StoreError::Io { action: WRITE, source: io::ErrorKind::NotConnected.into() });
            source.tap(&mut |socket| pumped = job.run(socket, how, hasher.as_mut()));
            pumped.map(|pumped| (pumped, temporary, hasher))
        };
        let (pumped, temporary, hasher) = self.inner.writes.run(WRITE, work).await?;
        (self.temporary, self.hasher) = (Some(temporary), hasher);
        abandoned.not();
        self.broken = false;
        self.flushed += pumped.bytes;
        Ok(Some(pumped))
    }

    /// Publishes what was written. `None`: `vacancy` was asked, and did not say that the slot has no row.
    async fn land(
        &mut self,
        claim: &Claim,
        apart: bool,
        vacancy: Option<Vacancy>,
    ) -> Result<Option<Published>, StoreError> {
        self.check()?;
        let length = self.length();
        let (inner, slot, temporary) = (Arc::clone(&self.inner), claim.slot().clone(), self.temporary());
        // Shared, for a slot that turns out to have a row.
        let (rest, hasher) = (self.gather.held().to_vec(), self.hasher.clone());
        let (rest_at, shrink, hold) = (self.flushed, self.allocated > length, claim.hold());
        let begin = move || {
            if vacancy.is_some_and(|vacancy| !vacancy()) {
                return Ok(None);
            }
            let temporary = temporary()?;
            Ok(Some(Landing { inner, temporary, slot, rest, rest_at, length, shrink, apart, hasher, hold }))
        };
        let abandoned = Abandoned::default();
        let flag = abandoned.flag();
        let landed = if self.temporary.is_none() && self.inner.syncfs.is_time() {
            self.inner.land_together(flag, begin).await?
        } else {
            let lane = if self.temporary.is_none() { &self.inner.shorts } else { &self.inner.writes };
            let land = move || begin()?.map(|landing| landing.land(&flag)).transpose();
            lane.run("publish the upload", land).await?
        };
        abandoned.not();
        Ok(landed.map(Landed::into_published))
    }
}

/// Adds pieces to a digest that is wanted.
pub(super) fn hash(hasher: &mut Option<Hasher>, pieces: &[Bytes]) {
    if let Some(hasher) = hasher {
        pieces.iter().for_each(|piece| hasher.update(piece));
    }
}

impl BlobWriter for LocalWriter {
    fn id(&self) -> BlobId {
        self.id
    }

    fn written(&self) -> ByteSize {
        ByteSize::bytes(self.length())
    }

    fn follow(&mut self, hints: Hints) {
        self.hints = hints;
        self.gather.aim(hints.step);
    }

    fn pump(
        &mut self,
        source: Arc<dyn Tap>,
        most: u64,
        how: Pump,
    ) -> BoxFuture<'_, Result<Option<Pumped>, StoreError>> {
        Box::pin(self.pump_some(source, most, how))
    }

    fn write(&mut self, data: Bytes) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.check()?;
            self.gather.push(data);
            // What is the last of it is written when it is published, by the same thread.
            if self.gather.is_due(self.next()) && self.expected != Some(self.length()) {
                self.flush().await
            } else {
                Ok(())
            }
        })
    }

    fn equals<'a>(&'a mut self, blob: &'a dyn Blob) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.equal(blob))
    }

    fn publish(mut self: Box<Self>, claim: &Claim) -> BoxFuture<'_, Result<Published, StoreError>> {
        Box::pin(async move { Ok(self.land(claim, false, None).await?.expect(UNASKED)) })
    }

    fn publish_if_vacant(
        mut self: Box<Self>,
        claim: &Claim,
        vacancy: Vacancy,
    ) -> BoxFuture<'_, Result<Attempt, StoreError>> {
        Box::pin(async move {
            let landed = self.land(claim, false, Some(vacancy)).await?;
            Ok(landed.map_or_else(|| Attempt::Kept(self), Attempt::Published))
        })
    }

    fn publish_apart(mut self: Box<Self>, claim: &Claim) -> BoxFuture<'_, Result<Published, StoreError>> {
        Box::pin(async move { Ok(self.land(claim, true, None).await?.expect(UNASKED)) })
    }
}

impl std::fmt::Debug for Temporary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Temporary").field(&self.id()).finish()
    }
}

/// Writes all pieces from `offset` on. Blocking.
pub(super) fn write_all(file: &File, pieces: &[Bytes], offset: u64) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut slices = &mut slices[..];
    let mut at = offset;
    while slices.iter().any(|slice| !slice.is_empty()) {
        match pwritev(file, slices, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                at += written as u64;
                IoSlice::advance_slices(&mut slices, written);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// After a write that ended at `to`: starts write-back of the parts that it completed, waits for those before.
pub(super) fn write_back(file: &File, from: u64, to: u64) -> io::Result<()> {
    for part in from / PART..to / PART {
        hfs_sock::start_write_back(file, part * PART, PART)?;
        if let Some(earlier) = part.checked_sub(2) {
            hfs_sock::wait_write_back(file, earlier * PART, PART)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::storage::BlobStore as _;
    use crate::storage::conformance::{publish, read, settle, slot};
    use crate::storage::local::call::Call::{Create, Link, Sync, SyncDirectory, Write};
    use crate::storage::local::testing::{Root, files_below};

    const ENOSPC: i32 = 28;

    #[tokio::test]
    async fn a_short_upload_touches_the_disk_once_and_may_fail_at_each_call() {
        let root = Root::new();
        let store = root.open();
        let upload = async || {
            let mut writer = store.create(Some(ByteSize::bytes(5)), Hints::default()).await?;
            writer.write(Bytes::from_static(b"short")).await?;
            assert!(store.0.seam.seen().is_empty() && files_below(root.path()) == [".hfs/claims"], "not yet");
            let claim = store.claim(&slot("a"), Duration::ZERO).await?;
            writer.publish(&claim).await
        };
        store.0.seam.arm(None);
        let place = settle(upload().await.unwrap()).await;
        let calls = store.0.seam.seen();
        assert_eq!(calls, [Create, Write, Sync, Link, SyncDirectory]);
        assert_eq!(read(&store, &place).await, b"short");
        store.remove(&place).await.unwrap();
        store.quiesce().await;
        for (nth, call) in calls.iter().enumerate() {
            store.0.seam.arm(Some((nth, ENOSPC)));
            assert!(matches!(upload().await, Err(StoreError::Full { .. })), "{call:?}");
            store.quiesce().await;
            assert_eq!(files_below(root.path()), [".hfs/claims"], "{call:?}");
            store.0.seam.arm(None);
        }
    }

    #[tokio::test]
    async fn a_short_upload_that_comes_slowly_is_written_as_it_comes() {
        let root = Root::new();
        let store = root.open();
        let hints = Hints { step: 2, ..Hints::default() };
        let mut writer = store.create(Some(ByteSize::bytes(5)), hints).await.unwrap();
        writer.write(Bytes::from_static(b"sh")).await.unwrap();
        assert_eq!(fs::read(root.path().join(format!(".hfs/tmp/{}", writer.id()))).unwrap(), b"sh");
        writer.write(Bytes::from_static(b"ort")).await.unwrap();
        let place = settle(publish(&store, writer, "a").await).await;
        assert_eq!(read(&store, &place).await, b"short");
    }
}
