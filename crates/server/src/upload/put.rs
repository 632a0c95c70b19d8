//! The path of one PUT.

use std::sync::Arc;

use hfs_core::admit::{self, Admission, Usage};
use hfs_core::auth::{self, BodyLength, Denied, ExplainHints, Grant, Head};
use hfs_core::pace::Direction;
use hfs_core::{ByteSize, SlotPath};
use http::{HeaderMap, Request, header, request};
use tracing::warn;

use super::PutError;
use super::ingest::{self, Stored};
use super::receive::Receiver;
use crate::app::{App, Try};
use crate::clock;
use crate::config::Config;
use crate::http::context::Context;
use crate::http::exchange::Incoming;
use crate::http::tally;
use crate::meta::Entry;
use crate::storage::SHORT;

/// Stores the body of `request` in `slot`, if it may.
///
/// Cancel-safe: dropping the future before the last byte came removes the partial blob; after it, storing runs to its
/// end on its own.
///
/// # Errors
/// Nothing is visible and the slot can be tried again at once, except for `Taken` and `Gone`.
pub async fn put(
    app: &Arc<App>,
    context: &mut Context,
    slot: &SlotPath,
    request: Box<Request<Incoming>>,
) -> Result<Stored, PutError> {
    let config = app.config();
    let Proven { grant, announced, is_prompt, body } = prove(app, &config, context, slot, request)?;
    let flow = context.begin_flow(app.engine(), Direction::Upload, announced.map(ByteSize::as_u64)).await?;
    let mut body = Receiver::new(body, flow, announced, app.turns());
    let wanted = Wanted { slot, announced, is_prompt };
    let outcome = store(app, &config, grant, &wanted, &mut body).await;
    body.end(outcome.as_ref().err());
    context.note_received(body.received(), body.quality());
    outcome
}

/// What a request asks for.
struct Wanted<'a> {
    slot: &'a SlotPath,
    announced: Option<ByteSize>,
    /// Whether its body is short and on its way already: then what the slot has is asked once, under the claim.
    is_prompt: bool,
}

async fn store(
    app: &Arc<App>,
    config: &Config,
    grant: Box<Grant>,
    wanted: &Wanted<'_>,
    body: &mut Receiver,
) -> Result<Stored, PutError> {
    // Apart: what it takes to get here would lie beside the body for as long as that comes.
    let (_try, admission) = match begin(app, config, grant, wanted, body).await? {
        Begun::Stored(stored) => return Ok(stored),
        Begun::Admitted(begun, admission) => (begun, admission),
    };
    ingest::ingest(app, admission, body).await
}

/// What comes of an upload before its body is received.
enum Begun {
    Stored(Stored),
    Admitted(Try, Admission),
}

async fn begin(
    app: &Arc<App>,
    config: &Config,
    grant: Box<Grant>,
    wanted: &Wanted<'_>,
    body: &mut Receiver,
) -> Result<Begun, PutError> {
    if !wanted.is_prompt
        && let Some(stored) = earlier(app, wanted, body).await?
    {
        return Ok(Begun::Stored(stored));
    }
    match admit(app, config, grant, wanted.announced).await {
        Ok((begun, admission)) => Ok(Begun::Admitted(begun, admission)),
        // What is there already takes no space, and is refused by no limit.
        Err(refused) if wanted.is_prompt => {
            Box::pin(earlier(app, wanted, body)).await?.map(Begun::Stored).ok_or(refused)
        }
        Err(refused) => Err(refused),
    }
}

/// What an earlier upload has made of the slot; `None` when this one may fill it.
async fn earlier(app: &App, wanted: &Wanted<'_>, body: &mut Receiver) -> Result<Option<Stored>, PutError> {
    let Some(entry) = app.meta().lookup(wanted.slot).await? else { return Ok(None) };
    let record = match entry {
        Entry::Live(record) if !record.expired(clock::now()) => Box::new(record),
        Entry::Live(_) | Entry::Gone(_) => return Err(PutError::Gone),
    };
    Box::pin(ingest::repeat_of(app, &record, wanted.announced, body)).await
}

async fn admit(
    app: &App,
    config: &Config,
    grant: Box<Grant>,
    announced: Option<ByteSize>,
) -> Result<(Try, Admission), PutError> {
    let begun = app.begin_try(grant.slot()).ok_or(PutError::Crowded)?;
    let usage = Usage { free: app.store().free().await, announced };
    Ok((begun, admit::decide(grant, usage, &config.limits)?))
}

/// What is left of a request whose proof holds. Its head is let go before the body comes: that can take hours.
struct Proven {
    grant: Box<Grant>,
    announced: Option<ByteSize>,
    is_prompt: bool,
    body: Incoming,
}

fn prove(
    app: &App,
    config: &Config,
    context: &mut Context,
    slot: &SlotPath,
    request: Box<Request<Incoming>>,
) -> Result<Proven, Denied> {
    let (parts, body) = request.into_parts();
    let grant = Box::new(authorize(app, config, context, slot, &parts)?);
    context.authorized(grant.proof(), grant.owner());
    let announced = content_length(&parts.headers);
    let is_prompt = announced.is_some_and(|size| size <= SHORT) && !parts.headers.contains_key(header::EXPECT);
    Ok(Proven { grant, announced, is_prompt, body })
}

fn authorize(
    app: &App,
    config: &Config,
    context: &Context,
    slot: &SlotPath,
    parts: &request::Parts,
) -> Result<Grant, Denied> {
    let text = |name| parts.headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let head = Head {
        slot,
        query: parts.uri.query(),
        authorization: text(header::AUTHORIZATION),
        content_type: text(header::CONTENT_TYPE),
        length: content_length(&parts.headers).map_or(BodyLength::Unknown, BodyLength::Known),
    };
    let outcome = auth::authorize(&head, &config.keys, clock::now());
    tally::proof(app.metrics(), outcome.as_ref().map(Grant::proof).map_err(|denied| *denied));
    if outcome.is_err() && app.may_explain() {
        let base_path = config.http.base_path.as_str();
        let retired = app.retired();
        let hints = ExplainHints { base_path, public_path: base_path, retired: retired.as_slice(), now: clock::now() };
        for explanation in auth::explain(&head, &config.keys, &hints) {
            warn!(request = %context.id(), %slot, client = %context.client(), "Signature refused: {explanation}");
        }
    }
    outcome
}

/// The announced length: adapters have already refused anything but one plain decimal.
pub(super) fn content_length(headers: &HeaderMap) -> Option<ByteSize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok().map(ByteSize::bytes)
}
