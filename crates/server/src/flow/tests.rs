//! Flows over real connections.

mod connection;
mod known;
mod learning;
mod memory;
mod told;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use hfs_core::ByteSize;
use hfs_core::pace::{Carrier, Expected, Settings};

use super::testing::anonymous;
use super::*;
use crate::telemetry::metrics::Metrics;

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (ours, listener.accept().unwrap().0)
}

fn engine(change: impl FnOnce(&mut PaceConfig)) -> Arc<Engine> {
    let settings = Settings { sample_every: Duration::from_millis(1), ..Settings::default() };
    let mut config = PaceConfig { settings, ..PaceConfig::default() };
    change(&mut config);
    Arc::new(Engine::new(config, Arc::new(Metrics::new())))
}

fn begin(socket: &TcpStream, is_proxied: bool) -> Begin {
    let wire = Wire::new(OwnedFd::from(socket.try_clone().unwrap()), Carrier::Plain);
    let address = Some("192.0.2.7".parse().unwrap());
    let whose = Whose { owner: None, address, agent: None, is_proxied };
    Begin { direction: Direction::Download, size: Some(1 << 20), wire: Some(wire), whose, ..anonymous() }
}

/// Moves a megabyte through `flow` and the connection below it.
async fn transfer(flow: &mut Flow, ours: &mut TcpStream, theirs: &mut TcpStream) {
    for _ in 0..16 {
        ours.write_all(&[7; 64 << 10]).unwrap();
        theirs.read_exact(&mut [0; 64 << 10]).unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
        flow.moved(64 << 10, true);
    }
    flow.complete();
}

#[tokio::test]
async fn a_transfer_measures_its_path_and_teaches_the_next_one() {
    let engine = engine(|_| {});
    let (mut ours, mut theirs) = pair();
    let mut flow = engine.begin(begin(&ours, false)).await;
    assert_eq!(flow.arm(), Arm::Adaptive);
    transfer(&mut flow, &mut ours, &mut theirs).await;
    let seen = flow.snapshot();
    assert!(flow.quality() >= Quality::Fair, "{:?}", flow.quality());
    assert!(seen.samples > 0 && seen.last.unwrap().bytes_out.is_none_or(|bytes| bytes >= 64 << 10), "{seen:?}");
    assert!(flow.plan().step > Settings::default().first_step, "full steps grow");
    drop(flow);
    let known = engine.expected_of("192.0.2.200");
    assert!(known.rate.is_some_and(|rate| rate > 1 << 20), "{known:?}");
    assert_eq!(engine.expected_of("198.51.100.1").rate, None);
}

#[tokio::test]
async fn what_zero_copy_carries_resizes_nothing() {
    let metrics = Arc::new(Metrics::new());
    let engine = Arc::new(Engine::new(PaceConfig::default(), Arc::clone(&metrics)));
    let (ours, _theirs) = pair();
    let mut flow = engine.begin(begin(&ours, false)).await;
    let first = *flow.plan();
    for _ in 0..16 {
        tokio::time::sleep(Duration::from_millis(2)).await;
        flow.carried(64 << 10);
    }
    flow.complete();
    assert_eq!((flow.plan().step, flow.plan().write), (first.step, first.write));
    assert!(metrics.encode().contains("\nadaptive_buffer_optimizations_total 0\n"), "nothing was optimized");
}

#[tokio::test(start_paused = true)]
async fn a_few_bytes_beside_what_a_thread_moves_resize_nothing() {
    let engine = engine(|_| {});
    let mut flow = engine.begin(anonymous()).await;
    let first = flow.plan().step;
    flow.moved(4 << 10, true);
    tokio::time::advance(Duration::from_millis(2)).await;
    flow.pumped(8 << 20);
    assert_eq!(flow.plan().step, first, "before it");
    flow.moved(4 << 10, true);
    assert_eq!(flow.plan().step, first, "after it");
    let too_few = (STEPS - 1) * first as u64;
    flow.moved(too_few, true);
    flow.pumped(8 << 20);
    flow.moved(too_few, true);
    assert_eq!(flow.plan().step, first, "on both sides of it");
    for _ in 0..STEPS {
        flow.moved(first as u64, true);
    }
    assert!(flow.plan().step > first, "but many do");
}

#[tokio::test]
async fn a_benchmark_measures_its_path_and_teaches_nobody() {
    let metrics = Arc::new(Metrics::new());
    let engine = Arc::new(Engine::new(PaceConfig::default(), Arc::clone(&metrics)));
    let before = metrics.encode();
    let (mut ours, mut theirs) = pair();
    let mut flow = engine.begin(Begin { is_benchmark: true, ..begin(&ours, false) }).await;
    transfer(&mut flow, &mut ours, &mut theirs).await;
    flow.zero_copied(1 << 20);
    assert!(flow.quality() >= Quality::Fair && flow.plan().step > Settings::default().first_step, "{flow:?}");
    drop(flow);
    assert_eq!(engine.expected_of("192.0.2.7").rate, None);
    assert_eq!(metrics.encode(), before, "it is no transfer");
}

#[tokio::test]
async fn of_small_transfers_that_follow_each_other_closely_one_teaches() {
    let engine = engine(|_| {});
    let (ours, _theirs) = pair();
    let asked = begin(&ours, false);
    let client = ProfileKey::new(None, asked.whose.address);
    let lessons = || engine.profiles().of(&client, engine.oldest()).map(|profile| profile.transfers);
    let mut taught = Vec::new();
    for bytes in [64 << 10, 128 << 10, 2 << 20] {
        let mut flow = engine.begin(asked.clone()).await;
        flow.moved(bytes, true);
        flow.complete();
        drop(flow);
        taught.push(lessons());
    }
    assert_eq!(taught, [Some(1), Some(1), Some(2)], "a large one always does");
}

#[tokio::test]
async fn where_paths_are_not_looked_at_no_round_trip_is_learnt() {
    for arm in Arm::ALL {
        let engine = engine(|config| config.settings.watches = false);
        let (mut ours, mut theirs) = pair();
        let mut flow = engine.begin(Begin { forced: Some(arm), ..begin(&ours, false) }).await;
        transfer(&mut flow, &mut ours, &mut theirs).await;
        assert_eq!((flow.seen().min_rtt, flow.seen().last), (None, None), "{arm:?}");
        assert_eq!(flow.quality(), Quality::Unknown, "{arm:?}: nor does a short download tell a rate then");
        drop(flow);
        assert_eq!(engine.expected_of("192.0.2.7"), Expected::default(), "{arm:?}");
    }
}

#[tokio::test]
async fn the_quality_of_a_standard_transfer_rests_on_the_same_figures() {
    let engine = engine(|_| {});
    let (mut ours, mut theirs) = pair();
    let mut flow = engine.begin(Begin { forced: Some(Arm::Standard), ..begin(&ours, false) }).await;
    transfer(&mut flow, &mut ours, &mut theirs).await;
    assert_eq!(flow.snapshot().samples, 0, "it takes no samples");
    assert!(flow.seen().min_rtt.is_some() && flow.quality() >= Quality::Fair, "{:?}", flow.quality());
}

#[tokio::test]
async fn a_download_is_not_the_networks_while_the_kernel_waits_for_us() {
    let engine = engine(|_| {});
    let idle = PathSample { is_rate_app_limited: true, ..PathSample::default() };
    let second = Duration::from_secs(1);
    let download = engine.begin(Begin { direction: Direction::Download, ..anonymous() }).await;
    assert!(download.is_app_limited(second, Some(&idle)) && !download.is_app_limited(second, None));
    let upload = engine.begin(anonymous()).await;
    assert!(!upload.is_app_limited(second, Some(&idle)), "what we send there are answers");
}

#[tokio::test(start_paused = true)]
async fn what_has_ended_makes_no_plans() {
    let engine = engine(|_| {});
    let mut flow = engine.begin(anonymous()).await;
    let steps = 4 * flow.plan().step as u64;
    flow.moved(steps, true);
    let last = *flow.plan();
    flow.complete();
    assert_eq!(*flow.plan(), last);
    let mut flow = engine.begin(anonymous()).await;
    tokio::time::advance(SOONEST).await;
    flow.moved(steps, true);
    assert_ne!(flow.plan().step, last.step, "one that goes on does");
}

#[tokio::test]
async fn another_configuration_counts_for_flows_from_now_on() {
    let engine = engine(|_| {});
    let (ours, _theirs) = pair();
    let running = engine.begin(begin(&ours, false)).await;
    let memory = ByteSize::mib(64);
    engine.configure(PaceConfig { enabled: false, memory, ..PaceConfig::default() });
    assert_eq!(running.arm(), Arm::Adaptive);
    assert!(engine.free_memory() < 64 << 20, "{} bytes are free", engine.free_memory());
    assert_eq!(engine.begin(begin(&ours, false)).await.arm(), Arm::Standard);
}
