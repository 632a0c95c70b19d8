//! Server CPU per GiB and per request for PUT and GET: both arms of ours, and nginx, in the same run.
//!
//! Run by `cargo xtask bench`, which builds the server in release mode and names it in `HFS_BENCH_SERVER`. Machines
//! are noisy: only ratios of medians within one run mean anything, and CPU means more than wall time. Rounds are
//! interleaved (A B C, A B C), the first is a warm-up, servers are pinned to one core and the load to another.
#![allow(clippy::print_stdout, reason = "a command for people")]

mod client;
mod machine;
mod peers;
mod report;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};

use crate::client::Load;
use crate::peers::Peer;
use crate::report::{Row, Table};

/// Counted rounds of each server, unless `--rounds` says otherwise.
const ROUNDS: usize = 5;

/// What the command line asks for.
struct Asked {
    rounds: usize,
    only: Vec<String>,
    peers: Vec<String>,
    out: Option<PathBuf>,
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let asked = understand(&words)?;
    let binary = std::env::var_os("HFS_BENCH_SERVER").map(PathBuf::from);
    let binary = binary.context("HFS_BENCH_SERVER must name the release binary: run `cargo xtask bench`")?;
    // On a real disk: /tmp is often memory.
    let beside = binary.parent().context("the binary lies in no folder")?;
    let folder = tempfile::Builder::new().prefix("bench").tempdir_in(beside)?;
    client::pin_to(1)?;
    let mut peers = Vec::new();
    for name in &asked.peers {
        peers.push(Peer::start_named(name, &binary, folder.path())?);
    }
    let command = format!("cargo xtask bench {}", words.join(" ")).trim_end().to_owned();
    let names = peers.iter().map(|peer| peer.name).collect();
    let mut table = Table { peers: names, machine: machine::describe()?, command, rows: Vec::new() };
    for load in
        Load::all().into_iter().filter(|load| asked.only.is_empty() || asked.only.iter().any(|id| id == load.id))
    {
        println!("{} ...", load.name);
        table.rows.push(compare(&load, &peers, asked.rounds)?);
    }
    println!("\n{table}");
    if let Some(out) = asked.out {
        let json = serde_json::to_string_pretty(&table.json())?;
        std::fs::write(out.with_extension("md"), format!("# Server CPU\n\n{table}"))?;
        std::fs::write(out.with_extension("json"), json + "\n")?;
    }
    Ok(())
}

fn understand(words: &[String]) -> Result<Asked> {
    let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    let mut asked =
        Asked { rounds: ROUNDS, only: Vec::new(), peers: list("adaptive,standard,pinned,nginx"), out: None };
    let mut words = words.iter();
    while let Some(flag) = words.next() {
        let value = words.next().with_context(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--rounds" => asked.rounds = value.parse().context("--rounds wants a number")?,
            "--only" => asked.only = list(value),
            "--peers" => asked.peers = list(value),
            "--out" => asked.out = Some(value.into()),
            _ => {
                bail!("unknown option {flag}: --rounds N, --only {}, --peers {}, --out FILE", Load::ids(), Peer::NAMES)
            }
        }
    }
    ensure!(asked.rounds > 0, "at least one round");
    for id in &asked.only {
        ensure!(Load::all().iter().any(|load| load.id == id), "there is no load `{id}`: {}", Load::ids());
    }
    Ok(asked)
}

/// Runs `load` against all peers in turn.
fn compare(load: &Load, peers: &[Peer], rounds: usize) -> Result<Row> {
    let mut row = Row::new(load);
    for round in 0..=rounds {
        let measured = peers.iter().map(|peer| load.run(peer, round)).collect::<Result<Vec<_>>>()?;
        if round > 0 {
            row.push(measured);
        }
    }
    Ok(row)
}
