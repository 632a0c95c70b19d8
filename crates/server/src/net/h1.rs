//! The HTTP/1.1 adapter: one connection, one request at a time, in order.
//!
//! Owns the life of a connection: when a head is awaited, how a refusal is said, what happens to a body that the
//! handler did not read, when the connection goes on. Framing is `hfs_core::http1`'s; what a request means is the
//! service's. An idle connection holds a socket and this small future: no buffer, and the future of a request is boxed.

mod body;
mod discard;
mod io;
mod send;

use bytes::{Buf, Bytes, BytesMut};
use hfs_core::http1::{self, BodyDecoder, Head, HeadLimits, HeadScan, ResponseHead};
use hfs_core::pace::Carrier;
use hfs_core::progress::StallLimits;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_LENGTH, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, info};

pub use body::Body;
pub(super) use io::Io;

use self::body::{Loan, Rest};
use self::send::{SendError, Sender};
use super::accept::{HttpService, Link};
use super::bound::Bound;
use super::date;
use super::drain::Phase;
use crate::flow::Wire;
use crate::http::exchange::{Incoming, Outgoing};

/// A request head is mostly below 2 KiB. What follows it comes along, and is held until the handler wants it: of hundreds
/// of uploads that begin together, more than this would tear holes into the heap.
pub(super) const READ: usize = 1 << 10;
/// Headers in one request.
const MAX_HEADERS: usize = 100;
/// A body that was not read and is known to be at most this long is read in vain to keep the connection. For a longer
/// one the client is told that the connection ends, because many then stop sending.
const CHEAP: u64 = 1 << 20;
/// What came ahead of its turn with a body of unknown length is held until then, by nobody's claim on memory. Of a client
/// that sends more than this ahead, no further request is taken on this connection.
const AHEAD: usize = 16 << 10;
/// A handler that answered but goes on reading the body may do so for this long.
const AFTERMATH: Duration = Duration::from_secs(30);

/// Serves a connection until it ends.
pub(super) async fn serve<S: HttpService>(mut connection: Box<Connection<S>>) {
    let bound = loop {
        match connection.head().await {
            Next::Request(head) => match Box::pin(connection.exchange(head)).await {
                After::Next => {
                    connection.fresh = false;
                    // Whoever sends its requests ahead never makes us wait: let others of this thread in, now and then.
                    tokio::task::coop::consume_budget().await;
                }
                After::Close(bound) => break bound,
                After::Gone => return,
            },
            Next::Refuse(status, reason) => {
                Box::pin(connection.refuse(status, &reason)).await;
                break Bound::short();
            }
            Next::End => return,
        }
    };
    Box::pin(discard::linger(&connection.io, bound)).await;
}

/// A connection, before its next request.
pub(super) struct Connection<S> {
    io: Io,
    /// Read, but not yet understood. Empty and unallocated while the connection is idle.
    buffer: BytesMut,
    link: Box<Link<S>>,
    /// No request was answered yet.
    fresh: bool,
}

enum Next {
    Request(Box<Head>),
    Refuse(StatusCode, String),
    /// The client left, or said nothing for long enough: nobody waits for an answer.
    End,
}

enum After {
    Next,
    Close(Bound),
    Gone,
}

/// A request that the service has.
struct Begun<F> {
    answering: F,
    loan: Option<Loan>,
    shape: Shape,
    keep_alive: bool,
}

/// Where the rest of a request's body is when the answer begins, if there is any.
enum Unread {
    Rest(Rest),
    /// Somebody still reads it.
    OnLoan(Loan),
}

impl<S: HttpService> Connection<S> {
    /// One that has answered nothing yet. `buffer` holds what was already read.
    pub(super) fn new(io: Io, buffer: BytesMut, mut link: Box<Link<S>>) -> Box<Self> {
        let carrier = if link.peer.tls { Carrier::Tls } else { Carrier::Plain };
        link.peer.wire = Some(Wire::new(io.clone(), carrier));
        Box::new(Self { io, buffer, link, fresh: true })
    }

    async fn head(&mut self) -> Next {
        if self.buffer.is_empty() && !self.first_bytes().await {
            return Next::End;
        }
        let config = &self.link.config;
        let max_bytes = usize::try_from(config.max_header.as_u64()).unwrap_or(usize::MAX);
        let limits = HeadLimits { max_bytes, max_headers: MAX_HEADERS };
        let deadline = Instant::now() + config.header_timeout;
        let mut scan = HeadScan::new();
        loop {
            match scan.parse(&self.buffer, &limits) {
                Ok(Some((head, length))) => {
                    self.buffer.advance(length);
                    return Next::Request(Box::new(head));
                }
                Ok(None) => {}
                Err(refusal) => return Next::Refuse(refusal.status(), refusal.to_string()),
            }
            match timeout_at(deadline, self.io.read(&mut self.buffer, READ)).await {
                Ok(Ok(read)) if read > 0 => {}
                Ok(_) => return Next::End,
                Err(_) => return Next::Refuse(StatusCode::REQUEST_TIMEOUT, "request head took too long".to_owned()),
            }
        }
    }

    /// Waits for a request; false when none comes.
    async fn first_bytes(&mut self) -> bool {
        let Self { io, buffer, link, fresh } = self;
        let patience = if *fresh { link.config.header_timeout } else { link.config.idle_timeout };
        let mut read = pin!(timeout(patience, io.read(buffer, READ)));
        // Every phase wakes this task, because `accept::connection` waits for the last one: to wait here, too, would make
        // each connection larger by 180 bytes.
        std::future::poll_fn(|cx| match read.as_mut().poll(cx) {
            Poll::Ready(read) => Poll::Ready(matches!(read, Ok(Ok(read)) if read > 0)),
            Poll::Pending if link.phases.have_reached(Phase::Closing) => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Answers a request that never reaches the service.
    async fn refuse(&mut self, status: StatusCode, reason: &str) {
        if status == StatusCode::REQUEST_TIMEOUT {
            // Thousands at a time, when somebody tries.
            debug!(client = %self.link.peer, reason, "Gave up on a request");
        } else {
            info!(client = %self.link.peer, status = status.as_u16(), reason, "Refused a malformed request");
        }
        self.link.events.refused(status);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        // The head was not understood, so neither was its Origin; a page may still read why.
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        let body = Bytes::from(format!("{reason}\n"));
        let head = encode(status, &headers, Some(body.len() as u64), false, false);
        let sent = Sender::new(&self.io, self.link.config.stall).response(head, Outgoing::Full(body)).await;
        if let Err(error) = sent {
            debug!(client = %self.link.peer, %error, "Could not send a refusal");
        }
    }

    async fn exchange(&mut self, head: Box<Head>) -> After {
        let Ok(()) = std::future::poll_fn(|cx| self.link.service.poll_ready(cx)).await;
        let Begun { answering, mut loan, shape, keep_alive } = self.begin(head);
        let response = self.answer(answering, loan.as_mut().and_then(|loan| loan.asked.take())).await;

        let unread = self.settle(loan);
        let is_ahead = self.buffer.len() > AHEAD;
        let goes_on =
            keep_alive && !self.link.phases.draining() && unread.as_ref().is_none_or(Unread::is_cheap) && !is_ahead;
        if !goes_on {
            self.buffer = BytesMut::new();
        }
        // Boxed: else all that sending needs would lie idle beside each upload.
        if let Err(error) = Box::pin(self.respond(response, shape, goes_on)).await {
            debug!(client = %self.link.peer, %error, "Response cut");
            if matches!(error, SendError::Stalled) {
                self.link.events.stalled();
                self.io.abort();
            }
            return After::Gone;
        }
        match unread {
            None if goes_on => After::Next,
            // It may still be writing, and must read that what it has sent before is stored.
            None if is_ahead => After::Close(Bound::generous()),
            None => After::Close(Bound::short()),
            // Boxed for the same reason.
            Some(unread) => Box::pin(self.finish(unread, goes_on)).await,
        }
    }

    /// Hands a request to the service, and lets go of its head.
    fn begin(&mut self, head: Box<Head>) -> Begun<S::Future> {
        let Head { request, framing, keep_alive, expects_continue } = *head;
        let shape = Shape { head_only: request.method() == Method::HEAD, v10: request.version() == Version::HTTP_10 };
        let decoder = BodyDecoder::new(framing);
        let (incoming, loan) = if decoder.is_done() {
            (Incoming::empty(), None)
        } else {
            let buffer = std::mem::take(&mut self.buffer);
            let (body, loan) = body::lend(self.io.clone(), buffer, decoder, expects_continue);
            (Incoming::H1(body), Some(loan))
        };
        let mut request = request.map(|()| incoming);
        request.extensions_mut().insert(self.link.peer.clone());
        Begun { answering: self.link.service.call(request), loan, shape, keep_alive }
    }

    /// Awaits the service, and lets the client send its body when the service first wants it.
    async fn answer(&mut self, answering: S::Future, asked: Option<oneshot::Receiver<()>>) -> Response<Outgoing> {
        let mut answering = pin!(answering);
        if let Some(mut asked) = asked {
            tokio::select! {
                biased;
                Ok(response) = &mut answering => return response,
                Ok(()) = &mut asked => {
                    Box::pin(invite(&self.io, self.link.config.stall)).await;
                }
                else => {}
            }
        }
        let Ok(response) = answering.await;
        response
    }

    /// Takes the reading side back, if the handler is through with it.
    fn settle(&mut self, loan: Option<Loan>) -> Option<Unread> {
        let mut loan = loan?;
        match loan.home.try_recv() {
            Ok(rest) if rest.decoder.is_done() => {
                self.buffer = rest.buffer;
                None
            }
            Ok(rest) => Some(Unread::Rest(rest)),
            Err(_) => Some(Unread::OnLoan(loan)),
        }
    }

    async fn respond(&mut self, response: Response<Outgoing>, shape: Shape, goes_on: bool) -> Result<(), SendError> {
        let (parts, body) = response.into_parts();
        let bodiless = shape.head_only || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&parts.status);
        // The handler of a HEAD knows what GET would bring; in front of a body only the body does.
        let said = shape.head_only && parts.headers.contains_key(CONTENT_LENGTH);
        let length = if said { None } else { Some(body.remaining()) };
        let head = encode(parts.status, &parts.headers, length, goes_on, shape.v10);
        let body = if bodiless { Outgoing::empty() } else { body };
        Sender::new(&self.io, self.link.config.stall).response(head, body).await
    }

    /// What becomes of the connection once the answer is out, and something of the request was not read.
    async fn finish(&mut self, unread: Unread, goes_on: bool) -> After {
        match unread {
            Unread::Rest(mut rest) if goes_on => {
                if Box::pin(discard::drain(&self.io, &mut rest, Bound::generous())).await {
                    self.buffer = rest.buffer;
                    After::Next
                } else {
                    After::Close(Bound::short())
                }
            }
            // Who waits for `100 Continue` has read a final status instead, and owes nothing.
            Unread::Rest(rest) if rest.withheld => After::Close(Bound::short()),
            // Also where nobody knows where it stands: an upload that failed has megabytes under way, and a client that has
            // left ends this at once.
            Unread::Rest(_) => After::Close(Bound::generous()),
            Unread::OnLoan(loan) => {
                let _ = timeout(AFTERMATH, loan.home).await;
                After::Close(Bound::short())
            }
        }
    }
}

/// Lets the client send the body that it withholds.
async fn invite(io: &Io, stall: StallLimits) {
    // A client that is gone shows when the body is read.
    let _ = Sender::new(io, stall).interim(http1::CONTINUE).await;
}

/// What of a request shapes its response.
#[derive(Clone, Copy)]
struct Shape {
    head_only: bool,
    v10: bool,
}

impl Unread {
    /// Whether the next request is worth reading this for.
    fn is_cheap(&self) -> bool {
        match self {
            Self::Rest(rest) => !rest.broken && !rest.withheld && rest.decoder.remaining().is_some_and(|n| n <= CHEAP),
            Self::OnLoan(_) => false,
        }
    }
}

fn encode(status: StatusCode, headers: &HeaderMap, length: Option<u64>, keep_alive: bool, version_10: bool) -> Vec<u8> {
    let mut head = Vec::with_capacity(512);
    date::with(|date| {
        http1::encode_head(&ResponseHead { status, headers, length, keep_alive, version_10, date }, &mut head);
    });
    head
}
