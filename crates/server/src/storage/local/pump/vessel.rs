//! [`Vessel`]: what a pump has bytes in between the socket and the file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::{Errno, read, retry_on_intr};
use rustix::net::RecvFlags;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice};

use crate::storage::digest::Hasher;

/// What bytes are in between the socket and the file.
pub(super) trait Vessel {
    /// Takes up to `most` bytes in, behind the `held` that are there, without waiting. Zero: the other side has ended.
    fn take(&mut self, source: BorrowedFd<'_>, held: usize, most: usize) -> Result<usize, Errno>;

    /// Puts all `length` that it holds into the file.
    fn pour(&mut self, file: &File, at: u64, length: usize) -> io::Result<()>;

    /// Whether it has turned out that another vessel must be taken. What this one held has come out.
    fn is_unfit(&self) -> bool {
        false
    }
}

/// What is read out of a pipe at once.
const READ: usize = 64 << 10;

/// A pipe that is empty between two uses: one that might not be is closed.
#[derive(Debug)]
pub(in crate::storage::local) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    size: usize,
    is_unfit: bool,
}

impl Pipe {
    /// One that takes `size` bytes; where that is more than an unprivileged user may have, what the system gives.
    pub(super) fn new(size: usize) -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let size = fcntl_setpipe_size(&write, size).or_else(|_| fcntl_getpipe_size(&write))?;
        Ok(Self { read, write, size, is_unfit: false })
    }

    /// What it takes.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Puts `length` bytes that it holds into the file by way of memory.
    fn copy(&self, file: &File, mut at: u64, mut length: usize) -> io::Result<()> {
        let mut buffer = vec![0; length.min(READ)];
        while length > 0 {
            let most = length.min(READ);
            let read = retry_on_intr(|| read(&self.read, &mut buffer[..most]))?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.write_all_at(&buffer[..read], at)?;
            (at, length) = (at + read as u64, length - read);
        }
        Ok(())
    }
}

impl Vessel for Pipe {
    fn take(&mut self, source: BorrowedFd<'_>, _: usize, most: usize) -> Result<usize, Errno> {
        let taken = splice(source, None, &self.write, None, most, SpliceFlags::MOVE | SpliceFlags::NONBLOCK);
        // The socket has no splice, or a sandbox forbids it. No client can make that happen.
        self.is_unfit |= matches!(taken, Err(Errno::INVAL | Errno::PERM | Errno::NOSYS));
        taken
    }

    fn pour(&mut self, file: &File, at: u64, length: usize) -> io::Result<()> {
        let mut position = at;
        let end = at + length as u64;
        while position < end {
            let left = usize::try_from(end - position).unwrap_or(length);
            match splice(&self.read, None, file, Some(&mut position), left, SpliceFlags::MOVE) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) | Err(Errno::INTR) => {}
                // Files of this file system have no splice (eCryptfs; since Linux 5.10 the kernel does not copy instead).
                Err(Errno::INVAL) => {
                    self.is_unfit = true;
                    return self.copy(file, position, left);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn is_unfit(&self) -> bool {
        self.is_unfit
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pipe_holds_comes_to_its_place_by_way_of_memory() {
        let pipe = Pipe::new(1 << 20).unwrap();
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| n.wrapping_mul(n).to_le_bytes()[1]).collect();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            rest = &rest[rustix::io::write(&pipe.write, rest).unwrap()..];
        }
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"before", 0).unwrap();
        // Some of it goes the usual way.
        let mut at = 6;
        let spliced = splice(&pipe.read, None, &file, Some(&mut at), 70_000, SpliceFlags::MOVE).unwrap();
        pipe.copy(&file, at, bytes.len() - spliced).unwrap();
        let mut found = vec![0; 6 + bytes.len()];
        file.read_exact_at(&mut found, 0).unwrap();
        assert!(found == [b"before", &bytes[..]].concat());
        assert!(at == 6 + spliced as u64 && file.metadata().unwrap().len() == found.len() as u64);
    }
}
