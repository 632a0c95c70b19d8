//! Every metric of the server, in one struct.
//!
//! Own names are `hfs_<noun>_<unit>[_total]`; the original server's names stand beside them, so that its dashboards go
//! on working. Counters get their `_total` from the encoder: registered without it, exposed with it. Every series is
//! there from the first scrape. Answers of `/metrics` are [`Metrics::encode`] with [`CONTENT_TYPE`].

mod by_arm;
mod in_flight;
mod register;
#[cfg(test)]
mod tests;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hfs_core::ByteSize;
use hfs_core::auth::Proof;
use hfs_core::pace::{self, Arm};
use hfs_core::profile::{Quality, Vantage};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use self::by_arm::ByArm;
pub use self::in_flight::InFlight;
use self::register::{add, family, histogram, pairs, register, unknown};
use super::labels::{
    AuthOutcome, Direction, Method, ProofLabel, ReloadOutcome, StatusClass, TransferOutcome, UploadRefusal,
};

/// `Content-Type` of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Seconds, from a cached thumbnail to a film over a phone.
const DURATIONS: [f64; 15] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0, 900.0, 3600.0];

/// Bytes: 1 KiB to 10 GiB.
const SIZES: [f64; 12] = [
    1024.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    1_073_741_824.0,
    4_294_967_296.0,
    10_737_418_240.0,
];

/// Ratios around one.
const GAINS: [f64; 9] = [0.1, 0.25, 0.5, 0.8, 1.0, 1.25, 2.0, 4.0, 10.0];

/// What the server counts. Shared as an `Arc`; every method is cheap and takes `&self`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Uploads that ended with 201 (the original's name).
    pub uploads: Counter,
    /// Uploads that were refused or ended otherwise (the original's name).
    pub upload_errors: Counter,
    /// Downloads sent completely (the original's name).
    pub downloads: Counter,
    /// Downloads that broke off (the original's name).
    pub download_errors: Counter,
    /// Time from head to 201 (the original's name, wider buckets).
    pub upload_duration: Histogram,
    /// Time from head to last byte (the original's name, wider buckets).
    pub download_duration: Histogram,
    /// Size of complete uploads (the original's name, buckets that fit).
    pub upload_size: Histogram,
    /// Bytes of complete downloads (the original's name, buckets that fit).
    pub download_size: Histogram,
    /// Requests being handled (the original's name, which promises connections and a counter, and is neither).
    pub active_requests: Gauge,
    /// Open connections.
    pub connections: Gauge,
    /// Connections refused before any request.
    pub connections_rejected: Counter,
    /// Connections closed at once, since their client held its share.
    pub connections_crowded: Counter,
    /// Answered requests.
    pub requests: Family<RequestLabels, Counter>,
    by_arm: ByArm,
    /// Uploads refused, by reason.
    pub upload_refusals: Family<RefusalLabels, Counter>,
    /// Proofs checked.
    pub auth: Family<AuthLabels, Counter>,
    /// Body bytes received, added when the transfer ends.
    pub received_bytes: Counter,
    /// Body bytes sent, added when the transfer ends.
    pub sent_bytes: Counter,
    /// Free bytes on the store; not a number until first measured, since zero would raise alarms.
    pub store_free: Gauge<f64, AtomicU64>,
    /// Bytes of `max_memory_usage` that no transfer holds.
    pub memory_free: Gauge,
    /// Configuration reloads.
    pub config_reloads: Family<ReloadLabels, Counter>,
    /// 1 while the clock is not believed, and nothing that expires is removed.
    pub janitor_paused: Gauge,
    /// Expired blobs that the janitor removed.
    pub janitor_removed: Counter,
    /// Commits of the metadata; hand a clone to [`SqliteMeta::open_counted`](crate::meta::sqlite::SqliteMeta).
    pub meta_commits: Counter,
    /// Log lines lost while their destination hung.
    pub log_lines_lost: Counter,
    /// Time from head to 201 in the adaptive arm (the mission's name).
    pub adaptive_upload_duration: Histogram,
    /// Uploads of the adaptive arm that broke off (the mission's name).
    pub adaptive_upload_errors: Counter,
    /// Time from head to last byte in the adaptive arm.
    pub adaptive_download_duration: Histogram,
    /// Downloads of the adaptive arm that broke off.
    pub adaptive_download_errors: Counter,
    /// Changes of a step or write size (the mission's name).
    pub adaptive_optimizations: Counter,
    /// Rate of an adaptive transfer over that of the standard path's like it, where those are known (the mission's
    /// name).
    pub adaptive_gains: Histogram,
    /// Changes of a connection's congestion control.
    pub congestion_switches: Counter,
    /// Body bytes that were moved inside the kernel.
    pub zero_copy_bytes: Family<DirectionLabels, Counter>,
    /// Sweeps of the store for what crashes left.
    pub sweep_runs: Counter,
    /// Temporaries without an owner, removed.
    pub sweep_temporaries: Counter,
    /// Published files without a row, removed.
    pub sweep_leftovers: Counter,
}

/// Labels of `hfs_requests_total`.
#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct RequestLabels {
    method: Method,
    status: StatusClass,
}

/// Labels of `hfs_upload_refusals_total`.
#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct RefusalLabels {
    reason: UploadRefusal,
}

/// Labels of `hfs_auth_total`.
#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct AuthLabels {
    proof: ProofLabel,
    outcome: AuthOutcome,
}

/// Labels of `hfs_zero_copy_bytes_total`.
#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct DirectionLabels {
    direction: Direction,
}

/// Labels of `hfs_config_reloads_total`.
#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct ReloadLabels {
    outcome: ReloadOutcome,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct BuildLabels {
    version: &'static str,
}

impl Metrics {
    /// All metrics, at zero.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a second set would count into nowhere: made once, on purpose")]
    pub fn new() -> Self {
        let mut r = Registry::default();
        r.register("hfs_build", "Version of the server", Info::new(BuildLabels { version: env!("CARGO_PKG_VERSION") }));
        Self {
            uploads: add(&mut r, "uploads", "Uploads stored"),
            upload_errors: add(&mut r, "upload_errors", "Uploads refused, broken off or failed"),
            downloads: add(&mut r, "downloads", "Downloads sent completely"),
            download_errors: add(&mut r, "download_errors", "Downloads broken off or failed"),
            upload_duration: histogram(&mut r, "upload_duration_seconds", "Duration of stored uploads", &DURATIONS),
            download_duration: histogram(
                &mut r,
                "download_duration_seconds",
                "Duration of complete downloads",
                &DURATIONS,
            ),
            upload_size: histogram(&mut r, "upload_size_bytes", "Size of stored uploads", &SIZES),
            download_size: histogram(&mut r, "download_size_bytes", "Bytes sent by complete downloads", &SIZES),
            active_requests: add(&mut r, "active_connections_total", "Requests being handled"),
            connections: add(&mut r, "hfs_connections", "Open connections"),
            connections_rejected: add(
                &mut r,
                "hfs_connections_rejected",
                "Connections refused before any request: broken TLS, a malformed PROXY header",
            ),
            connections_crowded: add(
                &mut r,
                "hfs_connections_crowded",
                "Connections closed at once: their client holds its share",
            ),
            requests: family(
                &mut r,
                "hfs_requests",
                "Requests answered",
                pairs(Method::ALL, StatusClass::ALL, |method, status| RequestLabels { method, status }),
            ),
            by_arm: ByArm::new(&mut r),
            upload_refusals: family(
                &mut r,
                "hfs_upload_refusals",
                "Uploads refused",
                UploadRefusal::ALL.iter().map(|&reason| RefusalLabels { reason }),
            ),
            auth: family(
                &mut r,
                "hfs_auth",
                "Proofs checked",
                pairs(ProofLabel::ALL, AuthOutcome::ALL, |proof, outcome| AuthLabels { proof, outcome }),
            ),
            received_bytes: add(&mut r, "hfs_received_bytes", "Body bytes received"),
            sent_bytes: add(&mut r, "hfs_sent_bytes", "Body bytes sent"),
            store_free: register(&mut r, "hfs_store_free_bytes", "Free bytes on the store", unknown()),
            memory_free: add(&mut r, "hfs_memory_free_bytes", "Bytes of max_memory_usage that no transfer holds"),
            config_reloads: family(
                &mut r,
                "hfs_config_reloads",
                "Configuration reloads",
                ReloadOutcome::ALL.iter().map(|&outcome| ReloadLabels { outcome }),
            ),
            janitor_paused: add(
                &mut r,
                "hfs_janitor_paused",
                "1 while the clock is not believed and nothing is removed",
            ),
            janitor_removed: add(&mut r, "hfs_janitor_removed", "Expired files removed"),
            meta_commits: add(&mut r, "hfs_meta_commits", "Commits of the metadata"),
            log_lines_lost: add(&mut r, "hfs_log_lines_lost", "Log lines lost while their destination hung"),
            adaptive_upload_duration: histogram(
                &mut r,
                "adaptive_upload_duration_seconds",
                "Duration of stored uploads in the adaptive arm",
                &DURATIONS,
            ),
            adaptive_upload_errors: add(
                &mut r,
                "adaptive_upload_errors",
                "Uploads broken off or failed in the adaptive arm",
            ),
            adaptive_download_duration: histogram(
                &mut r,
                "adaptive_download_duration_seconds",
                "Duration of complete downloads in the adaptive arm",
                &DURATIONS,
            ),
            adaptive_download_errors: add(
                &mut r,
                "adaptive_download_errors",
                "Downloads broken off or failed in the adaptive arm",
            ),
            adaptive_optimizations: add(
                &mut r,
                "adaptive_buffer_optimizations",
                "Changes of a transfer's step or write size, and of what transfers begin with",
            ),
            adaptive_gains: histogram(
                &mut r,
                "adaptive_performance_gains",
                "Rate of an adaptive transfer over that of the standard path's of the same direction, quality and size",
                &GAINS,
            ),
            congestion_switches: add(&mut r, "hfs_congestion_switches", "Changes of a connection's congestion control"),
            zero_copy_bytes: family(
                &mut r,
                "hfs_zero_copy_bytes",
                "Body bytes moved inside the kernel",
                Direction::ALL.iter().map(|&direction| DirectionLabels { direction }),
            ),
            sweep_runs: add(&mut r, "hfs_sweep_runs", "Sweeps for what crashes left"),
            sweep_temporaries: add(&mut r, "hfs_sweep_temporaries_removed", "Temporaries without an owner removed"),
            sweep_leftovers: add(&mut r, "hfs_sweep_leftovers_removed", "Files without a row removed"),
            registry: r,
        }
    }

    /// All of it in the OpenMetrics text format; send it as [`CONTENT_TYPE`].
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(16 << 10);
        text::encode(&mut text, &self.registry).expect("writing to a String cannot fail");
        text
    }

    /// A flow moved `bytes` inside the kernel.
    pub fn zero_copied(&self, direction: pace::Direction, bytes: u64) {
        if bytes > 0 {
            self.zero_copy_bytes.get_or_create(&DirectionLabels { direction: direction.into() }).inc_by(bytes);
        }
    }

    /// A flow that moved enough to judge its path has ended.
    pub fn flow_ended(&self, direction: pace::Direction, arm: Arm, quality: Quality, vantage: Vantage, bytes: u64) {
        self.by_arm.flow_ended(direction, arm, quality, vantage, bytes);
    }

    /// An upload whose body was begun has ended; `bytes` were received. The adaptive arm counts in both sets of names.
    pub fn upload_finished(&self, arm: Arm, outcome: TransferOutcome, bytes: u64, elapsed: Duration) {
        if arm == Arm::Adaptive {
            finished(&self.adaptive_upload_duration, &self.adaptive_upload_errors, outcome, elapsed);
        }
        self.by_arm.ended(Direction::Upload, arm, outcome, bytes, elapsed);
        self.received_bytes.inc_by(bytes);
        if outcome == TransferOutcome::Complete {
            self.uploads.inc();
            self.upload_duration.observe(elapsed.as_secs_f64());
            self.upload_size.observe(bytes as f64);
        } else {
            self.upload_errors.inc();
        }
    }

    /// A download has ended; `bytes` were sent. The adaptive arm counts in both sets of names.
    pub fn download_finished(&self, arm: Arm, outcome: TransferOutcome, bytes: u64, elapsed: Duration) {
        if arm == Arm::Adaptive {
            finished(&self.adaptive_download_duration, &self.adaptive_download_errors, outcome, elapsed);
        }
        self.by_arm.ended(Direction::Download, arm, outcome, bytes, elapsed);
        self.sent_bytes.inc_by(bytes);
        if outcome == TransferOutcome::Complete {
            self.downloads.inc();
            self.download_duration.observe(elapsed.as_secs_f64());
            self.download_size.observe(bytes as f64);
        } else {
            self.download_errors.inc();
        }
    }

    /// An upload was refused. Not for those that [`Metrics::upload_finished`] counts.
    pub fn upload_refused(&self, reason: UploadRefusal) {
        self.upload_errors.inc();
        self.upload_refusals.get_or_create(&RefusalLabels { reason }).inc();
    }

    /// A proof was checked, or missed.
    pub fn proof_checked(&self, proof: Option<Proof>, outcome: AuthOutcome) {
        self.auth.get_or_create(&AuthLabels { proof: ProofLabel(proof), outcome }).inc();
    }

    /// A request was answered.
    pub fn request_answered(&self, method: Method, status: StatusClass) {
        self.requests.get_or_create(&RequestLabels { method, status }).inc();
    }

    /// The configuration was read again.
    pub fn config_reloaded(&self, outcome: ReloadOutcome) {
        self.config_reloads.get_or_create(&ReloadLabels { outcome }).inc();
    }

    /// Free bytes were measured.
    pub fn set_store_free(&self, free: ByteSize) {
        self.store_free.set(free.as_u64() as f64);
    }

    /// What transfers leave of their memory was looked at.
    pub fn set_memory_free(&self, free: usize) {
        self.memory_free.set(i64::try_from(free).unwrap_or(i64::MAX));
    }

    /// A request is being handled until the guard is dropped.
    pub fn request_started(&self) -> InFlight {
        InFlight::new(&self.active_requests)
    }
}

fn finished(duration: &Histogram, errors: &Counter, outcome: TransferOutcome, elapsed: Duration) {
    if outcome == TransferOutcome::Complete {
        duration.observe(elapsed.as_secs_f64());
    } else {
        errors.inc();
    }
}
