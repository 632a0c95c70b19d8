//! How a duration is written.

use std::time::Duration;

/// `1h30m`, `1.5h`, `500ms`, `7d`, `90`: Go's durations, and days, weeks and years; bare numbers are seconds. `None` for others.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if let Ok(seconds) = rest.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let seconds = match &rest[..unit_end] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            "w" => 604_800.0,
            "y" => 31_536_000.0,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &rest[unit_end..];
    }
    (!text.trim().is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_go_durations_and_longer_ones() {
        for (text, millis) in [
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("30s", 30_000),
            ("1.5h", 5_400_000),
            ("7d", 604_800_000),
            ("90", 90_000),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "h", "1x", "-5s", "1h-3m", "5 s", "1e400h"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn seconds_and_minutes_read_back(m in 0u64..10_000, s in 0u64..60) {
            prop_assert_eq!(parse(&format!("{m}m{s}s")), Some(Duration::from_secs(60 * m + s)));
        }
    }
}
