//! Reading a socket into memory that nothing was written to before.

use std::io;
use std::os::fd::BorrowedFd;

use bytes::BytesMut;
use rustix::net::{RecvFlags, recv};

use crate::option;

/// Reads from `socket` into the spare room of `buffer`, without waiting, and makes it longer by what came, at most
/// `most` bytes; returns how many that were. Zero: the other side has ended, or there is no room.
///
/// # Errors
/// `WouldBlock` when nothing has come; what the system says otherwise.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut BytesMut, most: usize) -> io::Result<usize> {
    let length = buffer.len();
    let read = rustix::io::retry_on_intr(|| {
        let room = buffer.spare_capacity_mut();
        let most = most.min(room.len());
        let ((bytes, _), _) = recv(socket, &mut room[..most], RecvFlags::DONTWAIT)?;
        Ok(bytes.len())
    })?;
    // SAFETY: recv(2) has written the first `read` bytes of the spare room, which begins at `length`; BytesMut's
    // `set_len` wants exactly that the bytes up to the new length are initialized and within the capacity.
    unsafe { buffer.set_len(length + read) };
    Ok(read)
}

/// Lets those who wait for something to read wait until `bytes` have come (`SO_RCVLOWAT`, socket(7)), at first one; the
/// end and errors wake them as ever. Who waits already is told, when as many are there. That the kernel has room for so
/// many is the caller's part: where it has not, TCP makes some, and lets its window grow no further for a while. Reads are
/// not changed, nor are waits for a Unix socket.
///
/// # Errors
/// What the system says; nothing changed then.
pub fn set_receive_low(socket: BorrowedFd<'_>, bytes: u32) -> io::Result<()> {
    option::set(socket, libc::SOL_SOCKET, libc::SO_RCVLOWAT, &bytes.to_ne_bytes())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    #[test]
    fn what_comes_is_appended_up_to_the_room_there_is() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut buffer = BytesMut::with_capacity(8);
        assert_eq!(receive(ours.as_fd(), &mut buffer, 8).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        theirs.write_all(b"0123456789").unwrap();
        buffer.extend_from_slice(b"ab");
        let room = buffer.capacity() - 2;
        assert_eq!(receive(ours.as_fd(), &mut buffer, 1).unwrap(), 1);
        assert_eq!(receive(ours.as_fd(), &mut buffer, usize::MAX).unwrap(), (room - 1).min(9));
        assert_eq!(&buffer[..], &b"ab0123456789"[..2 + room.min(10)]);
        buffer.reserve(64);
        drop(theirs);
        while receive(ours.as_fd(), &mut buffer, 4).unwrap() > 0 {}
        assert_eq!(&buffer[..], b"ab0123456789");
    }
    #[test]
    fn waits_end_with_as_many_bytes_as_they_are_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let ours = listener.accept().unwrap().0;
        let is_readable = |milliseconds: i64| {
            let patience = Timespec { tv_sec: 0, tv_nsec: milliseconds * 1_000_000 };
            poll(&mut [PollFd::new(&ours, PollFlags::IN)], Some(&patience)).unwrap() == 1
        };
        set_receive_low(ours.as_fd(), 1000).unwrap();
        theirs.write_all(&[1; 999]).unwrap();
        assert!(!is_readable(20));
        theirs.write_all(&[1]).unwrap();
        assert!(is_readable(900));
        let mut buffer = BytesMut::with_capacity(10);
        assert_eq!(receive(ours.as_fd(), &mut buffer, 10).unwrap(), 10);
        assert!(!is_readable(20));
        set_receive_low(ours.as_fd(), 1).unwrap();
        assert!(is_readable(900));
        set_receive_low(ours.as_fd(), 1000).unwrap();
        drop(theirs);
        assert!(is_readable(900), "the end");
    }
}
