//! Configuration: [`Config`] is the sum of what each module owns, validated and resolved. Nothing else of the program
//! sees what the file said.

use std::path::PathBuf;

use hfs_core::admit::Limits;
use hfs_core::auth::Keyring;

use crate::net::NetConfig;
use crate::storage::StorageConfig;
use crate::telemetry::{LogConfig, MetricsConfig};

/// Everything the server runs on.
#[derive(Clone, Debug)]
pub struct Config {
    /// Listeners, TLS, time-outs.
    pub net: NetConfig,
    /// Public URL, base path, fixed routes.
    pub http: HttpConfig,
    /// The tree of blobs.
    pub storage: StorageConfig,
    /// What uploads are allowed.
    pub limits: Limits,
    /// Extensions that may be downloaded, lower case, no dot; empty allows all.
    pub download_extensions: Vec<String>,
    /// The keys.
    pub keys: Keyring,
    /// Where the log goes.
    pub log: LogConfig,
    /// Whether and where metrics are served.
    pub metrics: MetricsConfig,
    /// File this came from; `None` in trial mode.
    pub source: Option<PathBuf>,
}

/// `[server] public_url`.
#[derive(Clone, Debug, Default)]
pub struct HttpConfig {
    /// `https://host[:port]/base/`, without a trailing slash; `None` when not configured.
    pub public_url: Option<String>,
    /// Path of the public URL, stripped before verification: empty or `/base`, never with a trailing slash.
    pub base_path: String,
}
