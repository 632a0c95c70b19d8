//! [`Sender`]: one response on its way out, cut when its reader stalls.
//!
//! Three lanes: short bodies join their head in one write; files on a cleartext connection go by sendfile; everything
//! else is read in pieces and written. Sendfile blocks on a cold disk, so each window is looked for in the page cache
//! first, and what is not there is read by the store, off this thread and with the store's deadline.

use std::io;
use std::io::IoSliceMut;
use std::time::Duration;

use hfs_core::pace::Lane;
use hfs_core::progress::StallLimits;
use rustix::io::ReadWriteFlags;
use rustix::net::SendFlags;
use tokio::time::Instant;

use super::io::Io;
use crate::flow::FileBody;
use crate::http::exchange::Outgoing;
use crate::net::reader::{Reader, Stalled};
use crate::net::socket::Socket;
use crate::net::uptake::SOON;
use crate::storage::{Scratch, StoreError};

/// Bodies up to this are copied behind their head: one system call instead of two.
const APPEND: usize = 16 << 10;
/// One sendfile call: long enough to be cheap, short enough that other connections of this thread get their turn.
const WINDOW: u64 = 1 << 20;
/// How long it is believed that a window is in memory.
const FRESH: Duration = Duration::from_secs(1);

/// Why a response was cut.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("the reader stalled")]
    Stalled,
    #[error("the connection broke")]
    Io(#[from] io::Error),
    #[error("the file could not be read")]
    Store(#[from] StoreError),
    #[error("the file became shorter while it was sent")]
    Short,
}

impl From<Stalled> for SendError {
    fn from(_: Stalled) -> Self {
        Self::Stalled
    }
}

/// One response on its way out.
#[derive(Debug)]
pub(super) struct Sender<'a> {
    io: &'a Io,
    reader: Reader,
    /// Whether the reader kept a write waiting since this was last cleared.
    waited: bool,
}

impl<'a> Sender<'a> {
    pub(super) fn new(io: &'a Io, limits: StallLimits) -> Self {
        Self { io, reader: Reader::new(limits), waited: false }
    }

    /// Sends an encoded head and what follows it.
    pub(super) async fn response(&mut self, mut head: Vec<u8>, body: Outgoing) -> Result<(), SendError> {
        match body {
            Outgoing::Full(bytes) if bytes.len() <= APPEND => {
                head.extend_from_slice(&bytes);
                self.bytes(&head, false).await?;
            }
            Outgoing::Full(bytes) => {
                self.bytes(&head, true).await?;
                self.bytes(&bytes, false).await?;
            }
            Outgoing::File(mut body) => {
                append_small(&mut body, &mut head);
                self.head(&head, &mut body).await?;
                drop(head);
                self.file(&mut body).await?;
                // While the body lives: the memory of what TLS still holds is its, and until then it has not left.
                self.flush().await?;
                body.note_unsent(0);
                return Ok(());
            }
        }
        self.flush().await
    }

    /// Sends a head, and what was put behind it of a file.
    async fn head(&mut self, mut head: &[u8], body: &mut FileBody) -> Result<(), SendError> {
        let more = body.remaining() > 0;
        while !head.is_empty() {
            head = &head[self.some(head, more).await?..];
            self.note_unsent(body, head.len(), APPEND);
        }
        Ok(())
    }

    /// Sends bytes; `more` says that others follow at once.
    async fn bytes(&mut self, mut data: &[u8], more: bool) -> Result<(), SendError> {
        while !data.is_empty() {
            data = &data[self.some(data, more).await?..];
        }
        Ok(())
    }

    /// Sends at least one byte of these; returns how many.
    async fn some(&mut self, data: &[u8], more: bool) -> Result<usize, SendError> {
        let flags = if more { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
        let sent = loop {
            let Some(socket) = self.io.plain() else { break self.while_taken(self.io.write_tls(data)).await?? };
            match socket.try_write_with(|fd| rustix::net::send(fd, data, flags)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(socket).await?,
                sent => break sent?,
            }
        };
        self.waited |= sent < data.len();
        self.reader.took(sent);
        Ok(sent)
    }

    /// Sends an interim response.
    pub(super) async fn interim(&mut self, head: &[u8]) -> Result<(), SendError> {
        self.bytes(head, false).await?;
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), SendError> {
        self.while_taken(self.io.flush()).await??;
        Ok(())
    }

    async fn file(&mut self, body: &mut FileBody) -> Result<(), SendError> {
        let (mut scratch, mut turn) = (Scratch::default(), body.remaining());
        while body.remaining() > 0 {
            // Nothing here waits for a reader that keeps up: let others of this thread in.
            if turn - body.remaining() >= WINDOW {
                tokio::task::yield_now().await;
                turn = body.remaining();
            }
            let window = body.remaining().min(WINDOW);
            let zero_copy = body.flow().plan().lane == Lane::ZeroCopy;
            match (self.io.plain().filter(|_| zero_copy), body.file()) {
                (Some(socket), Some(_)) if body.is_at_hand(window) => self.window(socket, body, window).await?,
                _ => self.piece(body, &mut scratch).await?,
            }
        }
        Ok(())
    }

    /// One window by sendfile; less where its reader is so slow that what was in memory need not be any more.
    async fn window(&mut self, socket: &Socket, body: &mut FileBody, window: u64) -> Result<(), SendError> {
        let end = body.remaining() - window;
        let mut waiting = None;
        while body.remaining() > end {
            let Some((file, mut at)) = body.file() else { return Ok(()) };
            // At most WINDOW, which fits everywhere.
            let left = (body.remaining() - end) as usize;
            match socket.try_write_with(|fd| rustix::fs::sendfile(fd, file, Some(&mut at), left)) {
                Ok(0) => return Err(SendError::Short),
                Ok(sent) => {
                    body.advance(sent as u64);
                    self.reader.took(sent);
                    body.flow().zero_copied(sent as u64);
                    body.flow().carried(sent as u64);
                    self.follow(body);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let since = *waiting.get_or_insert_with(Instant::now);
                    self.wait(socket).await?;
                    if since.elapsed() > FRESH {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// One piece, read by the store.
    async fn piece(&mut self, body: &mut FileBody, scratch: &mut Scratch) -> Result<(), SendError> {
        let asked = Instant::now();
        let size =
            if self.io.plain().is_some() { body.flow().plan().step } else { self.io.widen(body.flow().plan().write) };
        body.refill(size, scratch).await?;
        self.reader.excuse(asked.elapsed());
        let (handed, more) = (Instant::now(), body.remaining() > 0);
        let (mut rest, mut untold) = (scratch.filled(), 0);
        while !rest.is_empty() {
            let sent = self.some(rest, more).await?;
            (rest, untold) = (&rest[sent..], untold + sent);
            self.note_unsent(body, rest.len(), size);
            // That a socket was full now and then says nothing about a write of a megabyte.
            self.waited = handed.elapsed() > SOON;
            // What TLS takes at once is seconds of a slow path, which is looked at meanwhile, as it is without TLS.
            if rest.is_empty() || (self.waited && self.io.plain().is_none()) {
                body.flow().moved(std::mem::take(&mut untold) as u64, !self.waited);
                self.follow(body);
            }
        }
        Ok(())
    }

    /// Tells a file what of it may not have left: `rest`, which was not handed on, and what TLS holds, which tells nobody how
    /// much that is; it takes `most` at once.
    fn note_unsent(&self, body: &mut FileBody, rest: usize, most: usize) {
        let held = if self.io.holds_back() { most } else { 0 };
        body.note_unsent((rest + held) as u64);
    }

    /// Takes the limits of a flow that was told what went out.
    fn follow(&mut self, body: &mut FileBody) {
        self.waited = false;
        self.reader.set_limits(body.flow().plan().stall);
    }

    async fn wait(&mut self, socket: &Socket) -> Result<(), SendError> {
        self.waited = true;
        self.while_taken(socket.writable()).await??;
        Ok(())
    }

    /// Waits for what the reader holds up.
    async fn while_taken<R>(&mut self, done: impl Future<Output = R>) -> Result<R, SendError> {
        Ok(self.reader.wait(Some(self.io), done).await?)
    }
}

/// Puts a short, cached file behind its head.
fn append_small(body: &mut FileBody, head: &mut Vec<u8>) {
    let Some(length) = usize::try_from(body.remaining()).ok().filter(|&length| length > 0 && length <= APPEND) else {
        return;
    };
    let start = head.len();
    let Some((file, at)) = body.file() else { return };
    head.resize(start + length, 0);
    let mut target = [IoSliceMut::new(&mut head[start..])];
    match rustix::io::preadv2(file, &mut target, at, ReadWriteFlags::NOWAIT) {
        Ok(read) if read == length => body.note_read(length as u64),
        _ => head.truncate(start),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::Relaxed;

    use futures_core::future::BoxFuture;
    use hfs_core::ByteSize;
    use hfs_core::pace::Direction;
    use tokio::task::yield_now;

    use super::*;
    use crate::flow::testing::anonymous;
    use crate::flow::{Begin, Engine, PaceConfig};
    use crate::storage::Blob;
    use crate::telemetry::metrics::Metrics;

    const SIZE: u64 = 64 << 20;

    /// In memory, and how far it was read.
    #[derive(Debug)]
    struct Memory(Arc<AtomicU64>);

    impl Blob for Memory {
        fn size(&self) -> ByteSize {
            ByteSize::bytes(SIZE)
        }

        fn refill<'a>(
            &'a self,
            offset: u64,
            length: usize,
            scratch: &'a mut Scratch,
        ) -> BoxFuture<'a, Result<(), StoreError>> {
            self.0.store(offset + length as u64, Relaxed);
            Box::pin(std::future::ready(scratch.refill(length, |room| Ok(room.len())).map(|_| ())))
        }

        fn file(&self) -> Option<&File> {
            None
        }

        fn is_at_hand(&self, _offset: u64, _length: u64) -> bool {
            false
        }

        fn is_untouched(&self) -> bool {
            false
        }
    }

    #[tokio::test]
    async fn who_reads_as_fast_as_it_is_sent_keeps_no_others_out() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let io = Io::from(Socket::from(tokio::net::UnixStream::from_std(ours).unwrap()));
        let reading = std::thread::spawn(move || {
            let (mut room, mut all) = (vec![0; 1 << 20], 0);
            loop {
                match theirs.read(&mut room).unwrap() {
                    0 => return all,
                    read => all += read as u64,
                }
            }
        });
        let (read, longest) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (seen, most) = (Arc::clone(&read), Arc::clone(&longest));
        let other = tokio::spawn(async move {
            let mut before = 0;
            loop {
                let now = seen.load(Relaxed);
                most.fetch_max(now - before, Relaxed);
                before = now;
                yield_now().await;
            }
        });
        let engine = Arc::new(Engine::new(PaceConfig::default(), Arc::new(Metrics::new())));
        let flow = engine.begin(Begin { direction: Direction::Download, size: Some(SIZE), ..anonymous() }).await;
        let body = FileBody::new(Arc::new(Memory(read)), 0..SIZE, flow, |_, _| {});
        let body = Outgoing::File(Box::new(body));
        Sender::new(&io, StallLimits::default()).response(Vec::new(), body).await.unwrap();
        drop(io);
        assert_eq!(reading.join().unwrap(), SIZE);
        other.abort();
        let (longest, step) = (longest.load(Relaxed), PaceConfig::default().settings.max_step as u64);
        assert!(longest <= WINDOW + step, "nobody else had a turn while {longest} bytes were sent");
    }
}
