//! [`Wire`]: the connection below a transfer, as far as probes and levers need it.

mod allowed;
mod levers;
mod sample;

use std::os::fd::BorrowedFd;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use hfs_core::pace::{Carrier, Congestion, PathSample};
use hfs_sock::Tap;

pub(super) use allowed::{Unsettable, may_set};
pub(super) use levers::Asked;
use levers::Set;
use sample::of_all;
pub(super) use sample::of_kernel;

use super::window::WindowClaim;
use crate::clock::Stopwatch;

/// How long a look at the path serves transfers that end meanwhile.
const RECENT: Duration = Duration::from_millis(200);

/// A share of a connection's socket, for as long as the connection lasts: all its transfers have the same.
#[derive(Clone)]
pub struct Wire(Arc<Inner>);

struct Inner {
    socket: Box<dyn Tap>,
    carrier: Carrier,
    /// The congestion control that the connection began with: its listener's, which need not be the host's.
    origin: OnceLock<Option<String>>,
    /// Whether some transfer has looked at the path.
    was_sampled: AtomicBool,
    /// Whether one of these looks has shown that it is not multipath: what is not, or no longer, never is again.
    is_single_path: AtomicBool,
    /// What a transfer that ended showed, for those that end soon after it.
    seen: Mutex<Option<Box<Look>>>,
    /// When a transfer last taught something.
    taught: Mutex<Option<Stopwatch>>,
    set: Mutex<Set>,
    /// Where the connection has a window of its own that follows plans: on HTTP/2.
    window: Option<Box<WindowClaim>>,
}

/// The last look at the path, and what it showed.
struct Look {
    at: Stopwatch,
    shown: Option<PathSample>,
}

impl Wire {
    /// The connection behind `socket`.
    #[must_use]
    pub fn new(socket: impl Tap + 'static, carrier: Carrier) -> Self {
        Self(Arc::new(Inner {
            socket: Box::new(socket),
            carrier,
            origin: OnceLock::new(),
            was_sampled: AtomicBool::new(false),
            is_single_path: AtomicBool::new(false),
            seen: Mutex::default(),
            taught: Mutex::default(),
            set: Mutex::default(),
            window: (carrier == Carrier::H2).then(Box::default),
        }))
    }

    /// What carries the bytes.
    #[must_use]
    pub fn carrier(&self) -> Carrier {
        self.0.carrier
    }

    /// How far the connection's receive window may grow; `None` where that is the kernel's.
    #[must_use]
    pub(crate) fn window(&self) -> Option<&WindowClaim> {
        self.0.window.as_deref()
    }

    /// The congestion control that the connection began with, where it is one that plans know. The first call asks.
    pub(super) fn inherited(&self) -> Option<Congestion> {
        self.origin().and_then(Congestion::from_name)
    }

    fn origin(&self) -> Option<&str> {
        self.0.origin.get_or_init(|| self.look(|fd| hfs_sock::congestion(fd).ok()).flatten()).as_deref()
    }

    /// Whether some transfer of this connection has looked at its path.
    pub(super) fn was_sampled(&self) -> bool {
        self.0.was_sampled.load(Relaxed)
    }

    /// What the kernel says of the path now; `None` where it says nothing (a Unix socket). One system call: what only
    /// plans change is not asked again, nor is what cannot change.
    #[must_use]
    pub fn sample(&self) -> Option<PathSample> {
        let (set, before, is_paced) = self.set().in_force();
        let congestion = set.or_else(|| self.inherited());
        let sample = self.look(|fd| {
            let multipath = self.multipath(fd);
            let has_moved = multipath.as_ref().is_some_and(|all| all.has_moved);
            let rate_before = before.and_then(|before| before.rate_on(has_moved));
            let sample = PathSample { rate_before, is_paced, ..of_kernel(&hfs_sock::tcp_info(fd).ok()?, congestion) };
            Some(multipath.map_or(sample, |all| of_all(&all, sample)))
        });
        self.0.was_sampled.store(true, Relaxed);
        sample.flatten()
    }

    fn multipath(&self, fd: BorrowedFd<'_>) -> Option<hfs_sock::MptcpInfo> {
        if self.0.is_single_path.load(Relaxed) {
            return None;
        }
        let multipath = hfs_sock::mptcp_info(fd);
        self.0.is_single_path.store(multipath.is_none(), Relaxed);
        multipath
    }

    /// Whether it has left the path that it began on.
    fn has_moved(&self, fd: BorrowedFd<'_>) -> bool {
        self.multipath(fd).is_some_and(|all| all.has_moved)
    }

    /// [`Wire::sample`] for a transfer that has ended, or what one showed that ended a moment ago: small transfers follow
    /// each other by the thousand on one connection, and the path is the same for all of them. Those that go on need not
    /// keep what they saw: it is old when they end.
    pub(super) fn recent_sample(&self) -> Option<PathSample> {
        let recent = self.seen().as_ref().filter(|look| look.at.elapsed() < RECENT).map(|look| look.shown);
        recent.unwrap_or_else(|| {
            let shown = self.sample();
            *self.seen() = Some(Box::new(Look { at: Stopwatch::start(), shown }));
            shown
        })
    }

    /// Whether one more small transfer teaches anything: of those that follow each other closely, one in a while does.
    /// Who is told so is the one that does.
    pub(super) fn may_teach(&self) -> bool {
        let mut taught = self.0.taught.lock().unwrap_or_else(PoisonError::into_inner);
        let may = taught.as_ref().is_none_or(|before| before.elapsed() >= RECENT);
        if may {
            *taught = Some(Stopwatch::start());
        }
        may
    }

    /// What `look` makes of the socket.
    fn look<R>(&self, look: impl FnOnce(BorrowedFd<'_>) -> R) -> Option<R> {
        let (mut look, mut seen) = (Some(look), None);
        self.0.socket.tap(&mut |fd| seen = look.take().map(|look| look(fd)));
        seen
    }

    fn seen(&self) -> MutexGuard<'_, Option<Box<Look>>> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self) -> MutexGuard<'_, Set> {
        self.0.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tap for Wire {
    fn tap(&self, look: &mut dyn FnMut(BorrowedFd<'_>)) {
        self.0.socket.tap(look);
    }
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("carrier", &self.0.carrier).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
