//! [`InFlight`]: a gauge that is right however the thing that it counts ends.

use prometheus_client::metrics::gauge::Gauge;

/// Something that is going on; counted until dropped.
#[derive(Debug)]
pub struct InFlight(Gauge);

impl InFlight {
    pub(super) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
