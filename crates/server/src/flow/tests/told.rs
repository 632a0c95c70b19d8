//! What the log says of flows, and of what the machine allows them.

use super::*;
use crate::http::testing::listen;

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
