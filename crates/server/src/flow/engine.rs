//! [`Engine`]: what all flows share: settings, what was learnt, the arm of a new flow.

mod learning;

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use hfs_core::Timestamp;
use hfs_core::pace::{self, Arm, Carrier, Congestion, Direction, Expected, Pieces, Plan, Settings, Snapshot, Start};
use hfs_core::profile::{Bounds, Guess, Hints, Profile, ProfileKey, Quality, Vantage, guess};
use hfs_core::tune;
use tracing::{info, warn};

use super::assign::assign;
use super::config::PaceConfig;
use super::explain::Explainer;
use super::memory::Memory;
use super::profiles::Profiles;
use super::tuning::Tuning;
use super::wire::{Unsettable, may_set};
use super::{Flow, Wire};
use crate::clock::{self, Stopwatch};
use crate::telemetry::RequestId;
use crate::telemetry::metrics::Metrics;

/// Whose bytes a flow moves.
#[derive(Clone, Debug, Default)]
pub struct Whose {
    /// The slot's owner, where the proof names one.
    pub owner: Option<String>,
    /// The client's address, as far as it is known.
    pub address: Option<IpAddr>,
    /// Its `User-Agent`: one weak hint.
    pub agent: Option<String>,
    /// Whether the connection's other end is a proxy.
    pub is_proxied: bool,
}

/// A transfer that is about to begin.
#[derive(Clone, Debug)]
pub struct Begin {
    /// The request that it answers.
    pub request: RequestId,
    /// Which way.
    pub direction: Direction,
    /// Bytes to move, where somebody has said.
    pub size: Option<u64>,
    /// Over what; `None` in tests.
    pub wire: Option<Wire>,
    /// For whom.
    pub whose: Whose,
    /// The arm that a route demands.
    pub forced: Option<Arm>,
    /// Whether its bytes mean nothing: it is not counted, and nothing is learnt from it.
    pub is_benchmark: bool,
}

/// The configuration that new flows take.
#[derive(Debug)]
pub(super) struct InForce {
    config: PaceConfig,
    /// Its settings: each controller keeps them, and thousands of uploads have one.
    shared: Arc<Settings>,
}

impl InForce {
    fn of(config: PaceConfig) -> Self {
        Self { shared: Arc::new(config.settings), config }
    }
}

impl Deref for InForce {
    type Target = PaceConfig;

    fn deref(&self) -> &PaceConfig {
        &self.config
    }
}

/// Shared by all flows of a server.
#[derive(Debug)]
pub struct Engine {
    pub(super) config: ArcSwap<InForce>,
    /// Whether connections may be put on BBR, and on cubic, be they what the host has or not.
    pub(super) bbr: Result<(), Unsettable>,
    pub(super) cubic: Result<(), Unsettable>,
    profiles: Mutex<Profiles>,
    tuning: Tuning,
    memory: Memory,
    metrics: Arc<Metrics>,
}

impl Engine {
    /// With this configuration, and nothing learnt.
    #[must_use]
    pub fn new(config: PaceConfig, metrics: Arc<Metrics>) -> Self {
        let memory = Memory::new(config.memory);
        let engine = Self {
            config: ArcSwap::from_pointee(InForce::of(PaceConfig::default())),
            bbr: may_set(Congestion::Bbr),
            cubic: may_set(Congestion::Cubic),
            profiles: Mutex::default(),
            tuning: Tuning::new(),
            memory,
            metrics,
        };
        engine.configure(config);
        engine
    }

    /// Puts another configuration in force for flows from now on. The memory is all flows': where they hold more than there
    /// is now, plans and windows give way, as when it is short. No flow but an upload over HTTP/2 begins until then.
    pub fn configure(&self, mut config: PaceConfig) {
        (config.settings.bbr, config.settings.cubic) = (self.bbr.is_ok(), self.cubic().is_ok());
        let beyond = self.memory.resize(config.memory);
        if beyond > 0 {
            let allowed = config.memory.as_u64();
            warn!(
                beyond,
                allowed, "Transfers hold more than max_memory_usage: new ones wait until enough is given back"
            );
        }
        self.config.store(InForce::of(config).into());
    }

    /// Whether connections that began with BBR may be put on cubic: only where there is a way back. They may have BBR from
    /// their listener or route, which asks nobody.
    fn cubic(&self) -> Result<(), Unsettable> {
        self.cubic.and(self.bbr)
    }

    /// Says once what the machine allows, for the log of a start.
    pub fn introduce(&self) {
        let config = self.config.load();
        info!(
            adaptive = config.enabled,
            uploads = config.uploads,
            downloads = config.downloads,
            bbr = self.bbr.is_ok(),
            why_not = self.bbr.as_ref().err().map(tracing::field::display),
            cubic = self.cubic().is_ok(),
            why_no_cubic = self.cubic().err().map(tracing::field::display),
            "Data paths"
        );
    }

    /// The arm that a flow of theirs would take now.
    #[must_use]
    pub fn arm(&self, direction: Direction, whose: &Whose, forced: Option<Arm>) -> Arm {
        let key = ProfileKey::new(whose.owner.clone(), whose.address);
        assign(&self.config.load(), direction, &key, forced)
    }

    /// How many times the usual wait such a client is asked to wait before it tries again.
    #[must_use]
    pub fn retry_factor(&self, whose: Whose) -> f64 {
        let config = self.config.load();
        let key = ProfileKey::new(whose.owner, whose.address);
        let arm = assign(&config, Direction::Upload, &key, None);
        let profile = self.profile(&config, arm, &key).unwrap_or_default();
        grant(&config, profile.class, &mut profile.expected(Direction::Upload)).retry.unwrap_or(1.0)
    }

    /// Begins a flow; waits while other flows hold all the memory that there may be.
    pub fn begin(self: &Arc<Self>, begin: Begin) -> impl Future<Output = Flow> + Send + use<> {
        // Also a proxy's: its window is no lever.
        let wire = begin.wire.clone().filter(|_| begin.direction == Direction::Upload);
        let mut flow = self.prepare(begin);
        let (memory, least) = (flow.pieces.memory(&flow.plan), flow.least);
        // Not all of this function: its future would keep what the flow is made of.
        async move {
            // What comes in a window of the connection's own is in memory already, and is written as it comes. If it waited
            // for memory, it would be in the way of those on the same connection that have some.
            let window = wire.as_ref().and_then(Wire::window);
            flow.share = Some(match window {
                Some(_) => flow.engine.memory.share_or_none(memory, least),
                None => flow.engine.memory.share(memory, least, flow.priority).await,
            });
            flow.watch = Stopwatch::start();
            flow.begin();
            if let Some(window) = window {
                window.allow(flow.plan.window, flow.explainer, || flow.engine.memory.unclaimed());
            }
            flow
        }
    }

    /// A flow that has no memory yet.
    fn prepare(self: &Arc<Self>, begin: Begin) -> Flow {
        let config = self.config.load_full();
        let Begin { request, direction, size, wire, whose, forced, is_benchmark } = begin;
        let key = ProfileKey::new(whose.owner, whose.address);
        let arm = assign(&config, direction, &key, forced);
        let profile = self.profile(&config, arm, &key).unwrap_or_default();
        let mut start = Start {
            direction,
            size,
            carrier: wire.as_ref().map_or(Carrier::Plain, Wire::carrier),
            is_shared: whose.is_proxied,
            inherited: inherited(arm, direction, wire.as_ref()),
            expected: profile.expected(direction),
        };
        let asked = profile.asked().filter(|_| config.settings.foresees && config.settings.may_bbr(&start));
        start.expected = asked.unwrap_or(start.expected);
        let trial = self.tuning.choose(&config, profile.class, &mut start);
        // What one without BBR reaches shows nothing of steps beside BBR's rate.
        let trial = trial.filter(|_| asked.is_none() || profile.rate_default.is_some());
        let explainer = explainer(&config, request, arm, &key);
        let bounds = grant(&config, profile.class, &mut start.expected);
        if let Some(explainer) = explainer.filter(|_| config.settings.may_size(&start)) {
            explain_ceiling(&config, &explainer, &start.expected, bounds, profile.class);
        }
        let (min_step, max_step) = (config.settings.min_step, config.settings.max_step);
        let most = start.expected.ceiling.unwrap_or(max_step).min(max_step).max(min_step);
        let controller = pace::controller(arm, &config.shared, &start);
        let plan = controller.plan();
        let pieces = Pieces::of(direction, start.carrier);
        // The standard arm is what it is; the adaptive one can begin with less.
        let least = match arm {
            Arm::Standard => pieces.memory(&plan),
            Arm::Adaptive => {
                pieces.memory(&Plan { step: min_step.min(plan.step), write: min_step.min(plan.write), ..plan })
            }
        };
        Flow {
            request,
            arm,
            direction,
            controller,
            plan,
            pieces,
            // A proxy's connection is not the client's.
            wire: wire.filter(|_| !whose.is_proxied),
            watch: Stopwatch::start(),
            total: 0,
            zero_copied: 0,
            moved: 0,
            sized: 0,
            filled: None,
            is_enough: false,
            reconsidered: Duration::ZERO,
            sampled: Duration::ZERO,
            is_blind: false,
            last_moved: Duration::ZERO,
            held: Duration::ZERO,
            asked: None,
            share: None,
            most,
            least,
            priority: config.strategies.priority(profile.class),
            withheld: 0,
            explainer,
            key,
            vantage: Vantage::of(whose.is_proxied),
            agent: whose.agent.filter(|_| config.agents),
            trial,
            has_asked: asked.is_some(),
            engine: Arc::clone(self),
            is_benchmark,
            is_whole: false,
            is_watched: config.settings.watches && !whose.is_proxied,
            round_trip: None,
            is_telling: None,
        }
    }

    /// What is known of the client of an adaptive transfer.
    fn profile(&self, config: &PaceConfig, arm: Arm, key: &ProfileKey) -> Option<Profile> {
        if !config.profiling || arm == Arm::Standard || key.prefix.is_none() {
            return None;
        }
        self.profiles().of(key, oldest(config)).copied()
    }

    /// How good a path is; `tells_rate` says whether enough moved for its rate to count.
    pub(super) fn quality(&self, seen: &Snapshot, tells_rate: bool) -> Quality {
        let rate = seen.rate.filter(|_| tells_rate);
        let config = self.config.load();
        config.alarms.cap(config.thresholds.quality(rate, seen.rtt.or(seen.min_rtt)), seen)
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(super) fn note_optimization(&self) {
        self.metrics.adaptive_optimizations.inc();
    }

    pub(super) fn note_zero_copied(&self, direction: Direction, bytes: u64) {
        self.metrics.zero_copied(direction, bytes);
    }

    pub(super) fn note_switch(&self) {
        self.metrics.congestion_switches.inc();
    }

    /// What link a client seems to have, if that is to be guessed.
    pub(super) fn guess(&self, seen: &Snapshot, agent: Option<&str>) -> Guess {
        let config = self.config.load();
        let hints = Hints { agent, fingerprints: config.fingerprints };
        if config.guessing { guess(seen, &hints) } else { Guess::default() }
    }

    /// Bytes that no flow holds.
    pub(crate) fn free_memory(&self) -> usize {
        self.memory.free()
    }

    #[cfg(test)]
    pub(crate) fn expected_of(&self, address: &str) -> Expected {
        let key = ProfileKey::new(None, address.parse().ok());
        self.profile(&self.config.load(), Arm::Adaptive, &key).unwrap_or_default().expected(Direction::Download)
    }

    pub(super) fn profiles(&self) -> MutexGuard<'_, Profiles> {
        self.profiles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Only a download that may be given another congestion control needs to know the connection's own.
fn inherited(arm: Arm, direction: Direction, wire: Option<&Wire>) -> Option<Congestion> {
    wire.filter(|_| arm == Arm::Adaptive && direction == Direction::Download).and_then(Wire::inherited)
}

/// Adds what the configuration grants such a client, and returns that.
fn grant(config: &PaceConfig, class: Guess, expected: &mut Expected) -> Bounds {
    let quality = config.thresholds.quality(expected.rate, expected.min_rtt);
    let bounds = config.strategies.bounds(class, quality);
    expected.ceiling = [expected.ceiling, bounds.ceiling].into_iter().flatten().min();
    expected.patience = bounds.patience;
    bounds
}

/// Where changes of an adaptive plan are to be explained.
fn explainer(config: &PaceConfig, request: RequestId, arm: Arm, key: &ProfileKey) -> Option<Explainer> {
    let explainer = Explainer { request, client: key.prefix, is_detailed: config.log_paths };
    (config.settings.explain && arm == Arm::Adaptive).then_some(explainer)
}

/// Says how far steps may grow, where that is less than for everybody.
fn explain_ceiling(config: &PaceConfig, explainer: &Explainer, expected: &Expected, bounds: Bounds, class: Guess) {
    let (least, most) = (config.settings.min_step, config.settings.max_step);
    let Some(ceiling) = expected.ceiling.filter(|&ceiling| ceiling < most) else { return };
    let because = if bounds.ceiling == expected.ceiling {
        let quality = config.thresholds.quality(expected.rate, expected.min_rtt).as_str();
        let (link, confidence) = (class.link.as_str(), class.confidence);
        format!("granted to such clients: link {link} ({confidence:.2}), quality {quality}")
    } else {
        "what is tried, or was found best, on such paths".to_owned()
    };
    explainer.plan_changed(tune::CEILING, most, ceiling.max(least), because);
}

fn oldest(config: &PaceConfig) -> Timestamp {
    clock::now().plus_seconds(-i64::try_from(config.remember.as_secs()).unwrap_or(i64::MAX))
}
