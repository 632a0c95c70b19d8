//! [`PaceConfig`]: what the configuration says about the two data paths.

use std::time::Duration;

use hfs_core::ByteSize;
use hfs_core::pace::Settings;
use hfs_core::profile::{Alarms, Strategies, Thresholds};

/// `[performance]` and what belongs to it, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct PaceConfig {
    /// `adaptive_buffers`: whether there is an adaptive arm at all.
    pub enabled: bool,
    /// `adaptive_uploads`.
    pub uploads: bool,
    /// `adaptive_downloads`.
    pub downloads: bool,
    /// `fully_adaptive`: no test, and also the routes that would take the standard arm.
    pub fully: bool,
    /// `testing_mode`: an even split, sticky per client.
    pub testing: bool,
    /// `client_profiling` and `[client_optimization] enabled`: whether anything is remembered about clients.
    pub profiling: bool,
    /// `learning_enabled`: whether transfers teach anything. If not, what is known is used as it is.
    pub learning: bool,
    /// `profile_persistence_duration`.
    pub remember: Duration,
    /// `performance_history_samples`: how many transfers count where options are compared.
    pub history: u32,
    /// `max_memory_usage`.
    pub memory: ByteSize,
    /// `[streaming] quality_thresholds`.
    pub thresholds: Thresholds,
    /// `[network_resilience]`: what caps a quality.
    pub alarms: Alarms,
    /// `[network_interfaces]` and the strategies of `[client_optimization]`.
    pub strategies: Strategies,
    /// `connection_type_detection`.
    pub guessing: bool,
    /// `user_agent_analysis`.
    pub agents: bool,
    /// `connection_fingerprinting`.
    pub fingerprints: bool,
    /// `client_profile_logging`.
    pub log_profiles: bool,
    /// `detailed_logging`: each look at a path.
    pub log_paths: bool,
    /// What controllers take.
    pub settings: Settings,
}

impl Default for PaceConfig {
    /// Adaptive for everything.
    fn default() -> Self {
        Self {
            enabled: true,
            uploads: true,
            downloads: true,
            fully: false,
            testing: false,
            profiling: true,
            learning: true,
            remember: Duration::from_secs(24 * 3600),
            history: 100,
            memory: ByteSize::mib(512),
            thresholds: Thresholds::default(),
            alarms: Alarms::default(),
            strategies: Strategies::default(),
            guessing: true,
            agents: true,
            fingerprints: true,
            log_profiles: false,
            log_paths: false,
            settings: Settings::default(),
        }
    }
}
