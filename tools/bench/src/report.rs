//! Medians and their ratios, as Markdown and as JSON.

use std::fmt;
use std::fmt::Write as _;

use crate::client::{Load, Measured};

/// The rounds of one load, peer by peer.
pub(crate) struct Row {
    name: &'static str,
    unit: (&'static str, f64),
    goals: &'static [Goal],
    /// By peer, in the order of the table; one entry a round.
    rounds: Vec<Vec<Measured>>,
}

/// A bound on a ratio of two peers' medians.
pub(crate) struct Goal {
    pub(crate) of: &'static str,
    pub(crate) over: &'static str,
    pub(crate) what: What,
    pub(crate) bound: Bound,
}

/// What is compared.
#[derive(Clone, Copy)]
pub(crate) enum What {
    Cpu,
    /// Bytes or requests per second: the reciprocal of the time.
    Throughput,
}

#[derive(Clone, Copy)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Row {
    pub(crate) fn new(load: &Load) -> Self {
        Self { name: load.name, unit: load.unit, goals: load.goals, rounds: Vec::new() }
    }

    pub(crate) fn push(&mut self, round: Vec<Measured>) {
        self.rounds.push(round);
    }

    fn median(&self, value: impl Fn(&[Measured]) -> f64) -> f64 {
        let mut values: Vec<f64> = self.rounds.iter().map(|round| value(round)).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// All rows.
pub(crate) struct Table {
    pub(crate) peers: Vec<&'static str>,
    pub(crate) machine: String,
    pub(crate) command: String,
    pub(crate) rows: Vec<Row>,
}

impl Table {
    fn index(&self, peer: &str) -> Option<usize> {
        self.peers.iter().position(|known| *known == peer)
    }

    /// The ratio that a goal is about, of this run's medians of ratios.
    fn ratio(&self, row: &Row, goal: &Goal) -> Option<f64> {
        let (of, over) = (self.index(goal.of)?, self.index(goal.over)?);
        Some(match goal.what {
            What::Cpu => row.median(|round| round[of].cpu) / row.median(|round| round[over].cpu),
            What::Throughput => row.median(|round| round[over].wall / round[of].wall),
        })
    }

    /// One object, for machines.
    pub(crate) fn json(&self) -> serde_json::Value {
        let rows = self.rows.iter().map(|row| {
            let peers = self.peers.iter().enumerate().map(|(index, peer)| {
                let cpu: Vec<f64> = row.rounds.iter().map(|round| round[index].cpu).collect();
                let wall: Vec<f64> = row.rounds.iter().map(|round| round[index].wall).collect();
                ((*peer).to_owned(), serde_json::json!({ "cpu_seconds": cpu, "wall_seconds": wall }))
            });
            let peers: serde_json::Map<String, serde_json::Value> = peers.collect();
            serde_json::json!({ "work": row.name, "per": row.unit.0, "peers": peers })
        });
        let rows: Vec<serde_json::Value> = rows.collect();
        serde_json::json!({ "machine": self.machine, "command": self.command, "rows": rows })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n\n`{}`\n", self.machine, self.command)?;
        writeln!(f, "| work | CPU unit | {} |", self.peers.join(" | "))?;
        writeln!(f, "|---|---|{}", "---|".repeat(self.peers.len()))?;
        for row in &self.rows {
            let (unit, scale) = row.unit;
            let mut cells = String::new();
            for index in 0..self.peers.len() {
                let cpu = row.median(|round| round[index].cpu) * scale;
                let rate = 1.0 / row.median(|round| round[index].wall);
                write!(cells, " {cpu:.3} ({rate:.2}/s) |")?;
            }
            writeln!(f, "| {} | {unit} |{cells}", row.name)?;
        }
        let rounds = self.rows.first().map_or(0, |row| row.rounds.len());
        writeln!(f, "\nMedians of {rounds} interleaved rounds: server CPU (GiB or requests per second of wall time).")?;
        writeln!(f, "Our uploads are durable when they are answered; nginx's are not.\n")?;
        writeln!(f, "| goal | bound | measured | |")?;
        writeln!(f, "|---|---|---|---|")?;
        for row in &self.rows {
            for goal in row.goals {
                let Some(ratio) = self.ratio(row, goal) else { continue };
                let (sign, bound, met) = match goal.bound {
                    Bound::AtMost(bound) => ("<=", bound, ratio <= bound),
                    Bound::AtLeast(bound) => (">=", bound, ratio >= bound),
                };
                let what = match goal.what {
                    What::Cpu => "CPU",
                    What::Throughput => "throughput",
                };
                let verdict = if met { "met" } else { "missed" };
                let (of, over) = (goal.of, goal.over);
                writeln!(f, "| {}: {what} of {of} over {over} | {sign} {bound} | {ratio:.2} | {verdict} |", row.name)?;
            }
        }
        Ok(())
    }
}
