//! [`Part`]: the bytes of an unfinished download and the proof of which file they belong to.
//!
//! `FILE.part` holds the bytes, `FILE.part.meta` the strong ETag of the file that they are from. The order of writing
//! keeps them together: the bytes of one file never stand beside the tag of another. Called by `get`.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

/// An unfinished download, locked against a second one of the same file. Dropped while empty, it leaves nothing.
#[derive(Debug)]
pub(super) struct Part {
    path: PathBuf,
    tag_path: PathBuf,
    file: File,
    length: u64,
    tag: Option<String>,
}

impl Part {
    /// Opens what an earlier run left beside `target`, or starts anew. `WouldBlock`: another download writes it.
    pub(super) fn open(target: &Path) -> io::Result<Self> {
        let path = with_suffix(target, ".part");
        let tag_path = with_suffix(target, ".part.meta");
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
            TryLockError::Error(error) => error,
        })?;
        // Between open and lock the other download may have finished and renamed what we hold.
        let named = fs::metadata(&path).map(|named| named.ino());
        if named.ok() != Some(file.metadata()?.ino()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let length = file.seek(SeekFrom::End(0))?;
        let tag = fs::read_to_string(&tag_path).ok().and_then(|line| strong(line.trim_end()).map(str::to_owned));
        Ok(Self { path, tag_path, file, length, tag })
    }

    /// Where the bytes lie.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes so far.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The tag to resume with, if there is something to resume.
    pub(super) fn resumable(&self) -> Option<&str> {
        self.tag.as_deref().filter(|_| self.length > 0)
    }

    /// Drops all bytes and begins the file that `tag` names; without a strong tag it cannot be resumed later.
    pub(super) fn restart(&mut self, tag: Option<&str>) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.length = 0;
        self.tag = tag.and_then(strong).map(str::to_owned);
        match &self.tag {
            Some(tag) => fs::write(&self.tag_path, format!("{tag}\n")),
            None => remove_if_there(&self.tag_path),
        }
    }

    /// Appends.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Gives the complete file its name. `AlreadyExists`: something has that name, and `replace` is false; the bytes
    /// stay in the part.
    pub(super) fn finish(&mut self, target: &Path, replace: bool) -> io::Result<()> {
        self.file.sync_all()?;
        if replace {
            fs::rename(&self.path, target)?;
        } else {
            rename_no_clobber(&self.path, target)?;
        }
        remove_if_there(&self.tag_path)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Best effort: an empty part is only litter. One that was renamed is no longer ours to remove.
        if self.length == 0 && fs::metadata(&self.path).is_ok_and(|metadata| metadata.len() == 0) {
            let _ = fs::remove_file(&self.path);
            let _ = fs::remove_file(&self.tag_path);
        }
    }
}

/// A tag that may be compared byte for byte.
fn strong(tag: &str) -> Option<&str> {
    let inner = tag.strip_prefix('"')?.strip_suffix('"')?;
    inner.bytes().all(|b| matches!(b, b'!' | b'#'..=b'~')).then_some(tag)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn rename_no_clobber(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some file systems (NFS, FUSE) cannot: look first there, which is as good as they get.
        Err(Errno::INVAL | Errno::NOSYS) if to.symlink_metadata().is_ok() => Err(io::ErrorKind::AlreadyExists.into()),
        Err(Errno::INVAL | Errno::NOSYS) => fs::rename(from, to),
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_found_again_with_its_tag() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.bin");
        let mut part = Part::open(&target).unwrap();
        assert_eq!(part.resumable(), None);
        part.restart(Some("\"x\"")).unwrap();
        part.write(b"abc").unwrap();
        drop(part);
        let mut part = Part::open(&target).unwrap();
        assert_eq!((part.length(), part.resumable()), (3, Some("\"x\"")));
        part.write(b"def").unwrap();
        part.finish(&target, false).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"abcdef");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn bytes_without_a_strong_tag_are_not_resumed() {
        for tag in ["W/\"x\"", "x", "", "\"a b\"", "\"a\"b\""] {
            let dir = tempfile::tempdir().unwrap();
            let target = dir.path().join("a.bin");
            fs::write(with_suffix(&target, ".part"), "abc").unwrap();
            fs::write(with_suffix(&target, ".part.meta"), tag).unwrap();
            assert_eq!(Part::open(&target).unwrap().resumable(), None, "{tag}");
        }
    }

    #[test]
    fn an_empty_part_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut part = Part::open(&dir.path().join("a.bin")).unwrap();
        part.restart(Some("\"x\"")).unwrap();
        drop(part);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_empty_file_can_be_finished() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.bin");
        let mut part = Part::open(&target).unwrap();
        part.finish(&target, false).unwrap();
        drop(part);
        assert_eq!(fs::read(&target).unwrap(), b"");
    }

    #[test]
    fn two_downloads_of_one_file_do_not_mix() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.bin");
        let _first = Part::open(&target).unwrap();
        assert_eq!(Part::open(&target).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_name_that_was_taken_meanwhile_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.bin");
        let mut part = Part::open(&target).unwrap();
        part.write(b"new").unwrap();
        fs::write(&target, "old").unwrap();
        assert_eq!(part.finish(&target, false).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&target).unwrap(), b"old");
        part.finish(&target, true).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
    }
}
