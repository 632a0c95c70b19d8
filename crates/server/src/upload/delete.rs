//! The path of one DELETE: only Metronome's token may.

use std::sync::Arc;

use hfs_core::SlotPath;
use hfs_core::auth::{self, BodyLength, Denied, Head};
use tracing::error;

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
    /// The task that removes the file died; nobody knows whether it was removed.
    #[error("the removing task ended early")]
    Aborted,
}

/// Removes the file of `slot` for ever; one that is already gone is success.
///
/// Dropping the future ends no removal that has begun: it may have used up the reserve, and must take it back.
///
/// # Errors
/// Nothing was removed.
pub async fn delete(app: &Arc<App>, slot: &SlotPath, query: Option<&str>) -> Result<(), DeleteError> {
    let config = app.config();
    let head = Head { slot, query, authorization: None, content_type: None, length: BodyLength::Unknown };
    let deletion = auth::authorize_delete(&head, &config.keys)?;
    let removal = remove(Arc::clone(app), deletion.slot().clone());
    tokio::spawn(removal).await.unwrap_or_else(|death| {
        error!(error = %death, "The removing task died");
        Err(DeleteError::Aborted)
    })
}

async fn remove(app: Arc<App>, slot: SlotPath) -> Result<(), DeleteError> {
    loop {
        match app.meta().lookup(&slot).await? {
            None => return Err(DeleteError::Missing),
            Some(Entry::Gone(_)) => return Ok(()),
            // One that takes the place of another meanwhile is meant, too.
            Some(Entry::Live(record)) if !app.bury(&record, Farewell::Deleted).await? => {}
            Some(Entry::Live(_)) => return Ok(()),
        }
    }
}
