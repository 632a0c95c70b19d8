//! A service manager's view: readiness, reload, watchdog, inherited sockets, two processes on one store, and the drain.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;

use crate::rig::http::exchange;
use crate::rig::server::TestServer;
use crate::rig::unfinished::Unfinished;
use crate::rig::{free_port, wait_until};

const MOMENT: Duration = Duration::from_secs(10);

/// The other end of `NOTIFY_SOCKET`.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    _home: TempDir,
}

impl Manager {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("folder");
        let path = home.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("socket");
        socket.set_read_timeout(Some(MOMENT)).expect("time-out");
        Self { socket, path, _home: home }
    }

    fn address(&self) -> String {
        self.path.display().to_string()
    }

    /// The next message, as its lines.
    #[track_caller]
    fn hear(&self) -> BTreeSet<String> {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).expect("a message in time");
        String::from_utf8_lossy(&message[..length]).lines().map(str::to_owned).collect()
    }

    /// The next message that says this, whatever comes before.
    #[track_caller]
    fn hear_of(&self, line: &str) -> BTreeSet<String> {
        let begin = Instant::now();
        loop {
            let said = self.hear();
            if said.contains(line) {
                return said;
            }
            assert!(begin.elapsed() < MOMENT, "no {line}");
        }
    }
}

fn monotonic_microseconds() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000 + now.tv_nsec.cast_unsigned() / 1000
}

#[test]
fn readiness_reload_and_stop_are_told() {
    let manager = Manager::new();
    let port = free_port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut server = std::thread::scope(|scope| {
        let heard = scope.spawn(|| {
            let said = manager.hear();
            (said, exchange(address, "GET", "/health", &[], None).map(|answer| answer.status))
        });
        let server = TestServer::builder().port(port).env("NOTIFY_SOCKET", manager.address()).start();
        let (said, health) = heard.join().expect("manager");
        assert!(said.contains("READY=1"), "{said:?}");
        assert_eq!(health.expect("an answer as soon as it is ready"), 200);
        server
    });

    for text in [None, Some("broken [")] {
        if let Some(text) = text {
            fs::write(server.config(), text).expect("configuration");
        }
        let before = monotonic_microseconds();
        server.reload();
        let said = manager.hear();
        assert!(said.contains("RELOADING=1"), "{said:?}");
        let stamp = said.iter().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).expect("a stamp");
        let stamp: u64 = stamp.parse().expect("microseconds");
        assert!((before..=monotonic_microseconds()).contains(&stamp), "{before} {stamp}");
        let said = manager.hear();
        assert!(said.contains("READY=1"), "a reload that is refused ends too: {said:?}");
    }

    server.signal(Signal::TERM);
    let said = manager.hear();
    assert!(said.contains("STOPPING=1"), "{said:?}");
    assert!(server.wait(MOMENT).success());
}

#[test]
fn a_burst_of_reloads_does_no_harm() {
    let manager = Manager::new();
    let server = TestServer::builder().env("NOTIFY_SOCKET", manager.address()).start();
    manager.hear_of("READY=1");
    for _ in 0..20 {
        server.reload();
    }
    manager.hear_of("RELOADING=1");
    manager.hear_of("READY=1");
    assert!(server.is_healthy());
}

#[test]
fn the_watchdog_is_fed_in_time() {
    let manager = Manager::new();
    let builder = TestServer::builder().env("NOTIFY_SOCKET", manager.address()).env("WATCHDOG_USEC", "400000");
    let _server = builder.start();
    manager.hear_of("READY=1");
    for _ in 0..5 {
        let before = Instant::now();
        manager.hear_of("WATCHDOG=1");
        assert!(before.elapsed() < Duration::from_millis(400), "{:?}", before.elapsed());
    }
}

#[test]
fn a_socket_of_systemd_is_served() {
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let mut server = TestServer::builder().port(port).wrapper(&["systemd-socket-activate", "-l", &listen]).start();
    assert_eq!(server.put("a/file.txt", b"hello").status, 201);
    assert_eq!(server.get("a/file.txt").body, b"hello");
    assert!(server.log().contains("inherited=true") && !server.log().contains("inherited=false"), "{}", server.log());
    server.terminate();
}

#[test]
fn two_processes_share_a_store() {
    let mut first = TestServer::start();
    let running = Unfinished::begin(&first, "a/running.bin", &vec![7; 300_000]);
    // The second one sweeps the store when it starts.
    let mut second = TestServer::builder().storage(first.storage()).start();
    let other = Unfinished::begin(&second, "b/running.bin", &vec![8; 300_000]);
    assert_eq!(running.finish().expect("answer").status, 201);
    assert!(second.get("a/running.bin").body == vec![7; 300_000], "what one stores, both serve");
    for (server, reader, slot) in [(&first, &second, "a/x.txt"), (&second, &first, "b/x.txt")] {
        assert_eq!(server.put(slot, b"hello").status, 201);
        assert_eq!(reader.get(slot).body, b"hello");
        assert_eq!(reader.put(slot, b"hello").status, 201, "an equal repeat over the other process");
        assert_eq!(reader.put(slot, b"other").status, 409);
    }
    for round in 0..20 {
        for (name, fill) in [("equal", [1, 1]), ("unequal", [1, 2])] {
            let bodies = fill.map(|byte| vec![byte; 50_000]);
            let slot = format!("{name}/{round}.bin");
            let statuses = std::thread::scope(|scope| {
                let rival = scope.spawn(|| second.put(&slot, &bodies[1]).status);
                [first.put(&slot, &bodies[0]).status, rival.join().expect("rival")]
            });
            let served = [first.get(&slot), second.get(&slot)];
            match statuses {
                [201, 201] if name == "equal" => {}
                [201, 409] | [409, 201] if name == "unequal" => {}
                _ => panic!("{slot}: {statuses:?}"),
            }
            let winner = &bodies[usize::from(statuses[0] != 201)];
            assert!(served.iter().all(|answer| &answer.body == winner), "{slot}: {statuses:?}");
        }
    }
    // The first ends as in a restart: what runs in the second goes on.
    first.terminate();
    assert_eq!(other.finish().expect("answer").status, 201);
    wait_until("end of the temporaries", Duration::from_secs(10), || second.temporaries().is_empty());
    second.assert_whole();
    second.terminate();
}

#[test]
fn a_slow_upload_is_finished_within_the_drain() {
    let body = vec![7; 300_000];
    let mut server = TestServer::start();
    let upload = Unfinished::begin(&server, "a/slow.bin", &body);
    let waiting = Unfinished::begin(&server, "a/never.bin", &body);
    server.signal(Signal::TERM);
    wait_until("end of the listener", MOMENT, || !server.is_healthy());
    let answer = upload.finish().expect("answer");
    assert_eq!((answer.status, answer.header("connection")), (201, Some("close")));

    // What never ends holds the process up, until somebody insists.
    assert!(server.exited().is_none(), "the drain did not wait");
    server.signal(Signal::TERM);
    let begin = Instant::now();
    assert!(server.wait(MOMENT).success());
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    drop(waiting);
    server.restart();
    assert!(server.get("a/slow.bin").body == body);
    assert_eq!(server.get("a/never.bin").status, 404);
    wait_until("end of the temporaries", Duration::from_secs(10), || server.temporaries().is_empty());
    server.assert_whole();
}

#[test]
fn the_drain_has_an_end() {
    let mut server = TestServer::builder().set("timeouts.shutdown", "\"1s\"").start();
    let _waiting = Unfinished::begin(&server, "a/never.bin", &vec![7; 300_000]);
    server.signal(Signal::TERM);
    assert!(server.wait(MOMENT).success());
    assert!(server.log().contains("Transfers cut"), "{}", server.log());
}
