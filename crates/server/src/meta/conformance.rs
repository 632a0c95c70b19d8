//! What every [`MetaStore`] must do, as cases that each implementation runs against a fresh store of its own.

use hfs_core::auth::{Owner, Proof};
use hfs_core::profile::{Guess, Link, Profile, ProfileKey};
use hfs_core::{BlobId, ByteSize, Digest, SlotPath, Timestamp};

use super::{Entry, Farewell, Integrity, MetaError, MetaStore, Record, Recorded, Tombstone};
use crate::storage::Place;

/// Makes one test of every case; `$fresh` returns a guard (a folder, or nothing) and an empty store.
macro_rules! conformance_tests {
    ($fresh:path) => {
        $crate::meta::conformance::conformance_tests!($fresh:
            a_recorded_blob_is_found_by_slot_and_by_id,
            every_field_comes_back_as_it_was_recorded,
            a_taken_slot_keeps_its_first_entry,
            an_id_in_use_changes_nothing,
            a_live_row_is_replaced_by_another_of_its_slot,
            a_buried_blob_leaves_a_tombstone,
            only_a_live_blob_can_be_buried,
            a_blob_that_took_the_place_of_another_is_not_buried_with_it,
            the_expired_come_oldest_first,
            pages_walk_every_live_record_once_in_slot_order,
            notes_are_overwritten,
            every_figure_of_a_profile_comes_back,
            old_profiles_make_room,
        );
    };
    ($fresh:path: $($case:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $case() {
                let (_guard, store) = $fresh();
                $crate::meta::conformance::$case(&store).await;
            }
        )*
    };
}
pub(crate) use conformance_tests;

/// A plain record of that slot, with an id made of that number.
pub(crate) fn sample(slot: &str, id: u64) -> Record {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&id.to_be_bytes());
    Record {
        id: BlobId::from_random(bytes),
        slot: SlotPath::parse(slot).unwrap(),
        place: Place::new(slot),
        size: ByteSize::bytes(id),
        media_type: "application/octet-stream".to_owned(),
        owner: None,
        stored_at: Timestamp::from_unix(1_700_000_000),
        expires: None,
        integrity: Integrity::Written,
        proof: Some(Proof::V2),
    }
}

/// A tombstone of that second.
pub(crate) fn tombstone(at: i64, reason: Farewell) -> Tombstone {
    Tombstone { at: Timestamp::from_unix(at), reason }
}

fn client(owner: Option<&str>, address: &str) -> ProfileKey {
    ProfileKey::new(owner.map(str::to_owned), Some(address.parse().unwrap()))
}

pub(crate) async fn every_figure_of_a_profile_comes_back(store: &dyn MetaStore) {
    let full = Profile {
        rate_up: Some(1.5e6),
        min_rtt: Some(0.04),
        jitter: Some(0.001),
        loss: Some(0.002),
        breaks: 0.25,
        rate_default: Some(1e6),
        rate_bbr: Some(2e6),
        is_bbr_latest: None,
        step: Some(1 << 20),
        class: Guess { link: Link::Lte, confidence: 0.75 },
        transfers: 7,
        at: Timestamp::from_unix(1_700_000_002),
    };
    let empty = Profile { at: Timestamp::from_unix(1_700_000_001), ..Profile::default() };
    let known = vec![(client(Some("jü@example.org"), "2001:db8:1::7"), full), (client(None, "192.0.2.1"), empty)];
    store.keep_profiles(known.clone(), Timestamp::from_unix(0), 10).await.unwrap();
    assert_eq!(store.profiles(10).await.unwrap(), known);
    let later = Profile { transfers: 8, at: Timestamp::from_unix(1_700_000_003), ..empty };
    store.keep_profiles(vec![(client(None, "192.0.2.9"), later)], Timestamp::from_unix(0), 10).await.unwrap();
    assert_eq!(store.profiles(1).await.unwrap(), [(client(None, "192.0.2.1"), later)]);
    assert_eq!(store.profiles(10).await.unwrap().len(), 2);
}

pub(crate) async fn old_profiles_make_room(store: &dyn MetaStore) {
    let profile = |at| Profile { at: Timestamp::from_unix(at), ..Profile::default() };
    let known = (1..=9).map(|n| (client(None, &format!("192.0.{n}.0")), profile(n))).collect();
    store.keep_profiles(known, Timestamp::from_unix(3), 5).await.unwrap();
    let times = |known: Vec<(_, Profile)>| known.iter().map(|(_, profile)| profile.at.as_unix()).collect::<Vec<_>>();
    assert_eq!(times(store.profiles(99).await.unwrap()), [9, 8, 7, 6, 5]);
    store.keep_profiles(Vec::new(), Timestamp::from_unix(7), 5).await.unwrap();
    assert_eq!(times(store.profiles(99).await.unwrap()), [9, 8, 7]);
}

pub(crate) async fn a_recorded_blob_is_found_by_slot_and_by_id(store: &dyn MetaStore) {
    let record = sample("uuid/file.txt", 1);
    assert_eq!(store.lookup(&record.slot).await.unwrap(), None);
    assert_eq!(store.find(record.id).await.unwrap(), None);
    assert_eq!(store.record(record.clone()).await.unwrap(), Recorded::Inserted);
    assert_eq!(store.lookup(&record.slot).await.unwrap(), Some(Entry::Live(record.clone())));
    assert_eq!(store.find(record.id).await.unwrap(), Some(record.clone()));
    assert_eq!(store.lookup(&sample("uuid/file", 1).slot).await.unwrap(), None);
    assert!(!store.is_vacant(&record.slot));
}

pub(crate) async fn every_field_comes_back_as_it_was_recorded(store: &dyn MetaStore) {
    let proofs = [Proof::V1, Proof::V2, Proof::Token, Proof::V3, Proof::FileShare, Proof::Jwt, Proof::XSignature];
    let mut records: Vec<Record> =
        (1..).zip(proofs).map(|(n, proof)| Record { proof: Some(proof), ..sample(proof.as_str(), n) }).collect();
    records.push(Record {
        integrity: Integrity::Digested(Digest::from_bytes(std::array::from_fn(|n| n as u8))),
        ..sample("digested", 99)
    });
    records.push(Record {
        place: Place::new(".hfs/blobs/x"),
        size: ByteSize::bytes(i64::MAX as u64),
        media_type: "text/plain; charset=\"utf-8\"".to_owned(),
        owner: Some(Owner::Jid("jü@example.org".to_owned())),
        expires: Some(Timestamp::from_unix(i64::MAX)),
        integrity: Integrity::Unknown,
        proof: None,
        ..sample("q'u\"o\n%/Grüße 🎉", 100)
    });
    records.push(Record {
        size: ByteSize::ZERO,
        media_type: String::new(),
        owner: Some(Owner::JidSha1("a".repeat(40))),
        stored_at: Timestamp::from_unix(-1),
        expires: Some(Timestamp::from_unix(0)),
        ..sample(&"l".repeat(2048), 101)
    });
    for record in records {
        assert_eq!(store.record(record.clone()).await.unwrap(), Recorded::Inserted);
        assert_eq!(store.lookup(&record.slot).await.unwrap(), Some(Entry::Live(record.clone())));
        assert_eq!(store.find(record.id).await.unwrap(), Some(record));
    }
}

pub(crate) async fn a_taken_slot_keeps_its_first_entry(store: &dyn MetaStore) {
    let (first, second) = (sample("s", 1), sample("s", 2));
    store.record(first.clone()).await.unwrap();
    assert_eq!(store.record(second.clone()).await.unwrap(), Recorded::Taken(Entry::Live(first.clone())));
    assert_eq!(store.lookup(&first.slot).await.unwrap(), Some(Entry::Live(first)));
    assert_eq!(store.find(second.id).await.unwrap(), None);
}

pub(crate) async fn an_id_in_use_changes_nothing(store: &dyn MetaStore) {
    let (first, second) = (sample("a", 1), sample("b", 1));
    store.record(first.clone()).await.unwrap();
    assert!(matches!(store.record(second.clone()).await, Err(MetaError::Backend { .. })));
    assert_eq!(store.lookup(&second.slot).await.unwrap(), None);
    assert_eq!(store.find(first.id).await.unwrap(), Some(first));
}

pub(crate) async fn a_live_row_is_replaced_by_another_of_its_slot(store: &dyn MetaStore) {
    let (old, new) = (sample("s", 1), sample("s", 2));
    store.replace(old.id, new.clone()).await.expect_err("a slot that was never filled");
    assert_eq!(store.lookup(&old.slot).await.unwrap(), None);
    store.record(old.clone()).await.unwrap();
    assert_eq!(store.replace(old.id, new.clone()).await.unwrap(), Recorded::Inserted);
    assert_eq!(store.lookup(&old.slot).await.unwrap(), Some(Entry::Live(new.clone())));
    assert_eq!((store.find(old.id).await.unwrap(), store.find(new.id).await.unwrap()), (None, Some(new.clone())));

    let late = sample("s", 3);
    assert_eq!(store.replace(old.id, late.clone()).await.unwrap(), Recorded::Taken(Entry::Live(new.clone())));
    let gone = tombstone(1, Farewell::Deleted);
    assert!(store.bury(&new.slot, new.id, gone.clone()).await.unwrap());
    assert_eq!(store.replace(new.id, late).await.unwrap(), Recorded::Taken(Entry::Gone(gone)));
}

pub(crate) async fn a_buried_blob_leaves_a_tombstone(store: &dyn MetaStore) {
    for (n, reason) in [(1, Farewell::Expired), (2, Farewell::Deleted)] {
        let record = sample(&format!("s{n}"), n);
        let gone = tombstone(1_800_000_000, reason);
        store.record(record.clone()).await.unwrap();
        assert!(store.bury(&record.slot, record.id, gone.clone()).await.unwrap());
        assert_eq!(store.lookup(&record.slot).await.unwrap(), Some(Entry::Gone(gone.clone())));
        assert_eq!(store.find(record.id).await.unwrap(), None);
        let again = Record { id: sample("x", 100 + n).id, ..record };
        assert_eq!(store.record(again).await.unwrap(), Recorded::Taken(Entry::Gone(gone)));
    }
    assert_eq!(store.page(None, 10).await.unwrap(), []);
}

pub(crate) async fn only_a_live_blob_can_be_buried(store: &dyn MetaStore) {
    let record = sample("s", 1);
    let first = tombstone(1, Farewell::Deleted);
    assert!(!store.bury(&record.slot, record.id, first.clone()).await.unwrap());
    assert_eq!(store.lookup(&record.slot).await.unwrap(), None);
    store.record(record.clone()).await.unwrap();
    assert!(store.bury(&record.slot, record.id, first.clone()).await.unwrap());
    assert!(!store.bury(&record.slot, record.id, tombstone(2, Farewell::Expired)).await.unwrap());
    assert_eq!(store.lookup(&record.slot).await.unwrap(), Some(Entry::Gone(first)));
}

pub(crate) async fn a_blob_that_took_the_place_of_another_is_not_buried_with_it(store: &dyn MetaStore) {
    let (old, new) = (sample("s", 1), sample("s", 2));
    store.record(old.clone()).await.unwrap();
    store.replace(old.id, new.clone()).await.unwrap();
    assert!(!store.bury(&old.slot, old.id, tombstone(1, Farewell::Deleted)).await.unwrap());
    assert_eq!(store.lookup(&new.slot).await.unwrap(), Some(Entry::Live(new)));
}

pub(crate) async fn the_expired_come_oldest_first(store: &dyn MetaStore) {
    let expiring = |slot: &str, id, at| Record { expires: Some(Timestamp::from_unix(at)), ..sample(slot, id) };
    let records = [expiring("c", 1, 30), expiring("a", 2, 20), expiring("b", 3, 20), expiring("d", 4, 31)];
    for record in records.iter().chain([&sample("never", 5)]) {
        store.record(record.clone()).await.unwrap();
    }
    let [c, a, b, _] = records;
    let at = Timestamp::from_unix;
    assert_eq!(store.expired(at(19), 10).await.unwrap(), []);
    assert_eq!(store.expired(at(30), 10).await.unwrap(), [a.clone(), b.clone(), c.clone()]);
    assert_eq!(store.expired(at(30), 1).await.unwrap(), std::slice::from_ref(&a));
    assert_eq!(store.expired(at(30), 0).await.unwrap(), []);
    store.bury(&a.slot, a.id, tombstone(30, Farewell::Expired)).await.unwrap();
    assert_eq!(store.expired(at(30), 10).await.unwrap(), [b, c]);
}

pub(crate) async fn pages_walk_every_live_record_once_in_slot_order(store: &dyn MetaStore) {
    // Byte order: upper case before lower case, no locale, a prefix before what it begins, non-ASCII last.
    let slots = ["A/z", "a", "a b", "a/1", "a/10", "a/2", "b", "z", "é", "日本", "🎉"];
    for (id, slot) in (1..).zip(slots.iter().rev()) {
        store.record(sample(slot, id)).await.unwrap();
    }
    store.record(sample("gone", 99)).await.unwrap();
    store.bury(&sample("gone", 99).slot, sample("gone", 99).id, tombstone(1, Farewell::Deleted)).await.unwrap();
    let (mut walked, mut after) = (Vec::new(), None);
    loop {
        let page = store.page(after.as_ref(), 3).await.unwrap();
        assert!(page.len() <= 3);
        let Some(last) = page.last() else { break };
        after = Some(last.slot.clone());
        walked.extend(page.into_iter().map(|record| record.slot.as_str().to_owned()));
    }
    assert_eq!(walked, slots);
}

pub(crate) async fn notes_are_overwritten(store: &dyn MetaStore) {
    assert_eq!(store.note("adopted").await.unwrap(), None);
    store.set_note("adopted", "started").await.unwrap();
    store.set_note("adopted", "").await.unwrap();
    assert_eq!(store.note("adopted").await.unwrap(), Some(String::new()));
    assert_eq!(store.note("Adopted").await.unwrap(), None);
}
