//! [`Tap`]: a socket that somebody else owns.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Access to a socket that belongs to a connection, also while TLS has it. A share of it keeps the descriptor open.
pub trait Tap: Send + Sync {
    /// Calls `look` with the socket. On a connection with TLS others may wait for the same lock meanwhile.
    fn tap(&self, look: &mut dyn FnMut(BorrowedFd<'_>));
}

impl Tap for OwnedFd {
    fn tap(&self, look: &mut dyn FnMut(BorrowedFd<'_>)) {
        look(self.as_fd());
    }
}
