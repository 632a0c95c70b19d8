//! Byte-range locks that belong to an open file description, so that they exclude threads of one process as well as
//! other processes, and are released by the kernel when the description closes, however its process ends.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// Largest offset that can be locked: the range's end must fit the kernel's signed 64 bits.
const MAX_OFFSET: u64 = i64::MAX as u64 - 1;

/// Tries to lock one byte of `file` for writing; the byte need not exist. `false`: someone else holds it. The lock
/// lasts until `file` and all its duplicates are closed. `file` must be open for writing.
///
/// # Errors
/// `InvalidInput` when the offset is above 2^63 - 2; `Unsupported` (or the system's own error) where the kernel or
/// the file system has no such locks.
pub fn try_lock_byte(file: &File, offset: u64) -> io::Result<bool> {
    if offset > MAX_OFFSET {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: `flock` is a plain C struct for which all-zero is valid; F_OFD_SETLK requires `l_pid` to be zero.
    let mut range: libc::flock64 = unsafe { std::mem::zeroed() };
    range.l_type = libc::F_WRLCK as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    range.l_start = offset as libc::off64_t;
    range.l_len = 1;
    // SAFETY: fcntl_locking(2), "Open file description locks": the third argument is a pointer to one `struct flock`,
    // which lives across the call; the descriptor is open because `file` is borrowed.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw mut range) };
    if result == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(false),
        // EINVAL: a kernel before 3.15. The others: file systems and emulations without byte-range locks.
        Some(libc::EINVAL | libc::ENOSYS | libc::ENOLCK | libc::EOPNOTSUPP) => {
            Err(io::Error::new(io::ErrorKind::Unsupported, error))
        }
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_descriptions() -> (tempfile::NamedTempFile, File, File) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || File::options().write(true).open(file.path()).unwrap();
        let (one, other) = (open(), open());
        (file, one, other)
    }

    #[test]
    fn one_byte_has_one_holder_even_within_a_process() {
        let (_file, one, other) = two_descriptions();
        assert!(try_lock_byte(&one, 7).unwrap());
        assert!(try_lock_byte(&one, 7).unwrap(), "its own lock is no rival");
        assert!(!try_lock_byte(&other, 7).unwrap());
        assert!(try_lock_byte(&other, 8).unwrap(), "another byte is free");
    }

    #[test]
    fn closing_the_description_releases() {
        let (_file, one, other) = two_descriptions();
        assert!(try_lock_byte(&one, MAX_OFFSET).unwrap());
        drop(one);
        assert!(try_lock_byte(&other, MAX_OFFSET).unwrap());
    }

    #[test]
    fn an_offset_that_would_wrap_is_refused() {
        let (_file, one, _other) = two_descriptions();
        assert_eq!(try_lock_byte(&one, u64::MAX).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
