//! `cargo xtask netlab`: builds `tools/netlab` and runs it with these arguments.

use std::process::Command;

use anyhow::Result;

use crate::place;
use crate::run::run;

pub(crate) fn netlab(arguments: &[String]) -> Result<()> {
    let checkout = place::checkout()?;
    let build = ["build", "--release", "--locked", "--quiet", "-p", "netlab"];
    run(Command::new("cargo").current_dir(&checkout).args(build))?;
    let program = place::target(&checkout).join("release/netlab");
    run(Command::new(program).args(arguments).env("PATH", place::search_path()))
}
