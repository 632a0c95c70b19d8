//! Every chore of the project, so that a machine with the Rust toolchain needs to know one command: `cargo xtask`.
//!
//! This file reads the command line; each chore is a module. Called by people and by `.ci/run`. It has no dependency
//! but `anyhow`, so that a cold machine starts the first chore within seconds.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command for people")]

mod bench;
mod cargo_tools;
mod docs;
mod links;
mod lint;
mod netlab;
mod packages;
mod place;
mod python;
mod run;
mod test;

use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
Chores of hmac-file-server

  cargo xtask test [ARGS]     every test, real servers included; ARGS go to `cargo test`
  cargo xtask soak [ARGS]     the same tests in their long versions (hours)
  cargo xtask bench           server CPU and memory beside nginx, Caddy, dufs and Prosody
  cargo xtask bench --links   goodput over emulated links, standard arm against adaptive arm
  cargo xtask netlab SHAPE    an emulated link between two network namespaces, to try things on
  cargo xtask lint            formatting, clippy, cargo-deny, cargo-audit
  cargo xtask docs [--check]  writes what is generated in the documents, or checks it and every link and anchor

`test` and `soak` install the Debian and PyPI packages that are missing when they may (as root), and say which are
missing when they may not. Caches lie in $XDG_CACHE_HOME/hmac-file-server.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match chore(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn chore(arguments: &[String]) -> Result<()> {
    let (name, rest) = arguments.split_first().map_or(("help", arguments), |(name, rest)| (name.as_str(), rest));
    match (name, rest) {
        ("test", rest) => test::test(rest),
        ("soak", rest) => test::soak(rest),
        ("bench", rest) => bench::bench(rest),
        ("netlab", rest) => netlab::netlab(rest),
        ("lint", []) => lint::lint(),
        ("docs", []) => docs::write(),
        ("docs", [flag]) if flag == "--check" => docs::check(),
        ("help" | "-h" | "--help", _) => {
            println!("{HELP}");
            Ok(())
        }
        _ => bail!("no such chore: {}\n\n{HELP}", arguments.join(" ")),
    }
}
