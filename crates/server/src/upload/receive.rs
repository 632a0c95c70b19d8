//! [`Receiver`]: a request body with a stall limit, or the file of a form in one.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use hfs_core::ByteSize;
use hfs_core::form::{FilePart, Form, InvalidForm, Step};
use hfs_core::pace::{Lane, Plan};
use hfs_core::profile::Quality;
use hfs_core::progress::Progress;
use tokio::time::timeout_at;

use super::PutError;
use super::tempo::{Arrival, Haste, Tempo};
use super::turns::{Turn, Turns};
use crate::clock::Stopwatch;
use crate::flow::{Flow, Share};
use crate::http::exchange::{BodyError, Incoming};
use crate::storage::{BlobWriter, Hints, Pump, PumpEnd, Pumped, SHORT};

/// What is left of a body must be worth a change of threads.
const WORTH_A_THREAD: u64 = 1 << 20;
/// Larger reads save no CPU that can be measured before the 1 MiB gather behind them.
const LONGEST: usize = 256 << 10;
/// What a thread that must see the bytes writes at once, where there is the memory.
const SEEN_PIECE: usize = 1 << 20;
/// What is held of a slow upload at most: there may be thousands, and a write costs little beside their time.
const SLOW_STEP: usize = 4 << 10;

/// Takes a body piece by piece; silence or a drip beyond the limits is [`PutError::Stalled`]. No total time limit.
#[derive(Debug)]
pub(super) struct Receiver {
    body: Incoming,
    /// The form that the file is part of, for a POST.
    form: Option<Box<Form>>,
    watch: Stopwatch,
    progress: Progress,
    received: u64,
    flow: Flow,
    /// When the store got the last piece: what passes until it asks for the next one is its time, not the network's.
    given: Duration,
    tempo: Tempo,
    /// Whether it is worth writing what has come before the rest has.
    is_long: bool,
    turns: Turns,
    turn: Option<Turn>,
}

impl Receiver {
    /// `announced` is the body's length, where the request says so.
    pub(super) fn new(body: Incoming, flow: Flow, announced: Option<ByteSize>, turns: &Turns) -> Self {
        let watch = Stopwatch::start();
        Self {
            body,
            form: None,
            watch,
            progress: Progress::new(flow.plan().stall, watch.elapsed()),
            received: 0,
            flow,
            given: watch.elapsed(),
            tempo: Tempo::new(),
            is_long: announced.is_none_or(|size| size > SHORT),
            turns: turns.clone(),
            turn: None,
        }
    }

    /// Bytes of the file that came.
    pub(super) fn received(&self) -> ByteSize {
        ByteSize::bytes(self.received)
    }

    /// How good the client's path was.
    pub(super) fn quality(&self) -> Quality {
        self.flow.quality()
    }

    /// Notes how the upload ended, where it is not stored: what is refused has not broken off.
    pub(super) fn end(&mut self, failure: Option<&PutError>) {
        let is_break = |failure: &PutError| matches!(failure, PutError::Stalled { .. } | PutError::Body(_));
        if failure.is_some_and(|failure| !is_break(failure)) {
            self.flow.refuse();
        }
    }

    pub(super) fn flow(&self) -> &Flow {
        &self.flow
    }

    /// Hands over the claim on memory, for as long as the store has bytes that are not written.
    pub(super) fn hand_over(&mut self) -> Option<Share> {
        self.flow.hand_over()
    }

    /// What the store should do with the bytes to come.
    pub(super) fn hints(&self, digest: bool) -> Hints {
        let (plan, all) = (self.flow.plan(), self.flow.plan().gather());
        let (step, piece) = match plan.lane {
            _ if self.tempo.is_slow() => (SLOW_STEP.min(all / 2), 0),
            // One step is read, and written.
            Lane::Stepwise if self.is_long => (plan.step, 0),
            _ => (all, self.longest_piece()),
        };
        Hints { preallocate: plan.preallocate, write_back: plan.write_back, step, piece, room: all, digest }
    }

    /// What may be read at once: the rest of what may be held is what is gathered. A short upload fits as a whole.
    fn longest_piece(&self) -> usize {
        let all = self.flow.plan().gather();
        let is_whole = !self.is_long && SHORT.as_u64() <= all as u64;
        if is_whole { all } else { (all / 2).clamp(1, LONGEST) }
    }

    /// Lets `writer` read the socket itself, where the client is fast enough to be worth a thread, and the plan says
    /// how. False: it did not; go on with [`Receiver::next`]. For a `digest` the bytes must be seen.
    pub(super) async fn pump(&mut self, writer: &mut dyn BlobWriter, digest: bool) -> Result<bool, PutError> {
        let Plan { lane, step, .. } = *self.flow.plan();
        // Of a form, nobody knows where the file ends before looking at it.
        if lane == Lane::Buffered || !self.tempo.is_pressed() || self.form.is_some() {
            return Ok(false);
        }
        let Some((source, left)) = self.body.direct().filter(|(_, left)| *left >= WORTH_A_THREAD) else {
            return Ok(false);
        };
        self.take_note_of_store();
        self.turn = None;
        self.flow.begin_piece();
        let how = match lane {
            Lane::Stepwise => Pump::Stepwise { step },
            _ if digest => Pump::Seen { piece: self.flow.room_for(SEEN_PIECE) },
            _ => Pump::Splice,
        };
        self.body.begin_direct();
        let pumped = writer.pump(source, left, how).await?;
        let Some(Pumped { bytes, is_spliced, end }) = pumped else {
            self.body.end_direct(0, true);
            return Ok(false);
        };
        self.body.end_direct(bytes, end != PumpEnd::Closed);
        if is_spliced {
            self.flow.zero_copied(bytes);
        }
        match how {
            Pump::Stepwise { .. } => self.flow.moved(bytes, end == PumpEnd::Flowing),
            Pump::Seen { .. } | Pump::Splice => self.flow.pumped(bytes),
        }
        self.note(bytes);
        self.received += bytes;
        // A client that makes a thread wait, or keeps it with a trickle, is the runtime's again, until it sends faster; and
        // there its limits of a stall are.
        self.tempo.pumped(end == PumpEnd::Flowing && bytes >= WORTH_A_THREAD);
        if end == PumpEnd::Closed { Err(BodyError::Closed.into()) } else { Ok(true) }
    }

    fn take_note_of_store(&mut self) {
        self.flow.held(self.watch.elapsed().saturating_sub(self.given));
    }

    fn note(&mut self, bytes: u64) {
        self.given = self.watch.elapsed();
        self.progress.moved(self.given, bytes);
        self.progress.set_limits(self.flow.plan().stall);
    }

    /// Takes the body for a form, and reads until its file begins: what follows are that file's bytes.
    pub(super) async fn open(&mut self, mut form: Form) -> Result<FilePart, PutError> {
        loop {
            match form.step()? {
                Step::More => form.feed(self.body_piece().await?.ok_or(InvalidForm::Unfinished)?),
                Step::Data(_) | Step::End => return Err(InvalidForm::NoFile.into()),
                Step::File(file) => {
                    self.form = Some(form.into());
                    return Ok(file);
                }
            }
        }
    }

    /// The next bytes of the file; `None` when all came, and the body is whole.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, PutError> {
        let piece = if self.form.is_some() { self.form_piece().await? } else { self.body_piece().await? };
        match &piece {
            Some(bytes) => self.received += bytes.len() as u64,
            None => self.flow.complete(),
        }
        Ok(piece)
    }

    async fn form_piece(&mut self) -> Result<Option<Bytes>, PutError> {
        loop {
            let Some(form) = &mut self.form else { return Ok(None) };
            let is_complete = match form.step()? {
                Step::Data(bytes) => return Ok(Some(bytes)),
                Step::More | Step::File(_) => false,
                Step::End => true,
            };
            match (self.body_piece().await?, &mut self.form) {
                (Some(piece), Some(form)) => form.feed(piece),
                // A form that a client leaves unfinished is published no more than a body that is cut.
                (None, _) if !is_complete => return Err(InvalidForm::Unfinished.into()),
                (_, _) => return Ok(None),
            }
        }
    }

    async fn body_piece(&mut self) -> Result<Option<Bytes>, PutError> {
        self.take_note_of_store();
        // Whoever asks for more has stored the piece before.
        self.turn = None;
        self.flow.begin_piece();
        let longest = self.longest_piece();
        self.body.bound(longest);
        let asked = self.watch.elapsed();
        let is_first = self.received == 0;
        let (came, piece) = self.next_piece(self.tempo.is_slow() || is_first).await?;
        if let Some(bytes) = &piece {
            let (length, waited) = (bytes.len(), came.saturating_sub(asked));
            let is_full = self.body.is_pressing(length);
            let arrival = Arrival { length, waited, is_full, is_first: is_first && self.is_long };
            let haste = self.tempo.note(&arrival, self.flow.plan().step);
            if haste == Haste::Enough {
                self.flow.suffice();
            }
            self.flow.moved(length as u64, haste != Haste::Less);
            self.note(length as u64);
        }
        Ok(piece)
    }

    /// The next piece of the body, and when it came. In turn, it is taken out of the kernel once it has begun to come and
    /// the pieces before it are stored; that wait is not the client's.
    async fn next_piece(&mut self, is_in_turn: bool) -> Result<(Duration, Option<Bytes>), PutError> {
        let deadline = self.watch.at(self.progress.deadline());
        while is_in_turn && timeout_at(deadline, self.body.arrived()).await.map_err(|_| self.stalled())? {
            let came = self.watch.elapsed();
            self.turn = Some(self.turns.take().await?);
            if let Poll::Ready(piece) = poll_fn(|cx| Poll::Ready(self.body.poll_next(cx))).await {
                return Ok((came, piece?));
            }
            // There was nothing after all: nobody waits for the network in turn.
            self.turn = None;
        }
        let piece = timeout_at(deadline, self.body.next()).await.map_err(|_| self.stalled())?;
        Ok((self.watch.elapsed(), piece?))
    }

    fn stalled(&self) -> PutError {
        PutError::Stalled { received: self.received() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::super::tempo::PRESSING;
    use super::*;
    use crate::flow::testing::anonymous;
    use crate::flow::{Begin, Engine, PaceConfig};
    use crate::net::h1;
    use crate::telemetry::metrics::Metrics;

    /// Of an upload of such a length.
    async fn receiver(config: PaceConfig, body: Incoming, length: u64) -> Receiver {
        let engine = Arc::new(Engine::new(config, Arc::new(Metrics::new())));
        let flow = engine.begin(Begin { size: Some(length), ..anonymous() }).await;
        Receiver::new(body, flow, Some(ByteSize::bytes(length)), &Turns::default())
    }

    #[tokio::test]
    async fn the_standard_path_writes_what_it_has_read() {
        let standard = || PaceConfig { enabled: false, ..PaceConfig::default() };
        let long = receiver(standard(), Incoming::empty(), 1 << 30).await.hints(false);
        assert_eq!((long.step, long.piece, long.room), (32 << 10, 0, 64 << 10));
        let short = receiver(standard(), Incoming::empty(), 9).await.hints(false);
        assert_eq!(short.step, 64 << 10, "and a short upload at once");
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_while_a_piece_is_stored_is_not_the_networks() {
        const EVERY: Duration = Duration::from_millis(250);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let body = Incoming::H1(h1::Body::of(listener.accept().await.unwrap().0, 64 << 20));
        let mut config = PaceConfig::default();
        config.settings.max_step = config.settings.first_step;
        let mut receiver = receiver(config, body, 64 << 20).await;
        // 400 KB/s for ten seconds.
        for n in 1..=40 {
            tokio::time::sleep(EVERY).await;
            client.write_all(&[7; 100_000]).await.unwrap();
            while receiver.received < n * 100_000 {
                receiver.next().await.unwrap().unwrap();
            }
        }
        let rate = |receiver: &Receiver| receiver.flow.snapshot().rate.unwrap();
        let before = rate(&receiver);
        // Then more than is asked for, by a store that takes 32 KiB in the time of 100 KB.
        let sending = tokio::spawn(async move { client.write_all(&vec![7; 2_000_000]).await.map(|()| client) });
        for _ in 0..40 {
            assert!(receiver.next().await.unwrap().unwrap().len() <= 32 << 10);
            tokio::time::advance(EVERY).await;
        }
        assert!(rate(&receiver) >= before * 9 / 10, "{before} B/s, then {}", rate(&receiver));
        sending.abort();
    }

    /// Whatever one step of a small plan is.
    #[tokio::test]
    async fn one_short_read_shows_no_client_that_is_faster_than_we_are() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let body = Incoming::H1(h1::Body::of(listener.accept().await.unwrap().0, 4 << 20));
        let mut config = PaceConfig::default();
        (config.settings.first_step, config.settings.max_step) = (16 << 10, 16 << 10);
        let mut receiver = receiver(config, body, 4 << 20).await;
        client.write_all(&vec![7; 128 << 10]).await.unwrap();
        for nth in 0..12 {
            receiver.next().await.unwrap().unwrap();
            assert!(!receiver.tempo.is_pressed() || receiver.received > u64::from(PRESSING) / 2, "read {nth}");
        }
        assert!(receiver.tempo.is_pressed(), "but many that were not waited for do");
    }
}
