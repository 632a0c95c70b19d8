//! [`Watch`]: whether the reader of one HTTP/2 response takes it, and how fast.
//!
//! The answers of a connection take turns, and what the kernel says is acknowledged is of all of them. So while nothing of
//! one is taken, its equal part of what is acknowledged counts for it, and only of as much as may pass before its turn
//! comes: what lies below the streams, what short answers left there, and what each of the others may send meanwhile. Where
//! more passes, its own window is shut.
//!
//! Each byte that is taken lets as much pass again. So what may be others' buys, all in all, no more than the time that has
//! passed since the first look after that byte: a reader that takes a byte a minute loses the answer, whatever else it reads.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use hfs_core::progress::StallLimits;
use hfs_sock::Tap;
use tokio::time::{Instant, timeout_at};

use super::MAX_STREAMS;
use super::batch::{self, Batch};
use super::queue::{PIECE, Queue};
use super::send::{FRAME, SLOW};
use crate::flow::{Flow, Wire};
use crate::net::reader::{MOST, Reader, Stalled};
use crate::net::uptake::Uptake;

/// What an answer may send before it is another one's turn: what it has queued for a slow reader, where its client's window
/// is one for all a piece more.
const TURN: u64 = (SLOW + PIECE) as u64;
/// What answers of one frame may have left to the connection: nobody follows them.
const SHORT: u64 = MAX_STREAMS as u64 * FRAME as u64;

/// The answers that one connection sends at a time.
#[derive(Debug)]
pub(super) struct Turns {
    wire: Option<Wire>,
    /// What TLS gathers, where there is TLS.
    batch: Option<Batch>,
    answers: AtomicUsize,
}

impl Turns {
    /// Of the connection behind `wire`.
    pub(super) fn new(wire: Option<Wire>, batch: Option<Batch>) -> Arc<Self> {
        Arc::new(Self { wire, batch, answers: AtomicUsize::new(0) })
    }

    /// What TLS gathers, where there is TLS.
    pub(super) fn batch(&self) -> Option<Batch> {
        self.batch.clone()
    }

    fn socket(&self) -> Option<&dyn Tap> {
        self.wire.as_ref().map(|wire| wire as _)
    }

    /// What was written and may not be acknowledged.
    fn below(&self) -> u64 {
        let mut unacknowledged = None;
        if let Some(socket) = self.socket() {
            socket.tap(&mut |fd| unacknowledged = hfs_sock::unacknowledged(fd).ok());
        }
        let gathered = if self.batch.is_some() { batch::LIMIT as u64 } else { 0 };
        unacknowledged.map_or(MOST, |bytes| bytes as u64 + gathered)
    }
}

/// Follows one response.
#[derive(Debug)]
pub(super) struct Watch {
    turns: Arc<Turns>,
    queue: Arc<Queue>,
    reader: Reader,
    uptake: Uptake,
    /// Bytes that its queue was given and its connection has taken, when that was last looked at.
    given: u64,
    taken: u64,
    /// How many answers take turns since then, at most; none: it has not been asked.
    others: usize,
}

impl Watch {
    pub(super) fn new(turns: &Arc<Turns>, queue: &Arc<Queue>, limits: StallLimits) -> Self {
        turns.answers.fetch_add(1, Relaxed);
        Self {
            turns: Arc::clone(turns),
            queue: Arc::clone(queue),
            reader: Reader::new(limits),
            uptake: Uptake::new(),
            given: 0,
            taken: 0,
            others: 0,
        }
    }

    /// Says that this time was ours.
    pub(super) fn excuse(&mut self, spent: Duration) {
        self.reader.excuse(spent);
        self.uptake.excuse(spent);
    }

    /// Waits for `done`, which the reader holds up. Meanwhile `flow` is told what was taken, and looks at its path as often
    /// as its plan says, but not while it is open whether the reader is slow.
    ///
    /// # Errors
    /// The reader stalled.
    pub(super) async fn wait<R>(
        &mut self,
        mut flow: Option<&mut Flow>,
        done: impl Future<Output = R>,
    ) -> Result<R, Stalled> {
        let mut done = pin!(done);
        loop {
            let check = self.reader.next_check(self.turns.socket());
            let look = flow.as_ref().and_then(|flow| flow.next_look()).map(|look| look.max(self.uptake.until()));
            let waited = timeout_at(look.map_or(check, |look| look.min(check)), done.as_mut()).await;
            let has_moved = self.follow(flow.as_deref_mut());
            if let Ok(done) = waited {
                return Ok(done);
            }
            if !has_moved && Instant::now() >= check {
                self.check()?;
            }
        }
    }

    /// Notes what was taken since the last time; whether anything was.
    fn follow(&mut self, flow: Option<&mut Flow>) -> bool {
        let (given, taken) = (self.queue.given(), self.queue.taken());
        let bytes = usize::try_from(taken - self.taken).unwrap_or(usize::MAX);
        self.reader.took(bytes);
        if (given, taken) != (self.given, self.taken) {
            (self.given, self.taken, self.others) = (given, taken, 0);
        }
        if let Some(flow) = flow {
            let is_quick = self.uptake.is_quick(bytes, flow.plan().write);
            flow.moved(bytes as u64, is_quick);
            self.reader.set_limits(flow.plan().stall);
        }
        bytes > 0
    }

    fn check(&mut self) -> Result<(), Stalled> {
        let answers = self.turns.answers.load(Relaxed);
        let passing = match answers.saturating_sub(self.others) as u64 * TURN {
            turns if self.others == 0 => self.turns.below() + SHORT + turns,
            turns => self.reader.under_way() + turns,
        };
        self.others = self.others.max(answers);
        self.reader.share(passing, answers);
        self.reader.look(self.turns.socket())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.turns.answers.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsFd as _, OwnedFd};

    use hfs_core::pace::Carrier;

    use super::*;

    #[tokio::test]
    async fn short_answers_that_are_left_to_the_connection_may_pass_before_a_longer_ones_turn() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut ours = listener.accept().unwrap().0;
        let wire = Wire::new(OwnedFd::from(ours.try_clone().unwrap()), Carrier::H2);
        let turns = Turns::new(Some(wire), None);
        let mut watch = Watch::new(&turns, &Arc::default(), StallLimits::default());
        watch.check().unwrap();
        // Its own turn, and short ones of others: half of those that there may be.
        let passes = TURN + SHORT / 2;
        let bytes = vec![0; usize::try_from(passes).unwrap()];
        let reader = std::thread::spawn(move || theirs.read_exact(&mut vec![0; usize::try_from(passes).unwrap()]));
        ours.write_all(&bytes).unwrap();
        reader.join().unwrap().unwrap();
        let begin = Instant::now();
        while hfs_sock::unacknowledged(ours.as_fd()).unwrap() > 0 {
            assert!(begin.elapsed() < Duration::from_secs(10), "what was read is acknowledged");
            tokio::task::yield_now().await;
        }
        watch.check().unwrap();
        assert_eq!(watch.reader.under_way(), SHORT / 2, "all of them counted, and as many may pass yet");
    }
}
