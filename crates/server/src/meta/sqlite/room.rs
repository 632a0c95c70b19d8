//! Whether it is for want of room that SQLite fails.
//!
//! It says "full" of ENOSPC in a write, and nothing else. A quota that is used up is an I/O error to it, a log or a
//! shared memory that cannot be made is a file that cannot be opened; the system's error is out of reach of safe code.
//! So the disk is asked.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};

/// More than one transaction needs, when it failed for want of room.
const ENOUGH: usize = 128 << 10;

/// Whether the folder of the database at `path` has no room for a little more. Blocks; leaves nothing behind.
pub(super) fn is_lacking(path: &Path) -> bool {
    path.parent().is_some_and(|folder| fill(folder).is_err_and(|error| is_full(&error)))
}

fn fill(folder: &Path) -> io::Result<()> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let nameless = File::from(openat(CWD, folder, flags, Mode::RUSR | Mode::WUSR)?);
    nameless.write_all_at(&vec![0; ENOUGH], 0)
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn only_a_lack_of_room_is_one() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_lacking(&folder.path().join("meta.sqlite")));
        assert!(!is_lacking(&folder.path().join("missing/meta.sqlite")));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        for (code, expected) in [
            (Errno::NOSPC.raw_os_error(), true),
            (Errno::DQUOT.raw_os_error(), true),
            (Errno::IO.raw_os_error(), false),
        ] {
            assert_eq!(is_full(&io::Error::from_raw_os_error(code)), expected, "{code}");
        }
    }
}
