//! What the operator sees: metrics and log.
//!
//! One `info` line per transfer is written by the handlers, at its end, always with these fields: `request`
//! ([`RequestId`]), `slot`, `proof`, `owner`, `bytes`, `elapsed_ms`, `outcome` ([`TransferOutcome`](labels::TransferOutcome)),
//! `status`, `client`. Anything that holds a query string goes through [`redact`] first.

mod journal;
pub mod labels;
pub mod log;
pub mod metrics;
mod queue;
pub mod redact;
mod request_id;
mod rotate;
mod stderr;

pub use request_id::RequestId;

use std::path::PathBuf;

use hfs_core::ByteSize;

/// `[logging]`.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Most detailed level that is written.
    pub level: tracing::Level,
    /// Shape of a line.
    pub format: LogFormat,
    /// Destination; `None` is standard error (journald under systemd).
    pub file: Option<PathBuf>,
    /// A log file is rotated at this size.
    pub max_size: ByteSize,
    /// How many rotated files are kept.
    pub max_backups: usize,
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// journald fields under systemd, text otherwise.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[server] metrics*`.
#[derive(Clone, Debug)]
pub struct MetricsConfig {
    /// Whether metrics are served at all.
    pub enabled: bool,
    /// Path, on the main listener for loopback peers only unless `listen` is set.
    pub path: String,
    /// A listener of their own.
    pub listen: Option<std::net::SocketAddr>,
}
