//! [`guess`]: what kind of link a client probably has.
//!
//! Naive Bayes over figures that differ between media: the shortest round trip, its variation, loss or disorder, the
//! rate, the segment size; the User-Agent is one weak prior. A guess: how often it is right on recorded samples stands in
//! `docs/benchmarks/guesses.md`; how often on real networks, nobody knows.

use super::evidence::{Evidence, TELLING_SEGMENTS};
use crate::pace::Snapshot;

/// What a client's link probably is.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Link {
    /// Wired.
    Ethernet,
    /// Wireless LAN.
    Wifi,
    /// 4G or 5G.
    Lte,
    /// Older mobile networks.
    Cellular,
    /// A satellite hop.
    Satellite,
    /// A tunnel.
    Vpn,
    /// Not enough to say, or like none of these.
    #[default]
    Unknown,
}

impl Link {
    /// Those that can be guessed.
    pub const KNOWN: [Self; 6] = [Self::Ethernet, Self::Wifi, Self::Lte, Self::Cellular, Self::Satellite, Self::Vpn];

    /// As it is written in logs and in `[network_interfaces]`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ethernet => "ethernet",
            Self::Wifi => "wifi",
            Self::Lte => "lte",
            Self::Cellular => "cellular",
            Self::Satellite => "satellite",
            Self::Vpn => "vpn",
            Self::Unknown => "unknown",
        }
    }

    /// Reads the name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::KNOWN.into_iter().find(|link| link.as_str() == name)
    }
}

/// A link and how sure the guess is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Guess {
    /// The most likely one; `Unknown` when none stands out.
    pub link: Link,
    /// Its posterior probability, 0 to 1, if the media of the table were all there are. Of `Unknown`, how sure it is that the
    /// path is like none of them; 0 where that is open.
    pub confidence: f64,
}

impl Guess {
    /// The link, where the guess is sure enough to treat a client otherwise.
    #[must_use]
    pub fn sure(self) -> Link {
        if self.confidence >= super::strategy::SURE { self.link } else { Link::Unknown }
    }
}

/// What may be used for a guess besides the figures of the path.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hints<'a> {
    /// `User-Agent`, when `user_agent_analysis` is on.
    pub agent: Option<&'a str>,
    /// Whether segment sizes count (`connection_fingerprinting`).
    pub fingerprints: bool,
}

/// Below this, the guess is `Unknown`.
pub(super) const SURE: f64 = 0.6;
/// What two, three and four figures may differ from a medium's, as the sum of squared deviations: one in a thousand of its
/// links differs by more (chi squared). A path that is like none of the media is not like the one that it is least unlike.
const MOST_UNLIKE: [f64; 3] = [13.8, 16.3, 18.5];
/// How sure that is.
const UNLIKE: f64 = 0.999;

/// What a medium's figures look like: centre and spread, as natural logarithms.
struct Medium {
    link: Link,
    /// Shortest round trip, ms.
    rtt: (f64, f64),
    /// Variation over round trip.
    jitter: (f64, f64),
    /// Share of lost segments, in per mille, plus one. Of downloads: what a receiver sees out of order is no share.
    loss: (f64, f64),
    /// Rate, Mbit/s.
    rate: (f64, f64),
}

/// Mean and deviation over one half of the emulated links in `testdata/links.jsonl`, the deviations half as large again
/// and at least 0.4 (0.8 for rates, which contracts set as much as media do): real links vary more than emulated ones.
const MEDIA: [Medium; 6] = [
    Medium { link: Link::Ethernet, rtt: (1.4, 1.5), jitter: (-2.9, 1.0), loss: (0.1, 0.4), rate: (4.7, 0.8) },
    Medium { link: Link::Wifi, rtt: (1.7, 1.6), jitter: (-2.2, 0.8), loss: (1.3, 1.0), rate: (3.2, 0.8) },
    Medium { link: Link::Lte, rtt: (3.9, 0.5), jitter: (-2.8, 1.2), loss: (2.2, 0.4), rate: (1.0, 0.8) },
    Medium { link: Link::Cellular, rtt: (5.4, 0.4), jitter: (-2.7, 0.6), loss: (3.1, 1.1), rate: (-0.6, 0.8) },
    Medium { link: Link::Satellite, rtt: (6.4, 0.4), jitter: (-5.1, 0.9), loss: (2.0, 0.8), rate: (0.1, 0.9) },
    Medium { link: Link::Vpn, rtt: (3.1, 0.7), jitter: (-3.7, 1.7), loss: (1.1, 0.6), rate: (2.7, 1.0) },
];

/// Guesses the link behind `seen`.
#[must_use]
pub fn guess(seen: &Snapshot, hints: &Hints<'_>) -> Guess {
    let (Some(last), Some(rtt)) = (seen.last, seen.min_rtt) else { return Guess::default() };
    if rtt.is_zero() {
        return Guess::default();
    }
    // While we only receive, the kernel's variation of the round trip is the half of the first one that it began with.
    let has_sent = last.segments_out.is_some_and(|segments| segments >= TELLING_SEGMENTS);
    let figures = Figures {
        rtt: (rtt.as_secs_f64() * 1e3).ln(),
        jitter: seen.jitter.filter(|_| has_sent).map(|jitter| {
            let share = jitter.as_secs_f64() / last.rtt.as_secs_f64().max(1e-6);
            share.max(1e-3).ln()
        }),
        loss: seen.loss.map(|share| (1e3 * share + 1.0).ln()),
        rate: seen.rate.map(|rate| (rate as f64 * 8e-6).max(1e-3).ln()),
        is_tunnelled: hints.fingerprints.then(|| Evidence::of(seen).tunnelled),
        is_phone: hints.agent.map(names_a_phone),
    };
    let scores = MEDIA.each_ref().map(|medium| (medium.link, figures.score(medium)));
    let best = scores.iter().map(|(_, score)| *score).fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores.iter().map(|(_, score)| (score - best).exp()).sum();
    let confidence = 1.0 / sum;
    let likely = MEDIA.iter().zip(scores).find(|(_, (_, score))| *score == best).map(|(medium, _)| medium);
    match likely {
        Some(medium) if figures.are_like(medium) => match confidence >= SURE {
            true => Guess { link: medium.link, confidence },
            false => Guess::default(),
        },
        Some(_) if figures.are_more_than_a_round_trip() && !MEDIA.iter().any(|medium| figures.are_like(medium)) => {
            Guess { link: Link::Unknown, confidence: UNLIKE }
        }
        _ => Guess::default(),
    }
}

#[derive(Clone, Copy)]
struct Figures {
    rtt: f64,
    jitter: Option<f64>,
    loss: Option<f64>,
    rate: Option<f64>,
    is_tunnelled: Option<bool>,
    is_phone: Option<bool>,
}

impl Figures {
    /// The known ones: how many spreads each is away from a medium's, and the spread.
    fn deviations(&self, medium: &Medium) -> impl Iterator<Item = (f64, f64)> {
        let theirs = [medium.rtt, medium.jitter, medium.loss, medium.rate];
        let ours = [Some(self.rtt), self.jitter, self.loss, self.rate];
        let known = ours.into_iter().zip(theirs).filter_map(|(value, usual)| Some((value?, usual)));
        known.map(|(value, (centre, spread))| ((value - centre) / spread, spread))
    }

    fn are_more_than_a_round_trip(&self) -> bool {
        self.jitter.or(self.loss).or(self.rate).is_some()
    }

    /// Whether a link of that kind may show them. A round trip alone names no medium.
    fn are_like(&self, medium: &Medium) -> bool {
        // No wire is too good for one.
        let ours = match medium.link {
            Link::Ethernet => Self {
                rtt: self.rtt.max(medium.rtt.0),
                jitter: self.jitter.map(|jitter| jitter.max(medium.jitter.0)),
                rate: self.rate.map(|rate| rate.min(medium.rate.0)),
                ..*self
            },
            _ => *self,
        };
        let (known, unlike) =
            ours.deviations(medium).fold((0, 0.0), |(known, sum), (away, _)| (known + 1, sum + away * away));
        known >= 2 && MOST_UNLIKE.get(known - 2).is_some_and(|&most| unlike <= most)
    }

    /// Logarithm of how well they fit, but for a constant.
    fn score(&self, medium: &Medium) -> f64 {
        let fit: f64 = self.deviations(medium).map(|(away, spread)| -0.5 * away * away - spread.ln()).sum();
        let tunnel = match (self.is_tunnelled, medium.link) {
            (Some(true), Link::Vpn) => 3.0,
            // Mobile networks tunnel, too.
            (Some(true), Link::Lte | Link::Cellular) => 0.5,
            (Some(true), _) => -1.0,
            (Some(false), Link::Vpn) => -3.0,
            // Without a look at the segments, nothing speaks for a tunnel.
            (None, Link::Vpn) => -2.0,
            _ => 0.0,
        };
        let phone = match (self.is_phone, medium.link) {
            (Some(true), Link::Wifi | Link::Lte | Link::Cellular) => 0.5,
            (Some(true), Link::Ethernet) => -0.5,
            _ => 0.0,
        };
        fit + tunnel + phone
    }
}

/// Whether a User-Agent is that of a program for phones.
fn names_a_phone(agent: &str) -> bool {
    const PHONES: [&str; 8] = ["Android", "iPhone", "iPad", "Mobile", "Conversations", "Monal", "Siskin", "okhttp"];
    PHONES.iter().any(|name| agent.contains(name))
}
