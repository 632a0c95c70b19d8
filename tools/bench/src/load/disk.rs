//! The state of memory and disk that an upload meets, the same for every server.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::Result;

use crate::http::BYTES;

/// Touches as much memory as the page cache is about to need: in a virtual machine, the first touch of memory that was
/// freed some time ago costs ten times as much, and would fall upon whoever comes first. By files, since the kernel hands
/// out other memory to programs than to the page cache; by large writes and by small ones, since it keeps pieces of each
/// size apart, and a server that writes in another size than what was touched paid up to five times as much.
pub(super) fn warm_memory(folder: &Path, bytes: u64) -> Result<()> {
    let path = folder.join(".warm");
    for piece in [BYTES.len(), 16 << 10] {
        let mut file = fs::File::create(&path)?;
        for _ in 0..(bytes + bytes / 4).div_ceil(piece as u64) {
            file.write_all(&BYTES[..piece])?;
        }
        fs::remove_file(&path)?;
    }
    Ok(())
}

/// Writes what the server before has left to the kernel: its successors would pay for it with their own syncs, a fifth of
/// their CPU.
pub(super) fn settle(folder: &Path) -> Result<()> {
    Ok(rustix::fs::syncfs(fs::File::open(folder)?)?)
}

pub(super) fn remove_large(files: &Path) {
    for entry in fs::read_dir(files).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("put-large-") {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
