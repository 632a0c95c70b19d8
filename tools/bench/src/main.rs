//! Server CPU per GiB and per request, and goodput over emulated links, interleaved in one run.
//!
//! Run by `cargo xtask bench`, which builds the server in release mode and names it in `HFS_BENCH_SERVER`. Machines are
//! noisy: only ratios of medians within one run mean anything, and CPU means more than wall time. Servers take turns
//! and the turn rotates, the first round is a warm-up, servers are pinned to one core and the load of uploads to another.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command for people")]

mod asked;
mod client;
mod floor;
mod folder;
mod goal;
mod http;
mod journal;
mod links;
mod load;
mod machine;
mod memory;
mod numbers;
mod ours;
mod paired;
mod peers;
mod process;
mod report;
mod tls;

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::asked::{Asked, Bench, help};
use crate::folder::Folder;
use crate::report::Table;

/// Words that make this program a wrapper: what follows them runs without any sync to disk.
const UNSYNCED: &str = "without-sync";
/// Word that makes it a server: [`floor`].
const FLOOR: &str = "floor";
/// Of the report on them.
const SERVERS: &str = "Server CPU and memory";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match bench(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(words: &[String]) -> Result<()> {
    match words {
        [word, rest @ ..] if word == UNSYNCED => return Err(process::replace_without_sync(rest)),
        [word, rest @ ..] if word == FLOOR => return floor::serve_as_told(rest),
        _ if words.iter().any(|word| word == "--help" || word == "-h") => {
            println!("{}", help());
            return Ok(());
        }
        _ => {}
    }
    let asked = Asked::understand(words)?;
    let binary = std::env::var_os("HFS_BENCH_SERVER").map(PathBuf::from);
    let binary = binary.context("HFS_BENCH_SERVER must name the release binary: run `cargo xtask bench`")?;
    // On a real disk: /tmp is often memory.
    let beside = binary.parent().context("the binary lies in no folder")?;
    let folder = Folder::create(beside)?;
    let command = format!("cargo xtask bench {}", words.join(" ")).trim_end().to_owned();
    match &asked.bench {
        Bench::Links(links) => {
            let table = links::measure(links, &binary, folder.path(), command)?;
            publish("Transfers over emulated links", &table, &table.json(), asked.out.as_deref())
        }
        Bench::Servers(servers) => {
            let so_far = beside.join("bench-so-far");
            let keep = |table: &Table| write(SERVERS, table, &table.json(), &so_far);
            let table = load::measure(servers, &binary, folder.path(), command, keep)?;
            publish(SERVERS, &table, &table.json(), asked.out.as_deref())
        }
    }
}

/// Prints the table, and writes it where it shall go: Markdown and JSON.
fn publish(title: &str, table: &impl Display, json: &serde_json::Value, out: Option<&Path>) -> Result<()> {
    println!("\n{table}");
    let Some(out) = out else { return Ok(()) };
    write(title, table, json, out)?;
    println!("Written to {}", out.with_extension("md").display());
    Ok(())
}

fn write(title: &str, table: &impl Display, json: &serde_json::Value, out: &Path) -> Result<()> {
    if let Some(folder) = out.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(out.with_extension("md"), format!("# {title}\n\n{table}"))?;
    Ok(fs::write(out.with_extension("json"), serde_json::to_string_pretty(json)? + "\n")?)
}
