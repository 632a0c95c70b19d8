//! Networks whose connections begin with a chosen congestion control.
//!
//! A network may have any for its default that unprivileged processes may choose. One that is not on the host's list of
//! those is put on it for that moment. The host's own default is never touched: a kill in that moment leaves behind one
//! more congestion control that everybody may choose.

use std::fs::{self, File};

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{FlockOperation, flock};

const DEFAULT: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
const ALLOWED: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";

/// Calls `work` while networks may have `name` for their default.
pub(crate) fn while_allowed<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    // Two laboratories at once must not take back each other's.
    let lock = File::create(std::env::temp_dir().join("netlab.lock")).context("cannot create a lock file")?;
    flock(&lock, FlockOperation::LockExclusive).context("cannot lock")?;
    let before = fs::read_to_string(ALLOWED).with_context(|| format!("cannot read {ALLOWED}"))?;
    if before.split_whitespace().any(|allowed| allowed == name) {
        return work();
    }
    let before = Allowed(before.trim().to_owned());
    fs::write(ALLOWED, format!("{} {name}", before.0)).with_context(|| {
        format!("`{name}` is not for everybody here, and this process may not change that or the kernel has none")
    })?;
    work()
}

/// Makes new connections of the calling thread's network begin with `name`.
pub(crate) fn make_default(name: &str) -> Result<()> {
    fs::write(DEFAULT, name).with_context(|| format!("a new network cannot begin with `{name}`"))?;
    let found = fs::read_to_string(DEFAULT).with_context(|| format!("cannot read {DEFAULT}"))?;
    ensure!(found.trim() == name, "a new network begins with {} and not with {name}", found.trim());
    Ok(())
}

/// Puts the host's list back when dropped.
struct Allowed(String);

impl Drop for Allowed {
    fn drop(&mut self) {
        let _ = fs::write(ALLOWED, &self.0);
    }
}
