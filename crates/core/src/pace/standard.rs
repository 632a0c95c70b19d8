//! [`Standard`]: what the original server really does, so that a comparison is never against a straw man.

use std::time::Duration;

use super::{
    Carrier, Controller, Decision, Direction, Lane, Observation, Plan, STANDARD_STEP, Settings, Snapshot, Start, Window,
};
use crate::progress::StallLimits;

/// Sendfile for a plain GET, 32 KiB steps for everything else, the system's defaults for every socket, no hints to the
/// disk. It measures its own rate and nothing more.
#[derive(Debug)]
pub struct Standard {
    direction: Direction,
    write: usize,
    stall: StallLimits,
    moved: u64,
    now: Duration,
}

impl Standard {
    /// For a transfer that begins.
    #[must_use]
    pub fn new(settings: &Settings, start: &Start) -> Self {
        // Over HTTP/2 one step is sent while the next one is read.
        let write = if start.carrier == Carrier::H2 { 2 * STANDARD_STEP } else { STANDARD_STEP };
        Self { direction: start.direction, write, stall: settings.stall, moved: 0, now: Duration::ZERO }
    }
}

impl Controller for Standard {
    fn plan(&self) -> Plan {
        Plan {
            lane: match self.direction {
                Direction::Upload => Lane::Stepwise,
                Direction::Download => Lane::ZeroCopy,
            },
            step: STANDARD_STEP,
            write: self.write,
            preallocate: false,
            write_back: false,
            congestion: None,
            is_on_trial: false,
            is_paced: false,
            unsent: None,
            window: Window::FIRST,
            stall: self.stall,
            sample_after: None,
        }
    }

    fn observe(&mut self, seen: &Observation) {
        self.moved += seen.moved;
        self.now = seen.now;
    }

    fn conclude(&mut self, seen: &Observation) {
        self.observe(seen);
    }

    fn snapshot(&self) -> Snapshot {
        let seconds = self.now.as_secs_f64();
        let rate = (seconds > 0.0).then(|| (self.moved as f64 / seconds) as u64);
        Snapshot { rate, ..Snapshot::default() }
    }

    fn decisions(&mut self) -> Vec<Decision> {
        Vec::new()
    }
}
