//! Metronome's DELETE.

use hfs_core::auth::Dialect;
use http::{Method, Request};

use super::{BYTES, OTHER};
use crate::http::exchange::Incoming;
use crate::http::testing::{Rig, ask, get, listen, path, proven, put, slot_of, until};
use crate::meta::faulty::Fault as RowFault;
use crate::meta::{Entry, Farewell};
use crate::storage::BlobStore as _;
use crate::storage::faulty::{Fault, Operation};

fn delete(slot: &str) -> Request<Incoming> {
    proven(Dialect::Delete, &slot_of(&path(slot), 0)).body(Incoming::empty()).unwrap()
}

#[tokio::test]
async fn a_deleted_file_is_gone_for_ever() {
    let rig = Rig::new();
    rig.send(put("a/b", BYTES)).await;
    assert_eq!(rig.send(delete("a/b")).await.status, 204);
    assert!(rig.store.places().is_empty());
    assert_eq!(rig.send(get("a/b")).await.status, 404);
    for bytes in [BYTES, OTHER] {
        assert_eq!(rig.send(put("a/b", bytes)).await.status, 409);
    }
    assert!(matches!(rig.entry("a/b").await, Some(Entry::Gone(stone)) if stone.reason == Farewell::Deleted));
}

#[tokio::test]
async fn what_is_gone_can_be_deleted_again_and_what_never_was_cannot() {
    let rig = Rig::new();
    rig.send(put("a/b", BYTES)).await;
    assert_eq!(rig.send(delete("a/b")).await.status, 204);
    assert_eq!(rig.send(delete("a/b")).await.status, 204);
    assert_eq!(rig.send(delete("a/never")).await.status, 404);
    // Not even a tombstone: the slot may still be filled.
    assert_eq!(rig.send(put("a/never", BYTES)).await.status, 201);
}

#[tokio::test]
async fn only_the_token_of_this_slot_deletes() {
    let rig = Rig::new();
    rig.send(put("a/b", BYTES)).await;
    let upload = put("a/b", BYTES).uri().clone();
    let token = proven(Dialect::Token, &slot_of(&path("a/b"), 9)).body(()).unwrap().uri().clone();
    let other = format!("/a/b?{}", delete("a/c").uri().query().unwrap());
    for (target, status) in
        [("/a/b", 401), (&upload.to_string(), 401), (&token.to_string(), 403), (other.as_str(), 403)]
    {
        assert_eq!(rig.send(ask(Method::DELETE, target)).await.status, status, "{target}");
    }
    assert_eq!(rig.send(get("a/b")).await.status, 200);
}

#[tokio::test]
async fn without_a_delete_secret_nothing_is_deleted() {
    let rig = Rig::with(|config| config.keys.delete_secret = None);
    rig.send(put("a/b", BYTES)).await;
    assert_eq!(rig.send(delete("a/b")).await.status, 403);
    assert_eq!(rig.send(get("a/b")).await.status, 200);
}

#[tokio::test]
async fn a_full_disk_gives_up_its_reserve_for_a_deletion() {
    let rig = Rig::new();
    rig.send(put("a/b", BYTES)).await;
    rig.meta.fail_write(1, RowFault::Full);
    assert_eq!(rig.send(delete("a/b")).await.status, 204);
    assert!(rig.store.places().is_empty());
    assert!(rig.store.give_up_reserve().await.unwrap(), "it is held again");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_a_deletion_on_a_full_disk_does_not_keep_the_reserve_in_use() {
    let rig = Rig::new();
    rig.send(put("a/b", BYTES)).await;
    rig.meta.fail_write(1, RowFault::Full);
    rig.meta.fail_write(2, RowFault::Stuck);
    let deletion = rig.start(delete("a/b"));
    until("the reserve is in use", async || rig.meta.failures_left() == 0).await;
    deletion.abort();
    assert!(deletion.await.unwrap_err().is_cancelled());
    assert!(!rig.store.give_up_reserve().await.unwrap(), "the removal goes on");
    tokio::time::sleep(rig.app.config().storage.io_deadline * 2).await;
    assert!(rig.store.give_up_reserve().await.unwrap(), "it has ended, and the reserve is held again");
}

#[tokio::test]
async fn a_full_disk_without_a_reserve_says_so_and_keeps_the_file() {
    let rig = Rig::new();
    rig.send(put("a/b", BYTES)).await;
    rig.meta.fail_write(1, RowFault::Full);
    rig.meta.fail_write(2, RowFault::Full);
    assert_eq!(rig.send(delete("a/b")).await.status, 507);
    assert_eq!(rig.send(get("a/b")).await.text(), "forty-two");
}

#[tokio::test]
async fn a_removal_that_cannot_be_noted_beforehand_still_happens() {
    for fault in [Fault::Full, Fault::Io, Fault::Slow] {
        let rig = Rig::new();
        rig.send(put("a/b", BYTES)).await;
        rig.faults.fail(Operation::Condemn, 1, fault);
        let log = listen();
        assert_eq!(rig.send(delete("a/b")).await.status, 204, "{fault:?}");
        assert_eq!(log.lines_with("could not be noted beforehand").len(), 1, "{fault:?}");
        assert!(rig.store.places().is_empty(), "{fault:?}");
        assert_eq!(rig.send(get("a/b")).await.status, 404, "{fault:?}");
    }
}

#[tokio::test]
async fn a_file_whose_row_cannot_be_buried_stays() {
    for (fault, status) in [(RowFault::Busy, 503), (RowFault::Unavailable, 503), (RowFault::LostBefore, 503)] {
        let rig = Rig::new();
        rig.send(put("a/b", BYTES)).await;
        rig.meta.fail_write(1, fault);
        assert_eq!(rig.send(delete("a/b")).await.status, status);
        assert_eq!(rig.send(get("a/b")).await.text(), "forty-two");
        assert_eq!(rig.send(delete("a/b")).await.status, 204);
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_removed_is_invisible_and_reported() {
    let rig = Rig::new();
    rig.send(put("a/b", BYTES)).await;
    rig.faults.fail(Operation::Remove, 1, Fault::Io);
    let log = listen();
    assert_eq!(rig.send(delete("a/b")).await.status, 204);
    assert_eq!(log.lines_with("stays on disk").len(), 1);
    assert_eq!(rig.send(get("a/b")).await.status, 404);
}
