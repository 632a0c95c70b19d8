//! The two data paths: `[performance]`, and what belongs to it in other sections, into [`PaceConfig`].

use std::time::Duration;

use hfs_core::ByteSize;
use hfs_core::pace::{Levers, Settings};
use hfs_core::profile::{Quality, Threshold, Thresholds};
use hfs_core::progress::StallLimits;
use hfs_core::tune::LEAST_MEMORY;

use super::kind::{self, Mismatch, Node, Value};
use super::resolve::Resolver;
use crate::flow::PaceConfig;

/// A transfer's buffer below this costs more in calls than it saves in memory; above, nothing is gained.
const SMALLEST_STEP: ByteSize = ByteSize::kib(4);
const LARGEST_STEP: ByteSize = ByteSize::mib(16);

/// Why there is no such lever, where somebody asks for it.
pub(super) const READ_AHEAD: &str =
    "Not built: reads grow to 1 MiB already, and reading further ahead gained next to nothing (docs/adaptive.md).";

impl Resolver<'_, '_> {
    pub(super) fn pace(&mut self, stall: StallLimits) -> PaceConfig {
        let default = PaceConfig::default();
        PaceConfig {
            enabled: self.or("performance.adaptive_buffers", kind::bool, default.enabled),
            uploads: self.or("performance.adaptive_uploads", kind::bool, default.uploads),
            downloads: self.or("performance.adaptive_downloads", kind::bool, default.downloads),
            fully: self.or("performance.fully_adaptive", kind::bool, default.fully),
            testing: self.or("performance.testing_mode", kind::bool, default.testing),
            profiling: self.profiling(),
            learning: self.or("client_optimization.learning_enabled", kind::bool, default.learning),
            remember: self.or("performance.profile_persistence_duration", kind::duration, default.remember),
            history: self.history(default.history),
            memory: self.memory(default.memory),
            thresholds: self.thresholds(),
            alarms: self.alarms(),
            strategies: self.strategies(),
            guessing: self.guessing(),
            agents: self.or("client_optimization.user_agent_analysis", kind::bool, default.agents),
            fingerprints: self.or("client_optimization.connection_fingerprinting", kind::bool, default.fingerprints),
            log_profiles: self.or("performance.client_profile_logging", kind::bool, default.log_profiles),
            log_paths: self.or("performance.detailed_logging", kind::bool, default.log_paths),
            settings: self.settings(stall),
        }
    }

    /// Each of the two switches it off.
    fn profiling(&mut self) -> bool {
        let mut all = true;
        for path in ["performance.client_profiling", "client_optimization.enabled"] {
            all &= self.or(path, kind::bool, true);
        }
        all
    }

    /// Each of the two switches it off.
    fn guessing(&mut self) -> bool {
        let mut all = true;
        for path in ["performance.connection_type_detection", "client_network_support.client_connection_detection"] {
            all &= self.or(path, kind::bool, true);
        }
        all
    }

    fn history(&mut self, default: u32) -> u32 {
        const PATH: &str = "performance.performance_history_samples";
        let samples = self.or(PATH, |node| kind::int_within(node, 10..=100_000), u64::from(default));
        if samples < u64::from(LEAST_MEMORY) {
            self.notes.notice(&self.place(PATH), format!("so few decide nothing: {LEAST_MEMORY} count"));
        }
        u32::try_from(samples).unwrap_or(default)
    }

    fn memory(&mut self, default: ByteSize) -> ByteSize {
        let memory = self.or("performance.max_memory_usage", kind::size, default);
        if memory < ByteSize::mib(1) {
            self.notes
                .error(&self.place("performance.max_memory_usage"), format!("{memory} is too little: 1MB at least"));
        }
        memory
    }

    fn settings(&mut self, stall: StallLimits) -> Settings {
        let default = Settings::default();
        let [min_step, first_step, max_step] = self.steps(&default);
        let shortest = self.or("timeouts.min_timeout", kind::duration, Duration::ZERO);
        let longest = self.or("timeouts.max_timeout", kind::duration, Duration::from_secs(300));
        if shortest > longest {
            let message = format!("`min_timeout` ({shortest:?}) is longer than `max_timeout` ({longest:?})");
            self.notes.error(&self.place("timeouts.min_timeout"), message);
        }
        let is_patient = self.or("timeouts.adaptive_timeouts", kind::bool, true);
        // Adaptive limits only lengthen the others.
        let factor = |node: &Node| kind::float_within(node, 1.0..=100.0);
        let factor = self.or("timeouts.timeout_adaptation_factor", factor, default.stall_factor);
        let speed = self.or(
            "client_optimization.adaptation_speed",
            |node| kind::choice(node, &["slow", "medium", "fast"]),
            "medium",
        );
        let mut explain = false;
        for path in ["performance.optimization_logging", "performance.detailed_logging"] {
            explain |= self.or(path, kind::bool, false);
        }
        let mut settings = Settings {
            min_step,
            first_step,
            max_step,
            stall,
            shortest_stall: shortest,
            longest_stall: is_patient.then_some(longest),
            stall_factor: factor,
            sample_every: self.span("network_resilience.quality_check_interval", default.sample_every.as_secs()),
            reconsider_every: self.span("performance.buffer_optimization_interval", default.reconsider_every.as_secs()),
            gain: match speed {
                "slow" => 0.05,
                "fast" => 0.5,
                _ => 0.2,
            },
            zero_copy: self.or("experimental.zero_copy_optimization", kind::bool, default.zero_copy),
            levers: self.levers(),
            explain,
            follows: self.or("streaming.adaptive_streaming", kind::bool, default.follows),
            ..default
        };
        self.watching(&mut settings);
        settings
    }

    /// Smallest, first, largest.
    fn steps(&mut self, default: &Settings) -> [usize; 3] {
        let names = ["performance.min_buffer_size", "performance.initial_buffer_size", "performance.max_buffer_size"];
        let defaults = [default.min_step, default.first_step, default.max_step];
        let (mut steps, mut are_steps) = ([ByteSize::ZERO; 3], true);
        for ((step, path), default) in steps.iter_mut().zip(names).zip(defaults) {
            *step = self.or(path, kind::size, ByteSize::bytes(default as u64));
            if !(SMALLEST_STEP..=LARGEST_STEP).contains(step) {
                let message = format!("{step} is not between {SMALLEST_STEP} and {LARGEST_STEP}");
                self.notes.error(&self.place(path), message);
                are_steps = false;
            }
        }
        // One that is not given makes room for those that are.
        let [min, first, max] = steps;
        let max = if self.has(names[2]) { max } else { max.max(min).max(first) };
        let min = if self.has(names[0]) { min } else { min.min(max) };
        let first = if self.has(names[1]) { first } else { first.clamp(min, max.max(min)) };
        if !are_steps {
            // What else is wrong with them may be so for that.
        } else if min > max {
            self.notes
                .error(&self.place(names[0]), format!("`min_buffer_size` ({min}) is above `max_buffer_size` ({max})"));
        } else if !(min..=max).contains(&first) {
            let message =
                format!("`initial_buffer_size` ({first}) is not between the smallest ({min}) and the largest ({max})");
            self.notes.error(&self.place(names[1]), message);
        }
        [min, first, max].map(|step| usize::try_from(step.as_u64()).unwrap_or(usize::MAX))
    }

    fn levers(&mut self) -> Levers {
        const PATH: &str = "performance.levers";
        let named = self.read(PATH, kind::list);
        let mut levers = if named.is_some() { Levers::NONE } else { Levers::ALL };
        for (name, at) in named.unwrap_or_default() {
            match lever(&mut levers, &name) {
                Some(lever) => *lever = true,
                None if name == "read_ahead" => {
                    self.notes.warning(&at, "`read_ahead` is no lever").help = Some(READ_AHEAD.to_owned());
                }
                None => {
                    self.notes.error(&at, format!("there is no lever `{name}`")).help =
                        Some(format!("the levers are {}", LEVERS.join(", ")));
                }
            }
        }
        let for_rate = self.or("streaming.throughput_optimization", kind::bool, true);
        levers.congestion &= for_rate;
        levers.pacing &= for_rate;
        levers.unsent &= self.or("streaming.latency_optimization", kind::bool, true);
        levers
    }

    fn thresholds(&mut self) -> Thresholds {
        const PATH: &str = "streaming.quality_thresholds";
        let Some(named) = self.read(PATH, named_thresholds) else { return Thresholds::default() };
        let find = |quality: Quality| named.iter().find(|(name, _)| *name == quality).map(|(_, threshold)| *threshold);
        let best_first = [Quality::Excellent, Quality::Good, Quality::Fair, Quality::Poor];
        let Some(all) = best_first.into_iter().map(find).collect::<Option<Vec<_>>>() else {
            self.notes.error(&self.place(PATH), "each of excellent, good, fair and poor needs a threshold");
            return Thresholds::default();
        };
        let Ok(all) = <[Threshold; 4]>::try_from(all) else { return Thresholds::default() };
        Thresholds::new(all).unwrap_or_else(|invalid| {
            self.notes.error(&self.place(PATH), invalid.to_string());
            Thresholds::default()
        })
    }
}

/// The names of `[performance] levers`.
const LEVERS: [&str; 8] = ["lane", "write_back", "write", "congestion", "pacing", "unsent", "window", "stall"];

fn lever<'a>(levers: &'a mut Levers, name: &str) -> Option<&'a mut bool> {
    Some(match name {
        "lane" => &mut levers.lane,
        "write_back" => &mut levers.write_back,
        "write" => &mut levers.write,
        "congestion" => &mut levers.congestion,
        "pacing" => &mut levers.pacing,
        "unsent" => &mut levers.unsent,
        "window" => &mut levers.window,
        "stall" => &mut levers.stall,
        _ => return None,
    })
}

/// What each of `[streaming] quality_thresholds` says.
const THRESHOLD: [&str; 3] = ["name", "min_throughput", "max_latency"];

/// `[{ name = "good", min_throughput = "1MB/s", max_latency = "200ms" }, ...]`.
fn named_thresholds(node: &Node) -> Result<Vec<(Quality, Threshold)>, Mismatch> {
    const WANTED: &str = "a list of { name, min_throughput, max_latency }";
    let Value::List(items) = &node.value else { return Err(node.wants(WANTED)) };
    let mut all = Vec::new();
    for item in items {
        let Value::Table(table) = &item.value else { return Err(item.wants(WANTED)) };
        if let Some((name, node)) = table.iter().find(|(name, _)| !THRESHOLD.contains(&name.as_str())) {
            return Err(node.mismatch(format!("a threshold has no `{name}`, but {}", THRESHOLD.join(", "))));
        }
        let find = |wanted: &str| table.iter().find(|(name, _)| name == wanted).map(|(_, node)| node);
        let required = |wanted: &str| find(wanted).ok_or_else(|| item.mismatch(format!("`{wanted}` is missing")));
        let (name, rate, rtt) = (required("name")?, required("min_throughput")?, required("max_latency")?);
        let word = kind::choice(name, &["excellent", "good", "fair", "poor"])?;
        let quality = Quality::ALL.into_iter().find(|quality| quality.as_str() == word).unwrap_or_default();
        if all.iter().any(|(known, _)| *known == quality) {
            return Err(name.mismatch(format!("`{word}` has two thresholds")));
        }
        let rate = kind::rate(rate)?;
        all.push((quality, Threshold { min_rate: rate.as_u64(), max_rtt: kind::duration(rtt)? }));
    }
    Ok(all)
}
