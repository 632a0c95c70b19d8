//! [`Report`]: how one benchmark went, as JSON.

use std::time::Duration;

use hfs_core::ByteSize;
use hfs_core::pace::{Arm, Congestion, Direction, Lane, PathSample, Plan, Snapshot};
use hfs_core::profile::{Evidence, Guess, Quality};
use serde_json::{Value, json};

/// How one benchmark went.
#[derive(Clone, Debug)]
pub struct Report {
    /// The request's id, which its answer names too.
    pub request: String,
    /// Which way.
    pub direction: Direction,
    /// The arm that was taken: standard, where the configuration says so.
    pub arm: Arm,
    /// What moved.
    pub bytes: ByteSize,
    /// From the request's head to the last byte; for an upload until it is durable.
    pub elapsed: Duration,
    /// CPU time of the whole process meanwhile, whatever else it did.
    pub cpu: Duration,
    /// Whether all of it moved.
    pub is_complete: bool,
    /// What it began with.
    pub first: Plan,
    /// What it ended with.
    pub last: Plan,
    /// What was learnt of the path.
    pub path: Snapshot,
    /// How good the path was.
    pub quality: Quality,
    /// What link was guessed.
    pub guess: Guess,
}

impl Report {
    /// As the administrator reads it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let seconds = self.elapsed.as_secs_f64();
        json!({
            "request": self.request,
            "direction": self.direction.as_str(),
            "arm": self.arm.as_str(),
            "complete": self.is_complete,
            "bytes": self.bytes.as_u64(),
            "seconds": seconds,
            "bytes_per_second": self.bytes.as_u64() as f64 / seconds.max(1e-9),
            "process_cpu_seconds": self.cpu.as_secs_f64(),
            "quality": self.quality.as_str(),
            "path": path(&self.path),
            "evidence": Evidence::of(&self.path).names().collect::<Vec<_>>(),
            "link": { "name": self.guess.link.as_str(), "confidence": self.guess.confidence },
            "plans": { "first": plan(&self.first), "last": plan(&self.last) },
        })
    }
}

fn plan(plan: &Plan) -> Value {
    json!({
        "lane": match plan.lane {
            Lane::Buffered => "buffered",
            Lane::Stepwise => "stepwise",
            Lane::ZeroCopy => "zero-copy",
        },
        "step": plan.step,
        "write": plan.write,
        "preallocate": plan.preallocate,
        "write_back": plan.write_back,
        "congestion": plan.congestion.map(Congestion::as_str),
        "paced": plan.is_paced,
        "unsent": plan.unsent,
        "window": plan.window,
        "stall": {
            "idle_seconds": plan.stall.idle.as_secs_f64(),
            "window_seconds": plan.stall.window.as_secs_f64(),
            "min_bytes_per_second": plan.stall.min_rate,
        },
        "sample_after_seconds": plan.sample_after.map(|after| after.as_secs_f64()),
    })
}

/// `null` where the connection shows nothing: behind a proxy, and in the standard arm, which takes no samples.
fn path(path: &Snapshot) -> Value {
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    json!({
        "bytes_per_second": path.rate,
        "rtt_seconds": seconds(path.rtt),
        "min_rtt_seconds": seconds(path.min_rtt),
        "jitter_seconds": seconds(path.jitter),
        "loss": path.loss,
        "samples": path.samples,
        "last": path.last.as_ref().map(sample),
    })
}

fn sample(sample: &PathSample) -> Value {
    json!({
        "rtt_seconds": sample.rtt.as_secs_f64(),
        "rtt_variation_seconds": sample.rtt_var.as_secs_f64(),
        "delivery_bytes_per_second": sample.delivery_rate,
        "window_segments": sample.window,
        "segment_bytes": sample.mss,
        "retransmits": sample.retransmits,
        "bytes_retransmitted": sample.bytes_retransmitted,
        "congestion": sample.congestion.map(Congestion::as_str),
        "paced": sample.is_paced,
        "subflows": sample.subflows,
    })
}
