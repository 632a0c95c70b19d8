//! Removals: of which blob, and in turn on a full disk.

use std::fs;
use std::time::{Duration, SystemTime};

use hfs_core::auth::Dialect;
use tokio::time::sleep;

use super::*;
use crate::http::exchange::Incoming;
use crate::http::testing::{Rig, get, path, proven, put, slot_of, test_config, until};
use crate::meta::Entry;
use crate::meta::faulty::{Fault, FaultyMeta};
use crate::meta::memory::MemoryMeta;
use crate::storage::Place;

#[tokio::test]
async fn a_blob_that_took_the_place_of_another_is_not_removed_with_it() {
    let rig = Rig::new();
    assert_eq!(rig.send(put("a/b", b"forty-two")).await.status, 201);
    let lost = rig.record("a/b").await;
    rig.store.remove(&lost.place).await.unwrap();
    assert_eq!(rig.send(put("a/b", b"forty-two")).await.status, 201);
    assert!(!rig.app.bury(&lost, Farewell::Deleted).await.unwrap());
    assert_eq!(rig.send(get("a/b")).await.text(), "forty-two");
    assert!(rig.app.bury(&rig.record("a/b").await, Farewell::Deleted).await.unwrap());
}

/// One removal hangs in the middle, on what was held back for a full disk.
async fn stuck_on_the_reserve(rig: &Rig) -> tokio::task::JoinHandle<Result<bool, BuryError>> {
    rig.app.take_reserve().await;
    rig.fill("x/stuck", b"bytes", |_| {}).await;
    let (app, record) = (Arc::clone(&rig.app), rig.record("x/stuck").await);
    rig.meta.fail_write(1, Fault::Full);
    rig.meta.fail_write(2, Fault::Stuck);
    let removal = tokio::spawn(async move { app.bury(&record, Farewell::Expired).await });
    until("the reserve is in use", async || rig.meta.failures_left() == 0).await;
    removal
}

#[tokio::test(start_paused = true)]
async fn the_reserve_is_not_taken_back_under_a_removal_that_uses_it() {
    let rig = Rig::new();
    let removal = stuck_on_the_reserve(&rig).await;
    rig.app.take_reserve().await;
    assert!(!rig.store.give_up_reserve().await.unwrap(), "it is in use");
    assert!(matches!(removal.await.unwrap(), Err(BuryError::Store(StoreError::Slow { .. }))));
    assert!(rig.store.give_up_reserve().await.unwrap(), "and is held again when the removal has ended");
}

#[tokio::test(start_paused = true)]
async fn a_removal_waits_for_the_reserve_as_long_as_another_uses_it() {
    let rig = Rig::new();
    rig.fill("a/b", b"bytes", |_| {}).await;
    let removal = stuck_on_the_reserve(&rig).await;
    rig.meta.fail_write(1, Fault::Full);
    let (app, record) = (Arc::clone(&rig.app), rig.record("a/b").await);
    let next = tokio::spawn(async move { app.bury(&record, Farewell::Expired).await });
    until("the next one waits", async || rig.meta.failures_left() == 0).await;
    assert!(!next.is_finished() && !removal.is_finished());
    assert!(removal.await.unwrap().is_err());
    assert!(next.await.unwrap().unwrap());
    assert!(matches!(rig.entry("a/b").await, Some(Entry::Gone(_))));
}

#[tokio::test(start_paused = true)]
async fn a_deletion_means_also_what_takes_the_place_of_a_lost_file_meanwhile() {
    let rig = Rig::new();
    rig.fill("a/b", b"forty-two", |_| {}).await;
    rig.store.remove(&Place::new("a/b")).await.unwrap();
    let removal = stuck_on_the_reserve(&rig).await;
    rig.meta.fail_write(1, Fault::Full);
    let head = proven(Dialect::Delete, &slot_of(&path("a/b"), 0));
    let deletion = rig.start(head.body(Incoming::empty()).unwrap());
    until("it has found the lost file's row", async || rig.meta.failures_left() == 0).await;
    assert_eq!(rig.send(put("a/b", b"forty-two")).await.status, 201);
    assert!(removal.await.unwrap().is_err());
    assert_eq!(deletion.await.unwrap().status, 204);
    assert_eq!(rig.send(get("a/b")).await.status, 404);
}

#[tokio::test]
async fn what_a_crash_left_is_not_adopted_by_command() {
    let folder = tempfile::tempdir().unwrap();
    let config = test_config(|config| folder.path().clone_into(&mut config.storage.path));
    drop(LocalStore::open(&config.storage).unwrap());
    fs::write(folder.path().join("theirs"), b"copied here by hand").unwrap();
    let left = folder.path().join(".hfs/tmp").join("0".repeat(32));
    fs::write(&left, b"never acknowledged").unwrap();
    fs::hard_link(&left, folder.path().join("ours")).unwrap();
    for file in ["theirs", "ours"] {
        let file = fs::File::options().write(true).open(folder.path().join(file)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }
    let mut said = Vec::new();
    offline::adopt(&config, &mut said).await.unwrap();
    let said = String::from_utf8(said).unwrap();
    assert!(said.starts_with("1 files adopted"), "{said}");
    assert!(!left.exists() && !folder.path().join("ours").exists());
}

/// A walk over the tree can take minutes.
#[tokio::test]
async fn no_removal_waits_on_a_full_disk_until_a_sweep_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let config = test_config(|config| folder.path().clone_into(&mut config.storage.path));
    let tree = LocalStore::open(&config.storage).unwrap();
    let left = folder.path().join(".hfs/tmp").join("0".repeat(32));
    fs::write(&left, b"never acknowledged").unwrap();
    fs::hard_link(&left, folder.path().join("left")).unwrap();
    let rows = Arc::new(FaultyMeta::new(MemoryMeta::new()));
    let other = Rig::new();
    other.fill("a/b", b"bytes", |_| {}).await;
    let record = other.record("a/b").await;
    rows.record(record.clone()).await.unwrap();
    let meta = Arc::<FaultyMeta<_>>::clone(&rows);
    let app = App::of_parts(config, Arc::new(tree.clone()), meta, Arc::new(Metrics::new()));
    let app = Arc::new(App { tree: Some(tree.clone()), ..app });

    // Whoever has this claim keeps the sweep in its walk.
    let claim = tree.claim(&path("left"), Duration::ZERO).await.unwrap();
    rows.fail_write(1, Fault::Full);
    let swept = Arc::clone(&app);
    let sweep = tokio::spawn(async move { swept.sweep().await });
    // That is in the database once it has begun, on what was held back.
    let begun = async {
        while rows.note("sweep").await.unwrap().is_none() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), begun).await.unwrap();
    rows.fail_write(1, Fault::Full);
    assert!(app.bury(&record, Farewell::Deleted).await.unwrap());
    assert!(!sweep.is_finished(), "the removal has waited for it");
    drop(claim);
    sweep.await.unwrap();
    assert!(!left.exists() && !folder.path().join("left").exists());
}
