//! [`Paired`]: two servers compared so closely that 2 % are seen, by many short slices of a load in turn, at several
//! starts of both.
//!
//! A round lasts seconds, in which the machine changes by more than what is looked for; two slices side by side meet the
//! same machine. Four slices are a block, A B B A, and the next block begins where the last one ended: in each, either
//! server comes once right after the other and once right after itself, and what drifts evenly falls on both alike.
//!
//! One start of a server differs from the next one by about as much as what is looked for (where its memory lies, seeds of
//! its tables), and no number of slices tells that from a difference between two servers. So both are started several
//! times, the other one first each time, and the figure of a start is the median of its blocks' ratios. Starts are what is
//! independent here, so they are what the interval counts (T. Kalibera, R. Jones, "Rigorous Benchmarking in Reasonable
//! Time", ISMM 2013: repeat most, and count, at the level that varies by itself): the figure is the median of the starts,
//! its interval that of the sign test over them. A block or a start that something else ran into is only one of many.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::goal::{Measured, Reached, What};
use crate::numbers::{median, median_interval};

/// How much is compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Starts of both servers; of fewer than six, no interval is known with 95 % certainty.
    pub(crate) starts: usize,
    /// How long slices are measured, over all starts; at least one block each.
    pub(crate) span: Duration,
}

/// What two servers needed for the same slices.
#[derive(Debug)]
pub(crate) struct Paired {
    pub(crate) of: String,
    pub(crate) over: String,
    /// The blocks of each start.
    starts: Vec<Vec<Block>>,
}

/// Two slices of each.
#[derive(Clone, Copy, Debug)]
struct Block {
    of: [Measured; 2],
    over: [Measured; 2],
}

/// One of the two.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    Of,
    Over,
}

impl Paired {
    /// Compares the servers of these names. `start` starts one, `slice` measures one slice of it.
    pub(crate) fn measure<S>(
        (of, over): (&str, &str),
        effort: Effort,
        mut start: impl FnMut(Side) -> Result<S>,
        mut slice: impl FnMut(&S) -> Result<Measured>,
    ) -> Result<Self> {
        let mut paired = Self { of: of.to_owned(), over: over.to_owned(), starts: Vec::new() };
        for number in 0..effort.starts {
            let order = if number.is_multiple_of(2) { [Side::Of, Side::Over] } else { [Side::Over, Side::Of] };
            let servers = [start(order[0])?, start(order[1])?];
            let begin = Instant::now();
            // What the first requests bring into memory is nobody's share.
            servers.iter().rev().try_for_each(|server| slice(server).map(drop))?;
            let mut blocks = Vec::new();
            while blocks.is_empty() || begin.elapsed() * u32::try_from(effort.starts)? < effort.span {
                let [first, second] = &servers;
                let [a, b, c, d] = [slice(first)?, slice(second)?, slice(second)?, slice(first)?];
                let (outer, inner) = ([a, d], [b, c]);
                blocks.push(match order[0] {
                    Side::Of => Block { of: outer, over: inner },
                    Side::Over => Block { of: inner, over: outer },
                });
            }
            paired.starts.push(blocks);
        }
        Ok(paired)
    }

    /// `of` over `over`.
    pub(crate) fn ratio(&self, what: What) -> Reached {
        let starts = || self.starts.iter().map(|blocks| median(blocks.iter().map(|block| block.ratio(what))));
        Reached { figure: median(starts()), interval: median_interval(starts()) }
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        let slices = |side: fn(&Block) -> [Measured; 2], value: fn(&Measured) -> f64| {
            let block = |block: &Block| side(block).map(|slice| value(&slice));
            self.starts.iter().map(|blocks| blocks.iter().map(block).collect::<Vec<_>>()).collect::<Vec<_>>()
        };
        let both = |value: fn(&Measured) -> f64| {
            let (of, over) = (slices(|block| block.of, value), slices(|block| block.over, value));
            serde_json::json!({ "of": of, "over": over })
        };
        let ratio = |what| {
            let Reached { figure, interval } = self.ratio(what);
            serde_json::json!({ "ratio": figure, "interval": interval })
        };
        serde_json::json!({
            "of": self.of, "over": self.over, "cpu": ratio(What::Cpu), "throughput": ratio(What::Throughput),
            "cpu_seconds": both(|slice| slice.cpu), "wall_seconds": both(|slice| slice.wall),
        })
    }
}

impl Block {
    fn ratio(&self, what: What) -> f64 {
        what.ratio(&self.of, &self.over)
    }
}

#[cfg(test)]
mod tests {
    use netlab::Dice;

    use super::*;

    const SIX: Effort = Effort { starts: 6, span: Duration::ZERO };

    /// What happened, in turn: starts of a server in capitals, slices of it in small letters.
    fn compare(effort: Effort, mut need: impl FnMut(Side, &str) -> f64) -> (Paired, String) {
        let order = std::cell::RefCell::new(String::new());
        let start = |side| {
            order.borrow_mut().push_str(if side == Side::Of { " A" } else { " B" });
            Ok(side)
        };
        let slice = |side: &Side| {
            order.borrow_mut().push_str(if *side == Side::Of { "a" } else { "b" });
            let need = need(*side, &order.borrow());
            Ok(Measured { cpu: need, wall: 2.0 * need, ..Measured::default() })
        };
        let paired = Paired::measure(("a", "b"), effort, start, slice).unwrap();
        (paired, order.into_inner())
    }

    /// Starts with these blocks, given as their ratios.
    fn of_ratios(starts: &[&[f64]]) -> Paired {
        let slices = |cpu| [Measured { cpu, wall: 1.0, ..Measured::default() }; 2];
        let block = |ratio: &f64| Block { of: slices(*ratio), over: slices(1.0) };
        let starts = starts.iter().map(|blocks| blocks.iter().map(block).collect()).collect();
        Paired { of: "a".to_owned(), over: "b".to_owned(), starts }
    }

    #[test]
    fn each_server_is_the_first_at_every_other_start_and_follows_itself_as_often_as_the_other() {
        let (paired, order) = compare(SIX, |_, _| 1.0);
        assert_eq!(order, " A Bbaabba B Aabbaab".repeat(3));
        let Reached { figure, interval } = paired.ratio(What::Cpu);
        assert_eq!((figure, interval), (1.0, Some((1.0, 1.0))));
    }

    #[test]
    fn a_machine_that_gets_slower_all_the_time_favours_nobody() {
        // Several times as much at the end: whoever came first would be better by far.
        let (paired, _) = compare(SIX, |_, order| 1.0 + order.len() as f64 / 32.0);
        for what in [What::Cpu, What::Throughput] {
            let Reached { figure, interval } = paired.ratio(what);
            assert_eq!((figure, interval), (1.0, Some((1.0, 1.0))));
        }
    }

    #[test]
    fn a_slice_that_something_ran_into_moves_the_interval_and_not_the_figure() {
        let need = |side, order: &str| match (side, order.len()) {
            (_, 27) => 6.0,
            (Side::Of, _) => 1.03,
            (Side::Over, _) => 1.0,
        };
        let (paired, _) = compare(SIX, need);
        let Reached { figure, interval } = paired.ratio(What::Cpu);
        let (low, high) = interval.unwrap();
        assert!((figure - 1.03).abs() < 1e-9, "{paired:?}");
        assert!(low < 0.9 || high > 1.1, "of six starts, the interval reaches over all: {paired:?}");
        let (paired, _) = compare(Effort { starts: 9, ..SIX }, need);
        let (low, high) = paired.ratio(What::Cpu).interval.unwrap();
        assert!(low > 1.02 && high < 1.04, "of nine, it leaves the outer two out: {paired:?}");
    }

    #[test]
    fn a_known_sample_has_the_known_interval() {
        let starts: [&[f64]; 9] =
            [&[1.05], &[0.9, 1.0, 7.0], &[0.99], &[1.01], &[0.98], &[1.02], &[0.97], &[1.03], &[0.96]];
        let Reached { figure, interval } = of_ratios(&starts).ratio(What::Cpu);
        // The median of each start; of nine, the second and the eighth.
        assert_eq!((figure, interval), (1.0, Some((0.97, 1.03))));
    }

    #[test]
    fn starts_that_differ_widen_the_interval_however_many_blocks_they_have() {
        let (alike, apart): (Vec<_>, Vec<_>) =
            (0..9).map(|n| (vec![1.0; 50], vec![0.96 + 0.01 * f64::from(n); 50])).unzip();
        let width = |starts: &[Vec<f64>]| {
            let starts: Vec<&[f64]> = starts.iter().map(Vec::as_slice).collect();
            let (low, high) = of_ratios(&starts).ratio(What::Cpu).interval.unwrap();
            high - low
        };
        assert_eq!(width(&alike), 0.0);
        assert!((width(&apart) - 0.06).abs() < 1e-9, "{}", width(&apart));
    }

    #[test]
    fn nineteen_of_twenty_intervals_hold_the_true_ratio_although_starts_differ() {
        let mut dice = Dice::new(1);
        let mut noise = || (0..12).map(|_| dice.share()).sum::<f64>() - 6.0;
        let (mut held, mut held_by_blocks) = (0, 0);
        for _ in 0..1000 {
            let starts: Vec<Vec<f64>> = (0..9)
                .map(|_| {
                    let luck = 0.01 * noise();
                    (0..6).map(|_| 1.0 + luck + 0.01 * noise()).collect()
                })
                .collect();
            let holds = |interval: Option<(f64, f64)>| interval.is_some_and(|(low, high)| low <= 1.0 && 1.0 <= high);
            let slices: Vec<&[f64]> = starts.iter().map(Vec::as_slice).collect();
            held += u32::from(holds(of_ratios(&slices).ratio(What::Cpu).interval));
            held_by_blocks += u32::from(holds(median_interval(starts.concat().into_iter())));
        }
        // The sign test's own certainty of nine is 96.1 %.
        assert!((940..=985).contains(&held), "{held} of 1000");
        assert!(held_by_blocks < 850, "blocks are not independent of each other: {held_by_blocks} of 1000");
    }

    #[test]
    fn the_report_has_every_slice() {
        let (paired, _) = compare(SIX, |side, _| if side == Side::Of { 3.0 } else { 2.0 });
        let json = paired.json();
        assert_eq!(json["cpu"], serde_json::json!({ "ratio": 1.5, "interval": [1.5, 1.5] }));
        assert_eq!(json["throughput"]["ratio"], 2.0 / 3.0);
        assert_eq!(json["cpu_seconds"]["of"], serde_json::json!(vec![[[3.0, 3.0]]; 6]));
        assert_eq!(json["wall_seconds"]["over"], serde_json::json!(vec![[[4.0, 4.0]]; 6]));
    }
}
