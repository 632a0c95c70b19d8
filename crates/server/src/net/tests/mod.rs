//! The connection layer over real sockets on loopback, with a small service behind it.

mod breaks;
mod client;
mod drain;
mod exchange;
mod files;
mod gate;
mod http2;
mod malformed;
mod peers;
mod promises;
mod shut;
mod slow;
mod uploads;
mod windows;

use std::convert::Infallible;
use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use bytes::Bytes;
use futures_core::future::BoxFuture;
use hfs_core::ByteSize;
use hfs_core::progress::StallLimits;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use self::client::Client;
use super::{
    ConnectionEvents, Inherited, ListenAddress, Listeners, NetConfig, Server, Shutdown, TlsAcceptor, TlsConfig, serve,
};
use crate::flow::testing::anonymous;
use crate::flow::{Begin, Ending, Engine, FileBody, Flow, PaceConfig};
use crate::http::exchange::{Incoming, Outgoing, Peer};
use crate::storage::{Blob, Scratch, StoreError};
use crate::telemetry::metrics::Metrics;
use hfs_core::pace::{Direction, Plan, Settings, Snapshot};

/// A server of this layer, and what its service saw.
struct TestServer {
    address: ListenAddress,
    shutdown: Shutdown,
    service: Echo,
    seen: Arc<Seen>,
    running: JoinHandle<()>,
    directory: tempfile::TempDir,
}

impl TestServer {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut NetConfig)) -> Self {
        let mut config = test_config();
        change(&mut config);
        let listeners = Listeners::bind(&config.listen, Inherited::none()).unwrap();
        Self::on(listeners, config)
    }

    fn on(listeners: Listeners, config: NetConfig) -> Self {
        Self::patient(listeners, config, Duration::ZERO)
    }

    /// Whose plans grant a silence of this length at least.
    fn patient(listeners: Listeners, config: NetConfig, shortest_stall: Duration) -> Self {
        let settings = Settings { stall: config.stall, shortest_stall, ..Settings::default() };
        Self::paced(listeners, config, settings)
    }

    /// Whose plans are made by these settings.
    fn paced(listeners: Listeners, config: NetConfig, settings: Settings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tls = config.tls.as_ref().map(|tls| Arc::new(TlsAcceptor::load(tls).unwrap()));
        let address = listeners.addresses().remove(0);
        let shutdown = Shutdown::new();
        let seen = Arc::new(Seen::default());
        let engine = engine(PaceConfig { settings, ..PaceConfig::default() });
        let service = Echo(Arc::new(State { engine, ..State::in_directory(directory.path()) }));
        let server = Server {
            config: Arc::new(ArcSwap::from_pointee(config)),
            tls,
            service: service.clone(),
            shutdown: shutdown.clone(),
            events: Arc::<Seen>::clone(&seen),
        };
        let running = tokio::spawn(serve(listeners, server));
        Self { address, shutdown, service, seen, running, directory }
    }

    fn tcp(&self) -> SocketAddr {
        match &self.address {
            ListenAddress::Tcp(address) => *address,
            ListenAddress::Unix(path) => panic!("{} is no TCP address", path.display()),
        }
    }

    async fn client(&self) -> Client {
        Client::tcp(self.tcp()).await
    }

    /// Makes `/file` answer `content`.
    fn store(&self, content: &[u8]) {
        File::create(self.file()).unwrap().write_all(content).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("blob")
    }

    /// What the last file that ended showed, and its last plan.
    fn last(&self) -> (Snapshot, Plan) {
        self.service.0.last.lock().unwrap().unwrap()
    }

    /// How the `n`th file ended, once it has.
    async fn ending(&self, n: usize) -> Ending {
        loop {
            let change = self.service.0.ended.notified();
            if let Some(ending) = self.service.0.endings.lock().unwrap().get(n) {
                return *ending;
            }
            change.await;
        }
    }
}

#[derive(Default)]
struct Seen {
    opened: Counter,
    closed: Counter,
    rejected: Counter,
    refused: Counter,
    stalled: Counter,
}

impl ConnectionEvents for Seen {
    fn opened(&self) {
        self.opened.add();
    }
    fn closed(&self) {
        self.closed.add();
    }
    fn rejected(&self) {
        self.rejected.add();
    }
    fn refused(&self, _: StatusCode) {
        self.refused.add();
    }
    fn stalled(&self) {
        self.stalled.add();
    }
}

/// A number that can be waited for.
#[derive(Default)]
struct Counter {
    value: AtomicUsize,
    change: Notify,
}

impl Counter {
    fn add(&self) {
        self.value.fetch_add(1, Ordering::SeqCst);
        self.change.notify_waiters();
    }

    fn value(&self) -> usize {
        self.value.load(Ordering::SeqCst)
    }

    async fn reaches(&self, value: usize) {
        loop {
            let change = self.change.notified();
            if self.value() >= value {
                return;
            }
            change.await;
        }
    }
}

/// The service of these tests.
#[derive(Clone)]
struct Echo(Arc<State>);

struct State {
    file: PathBuf,
    engine: Arc<Engine>,
    endings: Mutex<Vec<Ending>>,
    ended: Notify,
    /// What the last file, or the upload that runs, showed, and its last plan.
    last: Mutex<Option<(Snapshot, Plan)>>,
    /// How often a file was looked for in the page cache.
    looks: Arc<AtomicUsize>,
    /// Handlers of `/wait` that were entered, and what lets them go on.
    entered: Notify,
    waiting: Counter,
    release: Notify,
}

impl State {
    fn in_directory(directory: &Path) -> Self {
        let file = directory.join("blob");
        Self {
            file,
            engine: engine(PaceConfig::default()),
            endings: Mutex::default(),
            ended: Notify::new(),
            last: Mutex::default(),
            looks: Arc::default(),
            entered: Notify::new(),
            waiting: Counter::default(),
            release: Notify::new(),
        }
    }

    async fn flow(&self, direction: Direction, size: Option<u64>, request: &Request<Incoming>) -> Flow {
        let wire = request.extensions().get::<Peer>().and_then(|peer| peer.wire.clone());
        self.engine.begin(Begin { direction, size, wire, ..anonymous() }).await
    }

    async fn answer(self: &Arc<Self>, mut request: Request<Incoming>) -> Response<Outgoing> {
        let method = request.method().clone();
        match (method, request.uri().path()) {
            (Method::PUT, "/echo") => match read_all(request.body_mut()).await {
                Some(body) => text(StatusCode::CREATED, describe(&body)),
                None => text(StatusCode::BAD_REQUEST, "broken body".to_owned()),
            },
            (Method::PUT, "/late") => {
                let release = self.release.notified();
                self.entered.notify_one();
                release.await;
                let body = read_all(request.body_mut()).await.unwrap_or_default();
                text(StatusCode::CREATED, body.len().to_string())
            }
            (Method::PUT, "/flow") => {
                let mut flow = self.flow(Direction::Upload, None, &request).await;
                while let Ok(Some(piece)) = request.body_mut().next().await {
                    flow.begin_piece();
                    flow.moved(piece.len() as u64, true);
                    *self.last.lock().unwrap() = Some((flow.snapshot(), *flow.plan()));
                }
                text(StatusCode::CREATED, String::new())
            }
            (Method::PUT, "/first") => {
                let _ = request.body_mut().next().await;
                text(StatusCode::CONFLICT, "one piece was enough".to_owned())
            }
            (Method::PUT, "/direct") => {
                let _ = request.body_mut().next().await;
                request.body_mut().begin_direct();
                text(StatusCode::INSUFFICIENT_STORAGE, "what was read directly could not be kept".to_owned())
            }
            (Method::GET, "/file") => {
                let state = Arc::clone(self);
                let blob = FileBlob(File::open(&self.file).unwrap(), Arc::clone(&self.looks));
                let size = blob.size().as_u64();
                let note = move |ending, flow: &Flow| {
                    *state.last.lock().unwrap() = Some((flow.snapshot(), *flow.plan()));
                    state.endings.lock().unwrap().push(ending);
                    state.ended.notify_waiters();
                };
                let flow = self.flow(Direction::Download, Some(size), &request).await;
                Response::new(Outgoing::File(Box::new(FileBody::new(Arc::new(blob), 0..size, flow, note))))
            }
            (Method::HEAD, "/sized") => {
                let mut response = Response::new(Outgoing::empty());
                response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("123456789"));
                response
            }
            (Method::GET, "/large") => Response::new(Outgoing::Full(Bytes::from(vec![b'x'; 1 << 20]))),
            (Method::GET, "/none") => text(StatusCode::NO_CONTENT, String::new()),
            (Method::GET, "/peer") => {
                let peer = request.extensions().get::<Peer>().unwrap();
                let host = request.headers().get("host").map_or("", |host| host.to_str().unwrap());
                let socket = peer.socket.map_or("unix".to_owned(), |socket| socket.ip().to_string());
                let announced = peer.announced.map_or("-".to_owned(), |announced| announced.to_string());
                text(StatusCode::OK, format!("{socket} {announced} {} {host}", peer.tls))
            }
            (Method::GET, "/wait") => {
                let release = self.release.notified();
                self.waiting.add();
                self.entered.notify_one();
                release.await;
                text(StatusCode::OK, "waited".to_owned())
            }
            (Method::PUT, _) => text(StatusCode::FORBIDDEN, "no".to_owned()),
            _ => text(StatusCode::OK, request.uri().to_string()),
        }
    }
}

impl tower_service::Service<Request<Incoming>> for Echo {
    type Response = Response<Outgoing>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let state = Arc::clone(&self.0);
        Box::pin(async move { Ok(state.answer(request).await) })
    }
}

fn engine(config: PaceConfig) -> Arc<Engine> {
    Arc::new(Engine::new(config, Arc::new(Metrics::new())))
}

async fn read_all(body: &mut Incoming) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(piece) = body.next().await.ok()? {
        all.extend_from_slice(&piece);
    }
    Some(all)
}

fn text(status: StatusCode, text: String) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::Full(text.into()));
    *response.status_mut() = status;
    response
}

/// Length and digest, as `/echo` answers.
fn describe(body: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, body);
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{} {hex}", body.len())
}

/// Bytes that repeat nowhere near.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(step).take(length).collect()
}

pub(super) fn test_config() -> NetConfig {
    NetConfig {
        listen: vec![ListenAddress::Tcp("127.0.0.1:0".parse().unwrap())],
        tls: None,
        trusted_proxies: Vec::new(),
        trust_unix: false,
        proxy_protocol: false,
        max_header: ByteSize::kib(16),
        header_timeout: Duration::from_secs(15),
        idle_timeout: Duration::from_secs(60),
        stall: StallLimits::default(),
        drain_timeout: Duration::from_secs(30),
        max_connections: 1000,
        max_per_address: 1000,
    }
}

fn test_tls(directory: &Path, name: &str) -> TlsConfig {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/tls");
    let config =
        TlsConfig { cert: data.join(format!("{name}cert.pem")), key: directory.join(format!("{name}key.pem")) };
    let mut key = String::new();
    File::open(data.join(format!("{name}key.pem"))).unwrap().read_to_string(&mut key).unwrap();
    std::fs::write(&config.key, key).unwrap();
    set_mode(&config.key, 0o600);
    config
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

#[derive(Debug)]
struct FileBlob(File, Arc<AtomicUsize>);

impl Blob for FileBlob {
    fn size(&self) -> ByteSize {
        ByteSize::bytes(self.0.metadata().unwrap().len())
    }

    fn refill<'a>(
        &'a self,
        offset: u64,
        length: usize,
        scratch: &'a mut Scratch,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        scratch.refill(length, |room| self.0.read_at(room, offset)).unwrap();
        Box::pin(std::future::ready(Ok(())))
    }

    fn file(&self) -> Option<&File> {
        Some(&self.0)
    }

    fn is_at_hand(&self, offset: u64, length: u64) -> bool {
        self.1.fetch_add(1, Ordering::SeqCst);
        let ends = [offset, offset + length.saturating_sub(1)];
        ends.iter().all(|&at| hfs_sock::read_cached(&self.0, &mut [0], at).is_ok())
    }

    fn is_untouched(&self) -> bool {
        false
    }
}
