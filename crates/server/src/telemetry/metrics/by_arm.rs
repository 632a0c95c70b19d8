//! [`ByArm`]: what transfers did by arm, so that the two can be compared.
//!
//! Size classes are those within which rates are comparable, as for `adaptive_performance_gains`. What a transfer's size
//! was is what it moved: an aborted one counts by what came until then.

use std::time::Duration;

use hfs_core::pace::{self, Arm};
use hfs_core::profile::{Quality, Vantage};
use hfs_core::tune::SizeClass;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::register::{family, register};
use crate::telemetry::labels::{ArmLabel, Direction, QualityLabel, SizeLabel, TransferOutcome, VantageLabel};

/// Seconds: few, since there is one set of them for every direction, arm and size.
const DURATIONS: [f64; 7] = [0.01, 0.1, 0.5, 2.5, 10.0, 60.0, 600.0];

/// Transfers by direction, arm and size.
#[derive(Debug)]
pub(super) struct ByArm {
    transfers: Family<TransferLabels, Counter>,
    duration: Family<SortLabels, Histogram, fn() -> Histogram>,
    bytes: Family<SortLabels, Counter>,
    flows: Family<FlowLabels, Counter>,
}

/// Labels of `hfs_transfer_duration_seconds` and `hfs_transfer_bytes_total`.
#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct SortLabels {
    direction: Direction,
    arm: ArmLabel,
    size: SizeLabel,
}

/// Labels of `hfs_transfers_total`.
#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct TransferLabels {
    direction: Direction,
    outcome: TransferOutcome,
    arm: ArmLabel,
    size: SizeLabel,
}

/// Labels of `hfs_flows_total`.
#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct FlowLabels {
    direction: Direction,
    arm: ArmLabel,
    quality: QualityLabel,
    measured_at: VantageLabel,
    size: SizeLabel,
}

impl SortLabels {
    fn all() -> impl Iterator<Item = Self> {
        let sizes = |direction, arm| SizeLabel::ALL.iter().map(move |&size| Self { direction, arm, size });
        let arms = move |direction| ArmLabel::ALL.iter().flat_map(move |&arm| sizes(direction, arm));
        Direction::ALL.iter().flat_map(move |&direction| arms(direction))
    }
}

impl ByArm {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let transfers = SortLabels::all().flat_map(|SortLabels { direction, arm, size }| {
            let labels = move |&outcome| TransferLabels { direction, outcome, arm, size };
            TransferOutcome::ALL.iter().map(labels)
        });
        let flows = SortLabels::all().flat_map(|SortLabels { direction, arm, size }| {
            let of = move |&measured_at| {
                let labels = move |&quality| FlowLabels { direction, arm, quality, measured_at, size };
                QualityLabel::ALL.iter().map(labels)
            };
            VantageLabel::ALL.iter().flat_map(of)
        });
        let duration = Family::new_with_constructor((|| Histogram::new(DURATIONS)) as fn() -> Histogram);
        for labels in SortLabels::all() {
            drop(duration.get_or_create(&labels));
        }
        let told = "Duration of complete transfers by arm and size";
        Self {
            transfers: family(registry, "hfs_transfers", "Transfers ended", transfers),
            duration: register(registry, "hfs_transfer_duration_seconds", told, duration),
            bytes: family(registry, "hfs_transfer_bytes", "Body bytes of complete transfers", SortLabels::all()),
            flows: family(registry, "hfs_flows", "Transfers of at least 64 KiB that ended", flows),
        }
    }

    /// A transfer has ended that moved so many bytes.
    pub(super) fn ended(
        &self,
        direction: Direction,
        arm: Arm,
        outcome: TransferOutcome,
        bytes: u64,
        elapsed: Duration,
    ) {
        let (arm, size) = (arm.into(), SizeClass::of(bytes).into());
        self.transfers.get_or_create(&TransferLabels { direction, outcome, arm, size }).inc();
        if outcome == TransferOutcome::Complete {
            let labels = SortLabels { direction, arm, size };
            self.duration.get_or_create(&labels).observe(elapsed.as_secs_f64());
            self.bytes.get_or_create(&labels).inc_by(bytes);
        }
    }

    /// A flow has ended that moved enough to judge its path.
    pub(super) fn flow_ended(
        &self,
        direction: pace::Direction,
        arm: Arm,
        quality: Quality,
        vantage: Vantage,
        bytes: u64,
    ) {
        let labels = FlowLabels {
            direction: direction.into(),
            arm: arm.into(),
            quality: quality.into(),
            measured_at: vantage.into(),
            size: SizeClass::of(bytes).into(),
        };
        self.flows.get_or_create(&labels).inc();
    }
}
