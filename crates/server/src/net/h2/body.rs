//! [`Body`]: the body of one HTTP/2 request.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use tokio::sync::oneshot;
use tokio::time::timeout_at;

use super::promise::Due;
use crate::http::exchange::BodyError;
use crate::net::bound::Bound;

/// The body of one request, on loan to the handler. What it leaves unread goes back to the stream's task.
#[derive(Debug)]
pub struct Body {
    /// Gone when it went back.
    rest: Option<Rest>,
    /// Asks for `100 Continue`; gone once asked.
    ask: Option<oneshot::Sender<()>>,
    home: Option<oneshot::Sender<Rest>>,
}

/// The receiving side of a stream.
#[derive(Debug)]
pub(super) struct Rest {
    stream: RecvStream,
    /// Bytes that the handler has, and that the client may not send anew before it is done with them.
    unreleased: usize,
    due: Due,
}

/// The stream's side of the loan.
#[derive(Debug)]
pub(super) struct Loan {
    /// Resolves when the handler first wants bytes that the client holds back.
    pub(super) asked: Option<oneshot::Receiver<()>>,
    /// Resolves when the handler left bytes that the client owes.
    home: oneshot::Receiver<Rest>,
}

/// Lends the receiving side out.
pub(super) fn lend(stream: RecvStream, due: Due, expects_continue: bool) -> (Body, Loan) {
    let (ask, asked) = oneshot::channel();
    let (home, back) = oneshot::channel();
    let rest = Rest { stream, unreleased: 0, due };
    let body = Body { rest: Some(rest), ask: expects_continue.then_some(ask), home: Some(home) };
    (body, Loan { asked: expects_continue.then_some(asked), home: back })
}

impl Loan {
    /// Once the answer is out: takes what the client still sends, within bounds. Ending the stream at once is allowed
    /// (a reset with `NO_ERROR`), but clients that are still sending then drop the answer, curl among them.
    pub(super) async fn discard(mut self) {
        let Ok(mut rest) = self.home.try_recv() else { return };
        let mut bound = Bound::generous();
        while let Ok(Ok(Some(bytes))) = timeout_at(bound.deadline(), poll_fn(|cx| rest.poll_next(cx))).await {
            if !bound.spend(bytes.len()) {
                return;
            }
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        // Who still waits for `100 Continue` reads a final status instead, and owes nothing.
        if let (Some(rest), Some(home), None) = (self.rest.take(), self.home.take(), &self.ask)
            && !rest.stream.is_end_stream()
        {
            // Fails when the connection is gone: then nobody needs it.
            let _ = home.send(rest);
        }
    }
}

impl Body {
    /// The body of a stream that nobody takes back.
    #[cfg(test)]
    pub(crate) fn of(stream: RecvStream) -> Self {
        lend(stream, Due::new(&std::sync::Arc::default(), None), false).0
    }

    /// See [`crate::http::exchange::Incoming::poll_next`].
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        if let Some(ask) = self.ask.take() {
            // Nobody listens once the response is on its way: then the body is over soon enough.
            let _ = ask.send(());
        }
        match &mut self.rest {
            Some(rest) => rest.poll_next(cx),
            None => Poll::Ready(Ok(None)),
        }
    }
}

impl Rest {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        loop {
            // Asking for more says that the piece before is dealt with: the window opens by what was consumed, so a
            // slow disk slows the client instead of filling our memory.
            let done = std::mem::take(&mut self.unreleased);
            if done > 0 {
                // First: what the window opens by is to be counted when the connection hears of it, which it does at once.
                self.due.dealt(done);
                self.stream.flow_control().release_capacity(done).map_err(|_| BodyError::Closed)?;
            }
            match ready!(self.stream.poll_data(cx)) {
                None => return Poll::Ready(Ok(None)),
                Some(Err(_)) => return Poll::Ready(Err(BodyError::Closed)),
                Some(Ok(bytes)) => {
                    self.unreleased = bytes.len();
                    if !bytes.is_empty() {
                        return Poll::Ready(Ok(Some(bytes)));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::task::{Wake, Waker};

    use http::Request;

    use super::super::promise::Arrivals;
    use super::*;

    /// Stands for a connection: notes how much was dealt with whenever it hears of something.
    #[derive(Default)]
    struct Connection {
        arrivals: Arc<Arrivals>,
        heard: Mutex<Vec<u64>>,
    }

    impl Wake for Connection {
        fn wake(self: Arc<Self>) {
            self.heard.lock().unwrap().push(self.arrivals.dealt());
        }
    }

    #[tokio::test]
    async fn what_opens_the_window_is_counted_before_the_connection_hears_of_it() {
        const LENGTH: usize = 60_000;
        let (near, far) = tokio::io::duplex(1 << 20);
        let (client, server) = tokio::join!(h2::client::handshake(near), h2::server::handshake(far));
        let ((mut client, connection), mut server) = (client.unwrap(), server.unwrap());
        tokio::spawn(connection);
        let request = Request::put("http://localhost/").body(()).unwrap();
        let (_answer, mut sender) = client.send_request(request, false).unwrap();
        sender.send_data(vec![7; LENGTH].into(), false).unwrap();
        let (request, _respond) = server.accept().await.unwrap().unwrap();
        let listening = Arc::new(Connection::default());
        let due = Due::new(&listening.arrivals, None);
        let mut body = lend(request.into_body(), due, false).0;
        let (waker, mut taken, mut hears) = (Waker::from(Arc::clone(&listening)), 0, false);
        while taken < LENGTH as u64 {
            // As its task would: it hears of the next thing that is to be said.
            assert!(server.poll_accept(&mut Context::from_waker(&waker)).is_pending());
            tokio::task::yield_now().await;
            listening.heard.lock().unwrap().clear();
            let piece = body.poll_next(&mut Context::from_waker(Waker::noop()));
            let heard = std::mem::take(&mut *listening.heard.lock().unwrap());
            assert!(heard.iter().all(|&dealt| dealt == taken), "{heard:?} of {taken}");
            hears |= !heard.is_empty();
            let Poll::Ready(piece) = piece else { continue };
            taken += piece.unwrap().unwrap().len() as u64;
        }
        assert!(hears);
    }
}
