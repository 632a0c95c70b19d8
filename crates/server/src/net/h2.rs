//! The HTTP/2 adapter, on the `h2` crate: one task per connection, one per stream.
//!
//! Owns windows, flood limits, what a valid authority is, and the life of a connection. It gives the service the same
//! requests as HTTP/1.1 does: the target is a path, the authority is in `Host`.

mod batch;
mod body;
mod inflow;
mod promise;
mod queue;
mod send;
mod watch;

use bytes::Bytes;
use h2::Reason;
use h2::server::{Connection, SendResponse};
use hfs_core::pace::Window;
use hfs_sock::Tap;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::{debug, info};

pub(super) use batch::Batch;
pub use body::Body;

use self::inflow::{Inflow, REST};
use self::promise::{Due, Promise};
use self::queue::Queued;
use self::watch::Turns;

use super::accept::{HttpService, Link};
use super::drain::Phase;
use super::reader::Reader;
use crate::http::exchange::{Incoming, Outgoing};

/// What one stream may have queued to send, at most: plans allow a reader that keeps up this much, others less (see
/// [`queue`]).
const SEND_BUFFER: usize = 1 << 20;
const MAX_STREAMS: u32 = 32;
/// A stream that the client resets no longer counts as open, but its handler may still run: a client with this many
/// handlers is flooding us.
const MAX_HANDLERS: usize = 2 * MAX_STREAMS as usize;
/// Floods: streams that the client opens and resets at once, and its protocol errors, until the connection is ended.
const MAX_RESET: usize = 20;
const MAX_ERRORS: usize = 256;
/// What small DATA frames may cost that nobody has read yet, as `h2` counts: up to 256 bytes each. Half of a connection's
/// first window, whatever the window is now.
const FRAME_BUDGET: usize = Window::FIRST as usize;
/// The one expectation that there is.
const CONTINUE: &[u8] = b"100-continue";
/// After GOAWAY, an idle connection stays for this long: requests that crossed it on the way still get through. A client
/// that answers ends it a round trip later; one that does not keeps a shutdown waiting.
const FAREWELL: Duration = Duration::from_secs(1);
/// Where nobody waits: round trips of a second and more are real, behind satellites and full queues.
const LONG_FAREWELL: Duration = Duration::from_secs(5);

/// A request, and the way to answer it.
type Accepted = (Request<h2::RecvStream>, SendResponse<Queued>);

/// Serves the connection until it ends. `held` is `io` again, where it holds back what is written.
pub(super) async fn serve<T, S>(io: T, held: Option<Batch>, mut link: Box<Link<S>>)
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: HttpService,
{
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(Window::FIRST)
        .initial_connection_window_size(Window::IDLE)
        .data_frame_budget(FRAME_BUDGET)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(link.config.max_header.as_u64()).unwrap_or(u32::MAX))
        .max_concurrent_reset_streams(MAX_RESET)
        .max_pending_accept_reset_streams(MAX_RESET)
        .max_local_error_reset_streams(Some(MAX_ERRORS));
    let mut connection = match timeout(link.config.header_timeout, builder.handshake::<_, Queued>(io)).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return debug!(client = %link.peer, %error, "HTTP/2 handshake failed"),
        Err(_) => return debug!(client = %link.peer, "HTTP/2 handshake took too long"),
    };
    if let Some(batch) = &held {
        batch.defer();
    }
    let mut streams = JoinSet::new();
    if let Err(error) = run(&mut connection, held.as_ref(), &mut streams, &mut link).await {
        debug!(client = %link.peer, %error, "HTTP/2 connection failed");
    }
    // Ends whatever still waits for this connection; handlers finish what they are doing.
    drop(connection);
    while streams.join_next().await.is_some() {}
}

async fn run<T, S>(
    connection: &mut Connection<T, Queued>,
    held: Option<&Batch>,
    streams: &mut JoinSet<()>,
    link: &mut Link<S>,
) -> Result<(), h2::Error>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: HttpService,
{
    let wire = link.peer.wire.clone();
    let mut promise = Promise::new(wire.clone());
    let arrivals = Arc::clone(promise.arrivals());
    let mut inflow = Inflow::new(link.peer.wire.clone(), connection.ping_pong(), &promise);
    let turns = Turns::new(link.peer.wire.clone(), held.cloned());
    let mut phases = link.phases.clone();
    // Once the client was told that this ends: how long it stays.
    let mut told = None;
    let mut idle_since = Instant::now();
    let mut rested = idle_since;
    // Whether what is left when no handler runs is taken; gone when all of it was.
    let mut reader = None::<Reader>;
    loop {
        let patience = told.unwrap_or(link.config.idle_timeout);
        let until = idle_since + patience;
        let until = reader.as_ref().map_or(until, |reader| reader.next_look().min(until));
        tokio::select! {
            accepted = poll_fn(|cx| poll_request(connection, &mut promise, held, cx)) => match accepted {
                Some(accepted) => {
                    let (request, respond) = accepted?;
                    if streams.len() >= MAX_HANDLERS {
                        connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                        continue;
                    }
                    let turns = Arc::clone(&turns);
                    let due = Due::new(&arrivals, announced(&request));
                    streams.spawn(exchange(request, due, turns, respond, Link::clone(link)));
                }
                None => return Ok(()),
            },
            Some(_) = streams.join_next() => {
                idle_since = Instant::now();
                reader = Some(Reader::of_what_is_left(link.config.stall));
            }
            (size, round) = inflow.growth(), if !streams.is_empty() => {
                inflow.grow(connection, &mut promise, size, &round);
            }
            () = promise::allowed(wire.as_ref()) => promise.look_anew(),
            () = tokio::time::sleep_until(idle_since.max(rested) + REST),
                if streams.is_empty() && (inflow.is_loose() || promise.is_unused() && told.is_none()) =>
            {
                rested = Instant::now();
                inflow.shrink(connection, &mut promise);
                promise.rest();
                if promise.is_too_much() && told.is_none() {
                    told = Some(LONG_FAREWELL);
                    idle_since = rested;
                    connection.graceful_shutdown();
                }
            }
            () = phases.reach(Phase::Draining), if told != Some(FAREWELL) => {
                if told.replace(FAREWELL).is_none() {
                    idle_since = Instant::now();
                    connection.graceful_shutdown();
                }
            }
            () = tokio::time::sleep_until(until), if streams.is_empty() => {
                // A handler ends when the connection has its answer, or has it queued where that is short. What a slow reader
                // has not taken yet is not idleness; nor what the kernel still has, which would be lost if a frame of the
                // client's met a closed socket.
                let wire = link.peer.wire.as_ref().map(|wire| wire as &dyn Tap);
                let is_queued = || connection.has_streams() || held.is_some_and(Batch::is_holding);
                if is_queued() || wire.is_some_and(is_unacknowledged) {
                    if reader.as_mut().is_some_and(|reader| reader.look(wire).is_ok()) {
                        idle_since = Instant::now();
                        continue;
                    }
                } else if reader.take().is_some() && idle_since.elapsed() < patience {
                    continue;
                }
                if told.is_some() {
                    return Ok(());
                }
                told = Some(LONG_FAREWELL);
                idle_since = Instant::now();
                connection.graceful_shutdown();
            }
        }
    }
}

/// The length of its body, where it says so: the `h2` crate sees to it that it does not lie.
fn announced(request: &Request<h2::RecvStream>) -> Option<u64> {
    if request.body().is_end_stream() {
        return Some(0);
    }
    request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether the kernel has bytes that the client may still have to get.
fn is_unacknowledged(socket: &dyn Tap) -> bool {
    let mut bytes = 0;
    socket.tap(&mut |fd| bytes = hfs_sock::unacknowledged(fd).unwrap_or(0));
    bytes > 0
}

/// The next request. Before this waits, what the connection wrote meanwhile leaves.
fn poll_request<T: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<T, Queued>,
    promise: &mut Promise,
    held: Option<&Batch>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Accepted, h2::Error>>> {
    promise.follow(connection);
    let accepted = connection.poll_accept(cx);
    if let (Poll::Pending, Some(batch)) = (&accepted, held)
        && let Poll::Ready(Err(error)) = batch.poll_release(cx)
    {
        debug!(%error, "HTTP/2 connection cannot be written to");
        return Poll::Ready(None);
    }
    accepted
}

async fn exchange<S: HttpService>(
    request: Request<h2::RecvStream>,
    due: Due,
    turns: Arc<Turns>,
    mut respond: SendResponse<Queued>,
    mut link: Link<S>,
) {
    let head_only = request.method() == Method::HEAD;
    let (parts, stream) = request.into_parts();
    let expects = parts.headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(CONTINUE));
    let bodiless = stream.is_end_stream();
    let (body, mut loan) = body::lend(stream, due, expects);
    let response = match understood(parts) {
        Ok(mut parts) => {
            parts.extensions.insert(link.peer.clone());
            let body = if bodiless { Incoming::empty() } else { Incoming::H2(body) };
            let asked = loan.asked.take().filter(|_| !bodiless);
            answer(Request::from_parts(parts, body), asked, &mut respond, &mut link).await
        }
        Err((status, reason)) => {
            drop(body);
            info!(client = %link.peer, status = status.as_u16(), reason, "Refused a malformed request");
            link.events.refused(status);
            refusal(status, reason)
        }
    };
    if let Err(error) = send::response(&mut respond, response, head_only, link.config.stall, &turns).await {
        debug!(client = %link.peer, %error, "Response cut");
        if matches!(error, send::SendError::Stalled) {
            link.events.stalled();
        }
        respond.send_reset(error.reason());
    } else {
        loan.discard().await;
    }
}

/// Runs the service, and lets the client send its body when the service first wants it.
async fn answer<S: HttpService>(
    request: Request<Incoming>,
    asked: Option<oneshot::Receiver<()>>,
    respond: &mut SendResponse<Queued>,
    link: &mut Link<S>,
) -> Response<Outgoing> {
    let Ok(()) = poll_fn(|cx| link.service.poll_ready(cx)).await;
    let mut answering = Box::pin(link.service.call(request));
    if let Some(asked) = asked {
        tokio::select! {
            biased;
            Ok(response) = &mut answering => return response,
            Ok(()) = asked => {
                let mut interim = Response::new(());
                *interim.status_mut() = StatusCode::CONTINUE;
                // A client that is gone shows when the body is read.
                let _ = respond.send_informational(interim);
            }
            else => {}
        }
    }
    let Ok(response) = answering.await;
    response
}

/// The head as the service sees it.
fn understood(mut parts: Parts) -> Result<Parts, (StatusCode, &'static str)> {
    if parts.method == Method::CONNECT {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "no tunnels here"));
    }
    let host = authority(&parts.uri, parts.headers.get_all(HOST).iter())?;
    parts.headers.insert(HOST, host);
    parts.uri = parts.uri.path_and_query().cloned().map(Uri::from).ok_or((StatusCode::BAD_REQUEST, "missing :path"))?;
    match parts.headers.get(EXPECT) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(CONTINUE) => {
            Err((StatusCode::EXPECTATION_FAILED, "unknown expectation"))
        }
        _ => Ok(parts),
    }
}

/// The one host that `:authority` and `Host` name together.
fn authority<'a>(
    uri: &Uri,
    hosts: impl Iterator<Item = &'a HeaderValue>,
) -> Result<HeaderValue, (StatusCode, &'static str)> {
    let refused = |reason| (StatusCode::BAD_REQUEST, reason);
    let named = match uri.authority() {
        Some(authority) if authority.as_str().contains('@') => return Err(refused("malformed :authority")),
        Some(authority) => {
            Some(HeaderValue::from_str(authority.as_str()).map_err(|_| refused("malformed :authority"))?)
        }
        None => None,
    };
    let mut said = None;
    for host in hosts {
        if said.replace(host).is_some() {
            return Err(refused("repeated Host"));
        }
    }
    match (named, said) {
        (Some(named), Some(said)) if !named.as_bytes().eq_ignore_ascii_case(said.as_bytes()) => {
            Err(refused("Host differs from :authority"))
        }
        (Some(named), _) => Ok(named),
        (None, Some(said)) if is_authority(said) => Ok(said.clone()),
        (None, Some(_)) => Err(refused("malformed Host")),
        (None, None) => Err(refused("missing :authority")),
    }
}

fn is_authority(host: &HeaderValue) -> bool {
    http::uri::Authority::try_from(host.as_bytes()).is_ok_and(|authority| !authority.as_str().contains('@'))
}

fn refusal(status: StatusCode, reason: &str) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::Full(Bytes::from(format!("{reason}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(uri: &'static str, hosts: &[&'static str]) -> Result<String, &'static str> {
        let hosts: Vec<HeaderValue> = hosts.iter().copied().map(HeaderValue::from_static).collect();
        match authority(&Uri::from_static(uri), hosts.iter()) {
            Ok(host) => Ok(host.to_str().unwrap().to_owned()),
            Err((status, reason)) => {
                assert_eq!(status, StatusCode::BAD_REQUEST);
                Err(reason)
            }
        }
    }

    #[test]
    fn a_request_names_exactly_one_host() {
        assert_eq!(named("https://a.example/x", &[]), Ok("a.example".to_owned()));
        assert_eq!(named("https://a.example/x", &["A.example"]), Ok("a.example".to_owned()));
        assert_eq!(named("/x", &["a.example:8443"]), Ok("a.example:8443".to_owned()));
        assert!(named("/x", &[]).is_err());
        assert!(named("/x", &["a b"]).is_err());
        assert!(named("/x", &["u@a.example"]).is_err());
        assert!(named("https://a.example/x", &["b.example"]).is_err());
        assert!(named("https://a.example/x", &["a.example", "a.example"]).is_err());
        assert!(named("https://u@a.example/x", &[]).is_err());
    }
}
