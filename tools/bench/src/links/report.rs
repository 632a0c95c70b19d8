//! Goodput and retransmissions beside the goals, as Markdown and as JSON.
//!
//! Goodput is the median of the rounds. What was sent again is their mean: on a long path with a short queue a round loses
//! one burst or two, and the median of a few such rounds is one or the other by chance.

use std::fmt;
use std::time::Duration;

use super::Case;
use super::transfer::Outcome;
use crate::numbers::{mean, median};

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

    fn is_met(self, outcome: &Outcome, standard: &Outcome) -> bool {
        outcome.goodput >= self.bound() * standard.goodput
            && outcome.retransmitted <= self.may_retransmit(standard.retransmitted)
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
    /// What the emulator added to the delay on average, also in rounds that do not count and while clients got acquainted;
    /// where that is known.
    pub(super) lateness: Option<Duration>,
    /// What it added for its latest packet in the rounds that count.
    pub(super) latest: Option<Duration>,
    /// Rounds that do not, since it was too late; at most as many as were asked for.
    pub(super) thrown_again: usize,
}

impl Row {
    pub(super) fn new(case: &Case) -> Self {
        let Case { name, id, goal, .. } = *case;
        Self { name, id, goal, outcomes: Default::default(), lateness: None, latest: None, thrown_again: 0 }
    }

    pub(super) fn push(&mut self, round: &[(Kind, Outcome)]) {
        for (kind, outcome) in round {
            self.outcomes[*kind as usize].push(*outcome);
        }
    }

    fn rounds(&self, kind: Kind) -> &[Outcome] {
        &self.outcomes[kind as usize]
    }

    /// What all rounds say together.
    fn outcome(&self, kind: Kind) -> Outcome {
        let rounds = self.rounds(kind);
        Outcome {
            goodput: median(rounds.iter().map(|outcome| outcome.goodput)),
            retransmitted: mean(rounds.iter().map(|outcome| outcome.retransmitted)),
        }
    }

    fn ratio(&self, kind: Kind) -> f64 {
        self.outcome(kind).goodput / self.outcome(Kind::Standard).goodput
    }

    fn is_met(&self, kind: Kind) -> bool {
        self.goal.is_met(&self.outcome(kind), &self.outcome(Kind::Standard))
    }

    /// Whether each round alone says of the goal what all of them do.
    pub(super) fn is_unanimous(&self) -> bool {
        [Kind::Cold, Kind::Warm].into_iter().all(|kind| {
            let mut rounds = self.rounds(kind).iter().zip(self.rounds(Kind::Standard));
            rounds.all(|(outcome, standard)| self.goal.is_met(outcome, standard) == self.is_met(kind))
        })
    }

    fn json(&self) -> serde_json::Value {
        let kinds = Kind::ALL.map(|kind| {
            let outcomes = self.rounds(kind);
            let goodput: Vec<f64> = outcomes.iter().map(|outcome| outcome.goodput.round()).collect();
            let again: Vec<f64> = outcomes.iter().map(|outcome| outcome.retransmitted).collect();
            let name = format!("{kind:?}").to_lowercase();
            (name, serde_json::json!({ "bits_per_second": goodput, "retransmitted": again }))
        });
        let kinds: serde_json::Map<String, serde_json::Value> = kinds.into_iter().collect();
        let [late, latest] = [self.lateness, self.latest].map(|late| late.map(|late| late.as_micros()));
        serde_json::json!({
            "link": self.name, "id": self.id, "transfers": kinds, "emulator_late_us": late, "emulator_latest_us": latest,
            "rounds_thrown_again": self.thrown_again,
        })
    }
}

impl fmt::Display for Row {
    /// A line of the table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} | {} |", self.name, self.rounds(Kind::Standard).len())?;
        for kind in Kind::ALL {
            let Outcome { goodput, retransmitted } = self.outcome(kind);
            write!(f, " {:.1} ({:.2} %) |", goodput / 1e6, 100.0 * retransmitted)?;
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
        write!(f, " {late:.2} ms, {latest:.1} ms, {} |", self.thrown_again)
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
        let span = self.span.as_secs_f64();
        writeln!(f, "{}\n\n`{}`\n", self.machine, self.command)?;
        writeln!(
            f,
            "Transfers of {span} s by one client, both sides on cubic, in interleaved rounds: three times as many where they \
             do not agree on\nthe goal. Goodput in Mbit/s (median), in parentheses the share of the sender's segments that \
             were sent again (mean).\n*Cold* is a client that the server has not met, *warm* one with a profile from an \
             earlier transfer; both against the\nstandard arm. An upload is governed by its client's sender. A round in \
             which the emulator was late by more than 50 ms is\nthrown again, at most as many as were asked for; *mean* \
             includes those, *most* does not.\n"
        )?;
        writeln!(
            f,
            "| link | rounds | standard | adaptive, cold | adaptive, warm | cold / standard | warm / standard | goal | | emulator late: mean, most, rounds thrown again |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|---|")?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))?;
        writeln!(
            f,
            "\nOn clean links *met* also says: sent again at most the larger of 1.2 times the standard arm's share and 0.5 %."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::CASES;
    use super::*;

    fn row(rounds: &[[(f64, f64); 3]]) -> Row {
        let case = CASES.iter().find(|case| case.id == "put-10-300").unwrap();
        let mut row = Row::new(case);
        for round in rounds {
            let outcomes = round.map(|(goodput, retransmitted)| Outcome { goodput, retransmitted });
            row.push(&Kind::ALL.into_iter().zip(outcomes).collect::<Vec<_>>());
        }
        row
    }

    #[test]
    fn one_burst_more_or_less_is_no_verdict() {
        let [one, two] = [(9.0, 0.003), (9.0, 0.0065)];
        let alike = row(&[[two, two, one], [one, two, two], [one, one, two]]);
        assert!(!alike.is_unanimous(), "a round with one against two misses, and others do not");
        let all = row(&[[two, two, one], [one, two, two], [one, one, two], [two, one, two], [two, one, one], [two; 3]]);
        assert!(all.is_met(Kind::Cold) && all.is_met(Kind::Warm));
        assert_eq!(all.to_string().split(" | ").nth(1), Some("6"));
        let again = Row { thrown_again: 2, latest: Some(Duration::from_millis(7)), ..all };
        assert!(again.to_string().ends_with(", 7.0 ms, 2 |"), "{again}");
    }

    #[test]
    fn what_each_round_shows_is_one() {
        let worse = row(&[[(9.0, 0.003), (9.0, 0.003), (8.0, 0.003)]; 3]);
        assert!(worse.is_unanimous() && worse.is_met(Kind::Cold) && !worse.is_met(Kind::Warm));
        let again = row(&[[(9.0, 0.01), (9.0, 0.0121), (9.0, 0.0119)]; 3]);
        assert!(again.is_unanimous() && !again.is_met(Kind::Cold) && again.is_met(Kind::Warm));
    }
}
