//! [`LogFile`]: a log file that is rotated by size.
//!
//! Rotated files are `<name>.1` (the newest) to `<name>.<n>`. Writing happens in the thread of a `queue`.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::queue::Sink;
use super::stderr::confession;
use super::{LogConfig, LogFormat};

/// The file in use.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    max_size: u64,
    max_backups: usize,
    format: LogFormat,
}

impl LogFile {
    /// Opens for appending; creates it with mode 0600, since slot paths are what downloads are protected by. A
    /// `max_size` of zero never rotates. Not the `file` of `config`, which may be none, but `path` is opened.
    pub(super) fn open(path: &Path, config: &LogConfig) -> io::Result<Self> {
        let (file, size) = append(path)?;
        let (max_size, max_backups, format) = (config.max_size.as_u64(), config.max_backups, config.format);
        Ok(Self { path: path.to_owned(), file, size, max_size, max_backups, format })
    }

    fn rotate(&mut self) -> io::Result<()> {
        if self.max_backups == 0 {
            self.file.set_len(0)?;
            self.size = 0;
            return Ok(());
        }
        for n in (1..self.max_backups).rev() {
            rename_if_there(&numbered(&self.path, n), &numbered(&self.path, n + 1))?;
        }
        rename_if_there(&self.path, &numbered(&self.path, 1))?;
        self.reopen()
    }
}

impl Sink for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        if self.max_size > 0 && self.size > 0 && self.size + length > self.max_size {
            self.rotate()?;
        }
        self.file.write_all(line)?;
        self.size += length;
        Ok(())
    }

    fn confession(&self, missing: u64) -> Vec<u8> {
        confession(self.format, missing)
    }

    fn reopen(&mut self) -> io::Result<()> {
        (self.file, self.size) = append(&self.path)?;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

fn numbered(path: &Path, n: usize) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{n}"));
    name.into()
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hfs_core::ByteSize;
    use std::os::unix::fs::PermissionsExt;

    fn config(max_size: u64, max_backups: usize) -> LogConfig {
        let max_size = ByteSize::bytes(max_size);
        LogConfig { level: tracing::Level::INFO, format: LogFormat::Json, file: None, max_size, max_backups }
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    #[test]
    fn a_full_file_makes_room_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.log");
        let mut log = LogFile::open(&path, &config(10, 2)).unwrap();
        for line in ["one\n", "two\n", "three\n", "four\n", "five\n", "six\n", "seven\n"] {
            log.write(line.as_bytes()).unwrap();
        }
        assert_eq!(read(&path), "six\nseven\n");
        assert_eq!(read(&numbered(&path, 1)), "four\nfive\n");
        assert_eq!(read(&numbered(&path, 2)), "three\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn without_backups_the_file_starts_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.log");
        let mut log = LogFile::open(&path, &config(10, 0)).unwrap();
        for line in ["first\n", "second\n"] {
            log.write(line.as_bytes()).unwrap();
        }
        assert_eq!(read(&path), "second\n");
    }

    #[test]
    fn what_was_there_counts_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.log");
        fs::write(&path, "yesterday\n").unwrap();
        let mut log = LogFile::open(&path, &config(12, 1)).unwrap();
        log.write(b"today\n").unwrap();
        assert_eq!((read(&numbered(&path, 1)).as_str(), read(&path).as_str()), ("yesterday\n", "today\n"));
    }

    #[test]
    fn reopening_follows_an_external_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("server.log"), folder.path().join("moved"));
        let mut log = LogFile::open(&path, &config(0, 1)).unwrap();
        log.write(b"before\n").unwrap();
        fs::rename(&path, &moved).unwrap();
        log.write(b"between\n").unwrap();
        log.reopen().unwrap();
        log.write(b"after\n").unwrap();
        assert_eq!((read(&moved).as_str(), read(&path).as_str()), ("before\nbetween\n", "after\n"));
    }

    #[test]
    fn the_confession_is_a_line_of_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = LogFile::open(&folder.path().join("server.log"), &config(0, 0)).unwrap();
        let confession: serde_json::Value = serde_json::from_slice(&log.confession(3)).unwrap();
        assert_eq!((&confession["lines"], &confession["level"]), (&3.into(), &"WARN".into()));
    }
}
