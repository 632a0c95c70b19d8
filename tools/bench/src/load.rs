//! [`Load`]: the kinds of work that servers are measured by, in rounds and closely.

mod close;
mod disk;
mod table;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use crate::client::Client;
use crate::goal::{Goal, Measured};
use crate::journal::Journaled;
use crate::peers::{Peer, Proof};
use crate::report::{Row, Table};
use crate::{machine, memory};

use self::table::LOADS;

pub(crate) use self::close::EFFORT;

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
    /// Who is compared closely with itself: what no difference looks like.
    itself: Option<&'static str>,
    /// Whether it is a slice of a close comparison.
    is_slice: bool,
}

const GIB: u64 = 1 << 30;
const SMALL_SIZE: u64 = 64 << 10;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Get,
    Put,
    /// Memory of uploads that trickle.
    Slow,
    /// Memory of connections between two requests.
    Idle,
}

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
}

/// What the command line asks for; everything where a list is empty.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Counted rounds; with none, servers are compared closely only.
    pub(crate) rounds: usize,
    /// Loads.
    pub(crate) only: Vec<String>,
    /// Servers.
    pub(crate) peers: Vec<String>,
    /// Who is compared closely, instead of those that goals name.
    pub(crate) pairs: Vec<(String, String)>,
    /// Every load is divided by this: to see that the bench works, not what the servers can do.
    pub(crate) part: u64,
}

/// Where the servers of a load start.
struct Site<'a> {
    asked: &'a Asked,
    binary: &'a Path,
    folder: PathBuf,
}

/// Measures what is asked for. `folder` is on a real disk.
/// `keep` is given what there is after each load: a quarter of an hour is not lost with the last of them.
pub(crate) fn measure(
    asked: &Asked,
    binary: &Path,
    folder: &Path,
    command: String,
    keep: impl Fn(&Table) -> Result<()>,
) -> Result<Table> {
    for id in &asked.only {
        ensure!(LOADS.iter().any(|load| load.id == id), "there is no load `{id}`: {}", Load::ids());
    }
    // Dropped after the servers that use it.
    let mut journaled: Option<Journaled> = None;
    let mut running = BTreeMap::new();
    let mut table = Table { machine: machine::describe()?, command, rows: Vec::new() };
    for load in LOADS.iter().filter(|load| asked.only.is_empty() || asked.only.iter().any(|id| id == load.id)) {
        println!("{} ...", load.name);
        pin_to(load.core())?;
        let disk = match &mut journaled {
            _ if !load.is_journaled => folder,
            Some(mounted) => mounted.path(),
            none => none.insert(Journaled::mount(folder, asked.part)?).path(),
        };
        let site = Site { asked, binary, folder: disk.join(load.kind.folder()) };
        let row = match load.kind {
            Kind::Slow | Kind::Idle => load.hold(&site)?,
            Kind::Get | Kind::Put => load.compare(&site, &mut running)?,
        };
        println!("{row}");
        table.rows.push(row);
        keep(&table)?;
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

    /// Where the load runs; servers are on the first core. Downloads share it: beside each other, chance decides whose
    /// time the kernel's work is. An acknowledgement that meets an idle socket makes the client's core send what follows,
    /// and a server's CPU for one and the same file was anything from 0.08 to 0.4 s per GiB. Sharing costs them speed.
    fn core(&self) -> usize {
        match self.kind {
            Kind::Get => 0,
            Kind::Put if self.is_in_step() => 0,
            Kind::Put | Kind::Slow | Kind::Idle => 1,
        }
    }

    /// Whether load and server go in step: large uploads, where they are compared closely. They share the core, and little
    /// is in between them: so bytes are received while they lie in a cache, always, and not when chance wants it. And the
    /// memory that a slice needs is what the slice before has just freed. Without all that, the same server twice was
    /// told apart to 20 % only.
    fn is_in_step(&self) -> bool {
        self.is_slice && self.kind == Kind::Put && self.is_large()
    }

    /// Bytes between load and server; `None`: as the system has it.
    fn send_buffer(&self) -> Option<usize> {
        self.is_in_step().then_some(128 << 10)
    }

    /// Those that have rounds: the usual ones, or those that are wanted.
    fn servers<'a>(&self, asked: &'a Asked) -> Vec<&'a str>
    where
        Self: 'a,
    {
        match asked {
            Asked { rounds: 0, .. } => Vec::new(),
            Asked { peers, .. } if peers.is_empty() => self.peers.to_vec(),
            Asked { peers, .. } => peers.iter().map(String::as_str).collect(),
        }
    }

    /// Rounds in which each server has its turn, and each is the first once in a while. The first round is not counted.
    /// Then those that are compared closely.
    fn compare(&self, site: &Site<'_>, running: &mut BTreeMap<PathBuf, Peer>) -> Result<Row> {
        if self.kind == Kind::Get {
            self.provide(site)?;
        }
        let names = self.servers(site.asked);
        for name in &names {
            match running.entry(site.folder.join(name)) {
                Entry::Vacant(vacant) => {
                    _ = vacant.insert(self.start(name, site, &site.folder, &site.folder.join(name))?)
                }
                // It runs since another load, whose file it has.
                Entry::Occupied(running) => self.provide_by_itself(running.get())?,
            }
        }
        let peers: Vec<&Peer> = names.iter().map(|name| &running[&site.folder.join(name)]).collect();
        let mut row = Row::new(self, &names);
        for round in (0..=site.asked.rounds).filter(|_| !peers.is_empty()) {
            for turn in 0..peers.len() {
                let index = (turn + round) % peers.len();
                let measured = self.run(peers[index], round)?;
                if round > 0 {
                    row.push(index, measured);
                }
            }
        }
        if self.is_journaled {
            // Room in a small file system: these servers have done what they were for.
            running.retain(|folder, _| !folder.starts_with(&site.folder));
            remove_if_there(&site.folder)?;
        }
        self.compare_closely(site, &mut row)?;
        Ok(row)
    }

    /// The same for memory: with servers that have done nothing else.
    fn hold(&self, site: &Site<'_>) -> Result<Row> {
        let names = self.servers(site.asked);
        let connections = (self.connections / site.asked.part).max(1);
        let mut row = Row::new(self, &names);
        for round in 0..site.asked.rounds {
            for (index, name) in names.iter().enumerate() {
                let folder = site.folder.join(format!("{}-{name}-{round}", self.id));
                let peer = Peer::start(name, site.binary, &folder, &folder.join("files"))?;
                let each = match self.kind {
                    Kind::Slow => memory::of_slow_uploads(&peer, connections, self.size)?,
                    _ => memory::of_idle_connections(&peer, connections)?,
                };
                row.push(index, Measured { memory: each, ..Measured::default() });
            }
        }
        Ok(row)
    }

    /// Starts a server with its configuration and log in `folder`; uploads go into `files`.
    fn start(&self, name: &str, site: &Site<'_>, folder: &Path, files: &Path) -> Result<Peer> {
        let shared = site.folder.join("files");
        let mut peer = Peer::start(name, site.binary, folder, if self.kind == Kind::Get { &shared } else { files })?;
        peer.part *= site.asked.part;
        self.provide_by_itself(&peer)?;
        Ok(peer)
    }

    /// Puts there what downloads fetch from the only server that cannot share files with others.
    fn provide_by_itself(&self, peer: &Peer) -> Result<()> {
        if self.kind == Kind::Get && peer.proof == Proof::Token { self.provide_by(peer) } else { Ok(()) }
    }

    /// Puts there what downloads fetch, once for all servers. By ours: it serves nothing that it does not know.
    fn provide(&self, site: &Site<'_>) -> Result<()> {
        let folder = site.folder.join(format!("{}-source", self.id));
        self.provide_by(&self.start("adaptive", site, &folder, &folder)?)
    }

    fn provide_by(&self, peer: &Peer) -> Result<()> {
        let (size, _) = self.share(peer);
        Client::connect(peer, None)?.put(peer, &self.slot("source"), size).map(drop)
    }

    /// One round against `peer`: CPU and wall time per GiB or per request.
    fn run(&self, peer: &Peer, round: usize) -> Result<Measured> {
        if self.kind == Kind::Put {
            let (size, requests) = self.share(peer);
            if !self.is_in_step() {
                disk::warm_memory(&peer.files, size * requests)?;
            }
            disk::settle(&peer.files)?;
        }
        let (cpu, begin) = (peer.cpu()?, Instant::now());
        let tail = self.transfer(peer, round).with_context(|| format!("{} at {}", self.name, peer.name))?;
        let (wall, cpu) = (begin.elapsed(), peer.cpu()? - cpu);
        if self.kind == Kind::Put && self.is_large() {
            // Room on the disk.
            disk::remove_large(&peer.files);
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

    /// All requests of a round; returns the seconds from the last byte of the last upload to its answer.
    fn transfer(&self, peer: &Peer, round: usize) -> Result<f64> {
        let (size, requests) = self.share(peer);
        let next = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let worker = || -> Result<f64> {
                let mut client = Client::connect(peer, self.send_buffer())?;
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

fn remove_if_there(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Keeps the load on one core.
fn pin_to(cpu: usize) -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set).context("two cores are needed")
}
