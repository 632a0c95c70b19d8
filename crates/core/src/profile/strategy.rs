//! [`Strategies`]: what the configuration grants a client, by its link or by its quality.

use super::{Guess, Link, Quality};

/// What one kind of client gets; `None` leaves it to the rest of the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounds {
    /// `buffer_size`: its largest step, bytes.
    pub ceiling: Option<usize>,
    /// `timeout_multiplier`: how much longer than others it may be silent.
    pub patience: Option<f64>,
    /// `retry_multiplier`: how much longer than others it is asked to wait before it tries again.
    pub retry: Option<f64>,
}

impl Bounds {
    /// The same, and what it leaves open as `other` has it.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            ceiling: self.ceiling.or(other.ceiling),
            patience: self.patience.or(other.patience),
            retry: self.retry.or(other.retry),
        }
    }
}

/// `[network_interfaces]` and the strategies of `[client_optimization]`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Strategies {
    /// By link, in the order of [`Link::KNOWN`].
    pub links: [Bounds; 6],
    /// `strategy_mobile`.
    pub mobile: Bounds,
    /// `strategy_desktop`.
    pub desktop: Bounds,
    /// `strategy_server`.
    pub server: Bounds,
    /// `performance_classification`: whether clients whose link is not known are sorted by what they reach.
    pub by_quality: bool,
    /// `priority` of the links: who waits goes first where it is lower.
    pub priorities: [Option<u32>; 6],
}

/// A guess below this is no ground to treat a client otherwise.
pub(super) const SURE: f64 = 0.8;

impl Strategies {
    /// What a client gets whose link is probably `class` and whose path has shown to be of `quality`: by the link where
    /// the guess is sure, else by the quality.
    #[must_use]
    pub fn bounds(&self, class: Guess, quality: Quality) -> Bounds {
        let link = class.sure();
        let of_link = Link::KNOWN.iter().zip(self.links).find(|(known, _)| **known == link);
        of_link.map(|(_, bounds)| bounds).unwrap_or_default().or(self.strategy(link, quality))
    }

    /// The place of a client among those who wait, by its link where the guess is sure. Who has none is among the last.
    #[must_use]
    pub fn priority(&self, class: Guess) -> u32 {
        let link = class.sure();
        let of_link = Link::KNOWN.iter().zip(self.priorities).find(|(known, _)| **known == link);
        let last = || self.priorities.into_iter().flatten().max().unwrap_or(0);
        of_link.and_then(|(_, priority)| priority).unwrap_or_else(last)
    }

    fn strategy(&self, link: Link, quality: Quality) -> Bounds {
        match (link, quality) {
            (Link::Lte | Link::Cellular | Link::Satellite, _) => self.mobile,
            (Link::Ethernet, Quality::Excellent) => self.server,
            (Link::Ethernet | Link::Wifi | Link::Vpn, _) => self.desktop,
            (Link::Unknown, _) if !self.by_quality => Bounds::default(),
            (Link::Unknown, Quality::Poor | Quality::Fair) => self.mobile,
            (Link::Unknown, Quality::Good) => self.desktop,
            (Link::Unknown, Quality::Excellent) => self.server,
            (Link::Unknown, Quality::Unknown) => Bounds::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ceiling(bytes: usize) -> Bounds {
        Bounds { ceiling: Some(bytes), patience: None, retry: None }
    }

    fn strategies() -> Strategies {
        let mut links = [Bounds::default(); 6];
        links[2] = Bounds { patience: Some(2.0), ..Bounds::default() };
        Strategies {
            links,
            mobile: ceiling(1),
            desktop: ceiling(2),
            server: ceiling(3),
            by_quality: true,
            priorities: [None; 6],
        }
    }

    fn bounds(strategies: &Strategies, link: Link, confidence: f64, quality: Quality) -> Bounds {
        strategies.bounds(Guess { link, confidence }, quality)
    }

    #[test]
    fn a_sure_guess_counts_and_an_unsure_one_leaves_it_to_the_quality() {
        let of = |link, confidence, quality| bounds(&strategies(), link, confidence, quality).ceiling;
        assert_eq!(of(Link::Cellular, 0.9, Quality::Excellent), Some(1));
        assert_eq!(of(Link::Cellular, 0.7, Quality::Excellent), Some(3));
        assert_eq!(of(Link::Ethernet, 0.9, Quality::Good), Some(2));
        assert_eq!(of(Link::Unknown, 1.0, Quality::Fair), Some(1));
        assert_eq!(of(Link::Unknown, 1.0, Quality::Unknown), None);
    }

    #[test]
    fn what_is_said_of_a_link_goes_before_its_strategy() {
        let lte = bounds(&strategies(), Link::Lte, 0.9, Quality::Good);
        assert_eq!((lte.ceiling, lte.patience), (Some(1), Some(2.0)));
    }

    #[test]
    fn who_is_not_known_for_sure_or_has_no_number_waits_with_the_last() {
        let priorities = [Some(10), Some(20), None, None, None, Some(50)];
        let strategies = Strategies { priorities, ..strategies() };
        let of = |link, confidence| strategies.priority(Guess { link, confidence });
        assert_eq!([of(Link::Ethernet, 0.9), of(Link::Wifi, 0.9), of(Link::Vpn, 0.9)], [10, 20, 50]);
        assert_eq!([of(Link::Ethernet, 0.7), of(Link::Lte, 0.9), of(Link::Unknown, 1.0)], [50; 3]);
        assert_eq!(Strategies::default().priority(Guess { link: Link::Ethernet, confidence: 0.9 }), 0);
    }

    #[test]
    fn without_classification_only_links_count() {
        let strategies = Strategies { by_quality: false, ..strategies() };
        assert_eq!(bounds(&strategies, Link::Unknown, 0.0, Quality::Poor), Bounds::default());
        assert_eq!(bounds(&strategies, Link::Lte, 0.9, Quality::Poor).ceiling, Some(1));
    }
}
