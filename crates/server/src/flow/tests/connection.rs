//! What flows set on their connection, what they leave there, and what others are told of it.

use std::os::fd::AsFd as _;

use hfs_core::pace::Congestion;

use super::*;
use crate::http::testing::listen;

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

/// Tries another congestion control once something was observed.
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
        (self.plan.congestion, self.plan.is_on_trial) = (Some(self.to), true);
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
async fn who_looks_at_a_connection_hears_of_the_rate_before_a_change_while_it_is_tried_and_for_a_while_after() {
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
    // Its reader is slow, which is no time of the trial.
    tokio::time::advance(Duration::from_secs(600)).await;
    assert_eq!(told(), (Some(to), Some(5_000_000)));
    drop(flow);
    tokio::time::advance(Duration::from_secs(15)).await;
    assert_eq!(told(), (Some(to), Some(5_000_000)), "the next one may judge it");
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(told(), (Some(to), None));
}
