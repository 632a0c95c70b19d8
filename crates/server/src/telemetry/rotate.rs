//! [`LogFile`]: a log file that is rotated by size, written by a thread of its own.
//!
//! Those who log never wait for the disk: lines go through a bounded queue, and when a disk hangs for so long that it is
//! full, lines are dropped and counted. Rotated files are `<name>.1` (the newest) to `<name>.<n>`.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use super::{LogConfig, LogFormat};

/// Lines that may wait for the disk; about 1 MiB.
const QUEUE: usize = 4096;

/// How long a flush waits for the disk: a hung one must not keep the server from stopping.
const PATIENCE: Duration = Duration::from_secs(2);

/// A handle to the file; clones share it.
#[derive(Clone, Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    queue: SyncSender<Order>,
    dropped: Arc<AtomicU64>,
}

enum Order {
    Line(Vec<u8>),
    Reopen(SyncSender<io::Result<()>>),
    Flush(SyncSender<()>),
}

impl LogFile {
    /// Opens for appending; creates it with mode 0600, since slot paths are what downloads are protected by. A
    /// `max_size` of zero never rotates. Not the `file` of `config`, which may be none, but `path` is opened.
    pub(super) fn open(path: &Path, config: &LogConfig) -> io::Result<Self> {
        let mut rotating = Rotating::open(path, config)?;
        let (queue, orders) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = Arc::clone(&dropped);
        std::thread::Builder::new().name("log-writer".to_owned()).spawn(move || rotating.serve(&orders, &lost))?;
        Ok(Self { path: path.to_owned(), queue, dropped })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the path anew; the old file stays in use when that fails.
    pub(super) fn reopen(&self) -> io::Result<()> {
        let (answer, outcome) = sync_channel(1);
        self.queue.send(Order::Reopen(answer)).map_err(|_| io::ErrorKind::BrokenPipe)?;
        outcome.recv_timeout(PATIENCE).map_err(|_| io::ErrorKind::TimedOut)?
    }

    /// Waits until every line so far is written, for a moment at most.
    pub(super) fn flush(&self) {
        let (answer, done) = sync_channel(1);
        if self.queue.try_send(Order::Flush(answer)).is_ok() {
            let _ = done.recv_timeout(PATIENCE);
        }
    }
}

impl MakeWriter<'_> for LogFile {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Order::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Rotating {
    path: PathBuf,
    file: File,
    size: u64,
    max_size: u64,
    max_backups: usize,
    format: LogFormat,
}

impl Rotating {
    fn open(path: &Path, config: &LogConfig) -> io::Result<Self> {
        let (file, size) = append(path)?;
        let (max_size, max_backups, format) = (config.max_size.as_u64(), config.max_backups, config.format);
        Ok(Self { path: path.to_owned(), file, size, max_size, max_backups, format })
    }

    fn serve(&mut self, orders: &Receiver<Order>, dropped: &AtomicU64) {
        while let Ok(order) = orders.recv() {
            match order {
                Order::Line(line) => {
                    // A line that fails has nowhere else to go, but is counted with the dropped ones.
                    if self.write(&line).is_err() {
                        dropped.fetch_add(1, Ordering::Relaxed);
                    }
                    self.confess(dropped);
                }
                Order::Reopen(answer) => {
                    let _ = answer.send(self.reopen());
                }
                Order::Flush(answer) => {
                    let _ = answer.send(());
                }
            }
        }
    }

    /// Says how many lines are missing, as soon as lines can be written again.
    fn confess(&mut self, dropped: &AtomicU64) {
        let missing = dropped.swap(0, Ordering::Relaxed);
        if missing == 0 {
            return;
        }
        let line = match self.format {
            LogFormat::Json => {
                format!("{{\"level\":\"WARN\",\"message\":\"Log lines were lost here\",\"lines\":{missing}}}\n")
            }
            LogFormat::Auto | LogFormat::Text => format!("WARN Log lines were lost here lines={missing}\n"),
        };
        if self.write(line.as_bytes()).is_err() {
            dropped.fetch_add(missing, Ordering::Relaxed);
        }
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        if self.max_size > 0 && self.size > 0 && self.size + length > self.max_size {
            self.rotate()?;
        }
        self.file.write_all(line)?;
        self.size += length;
        Ok(())
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
            log.write_all(line.as_bytes()).unwrap();
        }
        LogFile::flush(&log);
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
            log.write_all(line.as_bytes()).unwrap();
        }
        LogFile::flush(&log);
        assert_eq!(read(&path), "second\n");
    }

    #[test]
    fn what_was_there_counts_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.log");
        fs::write(&path, "yesterday\n").unwrap();
        let mut log = LogFile::open(&path, &config(12, 1)).unwrap();
        log.write_all(b"today\n").unwrap();
        LogFile::flush(&log);
        assert_eq!((read(&numbered(&path, 1)).as_str(), read(&path).as_str()), ("yesterday\n", "today\n"));
    }

    #[test]
    fn reopening_follows_an_external_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("server.log"), folder.path().join("moved"));
        let mut log = LogFile::open(&path, &config(0, 1)).unwrap();
        log.write_all(b"before\n").unwrap();
        LogFile::flush(&log);
        fs::rename(&path, &moved).unwrap();
        log.write_all(b"between\n").unwrap();
        log.reopen().unwrap();
        log.write_all(b"after\n").unwrap();
        LogFile::flush(&log);
        assert_eq!((read(&moved).as_str(), read(&path).as_str()), ("before\nbetween\n", "after\n"));
    }

    #[test]
    fn lost_lines_are_confessed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.log");
        let mut rotating = Rotating::open(&path, &config(0, 0)).unwrap();
        let dropped = AtomicU64::new(3);
        let (queue, orders) = sync_channel(1);
        queue.send(Order::Line(b"next\n".to_vec())).unwrap();
        drop(queue);
        rotating.serve(&orders, &dropped);
        let text = read(&path);
        let (next, confession) = text.split_once('\n').unwrap();
        let confession: serde_json::Value = serde_json::from_str(confession).unwrap();
        assert_eq!((next, &confession["lines"]), ("next", &3.into()));
        assert_eq!(dropped.load(Ordering::Relaxed), 0);
    }
}
