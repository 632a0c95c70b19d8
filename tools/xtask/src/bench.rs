//! `cargo xtask bench`: builds for release, sees to the other servers, runs `tools/bench`.

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::cargo_tools::DUFS;
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
    let mut path = place::search_path();
    if wants_dufs(arguments) {
        let program = DUFS.ensure(&place::cache()?)?;
        let folder = program.parent().map(Path::to_owned);
        path = env::join_paths(env::split_paths(&path).chain(folder))?;
    }
    let built = place::target(&checkout).join("release");
    run(Command::new(built.join("bench"))
        .args(arguments)
        .current_dir(&checkout)
        .env("PATH", path)
        .env("HFS_BENCH_SERVER", built.join("hmac-file-server")))
}

/// Whether these words of the command line name it, or leave out nobody. The build takes some minutes, once.
fn wants_dufs(arguments: &[String]) -> bool {
    let has = |wanted: &str| arguments.iter().any(|word| word == wanted);
    let names_it = || arguments.iter().any(|word| word.split([',', '/']).any(|name| name == "dufs"));
    !has("--links") && (!has("--peers") && !has("--pairs") || names_it())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dufs_is_built_for_those_who_compare_with_it() {
        let wants = |line: &str| wants_dufs(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert!(wants("") && wants("--rounds 3") && wants("--peers nginx,dufs") && wants("--pairs dufs/nginx"));
        assert!(!wants("--links") && !wants("--peers adaptive,nginx --rounds 3") && !wants("--pairs adaptive/nginx"));
    }
}
