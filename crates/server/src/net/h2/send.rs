//! One HTTP/2 response on its way out, cut when its reader stalls.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use hfs_core::progress::StallLimits;
use hfs_sock::Tap;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tokio::time::Instant;

use super::queue::{Queue, piece_of};
use crate::flow::{FileBody, Wire};
use crate::http::exchange::Outgoing;
use crate::net::date;
use crate::net::reader::{Reader, Stalled};
use crate::net::uptake::Uptake;
use crate::storage::StoreError;

/// Headers that mean something to one HTTP/1.1 connection and are errors in HTTP/2.
const HOP_BY_HOP: [HeaderName; 5] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Most readers take this at once, and few notice what it costs.
const LEAST: usize = 64 << 10;
/// What a frame may hold besides its head, so that both fill one TLS record: a frame of 16 KiB leaves nine bytes for a
/// record of their own.
pub(super) const FRAME: usize = (16 << 10) - 9;

/// Why a response was cut.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("the reader stalled")]
    Stalled,
    #[error("the client left the stream")]
    Gone,
    #[error("the stream broke")]
    H2(#[from] h2::Error),
    #[error("the file could not be read")]
    Store(#[from] StoreError),
}

impl From<Stalled> for SendError {
    fn from(_: Stalled) -> Self {
        Self::Stalled
    }
}

impl SendError {
    /// What the stream is reset with.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Store(_) => Reason::INTERNAL_ERROR,
            Self::Stalled | Self::Gone | Self::H2(_) => Reason::CANCEL,
        }
    }
}

pub(super) async fn response(
    respond: &mut SendResponse<Bytes>,
    response: Response<Outgoing>,
    head_only: bool,
    limits: StallLimits,
    wire: Option<&Wire>,
) -> Result<(), SendError> {
    let (mut parts, body) = response.into_parts();
    let bodiless = head_only || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&parts.status);
    finish_headers(&mut parts.headers, parts.status, head_only, body.remaining());
    let end = bodiless || body.remaining() == 0;
    let stream = respond.send_response(Response::from_parts(parts, ()), end)?;
    if end {
        return Ok(());
    }
    let mut writer = Writer { stream, reader: Reader::new(limits), wire: wire.map(|wire| wire as _) };
    match body {
        Outgoing::Full(mut bytes) => {
            while !bytes.is_empty() {
                let room = writer.room(bytes.len()).await?;
                let piece = bytes.split_to(room);
                writer.send(piece, bytes.is_empty())?;
            }
        }
        Outgoing::File(mut body) => writer.file(&mut body).await?,
    }
    Ok(())
}

/// Length and date, and nothing that only HTTP/1.1 knows.
fn finish_headers(headers: &mut HeaderMap, status: StatusCode, head_only: bool, length: u64) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    let said = headers.contains_key(CONTENT_LENGTH) && (head_only || status == StatusCode::NOT_MODIFIED);
    if status == StatusCode::NO_CONTENT {
        headers.remove(CONTENT_LENGTH);
    } else if !said && status != StatusCode::NOT_MODIFIED {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    if let Ok(now) = date::with(HeaderValue::from_str) {
        headers.insert(DATE, now);
    }
}

struct Writer<'a> {
    stream: SendStream<Bytes>,
    reader: Reader,
    wire: Option<&'a dyn Tap>,
}

impl Writer<'_> {
    async fn file(&mut self, body: &mut FileBody) -> Result<(), SendError> {
        let (queue, mut uptake) = (Arc::new(Queue::default()), Uptake::new());
        while body.remaining() > 0 {
            let write = body.flow().plan().write.max(LEAST);
            let want = usize::try_from(body.remaining()).unwrap_or(usize::MAX).min(piece_of(write));
            let mut scratch = self.reader.wait(self.wire, queue.spare(want, write)).await?;
            let room = self.room(want).await?;
            let asked = Instant::now();
            body.refill(room, &mut scratch).await?;
            self.reader.excuse(asked.elapsed());
            uptake.excuse(asked.elapsed());
            let sent = scratch.filled().len();
            self.send_framed(queue.lend(scratch), body.remaining() == 0)?;
            let flow = body.flow();
            flow.moved(sent as u64, uptake.is_quick(sent, write));
            self.reader.set_limits(flow.plan().stall);
        }
        Ok(())
    }

    /// Sends a piece in frames that fill one TLS record each.
    fn send_framed(&mut self, mut piece: Bytes, end: bool) -> Result<(), SendError> {
        while !piece.is_empty() {
            let frame = piece.split_to(piece.len().min(FRAME));
            self.send(frame, end && piece.is_empty())?;
        }
        Ok(())
    }

    /// Waits until at least one byte may be sent; at most `want`.
    async fn room(&mut self, want: usize) -> Result<usize, SendError> {
        self.stream.reserve_capacity(want);
        loop {
            // Capacity that was granted before is not announced again.
            let granted = self.stream.capacity();
            if granted > 0 {
                return Ok(granted.min(want));
            }
            let announced = poll_fn(|cx| self.stream.poll_capacity(cx));
            self.reader.wait(self.wire, announced).await?.ok_or(SendError::Gone)??;
        }
    }

    fn send(&mut self, piece: Bytes, end: bool) -> Result<(), SendError> {
        self.reader.took(piece.len());
        self.stream.send_data(piece, end)?;
        Ok(())
    }
}
