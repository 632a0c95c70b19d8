//! [`Estimate`]: what the observations of one transfer say about its path.

use std::time::Duration;

use super::kept::KeptSample;
use super::losses::Losses;
use super::rate::Rate;
use super::shortest::Shortest;
use super::{Congestion, Observation, PathSample, Snapshot};

/// The first round trips say nothing about their variation: the kernel starts with half the round trip.
const SETTLED: u32 = 4;
/// A queue below the first says nothing on a short path (jitter of a radio); one above the second is one on any path.
const LEAST_QUEUE: Duration = Duration::from_millis(5);
pub(super) const SURE_QUEUE: Duration = Duration::from_millis(40);

/// Moving figures of one transfer.
#[derive(Clone, Debug)]
pub(super) struct Estimate {
    now: Duration,
    last_moved: Duration,
    longest_gap: Duration,
    /// Time since bytes were last noted in which we held none up: looks without any teach the path alone.
    waited: Duration,
    rate: Rate,
    /// Body bytes in all, and those that moved while the connection was on BBR, as far as looks tell.
    moved: u64,
    under_bbr: u64,
    /// What the connection received, what the other side has of what it sent, and when that was last seen.
    received: Rate,
    delivered: Rate,
    sampled: Duration,
    /// Whether something else than the path held the bytes up before the last look, and time in which nothing did.
    is_held: bool,
    free: Duration,
    shortest: Shortest,
    /// Where something was sent that may be lost: there may be thousands of uploads.
    losses: Option<Box<Losses>>,
    samples: u32,
    last: Option<KeptSample>,
    /// The counters of `last` are those of a path that is gone, while nothing is known of the one in use.
    is_without_base: bool,
}

impl Estimate {
    pub(super) fn new(gain: f64) -> Self {
        Self {
            now: Duration::ZERO,
            last_moved: Duration::ZERO,
            longest_gap: Duration::ZERO,
            waited: Duration::ZERO,
            rate: Rate::new(gain),
            moved: 0,
            under_bbr: 0,
            received: Rate::new(gain),
            delivered: Rate::new(gain),
            sampled: Duration::ZERO,
            is_held: false,
            free: Duration::ZERO,
            shortest: Shortest::default(),
            losses: None,
            samples: 0,
            last: None,
            is_without_base: false,
        }
    }

    pub(super) fn observe(&mut self, seen: &Observation) {
        // A clock that stands or runs backwards teaches nothing about rates.
        let elapsed = seen.now.saturating_sub(self.now);
        self.now = self.now.max(seen.now);
        if seen.moved > 0 {
            self.longest_gap = self.longest_gap.max(self.now.saturating_sub(self.last_moved));
            self.last_moved = self.now;
            let elapsed = elapsed.saturating_add(std::mem::take(&mut self.waited));
            self.rate.observe(seen.moved, elapsed, seen.is_app_limited);
        } else if !seen.is_app_limited {
            self.waited = self.waited.saturating_add(elapsed);
        }
        let was_looked_at = self.last.is_some();
        if let Some(path) = seen.path {
            self.note_path(path, seen.is_app_limited);
        }
        self.moved = self.moved.saturating_add(seen.moved);
        if self.congestion() == Some(Congestion::Bbr) {
            // The first look tells what the bytes before it had.
            self.under_bbr = if was_looked_at { self.under_bbr.saturating_add(seen.moved) } else { self.moved };
        }
    }

    fn note_path(&mut self, path: PathSample, is_app_limited: bool) {
        self.samples = self.samples.saturating_add(1);
        if path.rtt.is_zero() && (path.has_moved || path.subflows == 0) {
            // What was known of the path before is better than nothing; a first look knows nothing.
            let (subflows, congestion) = (path.subflows, path.congestion);
            let known = self.last().map(|last| PathSample { subflows, congestion, has_moved: true, ..last });
            self.last = known.as_ref().map(KeptSample::of);
            self.is_without_base = true;
            return;
        }
        self.shortest.observe(self.now, &path);
        // Counters run from the start of the connection; what another transfer did on it is not ours to judge, so the
        // first sample is only a base; so is the first one of another path.
        let is_without_base = std::mem::take(&mut self.is_without_base);
        let before = self.last();
        let is_first = |before: &PathSample| before.has_moved != path.has_moved || is_without_base;
        if before.as_ref().is_some_and(is_first) {
            // Of the path before, the rate would be another's; and at this look nothing is known that it was compared with.
            self.delivered.forget();
            self.is_held = true;
        } else if let Some(before) = before {
            let is_queued = self.is_queued(&before) || self.is_queued(&path);
            if self.losses.is_some() || Losses::are_possible(&before, &path) {
                self.losses.get_or_insert_default().observe(self.now, &before, &path, is_queued);
            }
            let elapsed = self.now.saturating_sub(self.sampled);
            self.is_held = is_app_limited || is_held(&before, &path, elapsed);
            self.free = self.free.saturating_add(if self.is_held { Duration::ZERO } else { elapsed });
            if let Some((before, now)) = before.bytes_in.zip(path.bytes_in) {
                self.received.observe(now.saturating_sub(before), elapsed, is_app_limited);
            }
            if let Some((before, now)) = before.bytes_acked.zip(path.bytes_acked) {
                self.delivered.observe(now.saturating_sub(before), elapsed, self.is_held);
            }
        }
        self.sampled = self.now;
        self.last = Some(KeptSample::of(&path));
    }

    fn last(&self) -> Option<PathSample> {
        self.last.as_ref().map(KeptSample::sample)
    }

    /// Whether a queue stood that losses may come from. Over the shortest round trip of the last half minute: the
    /// kernel's may be another path's.
    fn is_queued(&self, path: &PathSample) -> bool {
        let exceeds =
            |shortest: Duration| path.rtt.saturating_sub(shortest) > (shortest / 2).clamp(LEAST_QUEUE, SURE_QUEUE);
        self.min_rtt().is_some_and(exceeds)
    }

    /// Body bytes per second, recent.
    pub(super) fn rate(&self) -> Option<u64> {
        self.rate.value()
    }

    /// Bytes per second that the connection delivers, recent: of all the transfers on it together, over all of its paths.
    pub(super) fn delivered(&self) -> Option<u64> {
        self.delivered.value().filter(|_| !self.is_without_base).or(self.rate())
    }

    /// Whether the path that the connection began with has ended.
    pub(super) fn has_moved(&self) -> bool {
        self.last.as_ref().is_some_and(KeptSample::has_moved)
    }

    /// Whether the kernel tells nothing of the path in use: figures are of the one before.
    pub(super) fn is_silent(&self) -> bool {
        self.is_without_base
    }

    /// Whether the other side's reading, or we, held the bytes up before the last look.
    pub(super) fn is_held(&self) -> bool {
        self.is_held
    }

    /// Time between looks in which nothing but the path did: only that tells what a congestion control gets out of it.
    pub(super) fn free(&self) -> Duration {
        self.free
    }

    /// Whether a look has shown anything.
    pub(super) fn was_shown(&self) -> bool {
        self.last.is_some()
    }

    /// The connection's congestion control, when it was last looked at; `None` where it is one that plans do not know.
    pub(super) fn congestion(&self) -> Option<Congestion> {
        self.last.as_ref()?.congestion()
    }

    /// Share of the bytes that moved while the connection was on BBR, where its path was looked at.
    fn bbr_share(&self) -> Option<f64> {
        self.last.as_ref().map(|_| self.under_bbr as f64 / self.moved.max(1) as f64)
    }

    /// Shortest round trip of the last half minute.
    pub(super) fn min_rtt(&self) -> Option<Duration> {
        self.shortest.rtt()
    }

    /// Shortest round trip that the kernel remembers, which is minutes.
    pub(super) fn floor(&self) -> Option<Duration> {
        self.last().and_then(|last| last.min_rtt).or(self.min_rtt())
    }

    /// Smoothed round trip.
    pub(super) fn rtt(&self) -> Option<Duration> {
        self.last().map(|last| last.rtt)
    }

    /// Share of the segments that were lost, the first burst apart, once there are enough of them.
    pub(super) fn loss(&self) -> Option<f64> {
        self.losses.as_ref()?.share()
    }

    /// The same of the segments that were sent while no queue stood: what is lost then is no congestion.
    pub(super) fn unqueued_loss(&self) -> Option<f64> {
        self.losses.as_ref()?.unqueued_share()
    }

    /// The same of the last half minute or so, however much was sent.
    pub(super) fn lasting_loss(&self) -> Option<f64> {
        self.losses.as_ref()?.lasting_share()
    }

    /// The counts behind these shares.
    pub(super) fn losses(&self) -> Option<&Losses> {
        self.losses.as_deref()
    }

    /// Smoothed round trip over the shortest one: above 1.5 a queue stands on the path.
    pub(super) fn inflation(&self) -> Option<f64> {
        let (last, shortest) = (self.last()?, self.min_rtt()?);
        (!shortest.is_zero()).then(|| last.rtt.as_secs_f64() / shortest.as_secs_f64())
    }

    /// What stands in queues on the way: the smoothed round trip beyond the shortest that the kernel remembers.
    pub(super) fn queue(&self) -> Option<Duration> {
        Some(self.last()?.rtt.saturating_sub(self.floor()?))
    }

    /// Whether the path is certainly not full: a queue of a quarter of the round trip would be one, within bounds.
    pub(super) fn is_clear(&self) -> bool {
        let limit = self.floor().map(|floor| (floor / 4).clamp(LEAST_QUEUE, SURE_QUEUE));
        self.queue().zip(limit).is_some_and(|(queue, limit)| queue <= limit)
    }

    /// Bytes per second that the path carries: what the kernel saw delivered, where nothing held it back.
    pub(super) fn carried(&self) -> Option<u64> {
        self.last().and_then(|last| last.delivery_rate.filter(|_| !last.is_rate_app_limited)).max(self.rate())
    }

    /// Bytes that are under way when the path is full.
    pub(super) fn bandwidth_delay(&self) -> Option<u64> {
        let (carried, rtt) = (self.carried()?, self.min_rtt()?);
        Some((carried as f64 * rtt.as_secs_f64()).min(u64::MAX as f64) as u64)
    }

    /// The same in segments.
    pub(super) fn segments_under_way(&self) -> Option<f64> {
        let segment = self.last().map(|last| last.mss).filter(|&mss| mss > 0)?;
        Some(self.bandwidth_delay()? as f64 / f64::from(segment))
    }

    /// The kernel's retransmission time-out (RFC 6298), as far as its parts are known.
    pub(super) fn retransmission_timeout(&self) -> Option<Duration> {
        let last = self.last()?;
        Some((last.rtt.saturating_add(last.rtt_var.saturating_mul(4))).max(Duration::from_millis(200)))
    }

    /// The longest time in which nothing moved and that ended well.
    pub(super) fn longest_gap(&self) -> Duration {
        self.longest_gap
    }

    pub(super) fn now(&self) -> Duration {
        self.now
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let last = self.last();
        Snapshot {
            rate: self.rate(),
            min_rtt: self.min_rtt(),
            rtt: last.map(|last| last.rtt),
            jitter: last.filter(|_| self.samples >= SETTLED).map(|last| last.rtt_var),
            loss: self.loss(),
            unqueued_loss: self.unqueued_loss(),
            hosts_loss: self.losses.as_ref().and_then(|losses| losses.hosts_share()),
            received_rate: self.received.value(),
            delivered_rate: self.delivered(),
            bbr_share: self.bbr_share(),
            samples: self.samples,
            last,
        }
    }
}

/// Whether a reader that paused held the bytes up for most of the time: by TCP's window, or, over HTTP/2, by its own, so that
/// there was nothing to send. That says nothing about the path.
fn is_held(before: &PathSample, path: &PathSample, elapsed: Duration) -> bool {
    let spent = |before: Option<Duration>, now: Option<Duration>| now?.checked_sub(before?);
    let waited = spent(before.receiver_limited, path.receiver_limited).unwrap_or_default();
    // Of several paths, times that overlap count as often: it is certain that there was little to send, not that there was
    // much. One that comes or goes has counted what was before.
    let sent = spent(before.busy, path.busy).filter(|_| before.subflows == path.subflows).unwrap_or(elapsed);
    waited > elapsed / 2 || sent < elapsed / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_connection_receives_is_more_than_one_transfer_of_it() {
        let mut estimate = Estimate::new(0.2);
        for n in 1..=20u64 {
            let path = PathSample { bytes_in: Some(n * 100_000), subflows: 1, ..PathSample::default() };
            estimate.observe(&Observation {
                now: Duration::from_millis(250 * n),
                moved: 25_000,
                filled: None,
                is_app_limited: false,
                path: Some(path),
            });
        }
        let seen = estimate.snapshot();
        assert_eq!((seen.rate, seen.received_rate), (Some(100_000), Some(400_000)));
    }

    #[test]
    fn a_reader_of_several_paths_that_leaves_them_nothing_to_send_holds_the_bytes_up() {
        let is_held = |subflows: [u8; 2], busy: [Option<u64>; 2]| {
            let mut estimate = Estimate::new(0.2);
            for (n, (subflows, busy)) in (1..).zip(subflows.into_iter().zip(busy)) {
                let (rtt, busy) = (Duration::from_millis(20), busy.map(Duration::from_millis));
                let path = PathSample { rtt, subflows, busy, ..PathSample::default() };
                let now = Duration::from_millis(1000 * n);
                estimate.observe(&Observation { now, moved: 1, filled: None, is_app_limited: false, path: Some(path) });
            }
            estimate.is_held()
        };
        assert!(is_held([2, 2], [Some(5000), Some(5400)]));
        assert!(!is_held([2, 2], [Some(5000), Some(6900)]), "both are busy");
        assert!(!is_held([2, 2], [Some(5000), Some(5600)]));
        assert!(!is_held([2, 1], [Some(5000), Some(5400)]) && !is_held([1, 2], [Some(5000), Some(5400)]));
        assert!(!is_held([2, 2], [Some(5000), Some(4000)]), "one has gone, and another has come");
        assert!(!is_held([2, 2], [None, None]) && !is_held([2, 2], [None, Some(1)]), "who knows");
    }

    #[test]
    fn what_is_set_on_a_path_of_which_the_kernel_tells_nothing_is_known() {
        let mut estimate = Estimate::new(0.2);
        for (n, congestion) in (1..).zip([Congestion::Cubic, Congestion::Bbr]) {
            let rtt = if n == 1 { Duration::from_millis(20) } else { Duration::ZERO };
            let path = PathSample { rtt, has_moved: n > 1, congestion: Some(congestion), ..PathSample::default() };
            let now = Duration::from_millis(250 * n);
            estimate.observe(&Observation { now, moved: 1, filled: None, is_app_limited: false, path: Some(path) });
            assert_eq!(estimate.congestion(), Some(congestion));
        }
        assert!(estimate.is_silent());
    }

    #[test]
    fn the_first_look_tells_what_moved_the_bytes_before_it() {
        let mut estimate = Estimate::new(0.2);
        let mut share_after = |millis, moved, congestion: Option<_>| {
            let path =
                congestion.map(|_| PathSample { congestion, rtt: Duration::from_millis(5), ..Default::default() });
            let now = Duration::from_millis(millis);
            estimate.observe(&Observation { now, moved, filled: None, is_app_limited: false, path });
            estimate.snapshot().bbr_share
        };
        assert_eq!(share_after(5, 600, None), None);
        assert_eq!(share_after(10, 200, Some(Congestion::Bbr)), Some(1.0));
        assert_eq!(share_after(15, 200, None), Some(1.0));
        assert_eq!(share_after(20, 1000, Some(Congestion::Cubic)), Some(0.5));
    }

    #[test]
    fn what_another_path_has_counted_before_is_no_loss_of_this_transfer() {
        let run = |moves: bool, tells_from: u64| {
            let mut estimate = Estimate::new(0.2);
            for n in 0..9u64 {
                let path = PathSample {
                    rtt: Duration::from_millis(20),
                    segments_out: Some(1000 * n),
                    // The burst of slow start, and later what differs between two paths.
                    retransmits: if n < 6 { n.min(1) } else { 501 },
                    has_moved: moves && n >= 6,
                    ..PathSample::default()
                };
                let nothing =
                    PathSample { has_moved: true, rtt_var: Duration::from_millis(250), ..PathSample::default() };
                let path = if n >= 6 && n < tells_from { nothing } else { path };
                let now = Duration::from_millis(250 * n);
                estimate.observe(&Observation { now, moved: 1, filled: None, is_app_limited: false, path: Some(path) });
            }
            estimate.snapshot()
        };
        assert!(run(false, 6).loss.unwrap() > 0.05);
        assert!(run(true, 6).loss.unwrap() < 0.001);
        assert!(run(true, 7).loss.unwrap() < 0.001, "also where the other path is silent at first");
        let (before, silent) = (run(true, 6), run(true, 9));
        assert!(silent.loss.unwrap() < 0.001);
        assert_eq!((silent.rtt, silent.min_rtt, silent.jitter), (before.rtt, before.min_rtt, before.jitter));
        assert!(silent.last.unwrap().has_moved);
    }

    #[test]
    fn looks_between_the_steps_of_a_slow_reader_leave_its_rate_as_it_is() {
        const EVERY: u64 = 250;
        // 64 KiB each 3.2 s are 20 KB/s; of what we hold up the path knows nothing.
        for is_held_up in [false, true] {
            let mut estimate = Estimate::new(0.2);
            let (mut next, step) = (3200, 1 << 16);
            for n in 1..=240u64 {
                let now = Duration::from_millis(EVERY * n);
                let seen =
                    Observation { now, moved: 0, filled: None, is_app_limited: is_held_up && n % 4 == 0, path: None };
                if EVERY * n >= next {
                    next += 3200;
                    estimate.observe(&Observation { moved: step, is_app_limited: false, ..seen });
                } else {
                    estimate.observe(&seen);
                }
                let expected = if is_held_up { 24_000..29_000 } else { 18_000..22_600 };
                let rate = estimate.rate();
                assert!(rate.is_none_or(|rate| expected.contains(&rate)), "{rate:?} at {now:?}");
            }
            assert!(estimate.rate().is_some());
        }
    }
}
