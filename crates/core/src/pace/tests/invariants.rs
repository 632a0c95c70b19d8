//! What no measurement, however absurd, may break.

use std::time::Duration;

use proptest::prelude::*;

use super::link::{Course, Link, ms};
use super::{controller, download, settings};
use crate::pace::{
    Arm, Carrier, Congestion, Detection, Direction, Expected, Levers, Observation, PathSample, Plan, Settings, Start,
};

fn any_path() -> impl Strategy<Value = Option<PathSample>> {
    let time =
        prop_oneof![Just(Duration::ZERO), (0u64..10_000_000).prop_map(Duration::from_micros), Just(Duration::MAX)];
    let count = prop_oneof![Just(None), (0u64..100_000).prop_map(Some), Just(Some(u64::MAX))];
    let sample = (
        time.clone(),
        time.clone(),
        proptest::option::of(time),
        count.clone(),
        count.clone(),
        any::<u64>(),
        any::<bool>(),
    );
    proptest::option::of((sample, any_counters()).prop_map(
        |((rtt, rtt_var, min_rtt, segments_out, delivery_rate, retransmits, limited), counters)| PathSample {
            rtt,
            rtt_var,
            min_rtt,
            segments_out,
            delivery_rate,
            retransmits,
            is_rate_app_limited: limited,
            spurious: Some(3),
            ..counters
        },
    ))
}

/// What else a look tells: what levers go by, and what they have made of the connection.
fn any_counters() -> impl Strategy<Value = PathSample> {
    let spent = || proptest::option::of((0u64..10_000_000).prop_map(Duration::from_micros));
    let congestion = proptest::option::of(prop::sample::select(&Congestion::ALL[..]));
    let count = || proptest::option::of(any::<u64>());
    let (sizes, flags) = ((0u32..2_000, 0u32..9_000), any::<[bool; 2]>());
    (sizes, flags, 0u8..3, congestion, [count(), count()], [spent(), spent()]).prop_map(
        |((window, mss), [has_moved, is_paced], subflows, congestion, [bytes_acked, rate_before], spent)| PathSample {
            window,
            mss,
            has_moved,
            is_paced,
            subflows,
            congestion,
            bytes_acked,
            rate_before,
            busy: spent[0],
            receiver_limited: spent[1],
            ..PathSample::default()
        },
    )
}

fn any_seen() -> impl Strategy<Value = Observation> {
    let now = prop_oneof![(0u64..3_600_000).prop_map(ms), Just(Duration::MAX)];
    (now, prop_oneof![Just(0), 0u64..1 << 30, Just(u64::MAX)], any::<Option<bool>>(), any::<bool>(), any_path())
        .prop_map(|(now, moved, filled, is_app_limited, path)| Observation { now, moved, filled, is_app_limited, path })
}

fn any_start() -> impl Strategy<Value = Start> {
    let expected =
        (proptest::option::of(any::<u64>()), proptest::option::of(0.0f64..1.0), proptest::option::of(any::<usize>()))
            .prop_map(|(rate, loss, step)| Expected {
                ceiling: step.map(|step| step / 3),
                patience: loss.map(|loss| 1e3 * loss - 100.0),
                rate,
                loss,
                step,
                min_rtt: rate.map(|rate| ms(if rate % 2 == 0 { 5 } else { 300 })),
                is_bbr_better: loss.map(|loss| loss > 0.5),
                is_bbr_tried: false,
            });
    let carrier = prop_oneof![Just(Carrier::Plain), Just(Carrier::Tls), Just(Carrier::H2)];
    let direction = prop_oneof![Just(Direction::Upload), Just(Direction::Download)];
    let inherited = proptest::option::of(prop::sample::select(&Congestion::ALL[..]));
    (direction, proptest::option::of(any::<u64>()), carrier, any::<bool>(), inherited, expected).prop_map(
        |(direction, size, carrier, is_shared, inherited, expected)| Start {
            direction,
            size,
            carrier,
            is_shared,
            inherited,
            expected,
        },
    )
}

fn any_levers() -> impl Strategy<Value = Levers> {
    any::<[bool; 8]>().prop_map(|[lane, write_back, write, congestion, pacing, unsent, window, stall]| Levers {
        lane,
        write_back,
        write,
        congestion,
        pacing,
        unsent,
        window,
        stall,
    })
}

/// What a configuration can say.
fn any_settings() -> impl Strategy<Value = Settings> {
    let steps = prop::collection::vec(4096usize..16 << 20, 3).prop_map(|mut steps| {
        steps.sort_unstable();
        steps
    });
    let stalls = (proptest::option::of(60u64..1000), 0u64..1000, 1.0f64..100.0);
    let detection = proptest::option::of((1u64..10_000, 10_000u64..100_000));
    (steps, stalls, 1u64..60_000, detection, any::<[bool; 3]>(), any_levers()).prop_map(
        |(steps, (longest, shortest, stall_factor), every, detection, [watches, follows, foresees], levers)| Settings {
            min_step: steps[0],
            first_step: steps[1],
            max_step: steps[2],
            longest_stall: longest.map(Duration::from_secs),
            shortest_stall: Duration::from_secs(longest.map_or(shortest, |longest| shortest.min(longest))),
            stall_factor,
            sample_every: ms(every),
            detection: detection.map(|(fast, slow)| Detection { fast: ms(fast), slow: ms(slow) }),
            watches,
            follows,
            foresees,
            levers,
            ..settings()
        },
    )
}

fn holds(plan: &Plan, settings: &Settings, start: &Start) {
    let standard = controller(Arm::Standard, settings, start).plan();
    let steps =
        if settings.levers.lane { settings.min_step..=settings.max_step } else { standard.step..=standard.step };
    assert!(steps.contains(&plan.step), "{plan:?}");
    let writes = if settings.levers.write { 1..=settings.max_step } else { standard.write..=standard.write };
    assert!(writes.contains(&plan.write), "{plan:?}");
    let longest = settings.longest_stall.unwrap_or(settings.stall.idle).max(settings.stall.idle);
    let is_patient = settings.levers.stall && settings.longest_stall.is_some();
    let shortest = if is_patient { settings.shortest_stall } else { Duration::ZERO };
    assert!((settings.stall.idle.max(shortest)..=longest).contains(&plan.stall.idle), "{plan:?}");
    assert!(plan.stall.window >= settings.stall.window && plan.stall.min_rate <= settings.stall.min_rate, "{plan:?}");
    assert!(plan.unsent.is_none_or(|unsent| (128 << 10..=4 << 20).contains(&unsent)), "{plan:?}");
    let slowest =
        settings.detection.map_or(settings.sample_every, |detection| settings.sample_every.max(detection.slow));
    assert!(plan.sample_after.is_none_or(|after| after <= slowest), "{plan:?}");
    if start.is_shared {
        assert_eq!((plan.congestion, plan.is_paced), (None, false));
        assert_eq!((plan.unsent, plan.sample_after), (None, None));
        assert_eq!(plan.window, standard.window, "the window is of all clients");
    }
    assert!(plan.congestion.is_none() || plan.congestion != start.inherited, "what is there already: {plan:?}");
    if start.direction == Direction::Upload {
        assert_eq!(
            (plan.congestion, plan.is_paced, plan.unsent),
            (None, false, None),
            "the client's sender governs an upload"
        );
    }
}

/// What a phone goes through.
fn any_link() -> impl Strategy<Value = Link> {
    let loss = prop_oneof![Just(0.0), 0.0001f64..0.03];
    let link = (100_000u64..12_500_000, 5u64..150, loss);
    link.prop_map(|(rate, rtt, loss)| Link { rate, rtt: ms(rtt), loss, ..Link::default() })
}

/// Bytes that a download gets over one link after the other, for so many milliseconds each.
fn over(legs: [(Link, u64); 3], arm: Arm) -> f64 {
    let start = Start { inherited: Some(legs[0].0.host), ..download(1 << 40) };
    let (mut controller, mut course) = (controller(arm, &settings(), &start), Course::default());
    legs.map(|(link, span)| link.run_on(&mut *controller, &mut course, ms(span))).iter().sum::<u64>() as f64
}

/// On a host that is on BBR a short clean path gets cubic, and what comes after it may not suit cubic.
#[test]
fn a_handover_from_a_path_that_has_cubic_to_a_lossy_one_and_back_costs_little() {
    let wifi = Link { rate: 12_500_000, rtt: ms(10), host: Congestion::Bbr, ..Link::default() };
    for (rtt, loss) in [(20, 0.01), (45, 0.006), (45, 0.02), (60, 0.02), (150, 0.02)] {
        let lte = Link { rate: 2_500_000, rtt: ms(rtt), loss, ..wifi };
        for legs in [[(wifi, 20_000), (lte, 20_000), (wifi, 20_000)], [(lte, 20_000), (wifi, 20_000), (lte, 20_000)]] {
            let share = over(legs, Arm::Adaptive) / over(legs, Arm::Standard);
            assert!(share >= 0.97, "{rtt} ms, {loss}: {share}");
        }
    }
}

proptest! {
    #[test]
    fn plans_stay_within_their_bounds(
        settings in any_settings(),
        start in any_start(),
        seen in prop::collection::vec(any_seen(), 0..40),
    ) {
        let mut adaptive = controller(Arm::Adaptive, &settings, &start);
        holds(&adaptive.plan(), &settings, &start);
        for seen in &seen {
            adaptive.observe(seen);
            holds(&adaptive.plan(), &settings, &start);
            let _ = adaptive.snapshot();
        }
    }

    #[test]
    fn on_no_link_is_the_adaptive_arm_slower(
        (rate, rtt, queue) in (10_000u64..100_000_000, 1u64..700, 0u64..200),
        loss in prop_oneof![Just(0.0), 0.0001f64..0.05],
        is_full in any::<bool>(),
        overshoot in 0u64..500,
        host in prop::sample::select(&Congestion::ALL[..]),
    ) {
        let (rtt, queue) = (ms(rtt), ms(queue));
        let link = Link { rate, rtt, loss, queue, is_full, overshoot, host, ..Link::default() };
        let start = Start { inherited: Some(host), ..download(1 << 40) };
        let moved = |arm| link.run(&mut *controller(arm, &settings(), &start), ms(20_000));
        let (standard, adaptive) = (moved(Arm::Standard), moved(Arm::Adaptive));
        prop_assert!(adaptive as f64 >= 0.97 * standard as f64, "{adaptive} against {standard}");
    }

    #[test]
    fn over_no_handover_and_back_is_the_adaptive_arm_slower(
        here in any_link(),
        there in any_link(),
        spans in [5_000u64..60_000, 5_000u64..60_000, 5_000u64..60_000],
    ) {
        let [first, second, third] = spans;
        let legs = [(here, first), (there, second), (here, third)];
        let (standard, adaptive) = (over(legs, Arm::Standard), over(legs, Arm::Adaptive));
        prop_assert!(adaptive >= 0.97 * standard, "{adaptive} against {standard}");
    }

    #[test]
    fn without_levers_the_adaptive_arm_does_what_the_standard_arm_does(
        start in any_start(),
        seen in prop::collection::vec(any_seen(), 0..40),
    ) {
        let pinned = Settings { levers: Levers::NONE, ..settings() };
        let standard = controller(Arm::Standard, &pinned, &start).plan();
        let mut adaptive = controller(Arm::Adaptive, &pinned, &start);
        for seen in &seen {
            adaptive.observe(seen);
            prop_assert_eq!(Plan { sample_after: None, ..adaptive.plan() }, standard);
        }
    }
}
