//! The two clocks: wall time for what slots and rows say, monotonic time for how long something takes.
//!
//! The only place of the server that asks the wall clock, so that everything below it takes time as an argument.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hfs_core::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// Wall-clock time now, in whole seconds.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::from_unix(i64::try_from(since_epoch().as_secs()).unwrap_or(i64::MAX))
}

/// Wall-clock time since 1970, finer than any [`Timestamp`]; zero before.
#[must_use]
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// CPU time that the whole process has used.
#[must_use]
pub fn cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

/// Measures one transfer on the monotonic clock, as the runtime's timers see it: a test that holds time still holds both.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// The start plus `offset`, as tokio's timers take it.
    #[must_use]
    pub fn at(&self, offset: Duration) -> Instant {
        self.0 + offset
    }
}
