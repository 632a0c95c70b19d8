//! The path of an upload that nobody will see: received, made durable, removed. What a benchmark measures.

use std::sync::Arc;
use std::time::Duration;

use hfs_core::ByteSize;
use hfs_core::admit::{self, Limits, Usage};
use hfs_core::auth::Grant;
use hfs_core::pace::{Direction, Plan, Snapshot};
use hfs_core::profile::{Guess, Quality};
use http::Request;

use super::PutError;
use super::ingest;
use super::put::content_length;
use super::receive::Receiver;
use crate::app::App;
use crate::http::context::Context;
use crate::http::exchange::Incoming;

/// How it went.
#[derive(Clone, Copy, Debug)]
pub struct Rehearsed {
    /// What came.
    pub bytes: ByteSize,
    /// Until it was durable.
    pub elapsed: Duration,
    /// What it began with.
    pub first: Plan,
    /// What it ended with.
    pub last: Plan,
    /// What was learnt of the path.
    pub path: Snapshot,
    /// How good the path was.
    pub quality: Quality,
    /// What link was guessed.
    pub guess: Guess,
}

/// Receives the body of `request`, at most `most`, as an upload; nothing of it stays.
///
/// # Errors
/// As [`put`](super::put).
pub async fn rehearse(
    app: &Arc<App>,
    context: &mut Context,
    grant: Grant,
    most: ByteSize,
    request: Request<Incoming>,
) -> Result<Rehearsed, PutError> {
    let (parts, body) = request.into_parts();
    let announced = content_length(&parts.headers);
    let limits = Limits { max_size: Some(most), extensions: Vec::new(), min_free: app.config().limits.min_free };
    let usage = Usage { free: app.store().free().await, announced };
    let admission = admit::decide(Box::new(grant), usage, &limits)?;
    let flow = context.begin_flow(app.engine(), Direction::Upload, announced.map(ByteSize::as_u64)).await?;
    let first = *flow.plan();
    let mut body = Receiver::new(body, flow, announced, app.turns());
    ingest::rehearse(app, admission, &mut body).await?;
    let flow = body.flow();
    Ok(Rehearsed {
        bytes: body.received(),
        elapsed: context.elapsed(),
        first,
        last: *flow.plan(),
        path: flow.snapshot(),
        quality: flow.quality(),
        guess: flow.guess(),
    })
}
