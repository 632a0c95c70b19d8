//! [`Alarm`]: for how much the kernel wakes a pump that waits.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::BorrowedFd;
use rustix::net::sockopt::socket_recv_buffer_size;

/// How long a dry socket is waited for, once or twice, before the runtime takes over.
pub(super) const DRY: Duration = Duration::from_millis(10);
/// What must have come before the kernel wakes anybody for it, while it comes that fast. With each segment it would wake
/// two: us, and the runtime that nobody waits in. Of the CPU of an upload from the same machine that is a fifth with
/// splice, a seventh with a hash.
const WORTH_WAKING: usize = 256 << 10;

/// When the kernel wakes those who wait for a socket. At the end it is for each byte again, and for those that are there.
pub(super) struct Alarm<'a> {
    pub(super) socket: BorrowedFd<'a>,
    /// It does for so many.
    bytes: u32,
    /// At most this is worth waiting for.
    most: usize,
}

impl<'a> Alarm<'a> {
    pub(super) fn new(socket: BorrowedFd<'a>) -> Self {
        Self { socket, bytes: 1, most: WORTH_WAKING }
    }

    /// Waits for `wanted` bytes, or as many of them as are worth it, but not for long. Where they do not come in that time,
    /// there are few to be woken for: from then on it is each, as a slow path's sender may count on.
    pub(super) fn wait(&mut self, wanted: usize) {
        // With more than half of the kernel's room, whose half is overhead, there would be none for those that follow.
        let room = socket_recv_buffer_size(self.socket).unwrap_or(0) / 4;
        self.set(wanted.min(self.most).min(room).max(1));
        let patience = Timespec::try_from(DRY).ok();
        // Whether there is anything, the next read says.
        if poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], patience.as_ref()) == Ok(0) {
            self.most = 1;
            self.set(1);
        }
    }

    fn set(&mut self, bytes: usize) {
        let Ok(bytes) = u32::try_from(bytes) else { return };
        // Who cannot have this is woken for each byte.
        if bytes != self.bytes && hfs_sock::set_receive_low(self.socket, bytes).is_ok() {
            self.bytes = bytes;
        }
    }
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        self.set(1);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd as _;
    use std::time::Instant;

    use super::*;
    use crate::storage::local::pump::vessel::{Memory, Vessel as _};

    #[test]
    fn few_bytes_wake_nobody_while_many_come_and_the_pump_runs() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let source = listener.accept().unwrap().0;
        client.write_all(&[5; 2000]).unwrap();
        let wakes =
            || poll(&mut [PollFd::new(&source, PollFlags::IN)], Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(1);
        let mut alarm = Alarm::new(source.as_fd());
        alarm.wait(1000);
        assert!(wakes());
        assert_eq!(Memory::new(1999, None).take(source.as_fd(), 0, 1999), Ok(1999));
        assert!(!wakes(), "for the last one");
        drop(alarm);
        assert!(wakes(), "but for each without a pump");
        let (begin, mut alarm) = (Instant::now(), Alarm::new(source.as_fd()));
        alarm.wait(1000);
        assert!(begin.elapsed() >= DRY && wakes(), "and for each where more do not come");
    }
}
