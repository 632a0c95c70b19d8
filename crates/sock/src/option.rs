//! Socket options, as bytes.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Reads an option into `value`; returns how long it is.
pub(crate) fn get(fd: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int, value: &mut [u8]) -> io::Result<usize> {
    let mut length = libc::socklen_t::try_from(value.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let place = value.as_mut_ptr().cast();
    // SAFETY: getsockopt(2) writes at most `length` bytes to `place`, which is `value` and that long, and the length
    // back; the descriptor is open because it is borrowed. Any bytes are valid for `[u8]`.
    let result = unsafe { libc::getsockopt(fd.as_raw_fd(), level, option, place, &raw mut length) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(length as usize)
}

/// Sets an option to `value`.
pub(crate) fn set(fd: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int, value: &[u8]) -> io::Result<()> {
    let length = libc::socklen_t::try_from(value.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let place = value.as_ptr().cast();
    // SAFETY: setsockopt(2) reads `length` bytes from `place`, which is `value` and that long; the descriptor is open
    // because it is borrowed.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, place, length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
