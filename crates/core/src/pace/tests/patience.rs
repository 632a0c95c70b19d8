//! How long a silence of a client is borne.

use std::time::Duration;

use super::link::{Course, Link, ms};
use super::{controller, download, settings};
use crate::pace::{Arm, Expected, Levers, Settings, Start};
use crate::progress::StallLimits;

#[test]
fn a_handover_that_ends_well_makes_the_next_one_bearable() {
    let mut adaptive = controller(Arm::Adaptive, &settings(), &download(1 << 30));
    let mut course = Course::default();
    let link = Link { rtt: ms(600), ..Link::default() };
    link.run_on(&mut *adaptive, &mut course, ms(5_000));
    let before = adaptive.plan().stall.idle;
    course.at += Duration::from_secs(58);
    link.run_on(&mut *adaptive, &mut course, ms(5_000));
    let after = adaptive.plan().stall.idle;
    assert!(after > before && after >= Duration::from_secs(69), "{before:?} then {after:?}");
    assert!(after <= settings().longest_stall.unwrap());
    let fixed = Settings { longest_stall: None, ..settings() };
    let mut adaptive = controller(Arm::Adaptive, &fixed, &download(1 << 30));
    let mut course = Course::default();
    course.at += Duration::from_secs(59);
    link.run_on(&mut *adaptive, &mut course, ms(5_000));
    assert_eq!(adaptive.plan().stall, fixed.stall);
}

#[test]
fn a_client_is_granted_more_patience_and_never_less() {
    let idle = |patience| {
        let expected = Expected { patience: Some(patience), ..Expected::default() };
        controller(Arm::Adaptive, &settings(), &Start { expected, ..download(1 << 30) }).plan().stall.idle
    };
    let configured = settings().stall.idle;
    assert_eq!((idle(2.0), idle(0.5)), (2 * configured, configured));
    assert_eq!(idle(1e9), settings().longest_stall.unwrap());
}

#[test]
fn an_adaptive_plan_is_at_least_as_patient_as_the_configuration_wants() {
    let stall = |arm, settings: &Settings| controller(arm, settings, &download(1 << 30)).plan().stall;
    let wanted = Settings { shortest_stall: Duration::from_secs(200), ..settings() };
    let StallLimits { idle, window, .. } = stall(Arm::Adaptive, &wanted);
    assert_eq!((idle, window), (wanted.shortest_stall, wanted.shortest_stall), "a window is no shorter than a silence");
    let fixed = Settings { longest_stall: None, ..wanted };
    let pinned = Settings { levers: Levers { stall: false, ..Levers::ALL }, ..wanted };
    for (arm, settings) in [(Arm::Adaptive, &fixed), (Arm::Adaptive, &pinned), (Arm::Standard, &wanted)] {
        assert_eq!(stall(arm, settings), settings.stall, "{arm:?}");
    }
}
