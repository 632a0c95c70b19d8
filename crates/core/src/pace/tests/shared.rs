//! Downloads that share a connection over HTTP/2: who changes its congestion control, and that nobody undoes it.

use super::link::{Link, Shared, ms};
use super::{congestion_changes, controller, download, settings};
use crate::pace::{Arm, Congestion, Controller, Expected, Start};

fn adaptive(host: Congestion) -> Box<dyn Controller> {
    let start = Start { inherited: Some(host), expected: Expected::default(), ..download(1 << 40) };
    controller(Arm::Adaptive, &settings(), &start)
}

/// Why it changed its mind, each time.
fn reasons(controller: &mut dyn Controller) -> Vec<String> {
    congestion_changes(controller).into_iter().map(|change| change.because).collect()
}

/// 100 Mbit/s and 40 ms, on which cubic reaches a tenth.
fn lossy() -> Link {
    Link { loss: 0.002, ..Link::default() }
}

#[test]
fn downloads_that_come_do_not_make_the_trial_of_the_first_one_fail() {
    let mut shared = Shared::on(Congestion::Cubic);
    shared.begin(adaptive(Congestion::Cubic));
    while shared.congestion() == Congestion::Cubic && shared.course.at < ms(20_000) {
        shared.run(&lossy(), ms(50));
    }
    for _ in 0..19 {
        shared.begin(adaptive(Congestion::Cubic));
    }
    shared.run(&lossy(), ms(60_000));
    assert_eq!(shared.congestion(), Congestion::Bbr);
    let reasons = reasons(&mut *shared.end_first());
    assert_eq!(reasons.len(), 1, "{reasons:?}");
}

#[test]
fn what_the_first_one_has_brought_stays_with_those_that_go_on() {
    let mut shared = Shared::on(Congestion::Cubic);
    shared.begin(adaptive(Congestion::Cubic));
    shared.run(&lossy(), ms(20_000));
    shared.begin(adaptive(Congestion::Cubic));
    // They were on BBR before and after they wanted it, so nothing became faster.
    shared.run(&lossy(), ms(30_000));
    shared.end_first();
    shared.run(&lossy(), ms(30_000));
    assert_eq!(shared.congestion(), Congestion::Bbr);
    let reasons = reasons(&mut *shared.end_first());
    assert_eq!(reasons.len(), 1, "{reasons:?}");
}

#[test]
fn who_has_not_seen_losses_yet_finds_the_hosts_and_sees_them_soon() {
    let mut shared = Shared::on(Congestion::Cubic);
    shared.begin(adaptive(Congestion::Cubic));
    shared.run(&lossy(), ms(20_000));
    shared.begin(adaptive(Congestion::Cubic));
    shared.end_first();
    assert_eq!(shared.congestion(), Congestion::Cubic);
    shared.run(&lossy(), ms(5_000));
    assert_eq!(shared.congestion(), Congestion::Bbr);
}

#[test]
fn who_never_wanted_cubic_is_not_left_with_it() {
    let short = Link { rtt: ms(10), ..Link::default() };
    let mut shared = Shared::on(Congestion::Bbr);
    shared.begin(adaptive(Congestion::Bbr));
    shared.run(&short, ms(20_000));
    // Twice what is clean over 86 segments, and half of what holds cubic back.
    let unclear = Link { loss: 0.0003, ..short };
    shared.begin(adaptive(Congestion::Bbr));
    shared.run(&unclear, ms(10_000));
    assert_eq!(shared.congestion(), Congestion::Cubic);
    shared.end_first();
    shared.run(&Link { filled: ms(200), loss: 0.02, ..short }, ms(20_000));
    assert_eq!(shared.congestion(), Congestion::Bbr);
    assert!(reasons(&mut *shared.end_first()).is_empty());
}

#[test]
fn who_takes_over_what_nobody_has_judged_judges_it() {
    // Policed: full without a queue, and BBR is no faster.
    let policed = Link { is_full: true, ..lossy() };
    let mut shared = Shared::on(Congestion::Cubic);
    shared.begin(adaptive(Congestion::Cubic));
    while shared.congestion() == Congestion::Cubic && shared.course.at < ms(20_000) {
        shared.run(&policed, ms(50));
    }
    shared.begin(adaptive(Congestion::Cubic));
    shared.run(&policed, ms(5_000));
    shared.end_first();
    shared.run(&policed, ms(20_000));
    assert_eq!(shared.congestion(), Congestion::Cubic);
    let reasons = reasons(&mut *shared.end_first());
    assert!(reasons.len() == 2 && reasons[1].starts_with("no faster"), "{reasons:?}");
}

#[test]
fn what_was_found_good_is_not_judged_again_by_who_comes_to_it() {
    let mut shared = Shared::on(Congestion::Cubic);
    shared.begin(adaptive(Congestion::Cubic));
    shared.run(&lossy(), ms(12_000));
    shared.begin(adaptive(Congestion::Cubic));
    // What cubic had before is now all that the path carries, and cubic would have a third of that.
    shared.run(&Link { rate: 1_050_000, loss: 0.02, ..lossy() }, ms(20_000));
    assert_eq!(shared.congestion(), Congestion::Bbr);
    let decisions = shared.end_first().decisions();
    let verdict = decisions.iter().find(|decision| decision.lever == "trial").expect("a verdict");
    assert_eq!((verdict.from.as_str(), verdict.to.as_str()), ("bbr", "passed"));
    assert!(verdict.because.starts_with("faster: "), "{verdict:?}");
}

/// What the download that began first said of the trial when it ended, if it did.
fn verdict(shared: &mut Shared) -> Option<String> {
    let decisions = shared.end_first().decisions();
    decisions.into_iter().find(|decision| decision.lever == "trial").map(|decision| decision.because)
}

#[test]
fn a_change_that_two_have_on_trial_is_judged_once() {
    // The one that made it judges it first, or the one that took it over.
    for is_held_up in [false, true] {
        let mut shared = Shared::on(Congestion::Cubic);
        shared.begin(adaptive(Congestion::Cubic));
        while shared.congestion() == Congestion::Cubic && shared.course.at < ms(20_000) {
            shared.run(&lossy(), ms(50));
        }
        shared.run(&lossy(), ms(5_000));
        shared.begin(adaptive(Congestion::Cubic));
        shared.run(&lossy(), ms(2_000));
        shared.is_first_held_up = is_held_up;
        shared.run(&lossy(), ms(if is_held_up { 8_000 } else { 1_500 }));
        shared.is_first_held_up = false;
        // Less than cubic had before, which would be worse now, too.
        shared.run(&Link { rate: 950_000, loss: 0.02, ..lossy() }, ms(20_000));
        assert_eq!(shared.congestion(), Congestion::Bbr, "{is_held_up}");
        let mut verdicts = [verdict(&mut shared), verdict(&mut shared)].map(Option::unwrap);
        verdicts.sort_unstable();
        let [agreed, judged] = &verdicts;
        assert!(agreed.starts_with("another download") && judged.starts_with("faster: "), "{verdicts:?}");
    }
}

#[test]
fn a_reader_that_pauses_is_no_other_path() {
    let mut shared = Shared::on(Congestion::Bbr);
    shared.begin(adaptive(Congestion::Bbr));
    let short = Link { rtt: ms(10), ..Link::default() };
    shared.run(&short, ms(30_000));
    assert_eq!(shared.congestion(), Congestion::Cubic);
    for pause in [Link { reader: 100_000, ..short }, Link { is_paused: true, ..short }] {
        shared.run(&pause, ms(10_000));
        assert_eq!(shared.congestion(), Congestion::Cubic);
        shared.run(&short, ms(5_000));
    }
    // Two neighbours leave a third.
    shared.run(&Link { rate: short.rate / 3, ..short }, ms(10_000));
    assert_eq!(shared.congestion(), Congestion::Cubic);
}

#[test]
fn what_one_takes_back_the_others_give_up() {
    // Policed: full without a queue, and BBR is no faster.
    let policed = Link { is_full: true, ..lossy() };
    for (host, is_unknown, link) in [
        (Congestion::Cubic, false, policed),
        (Congestion::Cubic, true, policed),
        (Congestion::Bbr, false, Link { rtt: ms(10), ..Link::default() }),
    ] {
        let adaptive = || {
            let start = Start { inherited: (!is_unknown).then_some(host), ..download(1 << 40) };
            controller(Arm::Adaptive, &settings(), &start)
        };
        let mut shared = Shared::on(host);
        shared.is_unknown = is_unknown;
        shared.begin(adaptive());
        while shared.congestion() == host && shared.course.at < ms(20_000) {
            shared.run(&link, ms(50));
        }
        shared.begin(adaptive());
        shared.run(&link, ms(7_000));
        assert_ne!(shared.congestion(), host);
        // What has become slower speaks against cubic.
        shared.run(&Link { rate: link.rate / 2, ..link }, ms(4_000));
        assert_eq!(shared.congestion(), host);
        let first = reasons(&mut *shared.end_first());
        assert!(first.len() == 2 && first[1].contains("before, "), "{first:?}");
        let second = reasons(&mut *shared.end_first());
        assert!(second.len() == 2 && second[1].starts_with("another download"), "{second:?}");
    }
}

#[test]
fn each_knows_which_part_of_its_bytes_bbr_moved() {
    let mut shared = Shared::on(Congestion::Cubic);
    shared.begin(adaptive(Congestion::Cubic));
    shared.run(&lossy(), ms(20_000));
    shared.begin(adaptive(Congestion::Cubic));
    shared.run(&Link::default(), ms(1_000));
    let first = shared.end_first().snapshot().bbr_share.unwrap();
    assert!(first > 0.9 && first < 1.0, "{first}: cubic moved a little before");
    // It has seen no losses, and does not want BBR itself.
    let second = shared.end_first();
    assert_eq!((second.plan().congestion, second.snapshot().bbr_share), (None, Some(1.0)));
}
