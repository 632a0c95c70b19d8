//! Uploads that never stop, and the ledger of what was promised about each.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Dice;
use super::http::Connection;
use super::server::SECRET;
use super::sign;

/// A slot that a writer tried, with its bytes given by name and size alone.
#[derive(Clone, Debug)]
pub(crate) struct Upload {
    pub(crate) slot: String,
    pub(crate) size: u64,
}

impl Upload {
    /// The bytes, different for every slot.
    pub(crate) fn body(&self) -> Vec<u8> {
        let name = self
            .slot
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        let mut dice = Dice::seeded(name);
        let words = self.size as usize / 8 + 1;
        let mut body: Vec<u8> = (0..words).flat_map(|_| dice.next().to_le_bytes()).collect();
        body.truncate(self.size as usize);
        body
    }

    /// Request target of its PUT.
    pub(crate) fn put_target(&self) -> String {
        format!("/{}?{}", sign::encode(&self.slot), sign::v1(SECRET, &self.slot, self.size))
    }

    /// Request target of its GET.
    pub(crate) fn get_target(&self) -> String {
        format!("/{}", sign::encode(&self.slot))
    }
}

/// What happened so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// Answered 201: must be there for ever.
    pub(crate) acknowledged: Vec<Upload>,
    /// Never answered 201: there whole, or not there.
    pub(crate) open: Vec<Upload>,
    /// Answers that no upload of a right client should get.
    pub(crate) odd: Vec<String>,
}

/// Threads that upload until they are stopped.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    ledger: Arc<Mutex<Ledger>>,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    /// Starts `count` writers of files between 1 B and `largest`.
    pub(crate) fn start(address: SocketAddr, count: usize, largest: u64) -> Self {
        // Slots of several writers in one test never meet.
        static ROUND: AtomicU64 = AtomicU64::new(0);
        let stop = Arc::new(AtomicBool::new(false));
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let threads = (0..count).map(|writer| {
            let (stop, ledger) = (Arc::clone(&stop), Arc::clone(&ledger));
            let round = ROUND.fetch_add(1, Ordering::Relaxed);
            std::thread::spawn(move || write(address, &format!("w{round}-{writer}"), largest, &stop, &ledger))
        });
        let threads = threads.collect();
        Self { stop, ledger, threads }
    }

    /// The ledger as it stands.
    pub(crate) fn ledger(&self) -> Ledger {
        self.ledger.lock().expect("a writer died").clone()
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.ledger.lock().expect("a writer died").acknowledged.len()
    }

    /// Ends them and returns the final ledger.
    pub(crate) fn stop(mut self) -> Ledger {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("a writer died");
        }
        self.ledger()
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn write(address: SocketAddr, name: &str, largest: u64, stop: &AtomicBool, ledger: &Mutex<Ledger>) {
    let mut dice = Dice::seeded(name.bytes().map(u64::from).sum::<u64>() * 7919);
    let mut connection = None;
    for number in 0_u64.. {
        // Small files are the most, as with real clients: the size's magnitude is even, not the size.
        let bits = dice.below(u64::from(largest.ilog2()) + 1);
        let size = 1 + dice.below(1 << bits.max(1)).min(largest - 1);
        // Two files share a folder, so that folders are both made and found.
        let upload = Upload { slot: format!("{name}/{}/{number}.bin", number / 2), size };
        let body = upload.body();
        // A client's HTTP library tries a broken PUT again once, at the same slot.
        let acknowledged = (0..2).any(|_| {
            let Some(mut open) = connection.take().or_else(|| connect(address, stop)) else { return false };
            let Ok(answer) = open.request("PUT", &upload.put_target(), &[], Some(&body)) else { return false };
            if !matches!(answer.status, 201 | 503) {
                let line = format!("PUT {}: {} {}", upload.slot, answer.status, answer.text().trim());
                ledger.lock().expect("ledger").odd.push(line);
            }
            if answer.header("connection") != Some("close") {
                connection = Some(open);
            }
            answer.status == 201
        });
        let mut ledger = ledger.lock().expect("ledger");
        let list = if acknowledged { &mut ledger.acknowledged } else { &mut ledger.open };
        list.push(upload);
        if stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// A connection, as soon as the server is there again; `None` when there is nothing to wait for any more.
fn connect(address: SocketAddr, stop: &AtomicBool) -> Option<Connection> {
    while !stop.load(Ordering::Relaxed) {
        if let Ok(connection) = Connection::open(address) {
            return Some(connection);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

/// What is wrong with what the server now serves; empty when every promise was kept.
pub(crate) fn broken_promises(address: SocketAddr, ledger: &Ledger) -> Vec<String> {
    let checks: Vec<(&Upload, bool)> = (ledger.acknowledged.iter().map(|upload| (upload, true)))
        .chain(ledger.open.iter().map(|upload| (upload, false)))
        .collect();
    let share = checks.len().div_ceil(4).max(1);
    std::thread::scope(|scope| {
        let readers: Vec<_> =
            checks.chunks(share).map(|checks| scope.spawn(move || read_back(address, checks))).collect();
        readers.into_iter().flat_map(|reader| reader.join().expect("a reader died")).collect()
    })
}

fn read_back(address: SocketAddr, checks: &[(&Upload, bool)]) -> Vec<String> {
    let mut connection = Connection::open(address).expect("connection");
    let mut broken = Vec::new();
    for (upload, promised) in checks {
        let answer = connection.request("GET", &upload.get_target(), &[], None).expect("answer to a GET");
        match answer.status {
            200 if answer.body == upload.body() => {}
            200 => broken.push(format!("torn: {upload:?}, {} bytes came", answer.body.len())),
            404 if !promised => {}
            404 => broken.push(format!("lost: {upload:?}")),
            status => broken.push(format!("{status}: {upload:?}")),
        }
    }
    broken
}
