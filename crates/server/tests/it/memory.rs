//! `max_memory_usage`: what the buffers of a crowd of transfers hold together, whatever carries them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::rig::command::curl_text;
use crate::rig::crowd::{Crowd, Way};
use crate::rig::server::{SECRET, TestServer};
use crate::rig::tls::{self, Certificate};
use crate::rig::{sign, wait_until};

/// More than the budget has room for at once: some wait.
const COUNT: usize = 300;
const BUDGET: u64 = 8 << 20;
/// What a transfer holds besides: its state, which is larger in an unoptimised build than in a released one, and what came
/// with the head of a request that waits.
const STATE: u64 = 24 << 10;
/// The same over TLS, which has a record as it came and one as it was decrypted.
const STATE_OF_TLS: u64 = STATE + (16 << 10);
/// What a client of HTTP/2 may always have under way; the faster it comes, the more of it waits to be read at one moment.
const FIRST_WINDOW: u64 = 64 << 10;
/// Of the process: threads that write, each with the part of its stack that it has used.
const THREADS: u64 = 4 << 20;
/// What no longer grows for this long has grown as far as it will ...
const STEADY: Duration = Duration::from_millis(700);
/// ... which does not last for ever.
const LIMIT: Duration = Duration::from_secs(60);

/// Crowds would share the machine's two cores.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

struct Rig {
    server: TestServer,
    address: SocketAddr,
    certificate: Certificate,
    folder: tempfile::TempDir,
}

impl Rig {
    fn new(way: Way) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let certificate = Certificate::copy(folder.path());
        let (builder, port) = match way {
            Way::Plain => (TestServer::builder(), None),
            Way::Tls | Way::H2 => {
                let (builder, port) = tls::builder(&certificate);
                (builder, Some(port))
            }
        };
        let budget = format!("\"{BUDGET}\"");
        let server = builder.set("performance.max_memory_usage", &budget).set("timeouts.min_rate", "\"0\"").start();
        let address = port.map_or(server.address(), |port| SocketAddr::from(([127, 0, 0, 1], port)));
        Self { server, address, certificate, folder }
    }

    fn crowd(&self, way: Way) -> Crowd {
        Crowd::connect(way, self.address, &self.certificate.cert, COUNT)
    }

    /// Stores a file; returns its path.
    fn store(&self, way: Way, slot: &str, length: usize) -> String {
        let file: PathBuf = self.folder.path().join("body.bin");
        std::fs::write(&file, vec![b'x'; length]).expect("file");
        let scheme = if way == Way::Plain { "http" } else { "https" };
        let url = format!("{scheme}://{}{}", self.address, target(slot, length as u64));
        let [file, ca] = [&file, &self.certificate.cert].map(|path| path.display().to_string());
        let status = curl_text(&["--cacert", &ca, "-o", "/dev/null", "-w", "%{http_code}", "-T", &file, &url]);
        assert_eq!(status, "201");
        format!("/{slot}")
    }

    /// Waits until everything has come back, since nobody is there any more: what was claimed, connections, temporaries.
    fn is_as_before(&self, descriptors: usize) {
        // Files that are kept at hand, pipes of pumps.
        const KEPT: usize = 32;
        let server = &self.server;
        wait_until("memory of all that left", LIMIT, || server.metric("hfs_memory_free_bytes") == BUDGET);
        wait_until("end of their connections", LIMIT, || server.descriptors() <= descriptors + KEPT);
        wait_until("end of their temporaries", LIMIT, || server.temporaries().is_empty());
    }

    /// Bytes that the server holds at most when they hold what they will, beyond `before`.
    fn grown(&self, before: u64) -> u64 {
        let (begin, mut most, mut since) = (Instant::now(), before, Instant::now());
        while since.elapsed() < STEADY || most == before {
            let now = self.server.own_memory();
            if now > most {
                (most, since) = (now, Instant::now());
            }
            assert!(begin.elapsed() < LIMIT, "it grows and grows, or never: +{most} bytes");
            std::thread::sleep(Duration::from_millis(10));
        }
        most - before
    }
}

fn target(slot: &str, length: u64) -> String {
    format!("/{slot}?{}", sign::v1(SECRET, slot, length))
}

/// Hundreds ask for a file and take nothing of it, then some of them all of it.
fn readers_stay_within_the_budget(way: Way, each: u64) {
    const LENGTH: usize = 6_000_000;
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let rig = Rig::new(way);
    let path = rig.store(way, "many/readers.bin", LENGTH);
    let descriptors = rig.server.descriptors();
    let mut crowd = rig.crowd(way);
    let before = rig.server.own_memory();
    crowd.ask(&path);
    let grown = rig.grown(before);
    println!("{COUNT} readers, {way:?}: +{} KiB", grown >> 10);
    assert!(grown < BUDGET + COUNT as u64 * each, "+{} KiB", grown >> 10);
    // Those that waited for memory are among them.
    assert_eq!(crowd.take(4), [LENGTH as u64; 4]);
    rig.is_as_before(descriptors);
}

#[test]
fn readers_in_cleartext_stay_within_the_budget() {
    readers_stay_within_the_budget(Way::Plain, STATE / 3);
}

#[test]
fn readers_over_tls_stay_within_the_budget() {
    readers_stay_within_the_budget(Way::Tls, STATE);
}

#[test]
fn readers_over_http2_stay_within_the_budget() {
    readers_stay_within_the_budget(Way::H2, STATE * 2 / 3);
}

/// Hundreds begin an upload, send so much that they are no longer taken for slow, and then nothing.
fn uploads_stay_within_the_budget(way: Way, each: u64) {
    const LENGTH: u64 = 4 << 20;
    const PART: usize = 200_000;
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let rig = Rig::new(way);
    rig.store(way, "many/first.bin", 3_000_000);
    let descriptors = rig.server.descriptors();
    let mut crowd = rig.crowd(way);
    let before = rig.server.own_memory();
    crowd.upload(LENGTH, PART, |number| target(&format!("many/{number}.bin"), LENGTH));
    let grown = rig.grown(before);
    println!("{COUNT} uploads, {way:?}: +{} KiB", grown >> 10);
    assert!(grown < BUDGET + THREADS + COUNT as u64 * each, "+{} KiB", grown >> 10);
    drop(crowd);
    rig.store(way, "many/last.bin", 3_000_000);
    rig.is_as_before(descriptors);
}

#[test]
fn uploads_in_cleartext_stay_within_the_budget() {
    uploads_stay_within_the_budget(Way::Plain, STATE / 3);
}

#[test]
fn uploads_over_tls_stay_within_the_budget() {
    uploads_stay_within_the_budget(Way::Tls, STATE_OF_TLS);
}

#[test]
fn uploads_over_http2_stay_within_the_budget() {
    uploads_stay_within_the_budget(Way::H2, STATE_OF_TLS + FIRST_WINDOW);
}
