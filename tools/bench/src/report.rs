//! Medians, their ratios and the goals, as Markdown and as JSON.

use std::fmt;

use crate::load::Load;
use crate::numbers::median;

/// What one round at one server showed. What a load does not measure stays zero.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measured {
    /// CPU seconds per GiB or request.
    pub(crate) cpu: f64,
    /// Seconds per GiB or request.
    pub(crate) wall: f64,
    /// Share of the time that lies between the last byte and its answer.
    pub(crate) tail: f64,
    /// KiB per connection.
    pub(crate) memory: f64,
}

/// A bound on one server, or on a ratio of two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    of: &'static str,
    what: What,
    over: Option<&'static str>,
    bound: Bound,
}

/// What a goal is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum What {
    Cpu,
    /// Bytes or requests per second: the reciprocal of the time.
    Throughput,
    /// From the last byte to its answer.
    Tail,
    Memory,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    pub(crate) const fn ratio(of: &'static str, what: What, over: &'static str, bound: Bound) -> Self {
        Self { of, what, over: Some(over), bound }
    }

    pub(crate) const fn alone(of: &'static str, what: What, bound: Bound) -> Self {
        Self { of, what, over: None, bound }
    }
}

impl What {
    fn of(self, measured: &Measured) -> f64 {
        match self {
            Self::Cpu => measured.cpu,
            Self::Throughput => 1.0 / measured.wall,
            Self::Tail => measured.tail,
            Self::Memory => measured.memory,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Throughput => "throughput",
            Self::Tail => "last byte to 201, share of the time",
            Self::Memory => "KiB each",
        }
    }
}

/// The rounds of one load, server by server.
#[derive(Debug)]
pub(crate) struct Row {
    name: &'static str,
    unit: (&'static str, f64),
    goals: &'static [Goal],
    servers: Vec<(String, Vec<Measured>)>,
}

impl Row {
    pub(crate) fn new(load: &Load, servers: Vec<String>) -> Self {
        let servers = servers.into_iter().map(|name| (name, Vec::new())).collect();
        Self { name: load.name, unit: load.unit(), goals: load.goals, servers }
    }

    pub(crate) fn push(&mut self, server: usize, measured: Measured) {
        self.servers[server].1.push(measured);
    }

    fn rounds(&self, server: &str) -> Option<&[Measured]> {
        self.servers.iter().find(|(name, _)| name == server).map(|(_, rounds)| rounds.as_slice())
    }

    /// The median of what a goal is about; `None` where one of its servers was left out.
    fn reached(&self, goal: &Goal) -> Option<f64> {
        let value = |server| Some(median(self.rounds(server)?.iter().map(|round| goal.what.of(round))));
        let of = value(goal.of)?;
        goal.over.map_or(Some(of), |over| Some(of / value(over)?))
    }

    fn json(&self) -> serde_json::Value {
        let servers = self.servers.iter().map(|(name, rounds)| {
            let all = |value: fn(&Measured) -> f64| rounds.iter().map(value).collect::<Vec<_>>();
            let rounds = serde_json::json!({
                "cpu_seconds": all(|round| round.cpu), "wall_seconds": all(|round| round.wall),
                "tail_share": all(|round| round.tail), "kib_each": all(|round| round.memory),
            });
            (name.clone(), rounds)
        });
        let servers: serde_json::Map<String, serde_json::Value> = servers.collect();
        serde_json::json!({ "work": self.name, "per": self.unit.0, "servers": servers })
    }
}

impl fmt::Display for Row {
    /// Lines of the table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, scale) = self.unit;
        for (server, rounds) in &self.servers {
            let median = |what: What| median(rounds.iter().map(|round| what.of(round)));
            let (cpu, rate, tail) = (median(What::Cpu) * scale, median(What::Throughput), median(What::Tail));
            // Memory is looked at while nothing moves.
            if rate.is_infinite() {
                writeln!(f, "| {} | {server} | {:.1} KiB each | | |", self.name, median(What::Memory))?;
                continue;
            }
            let per = if scale > 1.0 { "requests" } else { "GiB" };
            let tail = if tail > 0.0 { format!("{:.1} %", 100.0 * tail) } else { String::new() };
            let digits = if scale > 1.0 { 1 } else { 3 };
            writeln!(f, "| {} | {server} | {cpu:.digits$} {unit} | {rate:.2} {per}/s | {tail} |", self.name)?;
        }
        Ok(())
    }
}

/// All loads.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) machine: String,
    pub(crate) command: String,
    pub(crate) rows: Vec<Row>,
}

impl Table {
    /// One object, for machines.
    pub(crate) fn json(&self) -> serde_json::Value {
        let rows: Vec<_> = self.rows.iter().map(Row::json).collect();
        serde_json::json!({ "machine": self.machine, "command": self.command, "rows": rows })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.rows.iter().flat_map(|row| &row.servers).map(|(_, rounds)| rounds.len()).max().unwrap_or(0);
        writeln!(f, "{}\n\n`{}`\n", self.machine, self.command)?;
        writeln!(
            f,
            "Medians of {rounds} rounds in which the servers take turns: server CPU of all threads, rate by the clock, and for\n\
             one upload at a time the share of its time between the last byte and the answer. Our uploads are durable when\n\
             they are answered, but for `unsynced`, whose syncs do nothing; those of the others are not. `pinned` is the\n\
             adaptive arm that moves no lever; `nginx` has body buffers of 1 MiB, `nginx-default` its own. All downloads are\n\
             of one file on disk, whose pages lie in memory for everybody alike, but for Prosody's; their load shares the\n\
             server's core, so their rate is that of both. Prosody gets a 32nd of each load. *journal*: on an ext4 with a\n\
             journal, as installers make it, in a file; the others are on what the machine has.\n"
        )?;
        writeln!(f, "| work | server | server CPU or memory | rate | last byte to 201 |")?;
        writeln!(f, "|---|---|---|---|---|")?;
        self.rows.iter().try_for_each(|row| write!(f, "{row}"))?;
        writeln!(f, "\n| goal | bound | measured | |")?;
        writeln!(f, "|---|---|---|---|")?;
        for row in &self.rows {
            for goal in row.goals {
                let Some(reached) = row.reached(goal) else { continue };
                let (sign, bound, is_met) = match goal.bound {
                    Bound::AtMost(bound) => ("<=", bound, reached <= bound),
                    Bound::AtLeast(bound) => (">=", bound, reached >= bound),
                };
                let verdict = if is_met { "met" } else { "missed" };
                let over = goal.over.map(|over| format!(" over {over}")).unwrap_or_default();
                let (name, what, of) = (row.name, goal.what.name(), goal.of);
                writeln!(f, "| {name}: {what} of {of}{over} | {sign} {bound} | {reached:.3} | {verdict} |")?;
            }
        }
        Ok(())
    }
}
