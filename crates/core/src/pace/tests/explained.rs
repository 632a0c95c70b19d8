//! Each change of a plan is told, once, with the figures that decided.

use std::time::Duration;

use super::link::{Course, Link, ms};
use super::{controller, download, settings, upload};
use crate::pace::{Arm, Carrier, Congestion, Decision, Expected, Plan, Start};

#[test]
fn the_change_is_explained_with_its_figures() {
    let mut adaptive = controller(Arm::Adaptive, &settings(), &download(1 << 30));
    Link { loss: 0.02, ..Link::default() }.run(&mut *adaptive, ms(5_000));
    let decisions = adaptive.decisions();
    let choice = decisions.iter().find(|decision| decision.lever == "congestion control").unwrap();
    assert_eq!((choice.from.as_str(), choice.to.as_str()), ("the host's", "bbr"));
    assert!(choice.because.contains("% lost"), "{}", choice.because);
    assert!(adaptive.decisions().is_empty(), "each is told once");
}

/// What a decision may be about, as the log shows it.
fn levers(plan: &Plan) -> [(&'static str, String); 5] {
    [
        ("step", plan.step.to_string()),
        ("write", plan.write.to_string()),
        ("congestion control", plan.congestion.map_or("the host's", Congestion::as_str).to_owned()),
        ("unsent", plan.unsent.map_or("the host's".to_owned(), |bytes| bytes.to_string())),
        ("stall", format!("{:?}", plan.stall.idle)),
    ]
}

#[test]
fn what_is_tried_is_not_said_to_have_been_faster() {
    let because = |is_bbr_tried| {
        let expected = Expected { is_bbr_better: Some(true), is_bbr_tried, ..Expected::default() };
        let mut adaptive = controller(Arm::Adaptive, &settings(), &Start { expected, ..download(1 << 30) });
        adaptive.decisions().swap_remove(0).because
    };
    assert_eq!(because(false), "earlier transfers: it was faster with such clients");
    assert_eq!(because(true), "to see whether it is faster with such clients");
}

#[test]
fn every_change_of_a_plan_is_explained_once() {
    let slow = Link { rtt: ms(600), rate: 3_000_000, ..Link::default() };
    let links = [Link { loss: 0.02, ..Link::default() }, slow, Link { rtt: Duration::from_micros(100), ..slow }];
    for carrier in [Carrier::Plain, Carrier::Tls] {
        let mut adaptive = controller(Arm::Adaptive, &settings(), &Start { carrier, ..download(1 << 40) });
        let (mut course, mut seen) = (Course::default(), std::collections::BTreeSet::new());
        assert_eq!(adaptive.decisions(), [], "a stranger begins as everybody does");
        for round in 0..3000 {
            let before = levers(&adaptive.plan());
            // A handover now and then, which costs most of the time that there is.
            course.at += if round % 1000 == 999 { Duration::from_secs(58) } else { Duration::ZERO };
            links[round / 1000].run_on(&mut *adaptive, &mut course, ms(10));
            let after = levers(&adaptive.plan());
            let decisions = adaptive.decisions();
            for ((lever, from), (_, to)) in before.into_iter().zip(after) {
                let told: Vec<_> = decisions.iter().filter(|decision| decision.lever == lever).collect();
                let (first, last) = (told.first().map(|it| &it.from), told.last().map(|it| &it.to));
                let expected = (from != to).then_some((&from, &to));
                assert_eq!(first.zip(last), expected, "{lever} after {round}: {told:?}");
                let has_figures = |decision: &&Decision| decision.because.contains(|c: char| c.is_ascii_digit());
                assert!(told.iter().all(has_figures), "{told:?}");
                seen.extend(told.first().map(|_| lever));
            }
        }
        let size = if carrier == Carrier::Plain { "step" } else { "write" };
        assert!(["congestion control", "stall", "unsent", size].iter().all(|lever| seen.contains(lever)), "{seen:?}");
    }
}

#[test]
fn what_is_known_of_a_client_explains_its_first_plan() {
    let expected = Expected {
        rate: Some(10_000_000),
        min_rtt: Some(ms(40)),
        step: Some(256 << 10),
        patience: Some(2.0),
        ..Expected::default()
    };
    let told = |start: Start| {
        let decisions = controller(Arm::Adaptive, &settings(), &Start { expected, ..start }).decisions();
        decisions.iter().map(|it| format!("{}: {} {} {}", it.lever, it.from, it.to, it.because)).collect::<Vec<_>>()
    };
    let unsent = "unsent: the host's 800000 earlier transfers: 10000000 B/s over a round trip of 40ms";
    let stall = "stall: 60s 120s such clients are granted 2 times the limit";
    let step = "step: 65536 262144 earlier transfers: the last upload ended with 262144";
    assert_eq!(told(download(1 << 30)), [stall, unsent]);
    assert_eq!(told(upload(64 << 10)), [step, stall]);
}
