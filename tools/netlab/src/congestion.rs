//! Namespaces whose connections begin with a chosen congestion control.
//!
//! A namespace takes the host's default at its making, and may not set a restricted one itself. So the host's default
//! is changed for that moment and put back, also when the making fails.

use std::fs::{self, File};

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{FlockOperation, flock};

const DEFAULT: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
const ALLOWED: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";

/// Calls `make` while the default of this network is `name`.
pub(crate) fn while_default_is<T>(name: &str, make: impl FnOnce() -> Result<T>) -> Result<T> {
    // Two laboratories at once must not put back each other's default.
    let lock = File::create(std::env::temp_dir().join("netlab.lock")).context("cannot create a lock file")?;
    flock(&lock, FlockOperation::LockExclusive).context("cannot lock")?;
    if read(DEFAULT)? == name {
        return make();
    }
    let _before = Before { default: read(DEFAULT)?, allowed: read(ALLOWED)? };
    fs::write(DEFAULT, name).with_context(|| {
        format!("the network's default is not `{name}`, and this process may not change it or the kernel has none")
    })?;
    make()
}

/// The congestion control that new connections of the calling thread's network begin with.
pub(crate) fn default() -> Result<String> {
    read(DEFAULT)
}

fn read(path: &str) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    ensure!(!text.trim().is_empty(), "{path} is empty");
    Ok(text.trim().to_owned())
}

/// Puts the host's settings back when dropped.
struct Before {
    default: String,
    /// Whatever has been the default stays allowed, unless it is taken off the list.
    allowed: String,
}

impl Drop for Before {
    fn drop(&mut self) {
        let _ = fs::write(DEFAULT, &self.default);
        let _ = fs::write(ALLOWED, &self.allowed);
    }
}
