//! Connections: listening, accepting, TLS, the PROXY protocol, the HTTP/1.1 and HTTP/2 adapters, draining.
//!
//! Everything between the socket and one tower service: `http::Request<Incoming>` in, `http::Response<Outgoing>` out.
//! It does not know what a slot, a file or a route is. `app` binds [`Listeners`], loads a [`TlsAcceptor`] and runs
//! [`serve`] until its [`Shutdown`] has drained.
//!
//! The way of a connection: [`accept`] takes it, [`proxy`] learns who the client is, [`tls`] decrypts, the first bytes
//! (or ALPN) choose between [`h1`] and [`h2`].

pub mod accept;
pub mod drain;
pub mod h1;
pub mod h2;
pub mod listen;
pub mod proxy;
pub mod tls;
mod uptake;

mod bound;
mod date;
mod events;
mod reader;
mod share;
mod socket;
#[cfg(test)]
mod tests;

pub use accept::{Server, serve};
pub use drain::Shutdown;
pub use events::ConnectionEvents;
pub use listen::{Inherited, ListenError, Listeners};
pub use tls::{TlsAcceptor, TlsError};

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
    /// Most of them for one client; proxies and peers on this machine stand for many and are not bounded.
    pub max_per_address: usize,
}

impl NetConfig {
    /// How many of so many connections one client may have, where nothing is said of that: half.
    pub(crate) fn share_of(max_connections: usize) -> usize {
        (max_connections / 2).max(1)
    }
}

/// `[tls]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsConfig {
    /// PEM chain, leaf first.
    pub cert: PathBuf,
    /// PEM key; must not be readable by others.
    pub key: PathBuf,
}
