//! What tests of the request path share: a server over memory that fails on request, proofs, whole answers.
//!
//! Requests go in where the protocol adapters put them in, at [`Router`]; nothing here knows what they should give.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::{Reason, SendStream};
use hfs_core::auth::{Dialect, Keyring, Secret, SlotRequest, sign};
use hfs_core::{ByteSize, SlotPath, Timestamp};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, ORIGIN};
use http::{HeaderMap, Method, Request, Response, request};
use tokio::task::{JoinHandle, yield_now};
use tower_service::Service;

use super::exchange::{Incoming, Outgoing, Peer};
use super::router::{Router, Surface};
use crate::app::App;
use crate::config::{self, Config, Overrides};
use crate::meta::faulty::FaultyMeta;
use crate::meta::memory::MemoryMeta;
use crate::meta::{Entry, Integrity, MetaStore, Record};
use crate::net::h2::Body;
use crate::storage::faulty::{Faults, Faulty};
use crate::storage::memory::MemoryStore;
use crate::storage::{BlobStore, Hints, Published, Scratch};
use crate::telemetry::metrics::Metrics;

/// The origin that every request of [`get`] and [`put`] names.
pub(crate) const PAGE: &str = "https://chat.example.org";

/// A server over memory.
pub(crate) struct Rig {
    pub(crate) app: Arc<App>,
    pub(crate) store: MemoryStore,
    pub(crate) faults: Faults,
    pub(crate) meta: Arc<FaultyMeta<MemoryMeta>>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let meta = Arc::new(FaultyMeta::new(MemoryMeta::new()));
        Self::of(test_config(change), MemoryStore::new(), meta, Faults::none())
    }

    /// Another server over the same bytes and rows, whose store fails as `faults` says.
    pub(crate) fn sibling(&self, faults: Faults) -> Self {
        Self::of((*self.app.config()).clone(), self.store.clone(), Arc::clone(&self.meta), faults)
    }

    fn of(config: Config, store: MemoryStore, meta: Arc<FaultyMeta<MemoryMeta>>, faults: Faults) -> Self {
        let faulty = Arc::new(Faulty::new(store.clone(), faults.clone()));
        let rows = Arc::<FaultyMeta<MemoryMeta>>::clone(&meta);
        let app = Arc::new(App::of_parts(config, faulty, rows, Arc::new(Metrics::new())));
        Self { app, store, faults, meta }
    }

    /// The answer with its body unread. The call goes on for as long as the future is polled, as below an adapter.
    pub(crate) fn call(
        &self,
        mut request: Request<Incoming>,
    ) -> impl Future<Output = Response<Outgoing>> + Send + use<> + 'static {
        // As an adapter does: here, for a client on this machine.
        let socket = Some((std::net::Ipv4Addr::LOCALHOST, 50_000).into());
        request.extensions_mut().get_or_insert_with(|| Peer { socket, ..Peer::default() });
        let answer = Router::new(Arc::clone(&self.app), Surface::Public).call(request);
        async move { answer.await.unwrap_or_else(|never| match never {}) }
    }

    pub(crate) async fn send(&self, request: Request<Incoming>) -> Answer {
        Answer::of(self.call(request).await).await
    }

    /// [`Rig::send`] on a task of its own.
    pub(crate) fn start(&self, request: Request<Incoming>) -> JoinHandle<Answer> {
        let response = self.call(request);
        tokio::spawn(async move { Answer::of(response.await).await })
    }

    pub(crate) async fn entry(&self, slot: &str) -> Option<Entry> {
        self.meta.inner().lookup(&path(slot)).await.unwrap()
    }

    pub(crate) async fn record(&self, slot: &str) -> Record {
        match self.entry(slot).await {
            Some(Entry::Live(record)) => record,
            other => panic!("{slot} is {other:?}"),
        }
    }

    /// Stores a file without a request, its record changed by `change`.
    pub(crate) async fn fill(&self, slot: &str, bytes: &'static [u8], change: impl FnOnce(&mut Record)) {
        let slot = path(slot);
        let claim = self.store.claim(&slot, Duration::ZERO).await.unwrap();
        let mut writer = self.store.create(None, Hints::default()).await.unwrap();
        writer.write(Bytes::from_static(bytes)).await.unwrap();
        let (id, size) = (writer.id(), writer.written());
        let Published { place, .. } = writer.publish(&claim).await.unwrap();
        let mut record = Record {
            id,
            slot,
            place,
            size,
            media_type: "text/plain".to_owned(),
            owner: None,
            stored_at: Timestamp::from_unix(784_111_777),
            expires: None,
            integrity: Integrity::Written,
            proof: None,
        };
        change(&mut record);
        self.meta.inner().record(record).await.unwrap();
    }

    /// Nothing of `slot` can be seen, and no temporary is left.
    #[track_caller]
    pub(crate) fn sees_nothing_of(&self, slot: &str) -> impl Future<Output = ()> {
        let temporaries = self.store.temporaries();
        assert_eq!(temporaries, 0, "temporaries of {slot}");
        async move { assert_eq!(self.send(get(slot)).await.status, 404, "{slot} is visible") }
    }

    /// `name` as `/metrics` shows it; the sum over the labels that are not named.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.app.metrics().encode();
        let (family, labels) = name.trim_end_matches('}').split_once('{').unwrap_or((name, ""));
        let value = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            let (named, has) = series.split_once('{').unwrap_or((series, ""));
            (named == family && labels.split(',').all(|label| has.contains(label)))
                .then(|| value.parse::<f64>().unwrap())
        };
        let values: Vec<f64> = text.lines().filter_map(value).collect();
        assert!(!values.is_empty(), "no {name} in\n{text}");
        values.iter().sum()
    }
}

pub(crate) fn test_config(change: impl FnOnce(&mut Config)) -> Config {
    let text =
        "[security]\nsecret = \"a secret that is only for tests\"\ndelete_secret = \"another one for deletions\"\n";
    let no_files = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    let mut config = config::parse(text, None, [], &Overrides::default(), &no_files).unwrap().config;
    change(&mut config);
    config
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// Reads `response` to its end, which must be as far as it said.
    pub(crate) async fn of(response: Response<Outgoing>) -> Self {
        let (head, body) = response.into_parts();
        let announced = body.remaining();
        let body = match body {
            Outgoing::Full(bytes) => bytes,
            Outgoing::File(mut file) => {
                let (mut all, mut scratch) = (BytesMut::new(), Scratch::default());
                while file.remaining() > 0 {
                    file.refill(7, &mut scratch).await.unwrap();
                    file.note_unsent(0);
                    all.extend_from_slice(scratch.filled());
                }
                all.freeze()
            }
        };
        assert_eq!(body.len() as u64, announced);
        Self { status: head.status.as_u16(), headers: head.headers, body }
    }

    /// The value of a header that stands there at most once; empty when it does not.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        assert!(self.headers.get_all(name).iter().count() < 2, "{name} repeats: {:?}", self.headers);
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

pub(crate) fn path(slot: &str) -> SlotPath {
    SlotPath::parse(slot).unwrap()
}

/// A request without a body and without a proof.
pub(crate) fn ask(method: Method, target: &str) -> Request<Incoming> {
    Request::builder().method(method).uri(target).header(ORIGIN, PAGE).body(Incoming::empty()).unwrap()
}

pub(crate) fn get(slot: &str) -> Request<Incoming> {
    ask(Method::GET, &format!("/{slot}"))
}

/// A PUT of `bytes` with a good `v`.
pub(crate) fn put(slot: &str, bytes: &'static [u8]) -> Request<Incoming> {
    let size = bytes.len() as u64;
    let head = proven(Dialect::V1, &slot_of(&path(slot), size)).header(CONTENT_LENGTH, size);
    head.body(Incoming::Full(Some(Bytes::from_static(bytes)))).unwrap()
}

/// A slot as an XMPP server would give it to a user just now.
pub(crate) fn slot_of(slot: &SlotPath, size: u64) -> SlotRequest<'_> {
    let issued = crate::clock::now();
    SlotRequest {
        slot,
        size: ByteSize::bytes(size),
        media_type: None,
        owner: Some("juliet@example.org"),
        issued,
        valid_until: issued.plus_seconds(300),
        delete_at: None,
    }
}

/// The head of a PUT (of a DELETE for its dialect) with a good proof, and no length.
pub(crate) fn proven(dialect: Dialect, slot: &SlotRequest<'_>) -> request::Builder {
    let signed = sign(dialect, slot, &keys()).unwrap();
    let method = if dialect == Dialect::Delete { Method::DELETE } else { Method::PUT };
    let query = signed.query.map(|query| format!("?{query}")).unwrap_or_default();
    let head = Request::builder().method(method).uri(format!("/{}{query}", signed.path)).header(ORIGIN, PAGE);
    match signed.authorization {
        Some(token) => head.header(AUTHORIZATION, token),
        None => head,
    }
}

fn keys() -> Keyring {
    Keyring { jwt_secret: Some(Secret::new("unused")), ..test_config(|_| {}).keys }
}

/// The client's end of a body on its way.
pub(crate) struct Client(SendStream<Bytes>);

impl Client {
    pub(crate) fn send(&mut self, bytes: &'static [u8]) {
        self.0.send_data(Bytes::from_static(bytes), false).unwrap();
    }

    pub(crate) fn end(mut self) {
        self.0.send_data(Bytes::new(), true).unwrap();
    }

    pub(crate) fn leave(mut self) {
        self.0.send_reset(Reason::CANCEL);
    }
}

/// A body that is sent piece by piece: an HTTP/2 stream in memory.
pub(crate) async fn streamed() -> (Client, Incoming) {
    let (near, far) = tokio::io::duplex(1 << 20);
    let (client, server) = tokio::join!(h2::client::handshake(near), h2::server::handshake(far));
    let ((mut client, connection), mut server) = (client.unwrap(), server.unwrap());
    // Both end when the streams do.
    tokio::spawn(connection);
    let request = Request::put("http://localhost/").body(()).unwrap();
    let (response, sender) = client.send_request(request, false).unwrap();
    // A client that stops waiting for its answer resets the stream.
    tokio::spawn(response);
    let (request, _) = server.accept().await.unwrap().unwrap();
    tokio::spawn(async move { while server.accept().await.is_some() {} });
    (Client(sender), Incoming::H2(Body::of(request.into_body())))
}

/// Lets other tasks run until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..10_000 {
        if condition().await {
            return;
        }
        yield_now().await;
    }
    panic!("never: {what}");
}

/// What is logged on this thread from now on.
pub(crate) fn listen() -> Log {
    let lines = Arc::<Mutex<Vec<u8>>>::default();
    let writer = Writer(Arc::clone(&lines));
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    Log { lines, _guard: tracing::subscriber::set_default(subscriber) }
}

pub(crate) struct Log {
    lines: Arc<Mutex<Vec<u8>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Log {
    /// The lines with `text` in them.
    pub(crate) fn lines_with(&self, text: &str) -> Vec<String> {
        let all = String::from_utf8(self.lines.lock().unwrap().clone()).unwrap();
        all.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }
}

#[derive(Clone)]
struct Writer(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
