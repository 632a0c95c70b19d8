//! [`Pieces`]: which size of a plan the pieces of a transfer have.

use super::{Carrier, Direction, Lane, Plan, Settings, Start};

/// What the plan sizes of a transfer, where zero copy does not carry the bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pieces {
    /// [`Plan::step`]: uploads, and downloads whose bytes go from a buffer into the socket.
    Steps,
    /// [`Plan::write`]: downloads over TLS or HTTP/2.
    Writes,
}

impl Pieces {
    /// Of a transfer that way, over that.
    #[must_use]
    pub fn of(direction: Direction, carrier: Carrier) -> Self {
        match (direction, carrier) {
            (Direction::Upload, _) | (Direction::Download, Carrier::Plain) => Self::Steps,
            (Direction::Download, Carrier::Tls | Carrier::H2) => Self::Writes,
        }
    }

    /// The lever that this size is.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Steps => "step",
            Self::Writes => "write",
        }
    }

    /// Their size in `plan`.
    #[must_use]
    pub fn size(self, plan: &Plan) -> usize {
        match self {
            Self::Steps => plan.step,
            Self::Writes => plan.write,
        }
    }

    /// The same, to be changed.
    pub fn size_mut(self, plan: &mut Plan) -> &mut usize {
        match self {
            Self::Steps => &mut plan.step,
            Self::Writes => &mut plan.write,
        }
    }
}

impl Settings {
    /// Whether the sizes of an adaptive plan carry most of such a transfer. Zero copy needs none, and a lever that is off
    /// moves none.
    #[must_use]
    pub fn may_size(&self, start: &Start) -> bool {
        match Pieces::of(start.direction, start.carrier) {
            Pieces::Steps => self.levers.lane && self.lane(start) != Lane::ZeroCopy,
            Pieces::Writes => self.levers.write,
        }
    }
}
