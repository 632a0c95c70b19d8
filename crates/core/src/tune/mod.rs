//! Which values serve a kind of path best: learnt across transfers, a few of which try something else.
//!
//! Two questions are asked on every [`Kind`] of path, each a [`Contest`] of a few options: how large steps may grow, and
//! whether a download begins with BBR. Within a transfer its controller decides; this is about what one transfer is too
//! short to find out. Only transfers of known clients take part: their rate is compared with what the client reached
//! before, so that fast clients do not make an option look good.
//!
//! Pure: chance and time are arguments. Called by the server's `flow`.

mod baseline;
mod contest;
mod record;
#[cfg(test)]
mod tests;
mod text;

use std::collections::HashMap;
use std::time::Duration;

pub use baseline::{Baseline, SizeClass, Sort};
use contest::Contest;

use crate::pace::{Congestion, Direction};
use crate::profile::{Link, Quality};

/// Sort of a path, as it is known before a transfer: nothing that the transfer itself can change.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Kind {
    /// Which way.
    pub direction: Direction,
    /// Quality by the round trip alone.
    pub quality: Quality,
    /// The client's link, where the guess is sure.
    pub link: Link,
}

/// What one transfer takes: the number of an option. Small, since thousands of slow transfers keep theirs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Choice {
    /// `None` where there is nothing to choose, as below.
    ceiling: Option<u8>,
    congestion: Option<u8>,
    /// Whether that is not what is in force.
    is_congestion_tried: bool,
}

/// The question how large steps may grow.
pub const CEILING: &str = "largest step";
/// The question what downloads begin with.
pub const CONGESTION: &str = "congestion control";
/// A transfer that moved less shows nothing of steps or congestion control.
pub const TELLING_BYTES: u64 = 1 << 20;
/// Measurements of each option that count at least, whatever the configuration says: of fewer, those that were tried would
/// fade before there are enough to judge by.
pub const LEAST_MEMORY: u32 = 40;
/// `max_buffer_size`, a quarter and a sixteenth of it.
const CEILINGS: usize = 3;
/// What the rules of the controller say, and BBR from the first byte.
const CONGESTIONS: usize = 2;

impl Choice {
    /// The largest step, where the configured one is `max`; `None` leaves it to the configuration.
    #[must_use]
    pub fn ceiling(self, max: usize) -> Option<usize> {
        self.ceiling.map(|option| max >> (2 * u32::from(option)))
    }

    /// What a download begins with; `None` leaves it to the controller.
    #[must_use]
    pub fn congestion(self) -> Option<Congestion> {
        self.congestion.filter(|option| *option > 0).map(|_| Congestion::Bbr)
    }

    /// Whether that is only tried.
    #[must_use]
    pub fn is_congestion_tried(self) -> bool {
        self.is_congestion_tried
    }

    /// Whether it takes part in a contest.
    #[must_use]
    pub fn is_any(self) -> bool {
        self.ceiling.or(self.congestion).is_some()
    }

    /// The same, for a transfer whose pieces no plan sizes: it teaches nothing about steps.
    #[must_use]
    pub fn without_ceiling(self) -> Self {
        Self { ceiling: None, ..self }
    }

    /// The same, for a transfer whose congestion control cannot be chosen: it teaches nothing about that.
    #[must_use]
    pub fn without_congestion(self) -> Self {
        Self { congestion: None, is_congestion_tried: false, ..self }
    }
}

/// Another option came into force.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adoption {
    /// On which paths.
    pub kind: Kind,
    /// What is decided: [`CEILING`] or [`CONGESTION`].
    pub question: &'static str,
    /// What was in force.
    pub from: Choice,
    /// What is.
    pub to: Choice,
    /// Rate of the new one over the old one's.
    pub gain: f64,
}

/// All contests of a server.
#[derive(Clone, Debug, Default)]
pub struct Tuner {
    contests: HashMap<Kind, Contests>,
    settled: Duration,
}

#[derive(Clone, Debug)]
struct Contests {
    ceiling: Contest,
    congestion: Contest,
}

impl Default for Contests {
    fn default() -> Self {
        Self { ceiling: Contest::new(CEILINGS), congestion: Contest::new(CONGESTIONS) }
    }
}

impl Tuner {
    /// What a transfer on such a path takes; `chances` in [0, 1) decide whether it tries something else.
    #[must_use]
    pub fn choose(&self, kind: &Kind, chances: [f64; 2]) -> Choice {
        let fresh = Contests::default();
        let contests = self.contests.get(kind).unwrap_or(&fresh);
        let (ceiling, congestion) = (contests.ceiling.pick(chances[0]), contests.congestion.pick(chances[1]));
        let is_congestion_tried = congestion != contests.congestion.in_force();
        Choice { ceiling: number(ceiling), congestion: number(congestion), is_congestion_tried }
    }

    /// Learns that a transfer which took `choice` reached `ratio` times the rate that its client had reached before.
    /// `memory` is how many measurements of each option count.
    pub fn learn(&mut self, kind: Kind, choice: Choice, ratio: f64, memory: u32) {
        let reward = ratio.ln();
        let contests = self.contests.entry(kind).or_default();
        if let Some(option) = choice.ceiling {
            contests.ceiling.learn(usize::from(option), reward, memory);
        }
        if let Some(option) = choice.congestion {
            contests.congestion.learn(usize::from(option), reward, memory);
        }
    }

    /// Looks at all contests, once in `every`; returns what came into force.
    pub fn settle(&mut self, now: Duration, every: Duration) -> Vec<Adoption> {
        if now < self.settled.saturating_add(every) {
            return Vec::new();
        }
        self.settled = now;
        self.contests.iter_mut().flat_map(|(kind, contests)| contests.settle(*kind)).collect()
    }
}

impl Contests {
    fn settle(&mut self, kind: Kind) -> Vec<Adoption> {
        let before = self.in_force();
        let ceiling = self.ceiling.settle().map(|gain| (CEILING, gain));
        let congestion = self.congestion.settle().map(|gain| (CONGESTION, gain));
        match (ceiling, congestion) {
            (Some(_), None) => self.congestion.forget(),
            (None, Some(_)) => self.ceiling.forget(),
            _ => {}
        }
        let to = self.in_force();
        let adoption = |(question, gain)| Adoption { kind, question, from: before, to, gain };
        [ceiling, congestion].into_iter().flatten().map(adoption).collect()
    }

    fn in_force(&self) -> Choice {
        Choice {
            ceiling: number(self.ceiling.in_force()),
            congestion: number(self.congestion.in_force()),
            is_congestion_tried: false,
        }
    }
}

fn number(option: usize) -> Option<u8> {
    u8::try_from(option).ok()
}
