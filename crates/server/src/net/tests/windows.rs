//! Receive windows of HTTP/2 on a long path, in simulated time.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use hfs_core::ByteSize;
use hfs_core::pace::{Carrier, Direction};
use http::Request;
use http::header::CONTENT_LENGTH;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::http2::{handshake, put, send};
use super::{Echo, PaceConfig, State, engine, test_config};
use crate::flow::{Begin, Engine, Whose, Wire};
use crate::http::exchange::Peer;
use crate::http::testing::listen;
use crate::net::accept::Link;
use crate::net::{self, ConnectionEvents, Shutdown};
use crate::telemetry::RequestId;

/// 100 Mbit/s, in bytes per second.
const RATE: f64 = 12.5e6;
/// Each way.
const DELAY: Duration = Duration::from_millis(150);
const LENGTH: u64 = 60_000_000;

/// How long an upload takes over a path of [`RATE`] and twice [`DELAY`].
async fn upload(config: PaceConfig) -> Duration {
    let (client, _driver) = handshake(serve(engine(config))).await;
    upload_by(&client).await
}

async fn upload_by(client: &SendRequest<Bytes>) -> Duration {
    upload_of(client, put("http://a.example/flow")).await
}

async fn upload_of(client: &SendRequest<Bytes>, request: Request<()>) -> Duration {
    let start = Instant::now();
    let body = Bytes::from(vec![7; LENGTH as usize]);
    let response = send(client, request, Some(body)).await;
    assert_eq!(response.await.unwrap().status(), 201);
    start.elapsed()
}

/// Its length is known before it comes.
fn announced(length: u64) -> Request<()> {
    Request::put("http://a.example/flow").header(CONTENT_LENGTH, length).body(()).unwrap()
}

/// The client's end of a long path to a server.
fn serve(engine: Arc<Engine>) -> DuplexStream {
    serve_over(engine, DELAY)
}

/// The same, where each way takes `delay`.
fn serve_over(engine: Arc<Engine>, delay: Duration) -> DuplexStream {
    let state = State { engine, ..State::in_directory("".as_ref()) };
    let link = link(Arc::new(state), &Shutdown::new(), Arc::new(()));
    let (client, near) = duplex(64 << 10);
    let (far, server) = duplex(64 << 10);
    let ((near_out, near_in), (far_out, far_in)) = (split(near), split(far));
    carry(near_out, far_in, delay);
    carry(far_out, near_in, delay);
    tokio::spawn(net::h2::serve(server, None, link));
    client
}

/// A connection without a socket of its own.
pub(super) fn link(state: Arc<State>, shutdown: &Shutdown, events: Arc<dyn ConnectionEvents>) -> Box<Link<Echo>> {
    // Plans need a connection; what the kernel says of this one is nothing.
    let socket = OwnedFd::from(UnixStream::pair().unwrap().0);
    Box::new(Link {
        config: Arc::new(test_config()),
        service: Echo(state),
        peer: Peer { wire: Some(Wire::new(socket, Carrier::H2)), ..Peer::default() },
        phases: shutdown.watch(),
        events,
    })
}

/// Takes bytes at [`RATE`], and gives each after `delay`.
fn carry(
    mut from: impl AsyncRead + Send + Unpin + 'static,
    mut to: impl AsyncWrite + Send + Unpin + 'static,
    delay: Duration,
) {
    let (entry, mut exit) = mpsc::unbounded_channel::<(Instant, Bytes)>();
    tokio::spawn(async move {
        let mut free = Instant::now();
        loop {
            let mut piece = BytesMut::with_capacity(64 << 10);
            if from.read_buf(&mut piece).await.unwrap_or(0) == 0 {
                return;
            }
            free = free.max(Instant::now()) + Duration::from_secs_f64(piece.len() as f64 / RATE);
            if entry.send((free + delay, piece.freeze())).is_err() {
                return;
            }
            sleep_until(free).await;
        }
    });
    tokio::spawn(async move {
        while let Some((at, piece)) = exit.recv().await {
            sleep_until(at).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    });
}

#[tokio::test(start_paused = true)]
async fn an_upload_over_a_long_fast_path_is_not_held_by_its_window() {
    let at_best = Duration::from_secs_f64(LENGTH as f64 / RATE);
    let adaptive = upload(PaceConfig::default()).await;
    let standard = upload(PaceConfig { enabled: false, ..PaceConfig::default() }).await;
    // One window of 1 MiB per round trip of 300 ms.
    assert!(standard > 3 * at_best, "{standard:?}: the standard arm keeps the original's window");
    assert!(adaptive < at_best.mul_f64(1.6), "{adaptive:?} where {at_best:?} is possible");
}

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
        others.push(engine.begin(other()).await);
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
async fn many_uploads_at_a_time_begin_with_no_more_where_memory_is_scarce() {
    let engine = engine(PaceConfig { memory: ByteSize::mib(64), ..PaceConfig::default() });
    let all = engine.free_memory();
    let (client, mut driver) = handshake(serve(Arc::clone(&engine))).await;
    let mut others = Vec::new();
    while engine.free_memory() > all / 5 * 4 {
        others.push(engine.begin(other()).await);
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
async fn the_memory_of_a_window_is_given_back_as_the_last_of_an_upload_comes() {
    let engine = engine(PaceConfig::default());
    let all = engine.free_memory();
    let (client, _driver) = handshake(serve(Arc::clone(&engine))).await;
    let least = Arc::new(AtomicUsize::new(all));
    let watching = tokio::spawn({
        let (engine, least) = (Arc::clone(&engine), Arc::clone(&least));
        async move {
            loop {
                least.fetch_min(engine.free_memory(), Relaxed);
                sleep(Duration::from_millis(50)).await;
            }
        }
    });
    let first = upload_of(&client, announced(LENGTH)).await;
    assert!(least.load(Relaxed) < all - (4 << 20), "a larger window is claimed");
    let kept = all - engine.free_memory();
    assert!(kept < 256 << 10, "{kept} for the next one");
    let short = send(&client, announced(20_000), Some(Bytes::from(vec![7; 20_000]))).await;
    least.store(all, Relaxed);
    assert_eq!(short.await.unwrap().status(), 201);
    let short = all - least.load(Relaxed);
    assert!(short < 3 << 19, "{short}: a short one needs none but its step");
    sleep(Duration::from_secs(20)).await;
    let second = upload_of(&client, announced(LENGTH)).await;
    assert!(second < first.mul_f64(1.2), "{second:?} after {first:?}");
    watching.abort();
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

/// Its client does not hear of it.
#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_a_second_for_who_was_told_before_that_this_ends() {
    let shutdown = Shutdown::new();
    let link = link(Arc::new(State::in_directory("".as_ref())), &shutdown, Arc::new(()));
    let idle = link.config.idle_timeout;
    let (client, server) = duplex(64 << 10);
    let serving = tokio::spawn(net::h2::serve(server, None, link));
    let deaf = h2::client::handshake(client).await.unwrap();
    sleep(idle + Duration::from_millis(500)).await;
    assert!(!serving.is_finished(), "it waits for what crossed its farewell");
    shutdown.begin();
    timeout(Duration::from_secs(2), serving).await.expect("an end").unwrap();
    drop(deaf);
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
        others.push(engine.begin(other()).await);
    }
    let before = engine.free_memory();
    assert!(timeout(Duration::from_secs(20), driver).await.expect("an end").unwrap().is_ok());
    sleep(Duration::from_secs(1)).await;
    assert_eq!(engine.free_memory(), before + kept);
    drop((client, others));
}

/// Announces an upload, is told that it may send, and sends nothing.
async fn break_off(client: &SendRequest<Bytes>) {
    let mut sending = client.clone().ready().await.unwrap();
    let (_answer, mut stream) = sending.send_request(announced(LENGTH), false).unwrap();
    sleep(Duration::from_secs(2)).await;
    stream.send_reset(h2::Reason::CANCEL);
}

#[tokio::test(start_paused = true)]
async fn windows_give_way_when_memory_is_short() {
    let engine = engine(PaceConfig { memory: ByteSize::mib(16), ..PaceConfig::default() });
    let all = engine.free_memory();
    let (client, _driver) = handshake(serve(Arc::clone(&engine))).await;
    let upload = tokio::spawn(async move { upload_by(&client).await });
    sleep(Duration::from_secs(3)).await;
    let before = all - engine.free_memory();
    assert!(before > 1 << 20, "{before}");
    let mut others = Vec::new();
    for _ in 0..50 {
        while engine.free_memory() > all / 10 {
            others.push(engine.begin(other()).await);
        }
        sleep(Duration::from_millis(100)).await;
    }
    assert!(!upload.is_finished());
    drop(others);
    let after = all - engine.free_memory();
    assert!(after < before / 4, "{after} after {before}");
    upload.await.unwrap();
}

/// An upload on a connection of its own.
fn other() -> Begin {
    let whose = Whose::default();
    let request = RequestId::new();
    Begin { request, direction: Direction::Upload, size: None, wire: None, whose, forced: None, is_benchmark: false }
}

#[tokio::test(start_paused = true)]
async fn uploads_of_one_connection_do_not_wait_for_memory_in_each_others_way() {
    let engine = engine(PaceConfig { memory: ByteSize::kib(64), ..PaceConfig::default() });
    let (client, _driver) = handshake(serve(Arc::clone(&engine))).await;
    let mut all = Vec::new();
    while engine.free_memory() > 0 {
        all.push(engine.begin(other()).await);
    }
    assert!(timeout(Duration::from_secs(60), engine.begin(other())).await.is_err(), "others wait");
    let body = Bytes::from(vec![7; 300_000]);
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(send(&client, announced(300_000), Some(body.clone())).await);
    }
    for answer in answers {
        assert_eq!(timeout(Duration::from_secs(600), answer).await.unwrap().unwrap().status(), 201);
    }
    drop(all);
}

/// Whether the window may grow is asked of the flows, also when it has not.
#[tokio::test(start_paused = true)]
async fn a_connection_that_rests_forgets_that_its_window_might_grow() {
    let engine = engine(PaceConfig::default());
    let (client, _driver) = handshake(serve(Arc::clone(&engine))).await;
    let short = Bytes::from_static(b"short");
    assert_eq!(send(&client, announced(5), Some(short)).await.await.unwrap().status(), 201);
    sleep(Duration::from_secs(20)).await;
    engine.configure(PaceConfig { enabled: false, ..PaceConfig::default() });
    let took = upload_by(&client).await;
    assert!(took > Duration::from_secs_f64(3.0 * LENGTH as f64 / RATE), "{took:?}: the standard arm keeps its window");
}

#[tokio::test(start_paused = true)]
async fn a_window_without_memory_behind_it_stays_as_it_is() {
    let short = PaceConfig { memory: ByteSize::mib(1), ..PaceConfig::default() };
    let standard = PaceConfig { enabled: false, ..PaceConfig::default() };
    let (short, standard) = (upload(short).await, upload(standard).await);
    assert!(short > standard.mul_f64(0.95), "{short:?} against {standard:?}");
}

#[tokio::test(start_paused = true)]
async fn a_window_that_grows_and_shrinks_is_explained() {
    let log = listen();
    let mut config = PaceConfig::default();
    config.settings.explain = true;
    let (client, _driver) = handshake(serve(engine(config))).await;
    upload_by(&client).await;
    sleep(Duration::from_secs(20)).await;
    let lines = log.lines_with("lever=\"window\"");
    assert!(
        lines.len() >= 2 && lines[0].contains("from=\"1048576\"") && lines[0].contains("arrived within"),
        "{lines:?}"
    );
    assert!(lines.iter().any(|line| line.contains("to=\"1048576\"") && line.contains("rested")), "{lines:?}");
    let lines = log.lines_with("lever=\"connection window\"");
    assert!(lines[0].contains("from=\"65535\"") && lines[0].contains("are announced"), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("to=\"262144\"") && line.contains("0 bytes are left")), "{lines:?}");
}
