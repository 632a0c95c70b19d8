//! The path of one DELETE: only Metronome's token may.

use hfs_core::SlotPath;
use hfs_core::auth::{self, BodyLength, Denied, Head};

use crate::app::{App, BuryError};
use crate::meta::{Entry, Farewell, MetaError};

/// Why a DELETE did not end in 204.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// No proof, or a bad one.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Nothing was ever stored there.
    #[error("no such file")]
    Missing,
    /// The row could not be read.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// The file could not be removed, or nobody knows whether it was.
    #[error(transparent)]
    Bury(#[from] BuryError),
}

/// Removes the file of `slot` for ever; one that is already gone is success.
///
/// # Errors
/// Nothing was removed.
pub async fn delete(app: &App, slot: &SlotPath, query: Option<&str>) -> Result<(), DeleteError> {
    let config = app.config();
    let head = Head { slot, query, authorization: None, content_type: None, length: BodyLength::Unknown };
    let deletion = auth::authorize_delete(&head, &config.keys)?;
    loop {
        match app.meta().lookup(deletion.slot()).await? {
            None => return Err(DeleteError::Missing),
            Some(Entry::Gone(_)) => return Ok(()),
            // One that takes the place of another meanwhile is meant, too.
            Some(Entry::Live(record)) if !app.bury(&record, Farewell::Deleted).await? => {}
            Some(Entry::Live(_)) => return Ok(()),
        }
    }
}
