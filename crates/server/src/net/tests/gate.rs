//! Connections whose reader takes only so much.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Sleep, sleep};

use crate::net::{Inherited, Listeners};

/// Decides how much a reader takes.
pub(super) trait Gate: Unpin {
    /// How many bytes may pass now.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<usize>;

    /// Notes that so many did.
    fn passed(&mut self, bytes: usize);
}

/// A connection behind a gate.
pub(super) struct Gated<T, G> {
    stream: T,
    gate: G,
}

impl<T: AsyncRead + Unpin, G: Gate> AsyncRead for Gated<T, G> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = ready!(self.gate.poll_room(cx)).min(buffer.remaining());
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        buffer.advance(read);
        self.gate.passed(read);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin, G: Gate> AsyncWrite for Gated<T, G> {
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

/// Stops at a given byte until it is told to go on. Clones are the same valve.
#[derive(Clone)]
pub(super) struct Valve(Arc<Mutex<State>>);

struct State {
    /// Bytes that may still pass.
    left: usize,
    waiting: Option<Waker>,
}

impl Valve {
    /// Closes after `bytes`.
    pub(super) fn after<T>(bytes: usize, stream: T) -> (Gated<T, Self>, Self) {
        let gate = Self(Arc::new(Mutex::new(State { left: bytes, waiting: None })));
        (Gated { stream, gate: gate.clone() }, gate)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.lock().unwrap().left == 0
    }

    pub(super) fn open(&self) {
        let mut state = self.0.lock().unwrap();
        state.left = usize::MAX;
        state.waiting.take().into_iter().for_each(Waker::wake);
    }
}

impl Gate for Valve {
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        let mut state = self.0.lock().unwrap();
        if state.left == 0 {
            state.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(state.left)
    }

    fn passed(&mut self, bytes: usize) {
        self.0.lock().unwrap().left -= bytes;
    }
}

/// Lets a piece through each [`PAUSE`], until it hurries.
pub(super) struct Drip {
    piece: usize,
    pause: Pin<Box<Sleep>>,
    hurries: Arc<AtomicBool>,
}

const PAUSE: Duration = Duration::from_millis(50);

impl Drip {
    /// About `rate` bytes per second of `stream`.
    pub(super) fn of<T>(stream: T, rate: usize, hurries: &Arc<AtomicBool>) -> Gated<T, Self> {
        let piece = (rate as f64 * PAUSE.as_secs_f64()) as usize;
        let gate = Self { piece, pause: Box::pin(sleep(PAUSE)), hurries: Arc::clone(hurries) };
        Gated { stream, gate }
    }
}

impl Gate for Drip {
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        if self.hurries.load(Ordering::Relaxed) {
            return Poll::Ready(usize::MAX);
        }
        ready!(self.pause.as_mut().poll(cx));
        Poll::Ready(self.piece)
    }

    fn passed(&mut self, _: usize) {
        self.pause = Box::pin(sleep(PAUSE));
    }
}

/// A listener whose connections hold this much that was not taken, where that is not left to the kernel.
pub(super) fn listen(send_buffer: Option<usize>) -> Listeners {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    if let Some(size) = send_buffer {
        listener.set_send_buffer_size(size).unwrap();
    }
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(1).unwrap();
    let mut inherited = Inherited::none();
    inherited.add_tcp(listener.into()).unwrap();
    Listeners::bind(&[], inherited).unwrap()
}

/// A connection of which the client's kernel takes this much ahead.
pub(super) async fn connect(address: SocketAddr, receive_buffer: u32) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(receive_buffer).unwrap();
    socket.connect(address).await.unwrap()
}
