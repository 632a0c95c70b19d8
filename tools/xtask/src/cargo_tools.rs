//! cargo-deny, cargo-audit, dufs: built once from their published source, in pinned versions. Called by `lint`, `bench`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::run::{output, run};

/// A tool and the version that everyone uses.
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
    /// How it is built. A debug build is made four times quicker, and each run of a checker takes seconds anyway.
    options: &'static [&'static str],
}

const CHECKER: &[&str] = &["--debug"];

pub(crate) const DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2", options: CHECKER };
pub(crate) const AUDIT: Tool = Tool { name: "cargo-audit", version: "0.22.2", options: CHECKER };
/// A server that the bench compares with.
pub(crate) const DUFS: Tool = Tool { name: "dufs", version: "0.47.0", options: &["--no-default-features"] };

impl Tool {
    /// Path of the built tool; builds it where the cache has none of this version (a few minutes).
    pub(crate) fn ensure(&self, cache: &Path) -> Result<PathBuf> {
        let root = cache.join("tools");
        let program = root.join("bin").join(self.name);
        let found = output(Command::new(&program).arg("--version"));
        if found.is_some_and(|text| text.split_whitespace().last() == Some(self.version)) {
            return Ok(program);
        }
        println!("Building {} {}", self.name, self.version);
        // They share dependencies.
        run(Command::new("cargo")
            .args(["install", "--locked", "--force", "--version", self.version, self.name])
            .args(self.options)
            .arg("--root")
            .arg(&root)
            .env("CARGO_TARGET_DIR", cache.join("tools-build")))
        .with_context(|| format!("{} {} cannot be built", self.name, self.version))?;
        Ok(program)
    }
}
