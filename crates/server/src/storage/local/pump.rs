//! Bytes from a socket into a temporary, on a thread that may wait: by splice, or stepwise: as the original
//! server does, or because something must see the bytes.
//!
//! For uploads that come faster than the network makes them wait: no wake-up and no change of threads per piece, and
//! with splice no copy. A thread is never held for a client that is slow: a socket that stays dry goes back to the
//! runtime, and every call ends after a while. Few run at once; the others gather as usual.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use super::seam::Call;
use super::writer::write_back;
use super::{Inner, StoreError, failed, lock};
use crate::storage::digest::Hasher;
use crate::storage::{Hints, Pump, PumpEnd, Pumped};

const WRITE: &str = "write";
/// Threads that pump at once: more do not make a disk or two cores faster.
pub(super) const WIDTH: usize = 8;
/// How long a dry socket is waited for before the runtime takes over.
const DRY: Duration = Duration::from_millis(10);
/// The longest call. A hung disk is noticed by the lane's deadline, which must not count the network's time.
const SLICE: Duration = Duration::from_secs(1);
/// What a pipe takes at once: the measured optimum. An unprivileged user has 64 pipes of this size, then smaller ones.
const PIPE: usize = 1 << 20;
/// Pipes that are kept; an empty one holds no memory worth naming.
const SPARE: usize = WIDTH;

/// A pipe that is empty between two uses: one that might not be is closed.
#[derive(Debug)]
pub(super) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    size: usize,
}

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
    /// Pumps until there is a reason to stop. Blocking. A splice shows nobody the bytes, so it has no digest.
    pub(super) fn run(
        &self,
        source: BorrowedFd<'_>,
        how: Pump,
        mut hasher: Option<&mut Hasher>,
    ) -> Result<Pumped, StoreError> {
        match how {
            Pump::Splice => {
                let pipe = self.pipe().map_err(failed("make a pipe"))?;
                let pumped = self.pump(
                    source,
                    |most| splice_once(source, &pipe, most),
                    |at, length| drain(&pipe, self.file, at, length),
                )?;
                // Whatever went in came out.
                let mut spare = lock(&self.inner.pipes);
                if spare.len() < SPARE {
                    spare.push(pipe);
                }
                Ok(pumped)
            }
            Pump::Stepwise { step } => {
                let mut buffer = vec![0; step];
                let buffer = std::cell::RefCell::new(&mut buffer);
                self.pump(
                    source,
                    |most| {
                        let mut buffer = buffer.borrow_mut();
                        let most = most.min(step);
                        Ok(rustix::net::recv(source, &mut buffer[..most], RecvFlags::DONTWAIT)?.0)
                    },
                    |at, length| {
                        let buffer = buffer.borrow();
                        if let Some(hasher) = &mut hasher {
                            hasher.update(&buffer[..length]);
                        }
                        self.file.write_all_at(&buffer[..length], at)
                    },
                )
            }
        }
    }

    fn pump(
        &self,
        source: BorrowedFd<'_>,
        mut take: impl FnMut(usize) -> Result<usize, Errno>,
        mut put: impl FnMut(u64, usize) -> io::Result<()>,
    ) -> Result<Pumped, StoreError> {
        let slice = SLICE.min(self.inner.writes.deadline() / 4);
        let until = Instant::now() + slice;
        let mut bytes = 0;
        let end = loop {
            if bytes == self.most || Instant::now() >= until || self.abandoned.load(Ordering::Acquire) {
                break PumpEnd::Flowing;
            }
            // At most a pipe: fits everywhere.
            let room = (self.most - bytes).min(PIPE as u64) as usize;
            match take(room) {
                Ok(0) => break PumpEnd::Closed,
                Ok(taken) => {
                    let at = self.at + bytes;
                    self.inner.seam.pass(Call::Write).map_err(failed(WRITE))?;
                    put(at, taken).map_err(failed(WRITE))?;
                    bytes += taken as u64;
                    if self.hints.write_back {
                        write_back(self.file, at, at + taken as u64).map_err(failed(WRITE))?;
                    }
                }
                Err(Errno::AGAIN) if has_bytes(source) => {}
                Err(Errno::AGAIN) => break PumpEnd::Dry,
                Err(Errno::INTR) => {}
                Err(_) => break PumpEnd::Closed,
            }
        };
        Ok(Pumped { bytes, end })
    }

    fn pipe(&self) -> io::Result<Pipe> {
        if let Some(pipe) = lock(&self.inner.pipes).pop() {
            return Ok(pipe);
        }
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        // More than an unprivileged user may have: then it keeps the system's size.
        let size = fcntl_setpipe_size(&write, PIPE).or_else(|_| rustix::pipe::fcntl_getpipe_size(&write))?;
        Ok(Pipe { read, write, size })
    }
}

fn splice_once(source: BorrowedFd<'_>, pipe: &Pipe, most: usize) -> Result<usize, Errno> {
    splice(source, None, &pipe.write, None, most.min(pipe.size), SpliceFlags::MOVE | SpliceFlags::NONBLOCK)
}

/// All `length` bytes of the pipe into the file.
fn drain(pipe: &Pipe, file: &File, at: u64, length: usize) -> io::Result<()> {
    let mut position = at;
    let end = at + length as u64;
    while position < end {
        let left = usize::try_from(end - position).unwrap_or(length);
        match splice(&pipe.read, None, file, Some(&mut position), left, SpliceFlags::MOVE) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Waits a moment for a socket that was empty.
fn has_bytes(source: BorrowedFd<'_>) -> bool {
    let patience = Timespec::try_from(DRY).ok();
    let mut sockets = [PollFd::new(&source, PollFlags::IN)];
    matches!(poll(&mut sockets, patience.as_ref()), Ok(1..))
}
