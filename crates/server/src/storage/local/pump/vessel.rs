//! [`Vessel`]: what a pump has bytes in between the socket and the file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice};

use crate::storage::digest::Hasher;

/// What bytes are in between the socket and the file.
pub(super) trait Vessel {
    /// Takes up to `most` bytes in, behind the `held` that are there, without waiting. Zero: the other side has ended.
    fn take(&mut self, source: BorrowedFd<'_>, held: usize, most: usize) -> Result<usize, Errno>;

    /// Puts all `length` that it holds into the file.
    fn pour(&mut self, file: &File, at: u64, length: usize) -> io::Result<()>;
}

/// A pipe that is empty between two uses: one that might not be is closed.
#[derive(Debug)]
pub(in crate::storage::local) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    size: usize,
}

impl Pipe {
    /// One that takes `size` bytes; where that is more than an unprivileged user may have, what the system gives.
    pub(super) fn new(size: usize) -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let size = fcntl_setpipe_size(&write, size).or_else(|_| fcntl_getpipe_size(&write))?;
        Ok(Self { read, write, size })
    }

    /// What it takes.
    pub(super) fn size(&self) -> usize {
        self.size
    }
}

impl Vessel for Pipe {
    fn take(&mut self, source: BorrowedFd<'_>, _: usize, most: usize) -> Result<usize, Errno> {
        splice(source, None, &self.write, None, most, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)
    }

    fn pour(&mut self, file: &File, at: u64, length: usize) -> io::Result<()> {
        let mut position = at;
        let end = at + length as u64;
        while position < end {
            let left = usize::try_from(end - position).unwrap_or(length);
            match splice(&self.read, None, file, Some(&mut position), left, SpliceFlags::MOVE) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Where they can be seen.
pub(super) struct Memory<'a> {
    buffer: Vec<u8>,
    hasher: Option<&'a mut Hasher>,
}

impl<'a> Memory<'a> {
    pub(super) fn new(size: usize, hasher: Option<&'a mut Hasher>) -> Self {
        Self { buffer: vec![0; size], hasher }
    }
}

impl Vessel for Memory<'_> {
    fn take(&mut self, source: BorrowedFd<'_>, held: usize, most: usize) -> Result<usize, Errno> {
        let (_, taken) = rustix::net::recv(source, &mut self.buffer[held..held + most], RecvFlags::DONTWAIT)?;
        Ok(taken)
    }

    fn pour(&mut self, file: &File, at: u64, length: usize) -> io::Result<()> {
        let bytes = &self.buffer[..length];
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        file.write_all_at(bytes, at)
    }
}
