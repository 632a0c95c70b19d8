//! The path of one `GET /download/<slot>`: the original server's way, with a proof and always as an attachment.

use std::sync::Arc;

use hfs_core::auth::{self, Reading};
use hfs_core::{SlotPath, media};
use http::{HeaderMap, Method, Uri};

use super::{Found, GetError, get};
use crate::app::App;
use crate::clock;
use crate::http::context::Context;
use crate::http::direct;

/// Finds what `slot` holds, for a request to `uri` that may read it.
///
/// # Errors
/// As [`get`]; without a good proof nothing is looked up.
pub async fn get_direct(
    app: &App,
    context: &mut Context,
    method: &Method,
    slot: &SlotPath,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Found, GetError> {
    let reading = authorize(app, context, uri, headers)?;
    context.authorized(reading.proof(), None);
    let mut found = get(app, context, method, slot, headers).await?;
    // What the original says of every file: nothing is shown by a browser.
    found.known = Arc::new(found.known.as_type(media::OCTET_STREAM));
    Ok(found)
}

fn authorize(app: &App, context: &Context, uri: &Uri, headers: &HeaderMap) -> Result<Reading, GetError> {
    let path = direct::decoded(uri.path());
    let head = direct::head(&path, uri.query(), headers);
    let outcome = auth::authorize_read(&head, &app.config().keys, clock::now());
    direct::note_proof(app, context, &head, outcome.as_ref().map(Reading::proof).map_err(|denied| *denied));
    Ok(outcome?)
}
