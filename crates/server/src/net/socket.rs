//! [`Socket`]: an accepted TCP or Unix connection.
//!
//! One concrete type, so that TLS, HTTP/2 and the zero-copy path need no `dyn`. Bytes that were read too early (behind
//! a PROXY header, or to see which protocol begins) are put back with [`Socket::unread`].

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// An accepted connection.
#[derive(Debug)]
pub(super) struct Socket {
    kind: Kind,
    /// Bytes to read before those of the kernel.
    prefix: BytesMut,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self { kind: Kind::Tcp(stream), prefix: BytesMut::new() }
    }
}

impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Self { kind: Kind::Unix(stream), prefix: BytesMut::new() }
    }
}

impl Socket {
    /// Puts bytes back in front of what comes next.
    pub(super) fn unread(&mut self, bytes: BytesMut) {
        debug_assert!(self.prefix.is_empty());
        self.prefix = bytes;
    }

    /// Takes what was put back: for readers that use [`Socket::read`], which does not see it.
    pub(super) fn take_unread(&mut self) -> BytesMut {
        std::mem::take(&mut self.prefix)
    }

    /// Reads what is there, in steps of about `size` bytes, appended to `buffer`; 0 is the end. Cancel-safe, and holds
    /// no memory while nothing comes: an empty buffer is given back before it waits.
    pub(super) async fn read(&self, buffer: &mut BytesMut, size: usize) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx, buffer, size)).await
    }

    /// [`Socket::read`] for a future that is to be small: each future around it holds a nested one's room again.
    pub(super) fn poll_fill(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        size: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.try_read(buffer, size) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => release(buffer),
                read => return Poll::Ready(read),
            }
            ready!(self.poll_readable(cx))?;
        }
    }

    /// Waits until there seems to be something to read, or the end. Of several tasks only the last one that waits is told:
    /// a list of them would make each wait, and each future around it, larger by 150 bytes.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.kind {
            Kind::Tcp(stream) => stream.poll_read_ready(cx),
            Kind::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    /// Reads what is there. A read that did not fill its room has emptied the socket, so the runtime is told to wait for
    /// the kernel's next word, and the next read begins with waiting instead of asking in vain: one system call less
    /// for each request of a connection.
    fn try_read(&self, buffer: &mut BytesMut, size: usize) -> io::Result<usize> {
        let mut last = None;
        let mut read = || {
            let (read, is_full) = if size <= SCRATCH {
                SCRATCHES.with_borrow_mut(|scratch| receive_by(scratch, size, self.as_fd(), buffer))?
            } else {
                make_room(buffer, size);
                let room = (buffer.capacity() - buffer.len()).min(size);
                let read = hfs_sock::receive(self.as_fd(), buffer, room)?;
                (read, read == room)
            };
            if read == 0 || is_full {
                return Ok(read);
            }
            last = Some(read);
            Err(io::ErrorKind::WouldBlock.into())
        };
        let outcome = match &self.kind {
            Kind::Tcp(stream) => stream.try_io(Interest::READABLE, &mut read),
            Kind::Unix(stream) => stream.try_io(Interest::READABLE, &mut read),
        };
        last.map_or(outcome, Ok)
    }

    /// Waits until more bytes fit into the socket; as [`Socket::readable`].
    pub(super) async fn writable(&self) -> io::Result<()> {
        poll_fn(|cx| match &self.kind {
            Kind::Tcp(stream) => stream.poll_write_ready(cx),
            Kind::Unix(stream) => stream.poll_write_ready(cx),
        })
        .await
    }

    /// Runs a system call that writes to the socket; `WouldBlock` makes the next [`Socket::writable`] wait.
    pub(super) fn try_write_with<R>(
        &self,
        mut call: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<R>,
    ) -> io::Result<R> {
        let fd = self.as_fd();
        let mut run = || Ok(rustix::io::retry_on_intr(|| call(fd))?);
        match &self.kind {
            Kind::Tcp(stream) => stream.try_io(Interest::WRITABLE, &mut run),
            Kind::Unix(stream) => stream.try_io(Interest::WRITABLE, &mut run),
        }
    }

    /// Says that nothing more will be sent.
    pub(super) fn shutdown_write(&self) {
        // The other end may be gone already: then there is nobody to tell.
        let _ = rustix::net::shutdown(self, rustix::net::Shutdown::Write);
    }

    /// Makes the coming close a reset: the kernel drops what it still holds for a peer that does not read.
    pub(super) fn abort(&self) {
        if let Kind::Tcp(_) = self.kind {
            let _ = socket2::SockRef::from(self).set_linger(Some(Duration::ZERO));
        }
    }
}

/// Reads up to this size go through memory that all connections of a thread share, so that each holds no more than what
/// has come: a slow upload's kilobytes, a request's few hundred bytes.
const SCRATCH: usize = 16 << 10;

thread_local! {
    static SCRATCHES: RefCell<BytesMut> = RefCell::default();
}

/// Reads at most `size` bytes by way of `scratch`; returns how many, and whether there may be more.
fn receive_by(
    scratch: &mut BytesMut,
    size: usize,
    socket: BorrowedFd<'_>,
    buffer: &mut BytesMut,
) -> io::Result<(usize, bool)> {
    scratch.clear();
    scratch.reserve(SCRATCH);
    let read = hfs_sock::receive(socket, scratch, size)?;
    buffer.extend_from_slice(scratch);
    Ok((read, read == size))
}

/// Makes room for a read. A quarter of a step is room enough: growing a buffer that has some costs more.
pub(super) fn make_room(buffer: &mut BytesMut, size: usize) {
    if buffer.capacity() - buffer.len() < size.div_ceil(4) {
        buffer.reserve(size);
    }
}

/// Gives the memory of an empty buffer back.
pub(super) fn release(buffer: &mut BytesMut) {
    if buffer.is_empty() {
        *buffer = BytesMut::new();
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            Kind::Tcp(stream) => stream.as_fd(),
            Kind::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.prefix.is_empty() {
            let taken = this.prefix.len().min(buffer.remaining());
            buffer.put_slice(&this.prefix[..taken]);
            this.prefix.advance(taken);
            return Poll::Ready(Ok(()));
        }
        match &mut this.kind {
            Kind::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Kind::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().kind {
            Kind::Tcp(stream) => Pin::new(stream).poll_write(cx, data),
            Kind::Unix(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().kind {
            Kind::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, data),
            Kind::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, data),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().kind {
            Kind::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Kind::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn a_read_takes_what_was_asked_for_however_much_room_there_is() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let socket = Socket::from(server);
        client.write_all(&[7; 100_000]).await.unwrap();
        for size in [SCRATCH, SCRATCH + 1, 40_000] {
            let mut buffer = BytesMut::with_capacity(256 << 10);
            buffer.extend_from_slice(b"what was there");
            assert_eq!(socket.read(&mut buffer, size).await.unwrap(), size);
        }
    }
}
