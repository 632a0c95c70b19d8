//! `cargo xtask test` and `cargo xtask soak`: what the tests need, then the tests.

use std::process::Command;

use anyhow::Result;

use crate::run::run;
use crate::{packages, place, python};

/// Every test, in the versions that fit a landing.
pub(crate) fn test(arguments: &[String]) -> Result<()> {
    run(&mut prepared(arguments)?)
}

/// The same tests with the counts of a release: 2,000 kills, 200 power cuts, long fuzzing.
pub(crate) fn soak(arguments: &[String]) -> Result<()> {
    run(prepared(arguments)?.env("HFS_SOAK", "1").env("HFS_FUZZ_ROUNDS", "2000000").env("PROPTEST_CASES", "20000"))
}

fn prepared(arguments: &[String]) -> Result<Command> {
    let checkout = place::checkout()?;
    let cache = place::cache()?;
    packages::ensure()?;
    let venv = python::ensure(&checkout, &cache)?;
    let mut command = Command::new("cargo");
    command
        .current_dir(&checkout)
        .args(["test", "--workspace", "--locked"])
        .args(arguments)
        .env("PATH", place::search_path())
        .env("HFS_TEST_CACHE", &cache)
        .env("HFS_TEST_VENV", venv);
    Ok(command)
}
