//! How metrics come into the registry: each is made, registered, and handed back.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

pub(super) fn register<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

pub(super) fn add<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    register(registry, name, help, M::default())
}

pub(super) fn histogram(registry: &mut Registry, name: &str, help: &str, buckets: &[f64]) -> Histogram {
    register(registry, name, help, Histogram::new(buckets.iter().copied()))
}

pub(super) fn unknown() -> Gauge<f64, AtomicU64> {
    let gauge = Gauge::default();
    gauge.set(f64::NAN);
    gauge
}

/// A family with a series for each of `labels` from the start: a rate over a series that appears with its first event
/// misses that event.
pub(super) fn family<L>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    labels: impl Iterator<Item = L>,
) -> Family<L, Counter>
where
    L: Clone + std::hash::Hash + Eq + EncodeLabelSet + std::fmt::Debug + Send + Sync + 'static,
    Family<L, Counter>: EncodeMetric,
{
    let family = Family::<L, Counter>::default();
    for labels in labels {
        drop(family.get_or_create(&labels));
    }
    register(registry, name, help, family)
}

pub(super) fn pairs<A: Copy, B: Copy, L>(
    a: &'static [A],
    b: &'static [B],
    join: fn(A, B) -> L,
) -> impl Iterator<Item = L> {
    a.iter().flat_map(move |&a| b.iter().map(move |&b| join(a, b)))
}
