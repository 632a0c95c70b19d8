//! The floor: the barest program that keeps what an upload is promised, as a server of its own.
//!
//! A thread for each connection, and for each upload what cannot be left out: its bytes on the disk, then its name, then
//! the name on the disk, then 201. No signature, no row, no limits, nothing that a crash leaves is cleaned. So its CPU is
//! what the kernel takes for the same bytes and syncs on this machine; what a server needs beyond it is the server's own.
//! It trusts its client: for the bench alone.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use hfs_core::SlotPath;
use rustix::fs::{Mode, OFlags, fdatasync, fsync, mkdirat, openat, renameat};
use rustix::io::Errno;

/// What is received and written at once. Whole pieces, at multiples of their size in the file: smaller ones cost more.
const PIECE: usize = 1 << 20;
/// Write-back starts after each of these, and two of them later it is waited for, as our server does it.
const PART: u64 = 8 << 20;
/// Until it is named.
const UNNAMED: &str = ".part";

/// What an upload is promised with its 201.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Promise {
    /// It is on the disk.
    Durable,
    /// The same, and its BLAKE3 is known.
    Hashed,
    /// Nothing.
    Unsynced,
}

/// Serves until it is ended; the words are an address, a folder and the name of the peer, which says the promise.
pub(crate) fn serve_as_told(words: &[String]) -> Result<()> {
    let [address, folder, name] = words else { bail!("address, folder, name") };
    let promise = match name.as_str() {
        "floor" => Promise::Durable,
        "floor-hashing" => Promise::Hashed,
        "floor-unsynced" => Promise::Unsynced,
        _ => bail!("there is no `{name}`"),
    };
    serve(&TcpListener::bind(address)?, Path::new(folder), promise)
}

fn serve(listener: &TcpListener, folder: &Path, promise: Promise) -> Result<()> {
    let root = Arc::new(File::open(folder)?);
    loop {
        let (client, root) = (listener.accept()?.0, Arc::clone(&root));
        // Nobody waits for it: a failure closes its connection, which the client notices.
        std::thread::spawn(move || Connection::new(client, &root, promise).answer_all());
    }
}

struct Connection<'a> {
    client: TcpStream,
    root: &'a File,
    promise: Promise,
    /// A head and a piece.
    buffer: Vec<u8>,
}

impl<'a> Connection<'a> {
    fn new(client: TcpStream, root: &'a File, promise: Promise) -> Self {
        Self { client, root, promise, buffer: vec![0; 2 * PIECE] }
    }

    fn answer_all(&mut self) -> Result<()> {
        self.client.set_nodelay(true)?;
        while let Some((head, held)) = self.read_head()? {
            let (slot, length) = understand(&self.buffer[..head])?;
            self.store(&slot, length, head, held)?;
            self.client.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")?;
        }
        Ok(())
    }

    /// Where in the buffer the head ends, and what was received; `None` where no further request comes.
    fn read_head(&mut self) -> Result<Option<(usize, usize)>> {
        let mut held = 0;
        loop {
            let count = self.client.read(&mut self.buffer[held..PIECE])?;
            if count == 0 {
                return Ok(None);
            }
            held += count;
            if let Some(at) = self.buffer[..held].windows(4).position(|window| window == b"\r\n\r\n") {
                return Ok(Some((at + 4, held)));
            }
        }
    }

    /// Keeps a body of `length`, of which the buffer has what lies between `head` and `held`.
    fn store(&mut self, slot: &SlotPath, length: u64, head: usize, held: usize) -> Result<()> {
        let (folder, name) = slot.as_str().rsplit_once('/').context("a slot has a folder")?;
        match mkdirat(self.root, folder, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let folder = openat(self.root, folder, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        let create = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        let file = File::from(openat(&folder, UNNAMED, create, Mode::RUSR | Mode::WUSR)?);
        let digest = self.receive(&file, length, head, held)?;
        if self.is_durable() {
            fdatasync(&file)?;
        }
        renameat(&folder, UNNAMED, &folder, name)?;
        if self.is_durable() {
            fsync(&folder)?;
            fsync(self.root)?;
        }
        std::hint::black_box(digest);
        Ok(())
    }

    /// Writes a body into its file; returns its hash, where it has one.
    fn receive(&mut self, file: &File, length: u64, head: usize, held: usize) -> Result<Option<blake3::Hash>> {
        let mut hasher = (self.promise == Promise::Hashed).then(blake3::Hasher::new);
        let is_large = length > PIECE as u64;
        if is_large {
            hfs_sock::preallocate(file, length)?;
        }
        // The first piece lies behind the head.
        let (mut at, mut begin, mut filled) = (0, head, held);
        while at < length {
            let end = begin + usize::try_from(length - at)?.min(PIECE);
            while filled < end {
                let count = self.client.read(&mut self.buffer[filled..end])?;
                ensure!(count > 0, "the client left");
                filled += count;
            }
            let piece = &self.buffer[begin..end];
            if let Some(hasher) = &mut hasher {
                hasher.update(piece);
            }
            file.write_all_at(piece, at)?;
            at += piece.len() as u64;
            if is_large && self.is_durable() && at.is_multiple_of(PART) {
                hfs_sock::start_write_back(file, at - PART, PART)?;
                if let Some(earlier) = at.checked_sub(3 * PART) {
                    hfs_sock::wait_write_back(file, earlier, PART)?;
                }
            }
            (begin, filled) = (0, 0);
        }
        Ok(hasher.map(|hasher| hasher.finalize()))
    }

    fn is_durable(&self) -> bool {
        self.promise != Promise::Unsynced
    }
}

/// Slot and length of an upload.
fn understand(head: &[u8]) -> Result<(SlotPath, u64)> {
    let mut lines = std::str::from_utf8(head)?.lines();
    let target = lines.next().and_then(|line| line.strip_prefix("PUT /")?.split(' ').next()).context("no PUT")?;
    let length = lines.find_map(|line| line.strip_prefix("Content-Length: ")).context("no length")?;
    Ok((SlotPath::parse(target)?, length.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A floor of its own for the rest of the process.
    fn floor(promise: Promise) -> (tempfile::TempDir, TcpStream) {
        let folder = tempfile::tempdir().unwrap();
        let (listener, root) = (TcpListener::bind("127.0.0.1:0").unwrap(), folder.path().to_owned());
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        std::thread::spawn(move || serve(&listener, &root, promise));
        (folder, client)
    }

    fn head(slot: &str, length: usize) -> Vec<u8> {
        format!("PUT /{slot} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n").into_bytes()
    }

    #[test]
    fn what_was_acknowledged_is_there_byte_for_byte() {
        for promise in [Promise::Durable, Promise::Hashed, Promise::Unsynced] {
            let (folder, mut client) = floor(promise);
            // Beyond the first wait for write-back, and not at the end of a piece.
            for (number, length) in [0, 1, 64 << 10, PIECE, 33 * PIECE + 5].into_iter().enumerate() {
                let bytes: Vec<u8> =
                    (0..length).map(|n| n.wrapping_mul(n).to_le_bytes()[1] ^ n.to_le_bytes()[2]).collect();
                let slot = format!("slot-{number}/blob.bin");
                client.write_all(&[head(&slot, length), bytes.clone()].concat()).unwrap();
                let (answer, _) = crate::http::read_head(&mut client).unwrap();
                assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
                assert!(std::fs::read(folder.path().join(&slot)).unwrap() == bytes, "{promise:?}: {slot}");
                assert!(!folder.path().join(slot).with_file_name(UNNAMED).exists());
            }
        }
    }

    #[test]
    fn an_upload_that_breaks_off_gets_no_name() {
        let (folder, mut client) = floor(Promise::Durable);
        client.write_all(&[head("slot/blob.bin", 100), vec![1; 99]].concat()).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(crate::http::read_head(&mut client).is_err(), "there is no answer");
        assert!(!folder.path().join("slot/blob.bin").exists());
    }
}
