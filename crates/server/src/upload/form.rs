//! The path of one POST: a slot of its own for each, a form or the raw body, then the same way as a PUT.
//!
//! The original server kept a POST under the bare name of its file, so that two users' `photo.jpg` replaced each
//! other. Here each gets a slot that nobody can guess: `<random>/<name>`.

use std::sync::Arc;

use hfs_core::admit::{self, Refusal, Usage};
use hfs_core::auth::{self, Pass};
use hfs_core::form::{FilePart, Form, InvalidForm};
use hfs_core::pace::Direction;
use hfs_core::{BlobId, ByteSize, SlotPath};
use http::request::Parts;
use http::{HeaderMap, Request, header};
use percent_encoding::percent_decode_str;

use super::PutError;
use super::ingest::{self, Stored};
use super::put::content_length;
use super::receive::Receiver;
use crate::app::App;
use crate::clock;
use crate::config::Config;
use crate::http::context::Context;
use crate::http::direct;
use crate::http::exchange::Incoming;
use crate::random::random;

/// The field of the form, and what a raw body is called when it has no name.
const FIELD: &str = "file";

/// A POST that was stored.
#[derive(Clone, Debug)]
pub struct Posted {
    /// Where.
    pub slot: SlotPath,
    /// What.
    pub stored: Stored,
}

/// Stores the file of `request` in a new slot, if it may.
///
/// Cancel-safe, as [`put`](super::put) is.
///
/// # Errors
/// Nothing is visible.
pub async fn post(app: &Arc<App>, context: &mut Context, request: Request<Incoming>) -> Result<Posted, PutError> {
    let config = app.config();
    let (parts, body) = request.into_parts();
    let pass = authorize(app, &config, context, &parts)?;
    context.authorized(pass.proof(), pass.owner());
    let Some(_try) = app.begin_post(context.sender()) else {
        return Err(PutError::Crowded);
    };

    let announced = content_length(&parts.headers);
    let flow = context.begin_flow(app.engine(), Direction::Upload, announced.map(ByteSize::as_u64)).await?;
    let mut body = Receiver::new(body, flow, announced, app.turns());
    let outcome = store(app, &config, pass, &parts, &mut body).await;
    body.end(outcome.as_ref().err());
    context.note_received(body.received(), body.quality());
    outcome
}

fn authorize(app: &App, config: &Config, context: &Context, parts: &Parts) -> Result<Pass, PutError> {
    let path = direct::decoded(parts.uri.path());
    let head = direct::head(&path, parts.uri.query(), &parts.headers);
    let outcome = auth::authorize_post(&head, &config.keys, clock::now());
    direct::note_proof(app, context, &head, outcome.as_ref().map(Pass::proof).map_err(|denied| *denied));
    Ok(outcome?)
}

async fn store(
    app: &Arc<App>,
    config: &Config,
    pass: Pass,
    parts: &Parts,
    body: &mut Receiver,
) -> Result<Posted, PutError> {
    let announced = content_length(&parts.headers);
    let (file, size) = match form_of(&parts.headers)? {
        Some(form) => {
            refuse_too_large(config, announced)?;
            (body.open(form).await?, None)
        }
        None => (raw_file(parts), announced),
    };
    let slot = SlotPath::parse(&format!("{}/{}", BlobId::from_random(random()), file.name))?;
    let grant = pass.into_grant(slot.clone(), file.media_type);
    let usage = Usage { free: app.store().free().await, announced: size };
    let admission = admit::decide(Box::new(grant), usage, &config.limits)?;
    let stored = ingest::ingest(app, admission, body).await?;
    Ok(Posted { slot, stored })
}

fn form_of(headers: &HeaderMap) -> Result<Option<Form>, InvalidForm> {
    let content_type = headers.get(header::CONTENT_TYPE);
    if !Form::is_announced(content_type) {
        return Ok(None);
    }
    let text = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    Form::new(text, FIELD).map(Some)
}

/// A form is longer than its file, by a bounded amount: one that certainly holds too much is refused before it is sent.
fn refuse_too_large(config: &Config, announced: Option<ByteSize>) -> Result<(), Refusal> {
    let (Some(max), Some(announced)) = (config.limits.max_size, announced) else { return Ok(()) };
    let least = announced.as_u64().saturating_sub(Form::MOST_OVERHEAD as u64);
    if least > max.as_u64() { Err(Refusal::TooLarge { max }) } else { Ok(()) }
}

/// A raw body is named by `?filename=`.
fn raw_file(parts: &Parts) -> FilePart {
    let pairs = parts.uri.query().unwrap_or_default().split('&');
    let named = pairs.filter_map(|pair| pair.strip_prefix("filename=")).find(|name| !name.is_empty());
    let name = named.map_or(FIELD.into(), |name| percent_decode_str(name).decode_utf8_lossy());
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
    let declared = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    FilePart { name: last, media_type: declared.map(str::to_owned) }
}
