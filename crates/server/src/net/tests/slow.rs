//! Readers that take little at a time, and for long: the limits of a stall are the same for every protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use hfs_core::progress::StallLimits;
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::gate::{Drip, Gate, Gated, Valve};
use super::http2::{body, put, send};
use super::peers::connect_tls;
use super::{Client, TestServer, gate, noise, test_config, test_tls};
use crate::flow::Ending;
use crate::net::NetConfig;

/// What TLS or HTTP/2 has not handed to a small socket's kernel is soon most of what is under way.
const SMALL: Option<usize> = Some(16 << 10);

/// One way to read a file.
#[derive(Clone, Copy, Debug)]
struct Way {
    is_tls: bool,
    is_h2: bool,
    /// How many times at once, over one connection.
    streams: usize,
    /// Of the server's socket; where it may grow, plain HTTP/1.1 is told of room in steps of a megabyte.
    send_buffer: Option<usize>,
    length: usize,
    /// Bytes per second of the connection.
    rate: usize,
}

impl Way {
    /// Reads the file, and hurries after a while; whether it arrived.
    async fn read(self, limits: StallLimits, slow: Duration) -> bool {
        let (server, content) = self.serve(limits);
        let hurries = Arc::new(AtomicBool::new(false));
        let hurry = async {
            sleep(slow).await;
            hurries.store(true, Ordering::Relaxed);
        };
        let drip = self.connect(&server, &hurries).await;
        let (read, ()) = tokio::join!(self.files(drip), hurry);
        for n in 0..self.streams {
            if !server.ending(n).await.complete {
                return false;
            }
        }
        read.iter().all(|read| read.as_ref() == Some(&content))
    }

    /// A server with a file, and that.
    fn serve(self, limits: StallLimits) -> (TestServer, Vec<u8>) {
        self.serve_patiently(limits, Duration::ZERO)
    }

    /// One whose plans grant a silence of at least `patience`.
    fn serve_patiently(self, limits: StallLimits, patience: Duration) -> (TestServer, Vec<u8>) {
        let keys = tempfile::tempdir().unwrap();
        let tls = self.is_tls.then(|| test_tls(keys.path(), ""));
        let config = NetConfig { stall: limits, idle_timeout: limits.idle, tls, ..test_config() };
        let server = TestServer::patient(gate::listen(self.send_buffer), config, patience);
        let content = noise(self.length);
        server.store(&content);
        (server, content)
    }

    async fn connect(self, server: &TestServer, hurries: &Arc<AtomicBool>) -> Gated<TcpStream, Drip> {
        // What its kernel takes ahead is not slow.
        Drip::of(gate::connect(server.tcp(), 4 << 10).await, self.rate, hurries)
    }

    async fn files(self, drip: Gated<TcpStream, impl Gate + Send + 'static>) -> Vec<Option<Vec<u8>>> {
        if !self.is_h2 {
            let client = match self.is_tls {
                true => Client::over(connect_tls(drip, "", &["http/1.1"], b"").await),
                false => Client::over(drip),
            };
            return vec![file(client).await];
        }
        let client = match self.is_tls {
            true => handshake(connect_tls(drip, "", &["h2"], b"").await, 16 << 20).await,
            false => handshake(drip, 16 << 20).await,
        };
        let mut all = JoinSet::new();
        for _ in 0..self.streams {
            all.spawn(file_of(client.clone()));
        }
        all.join_all().await
    }
}

async fn file(mut client: Client) -> Option<Vec<u8>> {
    client.send("GET /file HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    client.head().await?;
    Some(client.rest().await)
}

async fn file_of(client: SendRequest<Bytes>) -> Option<Vec<u8>> {
    let request = Request::get("http://a.example/file").body(()).unwrap();
    body(send(&client, request, None).await.await.ok()?).await.ok()
}

/// HTTP/2 with windows of this size, and a large one for all of them.
async fn handshake(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, window: u32) -> SendRequest<Bytes> {
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(window).initial_connection_window_size(16 << 20);
    let (client, connection) = builder.handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client
}

/// All ways at once; those in which something did not arrive.
async fn cut(limits: StallLimits, slow: Duration) -> Vec<Way> {
    let mut all = JoinSet::new();
    for (is_tls, is_h2, streams, send_buffer, length) in [
        (false, false, 1, None, 8 << 20),
        (true, false, 1, SMALL, 1 << 20),
        // All of it is handed on long before it is taken.
        (true, false, 1, SMALL, 100_000),
        (false, true, 1, SMALL, 1 << 20),
        (false, true, 1, SMALL, 80_000),
        (true, true, 1, SMALL, 1 << 20),
        (true, true, 1, SMALL, 200_000),
        // A frame of each takes 13 s.
        (false, true, 16, SMALL, 100_000),
        (true, true, 16, SMALL, 100_000),
    ] {
        let rate = if streams > 1 { 20_000 } else { 10_000 };
        let way = Way { is_tls, is_h2, streams, send_buffer, length, rate };
        all.spawn(async move { (way, way.read(limits, slow).await) });
    }
    all.join_all().await.into_iter().filter_map(|(way, arrived)| (!arrived).then_some(way)).collect()
}

#[tokio::test]
async fn who_takes_little_but_goes_on_gets_everything() {
    let limits = StallLimits { idle: Duration::from_secs(4), min_rate: 1000, window: Duration::from_secs(8) };
    let cut = cut(limits, Duration::from_secs(12)).await;
    assert!(cut.is_empty(), "cut: {cut:#?}");
}

/// Takes 64 KiB, then nothing until it is cut or three of its limits of silence are over, then the rest; whether all came.
async fn outlasts_its_limit(way: Way, patience: Duration) -> bool {
    let idle = Duration::from_secs(1);
    let (server, content) = way.serve_patiently(StallLimits { idle, min_rate: 1, window: 60 * idle }, patience);
    let (stream, valve) = Valve::after(64 << 10, gate::connect(server.tcp(), 4 << 10).await);
    let reading = tokio::spawn(way.files(stream));
    // Who is to be cut may have to wait for a busy machine.
    let longest = if patience.is_zero() { 60 * idle } else { 3 * idle };
    let was_cut = timeout(longest, server.seen.stalled.reaches(1)).await.is_ok();
    valve.open();
    let read = reading.await.unwrap();
    assert_eq!(read == [Some(content)], !was_cut, "{way:?}");
    !was_cut
}

#[tokio::test]
async fn a_silent_reader_is_granted_what_its_plan_says() {
    let mut all = JoinSet::new();
    for (is_tls, is_h2) in [(false, false), (true, false), (false, true), (true, true)] {
        for patience in [0, 20] {
            let way = Way { is_tls, is_h2, streams: 1, send_buffer: SMALL, length: 1 << 20, rate: 0 };
            let outlasts = outlasts_its_limit(way, Duration::from_secs(patience));
            all.spawn(async move { assert_eq!(outlasts.await, patience > 0, "{way:?}, {patience} s") });
        }
    }
    all.join_all().await;
}

/// At 20 KB/s one window of a file takes a minute, in which the kernel may give up what it had in memory.
#[tokio::test]
async fn a_slow_reader_is_not_sent_what_was_in_memory_long_ago() {
    let server = begin(false, false).await;
    let looks = server.service.0.looks.load(Ordering::SeqCst);
    assert!((2..12).contains(&looks), "{looks}");
}

/// What others take keeps an answer no longer than until its turn would have come.
#[tokio::test]
async fn who_leaves_a_stream_alone_loses_it_although_another_goes_on() {
    const WINDOW: u32 = 100_000;
    let way = Way { is_tls: false, is_h2: true, streams: 2, send_buffer: SMALL, length: 8 << 20, rate: 160_000 };
    let idle = Duration::from_secs(3);
    let (server, _content) = way.serve(StallLimits { idle, min_rate: 1000, window: 60 * idle });
    let client = handshake(way.connect(&server, &Arc::default()).await, WINDOW).await;
    let request = Request::get("http://a.example/file").body(()).unwrap();
    let left_alone = send(&client, request, None).await.await.unwrap();
    let reading = tokio::spawn(file_of(client));
    server.seen.stalled.reaches(1).await;
    assert!(!reading.is_finished());
    assert_eq!(server.ending(0).await, Ending { bytes: WINDOW.into(), complete: false });
    drop(left_alone);
}

/// A large file by these ways at 20 KB/s, which takes minutes, for some seconds.
async fn begin(is_tls: bool, is_h2: bool) -> TestServer {
    let way = Way { is_tls, is_h2, streams: 1, send_buffer: SMALL, length: 1 << 20, rate: 20_000 };
    let (server, _content) = way.serve(StallLimits::default());
    let drip = way.connect(&server, &Arc::default()).await;
    assert!(timeout(Duration::from_secs(8), way.files(drip)).await.is_err(), "it takes minutes");
    assert!(!server.ending(0).await.complete);
    server
}

/// A write of TLS takes three seconds at 20 KB/s, a piece of HTTP/2 two, in which losses could have been seen.
#[tokio::test]
async fn the_path_is_looked_at_while_a_slow_reader_takes_its_time() {
    let (h1, h2, h2_tls) = tokio::join!(begin(true, false), begin(false, true), begin(true, true));
    let samples = [h1, h2, h2_tls].map(|server| server.last().0.samples);
    // Four a second at first, without writes in steps; one for each piece would be five.
    assert!(samples[0] >= 3 && samples[1] >= 12 && samples[2] >= 12, "{samples:?}");
}

/// The `h2` crate has given all of it away by then, and its flow is over.
#[tokio::test]
async fn what_tls_has_of_an_answer_keeps_its_memory_until_it_has_left() {
    let length = 47_000;
    let way = Way { is_tls: true, is_h2: true, streams: 1, send_buffer: Some(4 << 10), length, rate: 0 };
    let (server, content) = way.serve(StallLimits::default());
    let free = || server.service.0.engine.free_memory();
    let all = free();
    let (stream, valve) = Valve::after(8 << 10, gate::connect(server.tcp(), 2 << 10).await);
    let client = handshake(connect_tls(stream, "", &["h2"], b"").await, 16 << 20).await;
    let reading = tokio::spawn(file_of(client));
    assert_eq!(server.ending(0).await, Ending { bytes: length as u64, complete: true });
    while !valve.is_closed() {
        tokio::task::yield_now().await;
    }
    assert!(free() < all && !reading.is_finished(), "some of it is in TLS");
    valve.open();
    assert!(reading.await.unwrap() == Some(content));
    let given_back = async {
        while free() < all {
            tokio::task::yield_now().await;
        }
    };
    assert!(timeout(Duration::from_secs(20), given_back).await.is_ok(), "{} of {all} are free", free());
}

/// What is queued for a reader is memory.
#[tokio::test]
async fn writes_of_http_2_are_large_for_a_fast_reader_and_small_for_a_slow_one() {
    let limits = StallLimits::default();
    let fast = Way { is_tls: false, is_h2: true, streams: 1, send_buffer: None, length: 16 << 20, rate: 1 };
    for is_tls in [false, true] {
        let slow = begin(is_tls, true).await;
        assert_eq!(slow.last().1.write, 64 << 10);
        let fast = Way { is_tls, ..fast };
        let (server, content) = fast.serve(limits);
        let drip = fast.connect(&server, &Arc::new(AtomicBool::new(true))).await;
        assert!(fast.files(drip).await == [Some(content)]);
        assert!(server.ending(0).await.complete);
        assert!(server.last().1.write >= 256 << 10, "{:?}", server.last().1);
    }
}

#[tokio::test]
async fn over_http_2_the_path_of_an_upload_is_looked_at_while_it_goes_on() {
    for is_tls in [false, true] {
        let way = Way { is_tls, is_h2: true, streams: 1, send_buffer: None, length: 0, rate: 1 };
        let (server, _nothing) = way.serve(StallLimits::default());
        let stream = TcpStream::connect(server.tcp()).await.unwrap();
        let client = match is_tls {
            true => handshake(connect_tls(stream, "", &["h2"], b"").await, 16 << 20).await,
            false => handshake(stream, 16 << 20).await,
        };
        let mut client = client.ready().await.unwrap();
        let (_answer, mut body) = client.send_request(put("http://a.example/flow"), false).unwrap();
        let samples = || server.service.0.last.lock().unwrap().map_or(0, |(seen, _)| seen.samples);
        let trickle = async {
            while samples() < 3 {
                body.send_data(Bytes::from_static(&[7; 100]), false).unwrap();
                sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(timeout(Duration::from_secs(20), trickle).await.is_ok(), "nobody looks, TLS: {is_tls}");
    }
}
