//! Reading a socket into memory that nothing was written to before.

use std::io;
use std::os::fd::BorrowedFd;

use bytes::BytesMut;
use rustix::net::{RecvFlags, recv};

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

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

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
}
