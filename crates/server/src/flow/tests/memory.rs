//! What flows do, and say, when memory is short.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::http::testing::listen;

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
