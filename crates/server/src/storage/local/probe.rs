//! What the root's file system does with names.

use rustix::fd::AsFd;
use rustix::fs::{AtFlags, Mode, OFlags, openat, statat, unlinkat};
use rustix::io::{Errno, Result};

/// Whether names that differ only in case or Unicode normalisation are different files. Where they are not
/// (casefolded directories, vfat, SMB shares), the blob of one slot would lie where another's does.
pub(super) fn exact_names(directory: impl AsFd) -> Result<bool> {
    let directory = directory.as_fd();
    let stem = format!("probe-{}", std::process::id());
    let composed = format!("{stem}-\u{e9}-x");
    let twins = [format!("{stem}-\u{e9}-X"), format!("{stem}-e\u{301}-x")];
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match openat(directory, &composed, flags, Mode::from_raw_mode(0o600)) {
        Ok(_) => {}
        // It cannot even hold the name.
        Err(Errno::INVAL | Errno::ILSEQ) => return Ok(false),
        Err(error) => return Err(error),
    }
    let exact = twins.iter().all(|twin| statat(directory, twin, AtFlags::SYMLINK_NOFOLLOW).is_err());
    match unlinkat(directory, &composed, AtFlags::empty()) {
        // The sweep of another process was quicker.
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error),
    }
    Ok(exact)
}
