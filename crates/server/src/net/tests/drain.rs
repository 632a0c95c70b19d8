//! Ending without failing anybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::Request;
use tokio::io::duplex;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::client::{Stream, put_head};
use super::gate::Valve;
use super::http2::{Driver, body, send};
use super::peers::connect_tls;
use super::windows::link;
use super::{Client, Counter, State, TestServer, describe, gate, noise, test_config, test_tls};
use crate::net::{self, Inherited, Listeners, NetConfig, Server, Shutdown, serve};

#[tokio::test]
async fn a_running_upload_and_download_are_finished() {
    let server = TestServer::start().await;
    let content = noise(40_000_000);
    server.store(&content);
    let mut uploader = server.client().await;
    let mut downloader = server.client().await;
    uploader.send(put_head("/echo", 1000, "Expect: 100-continue\r\n")).await;
    assert_eq!(uploader.reply().await.status, 100);
    downloader.send("GET /file HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(downloader.head().await.unwrap().length(), Some(content.len()));

    server.shutdown.begin();
    uploader.send(&content[..1000]).await;
    let reply = uploader.reply().await;
    assert_eq!((reply.text(), reply.closes()), (describe(&content[..1000]).as_str(), true));
    assert!(downloader.rest().await == content);
    assert!(!server.running.is_finished() || server.seen.closed.value() == 2);
    server.running.await.unwrap();
    assert!(TcpStream::connect(&server.address.to_string()).await.is_err());
}

/// A reader over HTTP/2 that has stopped, and is to get what the server is through with.
struct Stopped {
    server: TestServer,
    content: Vec<u8>,
    valve: Valve,
    reading: JoinHandle<Result<Vec<u8>, h2::Error>>,
    driver: Driver,
}

impl Stopped {
    /// Of a file of `length` bytes, by a socket that holds `send_buffer`.
    async fn reader(length: usize, send_buffer: usize, is_tls: bool) -> Self {
        const READ: usize = 10_000;
        const WINDOW: u32 = 8 << 20;
        let keys = tempfile::tempdir().unwrap();
        let tls = is_tls.then(|| test_tls(keys.path(), ""));
        let server = TestServer::on(gate::listen(Some(send_buffer)), NetConfig { tls, ..test_config() });
        let content = noise(length);
        server.store(&content);
        let stream = gate::connect(server.tcp(), 16 << 10).await;
        let stream: Box<dyn Stream> =
            if is_tls { Box::new(connect_tls(stream, "", &["h2"], b"").await) } else { Box::new(stream) };
        let (stream, valve) = Valve::after(READ, stream);
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
        let (client, connection) = builder.handshake::<_, Bytes>(stream).await.unwrap();
        let driver = tokio::spawn(connection);
        let request = Request::get("http://a.example/file").body(()).unwrap();
        let reading = tokio::spawn(body(send(&client, request, None).await.await.unwrap()));
        assert!(server.ending(0).await.complete);
        while !valve.is_closed() {
            tokio::task::yield_now().await;
        }
        Self { server, content, valve, reading, driver }
    }

    /// That a shutdown waits until it goes on, and gives it everything.
    async fn outlasts_a_shutdown(self) {
        self.server.shutdown.begin();
        // A connection on which nothing happens is closed after a second.
        sleep(Duration::from_secs(2)).await;
        assert!(!self.reading.is_finished() && !self.server.running.is_finished());
        self.valve.open();
        assert!(self.reading.await.unwrap().unwrap() == self.content);
        self.driver.await.unwrap().unwrap();
        self.server.running.await.unwrap();
    }
}

/// The `h2` crate takes for sent what TLS still gathers, and the end of a drain must not.
#[tokio::test]
async fn a_slow_reader_of_http_2_over_tls_gets_the_last_byte() {
    // Less than TLS gathers, more than the kernel holds between these two sockets.
    Stopped::reader(60_000, 8 << 10, true).await.outlasts_a_shutdown().await;
}

/// A client goes on sending frames while it reads; one that met a closed socket would cost it what it has not got yet.
#[tokio::test]
async fn what_the_kernel_holds_of_an_http_2_answer_arrives_although_the_connection_is_to_end() {
    Stopped::reader(100_000, 256 << 10, false).await.outlasts_a_shutdown().await;
}

#[tokio::test]
async fn kept_connections_are_told_before_they_are_closed() {
    let server = TestServer::start().await;
    let (mut idle, mut busy) = (server.client().await, server.client().await);
    assert!(!idle.get("/a").await.closes());
    assert!(!busy.get("/a").await.closes());
    let begun = Instant::now();
    server.shutdown.begin();
    // A request that was on its way when it began.
    let reply = busy.get("/b").await;
    assert_eq!((reply.status, reply.closes()), (200, true));
    assert_eq!(idle.rest().await, b"");
    assert!(begun.elapsed() >= Duration::from_millis(900));
    server.running.await.unwrap();
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

#[tokio::test]
async fn what_outlasts_the_drain_is_cut() {
    let server = TestServer::with(|config| config.drain_timeout = Duration::from_millis(100)).await;
    let mut client = server.client().await;
    client.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
    server.service.0.entered.notified().await;
    server.shutdown.begin();
    server.running.await.unwrap();
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn a_second_signal_cuts_at_once() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
    server.service.0.entered.notified().await;
    server.shutdown.begin();
    server.shutdown.cut();
    server.running.await.unwrap();
    assert_eq!(client.rest().await, b"");
}

/// As a manager of sockets restarts a service: the listener stays, the process behind it changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_on_an_inherited_listener_fail_no_request() {
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    let template = TestServer::start().await;
    let start = || {
        let mut inherited = Inherited::none();
        inherited.add_tcp(held.try_clone().unwrap()).unwrap();
        let shutdown = Shutdown::new();
        let server = Server {
            config: Arc::new(ArcSwap::from_pointee(test_config())),
            tls: None,
            service: template.service.clone(),
            shutdown: shutdown.clone(),
            events: Arc::new(()),
        };
        (shutdown, tokio::spawn(serve(Listeners::bind(&[], inherited).unwrap(), server)))
    };
    let load = Arc::new(Load::default());
    let clients: Vec<_> = (0..4).map(|n| tokio::spawn(keep_asking(address, n % 2 == 0, Arc::clone(&load)))).collect();
    let (mut shutdown, mut running) = start();
    for restart in 1..=3 {
        load.answered.reaches(restart * 200).await;
        let (next, next_running) = start();
        shutdown.begin();
        running.await.unwrap();
        (shutdown, running) = (next, next_running);
    }
    load.over.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
}

#[derive(Default)]
struct Load {
    over: AtomicBool,
    answered: Counter,
}

/// Panics when a request fails.
async fn keep_asking(address: std::net::SocketAddr, keep: bool, load: Arc<Load>) {
    let body = noise(20_000);
    let mut client = Client::tcp(address).await;
    while !load.over.load(Ordering::SeqCst) {
        let reply = client.put("/echo", &body).await;
        assert_eq!(reply.text(), describe(&body));
        load.answered.add();
        if !keep || reply.closes() {
            client = Client::tcp(address).await;
        }
        let reply = client.get("/x").await;
        assert_eq!(reply.status, 200);
        load.answered.add();
        if !keep || reply.closes() {
            client = Client::tcp(address).await;
        }
    }
}
