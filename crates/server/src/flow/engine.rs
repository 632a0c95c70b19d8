//! [`Engine`]: what all flows share: settings, what was learnt, the arm of a new flow.

use std::net::IpAddr;

use arc_swap::ArcSwap;
use hfs_core::pace::{self, Arm, Direction, Expected, Settings, Start};

use super::{Flow, Wire};

/// `[performance]` and what belongs to it, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct PaceConfig {
    /// `adaptive_buffers`: whether there is an adaptive arm at all.
    pub enabled: bool,
    /// `adaptive_uploads`.
    pub uploads: bool,
    /// `adaptive_downloads`.
    pub downloads: bool,
    /// `fully_adaptive`: also the routes that would force the standard arm.
    pub fully: bool,
    /// `testing_mode`: an even split, sticky per client.
    pub testing: bool,
    /// What controllers take.
    pub settings: Settings,
}

impl Default for PaceConfig {
    /// Adaptive for everything.
    fn default() -> Self {
        Self {
            enabled: true,
            uploads: true,
            downloads: true,
            fully: false,
            testing: false,
            settings: Settings::default(),
        }
    }
}

/// Whose bytes a flow moves.
#[derive(Clone, Debug, Default)]
pub struct Whose {
    /// The slot's owner, where the proof names one.
    pub owner: Option<String>,
    /// The client's address, as far as it is known.
    pub address: Option<IpAddr>,
    /// Its `User-Agent`: one weak hint.
    pub agent: Option<String>,
    /// Whether the connection's other end is a proxy.
    pub is_proxied: bool,
}

/// A transfer that is about to begin.
#[derive(Clone, Debug)]
pub struct Begin {
    /// Which way.
    pub direction: Direction,
    /// Bytes to move, where somebody has said.
    pub size: Option<u64>,
    /// Over what; `None` in tests.
    pub wire: Option<Wire>,
    /// For whom.
    pub whose: Whose,
    /// The arm that a route demands.
    pub forced: Option<Arm>,
}

/// Shared by all flows of a server.
#[derive(Debug)]
pub struct Engine {
    config: ArcSwap<PaceConfig>,
}

impl Engine {
    /// With this configuration, and nothing learnt.
    #[must_use]
    pub fn new(config: PaceConfig) -> Self {
        Self { config: ArcSwap::from_pointee(config) }
    }

    /// Puts another configuration in force for flows from now on.
    pub fn configure(&self, config: PaceConfig) {
        self.config.store(config.into());
    }

    /// Begins a flow.
    #[must_use]
    pub fn begin(&self, begin: Begin) -> Flow {
        let config = self.config.load();
        let arm = begin.forced.unwrap_or_else(|| assign(&config, begin.direction));
        let carrier = begin.wire.as_ref().map_or(pace::Carrier::Plain, Wire::carrier);
        let start = Start {
            direction: begin.direction,
            size: begin.size,
            carrier,
            is_shared: begin.whose.is_proxied,
            expected: Expected::default(),
        };
        Flow::new(arm, pace::controller(arm, &config.settings, &start), begin.wire)
    }
}

/// The arm of a flow that no route has chosen.
fn assign(config: &PaceConfig, direction: Direction) -> Arm {
    let wanted = match direction {
        Direction::Upload => config.uploads,
        Direction::Download => config.downloads,
    };
    if config.enabled && wanted { Arm::Adaptive } else { Arm::Standard }
}
