//! The path of one DELETE: only Metronome's token may.

use hfs_core::SlotPath;
use hfs_core::auth::{self, BodyLength, Denied, Head};
use tracing::error;

use crate::app::App;
use crate::clock;
use crate::meta::{Entry, Farewell, MetaError, Tombstone};
use crate::storage::StoreError;

/// Why a DELETE did not end in 204.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// No proof, or a bad one.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Nothing was ever stored there.
    #[error("no such file")]
    Missing,
    /// The disk did not answer; the file may be gone or not.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The row could not be changed.
    #[error(transparent)]
    Meta(#[from] MetaError),
}

/// Removes the file of `slot` for ever; one that is already gone is success.
///
/// # Errors
/// Nothing was removed.
pub async fn delete(app: &App, slot: &SlotPath, query: Option<&str>) -> Result<(), DeleteError> {
    let config = app.config();
    let head = Head { slot, query, authorization: None, content_type: None, length: BodyLength::Unknown };
    let deletion = auth::authorize_delete(&head, &config.keys)?;
    match app.meta().lookup(deletion.slot()).await? {
        None => return Err(DeleteError::Missing),
        Some(Entry::Gone(_)) => return Ok(()),
        Some(Entry::Live(_)) => {}
    }
    let tombstone = Tombstone { at: clock::now(), reason: Farewell::Deleted };
    let deadline = config.storage.io_deadline;
    let burial = tokio::time::timeout(deadline, app.meta().bury(deletion.slot(), tombstone)).await;
    let buried = burial.map_err(|_| StoreError::Slow { action: "record the deletion", deadline })?;
    if let Some(record) = buried?
        && let Err(failure) = app.store().remove(&record.place).await
    {
        // Invisible from the moment the tombstone is durable; `check --storage` names the leftover.
        error!(%slot, error = %failure, "The file of a deleted slot stays on disk");
    }
    Ok(())
}
