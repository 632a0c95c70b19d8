//! Medians, their ratios and the goals, as Markdown and as JSON.

use std::fmt;

use crate::goal::{Goal, Measured, Reached, What};
use crate::load::{EFFORT, Load};
use crate::numbers::median;
use crate::paired::Paired;

/// The rounds of one load, server by server, and its close comparisons.
#[derive(Debug)]
pub(crate) struct Row {
    name: &'static str,
    unit: (&'static str, f64),
    goals: &'static [Goal],
    servers: Vec<(String, Vec<Measured>)>,
    paired: Vec<Paired>,
}

impl Row {
    pub(crate) fn new(load: &Load, servers: &[&str]) -> Self {
        let servers = servers.iter().map(|name| ((*name).to_owned(), Vec::new())).collect();
        Self { name: load.name, unit: load.unit(), goals: load.goals, servers, paired: Vec::new() }
    }

    pub(crate) fn push(&mut self, server: usize, measured: Measured) {
        self.servers[server].1.push(measured);
    }

    pub(crate) fn push_paired(&mut self, paired: Paired) {
        self.paired.push(paired);
    }

    /// How those two compare, where it is known.
    pub(crate) fn compared(&self, (of, over): (&str, &str)) -> Option<&Paired> {
        self.paired.iter().find(|paired| paired.of == of && paired.over == over)
    }

    /// What was not reached so far.
    pub(crate) fn missed(&self) -> impl Iterator<Item = &'static Goal> {
        let is_missed =
            move |goal: &&Goal| self.reached(goal).is_some_and(|reached| !goal.bound.is_met_by(reached.figure));
        self.goals.iter().filter(is_missed)
    }

    /// What a goal is about; `None` where one of its servers was left out.
    fn reached(&self, goal: &Goal) -> Option<Reached> {
        if let Some(pair) = goal.pair() {
            return Some(self.compared(pair)?.ratio(goal.what));
        }
        let (_, rounds) = self.servers.iter().find(|(name, rounds)| name == goal.of && !rounds.is_empty())?;
        Some(Reached { figure: median(rounds.iter().map(|round| goal.what.of(round))), interval: None })
    }

    /// Comparisons that no goal is about.
    fn boundless(&self) -> impl Iterator<Item = &Paired> {
        let has_goal = move |paired: &&Paired| {
            let pair = (paired.of.as_str(), paired.over.as_str());
            self.goals.iter().any(|goal| goal.pair() == Some(pair))
        };
        self.paired.iter().filter(move |paired| !has_goal(paired))
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
        if rounds > 0 {
            self.rounds(rounds, f)?;
        }
        self.close_comparisons(f)
    }
}

impl Table {
    fn rounds(&self, rounds: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Medians of {rounds} rounds in which the servers take turns: server CPU of all threads, rate by the clock, and for\n\
             one upload at a time the share of its time between the last byte and the answer. Our uploads are durable when\n\
             they are answered, but for `unsynced`, whose syncs do nothing; those of the others are not. `pinned` is the\n\
             adaptive arm that moves no lever; `nginx` has body buffers of 1 MiB, `nginx-default` its own. `floor` is the\n\
             barest program that makes an upload durable: no signature, no row, no limits; `floor-hashing` hashes it\n\
             (BLAKE3), `floor-unsynced` leaves out the syncs. All downloads are of one file on disk, whose pages lie in\n\
             memory for everybody alike, but for Prosody's; their load shares the server's core, so their rate is that of\n\
             both. Prosody gets a 32nd of each load. The memory of a slow upload is what 500 add beside eight that go on\n\
             already (until 2026-11-28: beside none). *journal*: on an ext4 with a journal, as installers make it, in a file;\n\
             the others are on what the machine has.\n"
        )?;
        writeln!(f, "| work | server | server CPU or memory | rate | last byte to 201 |")?;
        writeln!(f, "|---|---|---|---|---|")?;
        self.rows.iter().try_for_each(|row| write!(f, "{row}"))?;
        writeln!(f)
    }

    fn close_comparisons(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reached = |row| move |goal: &'static Goal| Some((row, goal, Row::reached(row, goal)?));
        let goals: Vec<_> = self.rows.iter().flat_map(|row| row.goals.iter().filter_map(reached(row))).collect();
        let others: Vec<_> =
            self.rows.iter().flat_map(|row| row.boundless().map(move |paired| (row, paired))).collect();
        if !goals.is_empty() || !others.is_empty() {
            writeln!(
                f,
                "Two servers are compared closely by {} starts of both, and at each start by short slices of the load, A B B A,\n\
                 for {} s in all: the median of the starts' ratios, and in parentheses where it lies with 95 % certainty.\n",
                EFFORT.starts,
                EFFORT.span.as_secs()
            )?;
        }
        if !goals.is_empty() {
            writeln!(f, "*Not certain*: the bound lies in the parentheses as well.\n")?;
            writeln!(f, "| goal | bound | measured | |\n|---|---|---|---|")?;
        }
        for (row, goal, reached) in goals {
            let over = goal.over.map(|over| format!(" over {over}")).unwrap_or_default();
            let (name, what, of, bound) = (row.name, goal.what.name(), goal.of, goal.bound);
            writeln!(f, "| {name}: {what} of {of}{over} | {bound} | {reached} | {} |", reached.verdict(bound))?;
        }
        if !others.is_empty() {
            writeln!(
                f,
                "\nWithout a bound: a server over itself shows what no difference looks like; `floor`, where a goal is missed,\n\
                 what its promise costs here at the least.\n\n\
                 | compared closely | CPU | throughput |\n|---|---|---|"
            )?;
        }
        for (row, paired) in others {
            let [cpu, rate] = [What::Cpu, What::Throughput].map(|what| paired.ratio(what));
            writeln!(f, "| {}: {} over {} | {cpu} | {rate} |", row.name, paired.of, paired.over)?;
        }
        Ok(())
    }
}
