//! Whether it is for want of room that SQLite fails.
//!
//! It says "full" of ENOSPC in a write, and nothing else. A quota that is used up is an I/O error to it, a log or a
//! shared memory that cannot be made is a file that cannot be opened; the system's error is out of reach of safe code.
//! So the disk is asked.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

/// More than one transaction needs, when it failed for want of room.
const ENOUGH: usize = 128 << 10;

/// Where no file can be nameless (NFS, old overlays).
const PROBE: &str = ".room";

/// Whether the folder of the database at `path` has no room for a little more. Blocks; leaves nothing behind.
pub(super) fn is_lacking(path: &Path) -> bool {
    path.parent().is_some_and(|folder| fill(folder).is_err_and(|error| is_full(&error)))
}

fn fill(folder: &Path) -> io::Result<()> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match openat(CWD, folder, flags, Mode::RUSR | Mode::WUSR) {
        Ok(nameless) => fill_file(&File::from(nameless)),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => fill_named(&folder.join(PROBE)),
        Err(error) => Err(error.into()),
    }
}

fn fill_named(probe: &Path) -> io::Result<()> {
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(probe)?;
    let filled = fill_file(&file);
    std::fs::remove_file(probe)?;
    filled
}

fn fill_file(file: &File) -> io::Result<()> {
    file.write_all_at(&vec![0; ENOUGH], 0)?;
    // A file system across a network may say only now what it lacks.
    file.sync_data()
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lack_of_room_is_one() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_lacking(&folder.path().join("meta.sqlite")));
        assert!(!is_lacking(&folder.path().join("missing/meta.sqlite")));
        fill_named(&folder.path().join(PROBE)).unwrap();
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
