//! [`Digest`]: what the bytes of a blob amount to, to notice later that they are no longer the same.

/// BLAKE3 of all bytes. Not a proof: who can change the file can change the row.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Wraps what a hash function or a row gave.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// As a row stores it.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}
