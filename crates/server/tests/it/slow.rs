//! Ten thousand slow clients: memory stays bounded and everybody else is answered.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::rig::health::HealthProbe;
use crate::rig::http::Connection;
use crate::rig::load::Upload;
use crate::rig::process::Process;
use crate::rig::server::{SECRET, TestServer};
use crate::rig::{sign, wait_until};

const MEBIBYTE: u64 = 1 << 20;

/// The two attacks would share the machine's descriptors and its two cores.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn ten_thousand_slow_headers_stay_below_256_mebibytes() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let server = patient_server();
    let mut command = Command::new("slowhttptest");
    command
        .args(["-H", "-c", "10000", "-r", "2000", "-i", "10", "-l", "300", "-p", "5", "-u"])
        .arg(format!("{}/slow/headers.txt", server.public_url()));
    let attacker = Process::start(&command, &server.home().join("slowhttptest.log"));
    bear(&server, "10,000 slow heads", 256 * MEBIBYTE, 1);
    drop(attacker);
    assert_eq!(server.put("after/it.txt", b"works").status, 201);
}

/// Not by slowhttptest, which knows one URL only: a slot has few tries at once, so these are 10,000 slots.
#[test]
fn ten_thousand_slow_bodies_stay_below_384_mebibytes() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let server = patient_server();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| send_slow_bodies(&server, &stop));
        // The attacker must also end when something here fails.
        let _stop = StopOnDrop(&stop);
        // Each holds its connection; what is so short needs no temporary before it is whole.
        bear(&server, "10,000 slow bodies", 384 * MEBIBYTE, 1);
    });
    assert_eq!(server.put("after/it.txt", b"works").status, 201);
}

/// While it came fast, a thread of its own read it, which looks at no limit of a stall.
#[test]
fn an_upload_that_came_fast_and_then_trickles_is_cut() {
    let server = TestServer::builder()
        .set("timeouts.min_rate", "10000")
        .set("timeouts.min_rate_window", "\"2s\"")
        // Among the others is one that lengthens that window.
        .set("performance.levers", "[\"lane\"]")
        .start();
    let (slot, size) = ("slow/trickle.bin", 64 * MEBIBYTE);
    let target = format!("{}?{}", server.target(slot), sign::v1(SECRET, slot, size));
    let mut client = TcpStream::connect(server.address()).expect("connection");
    write!(client, "PUT {target} HTTP/1.1\r\nHost: files.example.org\r\nContent-Length: {size}\r\n\r\n").expect("head");
    client.write_all(&vec![b'x'; 8 << 20]).expect("the fast part");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // That thread waits longer than this for the next byte.
            while !stop.load(Ordering::Relaxed) && client.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let _stop = StopOnDrop(&stop);
        let stalled = || server.metric("hfs_transfers_total{direction=\"upload\",outcome=\"stalled\"}") == 1;
        wait_until("end of the trickle", Duration::from_secs(60), stalled);
    });
    assert_eq!(server.put("after/it.txt", b"works").status, 201);
}

/// They begin together, and each brings 8 KiB now and then: what one holds is its state and no buffer, and what passed
/// through left no holes behind. The bound is for an unoptimised build, whose state is larger than a released one's.
#[test]
fn five_hundred_slow_uploads_hold_little_more_than_their_state() {
    const COUNT: u64 = 500;
    const PIECE: u64 = 8 << 10;
    const MOST_EACH: u64 = 16 << 10;
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let server = patient_server();
    let warm = Upload { slot: "slow/first.bin".to_owned(), size: MEBIBYTE };
    assert_eq!(server.put(&warm.slot, &warm.body()).status, 201);
    let before = server.peak_memory();
    let begin = |number| {
        let slot = format!("slow/{number}.bin");
        let target = format!("{}?{}", server.target(&slot), sign::v1(SECRET, &slot, MEBIBYTE));
        let mut client = TcpStream::connect(server.address()).expect("connection");
        write!(client, "PUT {target} HTTP/1.1\r\nHost: files.example.org\r\nContent-Length: {MEBIBYTE}\r\n\r\n")
            .expect("head");
        client
    };
    let mut clients: Vec<TcpStream> = (0..COUNT).map(begin).collect();
    for piece in 1..=6 {
        for client in &mut clients {
            client.write_all(&[b'x'; PIECE as usize]).expect("piece");
        }
        // Written as it comes; what was only reserved is zero.
        let has_come = |name: &PathBuf| {
            let mut last = [0];
            let file = File::open(server.storage().join(".hfs/tmp").join(name));
            file.and_then(|file| file.read_exact_at(&mut last, piece * PIECE - 1)).is_ok() && last == *b"x"
        };
        let all_have_come = || server.temporaries().iter().filter(|name| has_come(name)).count() as u64 == COUNT;
        wait_until("piece of each upload", Duration::from_secs(120), all_have_come);
    }
    let each = (server.peak_memory() - before) / COUNT;
    println!("500 slow uploads: +{each} bytes each");
    assert!(each < MOST_EACH, "{each} bytes each");
    drop(clients);
    wait_until("end of the temporaries", Duration::from_secs(60), || server.temporaries().is_empty());
}

/// Each takes a byte now and then of what it asked for.
#[test]
fn five_hundred_slow_readers_cost_less_than_64_mebibytes() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    const HOLD: Duration = Duration::from_secs(3);
    let server = patient_server();
    let file = Upload { slot: "slow/reader.bin".to_owned(), size: 10_000_000 };
    assert_eq!(server.put(&file.slot, &file.body()).status, 201);
    let before = server.peak_memory();
    let head = format!("GET {} HTTP/1.1\r\nHost: files.example.org\r\n\r\n", file.get_target());
    let mut readers: Vec<TcpStream> = Vec::new();
    for _ in 0..500 {
        let mut reader = TcpStream::connect(server.address()).expect("connection");
        reader.set_read_timeout(Some(Duration::from_secs(30))).expect("time-out");
        reader.write_all(head.as_bytes()).expect("sent");
        readers.push(reader);
    }
    let (begin, mut health) = (Instant::now(), HealthProbe::default());
    while begin.elapsed() < HOLD {
        for reader in &mut readers {
            reader.read_exact(&mut [0; 32]).expect("bytes of the answer");
        }
        health.ask(&server);
    }
    health.judge("500 slow readers");
    let grown = server.peak_memory() - before;
    println!("500 slow readers: +{} KiB", grown / 1024);
    assert!(grown < 64 * MEBIBYTE, "+{} MiB", grown / MEBIBYTE);
    drop(readers);
    assert!(server.get(&file.slot).body == file.body());
}

/// A head that does not end and a body that stops: both are told, or cut, soon after their limit.
#[test]
fn what_does_not_move_is_cut() {
    let server = TestServer::builder()
        .set("timeouts.header_timeout", "\"1s\"")
        .set("timeouts.readtimeout", "\"1s\"")
        .set("timeouts.writetimeout", "\"1s\"")
        .start();
    let slot = "slow/stops.bin";
    let head = format!("PUT /{slot}?{} HTTP/1.1\r\nHost: files.example.org\r\n", sign::v1(SECRET, slot, 1000));
    for (name, sent) in
        [("head", head.clone()), ("body", format!("{head}Content-Length: 1000\r\n\r\nand then nothing"))]
    {
        let begin = Instant::now();
        let mut connection = Connection::open(server.address()).expect("connection");
        connection.send(sent.as_bytes()).expect("sent");
        let answer = connection.receive(false);
        assert!(answer.as_ref().map_or(true, |answer| answer.status == 408), "{name}: {answer:?}");
        assert!(begin.elapsed() < Duration::from_secs(20), "{name}: {:?}", begin.elapsed());
    }
    assert_eq!(server.get(slot).status, 404);
    // Removed by a thread of its own, after the answer.
    wait_until("end of the temporaries", Duration::from_secs(10), || server.temporaries().is_empty());
}

/// A server whose limits of slowness are off: the point is what slow clients cost while they may stay.
fn patient_server() -> TestServer {
    raise_descriptor_limit();
    TestServer::builder().set("timeouts.header_timeout", "\"300s\"").set("timeouts.min_rate", "\"0\"").start()
}

/// Waits until 9,500 clients are there, then sees for a while that everybody else is answered, within this memory.
fn bear(server: &TestServer, attack: &str, most_memory: u64, descriptors_each: usize) {
    /// Of 10,000: with two descriptors each, the hard limit of many machines allows a few less.
    const ENOUGH: usize = 9_500;
    /// How long all of them stay.
    const HOLD: Duration = Duration::from_secs(5);
    let begin = Instant::now();
    // They connect as quickly as they can, which is slow on a busy machine; only then the clock of HOLD runs.
    let (mut arrived, mut most, mut health) = (None, 0, HealthProbe::default());
    while arrived.is_none_or(|arrived: Instant| arrived.elapsed() < HOLD) {
        if arrived.is_some() {
            health.ask(server);
        } else {
            // Their arrival is a flood, not slowness: it only must not stop the answers.
            assert!(server.is_healthy(), "no answer from /health {:?} into the attack", begin.elapsed());
        }
        let open = fs::read_dir(format!("/proc/{}/fd", server.pid())).map_or(0, Iterator::count) / descriptors_each;
        most = most.max(open);
        if open >= ENOUGH {
            arrived = arrived.or_else(|| Some(Instant::now()));
        }
        assert!(begin.elapsed() < Duration::from_secs(180), "the attack did not arrive: {most} of {ENOUGH}");
        std::thread::sleep(Duration::from_millis(50));
    }
    health.judge(attack);
    let memory = server.peak_memory();
    println!("{most} at once, {} MiB", memory / MEBIBYTE);
    assert!(memory < most_memory, "{} MiB", memory / MEBIBYTE);
}

/// Begins 9,900 uploads of 8 KiB, each of a slot of its own, then feeds each a byte now and then.
fn send_slow_bodies(server: &TestServer, stop: &AtomicBool) {
    let stopped = || stop.load(Ordering::Relaxed);
    let mut clients = Vec::new();
    for number in (0..9_900).take_while(|_| !stopped()) {
        let slot = format!("slow/{number}.bin");
        let target = format!("{}?{}", server.target(&slot), sign::v1(SECRET, &slot, 8192));
        let mut client = Connection::open(server.address()).expect("connection");
        let head = format!("PUT {target} HTTP/1.1\r\nHost: files.example.org\r\nContent-Length: 8192\r\n\r\n12345678");
        client.send(head.as_bytes()).expect("head");
        clients.push(client);
    }
    while !stopped() {
        for client in clients.iter_mut().take_while(|_| !stopped()) {
            client.send(b".").expect("byte");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Lets this process and its children open what the hard limit allows.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    assert!(limit.maximum.is_none_or(|most| most >= 20_000), "10,000 uploads need `ulimit -Hn` of at least 20,000");
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("raising the soft limit");
}
