//! [`Folder`]: where one run keeps its files.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::Result;
use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

use crate::journal;

const PREFIX: &str = "bench-";

/// A folder that goes with the value; a run that is killed leaves it to the next one.
#[derive(Debug)]
pub(crate) struct Folder {
    folder: TempDir,
    /// As long as it is held, the run lives.
    _lock: File,
}

impl Folder {
    /// Makes one in `beside`, and removes those of runs that were killed.
    pub(crate) fn create(beside: &Path) -> Result<Self> {
        // Held from before a folder is made until it is locked: nobody takes it for a dead one meanwhile.
        let making = File::open(beside)?;
        flock(&making, FlockOperation::LockExclusive)?;
        for entry in fs::read_dir(beside)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(PREFIX) && entry.file_type()?.is_dir() {
                remove_if_dead(&entry.path())?;
            }
        }
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(beside)?;
        let lock = File::open(folder.path())?;
        flock(&lock, FlockOperation::LockExclusive)?;
        Ok(Self { folder, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

fn remove_if_dead(folder: &Path) -> Result<()> {
    let removed = File::open(folder).and_then(|lock| match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            journal::unmount_in(folder);
            fs::remove_dir_all(folder)
        }
        Err(_) => Ok(()),
    });
    match removed {
        // Its own run removes it at this moment.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => Ok(removed?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_run_left_goes_and_what_a_living_one_has_stays() {
        let beside = tempfile::tempdir().unwrap();
        let dead = beside.path().join("bench-dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("blob.bin"), "x").unwrap();
        fs::write(beside.path().join("bench-file"), "x").unwrap();
        fs::create_dir(beside.path().join("deps")).unwrap();
        let living = Folder::create(beside.path()).unwrap();
        assert!(!dead.exists());
        let another = Folder::create(beside.path()).unwrap();
        assert!(living.path().exists() && another.path().exists());
        drop(another);
        assert!(living.path().exists());
        drop(living);
        let mut left: Vec<_> = fs::read_dir(beside.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["bench-file", "deps"]);
    }
}
