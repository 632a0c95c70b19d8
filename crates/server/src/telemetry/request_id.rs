//! [`RequestId`]: the thread that ties a client's complaint to log lines.

use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::random::random;

/// 64 bits, printed as 16 hexadecimal digits: in every log line of a request and in its answers. A name and no secret:
/// none comes twice from one process, and two processes begin far from each other.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct RequestId([u8; 8]);

impl RequestId {
    /// A fresh one.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a default that differs every time misleads")]
    pub fn new() -> Self {
        // Random bits for each would cost more than looking up a hot file.
        static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(u64::from_ne_bytes(random())));
        Self(mixed(NEXT.fetch_add(1, Ordering::Relaxed)).to_be_bytes())
    }
}

/// The finalizer of SplitMix64: one to one, and neighbours look unrelated.
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_sixteen_digits() {
        assert_eq!(RequestId([0, 0, 0, 0, 0, 0, 1, 255]).to_string(), "00000000000001ff");
    }

    #[test]
    fn no_id_comes_twice() {
        let ids: std::collections::HashSet<_> = (0..10_000).map(|_| RequestId::new()).collect();
        assert_eq!(ids.len(), 10_000);
    }

    #[test]
    fn neighbours_look_unrelated() {
        let differing: u32 = (0..1000).map(|n| (mixed(n) ^ mixed(n + 1)).count_ones()).sum();
        assert!((31_000..33_000).contains(&differing), "{differing} bits of 64,000");
    }
}
