//! [`Batch`]: TLS below HTTP/2, whose records leave together.
//!
//! The `h2` crate flushes after each frame, so each record of 16 KiB was a system call of its own. Here they gather
//! until the connection has nothing more to write in its turn.

use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hfs_core::pace::BATCH;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::flow::Share;
use crate::net::socket::Socket;
use crate::net::tls;

/// Bytes that gather at most: enough that a system call is nothing beside the encryption, and all that a reader that
/// does not keep up holds here.
const MOST: usize = 128 << 10;
/// What comes in one piece: a batch is full when it holds its most or more.
const FRAME: usize = 16 << 10;
const _: () = assert!(2 * FRAME == BATCH.0 && MOST + FRAME == BATCH.1);

/// A reader that needs longer than this for a batch is slow: its progress shows by what is taken, which must not come in
/// steps of a minute. Others get whole batches, which cost less: 0.39 CPU-s/GiB where 0.42 came of taking always at once.
const PATIENCE: Duration = Duration::from_millis(500);

/// What rustls may hold beyond that: the frame that fills it, and what encryption adds to all of it. Of a slow reader's
/// batch nobody knows how full it is: what has left is counted encrypted, and it is never empty.
const BEYOND: usize = FRAME + (1 << 10);
/// All that it holds at most.
pub(super) const LIMIT: usize = MOST + BEYOND;

/// One connection. Clones are the same connection: the `h2` crate gives no way back to what it took.
#[derive(Clone, Debug)]
pub(in crate::net) struct Batch(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    stream: tls::Stream,
    /// Bytes that rustls took since it was last empty, and those that have left, give or take what encryption adds.
    queued: usize,
    left: usize,
    /// When it was first found full since then.
    full_since: Option<Instant>,
    /// Whether flushing waits for [`Batch::poll_release`].
    is_deferred: bool,
    /// Bytes that gather.
    most: usize,
    /// Of a response that is over but for what is in here.
    memory: Option<Share>,
}

impl From<tls::Stream> for Batch {
    fn from(mut stream: tls::Stream) -> Self {
        stream.get_mut().1.set_buffer_limit(Some(FRAME + BEYOND));
        let (most, memory) = (FRAME, None);
        let inner = Inner { stream, queued: 0, left: 0, full_since: None, is_deferred: false, most, memory };
        Self(Arc::new(Mutex::new(inner)))
    }
}

impl Batch {
    /// From now on whoever drives the connection releases what has gathered.
    pub(super) fn defer(&self) {
        self.lock().is_deferred = true;
    }

    /// Lets it hold `write` bytes at most, or two frames: what its responses have claimed for it.
    pub(in crate::net) fn widen(&self, write: usize) {
        let mut inner = self.lock();
        let most = write.saturating_sub(FRAME).clamp(FRAME, MOST);
        if inner.most != most {
            inner.most = most;
            inner.stream.get_mut().1.set_buffer_limit(Some(most + BEYOND));
        }
    }

    /// Keeps the memory of a response whose last bytes it has, until they have left, and no more of it than that. Of several,
    /// the one that has claimed most: each has claimed all that gathers.
    pub(super) fn keep(&self, mut memory: Share) {
        memory.trim(BATCH.1);
        let mut inner = self.lock();
        let is_more = inner.memory.as_ref().is_none_or(|kept| kept.size() < memory.size());
        if is_more && inner.stream.get_ref().1.wants_write() {
            inner.memory = Some(memory);
        }
    }

    /// Sends what has gathered.
    pub(super) fn poll_release(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lock().poll_empty(cx)
    }

    /// Whether something that was written has not left yet. The `h2` crate counts it as sent.
    pub(super) fn is_holding(&self) -> bool {
        self.lock().stream.get_ref().1.wants_write()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_take(
        &self,
        cx: &mut Context<'_>,
        mut take: impl FnMut(&mut rustls::Writer<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.lock();
        loop {
            while inner.is_full() {
                ready!(inner.poll_some(cx))?;
            }
            let session = &mut inner.stream.get_mut().1;
            let taken = take(&mut session.writer())?;
            // Nothing, although it holds something: the limit. To the caller it would be the end.
            if taken > 0 || !session.wants_write() {
                inner.queued += taken;
                return Poll::Ready(Ok(taken));
            }
            ready!(inner.poll_some(cx))?;
        }
    }
}

impl Inner {
    /// Whether it takes nothing until more has left.
    fn is_full(&mut self) -> bool {
        if self.queued < self.most {
            return false;
        }
        let is_slow = self.full_since.get_or_insert_with(Instant::now).elapsed() >= PATIENCE;
        !(is_slow && self.queued.saturating_sub(self.left) < self.most)
    }

    fn poll_empty(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.stream.get_ref().1.wants_write() {
            ready!(self.poll_some(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Gives the socket what it takes at once.
    fn poll_some(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (socket, session) = self.stream.get_mut();
        let written = match session.write_tls(&mut Exit { socket, cx }) {
            Ok(0) if session.wants_write() => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error)),
        };
        self.left += written;
        if !session.wants_write() {
            (self.queued, self.left, self.full_since, self.memory) = (0, 0, None, None);
        }
        Poll::Ready(Ok(()))
    }
}

/// A socket as rustls writes to it; who waits for it is woken.
struct Exit<'a, 'b> {
    socket: &'a mut Socket,
    cx: &'a mut Context<'b>,
}

impl Exit<'_, '_> {
    fn now(written: Poll<io::Result<usize>>) -> io::Result<usize> {
        match written {
            Poll::Ready(written) => written,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Exit<'_, '_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        Self::now(Pin::new(&mut *self.socket).poll_write(self.cx, data))
    }

    fn write_vectored(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        Self::now(Pin::new(&mut *self.socket).poll_write_vectored(self.cx, data))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
