//! What flows teach when they end, what is said of it, and what counts it.

use hfs_core::pace::PathSample;
use hfs_core::profile::{Link, Threshold, Thresholds};

use super::*;
use crate::clock;
use crate::flow::testing::lesson;
use crate::http::testing::listen;

const AGENT: &str = "Conversations/2.17";
const LEARNT: &str = "Learnt about a client";
const ADOPTED: &str = "Transfers begin otherwise now";

fn counting(change: impl FnOnce(&mut PaceConfig)) -> (Arc<Engine>, Arc<Metrics>) {
    let (mut config, metrics) = (PaceConfig::default(), Arc::new(Metrics::new()));
    change(&mut config);
    (Arc::new(Engine::new(config, Arc::clone(&metrics))), metrics)
}

/// The value of a series without labels.
fn value(metrics: &Metrics, name: &str) -> f64 {
    let text = metrics.encode();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

/// An upload of a megabyte in so many seconds, of which nobody knows the path.
async fn upload(engine: &Arc<Engine>, forced: Option<Arm>, seconds: u64) {
    let whose = Whose { address: Some("192.0.2.7".parse().unwrap()), ..Whose::default() };
    let mut flow = engine.begin(Begin { forced, whose, ..anonymous() }).await;
    tokio::time::advance(Duration::from_secs(seconds)).await;
    flow.moved(1_000_000, false);
    flow.complete();
}

#[tokio::test(start_paused = true)]
async fn without_profiling_nothing_is_learnt_about_clients() {
    let engine = engine(|config| (config.profiling, config.log_profiles) = (false, true));
    let log = listen();
    upload(&engine, None, 1).await;
    assert_eq!((engine.recall(Vec::new()), engine.changed(9)), (0, Vec::new()));
    assert_eq!(log.lines_with(LEARNT), Vec::<String>::new());
    engine.configure(PaceConfig { log_profiles: true, ..PaceConfig::default() });
    upload(&engine, None, 1).await;
    assert_eq!((engine.changed(9).len(), log.lines_with(LEARNT).len()), (1, 1));
    upload(&engine, Some(Arm::Standard), 1).await;
    assert_eq!(engine.changed(9), [], "the standard path knows nobody");
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_learnt_what_is_known_is_used_as_it_is() {
    // Fifty transfers with each of two ceilings: the second gave e times as much, and would come into force.
    const KNOWN: &str = "upload good unknown ceiling 0 0 50 0 0 50 50 50 0 0 0\n";
    let (engine, _) = counting(|config| (config.learning, config.settings.reconsider_every) = (false, Duration::ZERO));
    testing::learnt(&engine, "192.0.2.7", 50_000_000);
    engine.recall_tuning(KNOWN);
    let (kept, tuning) = (engine.changed(9), engine.tuning());
    let download = Begin { direction: Direction::Download, ..anonymous() };
    let whose = Whose { address: Some("192.0.2.7".parse().unwrap()), ..Whose::default() };
    let mut flow = engine.begin(Begin { whose, ..download }).await;
    assert_eq!(flow.plan().unsent, Some(4_000_000), "twice what is under way over 40 ms");
    tokio::time::advance(Duration::from_secs(2)).await;
    flow.carried(2_000_000);
    flow.complete();
    drop(flow);
    upload(&engine, None, 1).await;
    assert_eq!((kept.len(), engine.changed(9), engine.tuning()), (1, Vec::new(), tuning));
    assert_eq!(engine.expected_of("192.0.2.7").rate, Some(50_000_000));
}

#[tokio::test(start_paused = true)]
async fn a_new_measurement_weighs_what_the_speed_of_adapting_says() {
    for (gain, expected) in [(0.05, 975_000), (0.2, 900_000), (0.5, 750_000)] {
        let (engine, _) = counting(|config| config.settings.gain = gain);
        for seconds in [1, 2] {
            upload(&engine, None, seconds).await;
        }
        let profile = engine.changed(9)[0].1;
        assert_eq!(profile.rate_up.map(f64::round), Some(f64::from(expected)), "{gain}");
    }
}

#[tokio::test(start_paused = true)]
async fn as_many_transfers_count_as_the_history_holds() {
    for history in [40, 1000] {
        let (engine, metrics) = counting(|config| config.history = history);
        testing::learnt(&engine, "192.0.2.7", 1_000_000);
        engine.recall_tuning("download excellent unknown ceiling 0 0 50 0 0 0 0 0 0 0 0\n");
        let whose = Whose { address: Some("192.0.2.7".parse().unwrap()), ..Whose::default() };
        let (ours, _theirs) = pair();
        let wire = Wire::new(OwnedFd::from(ours), Carrier::Tls);
        let begin = Begin { direction: Direction::Download, wire: Some(wire), whose, ..anonymous() };
        let mut flow = engine.begin(begin).await;
        tokio::time::advance(Duration::from_secs(2)).await;
        flow.moved(2_000_000, false);
        flow.complete();
        drop(flow);
        let tuning = engine.tuning();
        let line = tuning.lines().find(|line| line.contains("ceiling")).unwrap();
        let numbers: Vec<f64> = line.split(' ').skip(6).map(|number| number.parse().unwrap()).collect();
        // One of 25 tries one of two others.
        let faded = 50.0 * 0.04 / 2.0 / f64::from(history);
        let weight = numbers[0] + numbers[3] + numbers[6];
        assert!((weight - (51.0 - faded)).abs() < 1e-9, "{weight} after {line}");

        for seconds in [[2; 30].as_slice(), &[1; 10]].concat() {
            upload(&engine, Some(Arm::Standard), seconds).await;
        }
        upload(&engine, None, 1).await;
        let keep = 1.0 - 1.0 / f64::from(history);
        let weight = |ago: std::ops::Range<i32>| ago.map(|n| keep.powi(n)).sum::<f64>();
        let expected = 2f64.powf(weight(10..40) / weight(0..40));
        let gain = value(&metrics, "adaptive_performance_gains_sum");
        assert!((gain - expected).abs() < 1e-6, "{gain} instead of {expected}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_proxy_takes_is_no_measure_of_the_standard_path() {
    for is_proxied in [true, false] {
        let (engine, metrics) = counting(|_| {});
        for _ in 0..20 {
            let whose = Whose { address: Some("192.0.2.7".parse().unwrap()), is_proxied, ..Whose::default() };
            let mut flow = engine.begin(Begin { forced: Some(Arm::Standard), whose, ..anonymous() }).await;
            tokio::time::advance(Duration::from_secs(3)).await;
            flow.moved(1_000_000, false);
            flow.complete();
        }
        upload(&engine, None, 1).await;
        assert_eq!(value(&metrics, "adaptive_performance_gains_count") > 0.0, !is_proxied);
    }
}

#[tokio::test(start_paused = true)]
async fn what_moves_less_than_a_megabyte_shows_nothing_of_steps() {
    for (bytes, teaches) in [(900_000, false), (1_100_000, true)] {
        let engine = engine(|_| {});
        testing::learnt(&engine, "192.0.2.7", 1_000_000);
        let whose = Whose { address: Some("192.0.2.7".parse().unwrap()), ..Whose::default() };
        let (ours, _theirs) = pair();
        let wire = Wire::new(OwnedFd::from(ours), Carrier::Tls);
        let begin = Begin { direction: Direction::Download, wire: Some(wire), whose, ..anonymous() };
        let mut flow = engine.begin(begin).await;
        tokio::time::advance(Duration::from_secs(2)).await;
        flow.moved(bytes, false);
        flow.complete();
        drop(flow);
        assert_eq!(!engine.tuning().is_empty(), teaches, "{bytes} bytes: {}", engine.tuning());
    }
}

#[test]
fn a_guess_uses_what_it_may() {
    let ms = Duration::from_millis;
    let last = PathSample { rtt: ms(20), rtt_var: ms(1), mss: 1368, ..PathSample::default() };
    let (min_rtt, rate) = (Some(ms(20)), Some(4_000_000));
    let tunnel = Snapshot { min_rtt, rate, loss: Some(0.0), samples: 9, last: Some(last), ..Snapshot::default() };
    let link = |change: fn(&mut PaceConfig)| engine(change).guess(&tunnel, None).link;
    assert_eq!(link(|_| {}), Link::Vpn);
    assert_ne!(link(|config| config.fingerprints = false), Link::Vpn, "segments were not to be looked at");
    assert_eq!(link(|config| config.guessing = false), Link::Unknown);
}

#[test]
fn a_quality_is_what_the_thresholds_of_the_configuration_say() {
    let seen = Snapshot { rate: Some(3_000_000), rtt: Some(Duration::from_millis(20)), ..Snapshot::default() };
    let least = |rates: [u64; 4]| rates.map(|min_rate| Threshold { min_rate, max_rtt: Duration::from_secs(1) });
    let all = [(least([2, 1, 1, 1]), Quality::Excellent), (least([9_000_000, 8_000_000, 7_000_000, 1]), Quality::Poor)];
    for (thresholds, expected) in all {
        let engine = engine(|config| config.thresholds = Thresholds::new(thresholds).unwrap());
        assert_eq!(engine.quality(&seen, true), expected);
    }
}

/// An upload of a megabyte by a phone over a path of 5 ms.
async fn upload_nearby(engine: &Arc<Engine>, took: Duration) -> Flow {
    let address = Some("192.0.2.7".parse().unwrap());
    let whose = Whose { address, agent: Some(AGENT.to_owned()), ..Whose::default() };
    let mut flow = engine.begin(Begin { whose, ..anonymous() }).await;
    let rtt = Duration::from_millis(5);
    let path = Some(PathSample { rtt, min_rtt: Some(rtt), mss: 1448, ..PathSample::default() });
    let now = Duration::ZERO;
    flow.controller.observe(&Observation { now, moved: 0, filled: None, is_app_limited: false, path });
    tokio::time::advance(took).await;
    flow.moved(1_000_000, false);
    flow.complete();
    flow
}

#[tokio::test(start_paused = true)]
async fn what_a_transfer_taught_is_logged_with_a_guess_in_which_its_user_agent_counts() {
    for (log_profiles, agents, used) in [(true, true, Some(AGENT)), (true, false, None), (false, true, None)] {
        let engine = engine(|config| (config.log_profiles, config.agents) = (log_profiles, agents));
        let log = listen();
        let flow = upload_nearby(&engine, Duration::from_secs(1)).await;
        let seen = flow.snapshot();
        drop(flow);
        let said = log.lines_with(LEARNT);
        assert_eq!(said.len(), usize::from(log_profiles), "{said:?}");
        let told = |agent| {
            let guess = engine.guess(&seen, agent);
            format!("link=\"{}\" confidence={:?}", guess.link.as_str(), guess.confidence)
        };
        assert_ne!(told(Some(AGENT)), told(None));
        assert!(said.iter().all(|line| line.ends_with(&told(used))), "{said:?} without {}", told(used));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_over_within_its_first_round_trips_names_no_link_by_its_rate() {
    let engine = engine(|_| {});
    assert_eq!(upload_nearby(&engine, Duration::from_secs(1)).await.guess().link, Link::Wifi);
    let short = upload_nearby(&engine, Duration::from_millis(39)).await;
    assert_eq!((short.guess(), short.snapshot().rate.is_some()), (Guess::default(), true));
}

#[tokio::test(start_paused = true)]
async fn what_comes_into_force_is_counted_and_where_wanted_explained() {
    for explain in [true, false] {
        let (engine, metrics) = counting(|config| {
            (config.settings.explain, config.settings.reconsider_every) = (explain, Duration::ZERO);
        });
        // Fifty transfers with each of two ceilings: the second gave e times as much.
        engine.recall_tuning("upload good lte ceiling 0 0 50 0 0 50 50 50 0 0 0\n");
        let log = listen();
        upload(&engine, None, 1).await;
        assert_eq!(value(&metrics, "adaptive_buffer_optimizations_total"), 1.0);
        let said = log.lines_with(ADOPTED);
        assert_eq!(said.len(), usize::from(explain), "{said:?}");
        for part in [
            "lever=\"largest step\" from=\"1048576\" to=\"262144\" gain=2.718",
            "direction=\"upload\" quality=\"good\" link=\"lte\"",
        ] {
            assert!(said.iter().all(|line| line.contains(part)), "{said:?} without {part}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_step_that_changes_is_counted() {
    let (engine, metrics) = counting(|_| {});
    let mut flow = engine.begin(anonymous()).await;
    let mut steps = vec![flow.plan().step];
    for _ in 0..8 {
        tokio::time::advance(SOONEST).await;
        flow.moved(STEPS * flow.plan().step as u64, true);
        steps.push(flow.plan().step);
    }
    steps.dedup();
    assert!(steps.len() > 2, "{steps:?}");
    assert_eq!(value(&metrics, "adaptive_buffer_optimizations_total"), (steps.len() - 1) as f64);
}

#[tokio::test(start_paused = true)]
async fn a_gain_over_the_standard_path_is_counted_once_that_is_known() {
    let (engine, metrics) = counting(|_| {});
    let gains = || ["count", "sum"].map(|what| value(&metrics, &format!("adaptive_performance_gains_{what}")));
    upload(&engine, None, 1).await;
    for _ in 0..20 {
        upload(&engine, Some(Arm::Standard), 2).await;
    }
    assert_eq!(gains(), [0.0, 0.0]);
    upload(&engine, None, 1).await;
    let [count, sum] = gains();
    assert!(count == 1.0 && (sum - 2.0).abs() < 1e-6, "{count} with {sum}");
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_our_store_lowers_no_rate() {
    let rate_after = async |held: Duration| {
        let mut flow = engine(|_| {}).begin(anonymous()).await;
        for (bytes, held) in [(1_000_000, Duration::ZERO), (100_000, held)] {
            for _ in 0..20 {
                tokio::time::advance(RECONSIDER).await;
                flow.held(held);
                flow.moved(bytes, false);
            }
        }
        flow.snapshot().rate.unwrap()
    };
    assert!(rate_after(Duration::ZERO).await < 1_000_000);
    assert!(rate_after(RECONSIDER / 3).await < 1_000_000, "most of the time it was the network's");
    assert!(rate_after(RECONSIDER).await > 3_500_000);
}

#[tokio::test]
async fn figures_that_raise_an_alarm_cap_the_quality() {
    for alarm in [None, Some(Duration::ZERO)] {
        let engine = engine(|config| config.alarms.warning.rtt = alarm);
        let (mut ours, mut theirs) = pair();
        let mut flow = engine.begin(begin(&ours, false)).await;
        transfer(&mut flow, &mut ours, &mut theirs).await;
        assert_eq!(flow.quality() <= Quality::Fair, alarm.is_some(), "{alarm:?}: {:?}", flow.snapshot());
    }
}

#[tokio::test]
async fn what_was_learnt_too_long_ago_is_as_good_as_not_learnt() {
    let engine = engine(|config| config.remember = Duration::from_secs(3600));
    for (ago, is_known) in [(3700, false), (3500, true)] {
        let at = clock::now().plus_seconds(-ago);
        engine.profiles().learn(&ProfileKey::new(None, "192.0.2.7".parse().ok()), &lesson(1_000_000), 0.2, at);
        assert_eq!(engine.expected_of("192.0.2.7").rate.is_some(), is_known, "{ago} s ago");
    }
}
