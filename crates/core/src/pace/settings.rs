//! [`Settings`]: what the configuration says about pacing, resolved.

use std::time::Duration;

use super::{Congestion, Detection, Direction, Start};
use crate::progress::StallLimits;

/// Everything that controllers take from the configuration and from the machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// `[performance] min_buffer_size`, bytes.
    pub min_step: usize,
    /// `[performance] initial_buffer_size`, bytes.
    pub first_step: usize,
    /// `[performance] max_buffer_size`, bytes.
    pub max_step: usize,
    /// Stall limits of the configuration: an adaptive plan only lengthens them.
    pub stall: StallLimits,
    /// `[timeouts] min_timeout`: an adaptive plan is at least this patient.
    pub shortest_stall: Duration,
    /// `[timeouts] max_timeout`, when `adaptive_timeouts` is on: how far a plan may lengthen the stall limit.
    pub longest_stall: Option<Duration>,
    /// `[timeouts] timeout_adaptation_factor`: what the measured need is multiplied with.
    pub stall_factor: f64,
    /// `[network_resilience] quality_check_interval`: time between path samples of one transfer.
    pub sample_every: Duration,
    /// `[network_resilience] fast_detection`: whether that time follows what happens to the path, and within which
    /// bounds.
    pub detection: Option<Detection>,
    /// `[network_resilience] quality_degradation_threshold`: a change for the worse by this share is one.
    pub degraded: f64,
    /// `[streaming] network_condition_monitoring`, `[network_resilience] quality_monitoring`: whether paths are looked
    /// at.
    pub watches: bool,
    /// `[streaming] adaptive_streaming`: whether steps and writes follow the transfer.
    pub follows: bool,
    /// `[network_resilience] predictive_switching`: whether what is known of a client chooses the congestion control
    /// before the path shows what it is like.
    pub foresees: bool,
    /// `[performance] buffer_optimization_interval`: time between reconsiderations of what is learnt across transfers.
    pub reconsider_every: Duration,
    /// `[client_optimization] adaptation_speed`, as the weight of a new measurement, 0 to 1.
    pub gain: f64,
    /// Whether this process may put its connections on BBR ...
    pub bbr: bool,
    /// ... and on cubic.
    pub cubic: bool,
    /// `[experimental] zero_copy_optimization`: whether bytes may stay inside the kernel.
    pub zero_copy: bool,
    /// Which levers move; for experiments.
    pub levers: Levers,
    /// Whether controllers keep their decisions for the log.
    pub explain: bool,
}

impl Settings {
    /// Whether BBR is this transfer's to choose.
    #[must_use]
    pub fn may_bbr(&self, start: &Start) -> bool {
        self.other_congestion(start) == Some(Congestion::Bbr)
    }

    /// What a plan of this transfer may ask for instead of what its connection began with: BBR, or cubic instead of it.
    pub(super) fn other_congestion(&self, start: &Start) -> Option<Congestion> {
        // On a connection that several clients share, nothing of the connection is moved for one of them. An upload is
        // governed by its client's sender.
        let is_ours = start.direction == Direction::Download && !start.is_shared;
        let (other, may_be) = match start.inherited {
            Some(Congestion::Bbr) => (Congestion::Cubic, self.cubic),
            _ => (Congestion::Bbr, self.bbr),
        };
        (self.levers.congestion && is_ours && may_be).then_some(other)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            min_step: 16 << 10,
            first_step: 64 << 10,
            max_step: 1 << 20,
            stall: StallLimits::default(),
            shortest_stall: Duration::ZERO,
            longest_stall: Some(Duration::from_secs(300)),
            stall_factor: 1.2,
            sample_every: Duration::from_secs(5),
            detection: Some(Detection { fast: Duration::from_secs(1), slow: Duration::from_secs(10) }),
            degraded: 0.3,
            watches: true,
            follows: true,
            foresees: true,
            reconsider_every: Duration::from_secs(30),
            gain: 0.2,
            bbr: false,
            cubic: false,
            zero_copy: true,
            levers: Levers::default(),
            explain: false,
        }
    }
}

/// Which levers the adaptive arm moves. A lever that is off stays at the standard arm's value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Levers {
    /// Zero copy, gather sizes, blocking lane.
    pub lane: bool,
    /// Preallocation and early write-back.
    pub write_back: bool,
    /// Sizes of TLS and HTTP/2 writes.
    pub write: bool,
    /// Congestion control.
    pub congestion: bool,
    /// Pacing of what the window allows.
    pub pacing: bool,
    /// `TCP_NOTSENT_LOWAT`.
    pub unsent: bool,
    /// Receive windows of HTTP/2.
    pub window: bool,
    /// Stall limits.
    pub stall: bool,
}

impl Default for Levers {
    fn default() -> Self {
        Self::ALL
    }
}

impl Levers {
    /// All of them.
    pub const ALL: Self = Self {
        lane: true,
        write_back: true,
        write: true,
        congestion: true,
        pacing: true,
        unsent: true,
        window: true,
        stall: true,
    };
    /// None: the adaptive arm measures, and does what the standard arm does.
    pub const NONE: Self = Self {
        lane: false,
        write_back: false,
        write: false,
        congestion: false,
        pacing: false,
        unsent: false,
        window: false,
        stall: false,
    };
}
