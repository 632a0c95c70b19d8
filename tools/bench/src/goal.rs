//! [`Goal`]: what must be reached, and [`Reached`]: what was, with a verdict.

use std::fmt;

/// What one round or slice at one server showed. What a load does not measure stays zero.
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
    pub(crate) of: &'static str,
    pub(crate) what: What,
    pub(crate) over: Option<&'static str>,
    pub(crate) bound: Bound,
    /// Whose ratio says what the barest program reaches; told where the goal is missed.
    pub(crate) least: Option<(&'static str, &'static str)>,
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
    /// A bound on a ratio, which is judged closely ([`crate::paired`]).
    pub(crate) const fn ratio(of: &'static str, what: What, over: &'static str, bound: Bound) -> Self {
        Self { of, what, over: Some(over), bound, least: None }
    }

    pub(crate) const fn alone(of: &'static str, what: What, bound: Bound) -> Self {
        Self { of, what, over: None, bound, least: None }
    }

    /// The same, and what the barest program reaches.
    pub(crate) const fn with_least(self, of: &'static str, over: &'static str) -> Self {
        Self { least: Some((of, over)), ..self }
    }

    pub(crate) fn pair(&self) -> Option<(&'static str, &'static str)> {
        self.over.map(|over| (self.of, over))
    }
}

impl Bound {
    pub(crate) fn is_met_by(self, figure: f64) -> bool {
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
    pub(crate) fn of(self, measured: &Measured) -> f64 {
        match self {
            Self::Cpu => measured.cpu,
            Self::Throughput => 1.0 / measured.wall,
            Self::Tail => measured.tail,
            Self::Memory => measured.memory,
        }
    }

    /// Of what two servers showed in some slices of equal amounts of work: the first over the second.
    pub(crate) fn ratio(self, of: &[Measured], over: &[Measured]) -> f64 {
        let sum = |slices: &[Measured], value: fn(&Measured) -> f64| slices.iter().map(value).sum::<f64>();
        match self {
            // So much work in the sum of the times.
            Self::Throughput => sum(over, |slice| slice.wall) / sum(of, |slice| slice.wall),
            Self::Cpu => sum(of, |slice| slice.cpu) / sum(over, |slice| slice.cpu),
            Self::Tail => sum(of, |slice| slice.tail) / sum(over, |slice| slice.tail),
            Self::Memory => sum(of, |slice| slice.memory) / sum(over, |slice| slice.memory),
        }
    }

    pub(crate) fn name(self) -> &'static str {
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
pub(crate) struct Reached {
    pub(crate) figure: f64,
    /// Where it lies with 95 % certainty, where that is known.
    pub(crate) interval: Option<(f64, f64)>,
}

impl Reached {
    /// By the figure; the interval says whether it might be otherwise.
    pub(crate) fn verdict(&self, bound: Bound) -> &'static str {
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

    #[test]
    fn a_ratio_is_that_of_the_work_for_the_same_cost_or_of_the_cost_for_the_same_work() {
        let slice = |cpu, wall| Measured { cpu, wall, ..Measured::default() };
        let (of, over) = ([slice(1.0, 1.0), slice(2.0, 3.0)], [slice(4.0, 5.0), slice(2.0, 3.0)]);
        assert_eq!(What::Cpu.ratio(&of, &over), 0.5);
        assert_eq!(What::Throughput.ratio(&of, &over), 2.0, "twice as fast");
    }
}
