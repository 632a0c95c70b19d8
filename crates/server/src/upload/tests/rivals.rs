//! Several uploads of one slot at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hfs_core::auth::Dialect;
use hfs_core::profile::{Bounds, Strategies};
use tower_service::Service as _;

use super::{BYTES, OTHER};
use crate::app::App;
use crate::flow::PaceConfig;
use crate::flow::testing::learnt;
use crate::http::context::Context;
use crate::http::router::{Router, Surface};
use crate::http::testing::{Answer, Client, Rig, get, path, proven, put, slot_of, streamed, test_config, until};
use crate::meta::faulty::FaultyMeta;
use crate::meta::memory::MemoryMeta;
use crate::storage::local::LocalStore;
use crate::storage::sweep::{Reach, Swept, sweep};
use crate::storage::{BlobStore, Place};
use crate::telemetry::metrics::Metrics;
use crate::upload::{self, PutError, Stored};

type Outcome = tokio::task::JoinHandle<Result<Stored, PutError>>;

/// An upload that has sent all of `bytes` but not the end of its body.
async fn begun(rig: &Rig, bytes: &'static [u8]) -> (Client, Outcome) {
    let running = rig.store.temporaries();
    let (mut client, body) = streamed().await;
    client.send(bytes);
    let head = proven(Dialect::V1, &slot_of(&path("a/b"), 9)).header("content-length", 9);
    let request = head.body(body).unwrap();
    let app = Arc::clone(&rig.app);
    let outcome = tokio::spawn(async move {
        let mut context = Context::of(&request, &app.config());
        upload::put(&app, &mut context, &path("a/b"), Box::new(request)).await
    });
    until("it has begun", async || rig.store.temporaries() > running).await;
    (client, outcome)
}

#[tokio::test]
async fn of_many_uploads_at_once_one_is_stored_and_only_its_equals_succeed() {
    let rig = Rig::new();
    let (mut clients, mut outcomes) = (Vec::new(), Vec::new());
    for bytes in [BYTES, OTHER, BYTES, BYTES, OTHER, OTHER, BYTES] {
        let (client, outcome) = begun(&rig, bytes).await;
        clients.push(client);
        outcomes.push((bytes, outcome));
    }
    clients.into_iter().rev().for_each(Client::end);
    let mut ended = Vec::new();
    for (bytes, outcome) in outcomes {
        ended.push((bytes, outcome.await.unwrap()));
    }

    let (mut fresh, mut kept) = (0, Bytes::new());
    for (bytes, outcome) in &ended {
        if matches!(outcome, Ok(stored) if stored.fresh) {
            (fresh, kept) = (fresh + 1, Bytes::from_static(bytes));
        }
    }
    assert_eq!(fresh, 1, "{ended:?}");
    let id = rig.record("a/b").await.id;
    for (bytes, outcome) in ended {
        match outcome {
            Ok(stored) => assert_eq!((Bytes::from_static(bytes), stored.id), (kept.clone(), id)),
            Err(PutError::Taken) => assert_ne!(bytes, kept),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(rig.send(get("a/b")).await.body, kept);
    assert_eq!((rig.store.temporaries(), rig.store.places().len()), (0, 1));
}

#[tokio::test]
async fn a_hanging_upload_does_not_block_its_slot() {
    let rig = Rig::new();
    let (hanging, outcome) = begun(&rig, BYTES).await;
    assert_eq!(rig.send(put("a/b", OTHER)).await.status, 201);
    hanging.end();
    assert!(matches!(outcome.await.unwrap(), Err(PutError::Taken)));
    assert_eq!(rig.send(get("a/b")).await.body, OTHER);
    assert_eq!(rig.store.temporaries(), 0);
}

#[tokio::test]
async fn a_rival_of_a_file_that_is_gone_meanwhile_does_not_bring_it_back() {
    let rig = Rig::new();
    let (late, outcome) = begun(&rig, BYTES).await;
    rig.fill("a/b", BYTES, |record| record.expires = Some(crate::clock::now())).await;
    late.end();
    assert!(matches!(outcome.await.unwrap(), Err(PutError::Gone)));
    rig.sees_nothing_of("a/b").await;
}

#[tokio::test]
async fn tries_of_one_slot_are_bounded_and_free_their_place() {
    let rig = Rig::new();
    let mut tries = Vec::new();
    for _ in 0..8 {
        tries.push(begun(&rig, BYTES).await);
    }
    let answer = rig.send(put("a/b", BYTES)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "5"), "at once, it would meet the same ones");
    let bounds = Bounds { retry: Some(1.5), ..Bounds::default() };
    let strategies =
        Strategies { mobile: bounds, desktop: bounds, server: bounds, by_quality: true, ..Strategies::default() };
    rig.app.engine().configure(PaceConfig { strategies, ..PaceConfig::default() });
    learnt(rig.app.engine(), "127.0.0.1", 10_000_000);
    assert_eq!(rig.send(put("a/b", BYTES)).await.header("retry-after"), "8", "as its strategy has it");
    assert_eq!(rig.send(put("a/c", BYTES)).await.status, 201, "other slots go on");
    let (client, outcome) = tries.remove(0);
    client.leave();
    outcome.await.unwrap().unwrap_err();
    assert_eq!(rig.send(put("a/b", BYTES)).await.status, 201);
}

#[tokio::test(start_paused = true)]
async fn a_rival_that_publishes_for_too_long_is_a_retry() {
    let rig = Rig::new();
    let claim = rig.store.claim(&path("a/b"), Duration::ZERO).await.unwrap();
    let started = tokio::time::Instant::now();
    let answer = rig.send(put("a/b", BYTES)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "0"));
    assert_eq!(started.elapsed().as_secs(), 8, "below the patience of clients");
    rig.sees_nothing_of("a/b").await;
    drop(claim);
    assert_eq!(rig.send(put("a/b", BYTES)).await.status, 201);
}

#[tokio::test]
async fn what_a_row_names_that_came_without_a_claim_is_not_swept() {
    let folder = tempfile::tempdir().unwrap();
    let config = test_config(|config| folder.path().clone_into(&mut config.storage.path));
    let open = || LocalStore::open(&config.storage).unwrap();
    let rows = Arc::new(FaultyMeta::new(MemoryMeta::new()));
    let (store, meta) = (open(), Arc::<FaultyMeta<_>>::clone(&rows));
    let app = Arc::new(App::of_parts(config.clone(), Arc::new(store.clone()), meta, Arc::new(Metrics::new())));
    let send = async |request| {
        let answer = Router::new(Arc::clone(&app), Surface::Public).call(request).await;
        Answer::of(answer.unwrap_or_else(|never| match never {})).await
    };
    let temporaries = || std::fs::read_dir(folder.path().join(".hfs/tmp")).unwrap().count();

    // As a process does that ends while its database still commits.
    let other = Rig::new();
    other.fill("a/b", BYTES, |_| {}).await;
    let rival = other.record("a/b").await;
    assert_eq!(rival.place, Place::new("a/b"));
    rows.forestall(rival);
    assert_eq!(send(put("a/b", BYTES)).await.status, 409);
    store.quiesce().await;
    assert_eq!(temporaries(), 0, "nothing leads a sweep to the name");

    assert_eq!(send(put("a/b", BYTES)).await.status, 201, "what it names is told to be stored");
    drop(store);
    drop(app);
    assert_eq!(sweep(&open(), &*rows, Reach::Tree).await.unwrap(), Swept::default());
    assert_eq!(std::fs::read(folder.path().join("a/b")).unwrap(), BYTES);
}
