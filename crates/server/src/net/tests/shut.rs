//! HTTP/2 clients that shut a window while the server has the rest of an answer queued, in simulated time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{Request, Response};
use tokio::io::duplex;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::gate::Valve;
use super::http2::{body, send};
use super::windows::link;
use super::{PaceConfig, Seen, State, engine, noise};
use crate::flow::Ending;
use crate::net::{self, Shutdown};

const SECOND: Duration = Duration::from_secs(1);
/// From well before a minute of silence is over until a cut may come.
const LATE: Duration = Duration::from_secs(30);
const OPEN: u32 = 1 << 20;

/// A client that has shut its window, and its server.
struct Shut {
    state: Arc<State>,
    seen: Arc<Seen>,
    shutdown: Shutdown,
    serving: JoinHandle<()>,
    client: SendRequest<Bytes>,
    /// Takes new windows.
    windows: UnboundedSender<u32>,
    driver: JoinHandle<()>,
    /// Memory of flows when none ran.
    free: usize,
    content: Vec<u8>,
    _directory: tempfile::TempDir,
}

impl Shut {
    /// With the head of an answer that is queued, and some of it.
    async fn client(path: &str) -> (Self, Response<RecvStream>) {
        let directory = tempfile::tempdir().unwrap();
        let state = Arc::new(State { engine: engine(PaceConfig::default()), ..State::in_directory(directory.path()) });
        // As much as may be queued.
        let content = noise(60_000);
        std::fs::write(&state.file, &content).unwrap();
        let (seen, shutdown, free) = (Arc::<Seen>::default(), Shutdown::new(), state.engine.free_memory());
        let (near, far) = duplex(4 << 10);
        let link = link(Arc::clone(&state), &shutdown, Arc::<Seen>::clone(&seen));
        let serving = tokio::spawn(net::h2::serve(far, None, link));
        let (near, valve) = Valve::after(8 << 10, near);
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(OPEN).initial_connection_window_size(2 * OPEN);
        let (client, mut connection) = builder.handshake::<_, Bytes>(near).await.unwrap();
        let (windows, mut wanted) = mpsc::unbounded_channel();
        let driver = tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = &mut connection => return,
                    Some(window) = wanted.recv() => connection.set_initial_window_size(window).unwrap(),
                }
            }
        });
        let shut =
            Self { state, seen, shutdown, serving, client, windows, driver, free, content, _directory: directory };
        let response = shut.get(path).await;
        while !valve.is_closed() {
            tokio::task::yield_now().await;
        }
        shut.windows.send(0).unwrap();
        sleep(SECOND).await;
        valve.open();
        sleep(SECOND).await;
        (shut, response)
    }

    async fn get(&self, path: &str) -> Response<RecvStream> {
        let request = Request::get(format!("http://a.example{path}")).body(()).unwrap();
        send(&self.client, request, None).await.await.unwrap()
    }

    fn ending(&self) -> Option<Ending> {
        self.state.endings.lock().unwrap().first().copied()
    }

    /// That the file has not left whole, and that the server says so and holds nothing of it.
    fn assert_cut(&self) {
        let ending = self.ending().unwrap();
        assert!(!ending.complete && ending.bytes > 0 && ending.bytes < self.content.len() as u64, "{ending:?}");
        assert_eq!(self.state.engine.free_memory(), self.free);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_of_a_file_is_its_flow_s_until_it_is_cut() {
    let (shut, response) = Shut::client("/file").await;
    sleep(50 * SECOND).await;
    assert_eq!(shut.ending(), None);
    assert!(shut.state.engine.free_memory() < shut.free);
    // The connection lives.
    assert_eq!(shut.get("/none").await.status(), 204);
    sleep(LATE).await;
    shut.assert_cut();
    assert_eq!(shut.seen.stalled.value(), 1);
    assert_eq!(body(response).await.unwrap_err().reason(), Some(Reason::CANCEL));
    assert_eq!(shut.get("/none").await.status(), 204);
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_of_a_long_answer_from_memory_is_cut_too() {
    let (shut, response) = Shut::client("/large").await;
    sleep(50 * SECOND).await;
    assert_eq!(shut.seen.stalled.value(), 0);
    sleep(LATE).await;
    assert_eq!(shut.seen.stalled.value(), 1);
    assert_eq!(body(response).await.unwrap_err().reason(), Some(Reason::CANCEL));
}

#[tokio::test(start_paused = true)]
async fn a_window_that_opens_again_in_time_gets_the_rest() {
    let (shut, response) = Shut::client("/file").await;
    sleep(50 * SECOND).await;
    shut.windows.send(OPEN).unwrap();
    assert!(body(response).await.unwrap() == shut.content);
    sleep(SECOND).await;
    assert_eq!(shut.ending(), Some(Ending { bytes: shut.content.len() as u64, complete: true }));
    assert_eq!(shut.state.engine.free_memory(), shut.free);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_a_shut_window_no_longer_than_for_any_reader_that_stalls() {
    let (mut shut, response) = Shut::client("/file").await;
    shut.shutdown.begin();
    assert!(timeout(50 * SECOND, &mut shut.serving).await.is_err());
    timeout(LATE, &mut shut.serving).await.unwrap().unwrap();
    shut.assert_cut();
    assert!(body(response).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_gives_up_its_stream_or_leaves_ends_the_answer_at_once() {
    for leaves in [false, true] {
        let (shut, response) = Shut::client("/file").await;
        if leaves {
            shut.driver.abort();
        }
        drop(response);
        sleep(SECOND).await;
        shut.assert_cut();
        assert_eq!(shut.seen.stalled.value(), 0);
        assert_eq!(shut.serving.is_finished(), leaves);
    }
}
