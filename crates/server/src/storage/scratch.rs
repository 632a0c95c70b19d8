//! [`Scratch`]: a buffer that is filled again and again.
//!
//! A fresh buffer of a megabyte for each piece of a download costs as much as reading it does: the memory is asked for,
//! cleared and given back each time.

use bytes::Bytes;

/// Memory that is used again.
#[derive(Debug, Default)]
pub struct Scratch {
    memory: Vec<u8>,
    filled: usize,
}

impl Scratch {
    /// What it was filled with last.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        &self.memory[..self.filled]
    }

    /// Bytes of memory that it holds.
    pub(crate) fn size(&self) -> usize {
        self.memory.capacity()
    }

    /// Gives its memory back where that is more than `most` bytes: what a plan once needed and no longer does.
    pub(crate) fn shrink_to(&mut self, most: usize) {
        if self.size() > most {
            *self = Self::default();
        }
    }

    /// Fills room for `length` bytes by `fill`, which returns how many there are. Empty after an error.
    pub(crate) fn refill<E>(
        &mut self,
        length: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        self.filled = 0;
        // What a plan once needed and no longer does goes back.
        if self.memory.len() / 4 > length {
            self.memory = Vec::new();
        }
        if self.memory.len() < length {
            self.memory.reserve_exact(length - self.memory.len());
            self.memory.resize(length, 0);
        }
        self.filled = fill(&mut self.memory[..length])?.min(length);
        Ok(self.filled)
    }

    /// Its bytes, for good.
    #[must_use]
    pub fn into_bytes(mut self) -> Bytes {
        self.memory.truncate(self.filled);
        self.memory.into()
    }
}

impl AsRef<[u8]> for Scratch {
    fn as_ref(&self) -> &[u8] {
        self.filled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_shows_what_it_was_filled_with_last() {
        let mut scratch = Scratch::default();
        let put = |scratch: &mut Scratch, length, bytes: &'static [u8]| {
            scratch.refill(length, |room| {
                assert_eq!(room.len(), length);
                room[..bytes.len()].copy_from_slice(bytes);
                Ok::<_, ()>(bytes.len())
            })
        };
        assert_eq!(put(&mut scratch, 10, b"0123456789"), Ok(10));
        let first = scratch.filled().as_ptr();
        assert_eq!(put(&mut scratch, 8, b"abc"), Ok(3));
        assert_eq!((scratch.filled(), scratch.filled().as_ptr()), (&b"abc"[..], first), "the same memory");
        assert_eq!(scratch.refill(10, |_| Err(())), Err(()));
        assert_eq!(scratch.filled(), b"");
        put(&mut scratch, 1, b"x").unwrap();
        assert_eq!(scratch.memory.len(), 1, "ten times what is needed is given back");
        assert_eq!(scratch.into_bytes(), "x");
    }
}
