//! Bytes from a socket into a temporary, on a thread that may wait: by splice, through memory because something must
//! see them, or stepwise as the original server does.
//!
//! For uploads that come faster than the network makes them wait: no wake-up and no change of threads per piece, and
//! with splice no copy. A thread is never held for a client that is slow: a socket that stays dry goes back to the
//! runtime, and every call ends after a while. Few run at once; the others gather as usual.

mod alarm;
mod vessel;

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use tracing::info;

use self::alarm::Alarm;
pub(super) use self::vessel::Pipe;
use self::vessel::{Memory, Vessel};
use super::call::Call;
use super::writer::write_back;
use super::{Inner, StoreError, failed, lock};
use crate::storage::digest::Hasher;
use crate::storage::{Hints, Pump, PumpEnd, Pumped};

const WRITE: &str = "write";
/// Threads that pump at once: more do not make a disk or two cores faster.
pub(super) const WIDTH: usize = 8;
/// The longest call. A hung disk is noticed by the lane's deadline, which must not count the network's time.
const SLICE: Duration = Duration::from_secs(1);
/// A write, which ends where the file has a multiple of it: only then does the page cache take memory in pieces as large
/// as this, which is worth more than the copy that splice saves. A pipe of this size is had 64 times by an unprivileged
/// user; then pipes are smaller.
const PIECE: usize = 1 << 20;
/// Pipes that are kept; an empty one holds no memory worth naming.
const SPARE: usize = WIDTH;

/// What one call works on.
pub(super) struct Job<'a> {
    pub(super) inner: &'a Inner,
    pub(super) file: &'a File,
    /// Where the next byte goes.
    pub(super) at: u64,
    pub(super) most: u64,
    pub(super) hints: Hints,
    /// Nobody waits for the result any more.
    pub(super) abandoned: &'a AtomicBool,
}

impl Job<'_> {
    /// Pumps until there is a reason to stop. Blocking. A splice shows nobody the bytes, so it has no digest. Where it cannot
    /// be, memory does, as much as the upload may hold while it gathers nothing.
    pub(super) fn run(
        &self,
        source: BorrowedFd<'_>,
        how: Pump,
        hasher: Option<&mut Hasher>,
    ) -> Result<Pumped, StoreError> {
        match how {
            Pump::Splice => {
                if let Some(pumped) = self.splice(source)? {
                    return Ok(pumped);
                }
                let piece = self.hints.room.clamp(1, PIECE);
                self.pump(source, &mut Memory::new(piece, None), Pieces::Whole(piece))
            }
            Pump::Seen { piece } => self.pump(source, &mut Memory::new(piece, hasher), Pieces::Whole(piece)),
            Pump::Stepwise { step } => self.pump(source, &mut Memory::new(step, hasher), Pieces::AsTheyCome(step)),
        }
    }

    /// By way of a pipe. `None`, and nothing was read: there is no pipe, or the kernel cannot splice here.
    fn splice(&self, source: BorrowedFd<'_>) -> Result<Option<Pumped>, StoreError> {
        if !self.inner.splices.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let Ok(mut pipe) = self.pipe() else { return Ok(None) };
        let pieces = Pieces::Whole(pipe.size());
        let pumped = self.pump(source, &mut pipe, pieces)?;
        if pipe.is_unfit() {
            // A file system that cannot today cannot tomorrow: no upload is to find that out again.
            if self.inner.splices.swap(false, Ordering::Relaxed) {
                info!(root = %self.inner.root.display(), "Uploads cannot be spliced here: they go through memory");
            }
            return Ok((pumped.bytes > 0).then_some(pumped));
        }
        // Whatever went in came out.
        let mut spare = lock(&self.inner.pipes);
        if spare.len() < SPARE {
            spare.push(pipe);
        }
        Ok(Some(Pumped { is_spliced: true, ..pumped }))
    }

    fn pump(&self, source: BorrowedFd<'_>, vessel: &mut impl Vessel, pieces: Pieces) -> Result<Pumped, StoreError> {
        let slice = SLICE.min(self.inner.writes.deadline() / 4);
        let until = Instant::now() + slice;
        let (mut bytes, mut alarm) = (0, Alarm::new(source));
        let end = loop {
            let is_over = || Instant::now() >= until || self.abandoned.load(Ordering::Acquire);
            if bytes == self.most || is_over() {
                break PumpEnd::Flowing;
            }
            let at = self.at + bytes;
            let (taken, end) = fill(&mut alarm, vessel, pieces.next(at, self.most - bytes), is_over);
            if taken > 0 {
                self.inner.seam.pass(Call::Write).map_err(failed(WRITE))?;
                vessel.pour(self.file, at, taken).map_err(failed(WRITE))?;
                bytes += taken as u64;
                if self.hints.write_back {
                    write_back(self.file, at, at + taken as u64).map_err(failed(WRITE))?;
                }
            }
            if let Some(end) = end.or_else(|| vessel.is_unfit().then_some(PumpEnd::Flowing)) {
                break end;
            }
        };
        Ok(Pumped { bytes, is_spliced: false, end })
    }

    fn pipe(&self) -> io::Result<Pipe> {
        if let Some(pipe) = lock(&self.inner.pipes).pop() {
            return Ok(pipe);
        }
        Pipe::new(PIECE)
    }
}

/// How large the writes are.
#[derive(Clone, Copy)]
enum Pieces {
    /// So large that each ends at the next multiple of this in the file.
    Whole(usize),
    /// What one read brings, at most this.
    AsTheyCome(usize),
}

/// What is written next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Piece {
    /// It is written once so much of it is there.
    due: usize,
    most: usize,
}

impl Pieces {
    /// The next one, which goes to `at`; `left` is all that may still come.
    fn next(self, at: u64, left: u64) -> Piece {
        // Neither is more than a size, which is a `usize`.
        let at_most = |size: u64| size.min(left) as usize;
        match self {
            Self::Whole(size) => {
                let most = at_most(size as u64 - at % size as u64);
                Piece { due: most, most }
            }
            Self::AsTheyCome(size) => Piece { due: 1, most: at_most(size as u64) },
        }
    }
}

/// Fills `vessel` with the next piece. Returns how much of it is there, and why no more will come for now.
fn fill(
    alarm: &mut Alarm<'_>,
    vessel: &mut impl Vessel,
    piece: Piece,
    is_over: impl Fn() -> bool,
) -> (usize, Option<PumpEnd>) {
    let (mut held, mut was_refused) = (0, false);
    while held < piece.due && !is_over() {
        match vessel.take(alarm.socket, held, piece.most - held) {
            Ok(0) => return (held, Some(PumpEnd::Closed)),
            Ok(taken) => (held, was_refused) = (held + taken, false),
            // Nothing has come for a while. Or something has, and it takes none: a pipe that is full, as it is earlier of small
            // segments, and empty the next time; or bytes that it cannot take at all, as those that were sent out of band.
            Err(Errno::AGAIN) if was_refused => return (held, (held == 0).then_some(PumpEnd::Dry)),
            Err(Errno::AGAIN) => {
                alarm.wait(piece.due - held);
                was_refused = true;
            }
            Err(Errno::INTR) => {}
            // That says nothing of the client.
            Err(_) if vessel.is_unfit() => return (held, None),
            Err(_) => return (held, Some(PumpEnd::Closed)),
        }
    }
    (held, None)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsFd as _, OwnedFd};
    use std::sync::Arc;

    use bytes::Bytes;
    use hfs_core::ByteSize;

    use super::alarm::DRY;
    use super::*;
    use crate::storage::conformance::{publish, read, settle};
    use crate::storage::local::testing::Root;
    use crate::storage::{BlobStore as _, BlobWriter};

    /// A socket to which `bytes` come, and then nothing more while what is returned with it lives.
    fn socket_with(bytes: Vec<u8>) -> (Arc<OwnedFd>, std::thread::JoinHandle<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = listener.accept().unwrap().0;
        server.set_nonblocking(true).unwrap();
        let sender = std::thread::spawn(move || {
            client.write_all(&bytes).unwrap();
            client
        });
        (Arc::new(server.into()), sender)
    }

    async fn pump_all(writer: &mut dyn BlobWriter, source: &Arc<OwnedFd>, most: u64, how: Pump) -> PumpEnd {
        let end = writer.written().as_u64() + most;
        loop {
            let left = end - writer.written().as_u64();
            let pumped = writer.pump(Arc::clone(source) as _, left, how).await.unwrap().unwrap();
            // A busy machine may let the socket run dry.
            if pumped.end == PumpEnd::Closed || writer.written().as_u64() == end {
                return pumped.end;
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_way_keeps_each_byte_in_its_place() {
        let root = Root::new();
        let store = root.open();
        let bytes: Vec<u8> = (0..5_000_000_u32).map(|n| n.wrapping_mul(n).to_le_bytes()[1]).collect();
        for (how, name) in [
            (Pump::Splice, "splice"),
            (Pump::Seen { piece: PIECE }, "seen"),
            (Pump::Stepwise { step: 32 << 10 }, "stepwise"),
        ] {
            let hints = Hints { digest: how != Pump::Splice, ..Hints::default() };
            let size = Some(ByteSize::bytes(bytes.len() as u64));
            let mut writer = store.create(size, hints).await.unwrap();
            // What came before a pump does not end where a large write would.
            writer.write(Bytes::copy_from_slice(&bytes[..123_457])).await.unwrap();
            let rest = &bytes[123_457..];
            let (source, sender) = socket_with([rest, b"the next request"].concat());
            assert_eq!(pump_all(&mut *writer, &source, rest.len() as u64, how).await, PumpEnd::Flowing);
            let published = publish(&store, writer, name).await;
            let digest = published.digest;
            let place = settle(published).await;
            assert!(read(&store, &place).await == bytes, "{name}");
            let expected = blake3::hash(&bytes);
            let expected = (how != Pump::Splice).then_some(expected.as_bytes());
            assert_eq!(digest.as_ref().map(hfs_core::Digest::as_bytes), expected, "{name}");
            sender.join().unwrap();
        }
    }

    #[tokio::test]
    async fn where_as_many_threads_pump_as_may_another_upload_goes_on_without() {
        let root = Root::new();
        let store = root.open();
        let mut writer = store.create(None, Hints::default()).await.unwrap();
        let (source, sender) = socket_with(vec![6; 1000]);
        let _client = sender.join().unwrap();
        let all = Arc::clone(&store.0.pumps).try_acquire_many_owned(WIDTH as u32).unwrap();
        assert_eq!(writer.pump(Arc::clone(&source) as _, 1000, Pump::Splice).await.unwrap(), None);
        drop(all);
        let pumped = writer.pump(Arc::clone(&source) as _, 1000, Pump::Splice).await.unwrap().unwrap();
        assert_eq!(pumped.bytes, 1000);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn large_writes_end_at_whole_pieces() {
        let root = Root::new();
        let store = root.open();
        for how in [Pump::Splice, Pump::Seen { piece: PIECE }] {
            let mut writer = store.create(Some(ByteSize::mib(8)), Hints::default()).await.unwrap();
            writer.write(Bytes::from_static(&[1; 1000])).await.unwrap();
            let (source, sender) = socket_with(vec![2; 4 * PIECE]);
            store.0.seam.arm(None);
            pump_all(&mut *writer, &source, 4 * PIECE as u64 - 2000, how).await;
            let writes = store.0.seam.seen().len();
            // What is held, up to the first piece, two whole ones, the rest. A busy machine lets the socket run dry, and a pipe takes
            // less of small segments: more then, but far from one for each read of 64 KiB.
            assert!((5..=5 + 24).contains(&writes), "{how:?}: {writes} writes");
            drop(writer);
            sender.join().unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn where_a_file_cannot_be_spliced_to_memory_does() {
        let root = Root::new();
        let store = root.open();
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n.wrapping_mul(n).to_le_bytes()[1]).collect();
        // The kernel splices to no file that is appended to.
        let path = root.path().join("appended");
        let file = File::options().create(true).append(true).open(&path).unwrap();
        let (source, sender) = socket_with(bytes.clone());
        let (inner, hints, abandoned) = (&*store.0, Hints::default(), AtomicBool::new(false));
        let mut at = 0;
        while at < bytes.len() as u64 {
            let job = Job { inner, file: &file, at, most: bytes.len() as u64 - at, hints, abandoned: &abandoned };
            let pumped = job.run(source.as_fd(), Pump::Splice, None).unwrap();
            assert!(!pumped.is_spliced && pumped.end != PumpEnd::Closed, "{pumped:?}");
            at += pumped.bytes;
        }
        assert!(std::fs::read(&path).unwrap() == bytes);
        let _client = sender.join().unwrap();
        assert!(lock(&inner.pipes).is_empty(), "nobody takes another pipe");

        // Nor does any later upload try it.
        let (source, sender) = socket_with(vec![6; 1000]);
        let _client = sender.join().unwrap();
        let mut writer = store.create(None, hints).await.unwrap();
        let pumped = writer.pump(source as _, 1000, Pump::Splice).await.unwrap().unwrap();
        assert_eq!(pumped, Pumped { bytes: 1000, is_spliced: false, end: PumpEnd::Flowing });
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_came_is_written_when_the_socket_runs_dry_or_ends() {
        let root = Root::new();
        let store = root.open();
        for how in [Pump::Splice, Pump::Seen { piece: PIECE }, Pump::Stepwise { step: 32 << 10 }] {
            let mut writer = store.create(None, Hints::default()).await.unwrap();
            let (source, sender) = socket_with(vec![3; 100_000]);
            let client = sender.join().unwrap();
            let mut end = PumpEnd::Flowing;
            while end == PumpEnd::Flowing || writer.written() < ByteSize::bytes(100_000) {
                end = writer.pump(Arc::clone(&source) as _, 1 << 30, how).await.unwrap().unwrap().end;
                assert_ne!(end, PumpEnd::Closed);
            }
            assert_eq!(writer.written(), ByteSize::bytes(100_000));
            drop(client);
            let pumped = writer.pump(Arc::clone(&source) as _, 1 << 30, how).await.unwrap().unwrap();
            assert_eq!((pumped.bytes, pumped.end), (0, PumpEnd::Closed));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_trickles_does_not_keep_the_thread() {
        let root = Root::new();
        let store = root.open();
        for how in [Pump::Splice, Pump::Seen { piece: PIECE }] {
            let mut writer = store.create(None, Hints::default()).await.unwrap();
            let (source, sender) = socket_with(vec![4; 1]);
            let mut client = sender.join().unwrap();
            let is_enough = Arc::new(AtomicBool::new(false));
            let stop = Arc::clone(&is_enough);
            let trickle = std::thread::spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    client.write_all(&[4]).unwrap();
                    std::thread::sleep(DRY / 10);
                }
            });
            let pumped = writer.pump(Arc::clone(&source) as _, 1 << 30, how).await.unwrap().unwrap();
            is_enough.store(true, Ordering::Release);
            assert!(pumped.bytes > 0 && pumped.end != PumpEnd::Closed, "{how:?}: {pumped:?}");
            trickle.join().unwrap();
        }
    }

    #[test]
    fn a_piece_ends_where_the_file_has_a_multiple_of_it() {
        let whole = |at, left| {
            let Piece { due, most } = Pieces::Whole(1 << 20).next(at, left);
            assert_eq!(due, most);
            most
        };
        assert_eq!(whole(0, u64::MAX), 1 << 20);
        assert_eq!(whole((1 << 20) - 1, u64::MAX), 1);
        assert_eq!(whole(5, 10), 10);
        assert_eq!(Pieces::AsTheyCome(32 << 10).next(5, u64::MAX), Piece { due: 1, most: 32 << 10 });
    }
}
