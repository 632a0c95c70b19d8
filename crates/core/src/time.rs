//! [`Timestamp`]: wall-clock seconds, because that is what slots, HTTP dates and rows carry.

use std::fmt;

/// Whole seconds since 1970-01-01T00:00:00Z. Wall clock: it can jump, so it is never used to measure a duration.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(i64);

impl Timestamp {
    /// That many seconds after the epoch.
    #[must_use]
    pub const fn from_unix(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Seconds after the epoch.
    #[must_use]
    pub const fn as_unix(self) -> i64 {
        self.0
    }

    /// This many seconds later (earlier when negative), saturating.
    #[must_use]
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// IMF-fixdate of RFC 9110 section 5.6.7, as in `Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT`.
    #[must_use]
    pub fn to_http_date(self) -> String {
        let seconds = self.0.clamp(0, jiff::Timestamp::MAX.as_second());
        let civil = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        civil.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }

    /// Reads an HTTP date in any of the three forms that RFC 9110 section 5.6.7 makes a recipient accept.
    #[must_use]
    pub fn parse_http_date(text: &str) -> Option<Self> {
        const FORMS: [&str; 3] = ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
        FORMS.iter().find_map(|form| {
            let civil = jiff::civil::DateTime::strptime(form, text).ok()?;
            Some(Self(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second()))
        })
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0) {
            Ok(civil) => civil.fmt(f),
            Err(_) => write!(f, "@{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_dates_of_all_three_forms_are_one_moment() {
        let moment = Some(Timestamp::from_unix(784_111_777));
        assert_eq!(Timestamp::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), moment);
        assert_eq!(Timestamp::parse_http_date("Sunday, 06-Nov-94 08:49:37 GMT"), moment);
        assert_eq!(Timestamp::parse_http_date("Sun Nov  6 08:49:37 1994"), moment);
        assert_eq!(Timestamp::parse_http_date("yesterday"), None);
        assert_eq!(Timestamp::from_unix(784_111_777).to_http_date(), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn absurd_times_still_print() {
        assert_eq!(Timestamp::from_unix(i64::MIN).to_http_date(), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(Timestamp::from_unix(i64::MAX).to_http_date(), "Thu, 30 Dec 9999 22:00:00 GMT");
        assert!(Timestamp::from_unix(i64::MAX).to_string().starts_with('@'));
    }
}
