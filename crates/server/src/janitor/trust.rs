//! [`Trust`]: whether the wall clock is believed when it says that files are over.
//!
//! Pure. An empty battery, a wrong time server or a hand on the clock must not empty the store, and a file that stays a
//! day too long harms nobody: it is hidden anyway. So a clock is believed when it stands where an earlier process left
//! it, give or take the time that the server was off, and then for as long as it goes with the monotonic one. Any other
//! clock is believed once it has gone steadily for a day: by then someone would have set it right.

use std::time::Duration;

use hfs_core::Timestamp;

/// How far a believed clock may be off the monotonic one, in seconds: slow steps of time servers, leap seconds.
const DRIFT: i64 = 3600;
/// How long a server may have been off, in seconds, for its clock to be believed at once.
const OFF: i64 = 24 * 3600;
/// How long any other clock must go steadily.
const STEADY: Duration = Duration::from_secs(24 * 3600);

/// What is known of the clock from earlier processes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Past {
    /// There are no files that a wrong clock could end.
    Nothing,
    /// There are files, and no memory of a clock.
    Forgotten,
    /// When it was last believed.
    Believed(Timestamp),
}

/// What is thought of the clock of this process.
#[derive(Debug)]
pub(super) struct Trust {
    past: Past,
    /// Wall minus monotonic time of the believed clock, in seconds.
    believed: Option<i64>,
    /// The same of the clock at hand, and since when it has gone like that.
    steady: (i64, Duration),
}

impl Trust {
    /// At the start of the process, when the monotonic clock is at zero.
    pub(super) fn begin(past: Past, wall: Timestamp) -> Self {
        Self { past, believed: None, steady: (wall.as_unix(), Duration::ZERO) }
    }

    /// Whether the clock is believed at this moment. To be asked every now and then: what happens between two looks is
    /// not seen.
    pub(super) fn look(&mut self, wall: Timestamp, monotonic: Duration) -> bool {
        let seconds = i64::try_from(monotonic.as_secs()).unwrap_or(i64::MAX);
        let offset = wall.as_unix().saturating_sub(seconds);
        let (of, since) = self.steady;
        if !is_near(offset, of) {
            self.steady = (offset, monotonic);
        } else if monotonic.saturating_sub(since) >= STEADY {
            self.believed = Some(offset);
        }
        match self.believed {
            Some(believed) => is_near(offset, believed),
            None if self.follows_the_past(offset) => {
                self.believed = Some(offset);
                true
            }
            None => false,
        }
    }

    /// Whether a process that started at that moment goes on from the last one.
    fn follows_the_past(&self, started: i64) -> bool {
        match self.past {
            Past::Nothing => true,
            Past::Forgotten => false,
            Past::Believed(last) => (-DRIFT..=OFF).contains(&started.saturating_sub(last.as_unix())),
        }
    }
}

fn is_near(one: i64, other: i64) -> bool {
    one.saturating_sub(other).saturating_abs() <= DRIFT
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;
    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;

    fn at(wall: i64) -> Timestamp {
        Timestamp::from_unix(wall)
    }

    fn after(seconds: i64) -> Duration {
        Duration::from_secs(seconds.unsigned_abs())
    }

    /// Whether a clock that was believed at [`NOW`] is believed when the next process starts.
    fn is_believed_at_a_start(ahead: i64) -> bool {
        Trust::begin(Past::Believed(at(NOW)), at(NOW + ahead)).look(at(NOW + ahead), Duration::ZERO)
    }

    #[test]
    fn a_start_believes_a_clock_that_goes_on_from_the_last() {
        for (ahead, believed) in
            [(0, true), (5 * HOUR, true), (DAY, true), (DAY + 1, false), (YEAR, false), (-HOUR, true), (-DAY, false)]
        {
            assert_eq!(is_believed_at_a_start(ahead), believed, "{ahead}");
        }
    }

    #[test]
    fn without_a_memory_files_wait_for_a_day_and_an_empty_store_for_nothing() {
        assert!(Trust::begin(Past::Nothing, at(NOW)).look(at(NOW), Duration::ZERO));
        let mut trust = Trust::begin(Past::Forgotten, at(NOW));
        for hour in 0..24 {
            assert!(!trust.look(at(NOW + hour * HOUR), after(hour * HOUR)), "{hour}");
        }
        assert!(trust.look(at(NOW + DAY), after(DAY)));
        assert!(trust.look(at(NOW + 90 * DAY), after(90 * DAY)), "and from then on");
    }

    #[test]
    fn a_jump_is_not_believed_and_going_back_ends_it() {
        for jump in [DAY, 30 * DAY, -2 * HOUR, HOUR + 1] {
            let mut trust = Trust::begin(Past::Believed(at(NOW)), at(NOW));
            assert!(trust.look(at(NOW + 60), after(60)));
            assert!(!trust.look(at(NOW + 120 + jump), after(120)), "{jump}");
            assert!(!trust.look(at(NOW + 5 * HOUR + jump), after(5 * HOUR)), "{jump}");
            assert!(trust.look(at(NOW + 6 * HOUR), after(6 * HOUR)), "{jump}");
        }
    }

    #[test]
    fn a_jump_that_stays_is_believed_after_a_steady_day() {
        let mut trust = Trust::begin(Past::Believed(at(NOW)), at(NOW));
        assert!(trust.look(at(NOW), Duration::ZERO));
        let wall = |hour: i64| at(NOW + YEAR + hour * HOUR);
        for hour in 1..25 {
            assert!(!trust.look(wall(hour), after(hour * HOUR)), "{hour}");
        }
        assert!(trust.look(wall(25), after(25 * HOUR)));
        assert!(!trust.look(at(NOW + 26 * HOUR), after(26 * HOUR)), "now the old time is the jump");
    }

    #[test]
    fn a_clock_that_is_set_soon_after_the_start_is_believed_where_the_last_one_ended() {
        let mut trust = Trust::begin(Past::Believed(at(NOW)), at(0));
        assert!(!trust.look(at(30), after(30)), "1970");
        assert!(trust.look(at(NOW + 3 * HOUR), after(60)), "the time server answered");
    }

    #[test]
    fn small_steps_are_no_jumps() {
        let mut trust = Trust::begin(Past::Believed(at(NOW)), at(NOW));
        for minute in 0..600 {
            let stray = if minute % 2 == 0 { 900 } else { -900 };
            assert!(trust.look(at(NOW + minute * 60 + stray), after(minute * 60)));
        }
    }
}
