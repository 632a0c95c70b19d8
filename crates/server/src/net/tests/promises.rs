//! What a client of HTTP/2 is promised: what many uploads at a time begin with, what is left of it, and when that ends the
//! connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use hfs_core::ByteSize;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::http2::{handshake, send};
use super::windows::{DELAY, LENGTH, announced, serve, serve_over, upload_of};
use super::{PaceConfig, engine};
use crate::flow::testing::anonymous;

/// How many uploads of 64 KiB end within a minute, where `at_once` are under way. They begin together, or evenly over a round
/// trip.
async fn short_ones(client: &SendRequest<Bytes>, at_once: usize, together: bool) -> usize {
    let body = Bytes::from(vec![7; 64 << 10]);
    let (start, mut under_way, mut done) = (Instant::now(), JoinSet::new(), 0);
    loop {
        while under_way.len() < at_once {
            let answer = send(client, announced(64 << 10), Some(body.clone())).await;
            under_way.spawn(async move { answer.await.unwrap().status() });
            if done == 0 && !together {
                sleep(2 * DELAY / at_once as u32).await;
            }
        }
        let left = Duration::from_secs(60).saturating_sub(start.elapsed());
        let Ok(Some(status)) = timeout(left, under_way.join_next()).await else { break };
        assert_eq!(status.unwrap(), 201);
        done += 1;
    }
    under_way.join_all().await;
    done
}

#[tokio::test(start_paused = true)]
async fn many_short_uploads_at_a_time_do_not_wait_for_a_window_each() {
    for (is_adaptive, together) in [(true, true), (true, false), (false, true), (false, false)] {
        let engine = engine(PaceConfig { enabled: is_adaptive, ..PaceConfig::default() });
        let (client, _driver) = handshake(serve(engine)).await;
        for at_once in [1, 4, 8, 16] {
            let done = short_ones(&client, at_once, together).await;
            let at_best = at_once * (60 * 1000 / (2 * DELAY).as_millis()) as usize;
            assert!(100 * done > 85 * at_best, "{done} of {at_best}, {at_once} at a time, adaptive: {is_adaptive}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn many_uploads_at_a_time_begin_with_no_more_where_memory_is_scarce() {
    let engine = engine(PaceConfig { memory: ByteSize::mib(64), ..PaceConfig::default() });
    let all = engine.free_memory();
    let (client, mut driver) = handshake(serve(Arc::clone(&engine))).await;
    let mut others = Vec::new();
    while engine.free_memory() > all / 5 * 4 {
        others.push(engine.begin(anonymous()).await);
    }
    let before = engine.free_memory();
    short_ones(&client, 8, true).await;
    sleep(Duration::from_secs(1)).await;
    assert!(before - engine.free_memory() < 512 << 10, "{} more", before - engine.free_memory());
    assert!(timeout(Duration::from_secs(20), &mut driver).await.is_err(), "so it may stay");
    drop((client, others));
}

#[tokio::test(start_paused = true)]
async fn the_first_many_uploads_may_be_all_and_leave_what_one_does() {
    let engine = engine(PaceConfig::default());
    let all = engine.free_memory();
    let (client, _driver) = handshake(serve(Arc::clone(&engine))).await;
    let mut answers = Vec::new();
    for _ in 0..16 {
        answers.push(send(&client, announced(200_000), Some(Bytes::from(vec![7; 200_000]))).await);
    }
    for answer in answers {
        assert_eq!(answer.await.unwrap().status(), 201);
    }
    sleep(Duration::from_secs(2)).await;
    let kept = all - engine.free_memory();
    assert!(kept < 256 << 10, "{kept}");
}

#[tokio::test(start_paused = true)]
async fn what_many_uploads_at_a_time_began_with_stays_while_memory_is_plenty() {
    let engine = engine(PaceConfig { memory: ByteSize::mib(64), ..PaceConfig::default() });
    let all = engine.free_memory();
    let (client, mut driver) = handshake(serve(Arc::clone(&engine))).await;
    short_ones(&client, 16, true).await;
    assert!(timeout(Duration::from_secs(20), &mut driver).await.is_err(), "there is plenty");
    let kept = all - engine.free_memory();
    assert!((1 << 20..2 << 20).contains(&kept), "{kept}");
    // Those that come one at a time need no more than one does: it is used up, and not kept again.
    short_ones(&client, 1, true).await;
    let less = all - engine.free_memory();
    assert!(less < 256 << 10, "{less} where it was {kept}");
    short_ones(&client, 16, true).await;
    let mut others = Vec::new();
    while engine.free_memory() > all / 10 * 7 {
        others.push(engine.begin(anonymous()).await);
    }
    let before = engine.free_memory();
    assert!(timeout(Duration::from_secs(20), driver).await.expect("an end").unwrap().is_ok());
    sleep(Duration::from_secs(1)).await;
    assert!(engine.free_memory() >= before + (512 << 10), "{before}, then {}", engine.free_memory());
    drop((client, others));
}

#[tokio::test(start_paused = true)]
async fn uploads_that_come_one_at_a_time_leave_what_one_does() {
    let engine = engine(PaceConfig::default());
    let all = engine.free_memory();
    let (client, _driver) = handshake(serve(Arc::clone(&engine))).await;
    let is_usual = || all - engine.free_memory() < 256 << 10;
    for _ in 0..3 {
        upload_of(&client, announced(LENGTH)).await;
        assert!(is_usual(), "after long ones");
    }
    // Nor do they when many came before, though the connection never rests.
    short_ones(&client, 16, true).await;
    assert!(!is_usual(), "they began with more");
    short_ones(&client, 1, true).await;
    assert!(is_usual(), "{} are claimed", all - engine.free_memory());
}

/// Announces an upload, is told that it may send, and sends nothing.
async fn break_off(client: &SendRequest<Bytes>) {
    let mut sending = client.clone().ready().await.unwrap();
    let (_answer, mut stream) = sending.send_request(announced(LENGTH), false).unwrap();
    sleep(Duration::from_secs(2)).await;
    stream.send_reset(h2::Reason::CANCEL);
}

#[tokio::test(start_paused = true)]
async fn what_a_client_may_still_send_stays_claimed_until_it_has() {
    let engine = engine(PaceConfig::default());
    let all = engine.free_memory();
    let (client, driver) = handshake(serve(Arc::clone(&engine))).await;
    break_off(&client).await;
    sleep(Duration::from_secs(2)).await;
    let left = all - engine.free_memory();
    assert!(((1 << 20)..(3 << 20)).contains(&left), "{left} of the first window");
    upload_of(&client, announced(LENGTH)).await;
    assert!(all - engine.free_memory() < 256 << 10, "it was used up");
    sleep(Duration::from_secs(20)).await;
    upload_of(&client, announced(LENGTH)).await;
    drop(client);
    driver.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_rests_after_an_upload_broke_off_is_ended() {
    let engine = engine(PaceConfig::default());
    let all = engine.free_memory();
    let (client, driver) = handshake(serve(Arc::clone(&engine))).await;
    break_off(&client).await;
    assert!(timeout(Duration::from_secs(30), driver).await.expect("an end").unwrap().is_ok());
    sleep(Duration::from_secs(1)).await;
    assert_eq!(engine.free_memory(), all);
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_breaks_off_after_many_ends_the_connection() {
    let (client, driver) = handshake(serve(engine(PaceConfig::default()))).await;
    short_ones(&client, 16, true).await;
    sleep(Duration::from_secs(20)).await;
    short_ones(&client, 1, true).await;
    sleep(Duration::from_secs(20)).await;
    assert!(!driver.is_finished(), "so far all has come");
    break_off(&client).await;
    assert!(timeout(Duration::from_secs(20), driver).await.expect("an end").unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_many_began_with_is_no_sign_of_one_that_broke_off_once_less_is_kept() {
    let (client, mut driver) = handshake(serve(engine(PaceConfig::default()))).await;
    short_ones(&client, 16, true).await;
    // One that waits for its body: the connection does not rest, and by the next one less is kept.
    let (answer, mut body) = client.clone().send_request(announced(1), false).unwrap();
    sleep(Duration::from_secs(10)).await;
    let next = send(&client, announced(64 << 10), Some(Bytes::from(vec![7; 64 << 10]))).await;
    assert_eq!(next.await.unwrap().status(), 201);
    body.send_data(Bytes::from_static(b"7"), true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 201);
    assert!(timeout(Duration::from_secs(20), &mut driver).await.is_err(), "all has come");
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_crosses_the_end_of_a_resting_connection_gets_through() {
    const REST: Duration = Duration::from_secs(5);
    let far = Duration::from_millis(800);
    let (client, driver) = handshake(serve_over(engine(PaceConfig::default()), far)).await;
    break_off(&client).await;
    // It is told when it has rested, and has not heard of it yet.
    sleep(far + REST + far / 4 * 3).await;
    let crossing = send(&client, announced(20_000), Some(Bytes::from(vec![7; 20_000]))).await;
    let answer = timeout(Duration::from_secs(30), crossing).await.expect("an answer");
    assert_eq!(answer.unwrap().status(), 201);
    assert!(timeout(Duration::from_secs(30), driver).await.expect("an end").unwrap().is_ok());
    drop(client);
}

/// What is kept for the next upload is memory that others may need.
#[tokio::test(start_paused = true)]
async fn a_connection_that_rests_with_a_window_is_ended_only_when_memory_is_short() {
    let engine = engine(PaceConfig { memory: ByteSize::mib(16), ..PaceConfig::default() });
    let all = engine.free_memory();
    let (client, mut driver) = handshake(serve(Arc::clone(&engine))).await;
    let upload = send(&client, announced(3_000_000), Some(Bytes::from(vec![7; 3_000_000]))).await;
    assert_eq!(upload.await.unwrap().status(), 201);
    assert!(timeout(Duration::from_secs(20), &mut driver).await.is_err(), "there is plenty");
    let kept = all - engine.free_memory();
    assert!((64 << 10..256 << 10).contains(&kept), "{kept}");
    let mut others = Vec::new();
    while engine.free_memory() > all / 10 {
        others.push(engine.begin(anonymous()).await);
    }
    let before = engine.free_memory();
    assert!(timeout(Duration::from_secs(20), driver).await.expect("an end").unwrap().is_ok());
    sleep(Duration::from_secs(1)).await;
    assert_eq!(engine.free_memory(), before + kept);
    drop((client, others));
}
