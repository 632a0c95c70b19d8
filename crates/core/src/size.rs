//! [`ByteSize`]: a number of bytes, as configuration writes it and as people read it.

use std::fmt;
use std::str::FromStr;

/// A number of bytes.
///
/// Parses `1048576`, `512KB`, `10 MB`, `1.5GiB`, `2T`: in any case, with or without a space. Units are binary
/// throughout (`KB` = `KiB` = 1024), because the files of the original server mean that.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ByteSize(u64);

impl ByteSize {
    /// No bytes.
    pub const ZERO: Self = Self(0);

    /// That many bytes.
    #[must_use]
    pub const fn bytes(n: u64) -> Self {
        Self(n)
    }

    /// That many times 1024 bytes.
    #[must_use]
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// That many times 1024 KiB.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// That many times 1024 MiB.
    #[must_use]
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

/// Text that is no [`ByteSize`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is not a size: write a number and a unit, such as \"512KB\", \"10MB\" or \"1.5GB\"")]
pub struct InvalidByteSize(String);

impl FromStr for ByteSize {
    type Err = InvalidByteSize;

    fn from_str(text: &str) -> Result<Self, InvalidByteSize> {
        let invalid = || InvalidByteSize(text.to_owned());
        let trimmed = text.trim();
        let split = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(split);
        let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err(invalid()),
        };
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(1 << shift).map(Self).ok_or_else(invalid);
        }
        let fraction = number.parse::<f64>().map_err(|_| invalid())?;
        let bytes = fraction * (1u64 << shift) as f64;
        // A fraction of a byte means nothing, and above 2^53 a float no longer names one byte exactly.
        if number.starts_with('.') || number.ends_with('.') || bytes.fract() != 0.0 && shift == 0 || bytes >= 9e15 {
            return Err(invalid());
        }
        Ok(Self(bytes as u64))
    }
}

impl fmt::Display for ByteSize {
    /// At most one decimal: `0 B`, `64 KiB`, `1.5 GiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let mut unit = 0;
        while unit + 1 < UNITS.len() && self.0 >> (10 * (unit + 1)) > 0 {
            unit += 1;
        }
        let value = self.0 as f64 / (1u64 << (10 * unit)) as f64;
        if value.fract() < 0.05 {
            write!(f, "{value:.0} {}", UNITS[unit])
        } else {
            write!(f, "{value:.1} {}", UNITS[unit])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_are_binary_in_every_spelling() {
        for text in ["10MB", "10mb", "10 MiB", " 10M ", "10240KB", "10485760"] {
            assert_eq!(text.parse(), Ok(ByteSize::mib(10)), "{text}");
        }
        assert_eq!("1.5GB".parse(), Ok(ByteSize::mib(1536)));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in
            ["", "MB", "-1", "1.5", "1..5MB", ".5MB", "10 bananas", "99999999999999999999", "17179869184G", "1e3"]
        {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn people_read_one_decimal() {
        assert_eq!(ByteSize::bytes(0).to_string(), "0 B");
        assert_eq!(ByteSize::bytes(1023).to_string(), "1023 B");
        assert_eq!(ByteSize::kib(64).to_string(), "64 KiB");
        assert_eq!(ByteSize::mib(1536).to_string(), "1.5 GiB");
    }

    proptest! {
        #[test]
        fn every_number_of_bytes_reads_back(n: u64) {
            prop_assert_eq!(n.to_string().parse(), Ok(ByteSize::bytes(n)));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<ByteSize>();
        }
    }
}
