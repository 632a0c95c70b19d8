//! What is learnt about clients: quality, evidence, a guess at the link, and profiles that outlive a transfer.
//!
//! Pure. A round-trip time does not name a medium: *quality* and *evidence* are measured, the *link* is a guess with a
//! confidence and mostly unknown. Called by the server's `flow`.

mod evidence;
mod link;
mod quality;
mod strategy;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

pub use evidence::Evidence;
pub use link::{Guess, Hints, Link, guess};
pub use quality::{Alarm, Alarms, InvalidThresholds, Quality, Threshold, Thresholds};
pub use strategy::{Bounds, Strategies};

use sha2::{Digest as _, Sha256};

use crate::Timestamp;
use crate::pace::{Congestion, Direction, Expected, Plan, Snapshot};

/// Whom a profile is about: the owner where the protocol names one, and the network it came from.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ProfileKey {
    /// The slot's owner.
    pub owner: Option<String>,
    /// Network prefix: /24 of IPv4, /48 of IPv6; `None` without an address.
    pub prefix: Option<IpAddr>,
}

impl ProfileKey {
    /// The key of `owner` at `address`. An IPv4 address in IPv6 clothes is the IPv4 address.
    #[must_use]
    pub fn new(owner: Option<String>, address: Option<IpAddr>) -> Self {
        Self { owner, prefix: address.map(|address| prefix(address.to_canonical())) }
    }
}

impl ProfileKey {
    /// The client's lot in `experiment`, in [0, 1): evenly spread over clients, another one in each experiment, and the
    /// same on every machine, in every build and for ever. Who is known keeps it across networks.
    ///
    /// The first eight bytes, big-endian, of the SHA-256 of the experiment, a NUL byte, and `owner:` with the owner or
    /// `network:` with the prefix.
    #[must_use]
    pub fn lot(&self, experiment: &str) -> f64 {
        let who = match (&self.owner, self.prefix) {
            (Some(owner), _) => format!("owner:{owner}"),
            (None, Some(prefix)) => format!("network:{prefix}"),
            (None, None) => String::new(),
        };
        let hash = Sha256::new().chain_update(experiment).chain_update([0]).chain_update(who).finalize();
        let first = hash.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        // 53 bits are what an f64 holds without rounding up to 1.
        (first >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn prefix(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & !0xff).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !((1 << 80) - 1)).into(),
    }
}

/// A transfer that moved less tells nothing about the rate that a path can carry.
pub const TELLING_BYTES: u64 = 64 << 10;

/// A download that took fewer round trips was mostly taken by the socket at once.
const TELLING_ROUND_TRIPS: u32 = 8;

/// Without a round trip to go by, a transfer must take this long: sockets take megabytes within a millisecond, and a proxy
/// that gathers a whole file first takes, or hands over, what memory and its disk allow.
const TELLING_TIME: Duration = Duration::from_secs(2);

/// Where a transfer is measured.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Vantage {
    /// At the client's own connection.
    #[default]
    Client,
    /// At the connection of a proxy in front, whose figures are not the client's: only how the transfer went on is known.
    Proxy,
}

impl Vantage {
    /// Of a connection whose other end is a proxy, or the client.
    #[must_use]
    pub const fn of(is_proxied: bool) -> Self {
        if is_proxied { Self::Proxy } else { Self::Client }
    }

    /// As it is written in logs and labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Proxy => "proxy",
        }
    }
}

/// Whether what moved within `elapsed` tells a rate. The end of a download only went into the socket, which takes up to
/// a megabyte on a warm connection: of a short one, that is nearly all.
#[must_use]
pub fn tells_rate(
    direction: Direction,
    bytes: u64,
    elapsed: Duration,
    min_rtt: Option<Duration>,
    vantage: Vantage,
) -> bool {
    let least = match (vantage, direction, min_rtt) {
        (Vantage::Client, Direction::Upload, _) => Duration::ZERO,
        (Vantage::Client, Direction::Download, Some(min_rtt)) => min_rtt.saturating_mul(TELLING_ROUND_TRIPS),
        (Vantage::Client, Direction::Download, None) | (Vantage::Proxy, _, _) => TELLING_TIME,
    };
    bytes >= TELLING_BYTES && elapsed >= least
}

/// After so many transfers, up and down, a download that would begin with BBR does not. Who is known for losses begins with
/// it, and what BBR loses may be its own doing; whom BBR served better has nothing but BBR. Only the host's congestion control
/// can show that it is no longer needed. Where it is, it comes within seconds.
const ASKS_AGAIN: u32 = 25;

/// The least weight of what such a download shows: with that of any other it took hundreds of transfers to be believed.
const ANSWER: f64 = 0.5;

/// One transfer that has ended, as a profile learns from it.
#[derive(Clone, Copy, Debug)]
pub struct Lesson {
    /// What the controller saw.
    pub snapshot: Snapshot,
    /// The plan that it ended with.
    pub plan: Plan,
    /// Which way the bytes went.
    pub direction: Direction,
    /// Until the last byte moved.
    pub elapsed: Duration,
    /// Bytes that moved.
    pub bytes: u64,
    /// Whether all of it moved.
    pub is_whole: bool,
    /// What link the client seemed to have.
    pub guess: Guess,
    /// Where that was seen.
    pub vantage: Vantage,
    /// Whether it began without BBR only to show whether that is still so.
    pub has_asked: bool,
}

impl Lesson {
    /// Bytes per second from the first byte to the last one, if enough moved for long enough to say. Behind a proxy, of
    /// the last seconds: what the proxy took at once is in the whole.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        let seen = &self.snapshot;
        if !tells_rate(self.direction, self.bytes, self.elapsed, seen.min_rtt, self.vantage) {
            return None;
        }
        match self.vantage {
            Vantage::Client => Some(self.bytes as f64 / self.elapsed.as_secs_f64().max(1e-3)),
            Vantage::Proxy => seen.rate.map(|rate| rate as f64),
        }
    }

    /// Whether BBR moved nearly all of it, or next to nothing. Of what is in between, where BBR was given up the rate is taken
    /// for the other's, since who is no faster by BBR may never have another one; else it is neither's. So it is where BBR
    /// came back: there cubic was tried, and given up.
    fn was_on_bbr(&self) -> Option<bool> {
        let is_asked_for = self.plan.congestion == Some(Congestion::Bbr);
        let share = self.snapshot.bbr_share.unwrap_or(f64::from(u8::from(is_asked_for)));
        let is_one = !(1.0 - NEARLY_ALL..=NEARLY_ALL).contains(&share);
        let ends_on_bbr = is_asked_for || self.snapshot.last.and_then(|path| path.congestion) == Some(Congestion::Bbr);
        if is_one { Some(share > 0.5) } else { (!ends_on_bbr).then_some(false) }
    }
}

/// Of the bytes, what a congestion control must have moved for their rate to be its own: one that comes after some seconds
/// to a path that loses packets has, within half a minute.
const NEARLY_ALL: f64 = 0.75;

/// What is remembered of one client.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Profile {
    /// Bytes per second that its uploads reached. Few links are as fast up as down.
    pub rate_up: Option<f64>,
    /// Shortest round trip, seconds. Rises only slowly: networks change.
    pub min_rtt: Option<f64>,
    /// Variation of the round trip, seconds.
    pub jitter: Option<f64>,
    /// Share of the segments that were lost while no queue stood on the path, under another congestion control than BBR.
    pub loss: Option<f64>,
    /// Share of the transfers that broke off.
    pub breaks: f64,
    /// Rate of its downloads on connections that were not on BBR, or gave it up half-way, and of those on such that were, be it
    /// by a plan or by the host.
    pub rate_default: Option<f64>,
    /// See above.
    pub rate_bbr: Option<f64>,
    /// Which of the two was learnt last, but by a download that only asked: BBR's, or the other. Not kept: nobody knows of
    /// what an earlier process learnt.
    pub is_bbr_latest: Option<bool>,
    /// The step that its last upload ended with.
    pub step: Option<u32>,
    /// The link that it seems to have, and how sure that is.
    pub class: Guess,
    /// Transfers that it was learnt from.
    pub transfers: u32,
    /// When it learnt last.
    pub at: Timestamp,
}

/// Of the confidence in a class, what a transfer takes at most whose path is like no medium: after ten it is forgotten.
const DOUBT: f64 = 0.05;

impl Profile {
    /// Takes in one transfer; `gain` is the weight of the new one.
    pub fn learn(&mut self, lesson: &Lesson, gain: f64, now: Timestamp) {
        let seen = &lesson.snapshot;
        self.at = now;
        self.transfers = self.transfers.saturating_add(1);
        self.breaks += gain * (f64::from(u8::from(!lesson.is_whole)) - self.breaks);
        let rate = lesson.rate();
        match lesson.direction {
            Direction::Upload => {
                self.learn_loss(seen, gain);
                blend(&mut self.rate_up, rate, gain);
            }
            Direction::Download => self.learn_download(lesson, rate, gain),
        }
        self.sort(lesson.guess, gain);
        blend(&mut self.jitter, seen.jitter.map(|jitter| jitter.as_secs_f64()), gain);
        if let Some(rtt) = seen.min_rtt.map(|rtt| rtt.as_secs_f64()) {
            match self.min_rtt {
                Some(known) if rtt > known => blend(&mut self.min_rtt, Some(rtt), gain),
                _ => self.min_rtt = Some(rtt),
            }
        }
        if rate.is_some() && lesson.direction == Direction::Upload {
            self.step = u32::try_from(lesson.plan.step).ok();
        }
    }

    fn learn_download(&mut self, lesson: &Lesson, rate: Option<f64>, gain: f64) {
        let was_on_bbr = lesson.was_on_bbr().filter(|_| rate.is_some());
        let is_answer = lesson.has_asked && was_on_bbr == Some(false);
        let gain = if is_answer { gain.max(ANSWER) } else { gain };
        self.learn_loss(&lesson.snapshot, gain);
        let Some(was_on_bbr) = was_on_bbr else { return };
        blend(if was_on_bbr { &mut self.rate_bbr } else { &mut self.rate_default }, rate, gain);
        if !is_answer {
            self.is_bbr_latest = Some(was_on_bbr);
        }
    }

    /// What cubic loses by filling the path says nothing for BBR, nor does what BBR loses: that can only show that less is
    /// lost than was known.
    fn learn_loss(&mut self, seen: &Snapshot, gain: f64) {
        let under_bbr = seen.unqueued_loss.filter(|&loss| self.loss.is_some_and(|known| loss < known));
        blend(&mut self.loss, seen.hosts_loss.or(under_bbr), gain);
    }

    /// A guess that is repeated grows surer, and one that is contradicted must give way to a surer one; where the path is like
    /// no medium, to none, once it is no longer likely itself.
    fn sort(&mut self, guess: Guess, gain: f64) {
        if guess.link == self.class.link {
            self.class.confidence += gain * (guess.confidence - self.class.confidence);
        } else if guess.link != Link::Unknown {
            self.class.confidence *= 1.0 - gain;
            if guess.confidence > self.class.confidence {
                self.class = guess;
            }
        } else if guess.confidence > 0.0 {
            // What is no medium's may be the server's fault, or the direction's.
            self.class.confidence *= 1.0 - gain.min(DOUBT);
            if self.class.confidence < link::SURE {
                self.class = Guess::default();
            }
        }
    }

    /// What the next download expects that asks whether BBR is still better, where it is time to ask: that it is not, since
    /// what is known of its kind must not put it on BBR either; and the rate that was reached without, where one is known.
    #[must_use]
    pub fn asked(&self) -> Option<Expected> {
        let known = self.expected(Direction::Download);
        let is_time = self.transfers.is_multiple_of(ASKS_AGAIN) && known.begins_with_bbr();
        let rate = self.rate_default.map(|rate| rate as u64).or(known.rate);
        is_time.then_some(Expected { is_bbr_better: Some(false), rate, ..known })
    }

    /// What the next transfer that way may expect.
    #[must_use]
    pub fn expected(&self, direction: Direction) -> Expected {
        // Only a clear difference counts: small ones are chance.
        let is_bbr_better = match (self.rate_default, self.rate_bbr) {
            (Some(other), Some(bbr)) if bbr > 1.2 * other => Some(true),
            (Some(other), Some(bbr)) if bbr < 1.05 * other => Some(false),
            _ => None,
        };
        Expected {
            rate: self.rate(direction).map(|rate| rate as u64),
            min_rtt: self.min_rtt.and_then(|rtt| Duration::try_from_secs_f64(rtt).ok()),
            loss: self.loss,
            is_bbr_better,
            is_bbr_tried: false,
            step: self.step.filter(|_| direction == Direction::Upload).and_then(|step| usize::try_from(step).ok()),
            ceiling: None,
            patience: None,
        }
    }
}

impl Profile {
    /// Bytes per second, that way: for a download, with what the last one had; where that is not known, with what served it
    /// better. The other rate may be one that no download teaches any more, since the host is on another congestion control
    /// now, or may no longer have BBR.
    fn rate(&self, direction: Direction) -> Option<f64> {
        match (direction, self.is_bbr_latest) {
            (Direction::Upload, _) => self.rate_up,
            (Direction::Download, Some(true)) => self.rate_bbr,
            (Direction::Download, Some(false)) => self.rate_default,
            (Direction::Download, None) => [self.rate_default, self.rate_bbr].into_iter().flatten().reduce(f64::max),
        }
    }
}

fn blend(known: &mut Option<f64>, new: Option<f64>, gain: f64) {
    if let Some(new) = new.filter(|new| new.is_finite()) {
        *known = Some(known.map_or(new, |known| known + gain * (new - known)));
    }
}
