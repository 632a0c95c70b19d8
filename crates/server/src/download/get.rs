//! The path of one GET or HEAD.

use std::sync::Arc;

use hfs_core::pace::Direction;
use hfs_core::range::{self, Delivery, Object};
use hfs_core::{SlotPath, media};
use http::{HeaderMap, Method};
use tracing::error;

use super::{GetError, Known};
use crate::app::App;
use crate::clock;
use crate::flow::Flow;
use crate::http::context::Context;
use crate::meta::{Entry, MetaError, Record};
use crate::storage::{Blob, StoreError};

/// A visible blob and what of it the request is for.
#[derive(Debug)]
pub struct Found {
    /// Its record.
    pub known: Arc<Known>,
    /// Its bytes.
    pub blob: Arc<dyn Blob>,
    /// What to send.
    pub delivery: Delivery,
    /// What moves it; `None` when no byte of it is sent.
    pub flow: Option<Flow>,
}

/// Finds what `slot` holds and evaluates the request's conditions and range.
///
/// # Errors
/// What is deleted or expired is as absent as what never was.
pub async fn get(
    app: &App,
    context: &mut Context,
    method: &Method,
    slot: &SlotPath,
    headers: &HeaderMap,
) -> Result<Found, GetError> {
    let allowed = &app.config().download_extensions;
    let extension = media::extension(slot.file_name());
    if !allowed.is_empty() && !allowed.contains(&extension) {
        return Err(GetError::Extension { extension });
    }
    let (known, blob) = match app.shelf().find(slot, clock::now()) {
        Some(at_hand) => at_hand,
        None => look_up(app, slot).await?,
    };
    let record = known.record();
    let object = Object { size: record.size.as_u64(), id: record.id, modified: record.stored_at };
    // A HEAD has conditions but no ranges (RFC 9110 section 14.2).
    let delivery = match *method {
        Method::HEAD => range::evaluate_head(headers, &object),
        _ => range::evaluate(headers, &object),
    };
    let length = match &delivery {
        _ if method == Method::HEAD => None,
        Delivery::Whole => Some(object.size),
        Delivery::Partial(range) => Some(range.end - range.start),
        Delivery::NotModified | Delivery::PreconditionFailed | Delivery::Unsatisfiable => None,
    };
    let flow = match length {
        Some(length) => Some(context.begin_flow(app.engine(), Direction::Download, Some(length)).await?),
        None => None,
    };
    Ok(Found { known, blob, delivery, flow })
}

/// The row and the file, from where they lie.
async fn look_up(app: &App, slot: &SlotPath) -> Result<(Arc<Known>, Arc<dyn Blob>), GetError> {
    let record = match app.meta().lookup(slot).await? {
        Some(Entry::Live(record)) if !record.expired(clock::now()) => record,
        _ => return Err(GetError::NotFound),
    };
    let blob = match app.store().open(&record.place).await {
        Ok(blob) if blob.size() == record.size => blob,
        Ok(blob) => {
            error!(%slot, recorded = record.size.as_u64(), found = blob.size().as_u64(), "Stored file has another length");
            return Err(GetError::Damaged);
        }
        Err(StoreError::Missing { .. }) if !is_still_live(app, &record).await? => return Err(GetError::NotFound),
        Err(StoreError::Missing { place }) => {
            error!(%slot, %place, "Stored file is missing");
            return Err(GetError::Damaged);
        }
        Err(failure) => return Err(failure.into()),
    };
    let known = Arc::new(Known::new(record));
    app.shelf().keep(&known, &blob);
    Ok((known, blob))
}

/// Whether a blob whose file is missing is missed: it may have been deleted since its row was read.
async fn is_still_live(app: &App, record: &Record) -> Result<bool, MetaError> {
    let entry = app.meta().lookup(&record.slot).await?;
    Ok(matches!(entry, Some(Entry::Live(live)) if live.id == record.id))
}
