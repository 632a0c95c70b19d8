//! The types that the protocol adapters (`net`) and the handlers share: a request's body, a response's body, the peer.
//!
//! One request path: `http::Request<Incoming>` in, `http::Response<Outgoing>` out, for HTTP/1.1, HTTP/2 and later
//! HTTP/3. The bodies are concrete, so that zero copy can reach through them.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hfs_sock::Tap;

use crate::flow::{FileBody, Wire};
use crate::net::{h1, h2};

/// The body of a request, still on its way.
///
/// It carries no clock: whoever reads it decides how long silence is bearable. Dropping it unread is allowed; the
/// adapter then drains the rest within its own bound or closes.
#[derive(Debug)]
pub enum Incoming {
    /// All there is, for requests without a body and for tests.
    Full(Option<Bytes>),
    /// From an HTTP/1.1 connection.
    H1(h1::Body),
    /// From an HTTP/2 stream.
    H2(h2::Body),
}

impl Incoming {
    /// No body.
    #[must_use]
    pub fn empty() -> Self {
        Self::Full(None)
    }

    /// The next piece; `None` after the last one. The first call sends `100 Continue` where the client waits for it.
    /// Cancel-safe: a dropped call loses no bytes.
    ///
    /// # Errors
    /// The client went away or broke the framing; the body is then over.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// [`Incoming::next`] for a future that is to be small: thousands of uploads wait in theirs.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        match self {
            Self::Full(bytes) => Poll::Ready(Ok(bytes.take().filter(|bytes| !bytes.is_empty()))),
            Self::H1(body) => body.poll_next(cx),
            Self::H2(body) => body.poll_next(cx),
        }
    }
}

impl Incoming {
    /// See [`h1::Body::poll_arrived`]; of other bodies it cannot be told.
    pub(crate) async fn arrived(&mut self) -> bool {
        poll_fn(|cx| match self {
            Self::H1(body) => body.poll_arrived(cx),
            Self::Full(_) | Self::H2(_) => Poll::Ready(false),
        })
        .await
    }

    /// See [`h1::Body::bound`]; other pieces are frames of 16 KiB.
    pub(crate) fn bound(&mut self, most: usize) {
        if let Self::H1(body) = self {
            body.bound(most);
        }
    }

    /// See [`h1::Body::direct`]; other bodies have no socket of their own.
    #[must_use]
    pub(crate) fn direct(&self) -> Option<(Arc<dyn Tap>, u64)> {
        match self {
            Self::H1(body) => body.direct(),
            Self::Full(_) | Self::H2(_) => None,
        }
    }

    /// See [`h1::Body::begin_direct`].
    pub(crate) fn begin_direct(&mut self) {
        if let Self::H1(body) = self {
            body.begin_direct();
        }
    }

    /// See [`h1::Body::end_direct`].
    pub(crate) fn end_direct(&mut self, bytes: u64, is_open: bool) {
        if let Self::H1(body) = self {
            body.end_direct(bytes, is_open);
        }
    }

    /// Whether the client sends faster than it is read: the last piece, of `length`, was as long as a read could be.
    #[must_use]
    pub fn is_pressing(&self, length: usize) -> bool {
        match self {
            Self::Full(_) => false,
            Self::H1(body) => body.is_pressing(length),
            // A frame is 16 KiB at most: what comes in full ones does not trickle.
            Self::H2(_) => length >= 16 << 10,
        }
    }
}

/// Why a request body ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The client closed or reset the connection or the stream.
    #[error("the client went away")]
    Closed,
    /// Chunk framing that is no chunk framing.
    #[error("the body's framing is malformed: {0}")]
    Malformed(&'static str),
}

/// The body of a response.
#[derive(Debug)]
pub enum Outgoing {
    /// Short and known: errors, metrics, nothing at all.
    Full(Bytes),
    /// A blob, or a part of one.
    File(Box<FileBody>),
}

impl Outgoing {
    /// No body.
    #[must_use]
    pub fn empty() -> Self {
        Self::Full(Bytes::new())
    }

    /// The exact number of bytes that will follow the head.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        match self {
            Self::Full(bytes) => bytes.len() as u64,
            Self::File(body) => body.remaining(),
        }
    }
}

/// Who is on the other end of a connection: a request extension that every adapter sets.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// Address of the socket's other end; `None` on a Unix socket.
    pub socket: Option<SocketAddr>,
    /// The client's address from a PROXY protocol header, which only trusted proxies may send.
    pub announced: Option<IpAddr>,
    /// Whether the connection is TLS of our own.
    pub tls: bool,
    /// The connection itself, for probes and levers.
    pub wire: Option<Wire>,
}

impl std::fmt::Display for Peer {
    /// The client as far as it is known: for logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.announced, self.socket) {
            (Some(announced), _) => announced.fmt(f),
            (None, Some(socket)) => socket.fmt(f),
            (None, None) => f.write_str("unix"),
        }
    }
}
