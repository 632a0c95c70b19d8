//! One HTTP/2 response on its way out, cut when its reader stalls.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use hfs_core::progress::{Progress, StallLimits};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tokio::time::{Instant, timeout_at};

use crate::http::exchange::Outgoing;
use crate::net::date;
use crate::storage::StoreError;

/// Headers that mean something to one HTTP/1.1 connection and are errors in HTTP/2.
const HOP_BY_HOP: [HeaderName; 5] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

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
) -> Result<(), SendError> {
    let (mut parts, body) = response.into_parts();
    let bodiless = head_only || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&parts.status);
    finish_headers(&mut parts.headers, parts.status, head_only, body.remaining());
    let end = bodiless || body.remaining() == 0;
    let stream = respond.send_response(Response::from_parts(parts, ()), end)?;
    if end {
        return Ok(());
    }
    let mut writer = Writer { stream, progress: Progress::new(limits, Duration::ZERO), clock: Instant::now() };
    match body {
        Outgoing::Full(mut bytes) => {
            while !bytes.is_empty() {
                let room = writer.room(bytes.len()).await?;
                let piece = bytes.split_to(room);
                writer.send(piece, bytes.is_empty())?;
            }
        }
        Outgoing::File(mut body) => {
            while body.remaining() > 0 {
                let want = usize::try_from(body.remaining()).unwrap_or(usize::MAX).min(body.flow().plan().write);
                let room = writer.room(want).await?;
                let asked = Instant::now();
                let Some(piece) = body.next(room).await? else { break };
                // A slow disk is not a slow reader: its time does not count.
                writer.clock += asked.elapsed();
                let sent = piece.len();
                writer.send(piece, body.remaining() == 0)?;
                let flow = body.flow();
                flow.moved(sent as u64, sent == want);
                writer.progress.set_limits(flow.plan().stall);
            }
        }
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

struct Writer {
    stream: SendStream<Bytes>,
    progress: Progress,
    clock: Instant,
}

impl Writer {
    /// Waits until at least one byte may be sent; at most `want`.
    async fn room(&mut self, want: usize) -> Result<usize, SendError> {
        self.stream.reserve_capacity(want);
        loop {
            // Capacity that was granted before is not announced again.
            let granted = self.stream.capacity();
            if granted > 0 {
                return Ok(granted.min(want));
            }
            let deadline = self.clock + self.progress.deadline();
            match timeout_at(deadline, poll_fn(|cx| self.stream.poll_capacity(cx))).await {
                Err(_) => return Err(SendError::Stalled),
                Ok(None) => return Err(SendError::Gone),
                Ok(Some(granted)) => {
                    granted?;
                }
            }
        }
    }

    fn send(&mut self, piece: Bytes, end: bool) -> Result<(), SendError> {
        self.progress.moved(self.clock.elapsed(), piece.len() as u64);
        self.stream.send_data(piece, end)?;
        Ok(())
    }
}
