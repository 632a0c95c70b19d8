//! A row whose file is missing: whoever may fill the slot heals it.

use hfs_core::auth::{Dialect, Owner};

use super::{BYTES, OTHER};
use crate::clock;
use crate::http::exchange::Incoming;
use crate::http::testing::{Rig, get, path, proven, put, slot_of, streamed, until};
use crate::meta::faulty::Fault as RowFault;
use crate::meta::{Farewell, Integrity, Record, Tombstone};
use crate::storage::faulty::{Fault, Operation};
use crate::storage::{BlobStore as _, Place};

/// A server that has lost the file of `a/b`, and its row.
async fn lossy() -> (Rig, Record) {
    let rig = Rig::new();
    let later = clock::now().plus_seconds(600);
    rig.fill("a/b", BYTES, |record| {
        record.media_type = "audio/ogg".to_owned();
        record.owner = Some(Owner::Jid("juliet@example.org".to_owned()));
        record.expires = Some(later);
        record.integrity = Integrity::Unknown;
    })
    .await;
    rig.store.remove(&Place::new("a/b")).await.unwrap();
    assert_eq!(rig.send(get("a/b")).await.status, 500);
    let record = rig.record("a/b").await;
    (rig, record)
}

#[tokio::test]
async fn a_lost_file_is_stored_again_under_another_id() {
    let (rig, lost) = lossy().await;
    let stored = rig.send(put("a/b", OTHER)).await;
    assert_eq!(stored.status, 201);
    let given = rig.send(get("a/b")).await;
    assert_eq!((given.status, &*given.body, given.header("content-type")), (200, OTHER, "audio/ogg"));
    assert_eq!(given.header("etag"), stored.header("etag"));

    let healed = rig.record("a/b").await;
    assert_ne!((healed.id, &healed.place), (lost.id, &lost.place));
    assert_eq!((healed.integrity, healed.size), (Integrity::Written, lost.size));
    assert_eq!((healed.owner, healed.expires), (lost.owner, lost.expires), "what was promised holds");
    assert_eq!(rig.store.temporaries(), 0);
    for (bytes, status) in [(OTHER, 201), (BYTES, 409)] {
        assert_eq!(rig.send(put("a/b", bytes)).await.status, status, "it is a file like others");
    }
}

#[tokio::test]
async fn only_a_file_of_the_same_size_heals() {
    let (rig, lost) = lossy().await;
    assert_eq!(rig.send(put("a/b", b"forty-two and more")).await.status, 409);
    let nobody_knows = proven(Dialect::V3, &slot_of(&path("a/b"), 0));
    let longer = Incoming::Full(Some(b"forty-two and more".as_slice().into()));
    assert_eq!(rig.send(nobody_knows.body(longer).unwrap()).await.status, 409);
    assert_eq!(rig.record("a/b").await, lost);
    assert!(rig.store.places().is_empty() && rig.store.temporaries() == 0);
}

#[tokio::test]
async fn only_the_same_bytes_heal_where_their_digest_is_known() {
    for hashed_now in [true, false] {
        let rig = Rig::with(|config| config.storage.digests = true);
        assert_eq!(rig.send(put("a/b", BYTES)).await.status, 201);
        rig.store.remove(&Place::new("a/b")).await.unwrap();
        let lost = rig.record("a/b").await;
        let mut config = (*rig.app.config()).clone();
        config.storage.digests = hashed_now;
        rig.app.swap_config(config);

        assert_eq!(rig.send(put("a/b", OTHER)).await.status, 409, "hashed now: {hashed_now}");
        assert_eq!(rig.record("a/b").await, lost);
        assert!(rig.store.places().is_empty() && rig.store.temporaries() == 0);
        assert_eq!(rig.send(put("a/b", BYTES)).await.status, 201, "hashed now: {hashed_now}");
        assert_eq!(rig.send(get("a/b")).await.body, BYTES);
    }
}

#[tokio::test]
async fn a_failed_step_leaves_the_loss_as_it_was() {
    use Operation::{Claim, Create, Publish, Write};
    for operation in [Create, Write, Claim, Publish] {
        let (rig, lost) = lossy().await;
        rig.faults.fail(operation, 1, Fault::Io);
        assert_eq!(rig.send(put("a/b", BYTES)).await.status, 503, "{operation:?}");
        assert_eq!(rig.record("a/b").await, lost, "{operation:?}");
        assert!(rig.store.places().is_empty() && rig.store.temporaries() == 0, "{operation:?}");
        assert_eq!(rig.send(put("a/b", BYTES)).await.status, 201, "{operation:?}");
    }
}

#[tokio::test]
async fn bytes_without_their_row_are_not_served_by_the_old_one() {
    for (fault, status) in
        [(RowFault::Full, 507), (RowFault::Busy, 503), (RowFault::Unavailable, 503), (RowFault::LostBefore, 503)]
    {
        let (rig, lost) = lossy().await;
        rig.meta.fail_write(1, fault);
        assert_eq!(rig.send(put("a/b", OTHER)).await.status, status, "{fault:?}");
        assert_eq!(rig.send(get("a/b")).await.status, 500, "{fault:?}");
        assert_eq!(rig.record("a/b").await, lost, "{fault:?}");
        // Kept where the row may come back with the next start.
        assert_eq!(rig.store.places().len(), usize::from(fault == RowFault::LostBefore), "{fault:?}");
        assert_eq!(rig.send(put("a/b", BYTES)).await.status, 201, "{fault:?}");
        assert_eq!(rig.send(get("a/b")).await.body, BYTES, "{fault:?}");
    }
    let (rig, _) = lossy().await;
    rig.meta.fail_write(1, RowFault::LostAfter);
    assert_eq!(rig.send(put("a/b", BYTES)).await.status, 503);
    assert_eq!(rig.send(get("a/b")).await.body, BYTES, "the row was written all the same");
}

#[tokio::test]
async fn a_slot_that_is_buried_meanwhile_stays_buried() {
    let (rig, lost) = lossy().await;
    let (mut client, body) = streamed().await;
    let head = proven(Dialect::V1, &slot_of(&path("a/b"), 9)).header("content-length", 9);
    let late = rig.start(head.body(body).unwrap());
    client.send(BYTES);
    until("it has begun", async || rig.store.temporaries() == 1).await;
    let tombstone = Tombstone { at: clock::now(), reason: Farewell::Deleted };
    rig.app.meta().bury(&path("a/b"), lost.id, tombstone).await.unwrap();
    client.end();
    assert_eq!(late.await.unwrap().status, 409);
    assert!(rig.store.places().is_empty() && rig.store.temporaries() == 0);
    assert_eq!(rig.send(get("a/b")).await.status, 404);
}
