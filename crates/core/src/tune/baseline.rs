//! [`Baseline`]: what the standard path reaches, to compare the adaptive one with.

use std::collections::HashMap;

use super::LEAST_MEMORY;
use super::record::Record;
use crate::pace::Direction;
use crate::profile::Quality;

/// Transfers of the standard path before it is compared with.
const ENOUGH: f64 = 12.0;
/// The mean must be known this well: about 20 %, as a logarithm.
const VAGUE: f64 = 0.2;

/// Transfers that are alike, but for the path that they took.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Sort {
    /// Which way.
    pub direction: Direction,
    /// Quality by the round trip alone: the rate is what is compared.
    pub quality: Quality,
    /// How much moved.
    pub size: SizeClass,
}

/// Sizes whose rates can be compared: the shorter, the more the first round trips weigh.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SizeClass {
    /// Below 1 MiB.
    Small,
    /// Below 16 MiB.
    Medium,
    /// From there on.
    Large,
}

impl SizeClass {
    /// The class of a transfer of that many bytes.
    #[must_use]
    pub fn of(bytes: u64) -> Self {
        match bytes {
            0..0x10_0000 => Self::Small,
            0x10_0000..0x100_0000 => Self::Medium,
            _ => Self::Large,
        }
    }
}

/// Rates of the standard path by sort; old ones count less and less.
#[derive(Clone, Debug, Default)]
pub struct Baseline(HashMap<Sort, Record>);

impl Baseline {
    /// Learns that a transfer of the standard path reached `rate`. `memory` is how many transfers count.
    pub fn learn(&mut self, sort: Sort, rate: f64, memory: u32) {
        let reward = rate.ln();
        if reward.is_finite() {
            let record = self.0.entry(sort).or_default();
            record.fade(1.0 - 1.0 / f64::from(memory.max(LEAST_MEMORY)));
            record.add(reward);
        }
    }

    /// How many times the standard path's rate that is; nothing until enough is known of the standard path.
    #[must_use]
    pub fn gain(&self, sort: &Sort, rate: f64) -> Option<f64> {
        let record = self.0.get(sort).filter(|record| record.weight() >= ENOUGH && record.error().sqrt() <= VAGUE)?;
        Some(rate / record.mean().exp())
    }
}
