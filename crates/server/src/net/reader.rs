//! [`Reader`]: whether whoever reads an answer still takes it.
//!
//! What our side can hand on shows that, but in coarse steps: a socket that is full takes more when a third of it has
//! left, TLS and HTTP/2 in front of it when a record or a piece of 32 KiB has. At 300 B/s those are minutes, and a stall
//! is one. So while nothing can be handed on, the kernel is asked now and then what the other end has acknowledged: the
//! limits mean the same for every protocol.

use std::pin::pin;
use std::time::Duration;

use hfs_core::progress::{Progress, StallLimits};
use hfs_sock::Tap;
use tokio::time::{Instant, timeout_at};

/// How often the kernel is asked within the time that silence may take: by so much of it a cut comes late.
const LOOKS: u32 = 4;

/// What was handed on of one answer, and may not be acknowledged: a socket tells of room when a third of its buffer has
/// left, which is 1.4 MiB by default, and hosts are tuned.
pub(super) const MOST: u64 = 8 << 20;

/// Nothing was taken for too long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stalled;

/// What may be others'. All in all it buys no more than the time that has passed since: a burst makes up for a silence, and
/// for what comes when that has come. Time in advance is for an answer's own bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    since: Duration,
    acknowledged: u64,
    counted: u64,
}

impl Part {
    /// How many of `bytes` more count at `now`, where `min_rate` is needed.
    fn add(&mut self, bytes: u64, now: Duration, min_rate: u64) -> u64 {
        if bytes == 0 {
            return 0;
        }
        let needed = now.saturating_sub(self.since).as_secs_f64() * min_rate as f64;
        self.acknowledged = self.acknowledged.saturating_add(bytes);
        let counts = self.acknowledged.min(needed as u64).saturating_sub(self.counted);
        self.counted += counts;
        // Be they ever so few, it lives.
        counts.max(1)
    }
}

/// Follows how one answer is taken.
#[derive(Debug)]
pub(super) struct Reader {
    progress: Progress,
    limits: StallLimits,
    clock: Instant,
    /// When the kernel was last asked, or something handed on, and what it said.
    looked: Duration,
    acknowledged: Option<u64>,
    /// Bytes that may still be on their way, and how many answers they are of.
    under_way: u64,
    answers: u64,
    /// Where several share a connection: its part of what was acknowledged since something was last handed on.
    part: Option<Part>,
    /// Bytes that counted when they were acknowledged, and not yet as handed on: they count once.
    ahead: u64,
}

impl Reader {
    pub(super) fn new(limits: StallLimits) -> Self {
        Self {
            progress: Progress::new(limits, Duration::ZERO),
            limits,
            clock: Instant::now(),
            looked: Duration::ZERO,
            acknowledged: None,
            under_way: 0,
            answers: 1,
            part: None,
            ahead: 0,
        }
    }

    /// Of an answer that was handed on whole.
    pub(super) fn of_what_is_left(limits: StallLimits) -> Self {
        Self { under_way: MOST, ..Self::new(limits) }
    }

    pub(super) fn set_limits(&mut self, limits: StallLimits) {
        self.limits = limits;
        self.progress.set_limits(limits);
    }

    /// Says that this time was ours: a slow disk is not a slow reader.
    pub(super) fn excuse(&mut self, spent: Duration) {
        self.clock += spent;
    }

    /// Notes that `bytes` were handed on.
    pub(super) fn took(&mut self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let bytes = bytes as u64;
        let counted = self.ahead.min(bytes);
        self.ahead -= counted;
        self.under_way = self.under_way.saturating_add(bytes).min(MOST);
        self.looked = self.clock.elapsed();
        self.acknowledged = None;
        // That there was room is a sign of life, however little of it is new.
        self.progress.moved(self.looked, (bytes - counted).max(1));
    }

    /// Says that `under_way` bytes may be acknowledged before more of this answer is, and that they are of so many answers
    /// in equal parts: where several share a connection.
    pub(super) fn share(&mut self, under_way: u64, answers: usize) {
        (self.under_way, self.answers) = (under_way, answers.max(1) as u64);
        self.part.get_or_insert_default();
    }

    /// What of [`Reader::share`] is left.
    pub(super) fn under_way(&self) -> u64 {
        self.under_way
    }

    /// Waits for `done`, which the reader of `socket` holds up.
    ///
    /// # Errors
    /// The reader stalled.
    pub(super) async fn wait<R>(
        &mut self,
        socket: Option<&dyn Tap>,
        done: impl Future<Output = R>,
    ) -> Result<R, Stalled> {
        let mut done = pin!(done);
        loop {
            match timeout_at(self.next_check(socket), done.as_mut()).await {
                Ok(done) => return Ok(done),
                Err(_) => self.look(socket)?,
            }
        }
    }

    /// Until when who waits for the reader of `socket` may do so without [`Reader::look`].
    pub(super) fn next_check(&self, socket: Option<&dyn Tap>) -> Instant {
        socket.map_or_else(|| self.deadline(), |_| self.deadline().min(self.next_look()))
    }

    /// When [`Reader::look`] is next due.
    pub(super) fn next_look(&self) -> Instant {
        self.clock + self.looked + self.limits.idle / LOOKS
    }

    /// Asks what was acknowledged since the last look.
    ///
    /// # Errors
    /// The reader has stalled.
    pub(super) fn look(&mut self, socket: Option<&dyn Tap>) -> Result<(), Stalled> {
        let acknowledged = socket.and_then(acknowledged);
        self.looked = self.clock.elapsed();
        if let Some((before, now)) = self.acknowledged.zip(acknowledged) {
            let bytes = now.wrapping_sub(before).min(self.under_way);
            self.under_way -= bytes;
            let bytes = bytes.div_ceil(self.answers);
            let counts = self.part.as_mut().map(|part| part.add(bytes, self.looked, self.limits.min_rate));
            let bytes = counts.unwrap_or(bytes);
            self.progress.moved(self.looked, bytes);
            // What more there is has bought no time: others on the connection may have had it.
            let most = self.limits.min_rate.saturating_mul(self.limits.window.as_secs());
            self.ahead = self.ahead.saturating_add(bytes).min(most);
        } else if let Some(part) = &mut self.part {
            *part = Part { since: self.looked, ..Part::default() };
        }
        self.acknowledged = acknowledged;
        if Instant::now() < self.deadline() { Ok(()) } else { Err(Stalled) }
    }

    fn deadline(&self) -> Instant {
        self.clock + self.progress.deadline()
    }
}

/// Bytes that the other end has acknowledged since the connection began; `None` where nobody counts them.
fn acknowledged(socket: &dyn Tap) -> Option<u64> {
    let mut seen = None;
    socket.tap(&mut |fd| {
        let multipath = hfs_sock::mptcp_info(fd).map(|info| info.acknowledged);
        seen = multipath.or_else(|| hfs_sock::tcp_info(fd).ok()?.bytes_acked);
    });
    seen
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::OwnedFd;

    use tokio::time::{sleep, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    struct Pair {
        ours: TcpStream,
        theirs: TcpStream,
        socket: OwnedFd,
    }

    impl Pair {
        fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let socket = ours.try_clone().unwrap().into();
            Self { ours, theirs: listener.accept().unwrap().0, socket }
        }

        /// Has so many bytes acknowledged: an answer says that at once.
        fn pass(&mut self, bytes: usize) {
            self.ours.write_all(&vec![7; bytes]).unwrap();
            self.theirs.read_exact(&mut vec![0; bytes]).unwrap();
            self.theirs.write_all(&[7]).unwrap();
            self.ours.read_exact(&mut [0]).unwrap();
        }
    }

    /// Whether a reader is cut within an hour which acknowledges so much each second, when `under_way` bytes are, of so many
    /// answers.
    async fn is_cut(under_way: u64, answers: usize, each_second: usize) -> bool {
        let mut pair = Pair::new();
        let mut reader = Reader::new(StallLimits::default());
        reader.share(under_way, answers);
        let socket = pair.socket.try_clone().unwrap();
        let passing = async {
            loop {
                pair.pass(each_second);
                sleep(SECOND).await;
            }
        };
        timeout(3600 * SECOND, reader.wait::<()>(Some(&socket), passing)).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn the_least_rate_is_of_what_is_acknowledged() {
        assert!(!is_cut(MOST, 1, 300).await);
        assert!(is_cut(MOST, 1, 200).await);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_share_a_connection_share_what_is_acknowledged() {
        assert!(!is_cut(MOST, 4, 4 * 300).await);
        assert!(is_cut(MOST, 4, 4 * 200).await);
    }

    #[tokio::test(start_paused = true)]
    async fn what_others_on_the_connection_take_does_not_keep_an_answer() {
        assert!(is_cut(100_000, 1, 300).await);
    }

    /// Whether an answer is cut within an hour, of which so many bytes are taken each minute, while its part of what its
    /// connection has acknowledged is `each_look`.
    async fn is_cut_beside_another(taken: usize, each_look: usize) -> bool {
        let mut pair = Pair::new();
        let mut reader = Reader::new(StallLimits::default());
        for look in 0..240 {
            if look % 4 == 0 {
                reader.took(taken);
            }
            sleep(15 * SECOND).await;
            reader.share(MOST, 2);
            pair.pass(2 * each_look);
            if reader.look(Some(&pair.socket)).is_err() {
                return true;
            }
        }
        false
    }

    #[tokio::test(start_paused = true)]
    async fn what_others_take_keeps_no_answer_of_a_byte_a_minute() {
        for each_look in [4000, 20_000] {
            assert!(is_cut_beside_another(1, each_look).await, "{each_look}");
            assert!(!is_cut_beside_another(300 * 60, each_look).await, "{each_look}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_long_for_a_turn_is_kept_by_what_its_connection_has_acknowledged() {
        let mut pair = Pair::new();
        let mut reader = Reader::new(StallLimits::default());
        for look in 0..240 {
            sleep(15 * SECOND).await;
            reader.share(MOST, 2);
            // Next to nothing at nine looks of ten, and ten times as much at the other.
            pair.pass(if look % 10 == 1 { 2 * 10 * 15 * 300 } else { 1 });
            reader.look(Some(&pair.socket)).expect("300 B/s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_that_counted_when_it_was_acknowledged_does_not_count_again() {
        let mut pair = Pair::new();
        let limits = StallLimits { idle: 1000 * SECOND, ..StallLimits::default() };
        let mut reader = Reader::new(limits);
        reader.took(1 << 20);
        let begin = Instant::now();
        sleep(60 * SECOND).await;
        reader.look(Some(&pair.socket)).unwrap();
        pair.pass(2560);
        reader.look(Some(&pair.socket)).unwrap();
        assert_eq!(reader.deadline() - begin, 130 * SECOND);
        reader.took(2560);
        assert!(reader.deadline() - begin < 131 * SECOND);
        reader.took(2560);
        assert!(reader.deadline() - begin >= 140 * SECOND);
    }
}
