//! Medians and their ratios, as a Markdown table.

use std::fmt;

use crate::client::{Load, Measured};

/// The rounds of one load: ours and nginx's in turn.
pub(crate) struct Row {
    name: &'static str,
    unit: (&'static str, f64),
    rounds: Vec<(Measured, Measured)>,
}

impl Row {
    pub(crate) fn new(load: &Load) -> Self {
        Self { name: load.name, unit: load.unit, rounds: Vec::new() }
    }

    pub(crate) fn push(&mut self, round: (Measured, Measured)) {
        self.rounds.push(round);
    }

    fn median(&self, value: impl Fn(&(Measured, Measured)) -> f64) -> f64 {
        let mut values: Vec<f64> = self.rounds.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// All rows.
pub(crate) struct Table(Vec<Row>);

impl Table {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn push(&mut self, row: Row) {
        self.0.push(row);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| work | unit | ours | nginx | CPU ours/nginx | wall ours/nginx |")?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        for row in &self.0 {
            let (unit, scale) = row.unit;
            let ours = row.median(|(ours, _)| ours.cpu);
            let nginx = row.median(|(_, nginx)| nginx.cpu);
            let wall = row.median(|(ours, nginx)| ours.wall / nginx.wall);
            writeln!(
                f,
                "| {} | {unit} | {:.3} | {:.3} | {:.2} | {wall:.2} |",
                row.name,
                ours * scale,
                nginx * scale,
                ours / nginx
            )?;
        }
        write!(
            f,
            "Medians of {} interleaved rounds; the PUT of ours is durable, nginx's is not.",
            self.0[0].rounds.len()
        )
    }
}
