//! Every step of an upload fails once: no success is claimed, nothing shows, and the next try works.

use hfs_core::ByteSize;
use http::Request;

use super::{BYTES, OTHER};
use crate::http::exchange::Incoming;
use crate::http::testing::{Answer, Rig, get, path, proven, put, slot_of, streamed, until};
use crate::meta::faulty::Fault as RowFault;
use crate::storage::faulty::{Fault, Faults, Operation};
use hfs_core::auth::Dialect;

const FAULTS: [(Fault, u16); 3] = [(Fault::Full, 507), (Fault::Io, 503), (Fault::Slow, 503)];

/// A PUT of [`BYTES`] that arrives in three pieces.
async fn in_pieces(slot: &str) -> Request<Incoming> {
    let (mut client, body) = streamed().await;
    for piece in BYTES.chunks(3) {
        client.send(piece);
    }
    client.end();
    proven(Dialect::V1, &slot_of(&path(slot), 9)).header("content-length", 9).body(body).unwrap()
}

#[track_caller]
fn is_failure(answer: &Answer, status: u16, step: &str) {
    assert_eq!(answer.status, status, "{step}: {}", answer.text());
    // OkHttp tries again at once for exactly this, and would also try a full disk again.
    assert_eq!(answer.header("retry-after"), if status == 503 { "0" } else { "" }, "{step}");
}

/// Each operation of the store that `act` makes fails once, in every way; `check` sees what became of it.
async fn each_fault(
    operations: &[Operation],
    prepare: impl AsyncFn() -> Rig,
    act: impl AsyncFn(&Rig) -> Answer,
    check: impl AsyncFn(&Rig, &str),
) {
    let healthy = prepare().await;
    let before = operations.iter().map(|operation| healthy.faults.seen(*operation)).collect::<Vec<_>>();
    assert_eq!(act(&healthy).await.status, 201);
    for (operation, before) in operations.iter().zip(before) {
        let steps = healthy.faults.seen(*operation) - before;
        assert!(steps > 0, "{operation:?} is no part of this");
        for (nth, (fault, status)) in (1..=steps).flat_map(|nth| FAULTS.map(|fault| (nth, fault))) {
            let step = format!("{operation:?} {nth} is {fault:?}");
            let rig = prepare().await;
            rig.faults.fail(*operation, nth, fault);
            is_failure(&act(&rig).await, status, &step);
            check(&rig, &step).await;
        }
    }
}

#[tokio::test]
async fn a_failed_step_of_the_store_is_never_a_success() {
    use Operation::{Claim, Create, Publish, PublishLate, Write};
    each_fault(
        &[Create, Write, Claim, Publish, PublishLate],
        async || Rig::new(),
        async |rig| rig.send(in_pieces("a/b").await).await,
        async |rig, step| {
            rig.sees_nothing_of("a/b").await;
            // Other bytes, so that a leftover of the failed try would show.
            assert_eq!(rig.send(put("a/b", OTHER)).await.status, 201, "{step}");
            assert_eq!(rig.send(get("a/b")).await.body, OTHER, "{step}");
        },
    )
    .await;
}

#[tokio::test]
async fn a_failed_comparison_of_a_repeat_changes_nothing() {
    each_fault(
        &[Operation::Open, Operation::Read],
        async || {
            let rig = Rig::new();
            rig.send(put("a/b", BYTES)).await;
            rig
        },
        async |rig| rig.send(in_pieces("a/b").await).await,
        async |rig, step| {
            assert_eq!(rig.send(get("a/b")).await.body, BYTES, "{step}");
            assert_eq!(rig.send(put("a/b", BYTES)).await.status, 201, "{step}");
        },
    )
    .await;
}

#[tokio::test]
async fn a_failed_comparison_with_a_rival_changes_nothing() {
    each_fault(
        &[Operation::Open, Operation::Compare, Operation::Read],
        async || Rig::new(),
        async |rig| {
            let (mut client, body) = streamed().await;
            let head = proven(Dialect::V1, &slot_of(&path("a/b"), 9)).header("content-length", 9);
            let late = rig.start(head.body(body).unwrap());
            client.send(BYTES);
            until("the late one has begun", async || rig.store.temporaries() == 1).await;
            rig.fill("a/b", BYTES, |_| {}).await;
            client.end();
            late.await.unwrap()
        },
        async |rig, step| {
            assert_eq!(rig.store.temporaries(), 0, "{step}");
            assert_eq!(rig.send(get("a/b")).await.body, BYTES, "{step}");
            assert_eq!(rig.send(put("a/b", BYTES)).await.status, 201, "{step}");
        },
    )
    .await;
}

#[tokio::test]
async fn a_row_that_was_certainly_not_written_leaves_no_file() {
    for (fault, status) in [(RowFault::Full, 507), (RowFault::Busy, 503)] {
        let rig = Rig::new();
        rig.meta.fail_write(1, fault);
        is_failure(&rig.send(put("a/b", BYTES)).await, status, &format!("{fault:?}"));
        assert!(rig.store.places().is_empty(), "{fault:?}");
        rig.sees_nothing_of("a/b").await;
        assert_eq!(rig.send(put("a/b", OTHER)).await.status, 201);
        assert_eq!(rig.send(get("a/b")).await.body, OTHER);
    }
}

#[tokio::test]
async fn a_row_that_may_have_been_written_keeps_its_file_out_of_sight() {
    let rig = Rig::new();
    rig.meta.fail_write(1, RowFault::LostBefore);
    is_failure(&rig.send(put("a/b", BYTES)).await, 503, "lost before");
    // Kept, because the row may come back with the next start.
    assert_eq!(rig.store.places().len(), 1);
    rig.sees_nothing_of("a/b").await;
    assert_eq!(rig.send(put("a/b", OTHER)).await.status, 201);
    assert_eq!(rig.send(get("a/b")).await.body, OTHER);
}

#[tokio::test]
async fn a_row_that_was_written_unnoticed_is_whole_and_the_repeat_succeeds() {
    let rig = Rig::new();
    rig.meta.fail_write(1, RowFault::LostAfter);
    is_failure(&rig.send(put("a/b", BYTES)).await, 503, "lost after");
    assert_eq!(rig.send(get("a/b")).await.body, BYTES);
    assert_eq!(rig.send(put("a/b", OTHER)).await.status, 409);
    assert_eq!(rig.send(put("a/b", BYTES)).await.status, 201);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_hangs_keeps_its_slot_claimed() {
    let rig = Rig::new();
    rig.meta.fail_write(1, RowFault::Stuck);
    is_failure(&rig.send(put("a/b", BYTES)).await, 503, "stuck");
    rig.sees_nothing_of("a/b").await;
    // The row may still come, so its file must not be replaced; every other slot goes on.
    is_failure(&rig.send(put("a/b", OTHER)).await, 503, "claimed");
    assert_eq!(rig.store.places().len(), 1);
    assert_eq!(rig.send(put("a/c", OTHER)).await.status, 201);
}

#[tokio::test]
async fn rows_that_cannot_be_read_refuse_the_upload() {
    // A short body is looked up once, under the claim; others also before the body.
    static LONG: [u8; 70_000] = [7; 70_000];
    for (bytes, nth) in [(BYTES, 1), (&LONG, 1), (&LONG, 2)] {
        let rig = Rig::new();
        rig.meta.fail_read(nth);
        is_failure(&rig.send(put("a/b", bytes)).await, 503, "look");
        assert!(rig.store.places().is_empty());
        rig.sees_nothing_of("a/b").await;
        assert_eq!(rig.send(put("a/b", OTHER)).await.status, 201);
    }
    let rig = Rig::new();
    rig.meta.fail_read(2);
    assert_eq!(rig.send(put("a/b", BYTES)).await.status, 201, "one look is enough");
}

#[tokio::test]
async fn what_is_there_already_is_refused_by_no_limit() {
    let rig = Rig::with(|config| config.limits.max_size = Some(ByteSize::bytes(1)));
    rig.fill("a/b", BYTES, |_| {}).await;
    assert_eq!(rig.send(put("a/b", BYTES)).await.status, 201);
    assert_eq!(rig.send(put("a/b", OTHER)).await.status, 409);
    assert_eq!(rig.send(put("a/c", BYTES)).await.status, 413);
    assert_eq!(rig.send(get("a/b")).await.body, BYTES);
}

#[tokio::test]
async fn a_store_that_cannot_tell_its_free_space_takes_the_upload() {
    let rig = Rig::new();
    rig.faults.fail(Operation::Free, 1, Fault::Io);
    assert_eq!(rig.send(put("a/b", BYTES)).await.status, 201);
    assert_eq!(rig.faults.seen(Operation::Free), 1);
}

/// R5: a thousand random faults and more, the same at every run.
#[tokio::test]
async fn under_random_faults_no_failed_step_is_a_success_and_the_next_upload_works() {
    let mut struck = 0;
    let mut seeds = 0..;
    while struck < 1_000 {
        let seed = seeds.next().unwrap();
        let healthy = Rig::new();
        let shaky = healthy.sibling(Faults::random(seed, 12));
        // Whether it worked; what failed is no success.
        let mut try_with_faults = async |slot: &str| {
            let answer = shaky.send(in_pieces(slot).await).await;
            let failed = shaky.faults.take_struck();
            struck += failed.len();
            // An upload goes on where the free space cannot be told.
            if failed.iter().all(|operation| *operation == Operation::Free) {
                assert_eq!(answer.status, 201, "seed {seed}, {slot}: {}", answer.text());
                return true;
            }
            assert!([503, 507].contains(&answer.status), "seed {seed}, {slot}: {failed:?}: {}", answer.text());
            false
        };
        for slot in (0..20).map(|number| format!("a/{number}")) {
            if !try_with_faults(&slot).await {
                healthy.sees_nothing_of(&slot).await;
                assert_eq!(healthy.send(in_pieces(&slot).await).await.status, 201, "seed {seed}, {slot}");
            }
            try_with_faults(&slot).await;
            assert_eq!(healthy.send(get(&slot)).await.body, BYTES, "seed {seed}, {slot}");
        }
        assert_eq!((healthy.store.temporaries(), healthy.store.places().len()), (0, 20));
    }
}
