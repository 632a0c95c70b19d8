//! [`Contest`]: one question, a few options, and which of them is in force.
//!
//! Nearly all transfers take the option in force. A few per cent take, among the others, the one with the highest
//! discounted upper confidence bound (Garivier & Moulines 2011): old experience counts less and less, so what has not
//! been tried for long is asked about again. Another option comes into force only on a clear gain, so that chance does
//! not make it change.
//!
//! Every reward is taken relative to what the option in force gave just before: what changes for all of them, a busy
//! evening, makes none look better.

use super::LEAST_MEMORY;
use super::record::Record;

/// Weight of the latest reward in what the option in force gives now.
const RECENT: f64 = 0.05;
/// Share of the transfers that try something else.
const EXPLORED: f64 = 0.04;
/// Measurements below which an option is not judged.
const ENOUGH: f64 = 20.0;
/// A gain of less is not worth a change: 10 %, as a logarithm.
const CLEAR: f64 = 0.095;
/// How often a contest in which nothing is better may change, however often it is looked at, if rewards were normal
/// and their spread known. In simulation, with neither, 2 of 199 changed within 5,000 transfers.
const WRONG: f64 = 0.001;
/// Rates that differ more than 20 times are accidents: as a logarithm.
const MOST_REWARD: f64 = 3.0;

/// Discounted statistics of the options of one question.
#[derive(Clone, Debug)]
pub(super) struct Contest {
    options: Vec<Record>,
    in_force: usize,
    /// What the option in force gives now.
    level: Option<f64>,
}

impl Contest {
    /// Nothing is known, and the first option is in force.
    pub(super) fn new(options: usize) -> Self {
        Self { options: vec![Record::default(); options.max(1)], in_force: 0, level: None }
    }

    /// As an earlier process knew it.
    pub(super) fn known(options: Vec<Record>, in_force: usize, level: Option<f64>) -> Self {
        Self { options, in_force, level }
    }

    pub(super) fn options(&self) -> &[Record] {
        &self.options
    }

    pub(super) fn level(&self) -> Option<f64> {
        self.level
    }

    /// The option in force.
    pub(super) fn in_force(&self) -> usize {
        self.in_force
    }

    /// The option that a transfer takes; `chance` in [0, 1) decides whether it tries something else.
    pub(super) fn pick(&self, chance: f64) -> usize {
        if chance >= EXPLORED {
            return self.in_force;
        }
        let others = (0..self.options.len()).filter(|option| *option != self.in_force);
        others.max_by(|a, b| self.bound(*a).total_cmp(&self.bound(*b))).unwrap_or(self.in_force)
    }

    /// How good an option may be: its mean, and more the less it was tried.
    fn bound(&self, option: usize) -> f64 {
        let record = &self.options[option];
        let rounds: f64 = self.options.iter().map(Record::weight).sum();
        if record.weight() <= 0.0 {
            return f64::INFINITY;
        }
        record.mean() + (2.0 * rounds.max(1.0).ln() / record.weight()).sqrt()
    }

    /// Learns the logarithm of a rate that `option` gave. `memory` is how many measurements of an option that is only
    /// tried now and then count.
    pub(super) fn learn(&mut self, option: usize, reward: f64, memory: u32) {
        if reward.is_nan() || option >= self.options.len() {
            return;
        }
        let reward = reward.clamp(-MOST_REWARD, MOST_REWARD);
        // There is nothing to compare with before the option in force has given something.
        let level = match self.level {
            None if option != self.in_force => return,
            known => known.unwrap_or(reward),
        };
        if option == self.in_force {
            self.level = Some(level + RECENT * (reward - level));
        }
        let others = self.options.len().saturating_sub(1).max(1) as f64;
        let keep = 1.0 - EXPLORED / (f64::from(memory.max(LEAST_MEMORY)) * others);
        self.options.iter_mut().for_each(|record| record.fade(keep));
        self.options[option].add(reward - level);
    }

    /// Puts the best option in force if it is clearly better than the one that is; returns its rate over the other's.
    pub(super) fn settle(&mut self) -> Option<f64> {
        let current = self.options[self.in_force];
        let judged = |record: &Record| record.weight() >= ENOUGH;
        let (best, record) = (0..)
            .zip(&self.options)
            .filter(|(_, record)| judged(record))
            .max_by(|(_, a), (_, b)| a.mean().total_cmp(&b.mean()))?;
        let gain = record.mean() - current.mean();
        let error = (record.error() + current.error()).sqrt();
        if best == self.in_force || !judged(&current) || gain < CLEAR || gain < away(record.weight()) * error {
            return None;
        }
        self.in_force = best;
        self.forget();
        Some(gain.exp())
    }

    /// Begins anew: what all options give has changed.
    pub(super) fn forget(&mut self) {
        self.options.fill(Record::default());
        self.level = None;
    }
}

/// Standard errors that a gain must be away from none, after so many measurements: it is looked at again and again, so
/// the bound is that of a normal mixture (Robbins 1970), which holds at all times at once.
fn away(measurements: f64) -> f64 {
    ((1.0 + 1.0 / measurements) * ((1.0 + measurements).ln() - 2.0 * WRONG.ln())).sqrt()
}
