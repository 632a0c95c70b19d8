//! Server CPU per GiB and per request for PUT and GET, against nginx in the same run.
//!
//! Run by `cargo xtask bench`, which builds the server in release mode and names it in `HFS_BENCH_SERVER`. Machines
//! are noisy: only ratios of medians within one run mean anything, and CPU means more than wall time. Rounds are
//! interleaved (A B A B), the first is a warm-up, servers are pinned to one core and the load to another.
#![allow(clippy::print_stdout, reason = "a command for people")]

mod client;
mod peers;
mod report;

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::client::Load;
use crate::peers::Peer;
use crate::report::{Row, Table};

/// Counted rounds of each server.
const ROUNDS: usize = 5;

fn main() -> Result<()> {
    let binary = std::env::var_os("HFS_BENCH_SERVER").map(PathBuf::from);
    let binary = binary.context("HFS_BENCH_SERVER must name the release binary: run `cargo xtask bench`")?;
    // On a real disk: /tmp is often memory.
    let beside = binary.parent().context("the binary lies in no folder")?;
    let folder = tempfile::Builder::new().prefix("bench").tempdir_in(beside)?;
    client::pin_to(1)?;
    let ours = Peer::hmac_file_server(&binary, folder.path())?;
    let nginx = Peer::nginx(folder.path())?;

    let mut table = Table::new();
    for load in [Load::get_large(), Load::get_small(), Load::put_large(), Load::put_small()] {
        println!("{} ...", load.name);
        table.push(compare(&load, &ours, &nginx)?);
    }
    println!("\n{table}");
    Ok(())
}

/// Runs `load` against both in turn.
fn compare(load: &Load, ours: &Peer, nginx: &Peer) -> Result<Row> {
    let mut row = Row::new(load);
    for round in 0..=ROUNDS {
        let measured = (load.run(ours, round)?, load.run(nginx, round)?);
        if round > 0 {
            row.push(measured);
        }
    }
    Ok(row)
}
