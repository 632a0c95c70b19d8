//! Connections: listening, accepting, TLS, the PROXY protocol, the HTTP/1.1 and HTTP/2 adapters, draining.

pub mod h1;
pub mod h2;

use std::path::PathBuf;
use std::time::Duration;

use hfs_core::ByteSize;
use hfs_core::progress::StallLimits;

/// Where to listen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ListenAddress {
    /// A TCP address; port 0 lets the kernel choose.
    Tcp(std::net::SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// `[server]` addresses and `[timeouts]`, `[tls]`: what the connection layer needs.
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// Listeners of the main service.
    pub listen: Vec<ListenAddress>,
    /// Certificate chain and key; `None` serves cleartext.
    pub tls: Option<TlsConfig>,
    /// Peers whose PROXY header and forwarded headers count.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Whether peers on a Unix socket are trusted proxies.
    pub trust_unix: bool,
    /// Whether trusted proxies speak the PROXY protocol (v1 and v2) first.
    pub proxy_protocol: bool,
    /// Largest request head.
    pub max_header: ByteSize,
    /// A head must be complete within this.
    pub header_timeout: Duration,
    /// A kept-alive connection without a request is closed after this.
    pub idle_timeout: Duration,
    /// When a body counts as stalled, in both directions.
    pub stall: StallLimits,
    /// Running transfers may go on for this long after SIGTERM.
    pub drain_timeout: Duration,
    /// Most connections at once.
    pub max_connections: usize,
}

/// `[tls]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsConfig {
    /// PEM chain, leaf first.
    pub cert: PathBuf,
    /// PEM key; must not be readable by others.
    pub key: PathBuf,
}
