//! [`has_blocks`]: whether a file system has given a file's bytes their places on the disk, and written them there.

use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd as _;

/// The names below are those of Linux's `uapi/linux/fiemap.h` (and `uapi/linux/fs.h`), which libc does not have;
/// Documentation/filesystems/fiemap.rst says what they mean.
const FS_IOC_FIEMAP: libc::c_ulong = 0xc020_660b;
const FIEMAP_EXTENT_UNKNOWN: u32 = 0x2;
const FIEMAP_EXTENT_DELALLOC: u32 = 0x4;
const FIEMAP_EXTENT_UNWRITTEN: u32 = 0x800;
/// Bytes that are nowhere yet, or have a place that reads as zeros.
const NOT_THERE: u32 = FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_UNWRITTEN;
/// So many are asked for at a time: a short file has one or two.
const EXTENTS: usize = 4;

/// `struct fiemap`.
#[derive(Default)]
#[repr(C)]
struct Map {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
    extents: [Extent; EXTENTS],
}

/// `struct fiemap_extent`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Extent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

/// The request has the size of the header in it.
const _: () = assert!(size_of::<Map>() - size_of::<[Extent; EXTENTS]>() == (FS_IOC_FIEMAP as usize >> 16) & 0x3fff);
const _: () = assert!(size_of::<Extent>() == 56);

/// Whether each of the first `length` bytes has been written to blocks of the file system (or lies in the inode
/// itself). `false` also where the file system cannot tell. Gives no durability by itself, and syncs nothing.
///
/// # Errors
/// What the system says, other than that it cannot tell.
pub fn has_blocks(file: &File, length: u64) -> io::Result<bool> {
    let mut covered = 0;
    while covered < length {
        let mut map = Map { start: covered, length: length - covered, extent_count: EXTENTS as u32, ..Map::default() };
        // SAFETY: ioctl_fiemap: the kernel reads the header of `map` and writes it and `extent_count` extents behind
        // it, for which there is room; the descriptor is open because `file` is borrowed.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FIEMAP as _, &raw mut map) };
        if result != 0 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                Some(libc::EINTR) => continue,
                Some(libc::ENOTTY | libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL) => Ok(false),
                _ => Err(error),
            };
        }
        let mapped = map.extents.iter().take(map.mapped_extents as usize);
        let reached = mapped.fold(covered, |reached, extent| extent.after(reached));
        if reached == covered {
            return Ok(false);
        }
        covered = reached;
    }
    Ok(true)
}

impl Extent {
    /// How far what is there goes without a gap: up to `reached` without this one.
    fn after(&self, reached: u64) -> u64 {
        let is_next = self.logical <= reached && self.flags & NOT_THERE == 0;
        if is_next { reached.max(self.logical.saturating_add(self.length)) } else { reached }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, SeekFrom, Write as _};

    use super::*;
    use crate::preallocate;

    const BLOCK: u64 = 64 << 10;
    /// EXT4_SUPER_MAGIC, statfs(2).
    const EXT4: rustix::fs::FsWord = 0xEF53;

    /// A file with these bytes, if the file system of temporary files tells of what it has written.
    fn written(bytes: &[u8]) -> Option<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.sync_data().unwrap();
        let tells = has_blocks(&file, bytes.len() as u64).unwrap();
        assert!(tells || rustix::fs::fstatfs(&file).unwrap().f_type != EXT4, "ext4 tells");
        tells.then_some(file)
    }

    #[test]
    fn what_was_synced_is_there_up_to_its_length() {
        let Some(file) = written(&[7; 100_000]) else { return };
        assert!(has_blocks(&file, 0).unwrap());
        assert!(has_blocks(&file, 1).unwrap());
        assert!(!has_blocks(&file, 100_000 + BLOCK).unwrap());
    }

    #[test]
    fn what_is_only_in_memory_is_not_there() {
        if written(&[7; 100]).is_none() {
            return;
        }
        let fresh = || {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&[7; 100_000]).unwrap();
            file
        };
        // Somebody may sync the whole machine at any moment.
        assert!((0..20).any(|_| !has_blocks(&fresh(), 100_000).unwrap()));
    }

    #[test]
    fn neither_a_hole_nor_a_reservation_is_there() {
        let Some(mut file) = written(&[7; BLOCK as usize]) else { return };
        file.set_len(3 * BLOCK).unwrap();
        assert!(has_blocks(&file, BLOCK).unwrap() && !has_blocks(&file, 2 * BLOCK).unwrap());
        file.seek(SeekFrom::Start(2 * BLOCK)).unwrap();
        file.write_all(&[7; BLOCK as usize]).unwrap();
        file.sync_data().unwrap();
        assert!(!has_blocks(&file, 3 * BLOCK).unwrap(), "a hole between");
        let reserved = tempfile::tempfile().unwrap();
        assert!(preallocate(&reserved, BLOCK).unwrap());
        reserved.sync_data().unwrap();
        assert!(!has_blocks(&reserved, BLOCK).unwrap());
    }

    #[test]
    fn more_extents_than_are_asked_for_at_once_are_there() {
        let Some(mut file) = written(&[7; 8 * BLOCK as usize]) else { return };
        // Others follow what was taken out, so each second piece lies elsewhere.
        for piece in (0..8).step_by(2) {
            let hole = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(&file, hole, piece * BLOCK, BLOCK).unwrap();
        }
        assert!(!has_blocks(&file, 8 * BLOCK).unwrap());
        let _between = written(&[8; 4 * BLOCK as usize]);
        for piece in (0..8).step_by(2) {
            file.seek(SeekFrom::Start(piece * BLOCK)).unwrap();
            file.write_all(&[9; BLOCK as usize]).unwrap();
        }
        file.sync_data().unwrap();
        assert!(has_blocks(&file, 8 * BLOCK).unwrap());
    }

    #[test]
    fn what_cannot_tell_says_no() {
        let (end, _other) = rustix::pipe::pipe().unwrap();
        assert!(!has_blocks(&File::from(end), 1).unwrap());
        let nothing = File::open("/dev/null").unwrap();
        assert!(!has_blocks(&nothing, 1).unwrap());
    }
}
