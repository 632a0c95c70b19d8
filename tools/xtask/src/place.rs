//! Where things lie: the checkout and the cache. Looks at the environment, touches nothing.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Root of the checkout that this binary was built from.
pub(crate) fn checkout() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().nth(2).context("xtask lies outside of its checkout")?;
    Ok(root.to_owned())
}

/// Folder for what is slow to make again: the Python environment and the built tools. The tests compute the same path
/// when `cargo test` runs without xtask.
pub(crate) fn cache() -> Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = match set("XDG_CACHE_HOME") {
        Some(base) => base,
        None => set("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?.join(".cache"),
    };
    Ok(base.join("hmac-file-server"))
}

/// Full path of a program, from PATH and the system folders that an unprivileged PATH leaves out.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}
