//! What makes large files cheap: space reserved beforehand, write-back while bytes still arrive, and reads that
//! never wait for the disk.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd as _;

use rustix::fs::FallocateFlags;
use rustix::io::{Errno, ReadWriteFlags};

/// Reserves `length` bytes for `file`, which then has that length. `false`: this file system reserves nothing, and
/// nothing changed.
///
/// # Errors
/// `StorageFull` or `QuotaExceeded` when there is no room; what the system says otherwise.
pub fn preallocate(file: &File, length: u64) -> io::Result<bool> {
    if length == 0 {
        return Ok(true);
    }
    loop {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, length) {
            Ok(()) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Starts writing the dirty pages of a range to the disk, so that a later fdatasync finds little left to do. Gives no
/// durability by itself.
///
/// # Errors
/// An I/O error of the disk; that the file system cannot do this is no error.
pub fn start_write_back(file: &File, offset: u64, length: u64) -> io::Result<()> {
    sync_range(file, offset, length, libc::SYNC_FILE_RANGE_WRITE)
}

/// Waits until the dirty pages of a range are written. Gives no durability by itself (the disk's cache, and the
/// metadata that finds the pages), but keeps the work of a later fdatasync bounded.
///
/// # Errors
/// An I/O error of the disk; that the file system cannot do this is no error.
pub fn wait_write_back(file: &File, offset: u64, length: u64) -> io::Result<()> {
    let all = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    sync_range(file, offset, length, all)
}

fn sync_range(file: &File, offset: u64, length: u64, flags: libc::c_uint) -> io::Result<()> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let offset = libc::off64_t::try_from(offset).map_err(invalid)?;
    let length = libc::off64_t::try_from(length).map_err(invalid)?;
    // SAFETY: sync_file_range(2) takes no pointers; the descriptor is open because `file` is borrowed.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, flags) };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOSYS | libc::EINVAL | libc::ESPIPE | libc::EOPNOTSUPP | libc::EINTR) => Ok(()),
        _ => Err(error),
    }
}

/// Reads what the page cache holds at `offset`, without waiting for the disk: fewer bytes than asked when only the
/// beginning is there, none at the end of the file.
///
/// # Errors
/// `WouldBlock` when nothing is cached, `Unsupported` where the kernel or file system cannot tell: read on a thread
/// that may wait.
pub fn read_cached(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match rustix::io::preadv2(file, &mut [IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT) {
            Ok(read) => return Ok(read),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => return Err(io::ErrorKind::Unsupported.into()),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file_with(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn preallocation_sets_the_length() {
        let file = file_with(b"");
        if preallocate(&file, 100_000).unwrap() {
            assert_eq!(file.metadata().unwrap().len(), 100_000);
        }
        assert!(preallocate(&file_with(b""), 0).unwrap());
    }

    #[test]
    fn what_no_disk_holds_is_refused_before_a_byte() {
        assert!(preallocate(&file_with(b""), 1 << 60).is_err());
    }

    #[test]
    fn write_back_of_any_range_is_fine() {
        let file = file_with(&[7; 10_000]);
        start_write_back(&file, 0, 8192).unwrap();
        wait_write_back(&file, 4096, 1 << 30).unwrap();
        assert_eq!(start_write_back(&file, u64::MAX, 1).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn fresh_bytes_are_read_from_the_cache() {
        let file = file_with(b"0123456789");
        let mut buffer = [0; 4];
        match read_cached(&file, &mut buffer, 8) {
            Ok(read) => assert_eq!(&buffer[..read], b"89"),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::Unsupported),
        }
    }
}
