//! Receive windows of HTTP/2 on a long path, in simulated time.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use hfs_core::ByteSize;
use hfs_core::pace::Carrier;
use http::Request;
use http::header::CONTENT_LENGTH;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::http2::{handshake, put, send};
use super::{Echo, PaceConfig, State, engine, test_config};
use crate::flow::testing::anonymous;
use crate::flow::{Engine, Wire};
use crate::http::exchange::Peer;
use crate::http::testing::listen;
use crate::net::accept::Link;
use crate::net::{self, ConnectionEvents, Shutdown};

/// 100 Mbit/s, in bytes per second.
const RATE: f64 = 12.5e6;
/// Each way.
pub(super) const DELAY: Duration = Duration::from_millis(150);
pub(super) const LENGTH: u64 = 60_000_000;

/// How long an upload takes over a path of [`RATE`] and twice [`DELAY`].
async fn upload(config: PaceConfig) -> Duration {
    let (client, _driver) = handshake(serve(engine(config))).await;
    upload_by(&client).await
}

async fn upload_by(client: &SendRequest<Bytes>) -> Duration {
    upload_of(client, put("http://a.example/flow")).await
}

pub(super) async fn upload_of(client: &SendRequest<Bytes>, request: Request<()>) -> Duration {
    let start = Instant::now();
    let body = Bytes::from(vec![7; LENGTH as usize]);
    let response = send(client, request, Some(body)).await;
    assert_eq!(response.await.unwrap().status(), 201);
    start.elapsed()
}

/// Its length is known before it comes.
pub(super) fn announced(length: u64) -> Request<()> {
    Request::put("http://a.example/flow").header(CONTENT_LENGTH, length).body(()).unwrap()
}

/// The client's end of a long path to a server.
pub(super) fn serve(engine: Arc<Engine>) -> DuplexStream {
    serve_over(engine, DELAY)
}

/// The same, where each way takes `delay`.
pub(super) fn serve_over(engine: Arc<Engine>, delay: Duration) -> DuplexStream {
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
            others.push(engine.begin(anonymous()).await);
        }
        sleep(Duration::from_millis(100)).await;
    }
    assert!(!upload.is_finished());
    drop(others);
    let after = all - engine.free_memory();
    assert!(after < before / 4, "{after} after {before}");
    upload.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn uploads_of_one_connection_do_not_wait_for_memory_in_each_others_way() {
    let engine = engine(PaceConfig { memory: ByteSize::kib(64), ..PaceConfig::default() });
    let (client, _driver) = handshake(serve(Arc::clone(&engine))).await;
    let mut all = Vec::new();
    while engine.free_memory() > 0 {
        all.push(engine.begin(anonymous()).await);
    }
    assert!(timeout(Duration::from_secs(60), engine.begin(anonymous())).await.is_err(), "others wait");
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
