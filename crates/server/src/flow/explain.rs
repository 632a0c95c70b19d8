//! [`Explainer`]: what plans do, in the log: one line for each change, with what was seen and why.
//!
//! Off unless `optimization_logging` or `detailed_logging` asks for it.

use std::fmt::Display;
use std::net::IpAddr;

use hfs_core::pace::{Congestion, Direction, Snapshot};
use hfs_core::profile::{Evidence, Lesson, Profile, Quality};
use tracing::{field, info};

use crate::telemetry::RequestId;

/// Explains one transfer: its lines name the request, as the line at its end does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Explainer {
    pub(super) request: RequestId,
    /// The client's network.
    pub(super) client: Option<IpAddr>,
    /// `detailed_logging`: also what plans follow.
    pub(super) is_detailed: bool,
}

impl Explainer {
    /// A lever moved.
    pub(crate) fn plan_changed(&self, lever: &str, from: impl Display, to: impl Display, because: impl Display) {
        let (from, to, because) = (from.to_string(), to.to_string(), because.to_string());
        info!(request = %self.request, lever, from, to, because, client = self.client.map(field::display), "Plan changed");
    }

    /// The path was looked at.
    pub(super) fn path_seen(&self, direction: Direction, seen: &Snapshot) {
        let Some(last) = seen.last.filter(|_| self.is_detailed) else { return };
        info!(
            request = %self.request, client = self.client.map(field::display), direction = direction.as_str(), rate = seen.rate, rtt_us = last.rtt.as_micros(),
            min_rtt_us = seen.min_rtt.map(|rtt| rtt.as_micros()), jitter_us = last.rtt_var.as_micros(), loss = seen.loss,
            unqueued_loss = seen.unqueued_loss, delivery_rate = last.delivery_rate, window = last.window,
            congestion = last.congestion.map(Congestion::as_str), evidence = ?names(seen), "Path looked at"
        );
    }
}

/// What a transfer taught, and what is known of its client then.
pub(super) fn learnt(
    request: RequestId,
    client: Option<IpAddr>,
    quality: Quality,
    lesson: &Lesson,
    known: Option<&Profile>,
) {
    let (seen, link) = (&lesson.snapshot, lesson.guess);
    let known_rate = known.and_then(|known| known.expected(lesson.direction).rate);
    info!(
        %request, client = client.map(field::display), direction = lesson.direction.as_str(), measured_at = lesson.vantage.as_str(), quality = quality.as_str(), rate = seen.rate,
        min_rtt_us = seen.min_rtt.map(|rtt| rtt.as_micros()), jitter_us = seen.jitter.map(|jitter| jitter.as_micros()),
        loss = seen.loss, transfers = known.map(|known| known.transfers), known_rate, breaks = known.map(|known| known.breaks), evidence = ?names(seen), link = link.link.as_str(),
        confidence = link.confidence, "Learnt about a client"
    );
}

fn names(seen: &Snapshot) -> Vec<&'static str> {
    Evidence::of(seen).names().collect()
}
