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
    use std::os::unix::fs::FileExt as _;

    use super::*;

    const MIB: u64 = 1 << 20;
    /// OVERLAYFS_SUPER_MAGIC, statfs(2).
    const OVERLAYFS: rustix::fs::FsWord = 0x794c_7630;

    /// A mebibyte of which nothing was written or read yet.
    fn hole() -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(MIB).unwrap();
        file
    }

    /// Whether somebody can tell of `file`: a kernel that knows the call, and judges the descriptor it is given, of a file
    /// system whose pages are its own.
    fn can_tell(file: &File) -> bool {
        let Some(number) = SYS_CACHESTAT else { return false };
        let nothing = std::ptr::null_mut::<u8>();
        // SAFETY: cachestat(2) of no descriptor fails before it looks at any pointer; null ones it could not use either.
        let result = unsafe { libc::syscall(number, -1, nothing, nothing, 0) };
        let is_known = result == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::EBADF);
        is_known && rustix::fs::fstatfs(file).unwrap().f_type != OVERLAYFS
    }

    /// Asks for a range, which is there or not, or of which nobody can tell anyway.
    fn says(file: &File, offset: u64, length: u64, is_there: bool) {
        let said = is_resident(file, offset, length).map_err(|error| error.kind());
        let expected = if can_tell(file) { Ok(is_there) } else { Err(io::ErrorKind::Unsupported) };
        assert_eq!(said, expected, "{length} bytes from {offset} on");
    }

    #[test]
    fn what_was_just_written_is_there_and_what_lies_behind_the_end_is_not() {
        let file = hole();
        file.write_all_at(&vec![7; MIB as usize], 0).unwrap();
        says(&file, 0, MIB, true);
        says(&file, 4095, 2, true);
        says(&file, MIB - 1, 1, true);
        says(&file, MIB - 1, 2, false);
        assert!(is_resident(&file, 0, 0).unwrap(), "nothing is there in any case");
        assert_eq!(is_resident(&file, u64::MAX, 7).unwrap_err().kind(), io::ErrorKind::Unsupported);
    }

    #[test]
    fn a_range_with_a_hole_is_not_there() {
        let file = hole();
        for at in [0, MIB / 2, MIB - 1] {
            file.write_all_at(&[7], at).unwrap();
            says(&file, at, 1, true);
        }
        says(&file, 0, MIB, false);
        file.write_all_at(&vec![7; MIB as usize], 0).unwrap();
        says(&file, 0, MIB, true);
    }

    #[test]
    fn of_what_has_no_pages_nobody_can_tell() {
        let (end, _other) = rustix::pipe::pipe().unwrap();
        for file in [File::from(end), hole()] {
            assert_eq!(is_resident(&file, 0, 1).unwrap_err().kind(), io::ErrorKind::Unsupported);
        }
    }
}
