//! [`Io`]: both directions of one HTTP/1.1 connection, cleartext or TLS, shared by the connection and the body on loan.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::{BufMut as _, BytesMut};
use hfs_sock::Tap;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio_rustls::server::TlsStream;

use crate::net::socket::{Socket, make_room, release};

/// One connection. Clones are the same connection; at any time one task reads and one writes.
#[derive(Clone, Debug)]
pub(in crate::net) struct Io(Arc<Inner>);

#[derive(Debug)]
enum Inner {
    Plain(Socket),
    /// Locked for single polls, never while waiting.
    Tls(Box<Mutex<TlsStream<Socket>>>),
}

impl From<Socket> for Io {
    fn from(socket: Socket) -> Self {
        Self(Arc::new(Inner::Plain(socket)))
    }
}

impl From<TlsStream<Socket>> for Io {
    fn from(stream: TlsStream<Socket>) -> Self {
        Self(Arc::new(Inner::Tls(Box::new(Mutex::new(stream)))))
    }
}

impl Io {
    /// See [`Socket::read`].
    pub(super) async fn read(&self, buffer: &mut BytesMut, size: usize) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx, buffer, size)).await
    }

    /// See [`Socket::poll_fill`].
    pub(super) fn poll_fill(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        size: usize,
    ) -> Poll<io::Result<usize>> {
        match &*self.0 {
            Inner::Plain(socket) => socket.poll_fill(cx, buffer, size),
            Inner::Tls(stream) => {
                make_room(buffer, size);
                let read = pin!(lock(stream).read_buf(&mut buffer.limit(size))).poll(cx);
                if read.is_pending() {
                    release(buffer);
                }
                read
            }
        }
    }

    /// The socket, where its bytes are ours to write: without TLS.
    pub(super) fn plain(&self) -> Option<&Socket> {
        match &*self.0 {
            Inner::Plain(socket) => Some(socket),
            Inner::Tls(_) => None,
        }
    }

    /// Makes TLS take up to `size` bytes at once; returns what it takes now. More per write costs less CPU per byte (16
    /// KiB 0.77 s per GiB, 1 MiB 0.49), and is held for a reader that does not keep up.
    pub(super) fn widen(&self, size: usize) -> usize {
        if let Inner::Tls(stream) = &*self.0 {
            lock(stream).get_mut().1.set_buffer_limit(Some(size));
        }
        size
    }

    /// Writes some of `data` through TLS.
    pub(super) async fn write_tls(&self, data: &[u8]) -> io::Result<usize> {
        self.poll_tls(|stream, cx| stream.poll_write(cx, data), Ok(data.len())).await
    }

    /// Whether TLS has taken bytes that the kernel has not.
    pub(super) fn holds_back(&self) -> bool {
        match &*self.0 {
            Inner::Plain(_) => false,
            Inner::Tls(stream) => lock(stream).get_ref().1.wants_write(),
        }
    }

    /// Sends what TLS still holds back.
    pub(super) async fn flush(&self) -> io::Result<()> {
        self.poll_tls(AsyncWrite::poll_flush, Ok(())).await
    }

    /// Says that nothing more will be sent.
    pub(super) async fn shutdown_write(&self) {
        match &*self.0 {
            Inner::Plain(socket) => socket.shutdown_write(),
            // The other end may be gone already: then there is nobody to tell.
            Inner::Tls(_) => self.poll_tls(AsyncWrite::poll_shutdown, Ok(())).await.unwrap_or(()),
        }
    }

    /// See [`Socket::abort`].
    pub(super) fn abort(&self) {
        match &*self.0 {
            Inner::Plain(socket) => socket.abort(),
            Inner::Tls(stream) => lock(stream).get_ref().0.abort(),
        }
    }

    /// Drives `poll` on the TLS stream; without TLS there is nothing to do and the answer is `plain`.
    async fn poll_tls<T>(
        &self,
        mut poll: impl FnMut(Pin<&mut TlsStream<Socket>>, &mut Context<'_>) -> Poll<io::Result<T>>,
        plain: io::Result<T>,
    ) -> io::Result<T> {
        match &*self.0 {
            Inner::Plain(_) => plain,
            Inner::Tls(stream) => poll_fn(|cx| poll(Pin::new(&mut *lock(stream)), cx)).await,
        }
    }
}

impl Tap for Io {
    fn tap(&self, look: &mut dyn FnMut(BorrowedFd<'_>)) {
        match &*self.0 {
            Inner::Plain(socket) => look(socket.as_fd()),
            Inner::Tls(stream) => look(lock(stream).get_ref().0.as_fd()),
        }
    }
}

/// A panic inside rustls leaves a stream that fails on its own account.
fn lock(stream: &Mutex<TlsStream<Socket>>) -> MutexGuard<'_, TlsStream<Socket>> {
    stream.lock().unwrap_or_else(PoisonError::into_inner)
}
