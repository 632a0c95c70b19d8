//! [`RequestId`]: the thread that ties a client's complaint to log lines.

use std::fmt;

use crate::random::random;

/// 64 random bits, printed as 16 hexadecimal digits: in every log line of a request and in its error answers.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct RequestId([u8; 8]);

impl RequestId {
    /// A fresh one.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a default that differs every time misleads")]
    pub fn new() -> Self {
        Self(random())
    }
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
        assert_ne!(RequestId::new(), RequestId::new());
    }
}
