//! Levers switched off, each alone: what it leaves where the standard arm has it, and what it does not; and parts that are
//! switched off.

use super::link::{Link, ms};
use super::{controller, download, settings, upload};
use crate::pace::{Arm, Direction, Expected, Levers, Observation, PathSample, Plan, Settings, Start};

/// A lever: its name, its switch, and how its parts of a plan become those of another one.
type Lever = (&'static str, fn(&mut Levers) -> &mut bool, fn(&mut Plan, &Plan));

const LEVERS: [Lever; 8] = [
    ("lane", |all| &mut all.lane, |plan, other| (plan.lane, plan.step) = (other.lane, other.step)),
    (
        "write_back",
        |all| &mut all.write_back,
        |plan, other| (plan.preallocate, plan.write_back) = (other.preallocate, other.write_back),
    ),
    ("write", |all| &mut all.write, |plan, other| plan.write = other.write),
    ("congestion", |all| &mut all.congestion, |plan, other| plan.congestion = other.congestion),
    ("pacing", |all| &mut all.pacing, |plan, other| plan.is_paced = other.is_paced),
    ("unsent", |all| &mut all.unsent, |plan, other| plan.unsent = other.unsent),
    ("window", |all| &mut all.window, |plan, other| plan.window = other.window),
    ("stall", |all| &mut all.stall, |plan, other| plan.stall = other.stall),
];

/// The first plan and those after what moves every lever: full steps on a long path, and most of a minute of silence.
fn plans(arm: Arm, levers: Levers, start: &Start) -> Vec<Plan> {
    let (rtt, min_rtt) = (ms(300), Some(ms(300)));
    let path = PathSample { rtt, rtt_var: ms(10), min_rtt, window: 1_000, mss: 1448, ..PathSample::default() };
    let mut controller = controller(arm, &Settings { levers, ..settings() }, start);
    let mut plans = vec![controller.plan()];
    for second in [1, 2, 3, 61, 62] {
        let now = ms(second * 1000);
        let seen = Observation { now, moved: 10_000_000, filled: Some(true), is_app_limited: false, path: Some(path) };
        controller.observe(&seen);
        plans.push(controller.plan());
    }
    plans
}

#[test]
fn each_lever_that_is_off_leaves_its_parts_as_the_standard_arm_has_them_and_no_others() {
    let expected = Expected { loss: Some(0.02), ..Expected::default() };
    let starts = [upload(1 << 30), download(1 << 30)].map(|start| Start { expected, ..start });
    for (name, switch, give_back) in LEVERS {
        let mut levers = Levers::ALL;
        *switch(&mut levers) = false;
        let mut moves = false;
        for start in &starts {
            let [standard, all] = [Arm::Standard, Arm::Adaptive].map(|arm| plans(arm, Levers::ALL, start));
            let is_upload = start.direction == Direction::Upload;
            assert!(!is_upload || all.iter().all(|plan| !plan.is_paced), "its sender is the client's");
            let mut without = all.clone();
            without.iter_mut().zip(&standard).for_each(|(plan, standard)| give_back(plan, standard));
            assert_eq!(plans(Arm::Adaptive, levers, start), without, "without {name}: {:?}", start.direction);
            moves |= without != all;
        }
        assert!(moves, "{name} moves nothing here");
    }
}

#[test]
fn without_its_lever_no_loss_changes_the_congestion_control() {
    let settings = Settings { levers: Levers { congestion: false, ..Levers::ALL }, ..settings() };
    let mut pinned = controller(Arm::Adaptive, &settings, &download(1 << 30));
    Link { loss: 0.02, ..Link::default() }.run(&mut *pinned, ms(30_000));
    assert_eq!(pinned.plan().congestion, None);
}

#[test]
fn each_part_can_be_switched_off() {
    let lossy = Link { loss: 0.02, ..Link::default() };
    let blind = Settings { watches: false, ..settings() };
    let mut adaptive = controller(Arm::Adaptive, &blind, &download(1 << 30));
    lossy.run(&mut *adaptive, ms(30_000));
    assert_eq!((adaptive.plan().sample_after, adaptive.snapshot().samples), (None, 0));
    let fixed = Settings { follows: false, ..settings() };
    let mut adaptive = controller(Arm::Adaptive, &fixed, &upload(1 << 30));
    Link::default().run(&mut *adaptive, ms(30_000));
    assert_eq!(adaptive.plan().step, fixed.first_step);
    let known = Start { expected: Expected { step: Some(256 << 10), ..Expected::default() }, ..upload(1 << 30) };
    let first = |settings| controller(Arm::Adaptive, settings, &known).plan().step;
    assert_eq!((first(&fixed), first(&settings())), (fixed.first_step, 256 << 10), "nor do they begin elsewhere");
    let expected = Expected { loss: Some(0.02), ..Expected::default() };
    let waiting = Settings { foresees: false, ..settings() };
    let adaptive = controller(Arm::Adaptive, &waiting, &Start { expected, ..download(1 << 30) });
    assert_eq!(adaptive.plan().congestion, None, "the path has to show it");
}
