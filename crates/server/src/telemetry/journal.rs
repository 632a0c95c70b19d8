//! The journal of systemd: events become its fields ([`layer`]), a [`Sink`] sends them ([`Journal`]).
//!
//! Written here, on the protocol that systemd documents (`JOURNAL_NATIVE_PROTOCOL`), because a layer that sends from the
//! thread that logs waits with it when the journal is stopped. Called by `log` under systemd.

use std::fmt::{self, Write as _};
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::queue::{Queue, Sink};

const SOCKET: &str = "/run/systemd/journal/socket";
const IDENTIFIER: &str = "hmac-file-server";

/// The journal's socket.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Journal {
    /// The journal of this machine.
    pub(super) fn connect() -> io::Result<Self> {
        Self::at(Path::new(SOCKET))
    }

    fn at(path: &Path) -> io::Result<Self> {
        // Fails where nobody listens, and sends nothing, which might wait.
        UnixDatagram::unbound()?.connect(path)?;
        // Not connected: a journal that is started anew listens at the same path.
        Ok(Self { socket: UnixDatagram::unbound()?, path: path.to_owned() })
    }

    /// An entry that is too large for a datagram goes as a sealed file.
    fn send_large(&self, entry: &[u8]) -> io::Result<()> {
        let memory = memfd_create("journal-entry", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let mut file = std::fs::File::from(memory);
        file.write_all(entry)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds: [BorrowedFd<'_>; 1] = [file.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&fds));
        let address = SocketAddrUnix::new(&self.path)?;
        sendmsg_addr(&self.socket, &address, &[IoSlice::new(&[])], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

impl Sink for Journal {
    fn write(&mut self, entry: &[u8]) -> io::Result<()> {
        match self.socket.send_to(entry, &self.path) {
            Ok(_) => Ok(()),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::MSGSIZE) => self.send_large(entry),
            Err(error) => Err(error),
        }
    }

    fn confession(&self, missing: u64) -> Vec<u8> {
        let mut entry = Entry::new(Level::WARN);
        entry.put("MESSAGE", "Log lines were lost here");
        entry.put("HFS_LINES", &missing.to_string());
        entry.0
    }
}

/// Turns events into entries for the queue of a [`Journal`].
pub(super) fn layer(queue: Queue) -> JournalLayer {
    JournalLayer(queue)
}

/// See [`layer`].
#[derive(Debug)]
pub(super) struct JournalLayer(Queue);

impl<S: Subscriber> Layer<S> for JournalLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let meta = event.metadata();
        let mut entry = Entry::new(*meta.level());
        entry.put("TARGET", meta.target());
        if let (Some(file), Some(line)) = (meta.file(), meta.line()) {
            entry.put("CODE_FILE", file);
            entry.put("CODE_LINE", &line.to_string());
        }
        event.record(&mut entry);
        // The queue counts what it cannot take.
        let _ = self.0.clone().write(&entry.0);
    }
}

/// One entry: for each field its name, the length of its value, its value. So no value can forge a field.
struct Entry(Vec<u8>);

impl Entry {
    fn new(level: Level) -> Self {
        // As syslog numbers them: "notice" for what is normal and worth a line, as before.
        let priority = match level {
            Level::ERROR => "3",
            Level::WARN => "4",
            Level::INFO => "5",
            Level::DEBUG => "6",
            Level::TRACE => "7",
        };
        let mut entry = Self(Vec::with_capacity(512));
        entry.put("PRIORITY", priority);
        entry.put("SYSLOG_IDENTIFIER", IDENTIFIER);
        entry
    }

    fn put(&mut self, name: &str, value: &str) {
        self.0.extend(name.bytes());
        self.0.push(b'\n');
        self.0.extend((value.len() as u64).to_le_bytes());
        self.0.extend(value.bytes());
        self.0.push(b'\n');
    }
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(&name_of(field), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // Writing to a string fails only where the value itself says so.
        let _ = write!(text, "{value:?}");
        self.put(&name_of(field), &text);
    }
}

/// `MESSAGE` is the journal's own; our fields cannot take the name of another.
fn name_of(field: &Field) -> String {
    if field.name() == "message" {
        return "MESSAGE".to_owned();
    }
    let letters = field.name().chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'));
    let name: String = letters.map(|c| if c == '.' { '_' } else { c.to_ascii_uppercase() }).collect();
    format!("HFS_{name}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn stand_in() -> (tempfile::TempDir, UnixDatagram, Journal) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listening = UnixDatagram::bind(&path).unwrap();
        listening.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let journal = Journal::at(&path).unwrap();
        (folder, listening, journal)
    }

    fn fields(mut entry: &[u8]) -> BTreeMap<String, String> {
        let mut fields = BTreeMap::new();
        while !entry.is_empty() {
            let end = entry.iter().position(|&byte| byte == b'\n').unwrap();
            let (name, rest) = entry.split_at(end);
            let length = u64::from_le_bytes(rest[1..9].try_into().unwrap());
            let (value, rest) = rest[9..].split_at(usize::try_from(length).unwrap());
            assert_eq!(rest[0], b'\n');
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            fields.insert(text(name), text(value));
            entry = &rest[1..];
        }
        fields
    }

    #[test]
    fn an_event_becomes_fields() {
        let (_folder, listening, journal) = stand_in();
        let queue = Queue::start(journal).unwrap();
        let slot = "a\nPRIORITY=0";
        tracing::subscriber::with_default(Registry::default().with(layer(queue)), || {
            tracing::warn!(slot = %slot, bytes = 5, outcome = "complete", "Upload {}", "finished");
        });
        let mut entry = [0; 4096];
        let length = listening.recv(&mut entry).unwrap();
        let fields = fields(&entry[..length]);
        let expected = [
            ("MESSAGE", "Upload finished"),
            ("PRIORITY", "4"),
            ("SYSLOG_IDENTIFIER", "hmac-file-server"),
            ("HFS_SLOT", slot),
            ("HFS_BYTES", "5"),
            ("HFS_OUTCOME", "complete"),
        ];
        for (name, value) in expected {
            assert_eq!(fields[name], value, "{name}");
        }
        assert!(fields["CODE_FILE"].ends_with("journal.rs"));
    }

    #[test]
    fn a_large_entry_arrives_as_a_file() {
        use std::io::{IoSliceMut, Read, Seek};
        let (_folder, listening, mut journal) = stand_in();
        let entry = vec![b'x'; 1 << 20];
        journal.write(&entry).unwrap();
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = rustix::net::RecvAncillaryBuffer::new(&mut space);
        let flags = rustix::net::RecvFlags::empty();
        rustix::net::recvmsg(&listening, &mut [IoSliceMut::new(&mut [0; 8])], &mut control, flags).unwrap();
        let passed = control.drain().find_map(|message| match message {
            rustix::net::RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let mut file = std::fs::File::from(passed.expect("a file"));
        let mut read = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut read).unwrap();
        assert_eq!(read, entry);
    }

    #[test]
    fn a_journal_that_stands_still_stops_nobody() {
        let (_folder, listening, journal) = stand_in();
        let queue = Queue::start(journal).unwrap();
        let total = prometheus_client::metrics::counter::Counter::default();
        queue.count_in(total.clone());
        let most = 20_000;
        tracing::subscriber::with_default(Registry::default().with(layer(queue.clone())), || {
            for _ in 0..most {
                tracing::info!("Upload finished");
            }
        });
        let lost = total.get();
        assert!(lost > 0, "the stand-in took everything: nothing was tested");
        // Now it goes on: what was kept comes, and then how much was not.
        let mut entry = [0; 4096];
        let (mut came, mut confessed) = (0, 0);
        while came + confessed < most {
            let length = listening.recv(&mut entry).unwrap();
            match fields(&entry[..length]).remove("HFS_LINES") {
                Some(lines) => confessed += lines.parse::<u64>().unwrap(),
                None => came += 1,
            }
        }
        assert_eq!((came, confessed), (most - lost, lost));
    }

    #[test]
    fn no_journal_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Journal::at(&folder.path().join("none")).is_err());
    }
}
