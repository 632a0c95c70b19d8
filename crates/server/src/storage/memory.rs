//! [`MemoryStore`]: blobs in memory, for tests of everything above storage.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_core::future::BoxFuture;
use hfs_core::{BlobId, ByteSize, SlotPath};
use hfs_sock::Tap;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::digest::Hasher;
use super::{
    Aftermath, Attempt, Blob, BlobStore, BlobWriter, Claim, Hints, Place, Published, Pump, Pumped, Scratch, StoreError,
    Vacancy,
};

/// Blobs in memory. Cheap to clone: all clones are one store. It never fails and never fills.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    blobs: Mutex<HashMap<Place, (BlobId, Bytes)>>,
    claimed: Mutex<HashSet<SlotPath>>,
    released: Notify,
    temporaries: AtomicUsize,
    has_reserve: AtomicBool,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Places of all published blobs, sorted.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        let mut places: Vec<Place> = lock(&self.0.blobs).keys().cloned().collect();
        places.sort();
        places
    }

    /// How many temporaries there are: uploads that are not published yet.
    #[must_use]
    pub fn temporaries(&self) -> usize {
        self.0.temporaries.load(Ordering::Relaxed)
    }
}

impl BlobStore for MemoryStore {
    fn create(
        &self,
        _expected: Option<ByteSize>,
        hints: Hints,
    ) -> BoxFuture<'_, Result<Box<dyn BlobWriter>, StoreError>> {
        Box::pin(async move {
            let mut random = [0; 16];
            aws_lc_rs::rand::fill(&mut random)
                .map_err(|error| StoreError::Io { action: "draw an id", source: std::io::Error::other(error) })?;
            let temporary = Temporary::new(Arc::clone(&self.0));
            let hasher = Hasher::wanted(hints.digest);
            let writer = MemoryWriter { id: BlobId::from_random(random), bytes: BytesMut::new(), hasher, temporary };
            Ok(Box::new(writer) as Box<dyn BlobWriter>)
        })
    }

    fn claim<'a>(&'a self, slot: &'a SlotPath, patience: Duration) -> BoxFuture<'a, Result<Claim, StoreError>> {
        let take = async move {
            loop {
                let released = self.0.released.notified();
                tokio::pin!(released);
                // Registered before the look, so that no release in between is missed.
                released.as_mut().enable();
                if lock(&self.0.claimed).insert(slot.clone()) {
                    let hold = Hold { slot: slot.clone(), shared: Arc::clone(&self.0) };
                    return Claim::new(slot.clone(), Box::new(hold));
                }
                released.await;
            }
        };
        Box::pin(async move { timeout(patience, take).await.map_err(|_| StoreError::Busy { slot: slot.clone() }) })
    }

    fn open<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Result<Arc<dyn Blob>, StoreError>> {
        Box::pin(async move {
            match lock(&self.0.blobs).get(place) {
                Some((_, bytes)) => Ok(Arc::new(MemoryBlob(bytes.clone())) as Arc<dyn Blob>),
                None => Err(StoreError::Missing { place: place.clone() }),
            }
        })
    }

    fn condemn<'a>(&'a self, _: &'a Place, _: BlobId) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn absolve(&self, _: BlobId) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn remove<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            lock(&self.0.blobs).remove(place);
            Ok(())
        })
    }

    fn give_up_reserve(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(std::future::ready(Ok(self.0.has_reserve.swap(false, Ordering::Relaxed))))
    }

    fn take_reserve(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.0.has_reserve.store(true, Ordering::Relaxed);
        Box::pin(std::future::ready(Ok(true)))
    }

    fn free(&self) -> BoxFuture<'_, Option<ByteSize>> {
        Box::pin(std::future::ready(None))
    }
}

struct Hold {
    slot: SlotPath,
    shared: Arc<Shared>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        lock(&self.shared.claimed).remove(&self.slot);
        self.shared.released.notify_waiters();
    }
}

/// Counted until dropped.
#[derive(Debug)]
struct Temporary(Arc<Shared>);

impl Temporary {
    fn new(shared: Arc<Shared>) -> Self {
        shared.temporaries.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.0.temporaries.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct MemoryWriter {
    id: BlobId,
    bytes: BytesMut,
    hasher: Option<Hasher>,
    temporary: Temporary,
}

impl BlobWriter for MemoryWriter {
    fn id(&self) -> BlobId {
        self.id
    }

    fn written(&self) -> ByteSize {
        ByteSize::bytes(self.bytes.len() as u64)
    }

    fn follow(&mut self, _hints: Hints) {}

    fn pump(&mut self, _: Arc<dyn Tap>, _: u64, _: Pump) -> BoxFuture<'_, Result<Option<Pumped>, StoreError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn write(&mut self, data: Bytes) -> BoxFuture<'_, Result<(), StoreError>> {
        self.bytes.extend_from_slice(&data);
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&data);
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn equals<'a>(&'a mut self, blob: &'a dyn Blob) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            if blob.size() != self.written() {
                return Ok(false);
            }
            Ok(blob.read_at(0, self.bytes.len()).await? == self.bytes)
        })
    }

    fn publish(self: Box<Self>, claim: &Claim) -> BoxFuture<'_, Result<Published, StoreError>> {
        let published = self.publish_at(Place::new(claim.slot().as_str()));
        Box::pin(std::future::ready(Ok(published)))
    }

    fn publish_if_vacant(
        self: Box<Self>,
        claim: &Claim,
        vacancy: Vacancy,
    ) -> BoxFuture<'_, Result<Attempt, StoreError>> {
        let attempt = if vacancy() {
            Attempt::Published(self.publish_at(Place::new(claim.slot().as_str())))
        } else {
            Attempt::Kept(self)
        };
        Box::pin(std::future::ready(Ok(attempt)))
    }

    fn publish_apart(self: Box<Self>, _claim: &Claim) -> BoxFuture<'_, Result<Published, StoreError>> {
        let place = Place::new(format!(".hfs/blobs/{}", self.id));
        Box::pin(std::future::ready(Ok(self.publish_at(place))))
    }
}

impl MemoryWriter {
    fn publish_at(self, place: Place) -> Published {
        let shared = Arc::clone(&self.temporary.0);
        lock(&shared.blobs).insert(place.clone(), (self.id, self.bytes.freeze()));
        let aftermath = MemoryAftermath { id: self.id, place: place.clone(), shared };
        Published { place, digest: self.hasher.map(Hasher::finish), aftermath: Box::new(aftermath) }
    }
}

struct MemoryAftermath {
    id: BlobId,
    place: Place,
    shared: Arc<Shared>,
}

impl Aftermath for MemoryAftermath {
    fn settle(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    fn retract(self: Box<Self>, _claim: Claim) -> BoxFuture<'static, ()> {
        let mut blobs = lock(&self.shared.blobs);
        if blobs.get(&self.place).is_some_and(|(id, _)| *id == self.id) {
            blobs.remove(&self.place);
        }
        drop(blobs);
        Box::pin(std::future::ready(()))
    }
}

#[derive(Debug)]
struct MemoryBlob(Bytes);

impl Blob for MemoryBlob {
    fn size(&self) -> ByteSize {
        ByteSize::bytes(self.0.len() as u64)
    }

    fn refill<'a>(
        &'a self,
        offset: u64,
        length: usize,
        scratch: &'a mut Scratch,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let found = &self.0[start..start.saturating_add(length).min(self.0.len())];
        let done = scratch.refill(found.len(), |room| {
            room.copy_from_slice(found);
            Ok(room.len())
        });
        Box::pin(std::future::ready(done.map(|_| ())))
    }

    fn file(&self) -> Option<&File> {
        None
    }

    fn is_at_hand(&self, _: u64, _: u64) -> bool {
        false
    }

    fn is_untouched(&self) -> bool {
        false
    }
}

/// Each critical section is one call of a collection: no panic leaves it half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::conformance;

    #[tokio::test]
    async fn memory_conforms() {
        conformance::conforms(|| Arc::new(MemoryStore::new())).await;
    }

    #[tokio::test]
    async fn places_lists_what_is_published() {
        let store = MemoryStore::new();
        assert!(store.places().is_empty());
        let slot = SlotPath::parse("a/b").unwrap();
        let claim = store.claim(&slot, Duration::ZERO).await.unwrap();
        let writer = store.create(None, Hints::default()).await.unwrap();
        assert_eq!((store.temporaries(), store.places()), (1, vec![]));
        writer.publish(&claim).await.unwrap();
        assert_eq!((store.temporaries(), store.places()), (0, vec![Place::new("a/b")]));
    }
}
