//! A link in a few lines: a rate, a round trip, loss, a queue; no packets.

use std::time::Duration;

use crate::pace::{Congestion, Controller, Observation, PathSample};

/// The path from the server to a client, as the formulas have it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// Bytes per second.
    pub(super) rate: u64,
    pub(super) rtt: Duration,
    /// Share of the segments that are lost at random.
    pub(super) loss: f64,
    /// What stands in the bottleneck's queue.
    pub(super) queue: Duration,
}

impl Default for Link {
    /// 100 Mbit/s and 40 ms, clean.
    fn default() -> Self {
        Self { rate: 12_500_000, rtt: ms(40), loss: 0.0, queue: Duration::ZERO }
    }
}

pub(super) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const MSS: u64 = 1448;

impl Link {
    /// What a congestion control gets out of it: cubic by the square-root law (Mathis 1997), BBR nearly all.
    fn goodput(&self, congestion: Option<Congestion>) -> f64 {
        let full = self.rate as f64 * (1.0 - self.loss);
        match congestion {
            Some(Congestion::Bbr) => full * 0.95,
            _ if self.loss == 0.0 => full,
            _ => full.min(MSS as f64 / self.rtt.as_secs_f64() * 1.22 / self.loss.sqrt()),
        }
    }

    /// Drives `controller` for `span`; returns the bytes that moved.
    pub(super) fn run(&self, controller: &mut dyn Controller, span: Duration) -> u64 {
        let mut at = Duration::ZERO;
        self.run_from(controller, &mut at, span)
    }

    /// The same from `at` on, which moves along.
    pub(super) fn run_from(&self, controller: &mut dyn Controller, at: &mut Duration, span: Duration) -> u64 {
        const TICK: Duration = Duration::from_millis(50);
        let end = *at + span;
        let (mut total, mut sampled) = (0, *at);
        while *at < end {
            *at += TICK;
            let plan = controller.plan();
            let moved = (self.goodput(plan.congestion) * TICK.as_secs_f64()) as u64;
            total += moved;
            let is_due = plan.sample_after.is_some_and(|after| *at >= sampled + after);
            let path = is_due.then(|| self.sample(*at, plan.congestion));
            if is_due {
                sampled = *at;
            }
            controller.observe(&Observation { now: *at, moved, filled: true, is_app_limited: false, path });
        }
        total
    }

    /// The counters of a connection that has run at this link's rate all the time.
    fn sample(&self, at: Duration, congestion: Option<Congestion>) -> PathSample {
        // Counted at one rate whatever happened before: counters must not run backwards when the choice changes.
        let segments = (at.as_millis() as u64) * 2;
        PathSample {
            rtt: self.rtt + self.queue,
            rtt_var: self.rtt / 8,
            min_rtt: Some(self.rtt),
            delivery_rate: Some(self.goodput(congestion) as u64),
            window: 10,
            mss: MSS as u32,
            segments_out: Some(segments),
            retransmits: LOST.with(|lost| {
                let (before, sum) = lost.get();
                let sum = sum + segments.saturating_sub(before) as f64 * self.loss;
                lost.set((segments, sum));
                sum as u64
            }),
            subflows: 1,
            ..PathSample::default()
        }
    }
}

thread_local! {
    /// Segments counted so far on this test's connection, and how many of them were lost.
    static LOST: std::cell::Cell<(u64, f64)> = const { std::cell::Cell::new((0, 0.0)) };
}
