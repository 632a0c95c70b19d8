//! What is learnt about clients: quality, evidence, a guess at the link, and profiles that outlive a transfer.
//!
//! Pure. A round-trip time does not name a medium: *quality* and *evidence* are measured, the *link* is a guess with a
//! confidence and mostly unknown. Called by the server's `flow`.

use std::net::IpAddr;
use std::time::Duration;

use crate::pace::{Expected, Snapshot};

/// How good the path to a client is: `[streaming] quality_thresholds` on rate and latency.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Quality {
    /// Below every threshold, or not measured yet.
    Unknown,
    /// See the configuration.
    Poor,
    /// See the configuration.
    Fair,
    /// See the configuration.
    Good,
    /// See the configuration.
    Excellent,
}

/// What a client's link probably is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Link {
    /// Wired.
    Ethernet,
    /// Wireless LAN.
    Wifi,
    /// 4G or 5G.
    Lte,
    /// Older mobile networks.
    Cellular,
    /// A satellite hop.
    Satellite,
    /// A tunnel.
    Vpn,
    /// Not enough to say.
    Unknown,
}

/// Whom a profile is about: the owner where the protocol names one, and the network it came from.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ProfileKey {
    /// The slot's owner.
    pub owner: Option<String>,
    /// Network prefix: /24 of IPv4, /48 of IPv6; `None` without an address.
    pub prefix: Option<IpAddr>,
}

/// One transfer that has ended, as a profile learns from it.
#[derive(Clone, Copy, Debug)]
pub struct Lesson {
    /// What the controller saw.
    pub snapshot: Snapshot,
    /// How long it took.
    pub elapsed: Duration,
    /// Bytes that moved.
    pub bytes: u64,
    /// Whether it broke off.
    pub broke: bool,
}

/// What is remembered of one client.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// What the next transfer may expect.
    pub expected: Expected,
    /// Transfers that it was learnt from.
    pub transfers: u32,
}
