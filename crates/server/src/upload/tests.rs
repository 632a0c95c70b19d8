//! The path of one PUT or DELETE over memory, from the request to what can be seen afterwards.

mod body;
mod delete;
mod faults;
mod lost;
mod rivals;

use hfs_core::auth::{Dialect, Owner, Proof, SlotRequest};
use hfs_core::{ByteSize, Timestamp};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};

use crate::clock;
use crate::http::exchange::Incoming;
use crate::http::testing::{Rig, get, path, proven, put, slot_of};
use crate::meta::{Entry, Farewell, Tombstone};

const BYTES: &[u8] = b"forty-two";
/// As long as [`BYTES`].
const OTHER: &[u8] = b"forty-too";

#[tokio::test]
async fn an_upload_is_given_out_again() {
    let rig = Rig::new();
    let stored = rig.send(put("a/b.txt", BYTES)).await;
    assert_eq!((stored.status, stored.text()), (201, ""));
    let given = rig.send(get("a/b.txt")).await;
    assert_eq!((given.status, given.text()), (200, "forty-two"));
    assert_eq!(given.header("etag"), stored.header("etag"));
    assert_eq!(rig.store.temporaries(), 0);
}

#[tokio::test]
async fn a_short_upload_sees_at_once_that_its_slot_is_vacant() {
    let rig = Rig::new();
    assert_eq!(rig.send(put("a/b", BYTES)).await.status, 201);
    assert_eq!(rig.meta.lookups(), 0);
    assert_eq!(rig.send(put("a/b", BYTES)).await.status, 201);
    assert_eq!(rig.meta.lookups(), 1, "of a slot that has a row, more must be known");
}

#[tokio::test]
async fn a_repeat_with_equal_bytes_is_created_again() {
    let rig = Rig::new();
    let first = rig.send(put("a/b", BYTES)).await;
    let record = rig.record("a/b").await;
    let second = rig.send(put("a/b", BYTES)).await;
    assert_eq!((first.status, second.status), (201, 201));
    assert_eq!(first.header("etag"), second.header("etag"));
    assert_eq!(rig.record("a/b").await, record);
}

#[tokio::test]
async fn a_repeat_with_other_bytes_is_a_conflict() {
    let rig = Rig::new();
    for first in [BYTES, b""] {
        let slot = format!("{}/b", first.len());
        rig.send(put(&slot, first)).await;
        for other in [OTHER, b"longer than it was", b"short", b"forty-two and more"] {
            let answer = rig.send(put(&slot, other)).await;
            assert_eq!(answer.status, 409, "{other:?} after {first:?}");
            assert!(answer.text().ends_with("(exists)\n"), "{}", answer.text());
        }
        assert_eq!(rig.send(get(&slot)).await.body, first);
    }
}

#[tokio::test]
async fn a_repeat_of_unannounced_length_is_compared_to_its_last_byte() {
    let rig = Rig::new();
    rig.send(put("a/b", BYTES)).await;
    for (body, status) in [(BYTES, 201), (OTHER, 409), (b"forty", 409), (b"forty-two!", 409)] {
        let head = proven(Dialect::V3, &slot_of(&path("a/b"), 0));
        let answer = rig.send(head.body(Incoming::Full(Some(body.into()))).unwrap()).await;
        assert_eq!(answer.status, status, "{body:?}");
    }
    let nothing = proven(Dialect::V3, &slot_of(&path("a/b"), 0)).body(Incoming::empty()).unwrap();
    assert_eq!(rig.send(nothing).await.status, 409);
}

#[tokio::test]
async fn an_expired_file_is_gone_for_readers_and_writers() {
    let rig = Rig::new();
    let now = clock::now();
    rig.fill("a/b", BYTES, |record| record.expires = Some(now)).await;
    assert_eq!(rig.send(get("a/b")).await.status, 404);
    for bytes in [BYTES, OTHER] {
        let answer = rig.send(put("a/b", bytes)).await;
        assert_eq!(answer.status, 409);
        assert!(answer.text().ends_with("(gone)\n"), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_buried_slot_is_never_filled_again() {
    let rig = Rig::new();
    rig.send(put("a/b", BYTES)).await;
    let tombstone = Tombstone { at: clock::now(), reason: Farewell::Expired };
    let id = rig.record("a/b").await.id;
    rig.app.meta().bury(&path("a/b"), id, tombstone.clone()).await.unwrap();
    assert_eq!(rig.send(get("a/b")).await.status, 404);
    assert_eq!(rig.send(put("a/b", BYTES)).await.status, 409);
    assert_eq!(rig.entry("a/b").await, Some(Entry::Gone(tombstone)));
}

/// The type stored and the type served for an upload to `slot` that was signed and declared like this.
async fn types(dialect: Dialect, slot: &str, signed: Option<&str>, declared: Option<&str>) -> (String, String) {
    let rig = Rig::new();
    let slot_path = path(slot);
    let request = SlotRequest { media_type: signed, ..slot_of(&slot_path, 9) };
    let mut head = proven(dialect, &request).header(CONTENT_LENGTH, 9);
    if let Some(declared) = declared {
        head = head.header(CONTENT_TYPE, declared);
    }
    assert_eq!(rig.send(head.body(Incoming::Full(Some(BYTES.into()))).unwrap()).await.status, 201);
    let served = rig.send(get(slot)).await.header("content-type").to_owned();
    (rig.record(slot).await.media_type, served)
}

#[tokio::test]
async fn the_signed_type_is_kept_before_the_declared_one_and_that_before_the_name() {
    for (dialect, slot, signed, declared, stored) in [
        (Dialect::FileShare, "a/b.png", Some("audio/ogg"), Some("image/webp"), "audio/ogg"),
        (Dialect::FileShare, "a/b.png", None, None, "application/octet-stream"),
        (Dialect::V2, "a/b.png", Some("image/png"), Some("image/webp"), "image/png"),
        (Dialect::V2, "a/b.png", Some("audio/ogg"), Some("audio/ogg"), "audio/ogg"),
        (Dialect::V1, "a/b.png", Some("audio/ogg"), Some("image/webp"), "image/webp"),
        (Dialect::V3, "a/b.png", None, Some("image/webp"), "image/webp"),
        (Dialect::V1, "a/b.png", None, None, "image/png"),
        (Dialect::V1, "a/b.png", None, Some(""), "image/png"),
        (Dialect::V1, "a/b", None, None, "application/octet-stream"),
    ] {
        let (kept, served) = types(dialect, slot, signed, declared).await;
        assert_eq!((kept.as_str(), served.as_str()), (stored, stored), "{dialect:?} {slot} {signed:?} {declared:?}");
    }
}

#[tokio::test]
async fn a_declared_type_that_cannot_be_a_header_is_not_kept() {
    let endless = format!("text/{}", "x".repeat(10_000));
    for declared in [endless.as_str(), " ", "text/plain\tx"] {
        let (kept, served) = types(Dialect::V1, "a/b.png", None, Some(declared)).await;
        assert_eq!((kept.as_str(), served.as_str()), ("image/png", "image/png"));
    }
}

#[tokio::test]
async fn owner_and_expiry_of_a_token_are_recorded() {
    let rig = Rig::new();
    let slot = path("a/b.txt");
    let expires = clock::now().plus_seconds(3600);
    let request =
        SlotRequest { owner: Some("juliet@example.org/balcony"), delete_at: Some(expires), ..slot_of(&slot, 9) };
    let head = proven(Dialect::FileShare, &request).header(CONTENT_LENGTH, 9);
    let before = clock::now();
    assert_eq!(rig.send(head.body(Incoming::Full(Some(BYTES.into()))).unwrap()).await.status, 201);
    let record = rig.record("a/b.txt").await;
    assert_eq!(record.owner, Some(Owner::Jid("juliet@example.org".to_owned())));
    assert_eq!(
        (record.expires, record.proof, record.size),
        (Some(expires), Some(Proof::FileShare), ByteSize::bytes(9))
    );
    assert!((before..=clock::now()).contains(&record.stored_at), "{}", record.stored_at);
    let age = rig.send(get("a/b.txt")).await.header("cache-control").to_owned();
    let age: i64 = age.strip_prefix("private, max-age=").unwrap().strip_suffix(", immutable").unwrap().parse().unwrap();
    assert!((3590..=3600).contains(&age), "{age}");
}

#[tokio::test]
async fn the_user_in_the_path_of_ejabberd_is_recorded() {
    let rig = Rig::new();
    let hash = "0123456789abcdef0123456789abcdef01234567";
    let slot = format!("{hash}/random/b.txt");
    assert_eq!(rig.send(put(&slot, BYTES)).await.status, 201);
    let record = rig.record(&slot).await;
    assert_eq!((record.owner, record.expires), (Some(Owner::JidSha1(hash.to_owned())), None));
}

#[tokio::test]
async fn a_proof_past_its_time_stores_nothing() {
    let rig = Rig::new();
    let slot = path("a/b");
    let past = clock::now().plus_seconds(-10);
    let late = SlotRequest { valid_until: past, ..slot_of(&slot, 9) };
    let dead = SlotRequest { delete_at: Some(Timestamp::from_unix(1)), ..slot_of(&slot, 9) };
    for (dialect, request, status) in
        [(Dialect::V3, late, 403), (Dialect::FileShare, late, 410), (Dialect::FileShare, dead, 410)]
    {
        let head = proven(dialect, &request).header(CONTENT_LENGTH, 9);
        let answer = rig.send(head.body(Incoming::Full(Some(BYTES.into()))).unwrap()).await;
        assert_eq!(answer.status, status, "{dialect:?}");
    }
    rig.sees_nothing_of("a/b").await;
    assert!(rig.store.places().is_empty());
}

#[tokio::test]
async fn only_listed_extensions_are_taken() {
    let rig = Rig::with(|config| config.limits.extensions = vec!["txt".to_owned()]);
    let endless = format!("a/b.{}", "x".repeat(1000));
    for slot in ["a/b.exe", "a/b", &endless] {
        let answer = rig.send(put(slot, BYTES)).await;
        assert_eq!(answer.status, 400, "{slot}");
        // Some clients save whatever comes as the file.
        assert!(answer.body.len() < 100, "{}", answer.text());
    }
    assert_eq!(rig.send(put("a/b.TXT", BYTES)).await.status, 201);
}

#[tokio::test]
async fn a_damaged_file_is_no_proof_of_other_bytes() {
    for (recorded, sent) in [(10, b"forty-two!".as_slice()), (8, b"forty-tw")] {
        let rig = Rig::new();
        rig.fill("a/b", BYTES, |record| record.size = ByteSize::bytes(recorded)).await;
        let answer = rig.send(put("a/b", sent)).await;
        assert_eq!((answer.status, answer.text()), (500, "The stored file is damaged (damaged)\n"));
    }
}
