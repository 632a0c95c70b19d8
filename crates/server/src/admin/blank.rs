//! [`Blank`]: a file of zeros that takes neither memory nor disk.

use std::fs::File;
use std::io;

use futures_core::future::BoxFuture;
use hfs_core::ByteSize;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use crate::storage::{Blob, Scratch, StoreError};

/// One hole of this size, in a file that only this process knows: sendfile takes it as it takes any other.
#[derive(Debug)]
pub(super) struct Blank {
    file: File,
    size: ByteSize,
}

impl Blank {
    pub(super) fn new(size: ByteSize) -> io::Result<Self> {
        let file = memfd_create("benchmark", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, size.as_u64())?;
        Ok(Self { file: file.into(), size })
    }
}

impl Blob for Blank {
    fn size(&self) -> ByteSize {
        self.size
    }

    fn refill<'a>(
        &'a self,
        offset: u64,
        length: usize,
        scratch: &'a mut Scratch,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let left = usize::try_from(self.size.as_u64().saturating_sub(offset)).unwrap_or(usize::MAX);
        let done = scratch.refill(length.min(left), |room| {
            room.fill(0);
            Ok(room.len())
        });
        Box::pin(std::future::ready(done.map(|_| ())))
    }

    fn file(&self) -> Option<&File> {
        Some(&self.file)
    }

    fn is_at_hand(&self, _offset: u64, _length: u64) -> bool {
        true
    }

    /// Nobody keeps one.
    fn is_untouched(&self) -> bool {
        false
    }
}
