//! [`Promise`]: what the streams of a connection may have under way towards us, all together.
//!
//! What a client was told that it may send cannot be taken back: a window that is to be smaller is so when the client has
//! used what is left of the larger one. So it is told no more than its uploads have announced, and as these come, the window
//! falls with them: memory is claimed for what may still come and for what came and is not dealt with, no longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use h2::server::Connection;
use hfs_core::pace::Window;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::queue::Queued;
use crate::flow::{WindowClaim, Wire};

/// What a body of unknown length counts as: more than any window.
const UNKNOWN: u64 = 1 << 40;
/// The window falls in steps of this: each is a lock of the `h2` crate.
const STEP: u32 = 16 << 10;
/// What the next upload begins with where memory is not short. It may be sent whole before anybody has seen its head, and
/// would else wait a round trip longer.
const KEPT: u32 = 256 << 10;
/// The most that the next ones begin with together, where several at a time would each wait that round trip.
const KEPT_FOR_MANY: u32 = Window::of_connection(Window::FIRST);
/// So many times what waits is under way: where uploads begin evenly over a round trip, twice left those of 64 KiB, eight at
/// a time, a fifth below what the path allows, and this a tenth.
const PART: u64 = 4;
/// Once in this time it is a quarter less: where they still come many at a time, that shows within a round trip.
const DECAY: Duration = Duration::from_secs(5);
/// What may be left besides when all has come: padding, and bytes of streams that broke off, come without a word.
const LEFT_OVER: u32 = 2 * KEPT;

/// Body bytes of all streams of a connection.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// Bytes that were dealt with.
    dealt: AtomicU64,
    /// Bytes that are announced and not dealt with.
    due: AtomicU64,
    /// Those of them that may be sent before anybody has seen what announces them: the first [`KEPT`] of each body.
    unforeseen: AtomicU64,
    /// Bodies that have such bytes.
    waiting: AtomicU64,
    /// Bodies that were announced so far.
    begun: AtomicU64,
    /// What all of them may have under way.
    target: AtomicU32,
}

impl Arrivals {
    /// Bytes that were dealt with so far.
    pub(super) fn dealt(&self) -> u64 {
        self.dealt.load(Relaxed)
    }

    /// Whether all are let to have as much under way as suits a stream's window of `size`, or as is to come.
    pub(super) fn is_served(&self, size: u32) -> bool {
        self.target.load(Relaxed) >= wanted(self.due.load(Relaxed), Window::of_connection(size))
    }
}

/// The body of one request, among them.
#[derive(Debug)]
pub(super) struct Due {
    arrivals: Arc<Arrivals>,
    left: u64,
    /// What of it is unforeseen.
    unforeseen: u64,
}

impl Due {
    /// A body of `announced` bytes, where somebody has said.
    pub(super) fn new(arrivals: &Arc<Arrivals>, announced: Option<u64>) -> Self {
        let left = announced.unwrap_or(UNKNOWN).min(UNKNOWN);
        let unforeseen = left.min(KEPT.into());
        arrivals.due.fetch_add(left, Relaxed);
        arrivals.unforeseen.fetch_add(unforeseen, Relaxed);
        for bodies in [&arrivals.waiting, &arrivals.begun] {
            bodies.fetch_add(u64::from(left > 0), Relaxed);
        }
        Self { arrivals: Arc::clone(arrivals), left, unforeseen }
    }

    /// Says that so many were dealt with.
    pub(super) fn dealt(&mut self, bytes: usize) {
        self.arrivals.dealt.fetch_add(bytes as u64, Relaxed);
        self.count(self.left.min(bytes as u64));
    }

    fn count(&mut self, bytes: u64) {
        let unforeseen = self.unforeseen.min(bytes);
        self.left -= bytes;
        self.unforeseen -= unforeseen;
        self.arrivals.due.fetch_sub(bytes, Relaxed);
        self.arrivals.unforeseen.fetch_sub(unforeseen, Relaxed);
        self.arrivals.waiting.fetch_sub(u64::from(unforeseen > 0 && self.unforeseen == 0), Relaxed);
    }
}

impl Drop for Due {
    fn drop(&mut self) {
        self.count(self.left);
    }
}

/// What a connection begins with, and what was made of it.
#[derive(Debug)]
pub(super) struct Promise {
    /// Where there is nobody to claim memory from, it stays as it is.
    wire: Option<Wire>,
    arrivals: Arc<Arrivals>,
    /// What they may be let have under way, by the windows of streams.
    most: u32,
    /// What the next ones begin with, and how much the client may have yet of what they were to begin with before.
    kept: u32,
    kept_before: u32,
    /// When it was last made more or less.
    judged: Instant,
    /// Bodies that were announced when that was last looked at.
    begun: u64,
    /// What they are to have, and what they may have yet because they were let have it.
    target: u32,
    promised: u32,
    /// Bytes dealt with, and due, when that was last looked at.
    seen: (u64, u64),
    /// Whether it is to be looked at anew although these are the same.
    is_stale: bool,
    /// What the log was last told.
    told: u32,
}

impl Promise {
    pub(super) fn new(wire: Option<Wire>) -> Self {
        let arrivals = Arrivals { target: Window::IDLE.into(), ..Arrivals::default() };
        Self {
            wire,
            arrivals: Arc::new(arrivals),
            most: Window::of_connection(Window::FIRST),
            kept: KEPT,
            kept_before: 0,
            judged: Instant::now(),
            begun: 0,
            target: Window::IDLE,
            promised: Window::IDLE,
            seen: (0, 0),
            is_stale: false,
            told: Window::IDLE,
        }
    }

    /// For streams to count on.
    pub(super) fn arrivals(&self) -> &Arc<Arrivals> {
        &self.arrivals
    }

    /// Says that the window of each stream is `size`.
    pub(super) fn suit(&mut self, size: u32) {
        (self.most, self.is_stale) = (Window::of_connection(size), true);
    }

    /// Says that it may be larger than before.
    pub(super) fn look_anew(&mut self) {
        self.is_stale = true;
    }

    /// Whether the client may send more than every client, though nothing is to come.
    pub(super) fn is_unused(&self) -> bool {
        self.arrivals.due.load(Relaxed) == 0 && self.promised > Window::IDLE
    }

    /// Says that the connection rests: the next upload will be one again.
    pub(super) fn rest(&mut self) {
        self.keep_less(KEPT);
        self.is_stale = true;
    }

    /// Keeps no more from now on. What the client has heard of was kept, until it has used it.
    fn keep_less(&mut self, kept: u32) {
        self.kept_before = self.kept_before.max(self.kept.min(self.promised));
        self.kept = kept;
    }

    /// Whether that is more than was kept for the next uploads, or more than there is memory for: an upload broke off, or had
    /// not said how long it is. It ends with the connection only.
    pub(super) fn is_too_much(&self) -> bool {
        let is_short = || self.claim().is_some_and(WindowClaim::is_short);
        let is_scarce = || self.claim().is_some_and(WindowClaim::is_scarce);
        let is_beyond = self.promised > LEFT_OVER && (self.promised > self.kept_before || is_scarce());
        self.is_unused() && (is_beyond || self.promised > 2 * Window::IDLE && is_short())
    }

    fn claim(&self) -> Option<&WindowClaim> {
        self.wire.as_ref()?.window()
    }

    /// Follows what has come and what is to come: makes the window as large as there is use and memory for.
    pub(super) fn follow<T: AsyncRead + AsyncWrite + Unpin>(&mut self, connection: &mut Connection<T, Queued>) {
        let seen = (self.arrivals.dealt(), self.arrivals.due.load(Relaxed));
        if seen == self.seen && !self.is_stale {
            return;
        }
        let Some(wire) = self.wire.clone() else { return };
        let Some(claim) = wire.window() else { return };
        let dealt = u32::try_from(seen.0 - self.seen.0).unwrap_or(u32::MAX);
        (self.seen, self.is_stale) = (seen, false);
        // A client hears that it may send more only when the connection is polled, which follows this.
        self.promised = self.promised.saturating_sub(dealt);
        self.kept_before = self.kept_before.min(self.promised);
        let target = self.next(claim, seen.1);
        if target != self.target {
            connection.set_target_window_size(target);
            self.arrivals.target.store(target, Relaxed);
            self.target = target;
        }
        self.promised = self.promised.max(target);
        claim.keep(self.promised);
    }

    /// What the next ones are to begin with, as others begin: where these come several at a time, what of them waits for a
    /// window is a part only of what is under way within a round trip, so it is several times as much. Not where they are the
    /// first, which may well be all; and no more than one needs, slowly, where they come one at a time.
    fn keep_for_many(&mut self, claim: &WindowClaim) {
        let begun = self.arrivals.begun.load(Relaxed);
        let is_many = begun > self.begun && self.seen.0 >= KEPT.into() && self.arrivals.waiting.load(Relaxed) > 1;
        let wanted = if is_many { self.arrivals.unforeseen.load(Relaxed).saturating_mul(PART) } else { 0 };
        self.begun = begun;
        if self.kept > KEPT && self.judged.elapsed() >= DECAY {
            self.keep_less((self.kept - self.kept / 4).max(KEPT));
            self.judged = Instant::now();
        }
        // Who has that and rests is ended where memory is scarce.
        let is_scarce = (is_many || self.kept > KEPT) && claim.is_scarce();
        let wanted = wanted.min(KEPT_FOR_MANY.into()) as u32;
        if is_scarce {
            self.keep_less(KEPT);
        } else if wanted > self.kept {
            (self.kept, self.judged) = (wanted, Instant::now());
        }
    }

    /// What they are to have from now on.
    fn next(&mut self, claim: &WindowClaim, due: u64) -> u32 {
        self.keep_for_many(claim);
        let for_many = if self.kept > KEPT { self.kept.into() } else { 0 };
        let (target, wanted) = (self.target, wanted(due.max(for_many), self.most));
        if target > Window::IDLE && claim.is_short() {
            self.keep_less(KEPT);
            // No faster than the client uses up what it was told.
            let half = if self.promised <= target { target / 2 } else { target };
            let less = wanted.min(half).max(Window::IDLE);
            self.tell(claim, less, format_args!("memory is short: {wanted} were wanted"));
            return less;
        }
        if wanted > target {
            // It hears of a window only when that is half as large again.
            let granted = claim.claim(wanted.max(2 * Window::IDLE)).max(target);
            if granted > self.told.saturating_add(self.told / 2) {
                match for_many {
                    0 => self.tell(claim, granted, format_args!("{due} bytes are announced, {wanted} of them wanted")),
                    _ => self.tell(
                        claim,
                        granted,
                        format_args!("{due} bytes are announced by many, {for_many} are kept"),
                    ),
                }
            }
            return granted;
        }
        let less = wanted.max(target.min(self.kept));
        if less < target && less <= self.kept {
            let kept = self.kept;
            self.tell(claim, less, format_args!("{due} bytes are left of what was announced, {kept} are kept"));
            return less;
        }
        if target - less >= STEP { less } else { target }
    }

    fn tell(&mut self, claim: &WindowClaim, size: u32, because: std::fmt::Arguments<'_>) {
        let from = std::mem::replace(&mut self.told, size);
        if from != size {
            claim.explain("connection window", from, size, because);
        }
    }
}

impl Drop for Promise {
    /// Handlers, which have the claim as well, may live longer than their connection.
    fn drop(&mut self) {
        if let Some(claim) = self.claim() {
            claim.keep(Window::IDLE);
        }
    }
}

/// Waits until a flow of the connection behind `wire` lets it have more than every connection. Cancel-safe.
pub(super) async fn allowed(wire: Option<&Wire>) {
    match wire.and_then(Wire::window) {
        Some(claim) => claim.allowed().await,
        None => std::future::pending().await,
    }
}

/// What `due` bytes want under way, of `most`.
fn wanted(due: u64, most: u32) -> u32 {
    u32::try_from(due).unwrap_or(u32::MAX).clamp(Window::IDLE, most)
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use hfs_core::pace::Carrier;

    use super::*;
    use crate::flow::testing::anonymous;
    use crate::flow::{Begin, Engine, PaceConfig};
    use crate::telemetry::metrics::Metrics;

    #[tokio::test]
    async fn handlers_that_outlive_their_connection_claim_nothing_for_it() {
        let engine = Arc::new(Engine::new(PaceConfig::default(), Arc::new(Metrics::new())));
        let wire = Wire::new(OwnedFd::from(UnixStream::pair().unwrap().0), Carrier::H2);
        let promise = Promise::new(Some(wire.clone()));
        let _flow = engine.begin(Begin { wire: Some(wire.clone()), ..anonymous() }).await;
        let without = engine.free_memory();
        assert!(wire.window().unwrap().claim(1 << 20) > Window::IDLE);
        assert!(engine.free_memory() < without);
        drop(promise);
        assert_eq!(engine.free_memory(), without);
    }
}
