//! [`Faulty`]: any store, made to fail where a test wants it to.
//!
//! Either the Nth operation of a kind fails, or every operation by chance from a seed. Faults above the system calls;
//! those below are injected from outside, into the real binary.

mod faults;

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use hfs_core::{BlobId, ByteSize, SlotPath};
use hfs_sock::Tap;

pub use self::faults::{Fault, Faults, Operation};
use super::{
    Attempt, Blob, BlobStore, BlobWriter, Claim, Hints, Place, Published, Pump, Pumped, Scratch, StoreError, Vacancy,
};

/// `S` with [`Faults`].
#[derive(Debug)]
pub struct Faulty<S> {
    store: S,
    faults: Faults,
}

impl<S: BlobStore> Faulty<S> {
    /// `store`, failing as `faults` says.
    #[must_use]
    pub fn new(store: S, faults: Faults) -> Self {
        Self { store, faults }
    }
}

#[deny(clippy::missing_trait_methods)]
impl<S: BlobStore> BlobStore for Faulty<S> {
    fn create(
        &self,
        expected: Option<ByteSize>,
        hints: Hints,
    ) -> BoxFuture<'_, Result<Box<dyn BlobWriter>, StoreError>> {
        Box::pin(async move {
            self.faults.pass(Operation::Create)?;
            let writer = self.store.create(expected, hints).await?;
            Ok(Box::new(FaultyWriter { writer, faults: self.faults.clone() }) as Box<dyn BlobWriter>)
        })
    }

    fn claim<'a>(&'a self, slot: &'a SlotPath, patience: Duration) -> BoxFuture<'a, Result<Claim, StoreError>> {
        Box::pin(async move {
            self.faults.pass(Operation::Claim)?;
            self.store.claim(slot, patience).await
        })
    }

    fn open<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Result<Arc<dyn Blob>, StoreError>> {
        Box::pin(async move {
            self.faults.pass(Operation::Open)?;
            let blob = self.store.open(place).await?;
            Ok(Arc::new(FaultyBlob { blob, faults: self.faults.clone() }) as Arc<dyn Blob>)
        })
    }

    fn condemn<'a>(&'a self, place: &'a Place, id: BlobId) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.faults.pass(Operation::Condemn)?;
            self.store.condemn(place, id).await
        })
    }

    fn absolve(&self, id: BlobId) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.absolve(id)
    }

    fn remove<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.faults.pass(Operation::Remove)?;
            self.store.remove(place).await
        })
    }

    fn give_up_reserve(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.store.give_up_reserve()
    }

    fn take_reserve(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.store.take_reserve()
    }

    fn free(&self) -> BoxFuture<'_, Option<ByteSize>> {
        Box::pin(async move {
            self.faults.pass(Operation::Free).ok()?;
            self.store.free().await
        })
    }
}

#[derive(Debug)]
struct FaultyWriter {
    writer: Box<dyn BlobWriter>,
    faults: Faults,
}

#[deny(clippy::missing_trait_methods)]
impl BlobWriter for FaultyWriter {
    fn id(&self) -> BlobId {
        self.writer.id()
    }

    fn written(&self) -> ByteSize {
        self.writer.written()
    }

    fn follow(&mut self, hints: Hints) {
        self.writer.follow(hints);
    }

    fn pump(
        &mut self,
        source: Arc<dyn Tap>,
        most: u64,
        how: Pump,
    ) -> BoxFuture<'_, Result<Option<Pumped>, StoreError>> {
        Box::pin(async move {
            self.faults.pass(Operation::Write)?;
            self.writer.pump(source, most, how).await
        })
    }

    fn write(&mut self, data: Bytes) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.faults.pass(Operation::Write)?;
            self.writer.write(data).await
        })
    }

    fn equals<'a>(&'a mut self, blob: &'a dyn Blob) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            self.faults.pass(Operation::Compare)?;
            self.writer.equals(blob).await
        })
    }

    fn publish(self: Box<Self>, claim: &Claim) -> BoxFuture<'_, Result<Published, StoreError>> {
        Box::pin(async move {
            self.faults.pass(Operation::Publish)?;
            let published = self.writer.publish(claim).await?;
            self.faults.pass(Operation::PublishLate)?;
            Ok(published)
        })
    }

    fn publish_if_vacant(
        self: Box<Self>,
        claim: &Claim,
        vacancy: Vacancy,
    ) -> BoxFuture<'_, Result<Attempt, StoreError>> {
        Box::pin(async move {
            // Of a slot that may have a row, nothing is published, and so nothing fails.
            if !vacancy() {
                return Ok(Attempt::Kept(self));
            }
            self.faults.pass(Operation::Publish)?;
            let attempt = self.writer.publish_if_vacant(claim, Box::new(|| true)).await?;
            self.faults.pass(Operation::PublishLate)?;
            Ok(match attempt {
                Attempt::Published(published) => Attempt::Published(published),
                Attempt::Kept(writer) => Attempt::Kept(Box::new(Self { writer, faults: self.faults })),
            })
        })
    }

    fn publish_apart(self: Box<Self>, claim: &Claim) -> BoxFuture<'_, Result<Published, StoreError>> {
        Box::pin(async move {
            self.faults.pass(Operation::Publish)?;
            let published = self.writer.publish_apart(claim).await?;
            self.faults.pass(Operation::PublishLate)?;
            Ok(published)
        })
    }
}

#[derive(Debug)]
struct FaultyBlob {
    blob: Arc<dyn Blob>,
    faults: Faults,
}

#[deny(clippy::missing_trait_methods)]
impl Blob for FaultyBlob {
    fn size(&self) -> ByteSize {
        self.blob.size()
    }

    fn refill<'a>(
        &'a self,
        offset: u64,
        length: usize,
        scratch: &'a mut Scratch,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.faults.pass(Operation::Read)?;
            self.blob.refill(offset, length, scratch).await
        })
    }

    fn file(&self) -> Option<&File> {
        self.blob.file()
    }

    fn is_at_hand(&self, offset: u64, length: u64) -> bool {
        self.blob.is_at_hand(offset, length)
    }

    fn is_untouched(&self) -> bool {
        self.blob.is_untouched()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::conformance;
    use crate::storage::memory::MemoryStore;

    #[tokio::test]
    async fn without_faults_it_conforms() {
        conformance::conforms(|| Arc::new(Faulty::new(MemoryStore::new(), Faults::none()))).await;
    }

    #[tokio::test]
    async fn the_nth_operation_fails_and_no_other() {
        let faults = Faults::none();
        let store = Faulty::new(MemoryStore::new(), faults.clone());
        store.create(None, Hints::default()).await.unwrap();
        faults.fail(Operation::Create, 2, Fault::Full);
        store.create(None, Hints::default()).await.unwrap();
        assert!(matches!(store.create(None, Hints::default()).await, Err(StoreError::Full { .. })));
        store.create(None, Hints::default()).await.unwrap();
        assert_eq!(faults.seen(Operation::Create), 4);
        assert_eq!(faults.take_struck(), [Operation::Create]);
        assert_eq!(faults.take_struck(), []);
    }

    #[tokio::test]
    async fn a_late_fault_leaves_the_name_behind_the_error() {
        let memory = MemoryStore::new();
        let faults = Faults::none();
        faults.fail(Operation::PublishLate, 1, Fault::Io);
        let store = Faulty::new(memory.clone(), faults);
        let claim = store.claim(&SlotPath::parse("a/b").unwrap(), Duration::ZERO).await.unwrap();
        store.create(None, Hints::default()).await.unwrap().publish(&claim).await.unwrap_err();
        assert_eq!(memory.places(), [Place::new("a/b")]);
    }
}
