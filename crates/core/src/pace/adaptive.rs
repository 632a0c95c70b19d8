//! [`Adaptive`]: plans that follow the network.

use std::time::Duration;

use super::{Controller, Decision, Lane, Observation, Plan, Settings, Snapshot, Standard, Start};

/// Starts from what is known of the client and the size; then follows what is observed.
#[derive(Debug)]
pub struct Adaptive {
    plan: Plan,
    max_step: usize,
    moved: u64,
    now: Duration,
    samples: u32,
    last: Option<super::PathSample>,
}

impl Adaptive {
    /// For a transfer that begins.
    #[must_use]
    pub fn new(settings: &Settings, start: &Start) -> Self {
        let standard = Standard::new(settings, start).plan();
        let plan = Plan {
            lane: Lane::ZeroCopy,
            step: settings.first_step,
            write: settings.max_step,
            preallocate: true,
            write_back: true,
            sample_after: Some(settings.sample_every),
            ..standard
        };
        Self { plan, max_step: settings.max_step, moved: 0, now: Duration::ZERO, samples: 0, last: None }
    }
}

impl Controller for Adaptive {
    fn plan(&self) -> Plan {
        self.plan
    }

    fn observe(&mut self, seen: &Observation) {
        self.moved += seen.moved;
        self.now = seen.now;
        if seen.filled {
            self.plan.step = (self.plan.step * 4).min(self.max_step);
        }
        if let Some(path) = seen.path {
            self.samples += 1;
            self.last = Some(path);
        }
    }

    fn snapshot(&self) -> Snapshot {
        let seconds = self.now.as_secs_f64();
        let rate = (seconds > 0.0).then(|| (self.moved as f64 / seconds) as u64);
        Snapshot { rate, samples: self.samples, last: self.last, ..Snapshot::default() }
    }

    fn decisions(&mut self) -> Vec<Decision> {
        Vec::new()
    }
}
