//! Where tests make system calls fail: nowhere in production. `seam_armed.rs` is its twin under `cfg(test)`.

use std::io;

use super::call::Call;

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
