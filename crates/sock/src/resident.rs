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

    use rustix::fs::{Advice, fadvise};

    use super::*;

    const MIB: u64 = 1 << 20;
    /// File systems known to keep a file's pages with that file, and what their magic in statfs(2) is.
    const KNOWN: [i128; 4] = [
        0xef53,      // ext2, ext3, ext4
        0x5846_5342, // XFS
        0x9123_683e, // Btrfs
        TMPFS,
    ];
    const TMPFS: i128 = 0x0102_1994;

    /// A mebibyte of which nothing was written or read yet.
    fn hole() -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(MIB).unwrap();
        file
    }

    fn magic(file: &File) -> i128 {
        rustix::fs::fstatfs(file).unwrap().f_type.into()
    }

    /// Whether this kernel knows the call, and judges the descriptor it is given.
    fn is_known() -> bool {
        let Some(number) = SYS_CACHESTAT else { return false };
        let nothing = std::ptr::null_mut::<u8>();
        // SAFETY: cachestat(2) of no descriptor fails before it looks at any pointer; null ones it could not use either.
        let result = unsafe { libc::syscall(number, -1, nothing, nothing, 0) };
        result == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::EBADF)
    }

    /// Asks for a range, which is there or not. Of a file system that is not [`KNOWN`] perhaps nobody can tell
    /// (overlayfs, ZFS, FUSE); where the call is not, nobody can.
    fn says(file: &File, offset: u64, length: u64, is_there: bool) {
        let said = is_resident(file, offset, length).map_err(|error| error.kind());
        let nobody_can_tell = Err(io::ErrorKind::Unsupported);
        let expected = match (is_known(), KNOWN.contains(&magic(file))) {
            (true, false) if said == nobody_can_tell => return,
            (true, _) => Ok(is_there),
            (false, _) => nobody_can_tell,
        };
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
    fn what_was_evicted_is_not_there_until_it_is_read() {
        let file = hole();
        file.write_all_at(&vec![7; MIB as usize], 0).unwrap();
        file.sync_data().unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        // One page at a time.
        fadvise(&file, 0, None, Advice::Random).unwrap();
        file.read_exact_at(&mut [0], MIB / 2).unwrap();
        says(&file, MIB / 2, 1, true);
        // A file system of memory keeps what it has.
        says(&file, 0, MIB, magic(&file) == TMPFS);
        file.read_exact_at(&mut vec![0; MIB as usize], 0).unwrap();
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
