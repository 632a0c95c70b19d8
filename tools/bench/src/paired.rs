//! [`Paired`]: two servers compared so closely that 2 % are seen, by many short slices of a load in turn.
//!
//! A round lasts seconds, in which the machine changes by more than what is looked for; two slices side by side meet the
//! same machine. Four slices are a block, A B B A, and the next block begins where the last one ended: in each, either
//! server comes once right after the other and once right after itself, and what drifts evenly falls on both alike. The
//! figure is the median of the blocks' ratios, so a block that something else ran into is only one of many.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::numbers::{median, median_interval};

/// How long one comparison goes on.
pub(crate) const SPAN: Duration = Duration::from_secs(25);
/// However long they take: of fewer, no interval is known with 95 % certainty.
const FEWEST_BLOCKS: usize = 6;
/// However short: more say no more.
const MOST_BLOCKS: usize = 500;

/// What two servers needed for the same slices.
#[derive(Debug)]
pub(crate) struct Paired {
    pub(crate) of: &'static str,
    pub(crate) over: &'static str,
    /// CPU of the slices of each block, of both servers.
    blocks: Vec<Block>,
}

#[derive(Clone, Copy, Debug)]
struct Block {
    of: [f64; 2],
    over: [f64; 2],
}

impl Paired {
    /// Compares for `span`, and at least for as long as an interval needs. `slice` measures one of a server.
    pub(crate) fn measure(
        of: &'static str,
        over: &'static str,
        span: Duration,
        mut slice: impl FnMut(&'static str) -> Result<f64>,
    ) -> Result<Self> {
        // What the servers before have left in caches is nobody's share.
        for server in [over, of] {
            slice(server)?;
        }
        let (begin, mut blocks) = (Instant::now(), Vec::new());
        while blocks.len() < FEWEST_BLOCKS || (begin.elapsed() < span && blocks.len() < MOST_BLOCKS) {
            let first = slice(of)?;
            let over = [slice(over)?, slice(over)?];
            blocks.push(Block { of: [first, slice(of)?], over });
        }
        Ok(Self { of, over, blocks })
    }

    fn ratios(&self) -> impl Iterator<Item = f64> {
        self.blocks.iter().map(Block::ratio)
    }

    /// `of` over `over`.
    pub(crate) fn ratio(&self) -> f64 {
        median(self.ratios())
    }

    /// From where to where the ratio may lie, with 95 % certainty.
    pub(crate) fn interval(&self) -> Option<(f64, f64)> {
        median_interval(self.ratios())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        let slices = |side: fn(&Block) -> [f64; 2]| self.blocks.iter().map(side).collect::<Vec<_>>();
        serde_json::json!({
            "of": self.of, "over": self.over, "ratio": self.ratio(), "interval": self.interval(),
            "cpu": { self.of: slices(|block| block.of), self.over: slices(|block| block.over) },
        })
    }
}

impl Block {
    fn ratio(&self) -> f64 {
        self.of.iter().sum::<f64>() / self.over.iter().sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slices of a machine that has got slower by `drift` each, and of servers that need so much.
    fn compare(needs: [f64; 2], drift: f64, mut extra: impl FnMut(usize) -> f64) -> (Paired, Vec<&'static str>) {
        let mut order = Vec::new();
        let slice = |server: &'static str| {
            let (number, need) = (order.len(), if server == "a" { needs[0] } else { needs[1] });
            order.push(server);
            Ok(need + drift * number as f64 + extra(number))
        };
        (Paired::measure("a", "b", Duration::ZERO, slice).unwrap(), order)
    }

    #[test]
    fn servers_take_turns_in_which_each_follows_itself_as_often_as_the_other() {
        let (paired, order) = compare([1.0, 1.0], 0.0, |_| 0.0);
        assert_eq!(order.concat(), "ba".to_owned() + &"abba".repeat(FEWEST_BLOCKS));
        assert_eq!((paired.ratio(), paired.interval()), (1.0, Some((1.0, 1.0))));
    }

    #[test]
    fn a_machine_that_gets_slower_all_the_time_favours_nobody() {
        // Nearly twice as much at the end: whoever came first would be better by a half.
        let (paired, _) = compare([1.0, 1.0], 1.0 / 32.0, |_| 0.0);
        assert_eq!((paired.ratio(), paired.interval()), (1.0, Some((1.0, 1.0))));
    }

    #[test]
    fn a_slice_that_something_ran_into_moves_the_interval_and_not_the_figure() {
        let (paired, _) = compare([1.03, 1.0], 0.0, |number| if number == 9 { 5.0 } else { 0.0 });
        let (low, high) = paired.interval().unwrap();
        assert!((paired.ratio() - 1.03).abs() < 1e-9, "{paired:?}");
        assert!(low < 0.9 || high > 1.1, "of six blocks, the interval reaches over all: {paired:?}");
    }

    #[test]
    fn the_report_has_every_slice() {
        let (paired, _) = compare([3.0, 2.0], 0.0, |_| 0.0);
        let json = paired.json();
        assert_eq!(json["ratio"], 1.5);
        assert_eq!(json["interval"], serde_json::json!([1.5, 1.5]));
        assert_eq!(json["cpu"]["a"], serde_json::json!(vec![[3.0, 3.0]; FEWEST_BLOCKS]));
        assert_eq!(json["cpu"]["b"], serde_json::json!(vec![[2.0, 2.0]; FEWEST_BLOCKS]));
    }
}
