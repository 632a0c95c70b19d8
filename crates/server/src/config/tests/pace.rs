//! Keys of the adaptive path: each of them changes its setting, and no other.

use hfs_core::pace::{Levers, Settings};

use super::*;
use crate::flow::PaceConfig;

type Change = fn(&mut PaceConfig);

const KEYS: [(&str, &str, Change); 22] = [
    ("performance.adaptive_buffers", "false", |pace| pace.enabled = false),
    ("performance.adaptive_uploads", "false", |pace| pace.uploads = false),
    ("performance.adaptive_downloads", "false", |pace| pace.downloads = false),
    ("performance.fully_adaptive", "true", |pace| pace.fully = true),
    ("performance.testing_mode", "true", |pace| pace.testing = true),
    ("performance.client_profiling", "false", |pace| pace.profiling = false),
    ("client_optimization.enabled", "false", |pace| pace.profiling = false),
    ("client_optimization.learning_enabled", "false", |pace| pace.learning = false),
    ("performance.client_profile_logging", "true", |pace| pace.log_profiles = true),
    ("performance.profile_persistence_duration", "\"7m\"", |pace| pace.remember = Duration::from_secs(420)),
    ("performance.performance_history_samples", "77", |pace| pace.history = 77),
    ("performance.max_memory_usage", "\"77MB\"", |pace| pace.memory = ByteSize::mib(77)),
    ("performance.connection_type_detection", "false", |pace| pace.guessing = false),
    ("client_optimization.user_agent_analysis", "false", |pace| pace.agents = false),
    ("client_optimization.connection_fingerprinting", "false", |pace| pace.fingerprints = false),
    ("performance.initial_buffer_size", "\"128KB\"", |pace| pace.settings.first_step = 128 << 10),
    ("performance.buffer_optimization_interval", "\"7s\"", |pace| {
        pace.settings.reconsider_every = Duration::from_secs(7);
    }),
    ("network_resilience.quality_check_interval", "\"7s\"", |pace| {
        pace.settings.sample_every = Duration::from_secs(7);
    }),
    ("performance.optimization_logging", "true", |pace| pace.settings.explain = true),
    ("timeouts.min_timeout", "\"77s\"", |pace| pace.settings.shortest_stall = Duration::from_secs(77)),
    ("timeouts.max_timeout", "\"77s\"", |pace| pace.settings.longest_stall = Some(Duration::from_secs(77))),
    ("timeouts.timeout_adaptation_factor", "7.5", |pace| pace.settings.stall_factor = 7.5),
];

#[test]
fn each_key_changes_its_setting_and_no_other() {
    let usual = config("").pace;
    for (key, value, change) in KEYS {
        let mut expected = usual.clone();
        change(&mut expected);
        assert_ne!(expected, usual, "{key}");
        assert_eq!(config(&format!("{key} = {value}")).pace, expected, "{key}");
    }
}

#[test]
fn each_lever_is_switched_by_its_name_and_no_other() {
    type Lever = (&'static str, fn(&mut Levers) -> &mut bool);
    const LEVERS: [Lever; 8] = [
        ("lane", |all| &mut all.lane),
        ("write_back", |all| &mut all.write_back),
        ("write", |all| &mut all.write),
        ("congestion", |all| &mut all.congestion),
        ("pacing", |all| &mut all.pacing),
        ("unsent", |all| &mut all.unsent),
        ("window", |all| &mut all.window),
        ("stall", |all| &mut all.stall),
    ];
    let of = |names: &str| config(&format!("performance.levers = [{names}]")).pace.settings.levers;
    for (name, switch) in LEVERS {
        let mut expected = Levers::NONE;
        *switch(&mut expected) = true;
        assert_eq!(of(&format!("{name:?}")), expected, "{name}");
    }
    let all = LEVERS.map(|(name, _)| format!("{name:?}")).join(", ");
    assert_eq!((of(""), of(&all)), (Levers::NONE, Levers::ALL));
}

#[test]
fn the_speeds_of_adapting_differ() {
    let gain = |speed: &str| config(&format!("client_optimization.adaptation_speed = {speed:?}")).pace.settings.gain;
    assert_eq!(["slow", "medium", "fast"].map(gain), [0.05, 0.2, 0.5]);
}

#[test]
fn without_a_file_the_paths_are_as_the_code_has_them() {
    let pace = config("").pace;
    let (default, strategies) = (PaceConfig::default(), pace.strategies);
    assert_eq!(pace.settings, Settings::default());
    assert_eq!(pace, PaceConfig { strategies, ..default });
}

#[test]
fn switches_to_which_others_leave_nothing_are_pointed_out() {
    let idle = |text: &str| {
        let findings = good(text).unwrap_or_else(|report| panic!("{report}")).findings;
        assert!(findings.iter().all(|finding| finding.severity == Severity::Notice), "{findings:?}");
        findings.len()
    };
    for (text, expected) in [
        ("[performance]\ntesting_mode = true\n", 0),
        ("[performance]\nfully_adaptive = true\n", 0),
        ("[performance]\ntesting_mode = true\nfully_adaptive = true\n", 1),
        ("[performance]\ntesting_mode = true\nfully_adaptive = true\nadaptive_buffers = false\n", 2),
        ("[performance]\ntesting_mode = true\nadaptive_uploads = false\n", 0),
        ("[performance]\ntesting_mode = true\nadaptive_uploads = false\nadaptive_downloads = false\n", 1),
        ("[timeouts]\nmin_timeout = \"90s\"\nmax_timeout = \"10m\"\n", 0),
        ("[timeouts]\nadaptive_timeouts = false\nmin_timeout = \"90s\"\nmax_timeout = \"10m\"\n", 2),
    ] {
        assert_eq!(idle(text), expected, "{text}");
    }
}
