//! Outcomes as answers, with their log lines and counters. What a failure is to its client is in [`told`].
//!
//! The client gets a short stable sentence and a code; the log gets the chain of causes. Error bodies stay tiny: some
//! clients save whatever comes as the file.

mod told;

use std::sync::Arc;

use bytes::Bytes;
use hfs_core::auth::encode_path;
use hfs_core::pace::Direction;
use hfs_core::range::Delivery;
use hfs_core::{ByteSize, SlotPath};
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode};

use self::told::{Told, of_admin, of_delete, of_get, of_put, told};
use super::context::Context;
use super::exchange::Outgoing;
use super::{cors, headers, tally};
use crate::admin::{AdminError, Answer, Download, Report};
use crate::app::App;
use crate::clock;
use crate::config::HttpConfig;
use crate::download::{Found, GetError};
use crate::flow::FileBody;
use crate::meta::MetaError;
use crate::storage::StoreError;
use crate::telemetry::labels::TransferOutcome;
use crate::telemetry::metrics::CONTENT_TYPE;
use crate::upload::{DeleteError, Posted, PutError, Stored};

/// 201 for a stored file and for its equal repeat, whatever went wrong otherwise.
pub(super) fn put(app: &App, context: &Context, slot: &str, outcome: Result<Stored, PutError>) -> Response<Outgoing> {
    match outcome {
        Ok(stored) => {
            note_stored(app, context, slot, stored, StatusCode::CREATED);
            let mut response = empty(StatusCode::CREATED);
            set(response.headers_mut(), header::ETAG, &hfs_core::range::etag(stored.id));
            response
        }
        Err(failure) => finish(&note_failed(app, context, slot, &failure)),
    }
}

/// 200 with the original server's JSON, and the URL below `base`, for a stored file.
pub(super) fn post(
    app: &App,
    context: &Context,
    config: &HttpConfig,
    base: &str,
    path: &str,
    outcome: Result<Posted, PutError>,
) -> Response<Outgoing> {
    let Posted { slot, stored } = match outcome {
        Ok(posted) => posted,
        Err(failure) => return finish_as(context, &note_failed(app, context, path, &failure)),
    };
    note_stored(app, context, slot.as_str(), stored, StatusCode::OK);
    let below = |base: &str| format!("{}/{}", base.trim_end_matches('/'), encode_path(slot.as_str()));
    let said = serde_json::json!({
        "success": true,
        "filename": slot.file_name(),
        "size": stored.size.as_u64(),
        "duration": format!("{:?}", context.elapsed()),
        "url": below(base),
    });
    let mut response = json(StatusCode::OK, &said);
    set(response.headers_mut(), header::ETAG, &hfs_core::range::etag(stored.id));
    // A path is right whatever the client calls us.
    set(response.headers_mut(), header::LOCATION, &below(config.public_url.as_deref().unwrap_or(&config.base_path)));
    response
}

/// Counts and logs an upload that is stored.
fn note_stored(app: &App, context: &Context, slot: &str, stored: Stored, status: StatusCode) {
    tally::upload(app, Ok(()), context);
    context.log_stored(slot, stored.fresh, status.as_u16());
    if stored.fresh {
        app.note_storing(true);
    }
}

/// Counts and logs one that is not.
fn note_failed(app: &App, context: &Context, slot: &str, failure: &PutError) -> Told {
    tally::upload(app, Err(failure), context);
    if matches!(
        failure,
        PutError::Store(StoreError::Io { .. } | StoreError::Slow { .. })
            | PutError::Meta(MetaError::Unavailable { .. } | MetaError::Backend { .. })
    ) {
        app.note_storing(false);
    }
    let told = of_put(failure).times(|| context.retry_factor(app.engine()));
    context.log_refused(slot, told.status.as_u16(), told.code, failure);
    told
}

/// 200, 206, 304, 412 or 416 for a file; the log line follows the last byte.
pub(super) fn get(
    app: &Arc<App>,
    context: &Context,
    method: &Method,
    slot: &SlotPath,
    found: Result<Found, GetError>,
) -> Response<Outgoing> {
    let found = match found {
        Ok(found) => found,
        Err(failure) => {
            let told = of_get(&failure);
            if told.status.is_server_error() {
                let arm = context.arm(app.engine(), Direction::Download);
                app.metrics().download_finished(arm, TransferOutcome::Failed, 0, context.elapsed());
            }
            context.log_unserved(slot.as_str(), told.status.as_u16(), told.code, &failure);
            return without_body(method, finish_as(context, &told));
        }
    };
    let Found { known, blob, delivery, flow } = found;
    let size = known.record().size.as_u64();
    let (status, range) = match &delivery {
        Delivery::Whole => (StatusCode::OK, 0..size),
        Delivery::Partial(range) => (StatusCode::PARTIAL_CONTENT, range.clone()),
        Delivery::NotModified => (StatusCode::NOT_MODIFIED, 0..0),
        Delivery::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, 0..0),
        Delivery::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, 0..0),
    };
    let mut response = empty(status);
    headers::describe(response.headers_mut(), &known, &delivery, clock::now());
    let refusal = match delivery {
        Delivery::Unsatisfiable => Some(("range", "The range is not satisfiable")),
        Delivery::PreconditionFailed => Some(("precondition", "The file has changed")),
        _ => None,
    };
    if let Some((code, text)) = refusal {
        let said = finish_as(context, &told(status, code, text));
        let media_type = said.headers().get(header::CONTENT_TYPE).cloned();
        response.headers_mut().extend(media_type.map(|media_type| (header::CONTENT_TYPE, media_type)));
        *response.body_mut() = said.into_body();
        return without_body(method, response);
    }
    let Some(flow) = flow else { return response };
    let (app, context, slot) = (Arc::clone(app), context.clone(), slot.clone());
    *response.body_mut() = Outgoing::File(Box::new(FileBody::new(blob, range, flow, move |ending, flow| {
        let outcome = if ending.complete { TransferOutcome::Complete } else { TransferOutcome::Aborted };
        app.metrics().download_finished(flow.arm(), outcome, ending.bytes, context.elapsed());
        context.log_delivered(&slot, status.as_u16(), ending, flow);
    })));
    response
}

/// 204 once the file is gone for ever.
pub(super) fn delete(context: &Context, slot: &SlotPath, outcome: Result<(), DeleteError>) -> Response<Outgoing> {
    let failure = match outcome {
        Ok(()) => {
            context.log_deleted(slot);
            return empty(StatusCode::NO_CONTENT);
        }
        Err(failure) => failure,
    };
    let told = of_delete(&failure);
    context.log_refused(slot.as_str(), told.status.as_u16(), told.code, &failure);
    finish(&told)
}

/// What the administrator asked for, in JSON or as zeros.
pub(super) fn admin(context: &Context, method: &Method, outcome: Result<Answer, AdminError>) -> Response<Outgoing> {
    let failure = match outcome {
        Ok(Answer::Report(report)) => return json(StatusCode::OK, &report.to_json()),
        Ok(Answer::Reports(reports)) => {
            let reports: Vec<_> = reports.iter().map(Report::to_json).collect();
            return without_body(method, json(StatusCode::OK, &serde_json::json!({ "results": reports })));
        }
        Ok(Answer::Download(download)) => return zeros(download),
        Ok(Answer::Size(size)) => return head_of_zeros(size),
        Err(failure) => failure,
    };
    let told = of_admin(&failure);
    // That others run already is no failure.
    if told.status.is_server_error() && told.wait.is_none() {
        context.log_benchmark_failed(told.status.as_u16(), told.code, &failure);
    }
    without_body(method, as_json(&told))
}

fn zeros(download: Download) -> Response<Outgoing> {
    let Download { blob, size, flow, measure } = download;
    let mut response = head_of_zeros(size);
    let body = FileBody::new(blob, 0..size.as_u64(), flow, move |ending, flow| measure.end(ending, flow));
    *response.body_mut() = Outgoing::File(Box::new(body));
    response
}

fn head_of_zeros(size: ByteSize) -> Response<Outgoing> {
    let mut response = plain(StatusCode::OK, "application/octet-stream", "");
    response.headers_mut().insert(header::CONTENT_LENGTH, size.as_u64().into());
    set(response.headers_mut(), header::CACHE_CONTROL, "no-store");
    response
}

/// 204 for a CORS preflight; the shared headers come with every answer.
pub(super) fn preflight(request: &HeaderMap) -> Response<Outgoing> {
    let mut response = empty(StatusCode::NO_CONTENT);
    *response.headers_mut() = cors::preflight(request);
    response
}

/// `OK`. Touches neither disk nor database, so that a hung disk does not look like a dead server.
pub(super) fn health(method: &Method) -> Response<Outgoing> {
    without_body(method, plain(StatusCode::OK, "text/plain; charset=utf-8", "OK"))
}

/// `READY`, or 503 while the storage fails: for load balancers. Like `health`, it waits for nothing.
pub(super) fn ready(method: &Method, is_ready: bool) -> Response<Outgoing> {
    if is_ready {
        return without_body(method, plain(StatusCode::OK, "text/plain; charset=utf-8", "READY"));
    }
    without_body(method, finish(&told(StatusCode::SERVICE_UNAVAILABLE, "not-ready", "The storage fails")))
}

/// The metrics in the text format.
pub(super) fn metrics(method: &Method, text: String) -> Response<Outgoing> {
    without_body(method, plain(StatusCode::OK, CONTENT_TYPE, text))
}

/// 404, as for a file that never was.
pub(super) fn not_found(context: &Context, method: &Method) -> Response<Outgoing> {
    without_body(method, finish_as(context, &told(StatusCode::NOT_FOUND, "not-found", "No such file")))
}

/// 405 in JSON, where `takes` is meant; `allowed` has what there is besides.
pub(super) fn other_method(method: &Method, takes: &Method, allowed: &str) -> Response<Outgoing> {
    let told = told(StatusCode::METHOD_NOT_ALLOWED, "method", format!("This takes {takes}, not {method}"));
    let mut response = as_json(&told);
    set(response.headers_mut(), header::ALLOW, allowed);
    without_body(method, response)
}

/// 405 in text, with what is `allowed`.
pub(super) fn method_not_allowed(allowed: &str) -> Response<Outgoing> {
    let mut response = finish(&told(StatusCode::METHOD_NOT_ALLOWED, "method", "Method not allowed"));
    set(response.headers_mut(), header::ALLOW, allowed);
    response
}

/// The error as JSON on the routes of the original server that answer in it.
fn finish_as(context: &Context, told: &Told) -> Response<Outgoing> {
    if context.is_direct() { as_json(told) } else { finish(told) }
}

fn as_json(told: &Told) -> Response<Outgoing> {
    let said = serde_json::json!({ "success": false, "error": told.code, "message": told.text });
    let mut response = json(told.status, &said);
    instruct(told, response.headers_mut());
    response
}

fn finish(told: &Told) -> Response<Outgoing> {
    let mut response = plain(told.status, "text/plain; charset=utf-8", format!("{} ({})\n", told.text, told.code));
    instruct(told, response.headers_mut());
    response
}

/// What a client should do about an error, as headers.
fn instruct(told: &Told, headers: &mut HeaderMap) {
    set(headers, header::CACHE_CONTROL, "no-store");
    match told.status {
        StatusCode::SERVICE_UNAVAILABLE => set(headers, header::RETRY_AFTER, &told.retry_after()),
        StatusCode::UNAUTHORIZED if told.code == "bad-token" => {
            set(headers, header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"");
        }
        StatusCode::UNAUTHORIZED => set(headers, header::WWW_AUTHENTICATE, "Bearer"),
        _ => {}
    }
}

fn json(status: StatusCode, said: &serde_json::Value) -> Response<Outgoing> {
    let mut response = plain(status, "application/json", format!("{said}\n"));
    set(response.headers_mut(), header::CACHE_CONTROL, "no-store");
    response
}

fn plain(status: StatusCode, media_type: &str, text: impl Into<Bytes>) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::Full(text.into()));
    *response.status_mut() = status;
    set(response.headers_mut(), header::CONTENT_TYPE, media_type);
    headers::secure(response.headers_mut());
    response
}

fn empty(status: StatusCode) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::empty());
    *response.status_mut() = status;
    response
}

/// For HEAD: the same head, with the length of the body that is left out.
fn without_body(method: &Method, mut response: Response<Outgoing>) -> Response<Outgoing> {
    if method == Method::HEAD {
        let length = response.body().remaining();
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        *response.body_mut() = Outgoing::empty();
    }
    response
}

fn set(headers: &mut HeaderMap, name: http::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
