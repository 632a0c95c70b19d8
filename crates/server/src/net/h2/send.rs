//! One HTTP/2 response on its way out, cut when its reader stalls.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use hfs_core::progress::StallLimits;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tokio::time::Instant;

use super::batch::Batch;
use super::queue::{Lost, PIECE, Queue, Queued, piece_of};
use super::watch::{Turns, Watch};
use crate::flow::{FileBody, Flow};
use crate::http::exchange::Outgoing;
use crate::net::date;
use crate::net::reader::Stalled;
use crate::storage::StoreError;

/// Headers that mean something to one HTTP/1.1 connection and are errors in HTTP/2.
const HOP_BY_HOP: [HeaderName; 5] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// What plans let be queued for a slow reader, or less: most take this at once, and few notice what it costs.
pub(super) const SLOW: usize = 64 << 10;
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

impl From<Lost> for SendError {
    fn from(_: Lost) -> Self {
        Self::Gone
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

/// Sends a response. Ends when the connection has taken the last byte, or `h2`'s own buffer (less than 1 KiB), or when the
/// stream has to be cut.
pub(super) async fn response(
    respond: &mut SendResponse<Queued>,
    response: Response<Outgoing>,
    head_only: bool,
    limits: StallLimits,
    turns: &Arc<Turns>,
) -> Result<(), SendError> {
    let (mut parts, body) = response.into_parts();
    let bodiless = head_only || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&parts.status);
    finish_headers(&mut parts.headers, parts.status, head_only, body.remaining());
    let end = bodiless || body.remaining() == 0;
    let stream = respond.send_response(Response::from_parts(parts, ()), end)?;
    if end {
        return Ok(());
    }
    let queue = Arc::default();
    let mut writer = Writer { stream, watch: Watch::new(turns, &queue, limits), queue, batch: turns.batch() };
    match body {
        Outgoing::Full(bytes) => writer.bytes(bytes).await,
        Outgoing::File(mut body) => writer.file(&mut body).await,
    }
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
    stream: SendStream<Queued>,
    queue: Arc<Queue>,
    watch: Watch,
    batch: Option<Batch>,
}

impl Writer {
    async fn bytes(&mut self, mut bytes: Bytes) -> Result<(), SendError> {
        let is_short = bytes.len() <= FRAME;
        while !bytes.is_empty() {
            let room = self.room(bytes.len().min(PIECE), None).await?;
            let piece = bytes.split_to(room);
            self.send(piece, bytes.is_empty())?;
        }
        // Most answers are a line, and not worth another turn of this task. A connection holds a frame of each at most.
        if !is_short {
            self.watch.wait(None, self.queue.drained()).await??;
        }
        Ok(())
    }

    async fn file(&mut self, body: &mut FileBody) -> Result<(), SendError> {
        let queue = Arc::clone(&self.queue);
        let going = Going { body, queue: &queue, batch: self.batch.clone() };
        let body = &mut *going.body;
        while body.remaining() > 0 {
            let write = body.flow().plan().write;
            if let Some(batch) = &self.batch {
                batch.widen(write);
            }
            let want = usize::try_from(body.remaining()).unwrap_or(usize::MAX).min(piece_of(write));
            let mut scratch = self.watch.wait(Some(body.flow()), queue.spare(want, write)).await?;
            let room = self.room(want, Some(body.flow())).await?;
            let asked = Instant::now();
            body.refill(room, &mut scratch).await?;
            self.watch.excuse(asked.elapsed());
            self.send(queue.lend(scratch), body.remaining() == 0)?;
        }
        // Until then the memory is this flow's, and the limits are those of its plan.
        Ok(self.watch.wait(Some(body.flow()), queue.drained()).await??)
    }

    /// Waits until at least one byte may be sent; at most `want`.
    async fn room(&mut self, want: usize, mut flow: Option<&mut Flow>) -> Result<usize, SendError> {
        self.stream.reserve_capacity(want);
        loop {
            // Capacity that was granted before is not announced again.
            let granted = self.stream.capacity();
            if granted > 0 {
                return Ok(granted.min(want));
            }
            let announced = poll_fn(|cx| self.stream.poll_capacity(cx));
            self.watch.wait(flow.as_deref_mut(), announced).await?.ok_or(SendError::Gone)??;
        }
    }

    /// Queues a piece, in frames that fill one TLS record each.
    fn send(&mut self, mut piece: Bytes, end: bool) -> Result<(), SendError> {
        while !piece.is_empty() {
            let frame = piece.split_to(piece.len().min(FRAME));
            if let Err(error) = self.stream.send_data(self.queue.put(frame), end && piece.is_empty()) {
                // The frames after it are as lost: what was given is what was read.
                drop(self.queue.put(piece));
                return Err(error.into());
            }
        }
        Ok(())
    }
}

/// A file on its way: what is still queued when it is cut did not leave. What TLS has then goes on, and keeps its memory.
struct Going<'a> {
    body: &'a mut FileBody,
    queue: &'a Queue,
    batch: Option<Batch>,
}

impl Drop for Going<'_> {
    fn drop(&mut self) {
        self.body.note_unsent(self.queue.left());
        if let Some((batch, memory)) = self.batch.as_ref().zip(self.body.flow().hand_over()) {
            batch.keep(memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use futures_core::future::BoxFuture;
    use h2::client::ResponseFuture;
    use h2::server::Connection;
    use hfs_core::ByteSize;
    use hfs_core::pace::Direction;
    use http::Request;
    use tokio::io::{DuplexStream, duplex};
    use tokio::time::sleep;

    use super::*;
    use crate::flow::testing::anonymous;
    use crate::flow::{Begin, Engine, PaceConfig};
    use crate::storage::{Blob, Scratch};
    use crate::telemetry::metrics::Metrics;

    /// A file on a disk that takes longer for each piece than a reader may be silent.
    #[derive(Debug)]
    struct Slow(u64);

    impl Blob for Slow {
        fn size(&self) -> ByteSize {
            ByteSize::bytes(self.0)
        }

        fn refill<'a>(
            &'a self,
            _offset: u64,
            length: usize,
            scratch: &'a mut Scratch,
        ) -> BoxFuture<'a, Result<(), StoreError>> {
            Box::pin(async move {
                sleep(2 * StallLimits::default().idle).await;
                scratch.refill(length, |room| Ok(room.len())).map(|_| ())
            })
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

    /// A server's connection that somebody has asked something on, how it answers, and where the answer arrives.
    async fn asked() -> (Connection<DuplexStream, Queued>, SendResponse<Queued>, ResponseFuture) {
        let (ours, theirs) = duplex(1 << 16);
        let server = h2::server::Builder::new();
        let (client, server) = tokio::join!(h2::client::handshake(theirs), server.handshake::<_, Queued>(ours));
        let ((client, connection), mut server) = (client.unwrap(), server.unwrap());
        tokio::spawn(connection);
        let request = Request::get("http://a.example/").body(()).unwrap();
        let (answer, _) = client.ready().await.unwrap().send_request(request, true).unwrap();
        let (_request, respond) = server.accept().await.unwrap().unwrap();
        (server, respond, answer)
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_disk_is_not_a_slow_reader() {
        let (mut server, mut respond, answer) = asked().await;
        tokio::spawn(async move { while server.accept().await.is_some() {} });
        // One piece: that another had left meanwhile would be a sign of life.
        let blob = Slow(FRAME as u64);
        let engine = Arc::new(Engine::new(PaceConfig::default(), Arc::new(Metrics::new())));
        let begin = Begin { direction: Direction::Download, size: Some(blob.0), ..anonymous() };
        let flow = engine.begin(begin).await;
        let reading = tokio::spawn(async move {
            let mut body = answer.await.unwrap().into_body();
            let mut read = 0;
            while let Some(piece) = body.data().await {
                let piece = piece.unwrap();
                body.flow_control().release_capacity(piece.len()).unwrap();
                read += piece.len() as u64;
            }
            read
        });
        let size = blob.0;
        let file = FileBody::new(Arc::new(blob), 0..size, flow, |_, _| {});
        let (file, limits) = (Response::new(Outgoing::File(Box::new(file))), StallLimits::default());
        response(&mut respond, file, false, limits, &Turns::new(None, None)).await.unwrap();
        assert_eq!(reading.await.unwrap(), size);
    }

    #[tokio::test]
    async fn nothing_of_a_piece_counts_as_sent_when_its_stream_has_ended() {
        let (_server, mut respond, _answer) = asked().await;
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        stream.send_reset(Reason::CANCEL);
        let queue = Arc::default();
        let watch = Watch::new(&Turns::new(None, None), &queue, StallLimits::default());
        let mut writer = Writer { stream, watch, queue, batch: None };
        let piece = Bytes::from(vec![7; PIECE]);
        assert!(matches!(writer.send(piece, true), Err(SendError::H2(_))));
        assert_eq!(writer.queue.left(), PIECE as u64);
    }
}
