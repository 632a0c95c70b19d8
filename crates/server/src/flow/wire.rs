//! [`Wire`]: the connection below a transfer, as far as probes and levers need it.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use hfs_core::pace::Carrier;

/// A socket that can be looked at, also while TLS has it.
pub trait Tap: Send + Sync {
    /// Calls `look` with the socket. Short: others may wait for the same lock.
    fn tap(&self, look: &mut dyn FnMut(BorrowedFd<'_>));
}

impl Tap for std::os::fd::OwnedFd {
    fn tap(&self, look: &mut dyn FnMut(BorrowedFd<'_>)) {
        look(std::os::fd::AsFd::as_fd(self));
    }
}

/// A share of a connection's socket. It keeps the descriptor open, not the connection alive: whoever has it can look at
/// the socket and set its options.
#[derive(Clone)]
pub struct Wire {
    socket: Arc<dyn Tap>,
    carrier: Carrier,
}

impl Wire {
    /// The connection behind `socket`.
    #[must_use]
    pub fn new(socket: Arc<dyn Tap>, carrier: Carrier) -> Self {
        Self { socket, carrier }
    }

    /// What carries the bytes.
    #[must_use]
    pub fn carrier(&self) -> Carrier {
        self.carrier
    }

    /// What `look` makes of the socket.
    pub fn look<R>(&self, look: impl FnOnce(BorrowedFd<'_>) -> R) -> Option<R> {
        let (mut look, mut seen) = (Some(look), None);
        self.socket.tap(&mut |fd| seen = look.take().map(|look| look(fd)));
        seen
    }
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("carrier", &self.carrier).finish_non_exhaustive()
    }
}
