//! The load: a client that costs little, so that the server is what is measured.
//!
//! It throws received bytes away inside the kernel (`MSG_TRUNC`) and sends one large buffer again and again.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hfs_core::auth::{self, Dialect, Keyring, Secret, SlotRequest};
use hfs_core::{ByteSize, SlotPath, Timestamp};
use rustix::net::RecvFlags;

use crate::peers::{Peer, SECRET};
use crate::report::Bound::{self, AtLeast, AtMost};
use crate::report::{Goal, What};

/// One kind of work.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    kind: Kind,
    size: u64,
    requests: u64,
    connections: u64,
    /// What the CPU is divided by, and its name.
    pub(crate) unit: (&'static str, f64),
    pub(crate) goals: &'static [Goal],
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    Get,
    Put,
}

/// What one round cost.
#[derive(Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) cpu: f64,
    pub(crate) wall: f64,
}

const GIB: u64 = 1 << 30;
const PER_GIB: (&str, f64) = ("CPU-s/GiB", 1.0);
const PER_REQUEST: (&str, f64) = ("CPU-us/request", 1e6);

const fn cpu(of: &'static str, over: &'static str, bound: Bound) -> Goal {
    Goal { of, over, what: What::Cpu, bound }
}

impl Load {
    /// Everything that is measured, in the order of the table.
    pub(crate) fn all() -> Vec<Self> {
        let get = Self {
            id: "get-large",
            name: "GET 1 GiB",
            kind: Kind::Get,
            size: GIB,
            requests: 2,
            connections: 1,
            unit: PER_GIB,
            goals: const {
                &[
                    cpu("adaptive", "nginx", AtMost(0.95)),
                    cpu("adaptive", "standard", AtMost(1.02)),
                    cpu("pinned", "standard", AtMost(1.02)),
                ]
            },
        };
        let small = Self {
            id: "get-small",
            name: "GET 64 KiB, keep-alive",
            size: 64 << 10,
            requests: 20_000,
            connections: 4,
            unit: PER_REQUEST,
            goals: const { &[cpu("adaptive", "nginx", AtMost(0.95)), cpu("pinned", "standard", AtMost(1.02))] },
            ..get
        };
        let put = Self {
            id: "put-large",
            name: "PUT 1 GiB",
            kind: Kind::Put,
            requests: 1,
            goals: const {
                &[
                    cpu("adaptive", "nginx", AtMost(1.0)),
                    cpu("adaptive", "standard", AtMost(0.35)),
                    Goal { of: "adaptive", over: "standard", what: What::Throughput, bound: AtLeast(2.0) },
                    cpu("pinned", "standard", AtMost(1.02)),
                ]
            },
            ..get
        };
        let many = Self {
            id: "put-small",
            name: "PUT 64 KiB, 32 clients",
            kind: Kind::Put,
            requests: 3200,
            connections: 32,
            goals: const { &[cpu("adaptive", "nginx", AtMost(1.8)), cpu("pinned", "standard", AtMost(1.02))] },
            ..small
        };
        vec![get, small, put, many]
    }

    /// Their names on the command line.
    pub(crate) fn ids() -> String {
        Self::all().iter().map(|load| load.id).collect::<Vec<_>>().join(",")
    }

    /// One round against `peer`: CPU and wall time per GiB or per request.
    pub(crate) fn run(&self, peer: &Peer, round: usize) -> Result<Measured> {
        if self.kind == Kind::Get && round == 0 {
            Self { kind: Kind::Put, requests: 1, connections: 1, ..*self }.transfer(peer, "source")?;
        }
        let (cpu, begin) = (peer.cpu_seconds()?, Instant::now());
        self.transfer(peer, &format!("{round}"))?;
        let wall = begin.elapsed().as_secs_f64() / self.requests as f64;
        let cpu = (peer.cpu_seconds()? - cpu) / self.requests as f64;
        if self.kind == Kind::Put && self.size == GIB {
            // Room on the disk, and room in the page cache for the next round.
            remove_large(&peer.files);
        }
        Ok(Measured { cpu, wall })
    }

    fn transfer(&self, peer: &Peer, round: &str) -> Result<()> {
        let next = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let worker = || -> Result<()> {
                let mut stream = connect(peer)?;
                while next.fetch_add(1, Ordering::Relaxed) < self.requests {
                    let number = next.load(Ordering::Relaxed);
                    match self.kind {
                        Kind::Get => self.get(peer, &mut stream)?,
                        Kind::Put => self.put(peer, &mut stream, round, number)?,
                    }
                }
                Ok(())
            };
            let workers: Vec<_> = (0..self.connections).map(|_| scope.spawn(worker)).collect();
            workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| bail!("a client panicked")))
        })
        .with_context(|| format!("{} at {}", self.name, peer.name))
    }

    fn get(&self, peer: &Peer, stream: &mut TcpStream) -> Result<()> {
        let slot = self.slot("source", 1);
        write!(stream, "GET /{slot} HTTP/1.1\r\nHost: {}\r\n\r\n", peer.address)?;
        let (head, extra) = read_head(stream)?;
        ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
        discard(stream, self.size - extra)
    }

    fn put(&self, peer: &Peer, stream: &mut TcpStream, round: &str, number: u64) -> Result<()> {
        static BYTES: [u8; 1 << 20] = [b'x'; 1 << 20];
        let slot = self.slot(round, number);
        let target = if peer.signed { signed(&slot, self.size)? } else { format!("/{slot}") };
        write!(stream, "PUT {target} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n", peer.address, self.size)?;
        let mut left = self.size;
        while left > 0 {
            let piece = usize::try_from(left)?.min(BYTES.len());
            stream.write_all(&BYTES[..piece])?;
            left -= piece as u64;
        }
        let (head, _) = read_head(stream)?;
        ensure!(head.starts_with("HTTP/1.1 201 "), "{head}");
        Ok(())
    }

    fn slot(&self, round: &str, number: u64) -> String {
        format!("{}/{round}-{number}/blob.bin", self.size)
    }
}

/// Keeps the load off the servers' core.
pub(crate) fn pin_to(cpu: usize) -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set).context("two cores are needed")
}

fn connect(peer: &Peer) -> Result<TcpStream> {
    let stream = TcpStream::connect(peer.address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    Ok(stream)
}

fn signed(slot: &str, size: u64) -> Result<String> {
    let keys = Keyring { secrets: vec![Secret::new(SECRET)], ..Keyring::default() };
    let slot = SlotPath::parse(slot)?;
    let never = Timestamp::from_unix(0);
    let request = SlotRequest {
        slot: &slot,
        size: ByteSize::bytes(size),
        media_type: None,
        owner: None,
        issued: never,
        valid_until: never,
        delete_at: None,
    };
    let signed = auth::sign(Dialect::V1, &request, &keys)?;
    Ok(format!("/{}?{}", signed.path, signed.query.unwrap_or_default()))
}

/// Reads a response head; returns it and the number of body bytes that came with it.
fn read_head(stream: &mut TcpStream) -> Result<(String, u64)> {
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let count = stream.read(&mut piece)?;
        ensure!(count > 0, "the server closed the connection");
        head.extend_from_slice(&piece[..count]);
        if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            return Ok((String::from_utf8_lossy(&head[..end]).into_owned(), (head.len() - end - 4) as u64));
        }
    }
}

fn discard(stream: &TcpStream, mut left: u64) -> Result<()> {
    let mut scratch = vec![0; 1 << 20];
    while left > 0 {
        let piece = usize::try_from(left)?.min(scratch.len());
        let (_, count) = rustix::net::recv(stream, &mut scratch[..piece], RecvFlags::TRUNC)?;
        ensure!(count > 0, "the body ended {left} bytes early");
        left -= count as u64;
    }
    Ok(())
}

fn remove_large(files: &std::path::Path) {
    let folder = files.join(GIB.to_string());
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with("source") {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
