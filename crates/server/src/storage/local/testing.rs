//! What tests of the local store share.

use std::path::Path;
use std::time::Duration;

use hfs_core::ByteSize;

use super::LocalStore;
use crate::storage::StorageConfig;

/// A root that is removed in the end.
pub(in crate::storage) struct Root(tempfile::TempDir);

impl Root {
    pub(in crate::storage) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// On a tmpfs.
    pub(in crate::storage) fn in_memory() -> Self {
        Self(tempfile::tempdir_in("/dev/shm").unwrap())
    }

    pub(in crate::storage) fn path(&self) -> &Path {
        self.0.path()
    }

    /// A store there, as another process would open it.
    pub(in crate::storage) fn open(&self) -> LocalStore {
        LocalStore::open(&config(self.path())).unwrap()
    }
}

pub(in crate::storage) fn config(path: &Path) -> StorageConfig {
    let minute = Duration::from_secs(60);
    StorageConfig {
        path: path.to_owned(),
        min_free: ByteSize::ZERO,
        io_deadline: minute,
        digests: false,
        cleanup_interval: minute,
    }
}

/// Relative paths of all files below a directory, sorted.
pub(in crate::storage) fn files_below(directory: &Path) -> Vec<String> {
    fn collect(base: &Path, directory: &Path, files: &mut Vec<String>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                collect(base, &path, files);
            } else {
                files.push(path.strip_prefix(base).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    let mut files = Vec::new();
    collect(directory, directory, &mut files);
    files.sort();
    files
}
