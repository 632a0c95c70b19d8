//! What every [`BlobStore`] must do, as one suite that each implementation's tests run.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hfs_core::{BlobId, ByteSize, Digest, SlotPath, Timestamp};

use super::{BlobStore, BlobWriter, Hints, Place, Published, StoreError};
use crate::meta::{Integrity, Record};

const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the suite; `make` gives a new, empty store each time.
pub(super) async fn conforms(make: impl Fn() -> Arc<dyn BlobStore>) {
    what_is_published_is_read_back(&*make()).await;
    sizes_around_every_buffer_come_back(&*make()).await;
    awkward_names_are_slots_like_others(&*make()).await;
    names_in_each_others_way_both_last(&*make()).await;
    a_dropped_writer_leaves_nothing(&*make()).await;
    fewer_bytes_than_announced_are_all_there_is(&*make()).await;
    equal_means_every_byte(&*make()).await;
    a_claim_excludes_until_it_is_dropped(&*make()).await;
    racing_claims_have_one_holder_at_a_time(make()).await;
    a_leftover_is_replaced(&*make()).await;
    a_blob_that_is_published_apart_has_a_place_of_its_own(&*make()).await;
    a_retracted_blob_is_gone_but_not_its_successor(&*make()).await;
    removal_is_final_and_idempotent_and_spares_readers(&*make()).await;
    a_directory_pruned_under_a_publication_is_made_again(make()).await;
    a_digest_is_of_all_bytes_in_their_order(&*make()).await;
    a_reserve_is_given_up_once_and_held_again(&*make()).await;
}

async fn a_digest_is_of_all_bytes_in_their_order(store: &dyn BlobStore) {
    // Of "hello world", as the program b3sum says.
    let known = "d74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24";
    let text = |digest: Digest| digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for (n, step) in [1, 7, 1 << 20].into_iter().enumerate() {
        let hints = Hints { digest: true, step, ..Hints::default() };
        let mut writer = store.create(None, hints).await.unwrap();
        for piece in ["hello", " ", "", "world"] {
            writer.write(Bytes::from_static(piece.as_bytes())).await.unwrap();
        }
        let published = publish(store, writer, &format!("digested/{n}")).await;
        assert_eq!(published.digest.map(text).as_deref(), Some(known), "written by {step}");
    }
    assert_eq!(put(store, "digested/not", b"hello world").await.digest, None, "nobody asked for it");
}

async fn what_is_published_is_read_back(store: &dyn BlobStore) {
    let mut writer = store.create(Some(ByteSize::bytes(11)), Hints::default()).await.unwrap();
    assert_eq!(writer.written(), ByteSize::ZERO);
    writer.write(Bytes::from_static(b"hello ")).await.unwrap();
    writer.write(Bytes::new()).await.unwrap();
    writer.write(Bytes::from_static(b"world")).await.unwrap();
    assert_eq!(writer.written(), ByteSize::bytes(11));
    let place = settle(publish(store, writer, "a/b/c.txt").await).await;
    let blob = store.open(&place).await.unwrap();
    assert_eq!(blob.size(), ByteSize::bytes(11));
    assert_eq!(blob.read_at(0, 11).await.unwrap(), "hello world");
    assert_eq!(blob.read_at(6, 3).await.unwrap(), "wor");
    assert_eq!(blob.read_at(6, 100).await.unwrap(), "world", "the end of the blob ends a read");
    assert_eq!(blob.read_at(11, 1).await.unwrap(), "");
    assert_eq!(blob.read_at(u64::MAX, 1).await.unwrap(), "");
}

async fn sizes_around_every_buffer_come_back(store: &dyn BlobStore) {
    let sizes = [0, 1, 16 << 10, (256 << 10) - 1, 256 << 10, (1 << 20) + 1, (26 << 20) + 7];
    for (nth, size) in sizes.into_iter().enumerate() {
        let bytes = pattern(size);
        for (how, piece) in [("pieces", 9_999), ("blocks", 300 << 10)] {
            let mut writer = store.create(Some(ByteSize::bytes(size as u64)), Hints::default()).await.unwrap();
            for part in bytes.chunks(piece) {
                writer.write(Bytes::copy_from_slice(part)).await.unwrap();
            }
            let place = settle(publish(store, writer, &format!("{how}/{nth}")).await).await;
            assert!(read(store, &place).await == bytes, "{size} bytes in {how}");
        }
    }
}

async fn awkward_names_are_slots_like_others(store: &dyn BlobStore) {
    let long = "n".repeat(300);
    let umlauts = format!("d/{}", "ü".repeat(200));
    let deep = vec!["d"; 600].join("/");
    let names = [
        "top",
        "a b/100%.txt",
        "ä/é/日本語.png",
        "e\u{301}",
        "\u{e9}",
        "Case",
        "case",
        "-rf",
        "a\\b",
        "new\nline",
        "x/.hfs",
        "tmp",
        "a:b*c?",
        &long,
        &umlauts,
        &deep,
    ];
    let mut places = Vec::new();
    for name in names {
        places.push(settle(put(store, name, name.as_bytes()).await).await);
    }
    for (name, place) in names.iter().zip(&places) {
        assert_eq!(read(store, place).await, name.as_bytes(), "{name}");
    }
}

async fn names_in_each_others_way_both_last(store: &dyn BlobStore) {
    let file = settle(put(store, "x", b"file").await).await;
    let below = settle(put(store, "x/y", b"below a file").await).await;
    let deep = settle(put(store, "z/y", b"in a directory").await).await;
    let directory = settle(put(store, "z", b"where a directory is").await).await;
    assert_eq!(read(store, &file).await, b"file");
    assert_eq!(read(store, &below).await, b"below a file");
    assert_eq!(read(store, &deep).await, b"in a directory");
    assert_eq!(read(store, &directory).await, b"where a directory is");
    for place in [file, below, deep, directory] {
        store.remove(&place).await.unwrap();
        assert!(matches!(store.open(&place).await, Err(StoreError::Missing { .. })));
    }
}

async fn a_dropped_writer_leaves_nothing(store: &dyn BlobStore) {
    let mut writer = store.create(Some(ByteSize::mib(1)), Hints::default()).await.unwrap();
    writer.write(pattern(600 << 10).into()).await.unwrap();
    drop(writer);
    assert!(matches!(store.open(&Place::new("a/b")).await, Err(StoreError::Missing { .. })));
    let place = settle(put(store, "a/b", b"at once again").await).await;
    assert_eq!(read(store, &place).await, b"at once again");
}

async fn fewer_bytes_than_announced_are_all_there_is(store: &dyn BlobStore) {
    let mut writer = store.create(Some(ByteSize::mib(1)), Hints::default()).await.unwrap();
    writer.write(Bytes::from_static(b"short")).await.unwrap();
    let place = settle(publish(store, writer, "short").await).await;
    assert_eq!(read(store, &place).await, b"short");
}

async fn equal_means_every_byte(store: &dyn BlobStore) {
    let bytes = pattern((512 << 10) + 5);
    let place = settle(put(store, "a", &bytes).await).await;
    let blob = store.open(&place).await.unwrap();
    let mut changed = bytes.clone();
    *changed.last_mut().unwrap() ^= 1;
    for (other, equal) in [(&bytes[..], true), (&changed, false), (&bytes[1..], false), (&[], false)] {
        let mut writer = store.create(None, Hints::default()).await.unwrap();
        writer.write(Bytes::copy_from_slice(other)).await.unwrap();
        assert_eq!(writer.equals(&*blob).await.unwrap(), equal);
    }
    let empty = settle(put(store, "empty", b"").await).await;
    let mut writer = store.create(None, Hints::default()).await.unwrap();
    assert!(writer.equals(&*store.open(&empty).await.unwrap()).await.unwrap());
}

async fn a_claim_excludes_until_it_is_dropped(store: &dyn BlobStore) {
    let (slot, other) = (slot("a/b"), slot("a/c"));
    let claim = store.claim(&slot, Duration::ZERO).await.unwrap();
    assert_eq!(claim.slot(), &slot);
    let busy = store.claim(&slot, Duration::from_millis(5)).await;
    assert!(matches!(busy, Err(StoreError::Busy { slot: contested }) if contested == slot));
    store.claim(&other, Duration::ZERO).await.unwrap();
    let (next, ()) = tokio::join!(store.claim(&slot, PATIENCE), async {
        tokio::task::yield_now().await;
        drop(claim);
    });
    next.unwrap();
}

async fn racing_claims_have_one_holder_at_a_time(store: Arc<dyn BlobStore>) {
    let holders = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut rivals = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (store, holders) = (Arc::clone(&store), Arc::clone(&holders));
        rivals.spawn(async move {
            let slot = slot("contested");
            let _claim = store.claim(&slot, PATIENCE).await.unwrap();
            assert_eq!(holders.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
            tokio::task::yield_now().await;
            holders.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
        });
    }
    while let Some(rival) = rivals.join_next().await {
        rival.unwrap();
    }
}

async fn a_leftover_is_replaced(store: &dyn BlobStore) {
    // Published, but never recorded: its server died, or never learnt what became of the row.
    drop(put(store, "a/b", b"leftover").await);
    let place = settle(put(store, "a/b", b"new").await).await;
    assert_eq!(read(store, &place).await, b"new");
}

async fn a_blob_that_is_published_apart_has_a_place_of_its_own(store: &dyn BlobStore) {
    let old = settle(put(store, "a/b", b"old").await).await;
    let apart = async |bytes: &'static [u8]| {
        let mut writer = store.create(None, Hints::default()).await.unwrap();
        writer.write(Bytes::from_static(bytes)).await.unwrap();
        let claim = store.claim(&slot("a/b"), PATIENCE).await.unwrap();
        let published = writer.publish_apart(&claim).await.unwrap();
        (published, claim)
    };
    let new = settle(apart(b"new").await.0).await;
    let (unwanted, claim) = apart(b"unwanted").await;
    let place = unwanted.place.clone();
    unwanted.aftermath.retract(claim).await;
    assert_eq!(read(store, &old).await, b"old");
    assert_eq!(read(store, &new).await, b"new");
    assert!(matches!(store.open(&place).await, Err(StoreError::Missing { .. })));
}

async fn a_retracted_blob_is_gone_but_not_its_successor(store: &dyn BlobStore) {
    let published = put(store, "a/b", b"unwanted").await;
    let place = published.place.clone();
    let claim = async || store.claim(&slot("a/b"), PATIENCE).await.unwrap();
    published.aftermath.retract(claim().await).await;
    assert!(matches!(store.open(&place).await, Err(StoreError::Missing { place: missing }) if missing == place));

    let old = put(store, "a/b", b"old").await;
    let new = settle(put(store, "a/b", b"new").await).await;
    old.aftermath.retract(claim().await).await;
    assert_eq!(read(store, &new).await, b"new");
}

async fn removal_is_final_and_idempotent_and_spares_readers(store: &dyn BlobStore) {
    let bytes = pattern(100_000);
    let place = settle(put(store, "a/b", &bytes).await).await;
    let sibling = settle(put(store, "a/c", b"sibling").await).await;
    let blob = store.open(&place).await.unwrap();
    store.remove(&place).await.unwrap();
    store.remove(&place).await.unwrap();
    assert!(matches!(store.open(&place).await, Err(StoreError::Missing { .. })));
    assert_eq!(blob.read_at(0, bytes.len()).await.unwrap(), bytes, "an open blob stays readable");
    assert_eq!(read(store, &sibling).await, b"sibling");
    store.remove(&Place::new("never/was/there")).await.unwrap();
}

async fn a_directory_pruned_under_a_publication_is_made_again(store: Arc<dyn BlobStore>) {
    let mut racers = tokio::task::JoinSet::new();
    for racer in 0..4 {
        let store = Arc::clone(&store);
        racers.spawn(async move {
            for _ in 0..50 {
                let place = settle(put(&*store, &format!("shared/dir/{racer}"), b"x").await).await;
                assert_eq!(read(&*store, &place).await, b"x");
                store.remove(&place).await.unwrap();
            }
        });
    }
    while let Some(racer) = racers.join_next().await {
        racer.unwrap();
    }
}

async fn a_reserve_is_given_up_once_and_held_again(store: &dyn BlobStore) {
    assert!(!store.give_up_reserve().await.unwrap(), "none is held until it is asked for");
    for _ in 0..2 {
        assert!(store.take_reserve().await.unwrap());
        assert!(store.take_reserve().await.unwrap(), "it is whole already");
        assert!(store.give_up_reserve().await.unwrap());
        assert!(!store.give_up_reserve().await.unwrap());
    }
}

/// Bytes that differ at every offset that matters.
pub(super) fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

pub(super) fn slot(path: &str) -> SlotPath {
    SlotPath::parse(path).unwrap()
}

/// Publishes what a writer has.
pub(super) async fn publish(store: &dyn BlobStore, writer: Box<dyn BlobWriter>, path: &str) -> Published {
    let claim = store.claim(&slot(path), PATIENCE).await.unwrap();
    writer.publish(&claim).await.unwrap()
}

/// Writes and publishes bytes.
pub(super) async fn put(store: &dyn BlobStore, path: &str, bytes: &[u8]) -> Published {
    let mut writer = store.create(None, Hints::default()).await.unwrap();
    writer.write(Bytes::copy_from_slice(bytes)).await.unwrap();
    publish(store, writer, path).await
}

/// The plain row of a blob.
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

/// As if the row were committed.
pub(super) async fn settle(published: Published) -> Place {
    published.aftermath.settle().await;
    published.place
}

/// The whole of a blob.
pub(super) async fn read(store: &dyn BlobStore, place: &Place) -> Vec<u8> {
    let blob = store.open(place).await.unwrap();
    let length = usize::try_from(blob.size().as_u64()).unwrap();
    blob.read_at(0, length).await.unwrap().to_vec()
}
