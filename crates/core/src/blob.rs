//! [`BlobId`]: the random name of one stored blob.

use std::fmt;
use std::str::FromStr;

/// 128 random bits that name one blob. Its ETag and the name of its temporary file; never guessable, never reused.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BlobId([u8; 16]);

/// Text that is not the 32 lower-case hexadecimal digits of a [`BlobId`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a blob id: 32 lower-case hexadecimal digits expected")]
pub struct InvalidBlobId;

impl BlobId {
    /// Wraps bytes from the crypto provider's random generator.
    #[must_use]
    pub const fn from_random(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The raw bits, as a row stores them.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl FromStr for BlobId {
    type Err = InvalidBlobId;

    fn from_str(text: &str) -> Result<Self, InvalidBlobId> {
        let lower_hex = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if text.len() != 32 || !lower_hex {
            return Err(InvalidBlobId);
        }
        u128::from_str_radix(text, 16).map(|bits| Self(bits.to_be_bytes())).map_err(|_| InvalidBlobId)
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_it_was_printed() {
        let id = BlobId::from_random([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn other_text_is_no_id() {
        for text in ["", "00", "+0000000000000000000000000000000", "G0000000000000000000000000000000"] {
            assert_eq!(text.parse::<BlobId>(), Err(InvalidBlobId), "{text}");
        }
    }
}
