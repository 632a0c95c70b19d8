//! [`is_resident`]: whether the page cache has all of a range of a file.

use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd as _;

/// Linux 6.5; libc does not have it everywhere. New system calls have one number on all of these.
const SYS_CACHESTAT: Option<libc::c_long> = if cfg!(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64",
    target_arch = "arm",
    target_arch = "powerpc64",
    target_arch = "s390x",
)) {
    Some(451)
} else {
    None
};

/// `struct cachestat_range` of Linux's `uapi/linux/mman.h`.
#[repr(C)]
struct Range {
    offset: u64,
    length: u64,
}

/// `struct cachestat`, in pages.
#[derive(Default)]
#[repr(C)]
struct Found {
    cached: u64,
    dirty: u64,
    under_write_back: u64,
    evicted: u64,
    recently_evicted: u64,
}

const _: () = assert!(size_of::<Range>() == 16 && size_of::<Found>() == 40);

/// Whether the page cache has each page of `length` bytes from `offset` on, all of them within the file. One call for any
/// range, by cachestat(2). A page that somebody is reading from the disk at this moment counts as there.
///
/// # Errors
/// `Unsupported` where nobody can tell: an older kernel, a file that is not ours to ask about, a sandbox that does not know
/// the call; also where nothing at all is found, for the pages of some file systems are not this file's (overlayfs), or
/// there are none (DAX). What the system says otherwise.
pub fn is_resident(file: &File, offset: u64, length: u64) -> io::Result<bool> {
    let Some(last) = length.checked_sub(1).map(|more| offset.saturating_add(more)) else { return Ok(true) };
    let Some(number) = SYS_CACHESTAT else { return Err(io::ErrorKind::Unsupported.into()) };
    let range = Range { offset, length };
    let mut found = Found::default();
    // SAFETY: cachestat(2), Documentation/admin-guide/mm and uapi/linux/mman.h: the kernel reads a `cachestat_range` and
    // writes a `cachestat`, whose sizes are asserted above; no flag is defined; the descriptor is open because `file` is
    // borrowed.
    let result = unsafe { libc::syscall(number, file.as_raw_fd(), &raw const range, &raw mut found, 0) };
    if result == 0 {
        let page = rustix::param::page_size() as u64;
        let all = last / page - offset / page + 1;
        return if found.cached == 0 { Err(io::ErrorKind::Unsupported.into()) } else { Ok(found.cached >= all) };
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::EPERM | libc::EACCES) => Err(io::ErrorKind::Unsupported.into()),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::FileExt as _;

    use rustix::fs::{Advice, fadvise};

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A synced file of a mebibyte, of which memory holds what was just written, if the kernel tells of that.
    fn written() -> Option<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; MIB as usize]).unwrap();
        file.sync_data().unwrap();
        match is_resident(&file, 0, MIB) {
            Ok(is_there) => assert!(is_there),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::Unsupported);
                return None;
            }
        }
        Some(file)
    }

    #[test]
    fn what_was_just_written_is_there_and_what_lies_behind_the_end_is_not() {
        let Some(file) = written() else { return };
        assert!(is_resident(&file, 0, 0).unwrap());
        assert!(is_resident(&file, 4095, 2).unwrap());
        assert!(is_resident(&file, MIB - 1, 1).unwrap());
        assert!(!is_resident(&file, MIB - 1, 2).unwrap());
        assert_eq!(is_resident(&file, u64::MAX, 7).unwrap_err().kind(), io::ErrorKind::Unsupported);
    }

    #[test]
    fn a_range_with_a_hole_is_not_there() {
        let Some(file) = written() else { return };
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        // A file system of memory keeps what it has.
        if is_resident(&file, 0, MIB).is_ok() {
            return;
        }
        // One page at a time.
        fadvise(&file, 0, None, Advice::Random).unwrap();
        for at in [0, MIB / 2, MIB - 1] {
            file.read_exact_at(&mut [0], at).unwrap();
            assert!(is_resident(&file, at, 1).unwrap());
        }
        assert!(!is_resident(&file, 0, MIB).unwrap());
        file.read_exact_at(&mut vec![0; MIB as usize], 0).unwrap();
        assert!(is_resident(&file, 0, MIB).unwrap());
    }

    #[test]
    fn what_has_no_pages_cannot_tell() {
        let (end, _other) = rustix::pipe::pipe().unwrap();
        assert_eq!(is_resident(&File::from(end), 0, 1).unwrap_err().kind(), io::ErrorKind::Unsupported);
    }
}
