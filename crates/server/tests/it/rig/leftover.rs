//! What a process leaves that dies between the name of an upload and its row.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Lays it below the root of a store: under its temporary name, which is returned, and under the slot's. It is old, so that
/// an adoption does not pass it by as fresh.
pub(crate) fn leave(storage: &Path, slot: &str, bytes: &[u8]) -> PathBuf {
    let temporary = storage.join(".hfs/tmp").join("0".repeat(32));
    fs::write(&temporary, bytes).expect("temporary");
    let file = fs::File::options().write(true).open(&temporary).expect("temporary");
    file.set_modified(SystemTime::UNIX_EPOCH).expect("time");
    let published = storage.join(slot);
    fs::create_dir_all(published.parent().expect("below the root")).expect("folder");
    fs::hard_link(&temporary, published).expect("name");
    temporary
}
