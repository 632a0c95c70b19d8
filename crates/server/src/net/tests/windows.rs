//! Receive windows of HTTP/2 on a long path, in simulated time.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use hfs_core::ByteSize;
use hfs_core::pace::Carrier;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::http2::{handshake, put, send};
use super::{Echo, PaceConfig, State, engine, test_config};
use crate::flow::{Engine, Wire};
use crate::http::exchange::Peer;
use crate::http::testing::listen;
use crate::net::accept::Link;
use crate::net::{self, ConnectionEvents, Shutdown};

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
    let start = Instant::now();
    let body = Bytes::from(vec![7; LENGTH as usize]);
    let response = send(client, put("http://a.example/flow"), Some(body)).await;
    assert_eq!(response.await.unwrap().status(), 201);
    start.elapsed()
}

/// The client's end of a long path to a server.
fn serve(engine: Arc<Engine>) -> DuplexStream {
    let state = State { engine, ..State::in_directory("".as_ref()) };
    let link = link(Arc::new(state), &Shutdown::new(), Arc::new(()));
    let (client, near) = duplex(64 << 10);
    let (far, server) = duplex(64 << 10);
    let ((near_out, near_in), (far_out, far_in)) = (split(near), split(far));
    carry(near_out, far_in);
    carry(far_out, near_in);
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

/// Takes bytes at [`RATE`], and gives each after [`DELAY`].
fn carry(mut from: impl AsyncRead + Send + Unpin + 'static, mut to: impl AsyncWrite + Send + Unpin + 'static) {
    let (entry, mut exit) = mpsc::unbounded_channel::<(Instant, Bytes)>();
    tokio::spawn(async move {
        let mut free = Instant::now();
        loop {
            let mut piece = BytesMut::with_capacity(64 << 10);
            if from.read_buf(&mut piece).await.unwrap_or(0) == 0 {
                return;
            }
            free = free.max(Instant::now()) + Duration::from_secs_f64(piece.len() as f64 / RATE);
            if entry.send((free + DELAY, piece.freeze())).is_err() {
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
async fn a_connection_that_rests_gives_its_window_back_and_grows_again() {
    let engine = engine(PaceConfig::default());
    let all = engine.free_memory();
    let (client, _driver) = handshake(serve(Arc::clone(&engine))).await;
    let first = upload_by(&client).await;
    assert!(engine.free_memory() < all, "a larger window is claimed");
    sleep(Duration::from_secs(20)).await;
    assert_eq!(engine.free_memory(), all);
    let second = upload_by(&client).await;
    assert!(engine.free_memory() < all, "it has grown again");
    assert!(second < first.mul_f64(1.2), "{second:?} after {first:?}");
}

/// Whether the window may grow is asked of the flows, also when it has not.
#[tokio::test(start_paused = true)]
async fn a_connection_that_rests_forgets_that_its_window_might_grow() {
    let engine = engine(PaceConfig::default());
    let (client, _driver) = handshake(serve(Arc::clone(&engine))).await;
    let short = Bytes::from_static(b"short");
    assert_eq!(send(&client, put("http://a.example/flow"), Some(short)).await.await.unwrap().status(), 201);
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
}
