//! `cargo xtask bench`: builds for release, sees to nginx, runs `tools/bench`.

use std::process::Command;

use anyhow::Result;

use crate::run::run;
use crate::{packages, place};

pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    let checkout = place::checkout()?;
    packages::ensure()?;
    run(Command::new("cargo").current_dir(&checkout).args([
        "build",
        "--release",
        "--locked",
        "-p",
        "hmac-file-server",
        "-p",
        "bench",
    ]))?;
    let built = place::target(&checkout).join("release");
    run(Command::new(built.join("bench"))
        .args(arguments)
        .current_dir(&checkout)
        .env("PATH", place::search_path())
        .env("HFS_BENCH_SERVER", built.join("hmac-file-server")))
}
