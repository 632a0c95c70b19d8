//! `bench --links`: what clients reach over emulated links, standard arm against adaptive arm.
//!
//! Each link is a laboratory of its own (`tools/netlab`) whose networks are on cubic, with a server of each arm. A round
//! is one transfer of each kind in turn, and the turn rotates: A B C, B C A, C A B; each throws the same dice for what is
//! lost. Where rounds do not agree, chance may be what decides, and twice as many follow. Several links run at once: a
//! transfer at 100 Mbit/s leaves most of a core idle, and a round in which the emulator was too late is thrown again, at
//! most as many as were asked for.

mod http2;
mod report;
mod transfer;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use netlab::{Lab, Setup, Shape};

use crate::machine;
pub(crate) use report::Table;
use report::{Goal, Kind, Row};
use transfer::{PAUSE, Site, Transfer};

/// Which way the bytes of the body go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verb {
    Get,
    Put,
}

/// What carries them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Carrier {
    /// HTTP/1.1 in cleartext.
    Http1,
    /// HTTP/2 over TLS.
    Http2,
    /// The same, with [`AT_ONCE`] bodies of so many bytes under way, one after another until the time is over.
    Small(u64),
}

/// How many of them.
const AT_ONCE: usize = 8;

/// One link, one direction, one carrier.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    shape: &'static str,
    verb: Verb,
    carrier: Carrier,
    goal: Goal,
}

const fn case(id: &'static str, name: &'static str, shape: &'static str, verb: Verb, goal: Goal) -> Case {
    Case { id, name, shape, verb, carrier: Carrier::Http1, goal }
}

/// The same over HTTP/2.
const fn http2(id: &'static str, name: &'static str, shape: &'static str, verb: Verb, goal: Goal) -> Case {
    Case { carrier: Carrier::Http2, ..case(id, name, shape, verb, goal) }
}

/// Many bodies of `size` over one connection.
const fn small(id: &'static str, name: &'static str, shape: &'static str, verb: Verb, size: u64, goal: Goal) -> Case {
    Case { carrier: Carrier::Small(size), ..case(id, name, shape, verb, goal) }
}

/// Everything that is measured. Loss is that of one way, and both ways have it; delays in names are round trips.
pub(crate) const CASES: [Case; 22] = {
    use Goal::{Beside, NotWorse, Times};
    use Verb::{Get, Put};
    [
        case("get-lossy", "GET, 100 Mbit/s, 40 ms, 2 % loss", "rate=100mbit delay=20ms loss=2%", Get, Times(10.0)),
        case("get-loss", "GET, 100 Mbit/s, 40 ms, 0.2 % loss", "rate=100mbit delay=20ms loss=0.2%", Get, Times(4.0)),
        case("get-100-40", "GET, 100 Mbit/s, 40 ms", "rate=100mbit delay=20ms", Get, NotWorse),
        case("get-100-300", "GET, 100 Mbit/s, 300 ms", "rate=100mbit delay=150ms", Get, NotWorse),
        case("get-10-40", "GET, 10 Mbit/s, 40 ms", "rate=10mbit delay=20ms", Get, NotWorse),
        case("get-10-300", "GET, 10 Mbit/s, 300 ms", "rate=10mbit delay=150ms", Get, NotWorse),
        case("put-100-40", "PUT, 100 Mbit/s, 40 ms", "rate=100mbit delay=20ms", Put, NotWorse),
        case("put-100-300", "PUT, 100 Mbit/s, 300 ms", "rate=100mbit delay=150ms", Put, NotWorse),
        case("put-10-40", "PUT, 10 Mbit/s, 40 ms", "rate=10mbit delay=20ms", Put, NotWorse),
        case("put-10-300", "PUT, 10 Mbit/s, 300 ms", "rate=10mbit delay=150ms", Put, NotWorse),
        case("put-lossy", "PUT, 100 Mbit/s, 40 ms, 2 % loss", "rate=100mbit delay=20ms loss=2%", Put, Beside),
        case("put-loss", "PUT, 100 Mbit/s, 40 ms, 0.2 % loss", "rate=100mbit delay=20ms loss=0.2%", Put, Beside),
        http2(
            "h2-get-lossy",
            "GET, HTTP/2, 100 Mbit/s, 40 ms, 2 % loss",
            "rate=100mbit delay=20ms loss=2%",
            Get,
            Times(10.0),
        ),
        http2("h2-get-100-300", "GET, HTTP/2, 100 Mbit/s, 300 ms", "rate=100mbit delay=150ms", Get, NotWorse),
        http2("h2-put-100-40", "PUT, HTTP/2, 100 Mbit/s, 40 ms", "rate=100mbit delay=20ms", Put, NotWorse),
        http2("h2-put-100-300", "PUT, HTTP/2, 100 Mbit/s, 300 ms", "rate=100mbit delay=150ms", Put, Times(2.0)),
        small("h2-put-64k-40", "PUT, 8 x 64 KiB, HTTP/2, 100 Mbit/s, 40 ms", NEAR, Put, 64 << 10, NotWorse),
        small("h2-put-64k-300", "PUT, 8 x 64 KiB, HTTP/2, 100 Mbit/s, 300 ms", FAR, Put, 64 << 10, NotWorse),
        small("h2-put-1m-40", "PUT, 8 x 1 MiB, HTTP/2, 100 Mbit/s, 40 ms", NEAR, Put, 1 << 20, NotWorse),
        small("h2-put-1m-300", "PUT, 8 x 1 MiB, HTTP/2, 100 Mbit/s, 300 ms", FAR, Put, 1 << 20, Times(1.0)),
        small("h2-get-64k-40", "GET, 8 x 64 KiB, HTTP/2, 100 Mbit/s, 40 ms", NEAR, Get, 64 << 10, NotWorse),
        small("h2-get-64k-300", "GET, 8 x 64 KiB, HTTP/2, 100 Mbit/s, 300 ms", FAR, Get, 64 << 10, NotWorse),
    ]
};

const NEAR: &str = "rate=100mbit delay=20ms";
const FAR: &str = "rate=100mbit delay=150ms";

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Counted transfers of each kind.
    pub(crate) rounds: usize,
    /// Of one transfer.
    pub(crate) span: Duration,
    /// Links at a time.
    pub(crate) jobs: usize,
    /// Their ids; all when empty.
    pub(crate) only: Vec<String>,
}

impl Asked {
    /// How long so many links take.
    fn expected(&self, links: usize) -> Duration {
        let rounds = u32::try_from(self.rounds * Kind::ALL.len()).unwrap_or(u32::MAX);
        let each = self.span / 2 + PAUSE + (self.span + PAUSE).saturating_mul(rounds);
        each.saturating_mul(u32::try_from(links.div_ceil(self.jobs)).unwrap_or(u32::MAX))
    }
}

/// Measures what is asked for. `folder` is on a real disk.
pub(crate) fn measure(asked: &Asked, binary: &Path, folder: &Path, command: String) -> Result<Table> {
    for id in &asked.only {
        ensure!(CASES.iter().any(|case| case.id == id), "there is no link `{id}`: {}", ids());
    }
    let wanted = |case: &&Case| asked.only.is_empty() || asked.only.iter().any(|id| id == case.id);
    let cases: Vec<Case> = CASES.iter().filter(wanted).copied().collect();
    let minutes = asked.expected(cases.len()).as_secs().div_ceil(60);
    println!("{} links, about {minutes} minutes, and more where rounds do not agree", cases.len());
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Row)>> = Mutex::default();
    std::thread::scope(|scope| {
        let worker = || -> Result<()> {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(case) = cases.get(index) else { return Ok(()) };
                let folder = folder.join(case.id);
                std::fs::create_dir(&folder)?;
                let row = compare(case, asked, binary, &folder).with_context(|| case.name)?;
                println!("{row}");
                std::fs::remove_dir_all(&folder)?;
                done.lock().map_err(|_| anyhow::anyhow!("another link failed"))?.push((index, row));
            }
        };
        let workers: Vec<_> = (0..asked.jobs).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| bail!("a link panicked")))
    })?;
    let mut rows = done.into_inner().unwrap_or_default();
    rows.sort_by_key(|(index, _)| *index);
    let rows = rows.into_iter().map(|(_, row)| row).collect();
    Ok(Table { machine: machine::describe()?, command, span: asked.span, rows })
}

/// The ids, for the command line.
pub(crate) fn ids() -> String {
    CASES.map(|case| case.id).join(",")
}

/// All rounds of one link.
fn compare(case: &Case, asked: &Asked, binary: &Path, folder: &Path) -> Result<Row> {
    let shape = Shape::parse(case.shape)?;
    let setup = Setup { shape, congestion: Some("cubic".to_owned()), seed: 1 };
    let lab = Lab::build(&setup)?;
    let size = match case.carrier {
        Carrier::Small(size) => size,
        Carrier::Http1 | Carrier::Http2 => size(&shape, asked.span),
    };
    let site = Site::start(&lab, binary, folder, case.carrier, size)?;
    let transfer = |kind: Kind, client: u8| Transfer { verb: case.verb, kind, client, span: asked.span };
    let mut clients = 0..=u8::MAX;
    let mut next = || clients.next().context("no address is left for one more client");
    // What the warm one is warm from.
    let acquainted = |client: u8| -> Result<u8> {
        site.run(&Transfer { span: asked.span / 2, ..transfer(Kind::Warm, client) })?;
        Ok(client)
    };
    let mut warm = acquainted(next()?)?;
    let mut row = Row::new(case);
    let (mut round, mut rounds) = (0, asked.rounds);
    while round < rounds {
        let mut turn = Kind::ALL;
        turn.rotate_left(round % Kind::ALL.len());
        let stranger = next()?;
        let _ = lab.link.take_latest();
        let mut outcomes = Vec::new();
        for kind in turn {
            // The link is quiet: each kind meets the same losses, as far as it sends alike.
            lab.link.repeat_chance(chance(case, round));
            let client = if kind == Kind::Warm { warm } else { stranger };
            outcomes.push((kind, site.run(&transfer(kind, client))?));
        }
        let latest = lab.link.take_latest();
        if latest > LATE && row.thrown_again < asked.rounds {
            row.thrown_again += 1;
            // This one's profile has learnt from what does not count.
            warm = acquainted(next()?)?;
            continue;
        }
        row.latest = row.latest.max(Some(latest));
        row.push(&outcomes);
        round += 1;
        if round == asked.rounds && !row.is_unanimous() {
            rounds *= 3;
        }
    }
    let ways = [netlab::Way::Up, netlab::Way::Down].map(|way| lab.link.counters(way));
    row.lateness = ways.iter().map(|way| way.mean_lateness()).max();
    Ok(row)
}

/// A packet so late changes what follows: on a long clean path one burst more is lost, and a transfer pays for that until
/// its end.
const LATE: Duration = Duration::from_millis(50);

/// Of the dice of one round.
fn chance(case: &Case, round: usize) -> u64 {
    let case = CASES.iter().position(|known| known.id == case.id).unwrap_or_default();
    ((case << 16) | round) as u64
}

/// More than a link can carry in time.
fn size(shape: &Shape, span: Duration) -> u64 {
    let rate = shape.rate.unwrap_or(1_000_000_000) as f64 / 8.0;
    (rate * (span.as_secs_f64() + 2.0)) as u64
}
