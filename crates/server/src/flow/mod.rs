//! One transfer in motion.
//!
//! [`Flow`] joins a controller of `core::pace` with the connection and the clock: whoever moves bytes tells it so and
//! follows its plan. [`FileBody`] is what a download sends: adapters take its bytes, or its file for zero-copy delivery;
//! when it is dropped, for whatever reason, it reports how far it came.

mod body;
mod engine;
mod wire;

use std::time::Duration;

use hfs_core::pace::{Arm, Controller, Observation, Plan, Snapshot};

use crate::clock::Stopwatch;

pub use body::{Ending, FileBody};
pub use engine::{Begin, Engine, PaceConfig, Whose};
pub use wire::{Tap, Wire};

/// One transfer: its controller, its connection, its clock.
#[derive(Debug)]
pub struct Flow {
    arm: Arm,
    controller: Box<dyn Controller>,
    plan: Plan,
    wire: Option<Wire>,
    watch: Stopwatch,
    /// Bytes moved since the last observation, and whether every step was full.
    moved: u64,
    filled: bool,
    next: Duration,
}

/// How often a flow is reconsidered without a path sample.
const RECONSIDER: Duration = Duration::from_millis(250);

impl Flow {
    fn new(arm: Arm, controller: Box<dyn Controller>, wire: Option<Wire>) -> Self {
        let plan = controller.plan();
        Self { arm, controller, plan, wire, watch: Stopwatch::start(), moved: 0, filled: true, next: Duration::ZERO }
    }

    /// Its arm.
    #[must_use]
    pub fn arm(&self) -> Arm {
        self.arm
    }

    /// What to do next.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Its connection.
    #[must_use]
    pub fn wire(&self) -> Option<&Wire> {
        self.wire.as_ref()
    }

    /// What was learnt so far.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.controller.snapshot()
    }

    /// Notes that `bytes` moved in one step; `filled` says that the step could not have been larger.
    pub fn moved(&mut self, bytes: u64, filled: bool) {
        self.moved += bytes;
        self.filled &= filled;
        let now = self.watch.elapsed();
        if now < self.next {
            return;
        }
        self.next = now + RECONSIDER;
        let seen = Observation { now, moved: self.moved, filled: self.filled, is_app_limited: false, path: None };
        (self.moved, self.filled) = (0, true);
        self.controller.observe(&seen);
        self.plan = self.controller.plan();
    }
}
