//! Reading what nobody wants, so that the client sees our answer.
//!
//! Closing a socket with unread bytes makes the kernel send a reset, and a reset makes the client's kernel drop an
//! answer that it has not read yet. Clients that write their whole body before they read therefore need the rest of it
//! taken from them, within bounds.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use hfs_core::http1::Decoded;
use hfs_core::progress::{Progress, StallLimits};
use tokio::time::{Instant, timeout_at};

use super::body::Rest;
use super::io::Io;

const READ: usize = 16 << 10;

/// How much is read in vain, and for how long.
#[derive(Debug)]
pub(super) struct Bound {
    bytes: u64,
    progress: Progress,
    clock: Instant,
}

impl Bound {
    /// For bytes that the client still owes: up to 64 MiB, for 30 s, and longer while they come at 16 KiB/s.
    pub(super) fn generous() -> Self {
        let limits = StallLimits { idle: Duration::from_secs(5), min_rate: 16 << 10, window: Duration::from_secs(30) };
        Self::new(64 << 20, limits)
    }

    /// For a client that owes nothing, and only has to notice that we are through.
    pub(super) fn short() -> Self {
        let limits = StallLimits { idle: Duration::from_secs(2), min_rate: 1 << 20, window: Duration::from_secs(2) };
        Self::new(1 << 20, limits)
    }

    fn new(bytes: u64, limits: StallLimits) -> Self {
        Self { bytes, progress: Progress::new(limits, Duration::ZERO), clock: Instant::now() }
    }

    /// Notes `bytes` read in vain; false when that was the last of what is allowed.
    fn spend(&mut self, bytes: usize) -> bool {
        self.progress.moved(self.clock.elapsed(), bytes as u64);
        self.bytes = self.bytes.saturating_sub(bytes as u64);
        self.bytes > 0
    }

    /// One more read; false at the end of the connection or of the patience.
    async fn read(&mut self, io: &Io, buffer: &mut BytesMut) -> bool {
        let deadline = self.clock + self.progress.deadline();
        matches!(timeout_at(deadline, io.read(buffer, READ)).await, Ok(Ok(read)) if read > 0)
    }
}

/// Reads the rest of a body. True when the next request can follow.
pub(super) async fn drain(io: &Io, rest: &mut Rest, mut bound: Bound) -> bool {
    loop {
        match rest.decoder.decode(&rest.buffer) {
            Ok(Decoded::Done { consumed }) => {
                rest.buffer.advance(consumed);
                return true;
            }
            Ok(Decoded::Data { skip, len }) => {
                rest.buffer.advance(skip + len);
                if !bound.spend(len) {
                    return false;
                }
            }
            Ok(Decoded::NeedMore { consumed }) => {
                rest.buffer.advance(consumed);
                if !bound.read(io, &mut rest.buffer).await {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
}

/// Ends a connection in a way that lets the client read our last answer: says that we are through, then waits for the
/// client to close.
pub(super) async fn linger(io: &Io, mut bound: Bound) {
    let deadline = bound.clock + bound.progress.deadline();
    let mut buffer = BytesMut::new();
    if timeout_at(deadline, io.shutdown_write()).await.is_err() {
        return;
    }
    while bound.read(io, &mut buffer).await && bound.spend(buffer.len()) {
        buffer.clear();
    }
}
