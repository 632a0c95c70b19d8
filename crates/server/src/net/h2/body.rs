//! [`Body`]: the body of one HTTP/2 request.

use std::future::poll_fn;

use bytes::Bytes;
use h2::RecvStream;
use tokio::sync::oneshot;

use crate::http::exchange::BodyError;

/// The body of one request on its stream.
#[derive(Debug)]
pub struct Body {
    stream: RecvStream,
    /// Bytes that the handler has, and that the client may not send anew before it is done with them.
    unreleased: usize,
    /// Asks for `100 Continue`; gone once asked.
    ask: Option<oneshot::Sender<()>>,
}

impl Body {
    pub(crate) fn new(stream: RecvStream, ask: Option<oneshot::Sender<()>>) -> Self {
        Self { stream, unreleased: 0, ask }
    }

    /// See [`crate::http::exchange::Incoming::next`].
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        if let Some(ask) = self.ask.take() {
            // Nobody listens once the response is on its way: then the body is over soon enough.
            let _ = ask.send(());
        }
        loop {
            // Asking for more says that the piece before is dealt with: the window opens by what was consumed, so a
            // slow disk slows the client instead of filling our memory.
            let done = std::mem::take(&mut self.unreleased);
            self.stream.flow_control().release_capacity(done).map_err(|_| BodyError::Closed)?;
            match poll_fn(|cx| self.stream.poll_data(cx)).await {
                None => return Ok(None),
                Some(Err(_)) => return Err(BodyError::Closed),
                Some(Ok(bytes)) => {
                    self.unreleased = bytes.len();
                    if !bytes.is_empty() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }
}
