//! Which outcome counts as what: the map from handlers and connections to metrics. Exhaustive, as `respond` is.

use hfs_core::auth::{Denied, NotAdministrator, Proof};
use hfs_core::pace::Direction;
use http::StatusCode;

use super::context::Context;
use crate::app::App;
use crate::meta::MetaError;
use crate::net::ConnectionEvents;
use crate::storage::StoreError;
use crate::storage::sweep::{Reach, Swept};
use crate::telemetry::labels::{AuthOutcome, StatusClass, TransferOutcome, UploadRefusal};
use crate::telemetry::metrics::Metrics;
use crate::upload::PutError;

/// Counts one PUT of `context`.
pub(super) fn upload(app: &App, outcome: Result<(), &PutError>, context: &Context) {
    let metrics = app.metrics();
    let finished = |outcome| {
        let arm = context.arm(app.engine(), Direction::Upload);
        metrics.upload_finished(arm, outcome, context.received(), context.elapsed());
    };
    let Err(failure) = outcome else {
        return finished(TransferOutcome::Complete);
    };
    match failure {
        PutError::Path(_) | PutError::Outside { .. } => metrics.upload_refused(UploadRefusal::Path),
        PutError::Form(_) => metrics.upload_refused(UploadRefusal::Form),
        PutError::Denied(denied) => metrics.upload_refused(refusal_of(*denied)),
        PutError::Refused(refusal) => metrics.upload_refused(refusal.into()),
        PutError::Taken | PutError::Gone => metrics.upload_refused(UploadRefusal::Taken),
        PutError::OtherLength { .. } => metrics.upload_refused(UploadRefusal::OtherSize),
        PutError::Stalled { .. } => finished(TransferOutcome::Stalled),
        PutError::Body(_) => finished(TransferOutcome::Aborted),
        PutError::Store(StoreError::Full { .. }) | PutError::Meta(MetaError::Full { .. }) => {
            metrics.upload_refused(UploadRefusal::NoSpace);
        }
        PutError::Crowded | PutError::Store(StoreError::Busy { .. }) | PutError::Meta(MetaError::Busy) => {
            metrics.upload_refused(UploadRefusal::Busy);
        }
        PutError::Store(StoreError::Slow { .. } | StoreError::Io { .. } | StoreError::Missing { .. })
        | PutError::Meta(MetaError::Unavailable { .. } | MetaError::Backend { .. })
        | PutError::Damaged
        | PutError::Aborted => finished(TransferOutcome::Failed),
    }
}

fn refusal_of(denied: Denied) -> UploadRefusal {
    match denied {
        Denied::Missing | Denied::BadSignature(_) | Denied::BadBearer(_) | Denied::OtherSlot | Denied::Malformed(_) => {
            UploadRefusal::Proof
        }
        Denied::Expired | Denied::Gone => UploadRefusal::Expired,
        Denied::LengthRequired => UploadRefusal::LengthRequired,
    }
}

/// Counts one check of a proof.
pub(crate) fn proof(metrics: &Metrics, outcome: Result<Proof, Denied>) {
    let denied = match outcome {
        Ok(proof) => return metrics.proof_checked(Some(proof), AuthOutcome::Accepted),
        Err(denied) => denied,
    };
    let (proof, outcome) = match denied {
        Denied::Missing => (None, AuthOutcome::Missing),
        Denied::BadSignature(proof) => (Some(proof), AuthOutcome::Forged),
        Denied::BadBearer(_) => (Some(Proof::FileShare), AuthOutcome::Forged),
        Denied::OtherSlot => (Some(Proof::FileShare), AuthOutcome::Malformed),
        Denied::Expired => (Some(Proof::V3), AuthOutcome::Expired),
        Denied::Gone => (Some(Proof::FileShare), AuthOutcome::Expired),
        Denied::LengthRequired | Denied::Malformed(_) => (None, AuthOutcome::Malformed),
    };
    metrics.proof_checked(proof, outcome);
}

/// Counts one check of the administrator's token.
pub(crate) fn administrator(metrics: &Metrics, outcome: Result<(), NotAdministrator>) {
    let outcome = match outcome {
        Ok(()) => AuthOutcome::Accepted,
        Err(NotAdministrator::Missing) => AuthOutcome::Missing,
        Err(NotAdministrator::Wrong) => AuthOutcome::Forged,
    };
    metrics.proof_checked(Some(Proof::Admin), outcome);
}

impl Metrics {
    /// A sweep of the store ended. One that did not look for all is no run.
    pub fn swept(&self, swept: &Swept, reach: Reach) {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        self.sweep_runs.inc_by(u64::from(reach == Reach::Tree));
        self.sweep_temporaries.inc_by(count(swept.orphans + swept.settled));
        self.sweep_leftovers.inc_by(count(swept.retracted));
    }
}

impl ConnectionEvents for Metrics {
    fn opened(&self) {
        self.connections.inc();
    }

    fn closed(&self) {
        self.connections.dec();
    }

    fn rejected(&self) {
        self.connections_rejected.inc();
    }

    fn crowded(&self) {
        self.connections_crowded.inc();
    }

    fn refused(&self, status: StatusCode) {
        // The head was not understood, so neither was the method.
        self.request_answered("".into(), StatusClass::from(status.as_u16()));
    }
}
