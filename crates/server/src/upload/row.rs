//! [`Row`]: what an upload writes once its bytes are durable.

use hfs_core::auth::Grant;
use hfs_core::{BlobId, Timestamp, media};
use tracing::warn;

use super::ingest::Stored;
use crate::meta::{Integrity, MetaError, MetaStore, Record, Recorded};
use crate::storage::Published;

/// The row of a new blob, and the blob whose row it takes the place of.
pub(super) struct Row {
    record: Record,
    lost: Option<BlobId>,
}

impl Row {
    pub(super) fn new(grant: &Grant, stored: Stored, published: &Published, now: Timestamp) -> Self {
        let record = Record {
            id: stored.id,
            slot: grant.slot().clone(),
            place: published.place.clone(),
            size: stored.size,
            media_type: media_type(grant),
            owner: grant.owner().cloned(),
            stored_at: now,
            expires: grant.expires(),
            integrity: published.digest.map_or(Integrity::Written, Integrity::Digested),
            proof: Some(grant.proof()),
        };
        Self { record, lost: None }
    }

    /// For bytes that take the place of those that were lost. What the old row promised (its type, whose it is, how
    /// long it lasts) holds; the id is another, since without a digest nobody can tell whether the bytes are the same.
    pub(super) fn instead_of(self, lost: Record) -> Self {
        let Record { id, media_type, owner, expires, integrity: known, .. } = lost;
        // Where a digest was known, these bytes have been compared with it.
        let integrity = if matches!(known, Integrity::Digested(_)) { known } else { self.record.integrity };
        Self { record: Record { media_type, owner, expires, integrity, ..self.record }, lost: Some(id) }
    }

    pub(super) async fn write(self, meta: &dyn MetaStore) -> Result<Recorded, MetaError> {
        let Some(lost) = self.lost else { return meta.record(self.record).await };
        let (slot, blob) = (self.record.slot.clone(), self.record.id);
        let recorded = meta.replace(lost, self.record).await?;
        if recorded == Recorded::Inserted {
            warn!(%slot, %lost, %blob, "A file that was missing is stored again");
        }
        Ok(recorded)
    }
}

/// The signed or declared type that the grant found fit to keep, else what the name says.
fn media_type(grant: &Grant) -> String {
    grant.media_type().unwrap_or_else(|| media::type_of_name(grant.slot().file_name())).to_owned()
}
