//! Medians of goodput and retransmissions beside the goals, as Markdown and as JSON.

use std::fmt;
use std::time::Duration;

use super::Case;
use super::transfer::Outcome;
use crate::numbers::median;

/// Which server a transfer uses, and as whom.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// The standard arm.
    Standard,
    /// The adaptive arm, by a client that it has not met.
    Cold,
    /// The adaptive arm, by a client with a profile.
    Warm,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Standard, Self::Cold, Self::Warm];

    /// Name of the arm.
    pub(super) fn arm(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Cold | Self::Warm => "adaptive",
        }
    }
}

/// What the adaptive arm must reach.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// So many times the standard arm's goodput, with a profile.
    Times(f64),
    /// [`NOT_WORSE`] of it, with [`Goal::may_retransmit`].
    NotWorse,
    /// Nothing: the figures stand beside the others.
    Beside,
}

/// Of the standard arm's goodput: as good, but for chance.
const NOT_WORSE: f64 = 0.97;

impl Goal {
    fn bound(self) -> f64 {
        match self {
            Self::Times(times) => times,
            Self::NotWorse => NOT_WORSE,
            Self::Beside => 0.0,
        }
    }

    /// Share of the segments that may be sent again where the standard arm repeats `standard`.
    fn may_retransmit(self, standard: f64) -> f64 {
        match self {
            Self::Times(_) | Self::Beside => f64::INFINITY,
            Self::NotWorse => (1.2 * standard).max(0.005),
        }
    }
}

/// The rounds of one link.
#[derive(Debug)]
pub(crate) struct Row {
    name: &'static str,
    id: &'static str,
    goal: Goal,
    /// By kind, in the order of [`Kind::ALL`].
    outcomes: [Vec<Outcome>; 3],
    /// What the emulator added to the delay, where that is known.
    pub(super) lateness: Option<Duration>,
    /// The same of its latest packet.
    pub(super) latest: Option<Duration>,
}

impl Row {
    pub(super) fn new(case: &Case) -> Self {
        let Case { name, id, goal, .. } = *case;
        Self { name, id, goal, outcomes: Default::default(), lateness: None, latest: None }
    }

    pub(super) fn push(&mut self, round: &[(Kind, Outcome)]) {
        for (kind, outcome) in round {
            self.outcomes[*kind as usize].push(*outcome);
        }
    }

    fn goodput(&self, kind: Kind) -> f64 {
        median(self.outcomes[kind as usize].iter().map(|outcome| outcome.goodput))
    }

    fn retransmitted(&self, kind: Kind) -> f64 {
        median(self.outcomes[kind as usize].iter().map(|outcome| outcome.retransmitted))
    }

    fn ratio(&self, kind: Kind) -> f64 {
        self.goodput(kind) / self.goodput(Kind::Standard)
    }

    fn is_met(&self, kind: Kind) -> bool {
        self.ratio(kind) >= self.goal.bound()
            && self.retransmitted(kind) <= self.goal.may_retransmit(self.retransmitted(Kind::Standard))
    }

    fn json(&self) -> serde_json::Value {
        let kinds = Kind::ALL.map(|kind| {
            let outcomes = &self.outcomes[kind as usize];
            let goodput: Vec<f64> = outcomes.iter().map(|outcome| outcome.goodput.round()).collect();
            let again: Vec<f64> = outcomes.iter().map(|outcome| outcome.retransmitted).collect();
            let name = format!("{kind:?}").to_lowercase();
            (name, serde_json::json!({ "bits_per_second": goodput, "retransmitted": again }))
        });
        let kinds: serde_json::Map<String, serde_json::Value> = kinds.into_iter().collect();
        let [late, latest] = [self.lateness, self.latest].map(|late| late.map(|late| late.as_micros()));
        serde_json::json!({
            "link": self.name, "id": self.id, "transfers": kinds, "emulator_late_us": late, "emulator_latest_us": latest,
        })
    }
}

impl fmt::Display for Row {
    /// A line of the table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} |", self.name)?;
        for kind in Kind::ALL {
            write!(f, " {:.1} ({:.2} %) |", self.goodput(kind) / 1e6, 100.0 * self.retransmitted(kind))?;
        }
        let verdict = |kind| if self.is_met(kind) { "met" } else { "missed" };
        let (cold, warm) = (self.ratio(Kind::Cold), self.ratio(Kind::Warm));
        match self.goal {
            Goal::Beside => write!(f, " {cold:.2} | {warm:.2} | none | |")?,
            goal => {
                let (bound, [of_cold, of_warm]) = (goal.bound(), [Kind::Cold, Kind::Warm].map(verdict));
                write!(f, " {cold:.2} ({of_cold}) | {warm:.2} | >= {bound} | {of_warm} |")?;
            }
        }
        let [late, latest] =
            [self.lateness, self.latest].map(|late| late.map_or(f64::NAN, |late| late.as_secs_f64() * 1e3));
        write!(f, " {late:.2} ms, {latest:.1} ms |")
    }
}

/// All links.
#[derive(Debug)]
pub(crate) struct Table {
    pub(super) machine: String,
    pub(super) command: String,
    pub(super) span: Duration,
    pub(super) rows: Vec<Row>,
}

impl Table {
    /// One object, for machines.
    pub(crate) fn json(&self) -> serde_json::Value {
        let rows: Vec<_> = self.rows.iter().map(Row::json).collect();
        let (machine, command, seconds) = (&self.machine, &self.command, self.span.as_secs_f64());
        serde_json::json!({ "machine": machine, "command": command, "seconds": seconds, "rows": rows })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.rows.first().map_or(0, |row| row.outcomes[0].len());
        let span = self.span.as_secs_f64();
        writeln!(f, "{}\n\n`{}`\n", self.machine, self.command)?;
        writeln!(
            f,
            "Transfers of {span} s by one client, both sides on cubic; medians of {rounds} interleaved rounds: goodput in \
             Mbit/s, in\nparentheses the sender's segments that were sent again. *Cold* is a client that the server has \
             not met, *warm* one with a\nprofile from an earlier transfer; both against the standard arm. An upload is \
             governed by its client's sender.\n"
        )?;
        writeln!(
            f,
            "| link | standard | adaptive, cold | adaptive, warm | cold / standard | warm / standard | goal | | emulator late: mean, most |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|")?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))?;
        writeln!(
            f,
            "\nOn clean links *met* also says: sent again at most the larger of 1.2 times the standard arm's share and 0.5 %."
        )
    }
}
