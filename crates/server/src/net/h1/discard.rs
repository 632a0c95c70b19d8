//! Reading what nobody wants, so that the client sees our answer.
//!
//! Closing a socket with unread bytes makes the kernel send a reset, and a reset makes the client's kernel drop an
//! answer that it has not read yet. Clients that write their whole body before they read therefore need the rest of it
//! taken from them, within bounds.

use bytes::{Buf, BytesMut};
use hfs_core::http1::Decoded;
use tokio::time::timeout_at;

use super::body::Rest;
use super::io::Io;
use crate::net::bound::Bound;

const READ: usize = 16 << 10;

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
                if !read(io, &mut bound, &mut rest.buffer).await {
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
    let deadline = bound.deadline();
    let mut buffer = BytesMut::new();
    if timeout_at(deadline, io.shutdown_write()).await.is_err() {
        return;
    }
    while read(io, &mut bound, &mut buffer).await && bound.spend(buffer.len()) {
        buffer.clear();
    }
}

/// One more read; false at the end of the connection or of the patience.
async fn read(io: &Io, bound: &mut Bound, buffer: &mut BytesMut) -> bool {
    matches!(timeout_at(bound.deadline(), io.read(buffer, READ)).await, Ok(Ok(read)) if read > 0)
}
