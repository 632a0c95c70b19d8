//! [`BlobId`]: the name of one stored blob.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// 128 bits that name one blob: random, or the time and 80 random ones. The name of its temporary file, and in part its
/// ETag; never guessable, never reused.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BlobId([u8; 16]);

/// Text that is not the 32 lower-case hexadecimal digits of a [`BlobId`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a blob id: 32 lower-case hexadecimal digits expected")]
pub struct InvalidBlobId;

impl BlobId {
    /// So many of the digits may tell the time; those after them are random in every id.
    pub const TIME_DIGITS: usize = 12;

    /// Wraps bytes from the crypto provider's random generator, or those of a row.
    #[must_use]
    pub const fn from_random(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Those bytes, but for the first six: the milliseconds of `since_epoch`, as UUIDs of version 7 begin (RFC 9562,
    /// section 5.7). So ids are drawn nearly in their order, and an index of them grows at its end: rows with random ids
    /// change a page each. The order is all that the time is for.
    #[must_use]
    pub fn drawn(since_epoch: Duration, random: [u8; 16]) -> Self {
        let mut bytes = random;
        bytes[..6].copy_from_slice(&(since_epoch.as_millis() as u64).to_be_bytes()[2..]);
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
    fn ids_are_in_the_order_of_the_milliseconds_in_which_they_were_drawn() {
        let at = |millis| BlobId::drawn(Duration::from_millis(millis), [0xfe; 16]);
        // The example of RFC 9562, appendix A.6.
        assert_eq!(at(0x017f_22e2_79b0).to_string(), "017f22e279b0fefefefefefefefefefe");
        assert!(at(255) < at(256) && at(256) < at(0x017f_22e2_79b0));
        assert_ne!(at(1), BlobId::drawn(Duration::from_millis(1), [0xfd; 16]));
    }

    #[test]
    fn other_text_is_no_id() {
        for text in ["", "00", "+0000000000000000000000000000000", "G0000000000000000000000000000000"] {
            assert_eq!(text.parse::<BlobId>(), Err(InvalidBlobId), "{text}");
        }
    }
}
