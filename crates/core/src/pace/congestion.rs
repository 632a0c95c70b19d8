//! [`Chooser`]: the congestion control of one download.
//!
//! By far the strongest lever on a path that loses packets without being full: cubic takes every loss for congestion and
//! falls to a few per cent of the path, BBR does not (`docs/benchmarks/` has our figures; Cardwell et al. 2016). On
//! clean paths the two are equally fast, and what the host has chosen stays, also where the round trip is long: there
//! BBR overruns a short queue for as long as it lives (100 Mbit/s, 300 ms and a queue of 100 ms, 30 s each: no faster,
//! but 6 to 14 % sent again instead of 1.3 %). What a long round trip changes is how much loss is too much for cubic.
//!
//! On a host that is on BBR it is the other way round: a path that is short, and so clean that cubic fills it too, gets
//! cubic, which shares a short queue with its neighbours where BBR takes most of it (Hock et al. 2017). A long queue cubic
//! fills, and then all that goes to that client waits in it: there it is the host's again. Any other host keeps what it has
//! on clean paths: Reno on a short one does what cubic does (RFC 9438, 4.3), and of the rest plans know nothing.
//!
//! Only what is lost while no queue stands, nor has just stood, speaks for BBR. A change is a trial all the same: a policed
//! path is full without a queue, and then BBR is no faster. What does not help, or costs, is taken back.
//!
//! Over HTTP/2 several downloads share a connection, and each has a chooser. The first that wants a change makes it, and
//! what one of those that want it then finds is true for all: the others neither try what is there already, nor judge what
//! was found good, nor keep what was taken back. It goes with the last one that wants it.

use std::time::Duration;

use super::cadence::CLOSE;
use super::estimate::{Estimate, SURE_QUEUE};
use super::{Congestion, Expected};

/// Loss from which a path that is certainly not full is lossy: at 0.2 % cubic reaches a fifth of such a path.
const LOSSY: f64 = 0.001;
/// Loss from which a path is worth a trial although its round trip is not at its shortest ...
const VERY_LOSSY: f64 = 0.01;
/// ... but below this multiple of it.
const QUEUED: f64 = 1.5;
/// Loss of the last half minute or so below which a path is clean again.
const CLEAN: f64 = 0.0003;
/// A round trip up to which both were measured to be equally fast on a clean path: 40 ms, with some jitter.
const SHORT: Duration = Duration::from_millis(50);
/// A round trip on which cubic takes seconds to recover from one loss ...
const LONG: Duration = Duration::from_millis(150);
/// ... and so many times less loss is too much: at 0.03 % and 300 ms it reaches 7 Mbit/s, whatever the path carries (RFC
/// 9438, 5.1).
const SHARE_OF_LONG: f64 = 0.3;
/// A trial is judged after this time in which nothing but the path held the bytes up, ...
const TRIAL: Duration = Duration::from_secs(8);
/// ... by the growth of the rate that losses must have held back, ...
const GAIN: f64 = 1.1;
/// ... or, of cubic, by what is left of a rate that nothing holds back.
const KEPT: f64 = 0.95;
/// Losses hold cubic back from so many times what is [`bearable`]: where no queue is worth mention, its own sawtooth loses
/// half of that, one segment in half the square of the window; from there on it keeps less than three fifths of the path.
const SAWTOOTH: f64 = 4.0;
/// What is left, of the rate that cubic is compared with, on a path that is another one: less than three neighbours who
/// come leave. Whether cubic suits it is not known, and a longer round trip looks like a queue there, which hides losses.
const ANOTHER: f64 = 0.2;
/// While its reader holds a trial up, the time between looks is this part of how long it has done so, ...
const PART_OF_HELD: u32 = 8;
/// ... and at most a quarter of a trial: a look that tells of both, the reader and the path, must not decide it.
const SELDOM: Duration = Duration::from_secs(2);
/// A trial that failed is not repeated within this time.
const REST: Duration = Duration::from_secs(60);
/// A choice is kept for at least this long ...
const DWELL: Duration = Duration::from_secs(20);
/// ... and after so many changes nothing new is tried.
const MOST_CHANGES: u32 = 4;

impl Expected {
    /// Whether a download that may have BBR begins with it. What served a client better is known better than what should.
    pub(crate) fn begins_with_bbr(&self) -> bool {
        let is_lossy = || self.loss.is_some_and(|loss| loss > Bounds::over(self.min_rtt).lossy);
        self.is_bbr_better.unwrap_or_else(is_lossy)
    }

    /// Whether it is known what suits its path: what served it better, or so little was lost that BBR is no faster there, and
    /// overruns short queues, or so much that it begins with BBR anyway.
    #[must_use]
    pub fn is_decided(&self) -> bool {
        let bounds = Bounds::over(self.min_rtt);
        let is_unclear = self.loss.is_none_or(|loss| (bounds.clean..=bounds.lossy).contains(&loss));
        self.is_bbr_better.is_some() || !is_unclear
    }
}

/// What is chosen, and why.
#[derive(Clone, Debug)]
pub(super) struct Chooser {
    /// What may be had instead of the host's.
    other: Congestion,
    chosen: Option<Congestion>,
    /// Whether the connection was seen to have what was chosen, and looks that have not seen it yet.
    is_in_force: bool,
    unseen: u8,
    since: Duration,
    changes: u32,
    /// Bytes per second before the trial that runs.
    trial: Option<u64>,
    /// Whether the connection told of that rate when it was last looked at: it does until some download has judged the change.
    is_open: bool,
    /// [`Estimate::free`] when it began.
    free: Duration,
    /// Since when each look has found the bytes held up by something else than the path.
    held_since: Option<Duration>,
    /// Bytes per second when the last one ended well.
    reached: u64,
    /// Whether the connection had moved to another path before.
    had_moved: bool,
    /// Loss that holds cubic back, by the window that filled the path before: what it reaches itself shrinks with losses.
    too_lossy: f64,
    rests_until: Duration,
}

/// A change of mind, or a trial that ended well.
pub(super) struct Change {
    pub(super) to: Option<Congestion>,
    pub(super) because: String,
}

impl Chooser {
    /// Between the host's and `other`, starting from what earlier transfers taught.
    pub(super) fn new(other: Congestion, expected: &Expected) -> Self {
        // That a path is clean, each transfer has to show: one that began with cubic would have nothing to compare it with.
        let begins_with_other = other == Congestion::Bbr && expected.begins_with_bbr();
        Self {
            other,
            chosen: begins_with_other.then_some(other),
            is_in_force: false,
            unseen: 0,
            since: Duration::ZERO,
            changes: 0,
            trial: None,
            is_open: false,
            free: Duration::ZERO,
            held_since: None,
            reached: 0,
            had_moved: false,
            too_lossy: LOSSY,
            rests_until: Duration::ZERO,
        }
    }

    /// Why it begins with BBR, where it does.
    pub(super) fn why_first(expected: &Expected) -> String {
        match expected.is_bbr_better {
            Some(true) if expected.is_bbr_tried => "to see whether it is faster with such clients".to_owned(),
            Some(true) => "earlier transfers: it was faster with such clients".to_owned(),
            _ => format!("earlier transfers: {:.2} % were lost", expected.loss.unwrap_or(0.0) * 100.0),
        }
    }

    /// What to set; `None` leaves the connection as the host made it.
    pub(super) fn chosen(&self) -> Option<Congestion> {
        self.chosen
    }

    /// Whether a change has yet to show what it is worth.
    pub(super) fn is_on_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// Within which time the path is to be looked at again, where it is to be watched: a change has yet to show what it is
    /// worth, or another path would be cubic's by our doing; and at once after a change, since a look tells what moves the
    /// bytes from then on.
    pub(super) fn watched(&self, now: Duration) -> Option<Duration> {
        if self.changes > 0 && now == self.since {
            return Some(CLOSE);
        }
        if self.chosen == Some(Congestion::Cubic) {
            // Between two pauses of its reader it may fill a queue.
            return Some(CLOSE);
        }
        let held = self.held_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        self.is_on_trial().then_some((held / PART_OF_HELD).clamp(CLOSE, SELDOM))
    }

    /// Looks again. `before` is the rate before what the connection has, where nobody has judged that yet.
    pub(super) fn reconsider(&mut self, estimate: &Estimate, before: Option<u64>) -> Option<Change> {
        let now = estimate.now();
        let has_other = estimate.congestion() == Some(self.other);
        let was_open = std::mem::replace(&mut self.is_open, before.is_some());
        self.held_since = estimate.is_held().then(|| self.held_since.unwrap_or(now));
        if let Some(because) = self.why_lost(estimate) {
            return Some(self.take_back(now, because.to_owned()));
        }
        if let Some(because) = self.why_at_once(estimate) {
            return Some(self.take_back(now, because));
        }
        // What the connection has may have been set anew between two looks, since when it says another rate.
        self.trial = self.trial.map(|noted| before.unwrap_or(noted));
        if let Some(rate_before) = self.trial {
            let is_judged = was_open && before.is_none() && self.is_in_force;
            return if is_judged { Some(self.agree(rate_before, estimate)) } else { self.judge(rate_before, estimate) };
        }
        let held = now.saturating_sub(self.since);
        let may_try = self.changes < MOST_CHANGES || self.chosen.is_some();
        if !may_try || (self.changes > 0 && held < DWELL) {
            return None;
        }
        if self.chosen.is_some() {
            return Some(match self.other {
                Congestion::Bbr => self.change(now, None, why_not_bbr(estimate, held)?),
                Congestion::Cubic => self.take_back(now, why_bbr(estimate, self.too_lossy)?),
            });
        }
        // Where the reader is slower than the path, the window is not what fills the path, and nothing is to be gained.
        if now < self.rests_until || estimate.is_held() || estimate.is_silent() {
            return None;
        }
        let because = match self.other {
            Congestion::Bbr => why_bbr(estimate, Bounds::of(estimate).lossy),
            Congestion::Cubic => {
                self.too_lossy = SAWTOOTH * bearable(estimate.segments_under_way()?);
                why_cubic(estimate)
            }
        }?;
        let delivered = estimate.delivered();
        let change = self.change(now, Some(self.other), because);
        // Another download may have changed it already, and end before it has judged.
        (self.trial, self.free) = (if has_other { before } else { delivered }, estimate.free());
        (self.is_in_force, self.reached) = (has_other, delivered.unwrap_or(0));
        self.had_moved = estimate.has_moved();
        Some(change)
    }

    /// Why the connection does not have what was chosen for it. One that was never seen to have it may have refused it, or
    /// others of its downloads were quicker to take it back than this one to look.
    fn why_lost(&mut self, estimate: &Estimate) -> Option<&'static str> {
        if self.chosen.is_none() || !estimate.was_shown() {
            return None;
        }
        // One that has none of those that plans know is on the host's.
        let has_it = estimate.congestion() == self.chosen;
        self.unseen = if has_it { 0 } else { self.unseen.saturating_add(1) };
        let was_seen = std::mem::replace(&mut self.is_in_force, has_it);
        match (has_it, was_seen) {
            (true, _) => None,
            (false, true) => Some("another download of the connection took it back"),
            (false, false) => (self.unseen > 1).then_some("the connection did not get it, or lost it at once"),
        }
    }

    /// A full path gives BBR no more than it gave before, and a clean one gives cubic as much.
    fn judge(&mut self, before: u64, estimate: &Estimate) -> Option<Change> {
        if estimate.free().saturating_sub(self.free) < TRIAL {
            return None;
        }
        let rate = estimate.delivered().unwrap_or(0);
        let (least, good, bad) = match self.other {
            Congestion::Bbr => (GAIN, "faster", "no faster"),
            Congestion::Cubic => (KEPT, "as fast", "slower"),
        };
        let because = |verdict| format!("{verdict}: {before} B/s before, {rate} B/s after");
        let is_good = rate as f64 >= least * before as f64;
        Some(if is_good { self.pass(rate, because(good)) } else { self.take_back(estimate.now(), because(bad)) })
    }

    /// What another download has found good needs no second verdict: of two, the one by which the path looks worse would
    /// count. Had it found it bad, the connection would have lost it.
    fn agree(&mut self, before: u64, estimate: &Estimate) -> Change {
        let rate = estimate.delivered().unwrap_or(0);
        let because = format!("another download of the connection has judged it: {before} B/s before, {rate} B/s now");
        self.pass(rate, because)
    }

    fn pass(&mut self, rate: u64, because: String) -> Change {
        (self.trial, self.reached) = (None, rate);
        Change { to: self.chosen, because }
    }

    /// What speaks at once against what is chosen: a trial compares nothing with what another path was like, and cubic
    /// suits only the path that it was tried on, while no queue stands there.
    fn why_at_once(&self, estimate: &Estimate) -> Option<String> {
        let is_cubic = self.chosen == Some(Congestion::Cubic);
        // Silence began after what is chosen: the client has left a path once more, or has none for the moment.
        let is_another = estimate.is_silent() || estimate.has_moved() != self.had_moved;
        if is_another && (is_cubic || self.trial.is_some()) {
            return Some("another path: the client has left the one that it began on".to_owned());
        }
        if is_cubic { why_too_full(estimate).or_else(|| self.why_slow(estimate)) } else { None }
    }

    /// Whether so little is left of the rate that the path is another one than that which cubic was tried on.
    fn why_slow(&self, estimate: &Estimate) -> Option<String> {
        let (rate, before) = (estimate.delivered()?, self.trial.unwrap_or(self.reached));
        let is_another = (rate as f64) < ANOTHER * before as f64;
        is_another.then(|| format!("another path: {before} B/s before, {rate} B/s now"))
    }

    fn take_back(&mut self, now: Duration, because: String) -> Change {
        self.trial = None;
        self.rests_until = now.saturating_add(REST);
        self.change(now, None, because)
    }

    fn change(&mut self, now: Duration, to: Option<Congestion>, because: String) -> Change {
        (self.chosen, self.is_in_force, self.unseen, self.reached) = (to, false, 0, 0);
        self.since = now;
        self.changes += 1;
        Change { to, because }
    }
}

/// What speaks for BBR, where a path that loses a larger share than `lossy` is lossy.
fn why_bbr(estimate: &Estimate, lossy: f64) -> Option<String> {
    let (loss, inflation) = (estimate.unqueued_loss()?, estimate.inflation()?);
    let is_lossy = loss > lossy && estimate.is_clear() || loss > VERY_LOSSY && inflation < QUEUED;
    let losses = estimate.losses()?;
    let is_known = losses.is_steady() || Bounds::of(estimate).is_long && losses.is_repeated();
    if !is_lossy || !is_known {
        return None;
    }
    let queue = estimate.queue()?.as_micros() as f64 / 1e3;
    Some(format!("{:.2} % lost while only {queue:.1} ms of queue stand: not congestion", loss * 100.0))
}

/// What speaks for taking BBR back after so long.
fn why_not_bbr(estimate: &Estimate, held: Duration) -> Option<String> {
    let clean = Bounds::of(estimate).clean;
    let loss = estimate.lasting_loss().filter(|&loss| loss < clean && held >= DWELL)?;
    Some(format!("{:.2} % lost in the last {} s", loss * 100.0, held.as_secs()))
}

/// What speaks for cubic instead of the host's BBR.
fn why_cubic(estimate: &Estimate) -> Option<String> {
    let (rtt, losses, window) = (estimate.min_rtt()?, estimate.losses()?, estimate.segments_under_way()?);
    let most = losses.lasting_bound()?;
    if rtt > SHORT || most > bearable(window) || why_too_full(estimate).is_some() {
        return None;
    }
    let most = most * 100.0;
    Some(format!("{most:.3} % lost at most, and {window:.0} segments over {rtt:?} fill the path: clean and short"))
}

/// What speaks against cubic at once. A path that has become longer looks the same, and is no longer for cubic either.
fn why_too_full(estimate: &Estimate) -> Option<String> {
    let queue = estimate.queue().filter(|&queue| queue > SURE_QUEUE)?;
    Some(format!("{:.1} ms of queue stand", queue.as_micros() as f64 / 1e3))
}

/// The share of losses up to which cubic keeps a window of so many segments, 1.5 over its square (Mathis et al. 1997;
/// cubic is at least as fast, RFC 9438, 4.3), with a margin; and what is lossy is not clean.
fn bearable(window: f64) -> f64 {
    LOSSY.min(window.max(1.0).powi(-2))
}

/// Which loss is too much for cubic, and which is little enough again.
struct Bounds {
    lossy: f64,
    clean: f64,
    /// Cubic sends so little there that three losses may take minutes.
    is_long: bool,
}

impl Bounds {
    fn over(rtt: Option<Duration>) -> Self {
        let is_long = rtt.is_some_and(|rtt| rtt > LONG);
        let share = if is_long { SHARE_OF_LONG } else { 1.0 };
        Self { lossy: share * LOSSY, clean: share * CLEAN, is_long }
    }

    /// By the shorter one of both round trips, since one of them may still remember another path.
    fn of(estimate: &Estimate) -> Self {
        Self::over(estimate.floor().zip(estimate.min_rtt()).map(|(floor, rtt)| floor.min(rtt)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Observation, PathSample};
    use super::*;

    /// A path of 40 ms without a queue that loses one segment in a hundred, looked at four times a second until then.
    fn lossy_until(seconds: u64) -> Estimate {
        let mut estimate = Estimate::new(0.2);
        for n in 0..=4 * seconds {
            let rtt = Duration::from_millis(40);
            let path = PathSample {
                rtt,
                min_rtt: Some(rtt),
                mss: 1448,
                segments_out: Some(200 * n),
                retransmits: 2 * n,
                congestion: Some(Congestion::Cubic),
                ..PathSample::default()
            };
            let now = Duration::from_millis(250 * n);
            let path = Some(path);
            estimate.observe(&Observation { now, moved: 200 * 1448, filled: None, is_app_limited: false, path });
        }
        estimate
    }

    #[test]
    fn a_trial_is_judged_by_the_rate_before_what_the_connection_has_now() {
        let mut chooser = Chooser::new(Congestion::Bbr, &Expected::default());
        (chooser.chosen, chooser.trial) = (Some(Congestion::Bbr), Some(100));
        let verdict = chooser.reconsider(&lossy_until(60), Some(200)).unwrap();
        assert!(verdict.because.contains(": 200 B/s before"), "{}", verdict.because);
    }

    #[test]
    fn what_a_connection_refused_is_not_said_to_be_another_downloads_doing() {
        let why_given_up = |was_seen| {
            let mut chooser = Chooser::new(Congestion::Bbr, &Expected::default());
            (chooser.chosen, chooser.is_in_force) = (Some(Congestion::Bbr), was_seen);
            let estimate = lossy_until(10);
            (0..2).find_map(|_| chooser.reconsider(&estimate, None)).unwrap().because
        };
        assert!(why_given_up(true).starts_with("another download"));
        assert!(why_given_up(false).starts_with("the connection did not get it"));
    }

    #[test]
    fn a_choice_is_kept_for_a_while_and_not_changed_for_ever() {
        let first = |estimate: &Estimate, changes, since| {
            let mut chooser = Chooser::new(Congestion::Bbr, &Expected::default());
            (chooser.changes, chooser.since) = (changes, Duration::from_secs(since));
            chooser.reconsider(estimate, None).and_then(|change| change.to)
        };
        let estimate = lossy_until(60);
        assert_eq!(first(&estimate, 0, 59), Some(Congestion::Bbr), "nothing has been chosen yet");
        assert_eq!(first(&estimate, 1, 41), None, "19 s ago it was the host's that was chosen");
        assert_eq!(first(&estimate, 1, 40), Some(Congestion::Bbr));
        assert_eq!(first(&estimate, MOST_CHANGES, 0), None);
    }
}
