//! [`Valve`]: a connection whose reader stops at a given byte until it is told to go on.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(super) struct Valve<T> {
    stream: T,
    handle: Handle,
}

/// Clones are of one valve.
#[derive(Clone)]
pub(super) struct Handle(Arc<Mutex<State>>);

struct State {
    /// Bytes that may still pass.
    left: usize,
    waiting: Option<Waker>,
}

impl<T> Valve<T> {
    /// Closes after `bytes`.
    pub(super) fn after(bytes: usize, stream: T) -> (Self, Handle) {
        let handle = Handle(Arc::new(Mutex::new(State { left: bytes, waiting: None })));
        (Self { stream, handle: handle.clone() }, handle)
    }
}

impl Handle {
    pub(super) fn is_closed(&self) -> bool {
        self.0.lock().unwrap().left == 0
    }

    pub(super) fn open(&self) {
        let mut state = self.0.lock().unwrap();
        state.left = usize::MAX;
        state.waiting.take().into_iter().for_each(Waker::wake);
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Valve<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let handle = self.handle.clone();
        let mut state = handle.0.lock().unwrap();
        if state.left == 0 {
            state.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let room = state.left.min(buffer.remaining());
        let mut room = ReadBuf::new(buffer.initialize_unfilled_to(room));
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room))?;
        let read = room.filled().len();
        state.left -= read;
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Valve<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
