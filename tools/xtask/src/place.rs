//! Where things lie: the checkout and the cache. Looks at the environment, touches nothing.

use std::env;
use std::ffi::OsString;
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

/// Where cargo builds.
pub(crate) fn target(checkout: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| checkout.join("target"), |folder| checkout.join(folder))
}

/// PATH with the system folders that an unprivileged one leaves out: nginx and mkfs.ext4 live there.
pub(crate) fn search_path() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::join_paths(env::split_paths(&path).chain(system)).unwrap_or(path)
}

/// Full path of a program.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    env::split_paths(&search_path()).map(|folder| folder.join(name)).find(|file| file.is_file())
}
