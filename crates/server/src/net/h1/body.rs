//! [`Body`]: the reading side of an HTTP/1.1 connection, on loan to the handler for one request.
//!
//! While the handler has it, nobody else reads the connection, so back-pressure is simply not reading. When it is
//! dropped, what was read too far and the state of the framing go back to the connection, which decides whether the
//! rest is worth reading.

#[cfg(test)]
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use hfs_core::http1::{BodyDecoder, Decoded};
use hfs_sock::Tap;
use tokio::sync::oneshot;

use super::io::Io;
use crate::http::exchange::BodyError;
#[cfg(test)]
use crate::net::socket::Socket;
use crate::net::socket::release;

/// First and smallest read: slow uploads hold this much for a moment, and nothing while they wait.
const MIN_READ: u32 = 16 << 10;
/// The largest read where nobody says otherwise.
const MAX_READ: u32 = 256 << 10;
/// What TLS gives at once: a record. More room would stay empty.
const RECORD: u32 = 16 << 10;
/// Pieces up to this are copied out, so that a few bytes never pin a whole read buffer.
const COPY: usize = 4 << 10;

/// The body of one request on its connection.
#[derive(Debug)]
pub struct Body {
    io: Io,
    rest: Rest,
    /// Size of the next read, and what it may grow to.
    size: u32,
    most: u32,
    /// What the last read asked for, and the memory that what it brought lies in.
    asked: u32,
    memory: u32,
    /// Asks the connection to send `100 Continue`; gone once asked.
    ask: Option<oneshot::Sender<()>>,
    home: Option<oneshot::Sender<Rest>>,
}

/// What goes back to the connection.
#[derive(Debug)]
pub(super) struct Rest {
    /// Bytes behind what the handler took: more body, or the next request.
    pub(super) buffer: BytesMut,
    pub(super) decoder: BodyDecoder,
    /// The client went away or broke the framing.
    pub(super) broken: bool,
    /// The client still waits for `100 Continue`, and will not send the body without it.
    pub(super) withheld: bool,
}

/// The connection's side of the loan.
#[derive(Debug)]
pub(super) struct Loan {
    /// Resolves when the handler first wants bytes, where the client holds them back.
    pub(super) asked: Option<oneshot::Receiver<()>>,
    /// Resolves when the handler is through with the body.
    pub(super) home: oneshot::Receiver<Rest>,
}

/// Lends the reading side out.
pub(super) fn lend(io: Io, buffer: BytesMut, decoder: BodyDecoder, expects_continue: bool) -> (Body, Loan) {
    let (ask, asked) = expects_continue.then(oneshot::channel).unzip();
    let (home, back) = oneshot::channel();
    let memory = stored(buffer.capacity());
    let rest = Rest { buffer, decoder, broken: false, withheld: false };
    let body = Body { io, rest, size: MIN_READ, most: MAX_READ, asked: 0, memory, ask, home: Some(home) };
    (body, Loan { asked, home: back })
}

impl Body {
    /// A body of this length that comes on a socket, and that no connection waits for.
    #[cfg(test)]
    pub(crate) fn of(socket: tokio::net::TcpStream, length: u64) -> Self {
        let framing = hfs_core::http1::Framing::Length(length);
        lend(Io::from(Socket::from(socket)), BytesMut::new(), BodyDecoder::new(framing), false).0
    }

    /// See [`crate::http::exchange::Incoming::next`].
    #[cfg(test)]
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// See [`crate::http::exchange::Incoming::poll_next`].
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        loop {
            match self.rest.decoder.decode(&self.rest.buffer) {
                Ok(Decoded::Data { skip, len }) => {
                    self.rest.buffer.advance(skip);
                    return Poll::Ready(Ok(Some(self.take(len))));
                }
                Ok(Decoded::Done { consumed }) => {
                    self.rest.buffer.advance(consumed);
                    return Poll::Ready(Ok(None));
                }
                Ok(Decoded::NeedMore { consumed }) => self.rest.buffer.advance(consumed),
                Err(_) => {
                    self.rest.broken = true;
                    return Poll::Ready(Err(BodyError::Malformed("chunk framing")));
                }
            }
            if self.rest.broken {
                return Poll::Ready(Err(BodyError::Closed));
            }
            ready!(self.poll_fill(cx))?;
        }
    }

    /// Bounds the reads from now on.
    pub(crate) fn bound(&mut self, most: usize) {
        let possible = if self.io.plain().is_some() { u32::MAX } else { RECORD };
        self.most = stored(most).min(possible);
        self.size = self.size.min(self.most);
    }

    /// Whether the last piece, of `length`, was as long as a read could be.
    pub(crate) fn is_pressing(&self, length: usize) -> bool {
        // One that was less than half full has made the next one smaller.
        length >= self.size.max(self.asked) as usize / 2
    }

    /// The socket, where what it gives next is body and nothing else, and how much of it: a body of known length on a
    /// connection without TLS, all of whose bytes so far were taken.
    pub(crate) fn direct(&self) -> Option<(Arc<dyn Tap>, u64)> {
        let left = self.rest.decoder.remaining().filter(|&left| left > 0)?;
        let is_plain = self.io.plain().is_some() && self.rest.buffer.is_empty();
        (is_plain && self.ask.is_none() && !self.rest.broken).then(|| (Arc::new(self.io.clone()) as _, left))
    }

    /// Says that somebody reads the socket directly. Until [`Body::end_direct`], nobody knows where it stands: a body
    /// that is dropped meanwhile takes its connection with it.
    pub(crate) fn begin_direct(&mut self) {
        self.rest.broken = true;
    }

    /// Says that `bytes` were read directly, and whether the client is still there.
    pub(crate) fn end_direct(&mut self, bytes: u64, is_open: bool) {
        self.rest.decoder.skip(bytes);
        self.rest.broken = !is_open;
    }

    /// Waits until the next piece has begun to come, and leaves it where it is: in the kernel. False: that cannot be
    /// told, because some of it may be here already, or it is framed or encrypted.
    pub(crate) fn poll_arrived(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let is_plain = self.rest.decoder.remaining().is_some_and(|left| left > 0) && self.rest.buffer.is_empty();
        let Some(socket) = self.io.plain().filter(|_| is_plain && !self.rest.broken) else { return Poll::Ready(false) };
        ask_for_it(&mut self.ask);
        socket.poll_readable(cx).map(|ready| ready.is_ok())
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        ask_for_it(&mut self.ask);
        let known =
            self.rest.decoder.remaining().map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        let size = (self.size as usize).min(known.max(COPY));
        // Of the read before nothing is left but perhaps memory, of which only the part shows that no piece has taken: one
        // that fills the part would keep all of it. Each read has memory of its own.
        debug_assert!(self.rest.buffer.is_empty(), "the decoder uses up all framing");
        release(&mut self.rest.buffer);
        let read = ready!(self.io.poll_fill(cx, &mut self.rest.buffer, size));
        self.memory = stored(self.rest.buffer.capacity());
        self.asked = self.size;
        match read {
            Ok(0) | Err(_) => {
                self.rest.broken = true;
                return Poll::Ready(Err(BodyError::Closed));
            }
            Ok(read) if read >= size => self.size = self.size.saturating_mul(4).min(self.most),
            Ok(read) if read < self.size as usize / 2 => self.size = (self.size / 2).max(MIN_READ).min(self.most),
            Ok(_) => {}
        }
        Poll::Ready(Ok(()))
    }

    /// A piece counts as its length wherever it is gathered: so it is never the lesser part of the memory that it keeps.
    fn take(&mut self, len: usize) -> Bytes {
        let buffer = &mut self.rest.buffer;
        // What is left of a split shares its memory, and would keep it while the piece waits for the disk.
        let piece = if len == buffer.len() { std::mem::take(buffer) } else { buffer.split_to(len) };
        if len <= COPY || len < self.memory as usize / 2 { Bytes::copy_from_slice(&piece) } else { piece.freeze() }
    }

    /// What nobody took, which may be little of what was read, and lie there for as long as the answer takes.
    fn left(&mut self) -> BytesMut {
        let left = std::mem::take(&mut self.rest.buffer);
        if left.len() < self.memory as usize / 2 { BytesMut::from(&left[..]) } else { left }
    }
}

/// A size as it is kept: thousands of uploads wait, each with some.
fn stored(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

/// Lets the client send a body that it withholds.
fn ask_for_it(ask: &mut Option<oneshot::Sender<()>>) {
    if let Some(ask) = ask.take() {
        // Nobody listens once the response is on its way: then the body is over soon enough.
        let _ = ask.send(());
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let Some(home) = self.home.take() else { return };
        // A client that sent some of its body did not wait after all.
        let withheld = self.ask.is_some() && self.rest.buffer.is_empty();
        let rest = Rest { buffer: self.left(), decoder: self.rest.decoder.clone(), broken: self.rest.broken, withheld };
        // Fails when the connection is gone: then nobody needs it.
        let _ = home.send(rest);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const LENGTH: usize = 4 << 20;

    #[tokio::test]
    async fn reads_keep_to_their_bound_and_pieces_fill_their_memory() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut body = Body::of(listener.accept().await.unwrap().0, LENGTH as u64);
        body.bound(64 << 10);
        let mut longest = 0;
        client.write_all(&vec![7; 1 << 19]).await.unwrap();
        for burst in [0, 20_000, 40_000, 20_000, 9_000, 9_000] {
            client.write_all(&vec![7; burst]).await.unwrap();
            let mut left = if burst == 0 { 1 << 19 } else { burst };
            while left > 0 {
                let piece = body.next().await.unwrap().unwrap();
                (left, longest) = (left - piece.len(), longest.max(piece.len()));
                let length = piece.len();
                let memory = piece.try_into_mut().unwrap().capacity();
                assert!(memory <= 2 * length + 1, "{length} bytes keep {memory}");
            }
        }
        assert_eq!(longest, 64 << 10);
        body.bound(10_000);
        client.write_all(&[7; 100_000]).await.unwrap();
        for _ in 0..10 {
            assert!(body.next().await.unwrap().unwrap().len() <= 10_000);
        }
    }

    /// A client and the body that it sends in chunks.
    async fn chunked() -> (TcpStream, Body) {
        let (client, body, _) = on_loan().await;
        (client, body)
    }

    async fn on_loan() -> (TcpStream, Body, Loan) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let io = Io::from(Socket::from(listener.accept().await.unwrap().0));
        let decoder = BodyDecoder::new(hfs_core::http1::Framing::Chunked);
        let (body, loan) = lend(io, BytesMut::new(), decoder, false);
        (client, body, loan)
    }

    #[tokio::test]
    async fn what_follows_a_body_keeps_no_memory_of_the_body() {
        const LENGTH: usize = 400_000;
        let (mut client, mut body, loan) = on_loan().await;
        let sent = [format!("{LENGTH:x}\r\n").as_bytes(), &[7; LENGTH], b"\r\n0\r\n\r\nGET"].concat();
        client.write_all(&sent).await.unwrap();
        while body.next().await.unwrap().is_some() {}
        drop(body);
        let left = loan.home.await.unwrap().buffer;
        assert_eq!((&left[..], left.capacity()), (&b"GET"[..], 3));
    }

    #[tokio::test]
    async fn no_chunk_keeps_the_memory_of_the_chunks_before_it() {
        let (mut client, mut body) = chunked().await;
        let mut sent = Vec::new();
        // The second is most of what is left of a read, and little of the read.
        for length in [9000, 5000, 1] {
            sent.extend_from_slice(format!("{length:x}\r\n").as_bytes());
            sent.extend_from_slice(&vec![7; length]);
            sent.extend_from_slice(b"\r\n");
        }
        client.write_all(&sent).await.unwrap();
        for length in [9000, 5000, 1] {
            let piece = body.next().await.unwrap().unwrap();
            assert_eq!(piece.len(), length);
            let memory = piece.try_into_mut().map(|piece| piece.capacity());
            assert!(length == 9000 || memory.as_ref().is_ok_and(|&memory| memory <= 2 * length), "{memory:?}");
        }
    }

    /// Whether a piece that nobody else has keeps more memory than twice its length.
    fn keeps_more(piece: Bytes) -> bool {
        let length = piece.len();
        let mut memory = piece.try_into_mut().expect("a read of its own");
        // All of it counts, also what is in front of the piece.
        memory.clear();
        memory.try_reclaim(2 * length + 2)
    }

    #[tokio::test]
    async fn a_chunk_keeps_no_memory_of_longer_reads_before_it() {
        let (mut client, mut body) = chunked().await;
        let (mut before, mut longest) = (None::<Bytes>, 0);
        // The first one makes reads longer. Each of the others is there before the next read begins, so nobody waits.
        let lengths = [512 << 10].into_iter().chain([34 << 10; 8]).chain([200 << 10]);
        for (nth, length) in lengths.enumerate() {
            if nth == 9 {
                body.bound(32 << 10);
                longest = 0;
            }
            let chunk = [format!("{length:x}\r\n").as_bytes(), &vec![7; length], b"\r\n"].concat();
            client.write_all(&chunk).await.unwrap();
            let mut left = length;
            while left > 0 {
                poll_fn(|cx| body.io.plain().unwrap().poll_readable(cx)).await.unwrap();
                let piece = body.next().await.unwrap().unwrap();
                (left, longest) = (left - piece.len(), longest.max(piece.len()));
                if let Some(before) = before.replace(piece) {
                    let length = before.len();
                    assert!(!keeps_more(before), "{length} bytes before chunk {nth} ends");
                }
            }
            let most = if nth < 9 { MAX_READ as usize } else { 32 << 10 };
            assert!(longest <= most && longest >= 32 << 10, "{longest} of {most}");
        }
    }

    #[tokio::test]
    async fn a_read_less_than_half_full_is_not_pressing_although_the_next_one_is_smaller() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut body = Body::of(listener.accept().await.unwrap().0, LENGTH as u64);
        body.bound(64 << 10);
        let mut read = async |length: usize| {
            client.write_all(&vec![7; length]).await.unwrap();
            let piece = body.next().await.unwrap().unwrap();
            assert_eq!(piece.len(), length);
            body.is_pressing(length)
        };
        // Full: the next one may be four times as long.
        read(16 << 10).await;
        assert!(!read(20 << 10).await);
        assert!(read(20 << 10).await, "of 32 KiB");
    }
}
