//! One transfer in motion.
//!
//! [`Flow`] joins a controller of `core::pace` with the connection and the clock: whoever moves bytes tells it so and
//! follows its plan. [`FileBody`] is what a download sends: adapters take its bytes, or its file for zero-copy delivery;
//! when it is dropped, for whatever reason, it reports how far it came. The [`Engine`] picks the arm, and learns from
//! flows that have ended.

mod assign;
mod body;
mod engine;
mod memory;
mod profiles;
#[cfg(test)]
mod tests;
mod window;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use hfs_core::pace::{Arm, Congestion, Controller, Direction, Observation, Plan, Snapshot};
use hfs_core::profile::{Lesson, ProfileKey, Quality};
use tracing::{debug, info};

use crate::clock::Stopwatch;

pub use body::{Ending, FileBody};
pub use engine::{Begin, Engine, PaceConfig, Whose};
use memory::Share;
pub use wire::Wire;

/// A flow is reconsidered at least this often, or when this many full steps have moved.
const RECONSIDER: Duration = Duration::from_millis(250);
const STEPS: u64 = 4;
/// A transfer below this size and time teaches nothing about a path.
const TELLING_BYTES: u64 = 64 << 10;

/// One transfer: its controller, its connection, its clock.
pub struct Flow {
    arm: Arm,
    direction: Direction,
    controller: Box<dyn Controller>,
    plan: Plan,
    wire: Option<Wire>,
    watch: Stopwatch,
    /// Bytes moved in all, and since the last observation; whether every step was full.
    total: u64,
    zero_copied: u64,
    moved: u64,
    filled: bool,
    reconsidered: Duration,
    sampled: Duration,
    last_moved: Duration,
    /// What the connection was last asked for.
    wanted: Option<Congestion>,
    share: Share,
    key: ProfileKey,
    agent: Option<String>,
    engine: Arc<Engine>,
    is_whole: bool,
}

impl Flow {
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

    /// What was learnt so far.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.controller.snapshot()
    }

    /// How good the path has been so far.
    #[must_use]
    pub fn quality(&self) -> Quality {
        self.engine.quality(&self.snapshot(), self.total)
    }

    /// Notes that `bytes` moved in one step; `filled` says that a larger step would have moved more.
    pub fn moved(&mut self, bytes: u64, filled: bool) {
        self.total += bytes;
        self.moved += bytes;
        self.filled &= filled;
        let now = self.watch.elapsed();
        self.last_moved = now;
        let is_due = now >= self.reconsidered + RECONSIDER
            || (self.arm == Arm::Adaptive && self.filled && self.moved >= STEPS * self.plan.step as u64);
        if is_due {
            self.reconsider(now);
        }
    }

    /// Notes that `bytes` of those moved went from one side to the other inside the kernel.
    pub fn zero_copied(&mut self, bytes: u64) {
        self.zero_copied += bytes;
    }

    /// Notes that everything arrived.
    pub fn complete(&mut self) {
        self.is_whole = true;
    }

    fn reconsider(&mut self, now: Duration) {
        let is_due = self.plan.sample_after.is_some_and(|after| now >= self.sampled + after);
        let path = if is_due { self.wire.as_ref().and_then(Wire::sample) } else { None };
        if is_due {
            self.sampled = now;
        }
        self.observe(now, path);
    }

    fn observe(&mut self, now: Duration, path: Option<hfs_core::pace::PathSample>) {
        self.reconsidered = now;
        let seen = Observation { now, moved: self.moved, filled: self.filled, is_app_limited: false, path };
        (self.moved, self.filled) = (0, true);
        self.controller.observe(&seen);
        self.replan();
    }

    fn replan(&mut self) {
        let mut plan = self.controller.plan();
        // Memory is short for all at once: the plan shrinks to what there is.
        let wanted = plan.step.max(plan.write);
        let granted = self.share.resize(wanted);
        plan.step = plan.step.min(granted);
        plan.write = plan.write.min(granted);
        if plan == self.plan {
            return;
        }
        let before = std::mem::replace(&mut self.plan, plan);
        if before.step != plan.step || before.write != plan.write {
            self.engine.note_optimization();
        }
        self.act();
        self.explain();
    }

    /// Makes the connection follow the plan.
    fn act(&mut self) {
        let Some(wire) = &self.wire else { return };
        match self.direction {
            Direction::Upload => wire.window().allow(self.plan.window, || self.engine.memory().unclaimed()),
            Direction::Download => {
                if wire.follow(self.wanted, &self.plan) {
                    self.engine.note_switch();
                }
                self.wanted = self.plan.congestion;
            }
        }
    }

    fn explain(&mut self) {
        for decision in self.controller.decisions() {
            info!(
                lever = decision.lever, from = decision.from, to = decision.to, because = decision.because,
                client = ?self.key.prefix, "Plan changed"
            );
        }
        debug!(plan = ?self.plan, "Plan");
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.engine.note_zero_copied(self.direction, self.zero_copied);
        if let Some(wire) = &self.wire {
            wire.release(self.wanted);
        }
        if self.total < TELLING_BYTES {
            return;
        }
        // What came after the last byte was the disk's time, or the database's.
        let now = self.last_moved;
        if self.plan.sample_after.is_some() || self.moved > 0 {
            let path = self.plan.sample_after.and(self.wire.as_ref()).and_then(Wire::sample);
            self.observe(now, path);
        }
        let lesson = Lesson {
            snapshot: self.controller.snapshot(),
            plan: self.plan,
            direction: self.direction,
            elapsed: now,
            bytes: self.total,
            is_whole: self.is_whole,
        };
        self.engine.learn(self, &lesson);
    }
}

impl std::fmt::Debug for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flow").field("arm", &self.arm).field("plan", &self.plan).finish_non_exhaustive()
    }
}
