//! [`Load`]: the kinds of work that servers are measured by, and what must be reached.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use crate::client::Client;
use crate::http::BYTES;
use crate::journal::Journaled;
use crate::paired::{Paired, SPAN};
use crate::peers::{Peer, Proof};
use crate::report::Bound::{AtLeast, AtMost};
use crate::report::{Goal, Measured, Row, Table, What};
use crate::{machine, memory};

/// One kind of work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    kind: Kind,
    size: u64,
    requests: u64,
    connections: u64,
    /// How many slices a round is cut into where two servers are compared closely.
    slices: u64,
    /// Whether it needs a file system with a journal.
    is_journaled: bool,
    /// Who does it.
    peers: &'static [&'static str],
    pub(crate) goals: &'static [Goal],
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Get,
    Put,
    /// Memory of uploads that trickle.
    Slow,
    /// Memory of connections between two requests.
    Idle,
}

const GIB: u64 = 1 << 30;
const SMALL_SIZE: u64 = 64 << 10;

/// Everything that is measured, in the order of the table. Memory comes first: a server that has worked has holes.
const LOADS: [Load; 8] = {
    const GET: Load = Load {
        id: "get-large",
        name: "GET 1 GiB",
        kind: Kind::Get,
        size: GIB,
        requests: 2,
        connections: 1,
        slices: 2,
        is_journaled: false,
        peers: &["adaptive", "standard", "pinned", "nginx", "caddy", "dufs", "prosody"],
        goals: &[
            Goal::ratio("adaptive", What::Cpu, "nginx", AtMost(0.95)),
            Goal::close("adaptive", "standard", 1.02),
            Goal::close("pinned", "standard", 1.02),
        ],
    };
    const MEMORY: Load =
        Load { kind: Kind::Idle, size: 1 << 20, connections: 900, peers: &["adaptive", "nginx-default"], ..GET };
    const SMALL: Load = Load { size: SMALL_SIZE, ..GET };
    const PUT_SMALL: Load = Load {
        id: "put-small",
        name: "PUT 64 KiB, 32 clients",
        kind: Kind::Put,
        requests: 1600,
        connections: 32,
        slices: 4,
        peers: &["adaptive", "standard", "pinned", "unsynced", "nginx"],
        goals: &[
            Goal::ratio("adaptive", What::Cpu, "nginx", AtMost(1.8)),
            Goal::ratio("adaptive", What::Throughput, "unsynced", AtLeast(0.6)),
            Goal::close("pinned", "standard", 1.02),
        ],
        ..SMALL
    };
    [
        Load {
            id: "idle",
            name: "900 idle connections",
            goals: &[Goal::alone("adaptive", What::Memory, AtMost(4.0))],
            ..MEMORY
        },
        Load {
            id: "slow",
            name: "500 slow uploads",
            kind: Kind::Slow,
            connections: 500,
            goals: &[Goal::alone("adaptive", What::Memory, AtMost(8.0))],
            ..MEMORY
        },
        GET,
        Load {
            id: "get-small",
            name: "GET 64 KiB, keep-alive",
            requests: 20_000,
            connections: 4,
            slices: 8,
            goals: &[
                Goal::ratio("adaptive", What::Cpu, "nginx", AtMost(0.95)),
                Goal::close("pinned", "standard", 1.02),
            ],
            ..SMALL
        },
        Load {
            id: "get-tls",
            name: "GET 1 GiB, TLS 1.3",
            peers: &["tls", "nginx-tls"],
            goals: &[Goal::ratio("tls", What::Cpu, "nginx-tls", AtMost(0.55))],
            ..GET
        },
        Load {
            id: "put-large",
            name: "PUT 1 GiB",
            kind: Kind::Put,
            requests: 1,
            slices: 8,
            peers: &["adaptive", "standard", "pinned", "hashing", "nginx", "nginx-default", "dufs", "prosody"],
            goals: &[
                Goal::ratio("hashing", What::Cpu, "nginx", AtMost(1.6)),
                Goal::ratio("adaptive", What::Cpu, "nginx", AtMost(1.0)),
                Goal::ratio("adaptive", What::Cpu, "standard", AtMost(0.35)),
                Goal::ratio("adaptive", What::Throughput, "standard", AtLeast(2.0)),
                Goal::close("pinned", "standard", 1.02),
                Goal::alone("adaptive", What::Tail, AtMost(0.05)),
            ],
            ..GET
        },
        PUT_SMALL,
        // Where small uploads share their syncs.
        Load { id: "put-small-journal", name: "PUT 64 KiB, 32 clients, journal", is_journaled: true, ..PUT_SMALL },
    ]
};

impl Kind {
    /// Where its servers have their configurations and logs. All servers of downloads share their files as well: where
    /// the pages of a file lie in memory, and how large its folios are, makes sending it cost up to a third more.
    fn folder(self) -> &'static str {
        match self {
            Self::Get => "downloads",
            Self::Put => "uploads",
            Self::Slow | Self::Idle => "memory",
        }
    }

    /// Where the load runs; servers are on the first core. Downloads share it: beside each other, chance decides whose
    /// time the kernel's work is. An acknowledgement that meets an idle socket makes the client's core send what follows,
    /// and a server's CPU for one and the same file was anything from 0.08 to 0.4 s per GiB. Sharing costs them speed.
    fn core(self) -> usize {
        match self {
            Self::Get => 0,
            Self::Put | Self::Slow | Self::Idle => 1,
        }
    }
}

/// What the command line asks for; everything where a list is empty.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Counted rounds.
    pub(crate) rounds: usize,
    /// Loads.
    pub(crate) only: Vec<String>,
    /// Servers.
    pub(crate) peers: Vec<String>,
    /// Every load is divided by this: to see that the bench works, not what the servers can do.
    pub(crate) part: u64,
}

/// Measures what is asked for. `folder` is on a real disk.
pub(crate) fn measure(asked: &Asked, binary: &Path, folder: &Path, command: String) -> Result<Table> {
    for id in &asked.only {
        ensure!(LOADS.iter().any(|load| load.id == id), "there is no load `{id}`: {}", Load::ids());
    }
    // Dropped after the servers that use it.
    let mut journaled: Option<Journaled> = None;
    let mut running = BTreeMap::new();
    let mut table = Table { machine: machine::describe()?, command, rows: Vec::new() };
    for load in LOADS.iter().filter(|load| asked.only.is_empty() || asked.only.iter().any(|id| id == load.id)) {
        println!("{} ...", load.name);
        let names: Vec<&str> = load.servers(&asked.peers);
        pin_to(load.kind.core())?;
        let row = match load.kind {
            Kind::Slow | Kind::Idle => load.hold(&names, asked, binary, folder)?,
            Kind::Get | Kind::Put => {
                let folder = match &mut journaled {
                    _ if !load.is_journaled => folder,
                    Some(mounted) => mounted.path(),
                    none => none.insert(Journaled::mount(folder)?).path(),
                };
                let folder = folder.join(load.kind.folder());
                for name in &names {
                    let place = folder.join(name);
                    let files = if load.kind == Kind::Get { folder.join("files") } else { place.clone() };
                    if let Entry::Vacant(vacant) = running.entry(place) {
                        let mut peer = Peer::start(name, binary, &folder, &files)?;
                        peer.part *= asked.part;
                        vacant.insert(peer);
                    }
                }
                let peers: Vec<&Peer> = names.iter().map(|name| &running[&folder.join(name)]).collect();
                load.compare(&peers, asked)?
            }
        };
        println!("{row}");
        table.rows.push(row);
    }
    Ok(table)
}

impl Load {
    /// Their names on the command line.
    pub(crate) fn ids() -> String {
        LOADS.map(|load| load.id).join(",")
    }

    /// What the CPU is divided by, and its name.
    pub(crate) fn unit(&self) -> (&'static str, f64) {
        if self.is_large() { ("CPU-s/GiB", 1.0) } else { ("CPU-us/request", 1e6) }
    }

    /// Whether it is about bytes more than about requests.
    fn is_large(&self) -> bool {
        self.size > SMALL_SIZE
    }

    /// A slice of its round. Downloads keep their size: they fetch what is there.
    fn slice(&self) -> Self {
        let (size, requests) = if self.requests < self.slices {
            (self.size / self.slices, 1)
        } else {
            (self.size, self.requests / self.slices)
        };
        Self { size, requests, ..*self }
    }

    /// Those that are wanted; others than usual where they are named.
    fn servers<'a>(&self, wanted: &'a [String]) -> Vec<&'a str>
    where
        Self: 'a,
    {
        if wanted.is_empty() {
            return self.peers.to_vec();
        }
        wanted.iter().map(String::as_str).collect()
    }

    /// Rounds in which each server has its turn, and each is the first once in a while. The first round is not counted.
    /// Then come the slices of those that are compared closely.
    fn compare(&self, peers: &[&Peer], asked: &Asked) -> Result<Row> {
        let mut row = Row::new(self, peers.iter().map(|peer| peer.name.clone()).collect());
        if self.kind == Kind::Get {
            self.provide(peers)?;
        }
        for round in 0..=asked.rounds {
            for turn in 0..peers.len() {
                let index = (turn + round) % peers.len();
                let measured = self.run(peers[index], round)?;
                if round > 0 {
                    row.push(index, measured);
                }
            }
        }
        let (slice, mut number) = (self.slice(), asked.rounds);
        let find = |name| peers.iter().find(|peer| peer.name == name).copied();
        for (of, over) in self.goals.iter().filter_map(|goal| goal.close_pair()) {
            let (Some(first), Some(second)) = (find(of), find(over)) else { continue };
            row.paired.push(Paired::measure(of, over, SPAN / u32::try_from(asked.part)?, |name| {
                number += 1;
                Ok(slice.run(if name == of { first } else { second }, number)?.cpu)
            })?);
        }
        Ok(row)
    }

    /// The same for memory: with servers that have done nothing else.
    fn hold(&self, names: &[&str], asked: &Asked, binary: &Path, folder: &Path) -> Result<Row> {
        let connections = (self.connections / asked.part).max(1);
        let mut row = Row::new(self, names.iter().map(|name| (*name).to_owned()).collect());
        for round in 0..asked.rounds {
            for (index, name) in names.iter().enumerate() {
                let folder = folder.join(self.kind.folder()).join(format!("{}-{name}-{round}", self.id));
                let peer = Peer::start(name, binary, &folder, &folder.join("files"))?;
                let each = match self.kind {
                    Kind::Slow => memory::of_slow_uploads(&peer, connections, self.size)?,
                    _ => memory::of_idle_connections(&peer, connections)?,
                };
                row.push(index, Measured { memory: each, ..Measured::default() });
            }
        }
        Ok(row)
    }

    /// One round against `peer`: CPU and wall time per GiB or per request.
    fn run(&self, peer: &Peer, round: usize) -> Result<Measured> {
        if self.kind == Kind::Put {
            let (size, requests) = self.share(peer);
            warm_memory(&peer.files, size * requests)?;
            settle_disk(&peer.files)?;
        }
        let (cpu, begin) = (peer.cpu()?, Instant::now());
        let tail = self.transfer(peer, round).with_context(|| format!("{} at {}", self.name, peer.name))?;
        let (wall, cpu) = (begin.elapsed(), peer.cpu()? - cpu);
        if self.kind == Kind::Put && self.is_large() {
            // Room on the disk.
            remove_large(&peer.files);
        }
        let amount = self.amount(peer);
        Ok(Measured {
            cpu: cpu.as_secs_f64() / amount,
            wall: wall.as_secs_f64() / amount,
            // Of several at a time, the tail of one is no share of the time of all.
            tail: if self.connections == 1 { tail / wall.as_secs_f64() } else { 0.0 },
            ..Measured::default()
        })
    }

    /// GiB or requests of one round at this server.
    fn amount(&self, peer: &Peer) -> f64 {
        let (size, requests) = self.share(peer);
        if self.is_large() { (size * requests) as f64 / GIB as f64 } else { requests as f64 }
    }

    /// Size and number of its requests: a slow server gets smaller large files or fewer small ones.
    fn share(&self, peer: &Peer) -> (u64, u64) {
        let part = |whole: u64| (whole / peer.part).max(1);
        if self.is_large() { (part(self.size), self.requests) } else { (self.size, part(self.requests)) }
    }

    /// Puts there what downloads fetch: once for all servers, but for those that keep files in a way of their own.
    fn provide(&self, peers: &[&Peer]) -> Result<()> {
        let find = |proof| peers.iter().find(|peer| peer.proof == proof).copied();
        // By ours where there is one: it serves nothing that it does not know.
        let for_all = find(Proof::Query).or_else(|| find(Proof::Nothing)).or_else(|| find(Proof::Impossible));
        for_all.into_iter().chain(find(Proof::Token)).try_for_each(|peer| self.provide_by(peer))
    }

    fn provide_by(&self, peer: &Peer) -> Result<()> {
        let (size, _) = self.share(peer);
        if peer.proof == Proof::Impossible {
            let file = peer.files.join(self.slot("source"));
            fs::create_dir_all(file.parent().context("a slot has a folder")?)?;
            return Ok(fs::write(file, vec![b'x'; usize::try_from(size)?])?);
        }
        Client::connect(peer)?.put(peer, &self.slot("source"), size).map(drop)
    }

    /// All requests of a round; returns the seconds from the last byte of the last upload to its answer.
    fn transfer(&self, peer: &Peer, round: usize) -> Result<f64> {
        let (size, requests) = self.share(peer);
        let next = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let worker = || -> Result<f64> {
                let mut client = Client::connect(peer)?;
                let mut tail = 0.0;
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= requests {
                        return Ok(tail);
                    }
                    match self.kind {
                        Kind::Put => {
                            let slot = self.slot(&format!("{round}-{number}"));
                            tail = client.put(peer, &slot, size)?.as_secs_f64();
                        }
                        _ => client.get(peer, &peer.proof.path(&self.slot("source")), size)?,
                    }
                }
            };
            let workers: Vec<_> = (0..self.connections).map(|_| scope.spawn(worker)).collect();
            let mut tails =
                workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| bail!("a client panicked")));
            tails.try_fold(0.0, |longest: f64, tail| Ok(longest.max(tail?)))
        })
    }

    fn slot(&self, name: &str) -> String {
        // Two parts: the file share of Prosody knows a random one and a name.
        format!("{}-{name}/blob.bin", self.id)
    }
}

/// Keeps the load on one core.
fn pin_to(cpu: usize) -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set).context("two cores are needed")
}

/// Touches as much memory as the page cache is about to need: in a virtual machine, the first touch of memory that was
/// freed some time ago costs ten times as much, and would fall upon whoever comes first. By files, since the kernel hands
/// out other memory to programs than to the page cache; by large writes and by small ones, since it keeps pieces of each
/// size apart, and a server that writes in another size than what was touched paid up to five times as much.
fn warm_memory(folder: &Path, bytes: u64) -> Result<()> {
    let path = folder.join(".warm");
    for piece in [BYTES.len(), 16 << 10] {
        let mut file = fs::File::create(&path)?;
        for _ in 0..(bytes + bytes / 4).div_ceil(piece as u64) {
            file.write_all(&BYTES[..piece])?;
        }
        fs::remove_file(&path)?;
    }
    Ok(())
}

/// Writes what the server before has left to the kernel: its successors would pay for it with their own syncs, a fifth of
/// their CPU.
fn settle_disk(folder: &Path) -> Result<()> {
    Ok(rustix::fs::syncfs(fs::File::open(folder)?)?)
}

fn remove_large(files: &Path) {
    for entry in fs::read_dir(files).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("put-large-") {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
