//! cargo-deny and cargo-audit: built once from their published source, in pinned versions. Called by `lint`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::run::{output, run};

/// A tool and the version that everyone uses.
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
}

pub(crate) const DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };
pub(crate) const AUDIT: Tool = Tool { name: "cargo-audit", version: "0.22.2" };

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
        // A debug build: four times quicker to make, and each run takes seconds anyway. The two share dependencies.
        run(Command::new("cargo")
            .args(["install", "--locked", "--debug", "--force", "--version", self.version, self.name, "--root"])
            .arg(&root)
            .env("CARGO_TARGET_DIR", cache.join("tools-build")))
        .with_context(|| format!("{} {} cannot be built", self.name, self.version))?;
        Ok(program)
    }
}
