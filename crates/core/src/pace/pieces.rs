//! [`Pieces`]: which size of a plan the pieces of a transfer have, and what it holds in memory for them.

use super::{Carrier, Direction, Lane, Plan, Settings, Start};

/// What the plan sizes of a transfer, where zero copy does not carry the bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pieces {
    /// [`Plan::step`]: uploads, and downloads whose bytes go from a buffer into the socket.
    Steps,
    /// [`Plan::write`]: downloads over TLS, which holds each encrypted until the socket takes it.
    Records,
    /// [`Plan::write`]: downloads over HTTP/2, of whose queue TLS encrypts a batch at a time.
    Frames,
}

/// What TLS below HTTP/2 encrypts at a time, at least and at most, in bytes: as much as is queued, in whole frames.
pub const BATCH: (usize, usize) = (32 << 10, 144 << 10);

impl Pieces {
    /// Of a transfer that way, over that.
    #[must_use]
    pub fn of(direction: Direction, carrier: Carrier) -> Self {
        match (direction, carrier) {
            (Direction::Upload, _) | (Direction::Download, Carrier::Plain) => Self::Steps,
            (Direction::Download, Carrier::Tls) => Self::Records,
            (Direction::Download, Carrier::H2) => Self::Frames,
        }
    }

    /// The lever that this size is.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Steps => "step",
            Self::Records | Self::Frames => "write",
        }
    }

    /// Their size in `plan`.
    #[must_use]
    pub fn size(self, plan: &Plan) -> usize {
        match self {
            Self::Steps => plan.step,
            Self::Records | Self::Frames => plan.write,
        }
    }

    /// The same, to be changed.
    pub fn size_mut(self, plan: &mut Plan) -> &mut usize {
        match self {
            Self::Steps => &mut plan.step,
            Self::Records | Self::Frames => &mut plan.write,
        }
    }

    /// Bytes of memory that a transfer which follows `plan` holds at most, where zero copy does not carry them. Adapters and
    /// store are built so that they hold no more: who changes what they buffer changes this.
    #[must_use]
    pub fn memory(self, plan: &Plan) -> usize {
        let size = self.size(plan);
        match self {
            Self::Steps => plan.gather(),
            Self::Records => size.saturating_mul(2),
            Self::Frames => size.saturating_add(size.clamp(BATCH.0, BATCH.1)),
        }
    }

    /// Shrinks the pieces of `plan` to those that can be done with so much memory; of less than a batch, to a part of it.
    pub fn shrink(self, plan: &mut Plan, memory: usize) {
        let most = match self {
            Self::Steps if plan.lane == Lane::Stepwise => memory / 2,
            Self::Steps => memory,
            Self::Records => memory / 2,
            Self::Frames => {
                let batch = (memory / 2).clamp(BATCH.0, BATCH.1);
                memory.saturating_sub(batch).max(memory / 4)
            }
        };
        let size = self.size_mut(plan);
        *size = (*size).min(most.max(1));
    }
}

impl Settings {
    /// Whether the sizes of an adaptive plan carry most of such a transfer. Zero copy needs none, and a lever that is off
    /// moves none.
    #[must_use]
    pub fn may_size(&self, start: &Start) -> bool {
        match Pieces::of(start.direction, start.carrier) {
            Pieces::Steps => self.levers.lane && self.lane(start) != Lane::ZeroCopy,
            Pieces::Records | Pieces::Frames => self.levers.write,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::controller;
    use super::super::{Arm, Expected};
    use super::*;

    #[test]
    fn a_plan_that_was_shrunk_holds_what_there_is() {
        let start = Start {
            direction: Direction::Download,
            size: None,
            carrier: Carrier::H2,
            is_shared: false,
            inherited: None,
            expected: Expected::default(),
        };
        let first = controller(Arm::Adaptive, &Settings::default(), &start).plan();
        for (pieces, lane) in [
            (Pieces::Steps, Lane::ZeroCopy),
            (Pieces::Steps, Lane::Stepwise),
            (Pieces::Records, Lane::Buffered),
            (Pieces::Frames, Lane::Buffered),
        ] {
            let first = Plan { lane, ..first };
            for memory in [48 << 10, 60 << 10, 100_000, 288 << 10, 1 << 20, 4 << 20] {
                let mut plan = Plan { step: 16 << 20, write: 16 << 20, ..first };
                pieces.shrink(&mut plan, memory);
                let held = pieces.memory(&plan);
                assert!(held <= memory && held + 1 >= memory, "{held} of {memory} for {pieces:?}");
                pieces.shrink(&mut plan, usize::MAX);
                assert_eq!(pieces.memory(&plan), held, "plenty changes nothing");
            }
            let mut plan = first;
            pieces.shrink(&mut plan, 4 << 10);
            assert!((1 << 10..=4 << 10).contains(&pieces.size(&plan)), "something moves with next to nothing");
        }
    }
}
