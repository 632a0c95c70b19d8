//! Where tests make system calls fail: nowhere in production. `seam_armed.rs` is its twin under `cfg(test)`.

use std::io;

/// A class of system call on the way of one upload.
#[derive(Clone, Copy)]
pub(super) enum Call {
    Create,
    Allocate,
    Write,
    Sync,
    MakeDirectory,
    Link,
    SyncDirectory,
    SyncAll,
    Extents,
}

pub(super) struct Seam;

impl Seam {
    pub(super) fn new() -> Self {
        Self
    }

    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "same shape as its twin, which fails")]
    pub(super) fn pass(&self, _call: Call) -> io::Result<()> {
        Ok(())
    }
}
