//! Medians, their ratios and the goals, as Markdown and as JSON.

use std::fmt;

use crate::load::Load;
use crate::numbers::median;
use crate::paired::{Paired, SPAN};

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
    /// Whether both are compared by [`Paired`].
    is_close: bool,
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
        Self { of, what, over: Some(over), bound, is_close: false }
    }

    /// A bound on the CPU that is so near to 1 that medians of a few rounds cannot tell.
    pub(crate) const fn close(of: &'static str, over: &'static str, at_most: f64) -> Self {
        Self { is_close: true, ..Self::ratio(of, What::Cpu, over, Bound::AtMost(at_most)) }
    }

    pub(crate) const fn alone(of: &'static str, what: What, bound: Bound) -> Self {
        Self { of, what, over: None, bound, is_close: false }
    }

    /// Whom [`Paired`] shall compare for it.
    pub(crate) fn close_pair(&self) -> Option<(&'static str, &'static str)> {
        self.over.filter(|_| self.is_close).map(|over| (self.of, over))
    }
}

impl Bound {
    fn is_met_by(self, figure: f64) -> bool {
        match self {
            Self::AtMost(bound) => figure <= bound,
            Self::AtLeast(bound) => figure >= bound,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(bound) => write!(f, "<= {bound}"),
            Self::AtLeast(bound) => write!(f, ">= {bound}"),
        }
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

/// What a goal is judged by.
#[derive(Clone, Copy, Debug)]
struct Reached {
    figure: f64,
    /// Where it lies with 95 % certainty, where that is known.
    interval: Option<(f64, f64)>,
}

impl Reached {
    /// By the figure; the interval says whether it might be otherwise.
    fn verdict(&self, bound: Bound) -> &'static str {
        let is_sure = |(low, high)| bound.is_met_by(low) == bound.is_met_by(high);
        match (bound.is_met_by(self.figure), self.interval.is_none_or(is_sure)) {
            (true, true) => "met",
            (true, false) => "met, not certain",
            (false, true) => "missed",
            (false, false) => "missed, not certain",
        }
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.figure)?;
        self.interval.map_or(Ok(()), |(low, high)| write!(f, " ({low:.3} to {high:.3})"))
    }
}

/// The rounds of one load, server by server.
#[derive(Debug)]
pub(crate) struct Row {
    name: &'static str,
    unit: (&'static str, f64),
    goals: &'static [Goal],
    servers: Vec<(String, Vec<Measured>)>,
    /// Those that are compared closely.
    pub(crate) paired: Vec<Paired>,
}

impl Row {
    pub(crate) fn new(load: &Load, servers: Vec<String>) -> Self {
        let servers = servers.into_iter().map(|name| (name, Vec::new())).collect();
        Self { name: load.name, unit: load.unit(), goals: load.goals, servers, paired: Vec::new() }
    }

    pub(crate) fn push(&mut self, server: usize, measured: Measured) {
        self.servers[server].1.push(measured);
    }

    fn rounds(&self, server: &str) -> Option<&[Measured]> {
        self.servers.iter().find(|(name, _)| name == server).map(|(_, rounds)| rounds.as_slice())
    }

    /// The median of what a goal is about; `None` where one of its servers was left out.
    fn reached(&self, goal: &Goal) -> Option<Reached> {
        if let Some(pair) = goal.close_pair() {
            let paired = self.paired.iter().find(|paired| (paired.of, paired.over) == pair)?;
            return Some(Reached { figure: paired.ratio(), interval: paired.interval() });
        }
        let value = |server| Some(median(self.rounds(server)?.iter().map(|round| goal.what.of(round))));
        let of = value(goal.of)?;
        let figure = goal.over.map_or(Some(of), |over| Some(of / value(over)?))?;
        Some(Reached { figure, interval: None })
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
        let paired: Vec<_> = self.paired.iter().map(Paired::json).collect();
        serde_json::json!({ "work": self.name, "per": self.unit.0, "servers": servers, "paired": paired })
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
             journal, as installers make it, in a file; the others are on what the machine has.\n\n\
             Bounds near to 1 are judged by short slices of the load instead, A B B A, for {} s: the median of the blocks'\n\
             ratios, and in parentheses where it lies with 95 % certainty. *Not certain*: the bound lies in there as well.\n",
            SPAN.as_secs()
        )?;
        writeln!(f, "| work | server | server CPU or memory | rate | last byte to 201 |")?;
        writeln!(f, "|---|---|---|---|---|")?;
        self.rows.iter().try_for_each(|row| write!(f, "{row}"))?;
        writeln!(f, "\n| goal | bound | measured | |")?;
        writeln!(f, "|---|---|---|---|")?;
        for row in &self.rows {
            for goal in row.goals {
                let Some(reached) = row.reached(goal) else { continue };
                let over = goal.over.map(|over| format!(" over {over}")).unwrap_or_default();
                let (name, what, of, bound) = (row.name, goal.what.name(), goal.of, goal.bound);
                let verdict = reached.verdict(bound);
                writeln!(f, "| {name}: {what} of {of}{over} | {bound} | {reached} | {verdict} |")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_certain_when_the_whole_interval_is_on_one_side_of_the_bound() {
        let verdict = |bound, figure, interval| Reached { figure, interval }.verdict(bound);
        let (most, least) = (Bound::AtMost(1.02), Bound::AtLeast(0.6));
        assert_eq!(verdict(most, 1.0, Some((0.99, 1.02))), "met");
        assert_eq!(verdict(most, 1.0, Some((0.97, 1.021))), "met, not certain");
        assert_eq!(verdict(most, 1.03, Some((1.01, 1.05))), "missed, not certain");
        assert_eq!(verdict(most, 1.03, Some((1.021, 1.05))), "missed");
        assert_eq!(verdict(least, 0.7, Some((0.5, 0.8))), "met, not certain");
        assert_eq!(verdict(least, 0.7, None), "met", "medians of rounds say nothing of how certain they are");
    }

    #[test]
    fn an_interval_stands_beside_its_figure() {
        assert_eq!(Reached { figure: 1.0, interval: Some((0.98, 1.0219)) }.to_string(), "1.000 (0.980 to 1.022)");
        assert_eq!(Reached { figure: 0.5, interval: None }.to_string(), "0.500");
    }
}
