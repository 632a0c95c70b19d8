//! [`Losses`]: which share of the segments is lost, which of that while no queue stood, and whether enough is known to
//! say so.

use std::time::Duration;

use super::{Congestion, PathSample};

/// Segments below which a share of lost ones means nothing.
const ENOUGH_SEGMENTS: f64 = 50.0;
/// Segments that are remembered: a fast path that heals shows so within about this many, ...
const MEMORY: f64 = 20_000.0;
/// ... and a slow one within a few of these times.
const FADES_WITHIN: Duration = Duration::from_secs(20);
/// A sender that probes for the path's rate loses a burst when it finds it. Making up for it has ended when nothing was
/// sent again for this many round trips ...
const BURST: u32 = 4;
/// ... and takes no longer than so many and one for each doubling of what was lost, since each sends again at least half
/// of what is missing: what goes on is no burst. 2,900 segments at 300 ms took ten, where this gives them sixteen.
const LONGEST_BURST: u32 = 16;
/// Between two looks further apart than this, a queue may have come, overflowed and gone ...
const CLOSE: Duration = Duration::from_secs(2);
/// ... unless so few segments were sent, and within [`LONGEST_BURST`] round trips, that no closer look was to be had: a
/// socket that has room for 64 KiB at once is not written to before as much was sent, which takes cubic 2.3 s at 4 % and
/// 300 ms. Where that is all that the path carries, two packets in a queue are 40 ms, and are seen.
const FEW_SEGMENTS: f64 = 100.0;

/// What the counters of one connection say, as far as they moved during this transfer.
#[derive(Clone, Debug, Default)]
pub(super) struct Losses {
    segments: f64,
    lost: f64,
    /// The same of the time in which no queue had stood for some round trips: only that is certainly no congestion.
    unqueued: Unqueued,
    /// The same of the time in which the connection was not on BBR, which loses some by itself. While it is, nothing fades.
    hosts: Unqueued,
    /// The same without [`MEMORY`], which is a quarter of a second at 1 Gbit/s: a pause between two bursts must not look
    /// like a path that has healed.
    lasting: Unqueued,
    /// Segments that were sent while a queue stood and none was lost: in none of these counts ...
    quiet: f64,
    /// ... nor is what was lost between two looks so far apart that it may be a queue's. Both fade as `lasting` does.
    unclear: f64,
    at: Duration,
    burst: Option<Recovery>,
    episode: Option<Recovery>,
    queued_until: Duration,
}

impl Losses {
    /// Whether anything was sent between two samples that could be lost.
    pub(super) fn are_possible(before: &PathSample, path: &PathSample) -> bool {
        since(before.segments_out, path.segments_out) > 0.0
    }

    /// Takes note of two samples in a row; `is_queued` says that one of them showed a queue.
    pub(super) fn observe(&mut self, now: Duration, before: &PathSample, path: &PathSample, is_queued: bool) {
        let (apart, sent) = (now.saturating_sub(self.at), since(before.segments_out, path.segments_out));
        let is_slow = sent <= FEW_SEGMENTS && apart <= before.rtt.min(path.rtt).saturating_mul(LONGEST_BURST);
        let is_close = apart <= CLOSE || is_slow;
        let is_hosts = ![before.congestion, path.congestion].contains(&Some(Congestion::Bbr));
        self.fade(apart, is_hosts);
        self.at = now;
        let again = path.retransmits.saturating_sub(before.retransmits) as f64;
        let spurious = since(before.spurious.map(u64::from), path.spurious.map(u64::from));
        let lost = (again - spurious).max(0.0).min(sent);
        if is_queued {
            self.queued_until = now.saturating_add(path.rtt.saturating_mul(BURST));
        }
        // The first burst of every transfer: slow start ends with it on a clean path, too.
        let is_of_burst = |burst: &mut Recovery| burst.goes_on(now, path.rtt, lost);
        if lost > 0.0 && is_of_burst(self.burst.get_or_insert_with(|| Recovery::begin(now, path.rtt))) {
            return;
        }
        self.segments += sent;
        self.lost += lost;
        // A full queue empties at the loss, and stays empty for seconds where the round trip is long.
        if now > self.queued_until {
            self.count_unqueued(now, path.rtt, &Sent { sent, lost, is_close, is_hosts });
        } else if lost <= 0.0 {
            self.quiet += sent;
        }
        if self.segments > MEMORY {
            self.keep(MEMORY / self.segments, is_hosts);
        }
    }

    fn count_unqueued(&mut self, now: Duration, rtt: Duration, between: &Sent) {
        let &Sent { sent, lost, is_close, is_hosts } = between;
        // A look from afar tells when nothing was lost, and when closer ones have told what losses are here.
        let tells = |known: &Unqueued| is_close || lost <= 0.0 || known.is_steady();
        let (of_unqueued, of_lasting) = (tells(&self.unqueued), tells(&self.lasting));
        let is_new = (of_unqueued || of_lasting) && lost > 0.0 && self.is_new_episode(now, rtt, lost);
        if of_unqueued {
            self.unqueued.count(sent, lost, is_new);
            if is_hosts {
                self.hosts.count(sent, lost, is_new);
            }
        }
        if of_lasting {
            self.lasting.count(sent, lost, is_new);
        } else {
            self.unclear += lost;
        }
    }

    fn is_new_episode(&mut self, now: Duration, rtt: Duration, lost: f64) -> bool {
        let is_known = self.episode.as_mut().is_some_and(|episode| episode.goes_on(now, rtt, lost));
        if !is_known {
            self.episode.insert(Recovery::begin(now, rtt)).goes_on(now, rtt, lost);
        }
        !is_known
    }

    /// Share of the segments that were lost, once there are enough of them.
    pub(super) fn share(&self) -> Option<f64> {
        (self.segments >= ENOUGH_SEGMENTS).then(|| self.lost / self.segments)
    }

    /// The same of the segments that were sent while no queue stood.
    pub(super) fn unqueued_share(&self) -> Option<f64> {
        self.unqueued.share()
    }

    /// The same of those that were sent while the connection was not on BBR.
    pub(super) fn hosts_share(&self) -> Option<f64> {
        self.hosts.share()
    }

    /// The same of the last half minute or so, however much was sent.
    pub(super) fn lasting_share(&self) -> Option<f64> {
        self.lasting.share()
    }

    /// The share that may have been lost lately, of what no queue has lost, at most: with what may be a queue's, and three
    /// more than were seen, which is beyond chance (the rule of three).
    pub(super) fn lasting_bound(&self) -> Option<f64> {
        let (sent, lost) = (self.lasting.segments + self.quiet, self.lasting.lost + self.unclear);
        (sent >= ENOUGH_SEGMENTS).then(|| (lost + 3.0) / sent)
    }

    /// Whether losses without a queue were seen often enough for their share to be more than a burst.
    pub(super) fn is_steady(&self) -> bool {
        self.unqueued.is_steady()
    }

    /// Whether they were seen more than once, be they ever so few.
    pub(super) fn is_repeated(&self) -> bool {
        self.unqueued.is_repeated()
    }

    /// Whether losses were seen lately, so that a closer look is worth while.
    pub(super) fn is_suspicious(&self) -> bool {
        // Counts only fade, they never become zero.
        self.lost >= 0.5 && !self.is_steady()
    }

    fn fade(&mut self, elapsed: Duration, is_hosts: bool) {
        let share = (-elapsed.as_secs_f64() / FADES_WITHIN.as_secs_f64()).exp();
        self.keep(share, is_hosts);
        self.lasting.keep(share);
        self.quiet *= share;
        self.unclear *= share;
    }

    fn keep(&mut self, share: f64, is_hosts: bool) {
        self.segments *= share;
        self.lost *= share;
        self.unqueued.keep(share);
        if is_hosts {
            self.hosts.keep(share);
        }
    }
}

/// What was sent between two looks, and how much it tells.
struct Sent {
    sent: f64,
    lost: f64,
    is_close: bool,
    is_hosts: bool,
}

/// What was sent and lost while no queue stood.
#[derive(Clone, Copy, Debug, Default)]
struct Unqueued {
    segments: f64,
    lost: f64,
    /// Losses; what one recovery sends again is one.
    episodes: f64,
}

impl Unqueued {
    fn count(&mut self, sent: f64, lost: f64, is_new_episode: bool) {
        self.segments += sent;
        self.lost += lost;
        self.episodes += f64::from(u8::from(is_new_episode));
    }

    fn share(&self) -> Option<f64> {
        (self.segments >= ENOUGH_SEGMENTS).then(|| self.lost / self.segments)
    }

    fn is_steady(&self) -> bool {
        self.lost >= 3.0 && self.is_repeated()
    }

    fn is_repeated(&self) -> bool {
        self.episodes >= 1.5
    }

    fn keep(&mut self, share: f64) {
        self.segments *= share;
        self.lost *= share;
        self.episodes *= share;
    }
}

/// Losses that belong together.
#[derive(Clone, Copy, Debug)]
struct Recovery {
    since: Duration,
    until: Duration,
    lost: f64,
}

impl Recovery {
    fn begin(now: Duration, rtt: Duration) -> Self {
        Self { since: now, until: now.saturating_add(rtt.saturating_mul(BURST)), lost: 0.0 }
    }

    /// Whether what is lost at `now` belongs to it.
    fn goes_on(&mut self, now: Duration, rtt: Duration, lost: f64) -> bool {
        let goes_on = now <= self.until;
        if goes_on {
            self.lost += lost;
            let in_round_trips = |at: Duration, count| at.saturating_add(rtt.saturating_mul(count));
            self.until = in_round_trips(now, BURST).min(in_round_trips(self.since, self.longest()));
        }
        goes_on
    }

    /// Round trips that making up for it may take.
    fn longest(&self) -> u32 {
        BURST.saturating_add((1.0 + self.lost).log2() as u32).min(LONGEST_BURST)
    }
}

/// How far a counter came; nothing when it is missing or ran backwards.
fn since(before: Option<u64>, now: Option<u64>) -> f64 {
    match (before, now) {
        (Some(before), Some(now)) => now.saturating_sub(before) as f64,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(40);

    /// A connection that loses `lost` of its 1,000 segments in each 250 ms, without a queue.
    fn run(losses: &[u64]) -> Losses {
        run_queued(losses, |_| false)
    }

    /// The same, with a queue in the samples that `is_queued` names.
    fn run_queued(losses: &[u64], is_queued: fn(u64) -> bool) -> Losses {
        let sample = |segments, lost| PathSample {
            rtt: RTT,
            segments_out: Some(segments),
            retransmits: lost,
            ..PathSample::default()
        };
        let (mut seen, mut before, mut total) = (Losses::default(), sample(0, 0), 0);
        for (n, lost) in (1..).zip(losses) {
            total += lost;
            let path = sample(n * 1000, total);
            seen.observe(Duration::from_millis(250) * n as u32, &before, &path, is_queued(n));
            before = path;
        }
        seen
    }

    #[test]
    fn the_burst_that_ends_slow_start_is_no_loss() {
        assert_eq!(run(&[0, 0, 300, 0, 0]).share(), Some(0.0));
        assert!(!run(&[0, 0, 300, 0, 0]).is_steady());
    }

    #[test]
    fn a_second_burst_alone_is_not_steady() {
        assert!(!run(&[0, 300, 0, 0, 90, 0, 0]).is_steady());
    }

    #[test]
    fn what_goes_on_is_counted() {
        let seen = run(&[2, 2, 2, 2, 2]);
        assert!(seen.is_steady());
        assert!((0.0019..0.0021).contains(&seen.share().unwrap()), "{seen:?}");
    }

    #[test]
    fn what_had_arrived_and_was_sent_again_all_the_same_is_no_loss() {
        let sample = |n: u64, spurious: u64| PathSample {
            rtt: RTT,
            segments_out: Some(1000 * n),
            retransmits: 20 * n,
            spurious: Some((spurious * n) as u32),
            ..PathSample::default()
        };
        let share = |spurious| {
            let mut seen = Losses::default();
            for n in 1..20u64 {
                let [before, path] = [n - 1, n].map(|n| sample(n, spurious));
                seen.observe(Duration::from_millis(250) * n as u32, &before, &path, false);
            }
            seen.share().unwrap()
        };
        assert_eq!(share(20), 0.0);
        assert!((0.009..0.011).contains(&share(10)), "{}", share(10));
    }

    #[test]
    fn what_a_queue_loses_is_counted_apart() {
        let seen = run_queued(&[0, 20, 0, 20, 0, 20, 0, 20], |n| n % 2 == 0);
        assert!(!seen.is_steady() && seen.is_suspicious());
        assert_eq!((seen.share().map(|share| share > 0.005), seen.unqueued_share()), (Some(true), Some(0.0)));
    }

    #[test]
    fn what_is_lost_between_two_distant_looks_may_be_a_queues() {
        let sample = |segments, lost| PathSample {
            rtt: Duration::from_millis(300),
            segments_out: Some(segments),
            retransmits: lost,
            ..PathSample::default()
        };
        let after_each = |seconds: u32| {
            let mut seen = Losses::default();
            for n in 0..10u64 {
                let now = Duration::from_secs(1) * seconds * (n as u32 + 1);
                // The second half loses nothing.
                let lost = |n: u64| 20 * n.min(5);
                seen.observe(now, &sample(1000 * n, lost(n)), &sample(1000 * (n + 1), lost(n + 1)), false);
            }
            seen
        };
        assert!(after_each(2).is_steady());
        let seen = after_each(10);
        assert!(!seen.is_steady() && seen.is_suspicious(), "{seen:?}");
        assert_eq!(seen.unqueued_share(), Some(0.0), "the second half was clean: {seen:?}");
    }

    #[test]
    fn a_slow_path_is_looked_at_as_closely_as_it_can_be() {
        let sample = |segments, lost| PathSample {
            rtt: Duration::from_millis(300),
            segments_out: Some(segments),
            retransmits: lost,
            ..PathSample::default()
        };
        let is_known_after = |segments: u64, millis: u32| {
            let mut seen = Losses::default();
            for n in 0..8u64 {
                let now = Duration::from_millis(1) * millis * (n as u32 + 1);
                let [before, path] = [n, n + 1].map(|n| sample(segments * n, 2 * n));
                seen.observe(now, &before, &path, false);
            }
            seen.is_steady()
        };
        assert!(is_known_after(45, 2_300));
        assert!(!is_known_after(1_000, 2_300), "a queue may have come and gone");
        assert!(!is_known_after(45, 5_000), "nobody has looked for seventeen round trips");
    }

    #[test]
    fn a_few_losses_are_no_burst_of_many_round_trips() {
        let rtt = Duration::from_millis(300);
        let ends_after = |lost: f64| {
            let mut burst = Recovery::begin(Duration::ZERO, rtt);
            (0..100).find(|&n| !burst.goes_on(rtt * n, rtt, if n == 0 { lost } else { 0.0 }))
        };
        assert_eq!([1.0, 7.0, 2_900.0].map(ends_after), [Some(6), Some(8), Some(16)]);
    }

    #[test]
    fn one_recovery_is_one_episode_however_often_it_is_looked_at() {
        let sample = |n: u64| PathSample {
            rtt: Duration::from_millis(300),
            segments_out: Some(200 * n),
            retransmits: if n < 20 { n.min(1) } else { (n - 18).min(4) },
            ..PathSample::default()
        };
        let mut seen = Losses::default();
        for n in 1..25u64 {
            seen.observe(Duration::from_millis(250) * n as u32, &sample(n - 1), &sample(n), false);
        }
        assert!(seen.unqueued.lost > 2.5 && seen.unqueued.episodes <= 1.0, "{seen:?}");
    }

    #[test]
    fn a_path_that_heals_shows_so() {
        let mut losses = vec![20; 40];
        losses.extend([0; 160]);
        assert!(run(&losses).share().unwrap() < 0.0005);
    }

    #[test]
    fn few_segments_say_nothing() {
        let path = PathSample { segments_out: Some(40), retransmits: 10, ..PathSample::default() };
        let mut seen = Losses::default();
        seen.observe(Duration::from_secs(1), &PathSample { segments_out: Some(0), ..path }, &path, false);
        assert_eq!(seen.share(), None);
    }
}
