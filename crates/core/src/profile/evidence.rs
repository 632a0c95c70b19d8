//! [`Evidence`]: what the figures of a path show, without a name for the medium.

use std::time::Duration;

use crate::pace::Snapshot;

/// Things that measurements show. Independent of each other; none of them needs a guess.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Evidence {
    /// More than one path is in use (MPTCP).
    pub multipath: bool,
    /// The client has moved to another path in the middle of the connection (MPTCP).
    pub migrated: bool,
    /// Packets are lost or reordered although no queue stands: radio, not congestion.
    pub lossy: bool,
    /// A queue of more than a round trip, and of at least 30 ms, stands somewhere.
    pub bloated: bool,
    /// The round trip varies by more than a quarter.
    pub jittery: bool,
    /// Segments are smaller than the medium's: a tunnel takes its share.
    pub tunnelled: bool,
}

/// Samples before the variation of the round trip means something.
const SETTLED: u32 = 8;
/// Data segments of ours before that.
pub(super) const TELLING_SEGMENTS: u64 = 8;
/// Loss above this share while no queue stood, or with the round trip near its shortest.
const LOSSY: f64 = 0.005;
/// A path shorter than this leads to this machine itself: what is missing there had no room where it came.
const NEAR: Duration = Duration::from_micros(100);
/// Segments of the client before a share of them means something.
const ENOUGH_SEGMENTS: u64 = 50;
/// A queue below the first is the jitter of a short path, one above the second is one on any; one below the third bothers
/// nobody.
const LEAST_QUEUE: Duration = Duration::from_millis(5);
const SURE_QUEUE: Duration = Duration::from_millis(40);
const BLOAT: Duration = Duration::from_millis(30);
/// Segment sizes of Ethernet (with and without timestamps), of PPPoE, and of loopback: no tunnel.
const PLAIN_MSS: [u32; 5] = [1460, 1448, 1452, 1440, 1428];

impl Evidence {
    /// What `seen` shows.
    #[must_use]
    pub fn of(seen: &Snapshot) -> Self {
        let Some(last) = seen.last else { return Self::default() };
        let shortest = seen.min_rtt.unwrap_or(last.rtt);
        let over = |rtt: Duration, queue: Duration| rtt.saturating_sub(shortest) > queue;
        let is_over = |rtt| over(rtt, (shortest / 2).clamp(LEAST_QUEUE, SURE_QUEUE));
        let is_bloated = |rtt| over(rtt, BLOAT.max(shortest));
        // While we only receive, the kernel keeps the round trip that it began with and half of it as its variation; then
        // only the receiver's own figure shows a queue.
        let has_sent = last.segments_out.is_none_or(|segments| segments >= TELLING_SEGMENTS);
        let is_queued = is_over(last.rtt) || last.receive_rtt.is_some_and(|rtt| !has_sent && is_over(rtt));
        let lost = seen.unqueued_loss.unwrap_or(0.0);
        let lost_on_the_way = received_loss(seen).unwrap_or(0.0);
        // What we send tells of the way there, what the client sends of its own interface.
        let mss = last.mss.max(last.receive_mss);
        Self {
            multipath: last.subflows > 1,
            migrated: last.has_moved,
            lossy: lost > LOSSY || !is_queued && lost_on_the_way > LOSSY,
            bloated: is_bloated(last.rtt) || last.receive_rtt.is_some_and(is_bloated),
            jittery: has_sent && seen.samples >= SETTLED && last.rtt_var.as_secs_f64() > 0.25 * last.rtt.as_secs_f64(),
            tunnelled: (500..1428).contains(&mss) && !PLAIN_MSS.contains(&mss),
        }
    }

    /// The names of what is shown, for logs and answers.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let all = [
            (self.multipath, "multipath"),
            (self.migrated, "migrated"),
            (self.lossy, "lossy-not-congested"),
            (self.bloated, "buffer-bloated"),
            (self.jittery, "jittery"),
            (self.tunnelled, "tunnelled"),
        ];
        all.into_iter().filter(|(shown, _)| *shown).map(|(_, name)| name)
    }
}

/// Share of the client's segments that were lost, as far as their receiver can tell: all that arrives until a hole is
/// filled is out of order, which is what a round trip carries. Both counts are of the connection, so what it carries is,
/// too: of several uploads over HTTP/2 each has only a part of it.
fn received_loss(seen: &Snapshot) -> Option<f64> {
    let last = seen.last?;
    let (out_of_order, segments) = last.out_of_order.zip(last.segments_in)?;
    if seen.min_rtt.is_some_and(|rtt| rtt < NEAR) {
        return None;
    }
    let rtt = last.receive_rtt.or(seen.min_rtt)?.as_secs_f64();
    let round_trip = seen.received_rate.or(seen.rate)? as f64 * rtt / f64::from(last.receive_mss.max(1));
    (segments >= ENOUGH_SEGMENTS).then(|| f64::from(out_of_order) / round_trip.max(1.0) / segments as f64)
}
