//! `cargo xtask test` and `cargo xtask soak`: what the tests need, then the tests.
//!
//! The black-box tests run twice: servers take the adaptive arm, which is the default, and then the standard one.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::run::run;
use crate::{packages, place, python};

/// Where this variable is set, the black-box tests start their servers in the standard arm (`rig/server.rs`).
const STANDARD_ARM: &str = "HFS_TEST_STANDARD_ARM";

/// Files of black-box tests that do not run again in the standard arm, and why. Whatever is not named here does.
const NOT_AGAIN: [(&str, &[&str]); 3] = [
    (
        "they choose the arm themselves or are about adapting",
        &["admin", "arms", "documents", "lanes", "links", "profiles"],
    ),
    ("they are about processes and clocks, not about HTTP", &["clock", "crash", "manager", "powercut", "trial"]),
    ("their requests are those of other tests, with XMPP around them", &["ejabberd", "prosody"]),
];

/// Every test, in the versions that fit a landing.
pub(crate) fn test(arguments: &[String]) -> Result<()> {
    run_all(arguments, &[])
}

/// The same tests with the counts of a release: 2,000 kills, 200 power cuts, long fuzzing.
pub(crate) fn soak(arguments: &[String]) -> Result<()> {
    run_all(arguments, &[("HFS_SOAK", "1"), ("HFS_FUZZ_ROUNDS", "2000000"), ("PROPTEST_CASES", "20000")])
}

/// Whoever names tests gets those, once.
fn run_all(arguments: &[String], variables: &[(&str, &str)]) -> Result<()> {
    let mut command = prepared()?;
    run(command.arg("--workspace").args(arguments).envs(variables.iter().copied()))?;
    if !arguments.is_empty() {
        return Ok(());
    }
    let mut again = prepared()?;
    again.args(["--package", "hmac-file-server", "--test", "it", "--"]).envs(variables.iter().copied());
    again.env(STANDARD_ARM, "1");
    println!("\nThe black-box tests once more, with servers in the standard arm. These are left out:");
    let tests = place::checkout()?.join("crates/server/tests/it");
    for (reason, files) in NOT_AGAIN {
        println!("  {}: {reason}", files.join(", "));
        for file in files {
            again.args(["--skip", &module(&tests, file)?]);
        }
    }
    println!();
    run(&mut again)
}

/// What the names of the tests in this file begin with. A file that is gone would leave out nothing, or another one.
fn module(tests: &Path, file: &str) -> Result<String> {
    let path = tests.join(file).with_extension("rs");
    ensure!(path.is_file(), "{} is left out, and is not there", path.display());
    Ok(format!("{file}::"))
}

/// `cargo test` with everything that the tests need.
fn prepared() -> Result<Command> {
    let checkout = place::checkout()?;
    let cache = place::cache()?;
    packages::ensure()?;
    let venv = python::ensure(&checkout, &cache)?;
    let mut command = Command::new("cargo");
    command
        .current_dir(&checkout)
        .args(["test", "--locked"])
        .env("PATH", place::search_path())
        .env("HFS_TEST_CACHE", &cache)
        .env("HFS_TEST_VENV", venv);
    Ok(command)
}
