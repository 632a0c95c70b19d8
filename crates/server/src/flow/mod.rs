//! One transfer in motion.
//!
//! [`Flow`] joins a controller of `core::pace` with the connection and the clock: whoever moves bytes tells it so and
//! follows its plan. [`FileBody`] is what a download sends: adapters take its bytes, or its file for zero-copy delivery;
//! when it is dropped, for whatever reason, it reports how far it came. The [`Engine`] picks the arm, and learns from
//! flows that have ended.

mod assign;
mod body;
mod config;
mod end;
mod engine;
mod explain;
mod leaving;
mod memory;
mod profiles;
mod queue;
#[cfg(test)]
mod recorded;
mod share;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tuning;
mod window;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use hfs_core::pace::{Arm, Controller, Decision, Direction, Observation, PathSample, Pieces, Plan, Snapshot};
use hfs_core::profile::{Guess, ProfileKey, Quality, Vantage, tells_rate};
use tokio::time::Instant;
use tracing::debug;

use crate::clock::Stopwatch;
use crate::telemetry::RequestId;

pub use body::{Ending, FileBody};
pub use config::PaceConfig;
pub use engine::{Begin, Engine, Whose};
use explain::Explainer;
pub use leaving::Left;
pub(crate) use leaving::left;
pub use profiles::MOST as MOST_PROFILES;
pub(crate) use share::Share;
use tuning::Trial;
pub(crate) use window::WindowClaim;
use wire::Asked;
pub use wire::Wire;

/// A flow is reconsidered at least this often, or when this many full steps have moved, but no sooner than that: on a
/// fast path four steps are a matter of microseconds.
const RECONSIDER: Duration = Duration::from_millis(250);
const STEPS: u64 = 4;
const SOONEST: Duration = Duration::from_millis(1);

/// One transfer: its controller, its connection, its clock.
pub struct Flow {
    request: RequestId,
    arm: Arm,
    direction: Direction,
    controller: Box<dyn Controller>,
    plan: Plan,
    pieces: Pieces,
    wire: Option<Wire>,
    watch: Stopwatch,
    /// Bytes moved in all, and since the last observation; how many of those in pieces that the plan sizes, and whether
    /// every one of these was full.
    total: u64,
    zero_copied: u64,
    moved: u64,
    sized: u64,
    filled: Option<bool>,
    /// Whether some of them were, though larger ones are not worth it.
    is_enough: bool,
    reconsidered: Duration,
    sampled: Duration,
    /// Whether the connection says nothing of its path: a Unix socket does not.
    is_blind: bool,
    last_moved: Duration,
    /// Time that bytes waited for the store since the last observation.
    held: Duration,
    /// What the connection was last asked for, by a download that has begun.
    asked: Option<Asked>,
    /// Gone when somebody else has what is left of its bytes.
    share: Option<Share>,
    /// The largest step that the configuration grants it.
    most: usize,
    /// What its plan may shrink to when memory is short, and by how much it has.
    least: usize,
    /// Its place among those who wait for memory: lower goes first.
    priority: u32,
    withheld: usize,
    explainer: Option<Explainer>,
    key: ProfileKey,
    vantage: Vantage,
    agent: Option<String>,
    trial: Option<Trial>,
    /// Whether it began without BBR to show whether that is still better.
    has_asked: bool,
    engine: Arc<Engine>,
    is_benchmark: bool,
    is_whole: bool,
    /// Whether paths are looked at, and this one is the client's.
    is_watched: bool,
    /// Of the standard arm, which takes no samples: without a round trip the two could not be compared.
    round_trip: Option<Duration>,
    /// Whether the last look was taken, and something is learnt from it.
    is_telling: Option<bool>,
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
        let seen = self.seen();
        let is_telling = tells_rate(self.direction, self.total, self.last_moved, seen.min_rtt, self.vantage);
        self.engine.quality(&seen, is_telling)
    }

    /// What link its client seems to have.
    #[must_use]
    pub fn guess(&self) -> Guess {
        let seen = self.seen();
        // Media are told apart by the rate that a path carries: an upload that is over within its first round trips, too, was
        // as fast as those let it be, and no faster.
        let is_telling = tells_rate(Direction::Download, self.total, self.last_moved, seen.min_rtt, self.vantage);
        let rate = seen.rate.filter(|_| is_telling);
        self.engine.guess(&Snapshot { rate, ..seen }, self.agent.as_deref())
    }

    /// What the controller has learnt, and the round trip of a standard transfer that has ended.
    fn seen(&self) -> Snapshot {
        let seen = self.snapshot();
        Snapshot { min_rtt: seen.min_rtt.or(self.round_trip), ..seen }
    }

    /// Notes that `bytes` moved of pieces that the plan sizes: a read towards the step of an upload, a write of a download, or
    /// what a slow reader took of one. `filled` says that larger pieces would have moved more: that the reader took it at
    /// once, or that the read was full, and its client was waited for neither now nor long for the rest of the step.
    /// Whether larger ones are worth it as well is for [`Flow::suffice`] to say.
    ///
    /// `bytes` is 0 at a look while nothing moves. Then `filled` counts only beside what moved before: a piece that still
    /// waits is none that those before it speak for.
    pub fn moved(&mut self, bytes: u64, filled: bool) {
        if bytes > 0 || self.filled.is_some() {
            self.filled = Some(filled && self.filled.unwrap_or(true));
        }
        self.sized += bytes;
        self.carried(bytes);
    }

    /// Says that pieces are large enough, be they full: until the next observation, which the next [`Flow::moved`] may be.
    pub(crate) fn suffice(&mut self) {
        self.is_enough = true;
    }

    /// Notes that `bytes` moved in pieces of their own size, as zero copy has them.
    pub fn carried(&mut self, bytes: u64) {
        self.total += bytes;
        self.moved += bytes;
        let now = self.watch.elapsed();
        if bytes > 0 {
            self.last_moved = now;
        }
        let is_due = now >= self.reconsidered + RECONSIDER
            || self.is_sample_due(now)
            || (self.arm == Arm::Adaptive && self.is_pressed() && now >= self.reconsidered + SOONEST);
        if is_due {
            self.reconsider(now);
        }
    }

    /// Notes that a thread moved `bytes` in pieces of its own. What came before it says nothing of a step after it.
    pub(crate) fn pumped(&mut self, bytes: u64) {
        (self.sized, self.filled, self.is_enough) = (0, None, false);
        self.carried(bytes);
    }

    /// When the path is to be looked at again, by [`Flow::moved`], however little has moved.
    #[must_use]
    pub fn next_look(&self) -> Option<Instant> {
        let after = self.plan.sample_after.filter(|_| self.wire.is_some() && !self.is_blind)?;
        Some(self.watch.at(self.sampled + after))
    }

    /// Notes that bytes waited this long for our store, and not for the network.
    pub fn held(&mut self, span: Duration) {
        self.held += span;
    }

    /// Says that another piece begins: memory that plans have given up since the last one is others' when that one is gone.
    pub fn begin_piece(&mut self) {
        if let Some(share) = &mut self.share {
            share.settle();
        }
    }

    /// Asks for memory that the plan does not need, in its place and until it is next looked at; returns how much of these
    /// `bytes` there is, and may be.
    pub fn room_for(&mut self, bytes: usize) -> usize {
        let bytes = bytes.min(self.most);
        self.share.as_mut().map_or(1, |share| share.resize(bytes))
    }

    /// Hands over the claim on memory, to be kept until the last of the flow's bytes is gone. The plan stays.
    #[must_use]
    pub(crate) fn hand_over(&mut self) -> Option<Share> {
        self.share.take()
    }

    /// Notes that `bytes` of those moved went from one side to the other inside the kernel.
    pub fn zero_copied(&mut self, bytes: u64) {
        self.zero_copied += bytes;
    }

    /// Notes that everything arrived.
    pub fn complete(&mut self) {
        self.is_whole = true;
        self.conclude();
    }

    /// Notes that what has not come is not wanted: that its client has not sent it is no break.
    pub fn refuse(&mut self) {
        self.is_whole = true;
    }

    /// The first plan, on the connection and in the log.
    fn begin(&mut self) {
        self.explain();
        self.fit();
        self.act();
        debug!(plan = ?self.plan, "Plan");
    }

    /// Whether larger pieces would have moved more, for long enough to say so.
    fn is_pressed(&self) -> bool {
        self.filled == Some(true) && !self.is_enough && self.sized >= STEPS * self.pieces.size(&self.plan) as u64
    }

    fn is_sample_due(&self, now: Duration) -> bool {
        self.next_look().is_some_and(|look| self.watch.at(now) >= look)
    }

    fn reconsider(&mut self, now: Duration) {
        let is_due = self.is_sample_due(now);
        let path = if is_due { self.wire.as_ref().and_then(Wire::sample) } else { None };
        if is_due {
            (self.sampled, self.is_blind) = (now, path.is_none());
        }
        let seen = self.observation(now, path);
        self.controller.observe(&seen);
        self.explain_path(&seen);
        self.replan();
    }

    /// What happened since the last one.
    fn observation(&mut self, now: Duration, path: Option<PathSample>) -> Observation {
        let is_app_limited = self.is_app_limited(now, path.as_ref());
        let is_enough = std::mem::take(&mut self.is_enough);
        let filled = self.filled.filter(|&filled| !(filled && is_enough));
        let seen = Observation { now, moved: self.moved, filled, is_app_limited, path };
        (self.reconsidered, self.moved, self.sized, self.filled, self.held) = (now, 0, 0, None, Duration::ZERO);
        seen
    }

    /// Whether we were what held the bytes up for most of the time since the last observation, or the kernel had sent
    /// all that we gave it.
    fn is_app_limited(&self, now: Duration, path: Option<&PathSample>) -> bool {
        let idle = path.is_some_and(|path| path.is_rate_app_limited && self.direction == Direction::Download);
        idle || self.held * 2 > now.saturating_sub(self.reconsidered)
    }

    fn replan(&mut self) {
        self.explain();
        let before = self.fit();
        if before != self.plan {
            if (before.step != self.plan.step || before.write != self.plan.write) && !self.is_benchmark {
                self.engine.note_optimization();
            }
            self.act();
            debug!(plan = ?self.plan, "Plan");
        }
    }

    /// Takes the controller's plan, shrunk to what memory there is; returns the plan before.
    fn fit(&mut self) -> Plan {
        let Some(share) = &mut self.share else { return self.plan };
        let mut plan = self.controller.plan();
        let wanted = self.pieces.size(&plan);
        let memory = share.fit(self.pieces.memory(&plan), self.least);
        self.pieces.shrink(&mut plan, memory);
        self.explain_size(wanted, self.pieces.size(&plan));
        std::mem::replace(&mut self.plan, plan)
    }

    /// Says what memory keeps from the plan, where that is news.
    fn explain_size(&mut self, wanted: usize, granted: usize) {
        let (before, withheld) = (self.pieces.size(&self.plan), wanted - granted);
        let was_withheld = std::mem::replace(&mut self.withheld, withheld);
        // A plan that wants yet more, and still gets none of it, is no news.
        if withheld == was_withheld || (withheld > 0 && was_withheld > 0 && granted == before) {
            return;
        }
        let Some(explainer) = self.explainer else { return };
        let (lever, free) = (self.pieces.as_str(), self.engine.memory().free());
        match withheld {
            0 => explainer.plan_changed(lever, before, granted, "there is memory again"),
            _ => explainer.plan_changed(
                lever,
                before,
                granted,
                format_args!("memory is short: {wanted} were wanted, {free} bytes are free"),
            ),
        }
    }

    /// Makes the connection follow the plan.
    fn act(&mut self) {
        let Some(wire) = &self.wire else { return };
        // What a client sends is its own, but for the window, which is let grow once.
        if self.direction == Direction::Upload {
            return;
        }
        let has_changed = match self.asked.replace(Asked::of(&self.plan)) {
            None => wire.begin(&self.plan),
            Some(before) => wire.follow(before, &self.plan, self.controller.snapshot().delivered_rate),
        };
        if has_changed && !self.is_benchmark {
            self.engine.note_switch();
        }
    }

    fn explain_path(&self, seen: &Observation) {
        if let Some(explainer) = self.explainer.filter(|_| seen.path.is_some()) {
            explainer.path_seen(self.direction, &self.controller.snapshot());
        }
    }

    fn explain(&mut self) {
        let Some(explainer) = self.explainer else { return };
        for Decision { lever, from, to, because } in self.controller.decisions() {
            explainer.plan_changed(lever, from, to, because);
        }
    }
}

impl std::fmt::Debug for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flow").field("arm", &self.arm).field("plan", &self.plan).finish_non_exhaustive()
    }
}
