//! [`Batch`]: TLS below HTTP/2, whose records leave together.
//!
//! The `h2` crate flushes after each frame, so each record of 16 KiB was a system call of its own. Here they gather
//! until the connection has nothing more to write in its turn.

use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::tls;

/// Bytes that gather at most: enough that a system call is nothing beside the encryption, and all that a reader that
/// does not keep up holds here.
const MOST: usize = 128 << 10;

/// One connection. Clones are the same connection: the `h2` crate gives no way back to what it took.
#[derive(Clone, Debug)]
pub(in crate::net) struct Batch(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    stream: tls::Stream,
    /// Bytes that rustls took since it was last emptied.
    queued: usize,
    /// Whether flushing waits for [`Batch::poll_release`].
    is_deferred: bool,
}

impl From<tls::Stream> for Batch {
    fn from(mut stream: tls::Stream) -> Self {
        // A frame more than the batch, so that a write always takes something.
        stream.get_mut().1.set_buffer_limit(Some(2 * MOST));
        Self(Arc::new(Mutex::new(Inner { stream, queued: 0, is_deferred: false })))
    }
}

impl Batch {
    /// From now on whoever drives the connection releases what has gathered.
    pub(super) fn defer(&self) {
        self.lock().is_deferred = true;
    }

    /// Sends what has gathered.
    pub(super) fn poll_release(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lock().poll_empty(cx)
    }

    /// Whether something that was written has not left yet. The `h2` crate counts it as sent.
    pub(super) fn is_holding(&self) -> bool {
        self.lock().queued > 0
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_take(
        &self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&mut rustls::Writer<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.lock();
        if inner.queued >= MOST {
            ready!(inner.poll_empty(cx))?;
        }
        let taken = take(&mut inner.stream.get_mut().1.writer())?;
        inner.queued += taken;
        Poll::Ready(Ok(taken))
    }
}

impl Inner {
    fn poll_empty(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.queued > 0 {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.queued = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Batch {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Batch {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_take(cx, |writer| writer.write(data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_take(cx, |writer| writer.write_vectored(data))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.lock();
        if inner.is_deferred { Poll::Ready(Ok(())) } else { inner.poll_empty(cx) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().stream).poll_shutdown(cx)
    }
}
