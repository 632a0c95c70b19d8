//! [`Adaptive`]: plans that follow the network.
//!
//! Starts from what is known of the client and the size, then follows what is observed. A lever that is off stays at
//! the standard arm's value, so each can be measured alone.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::cadence::{self, Cadence};
use super::congestion::{Change, Chooser};
use super::estimate::Estimate;
use super::pacing;
use super::{
    Carrier, Congestion, Controller, Decision, Direction, Expected, Lane, Observation, PathSample, Pieces, Plan,
    Settings, Snapshot, Standard, Start, Window,
};
use crate::progress::StallLimits;

/// From this size on an upload is worth a preallocation and early write-back, and splicing pays for its pipe.
const LARGE: u64 = 1 << 20;
/// A step grows by this factor while reads fill it.
const GROWTH: usize = 4;
/// First write to TLS or HTTP/2: the first byte leaves at once, and a slow reader holds little.
const FIRST_WRITE: usize = 64 << 10;
/// Bytes that a socket takes beyond what is in flight, until the path is known. Costs no throughput (measured), and
/// keeps what a slow reader holds in the kernel small.
const FIRST_UNSENT: u32 = 128 << 10;
const MOST_UNSENT: u32 = 4 << 20;
/// On a path shorter than this the socket is left alone: what it takes is gone at once, and refilling it in small parts
/// costs 3 % more CPU on loopback.
const SHORT: Duration = Duration::from_millis(1);
/// A step shrinks when it was not filled for this long ...
const SLACK: Duration = Duration::from_secs(1);
/// ... in this many observations in a row; each time that it proved too small again, in twice as many. As many full
/// ones in a row it takes to grow once it has shrunk.
const PATIENCE: u32 = 4;
const MOST_PATIENCE: u32 = 64;
/// Retransmission time-outs in a row that a handover may cost.
const TIMEOUTS: u32 = 8;
/// Decisions of each lever kept for the log.
const MOST_DECISIONS: usize = 16;

/// The controller of the adaptive arm.
#[derive(Debug)]
pub struct Adaptive {
    settings: Arc<Settings>,
    direction: Direction,
    pieces: Pieces,
    is_shared: bool,
    /// Of what is known of the client, what outlasts the first plan.
    granted: Granted,
    /// Bytes that have yet to move; the largest number where nobody has said how many there are.
    left: u64,
    estimate: Estimate,
    /// Only downloads have one, and thousands of uploads wait.
    chooser: Option<Box<Chooser>>,
    cadence: Cadence,
    plan: Plan,
    /// Observations in a row whose reads did not fill the step, and since when.
    slack: u32,
    filled_at: Duration,
    /// Observations in a row whose reads did.
    full: u32,
    /// How many of them it takes to change.
    patience: u32,
    has_shrunk: bool,
    decisions: Vec<Decision>,
}

/// Bounds of a client's own; see [`Expected`].
#[derive(Debug)]
struct Granted {
    ceiling: Option<usize>,
    patience: Option<f64>,
}

impl Adaptive {
    /// For a transfer that begins.
    #[must_use]
    pub fn new(settings: &Arc<Settings>, start: &Start) -> Self {
        let standard = Standard::new(settings, start).plan();
        let expected = if settings.foresees { start.expected } else { Expected::default() };
        let chooser = settings.other_congestion(start).map(|other| Box::new(Chooser::new(other, &expected)));
        let mut adaptive = Self {
            settings: Arc::clone(settings),
            direction: start.direction,
            pieces: Pieces::of(start.direction, start.carrier),
            is_shared: start.is_shared,
            granted: Granted { ceiling: start.expected.ceiling, patience: start.expected.patience },
            left: start.size.unwrap_or(u64::MAX),
            estimate: Estimate::new(settings.gain),
            chooser,
            cadence: Cadence::new(settings),
            plan: standard,
            slack: 0,
            filled_at: Duration::ZERO,
            full: 0,
            patience: PATIENCE,
            has_shrunk: false,
            decisions: Vec::new(),
        };
        adaptive.plan = adaptive.first(start);
        adaptive.explain_first(&standard, start, &expected);
        adaptive
    }

    /// What of the first plan a stranger would not get.
    fn explain_first(&mut self, standard: &Plan, start: &Start, expected: &Expected) {
        let (plan, known) = (self.plan, start.expected);
        let (from, to) = (name(standard.congestion), name(plan.congestion));
        self.decide("congestion control", from, to, || Chooser::why_first(expected));
        if self.settings.may_size(start) {
            let usual = match self.pieces {
                Pieces::Steps => self.settings.first_step,
                Pieces::Records | Pieces::Frames => FIRST_WRITE,
            };
            let step = known.step.filter(|_| self.settings.follows);
            self.decide(self.pieces.as_str(), usual, self.pieces.size(&plan), || match step {
                Some(step) => format!("earlier transfers: the last upload ended with {step}"),
                None => "within the smallest and the largest step for such clients".to_owned(),
            });
        }
        self.decide("stall", Shown(standard.stall.idle), Shown(plan.stall.idle), || match known.patience {
            Some(factor) => format!("such clients are granted {factor} times the limit"),
            None => "min_timeout".to_owned(),
        });
        if let Some((rate, rtt)) = known.rate.zip(known.min_rtt).filter(|_| self.moves_unsent()) {
            self.decide("unsent", Shown(standard.unsent), Shown(plan.unsent), || {
                format!("earlier transfers: {rate} B/s over a round trip of {rtt:?}")
            });
        }
    }

    /// The first plan; until then there is the standard one.
    fn first(&self, start: &Start) -> Plan {
        let (settings, levers) = (&self.settings, self.settings.levers);
        let mut plan = self.plan;
        if levers.lane {
            plan.lane = settings.lane(start);
            plan.step = self.first_step(start);
        }
        if !settings.zero_copy && plan.lane == Lane::ZeroCopy {
            plan.lane = Lane::Buffered;
        }
        if levers.write_back && start.direction == Direction::Upload {
            plan.preallocate = start.size.is_some();
            plan.write_back = true;
        }
        if levers.write {
            plan.write = FIRST_WRITE.min(self.ceiling());
        }
        if levers.congestion {
            plan.congestion = self.chooser.as_deref().and_then(Chooser::chosen);
        }
        if self.moves_unsent() {
            let expected = start.expected.rate.zip(start.expected.min_rtt);
            plan.unsent = match expected {
                Some((rate, rtt)) => unsent((rate as f64 * rtt.as_secs_f64()) as u64, rtt),
                None => Some(FIRST_UNSENT),
            };
        }
        if levers.window && start.direction == Direction::Upload && !start.is_shared {
            plan.window = Window::MOST;
        }
        plan.stall = self.patient(Duration::ZERO);
        let is_watched = settings.watches && !start.is_shared;
        plan.sample_after = is_watched.then_some(cadence::FIRST.min(settings.sample_every));
        plan
    }

    /// What `seen` says of the path; whether the path was looked at.
    fn note(&mut self, seen: &Observation) -> bool {
        // What a proxy's socket says is not about the client.
        let seen = Observation { path: seen.path.filter(|_| !self.is_shared), ..*seen };
        self.estimate.observe(&seen);
        seen.path.is_some()
    }

    /// What fits into a stranger's first step is one piece, however slow its client was: it touches the disk once.
    fn first_step(&self, start: &Start) -> usize {
        let first = self.settings.first_step;
        let known = start.expected.step.filter(|_| self.settings.follows).unwrap_or(first);
        let is_short = start.size.is_some_and(|size| size <= first as u64);
        self.within(if is_short { known.max(first) } else { known })
    }

    fn within(&self, step: usize) -> usize {
        step.clamp(self.settings.min_step.max(1), self.ceiling())
    }

    /// The largest step: the configuration's, or less where more is not worth it.
    fn ceiling(&self) -> usize {
        let (min, max) = (self.settings.min_step.max(1), self.settings.max_step);
        self.granted.ceiling.unwrap_or(max).min(max).max(min)
    }

    /// Grows at once at first, shrinks only when a smaller step has been enough for a while, and is slow to do either
    /// from then on: a reader that hesitates now and then must not make the step swing.
    /// `moved` bytes came within `span`.
    fn resize(&mut self, filled: bool, moved: u64, span: Duration) {
        let now = self.estimate.now();
        if filled {
            (self.slack, self.filled_at, self.full) = (0, now, self.full.saturating_add(1));
            if !self.has_shrunk || self.full >= self.patience {
                self.grow(moved, span);
            }
            return;
        }
        self.full = 0;
        self.slack = self.slack.saturating_add(1);
        let since = now.saturating_sub(self.filled_at);
        if self.slack >= self.patience && since >= SLACK {
            let seen = std::mem::take(&mut self.slack);
            (self.filled_at, self.has_shrunk) = (now, true);
            self.shrink(seen, since);
        }
    }

    fn grow(&mut self, moved: u64, span: Duration) {
        let now = self.pieces.size(&self.plan);
        let larger = match self.pieces {
            Pieces::Steps => self.within(now.saturating_mul(GROWTH)),
            Pieces::Records | Pieces::Frames => {
                now.saturating_mul(GROWTH).clamp(1, self.ceiling().max(FIRST_WRITE.min(now)))
            }
        };
        if self.has_shrunk && larger != now {
            (self.patience, self.has_shrunk) = ((2 * self.patience).min(MOST_PATIENCE), false);
        }
        self.set_size(larger, || format!("each was full: {moved} bytes moved in {span:?}"));
    }

    fn shrink(&mut self, seen: u32, since: Duration) {
        let now = self.pieces.size(&self.plan);
        let smaller = match self.pieces {
            Pieces::Steps => self.within(now / 2),
            Pieces::Records | Pieces::Frames => (now / 2).max(FIRST_WRITE.min(now)),
        };
        self.set_size(smaller, || format!("not full {seen} times in a row, for {since:?}"));
    }

    fn set_size(&mut self, size: usize, because: impl FnOnce() -> String) {
        let may_move = match self.pieces {
            Pieces::Steps => self.settings.levers.lane,
            Pieces::Records | Pieces::Frames => self.settings.levers.write,
        };
        if may_move {
            self.decide(self.pieces.as_str(), self.pieces.size(&self.plan), size, because);
            *self.pieces.size_mut(&mut self.plan) = size;
        }
    }

    fn rechoose(&mut self, before: Option<u64>) {
        let Some(chooser) = &mut self.chooser else { return };
        let change = chooser.reconsider(&self.estimate, before);
        self.plan.is_on_trial = chooser.is_on_trial();
        let Some(Change { to, because }) = change else { return };
        if to == self.plan.congestion {
            self.decide("trial", name(to), "passed", || because);
            return;
        }
        self.decide("congestion control", name(self.plan.congestion), name(to), || because);
        self.plan.congestion = to;
    }

    fn spread(&mut self, path: Option<&PathSample>) {
        let may_move = self.settings.levers.pacing && self.is_its_own_download() && !self.plan.is_paced;
        if let Some(because) = path.filter(|_| may_move).and_then(|path| pacing::why(path, self.left)) {
            self.decide("pacing", "off", "on", || because);
            self.plan.is_paced = true;
        }
    }

    fn resize_buffers(&mut self) {
        if !self.moves_unsent() {
            return;
        }
        if let Some((under_way, rtt)) = self.estimate.bandwidth_delay().zip(self.estimate.min_rtt()) {
            let wanted = unsent(under_way, rtt);
            if is_worth(self.plan.unsent, wanted) {
                let why = || format!("{under_way} bytes are under way when the path is full, over {rtt:?}");
                self.decide("unsent", Shown(self.plan.unsent), Shown(wanted), why);
                self.plan.unsent = wanted;
            }
        }
    }

    fn moves_unsent(&self) -> bool {
        self.settings.levers.unsent && self.is_its_own_download()
    }

    /// Whether its connection's sender is ours, and not a proxy's.
    fn is_its_own_download(&self) -> bool {
        self.direction == Direction::Download && !self.is_shared
    }

    /// What the path has shown to need.
    fn be_patient(&mut self) {
        let timeouts = self.estimate.retransmission_timeout().unwrap_or_default().saturating_mul(TIMEOUTS);
        let gap = self.estimate.longest_gap();
        let stall = self.patient(timeouts.max(gap));
        if stall.idle > self.plan.stall.idle {
            let why = || format!("{TIMEOUTS} retransmissions may take {timeouts:?}, and nothing moved for {gap:?}");
            self.decide("stall", Shown(self.plan.stall.idle), Shown(stall.idle), why);
            self.plan.stall = stall;
        }
    }

    /// Only longer than configured: `need` with a margin, or what such clients are granted.
    fn patient(&self, need: Duration) -> StallLimits {
        let configured = self.settings.stall;
        let Some(longest) = self.settings.longest_stall.filter(|_| self.settings.levers.stall) else {
            return configured;
        };
        let granted = scaled(configured.idle, self.granted.patience.unwrap_or(1.0));
        let wanted = scaled(need, self.settings.stall_factor).max(granted).min(longest);
        let idle = wanted.max(self.settings.shortest_stall).max(configured.idle);
        StallLimits { idle, window: configured.window.max(idle), ..configured }
    }

    fn decide<T: Copy + PartialEq + ToString>(
        &mut self,
        lever: &'static str,
        from: T,
        to: T,
        because: impl FnOnce() -> String,
    ) {
        let kept = || self.decisions.iter().filter(|decision| decision.lever == lever).count();
        if self.settings.explain && from != to && kept() < MOST_DECISIONS {
            self.decisions.push(Decision { lever, from: from.to_string(), to: to.to_string(), because: because() });
        }
    }
}

impl Settings {
    /// The lane of an adaptive transfer.
    pub(super) fn lane(&self, start: &Start) -> Lane {
        let is_large = start.size.is_some_and(|size| size >= LARGE);
        match (start.direction, start.carrier) {
            (Direction::Download, _) if self.zero_copy => Lane::ZeroCopy,
            (Direction::Upload, Carrier::Plain) if self.zero_copy && is_large => Lane::ZeroCopy,
            _ => Lane::Buffered,
        }
    }
}

fn name(congestion: Option<Congestion>) -> &'static str {
    congestion.map_or(HOSTS, Congestion::as_str)
}

/// What a socket has that a plan leaves alone, in the log.
pub const HOSTS: &str = "the host's";

/// As a decision tells it.
#[derive(Clone, Copy, PartialEq)]
struct Shown<T>(T);

impl fmt::Display for Shown<Duration> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl fmt::Display for Shown<Option<u32>> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bytes) => bytes.fmt(f),
            None => f.write_str(HOSTS),
        }
    }
}

/// Whether another bound of what a socket holds is worth a system call: what is under way swings from sample to sample.
fn is_worth(before: Option<u32>, wanted: Option<u32>) -> bool {
    match (before, wanted) {
        (Some(before), Some(wanted)) => before.abs_diff(wanted) > before / 4,
        _ => before != wanted,
    }
}

/// Twice what is under way: enough that the sender never waits for us.
fn unsent(under_way: u64, min_rtt: Duration) -> Option<u32> {
    let twice = u32::try_from(under_way.saturating_mul(2)).unwrap_or(u32::MAX);
    (min_rtt >= SHORT).then(|| twice.clamp(FIRST_UNSENT, MOST_UNSENT))
}

/// Multiplication that neither panics nor overflows.
fn scaled(span: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(span.as_secs_f64() * factor.max(0.0)).unwrap_or(Duration::MAX)
}

impl Controller for Adaptive {
    fn plan(&self) -> Plan {
        self.plan
    }

    fn observe(&mut self, seen: &Observation) {
        if self.left != u64::MAX {
            self.left = self.left.saturating_sub(seen.moved);
        }
        let before = self.estimate.now();
        let was_sampled = self.note(seen);
        if let Some(filled) = seen.filled.filter(|_| seen.moved > 0 && self.settings.follows) {
            self.resize(filled, seen.moved, self.estimate.now().saturating_sub(before));
        }
        if was_sampled {
            self.rechoose(seen.path.and_then(|path| path.rate_before));
            self.spread(seen.path.as_ref());
            self.resize_buffers();
            if self.plan.sample_after.is_some() {
                let watched = self.chooser.as_deref().and_then(|chooser| chooser.watched(self.estimate.now()));
                self.plan.sample_after = Some(self.cadence.next(&self.settings, &self.estimate, watched));
            }
        }
        self.be_patient();
    }

    fn conclude(&mut self, seen: &Observation) {
        self.note(seen);
    }

    fn snapshot(&self) -> Snapshot {
        self.estimate.snapshot()
    }

    fn decisions(&mut self) -> Vec<Decision> {
        std::mem::take(&mut self.decisions)
    }
}
