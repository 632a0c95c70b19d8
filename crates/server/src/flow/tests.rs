//! Flows over real connections.

mod known;
mod learning;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use hfs_core::ByteSize;
use hfs_core::pace::{Carrier, Congestion, Expected, Settings};

use super::*;
use crate::http::testing::listen;
use crate::telemetry::RequestId;
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
    Begin {
        request: RequestId::new(),
        direction: Direction::Download,
        size: Some(1 << 20),
        wire: Some(wire),
        whose,
        forced: None,
        is_benchmark: false,
    }
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
async fn behind_a_proxy_nothing_is_measured_and_nothing_moved() {
    let engine = engine(|_| {});
    let (mut ours, mut theirs) = pair();
    let before = hfs_sock::notsent_lowat(ours.as_fd()).unwrap();
    let mut flow = engine.begin(begin(&ours, true)).await;
    transfer(&mut flow, &mut ours, &mut theirs).await;
    assert_eq!(flow.snapshot().samples, 0);
    assert_eq!(flow.plan().congestion, None::<Congestion>);
    assert_eq!(hfs_sock::notsent_lowat(ours.as_fd()).unwrap(), before);
    assert_eq!(flow.quality(), Quality::Unknown, "what a proxy takes at once says nothing of the client");
    drop(flow);
    assert_eq!(engine.expected_of("192.0.2.7"), Expected::default());
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
async fn a_standard_flow_finds_the_connection_as_the_host_made_it() {
    let engine = engine(|_| {});
    let (ours, _theirs) = pair();
    let before = hfs_sock::notsent_lowat(ours.as_fd()).unwrap();
    let asked = begin(&ours, false);
    let adaptive = engine.begin(asked.clone()).await;
    assert_ne!(hfs_sock::notsent_lowat(ours.as_fd()).unwrap(), before);
    drop(adaptive);
    let standard = engine.begin(Begin { forced: Some(Arm::Standard), ..asked }).await;
    assert_eq!(standard.arm(), Arm::Standard);
    assert_eq!(hfs_sock::notsent_lowat(ours.as_fd()).unwrap(), before);
}

#[tokio::test]
async fn a_flow_that_ends_leaves_nobody_with_what_it_wanted_alone() {
    let engine = engine(|config| config.settings.explain = true);
    let ((ours, _theirs), other) = (testing::pair_on_reno(), testing::settable());
    let asked = begin(&ours, false);
    let mut adaptive = engine.begin(asked.clone()).await;
    let _standard = engine.begin(Begin { forced: Some(Arm::Standard), ..asked }).await;
    adaptive.plan.congestion = Some(other);
    adaptive.act();
    assert_eq!(hfs_sock::congestion(ours.as_fd()).unwrap(), other.as_str());
    let log = listen();
    drop(adaptive);
    assert_eq!(hfs_sock::congestion(ours.as_fd()).unwrap(), "reno");
    let told = format!("from=\"{}\" to=\"the host's\"", other.as_str());
    assert_eq!(log.lines_with(&told).len(), 1);
}

/// A flow without a connection.
fn anonymous() -> Begin {
    Begin {
        request: RequestId::new(),
        direction: Direction::Upload,
        size: None,
        wire: None,
        whose: Whose::default(),
        forced: None,
        is_benchmark: false,
    }
}

#[tokio::test(start_paused = true)]
async fn when_memory_is_short_plans_shrink_then_transfers_wait_and_all_of_them_end() {
    let engine = engine(|config| config.memory = ByteSize::mib(8));
    let settings = Settings::default();
    let mut grown = Vec::new();
    for _ in 0..4 {
        let mut flow = engine.begin(anonymous()).await;
        while flow.plan().step < settings.max_step {
            tokio::time::advance(SOONEST).await;
            flow.moved(4 * flow.plan().step as u64, true);
        }
        grown.push(flow);
    }
    let (ended, running) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for _ in 0..1000 {
        let (engine, ended, running) = (Arc::clone(&engine), Arc::clone(&ended), Arc::clone(&running));
        tokio::spawn(async move {
            let mut flow = engine.begin(anonymous()).await;
            running.fetch_add(1, Relaxed);
            tokio::time::sleep(Duration::from_secs(10)).await;
            flow.moved(1, false);
            assert!(flow.plan().step >= settings.min_step);
            running.fetch_sub(1, Relaxed);
            ended.fetch_add(1, Relaxed);
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = running.load(Relaxed);
    assert!((200..=300).contains(&before), "{before} run on the half that is kept for them, the others wait");
    for flow in &mut grown {
        for _ in 0..8 {
            tokio::time::advance(SOONEST).await;
            flow.moved(4 * flow.plan().step as u64, true);
            flow.begin_piece();
        }
        assert_eq!(flow.plan().step, settings.min_step, "those that have grown give way");
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(running.load(Relaxed) > before, "and others run on what they gave");
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(ended.load(Relaxed), 1000);
}

#[tokio::test(start_paused = true)]
async fn a_standard_transfer_waits_for_all_that_it_holds_and_an_adaptive_one_for_its_least() {
    let engine = engine(|config| config.memory = ByteSize::mib(1));
    let _others = engine.memory().share(992 << 10, 992 << 10, 0).await;
    let begins = async |arm| {
        let begin = engine.begin(Begin { forced: Some(arm), ..anonymous() });
        tokio::time::timeout(Duration::from_secs(60), begin).await.is_ok()
    };
    assert!(!begins(Arm::Standard).await, "two steps of 32 KiB are more than is left");
    assert!(begins(Arm::Adaptive).await);
}

#[tokio::test]
async fn the_window_of_a_proxys_connection_is_not_let_grow_for_one_client() {
    let engine = engine(|_| {});
    for is_proxied in [false, true] {
        let (ours, _theirs) = pair();
        let wire = Wire::new(OwnedFd::from(ours), Carrier::H2);
        let whose = Whose { is_proxied, ..Whose::default() };
        let _flow = engine.begin(Begin { wire: Some(wire.clone()), whose, ..anonymous() }).await;
        assert_eq!(wire.window().unwrap().is_allowed(), !is_proxied);
    }
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

/// Asks for another congestion control once something was observed.
#[derive(Debug)]
struct Changes {
    plan: Plan,
    to: Congestion,
}

impl Controller for Changes {
    fn plan(&self) -> Plan {
        self.plan
    }

    fn observe(&mut self, _: &Observation) {
        self.plan.congestion = Some(self.to);
    }

    fn conclude(&mut self, _: &Observation) {}

    fn snapshot(&self) -> Snapshot {
        Snapshot { delivered_rate: Some(5_000_000), ..Snapshot::default() }
    }

    fn decisions(&mut self) -> Vec<Decision> {
        Vec::new()
    }
}

#[tokio::test(start_paused = true)]
async fn who_looks_at_a_connection_hears_of_the_rate_before_a_change_until_that_must_have_been_judged() {
    let engine = engine(|_| {});
    let (ours, _theirs) = testing::pair_on_reno();
    let asked = begin(&ours, false);
    let wire = asked.wire.clone().unwrap();
    let mut flow = engine.begin(asked).await;
    let to = testing::settable();
    flow.controller = Box::new(Changes { plan: *flow.plan(), to });
    tokio::time::advance(RECONSIDER).await;
    flow.carried(1 << 20);
    let told = || {
        let seen = wire.sample().unwrap();
        (seen.congestion, seen.rate_before)
    };
    assert_eq!(told(), (Some(to), Some(5_000_000)));
    tokio::time::advance(Duration::from_secs(15)).await;
    assert_eq!(told(), (Some(to), Some(5_000_000)));
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(told(), (Some(to), None));
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

#[test]
fn the_log_says_why_downloads_cannot_be_put_on_bbr_or_cubic() {
    let mut engine = Engine::new(PaceConfig::default(), Arc::new(Metrics::new()));
    engine.bbr = Err(wire::Unsettable::Absent("bbr"));
    engine.cubic = Err(wire::Unsettable::Forbidden("cubic"));
    let log = listen();
    engine.introduce();
    let lines = log.lines_with("Data paths");
    assert!(lines.len() == 1 && lines[0].contains("bbr=false"), "{lines:?}");
    assert!(lines[0].contains("why_not=the kernel does not have it: its module tcp_bbr is not loaded"), "{lines:?}");
    let why_no_cubic = "cubic=false why_no_cubic=this process has no CAP_NET_ADMIN";
    assert!(lines[0].contains(why_no_cubic), "{lines:?}");
}

#[test]
fn cubic_is_had_only_where_there_is_a_way_back_to_bbr() {
    let mut engine = Engine::new(PaceConfig::default(), Arc::new(Metrics::new()));
    for (bbr, is_had) in [(Ok(()), true), (Err(wire::Unsettable::Forbidden("bbr")), false)] {
        (engine.bbr, engine.cubic) = (bbr, Ok(()));
        engine.configure(PaceConfig::default());
        assert_eq!(engine.config.load().settings.cubic, is_had);
    }
    let log = listen();
    engine.introduce();
    let lines = log.lines_with("Data paths");
    assert!(lines.len() == 1 && lines[0].contains("cubic=false why_no_cubic=this process has no"), "{lines:?}");
    assert!(lines[0].contains("does not name bbr"), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn what_memory_keeps_from_a_plan_is_explained() {
    let engine = engine(|config| {
        config.memory = ByteSize::mib(1);
        config.settings.explain = true;
    });
    let log = listen();
    let mut flows = Vec::new();
    for _ in 0..2 {
        let mut flow = engine.begin(anonymous()).await;
        for _ in 0..4 {
            tokio::time::advance(SOONEST).await;
            flow.moved(4 * flow.plan().step as u64, true);
        }
        flows.push(flow);
    }
    let lines = log.lines_with("memory is short");
    assert!(!lines.is_empty() && lines.len() < 4, "once for each change: {lines:?}");
    assert!(lines.iter().all(|line| line.contains("lever=\"step\"") && line.contains("bytes are free")), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn what_memory_keeps_from_a_plan_that_grows_is_said_once() {
    let engine = engine(|config| {
        config.memory = ByteSize::mib(1);
        config.settings.explain = true;
    });
    let log = listen();
    let mut flow = engine.begin(anonymous()).await;
    let before = flow.plan.step;
    flow.explain_size(2 * before, before);
    flow.explain_size(4 * before, before);
    flow.explain_size(8 * before, before);
    assert_eq!(log.lines_with("memory is short").len(), 1);
    flow.explain_size(8 * before, before / 2);
    assert_eq!(log.lines_with("memory is short").len(), 2, "it gives way");
    flow.explain_size(before, before);
    assert_eq!(log.lines_with("there is memory again").len(), 1);
}

#[tokio::test]
async fn a_budget_below_what_flows_hold_is_warned_of() {
    let engine = engine(|config| config.memory = ByteSize::mib(64));
    let log = listen();
    let warnings = || log.lines_with("Transfers hold more than max_memory_usage");
    let mut share = engine.memory().unclaimed();
    assert_eq!(share.resize(4 << 20), 4 << 20);
    engine.configure(PaceConfig { memory: ByteSize::mib(4), ..PaceConfig::default() });
    assert_eq!(warnings().len(), 0);
    engine.configure(PaceConfig { memory: ByteSize::mib(1), ..PaceConfig::default() });
    let lines = warnings();
    assert!(lines.len() == 1 && lines[0].contains("beyond=3145728 allowed=1048576"), "{lines:?}");
}

#[tokio::test]
async fn what_a_client_is_granted_is_explained() {
    let engine = engine(|config| {
        config.strategies.mobile.ceiling = Some(32 << 10);
        config.strategies.by_quality = true;
        config.settings.explain = true;
    });
    testing::learnt(&engine, "192.0.2.7", 300_000);
    let (ours, _theirs) = pair();
    let log = listen();
    let wire = Wire::new(OwnedFd::from(ours.try_clone().unwrap()), Carrier::Tls);
    drop(engine.begin(Begin { wire: Some(wire), ..begin(&ours, false) }).await);
    let lines = log.lines_with("lever=\"largest step\" from=\"1048576\" to=\"32768\"");
    assert!(lines.len() == 1 && lines[0].contains("quality fair"), "{lines:?}");
    drop(engine.begin(begin(&ours, false)).await);
    assert_eq!(log.lines_with("lever=\"largest step\"").len(), 1, "sendfile has no steps");
}

#[tokio::test]
async fn each_look_at_a_path_is_logged_where_details_are_asked_for() {
    for is_detailed in [false, true] {
        let engine = engine(|config| {
            config.settings.explain = true;
            config.log_paths = is_detailed;
        });
        let log = listen();
        let (mut ours, mut theirs) = pair();
        let mut flow = engine.begin(begin(&ours, false)).await;
        transfer(&mut flow, &mut ours, &mut theirs).await;
        assert_eq!(
            log.lines_with("Path looked at").len(),
            if is_detailed { flow.snapshot().samples as usize } else { 0 }
        );
    }
}

/// Several transfers of one network go on at once.
#[tokio::test]
async fn each_line_about_a_transfer_names_its_request() {
    let engine = engine(|config| {
        config.settings.explain = true;
        (config.log_paths, config.log_profiles) = (true, true);
        config.settings.zero_copy = false;
    });
    let log = listen();
    let (mut ours, mut theirs) = pair();
    let begin = begin(&ours, false);
    let named = format!("request={}", begin.request);
    let mut flow = engine.begin(begin).await;
    transfer(&mut flow, &mut ours, &mut theirs).await;
    drop(flow);
    for message in ["Plan changed", "Path looked at", "Learnt about a client"] {
        let lines = log.lines_with(message);
        let tells = |line: &String| line.contains(&named) && line.contains("client=192.0.2.0");
        assert!(!lines.is_empty() && lines.iter().all(tells), "{message}: {lines:#?}");
    }
}

#[tokio::test]
async fn the_line_about_a_client_has_its_jitter_and_how_often_it_breaks_off() {
    let engine = engine(|config| config.log_profiles = true);
    let log = listen();
    let (mut ours, mut theirs) = pair();
    let mut flow = engine.begin(begin(&ours, false)).await;
    transfer(&mut flow, &mut ours, &mut theirs).await;
    drop(flow);
    let mut broken = engine.begin(begin(&ours, false)).await;
    broken.moved(2 << 20, true);
    drop(broken);
    let lines = log.lines_with("Learnt about a client");
    assert!(lines[0].contains("breaks=0.0") && lines[0].contains("jitter_us="), "{lines:?}");
    assert!(lines[0].contains("measured_at=\"client\"") && lines[1].contains("breaks=0.2"), "{lines:?}");
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
