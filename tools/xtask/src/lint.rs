//! `cargo xtask lint`: formatting, clippy, the dependency rules, known vulnerabilities.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::cargo_tools::{AUDIT, DENY};
use crate::run::run;
use crate::{docs, place};

pub(crate) fn lint() -> Result<()> {
    let checkout = place::checkout()?;
    let cache = place::cache()?;
    let cargo = || {
        let mut command = Command::new("cargo");
        command.current_dir(&checkout);
        command
    };

    run(cargo().args(["fmt", "--all", "--check"])).context("`cargo fmt` mends the formatting")?;
    docs::check()?;
    for features in feature_sets(&checkout)? {
        run(cargo()
            .args(["clippy", "--workspace", "--all-targets", "--locked"])
            .args(features)
            .args(["--", "-D", "warnings"]))?;
    }
    run(Command::new(DENY.ensure(&cache)?).current_dir(&checkout).args(["check", "bans", "licenses", "sources"]))?;
    audit(&checkout, &cache)
}

/// One run of clippy per set: features may hide code from each other only where there are features.
fn feature_sets(checkout: &Path) -> Result<Vec<&'static [&'static str]>> {
    let mut sets: Vec<&[&str]> = vec![&[]];
    for member in ["crates/core", "crates/sock", "crates/server"] {
        let manifest = checkout.join(member).join("Cargo.toml");
        let text = fs::read_to_string(&manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
        if text.lines().any(|line| line.trim() == "[features]") {
            sets.extend([&["--no-default-features"] as &[&str], &["--all-features"]]);
            break;
        }
    }
    Ok(sets)
}

fn audit(checkout: &Path, cache: &Path) -> Result<()> {
    let Some(database) = advisories(checkout) else {
        println!("cargo-audit: not run, there is no advisory database at ../shared/advisory-db (or HFS_ADVISORY_DB)");
        return Ok(());
    };
    let tool = AUDIT.ensure(cache)?;
    run(Command::new(tool).current_dir(checkout).args(["audit", "--no-fetch", "--no-yanked", "--db"]).arg(database))
}

/// The copy of the RustSec database beside the checkout, or where the environment says.
fn advisories(checkout: &Path) -> Option<PathBuf> {
    let named = env::var_os("HFS_ADVISORY_DB").map(PathBuf::from);
    named.or_else(|| Some(checkout.parent()?.join("shared/advisory-db"))).filter(|folder| folder.is_dir())
}
