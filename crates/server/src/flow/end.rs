//! What a [`Flow`] does when it ends: a last look at its path, its connection given back, and what is learnt from it.

use hfs_core::pace::{Arm, HOSTS};
use hfs_core::profile::{Lesson, TELLING_BYTES};
use hfs_core::tune;

use super::{Flow, Wire};

impl Flow {
    /// Takes a last look at what moved since the one before; returns whether something is learnt from the flow: a rate,
    /// or from a short transfer the round trip of a connection that nobody has looked at.
    pub(super) fn conclude(&mut self) -> bool {
        if let Some(is_telling) = self.is_telling {
            return is_telling;
        }
        let is_unknown = self.wire.as_ref().is_some_and(|wire| !wire.was_sampled());
        let is_sampled = self.plan.sample_after.is_some();
        let is_telling = self.total >= TELLING_BYTES || (self.total > 0 && is_sampled && is_unknown);
        self.is_telling = Some(is_telling);
        if !is_telling {
            return false;
        }
        let path = self.wire.as_ref().filter(|_| self.is_watched).and_then(Wire::recent_sample);
        if self.arm == Arm::Standard {
            self.round_trip = path.and_then(|path| path.min_rtt);
        }
        if is_sampled || self.moved > 0 {
            // What comes after the last byte is the disk's time, or the database's.
            let seen = self.observation(self.last_moved, path.filter(|_| is_sampled));
            self.controller.conclude(&seen);
            self.explain_path(&seen);
        }
        true
    }

    /// Gives the connection back; where that changes it for others, says so.
    fn release(&mut self) {
        let Some((wire, asked)) = self.wire.as_ref().zip(self.asked.take()) else { return };
        if !wire.release(asked) {
            return;
        }
        if !self.is_benchmark {
            self.engine.note_switch();
        }
        if let Some((explainer, from)) = self.explainer.zip(self.plan.congestion) {
            let because = "this download has ended, and none of those that go on over its connection wants it";
            explainer.plan_changed(tune::CONGESTION, from.as_str(), HOSTS, because);
        }
    }

    /// Whether it is one of many small ones on a connection that has just taught.
    fn is_repeat(&self) -> bool {
        self.total < tune::TELLING_BYTES && self.wire.as_ref().is_some_and(|wire| !wire.may_teach())
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        let is_telling = self.conclude();
        self.release();
        if self.is_benchmark {
            return;
        }
        self.engine.note_zero_copied(self.direction, self.zero_copied);
        if !is_telling {
            return;
        }
        self.engine.count(self);
        if self.is_repeat() {
            return;
        }
        let snapshot = self.seen();
        let lesson = Lesson {
            snapshot,
            guess: self.guess(),
            plan: self.plan,
            direction: self.direction,
            elapsed: self.last_moved,
            bytes: self.total,
            is_whole: self.is_whole,
            vantage: self.vantage,
            has_asked: self.has_asked,
        };
        self.engine.learn(self, &lesson);
    }
}
