//! [`is_recorded`]: whether a file of the tree is a row's. For whoever removes or judges what lies there.

use std::path::Path;

use hfs_core::BlobId;

use super::adopt::slot_of;
use crate::meta::{Entry, MetaError, MetaStore, Record};

/// Whether a live row says that the file at this path below the root is its. `None`: no row could.
///
/// # Errors
/// The rows cannot be asked.
pub(super) async fn is_recorded(meta: &dyn MetaStore, path: &Path) -> Result<Option<bool>, MetaError> {
    let is_place = |record: &Record| Path::new(record.place.as_str()) == path;
    if let Some(id) = id_of(path) {
        return Ok(Some(meta.find(id).await?.is_some_and(|record| is_place(&record))));
    }
    let Ok(slot) = slot_of(path) else { return Ok(None) };
    let entry = meta.lookup(&slot).await?;
    Ok(Some(matches!(entry, Some(Entry::Live(record)) if is_place(&record))))
}

/// The id of a blob that lies by id.
pub(super) fn id_of(path: &Path) -> Option<BlobId> {
    path.starts_with(".hfs").then(|| path.file_name()?.to_str()?.parse().ok())?
}
