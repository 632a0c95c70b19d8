//! Housekeeping in the background: hides and removes what has expired, and sweeps what dead processes left.
//!
//! A file is invisible from the moment it expires; the janitor only gives the space back, slowly, so that uploads and
//! downloads do not feel it (ext4 creates files several times slower right after many removals).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tracing::{debug, error, info, warn};

use crate::app::App;
use crate::clock::{self, Stopwatch};
use crate::http::context::Chain;
use crate::meta::{Farewell, MetaError, Tombstone};

/// Between two looks at what has expired.
const PERIOD: Duration = Duration::from_secs(60);
/// Between two sweeps of abandoned temporaries.
const SWEEP_PERIOD: Duration = Duration::from_secs(3600);
/// Most files that one look removes: a clock that jumped ahead must not empty the store in one go.
const MOST: usize = 1000;
/// Between two removals.
const PACE: Duration = Duration::from_millis(5);
/// A wall clock that moved this much against the monotonic one since the last look is not believed for one more look.
const JUMP: i64 = 3600;

/// Runs until it is dropped.
pub async fn run(app: Arc<App>) {
    let mut looks = interval_at(Instant::now() + PERIOD, PERIOD);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sweeps = interval_at(Instant::now() + SWEEP_PERIOD, SWEEP_PERIOD);
    sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut drift = Drift::new(Stopwatch::start(), clock::now().as_unix());
    loop {
        tokio::select! {
            _ = looks.tick() => {
                if drift.jumped(clock::now().as_unix()) {
                    warn!("The clock jumped by more than an hour: nothing expires until the next look");
                    continue;
                }
                match remove_expired(&app).await {
                    Ok(0) => debug!("Nothing has expired"),
                    Ok(count) => info!(count, "Removed expired files"),
                    Err(failure) => error!(error = %Chain(&failure), "Removing expired files failed"),
                }
            }
            _ = sweeps.tick() => app.sweep().await,
        }
    }
}

/// Buries and removes what has expired, at most [`MOST`] files; returns how many.
///
/// # Errors
/// The rows could not be read or changed; what was buried until then stays buried.
pub async fn remove_expired(app: &App) -> Result<usize, MetaError> {
    let now = clock::now();
    let expired = app.meta().expired(now, MOST).await?;
    let count = expired.len();
    for record in expired {
        let tombstone = Tombstone { at: now, reason: Farewell::Expired };
        // First the row, then the file: never a row without its bytes.
        if let Some(buried) = app.meta().bury(&record.slot, tombstone).await?
            && let Err(failure) = app.store().remove(&buried.place).await
        {
            error!(slot = %buried.slot, error = %Chain(&failure), "An expired file stays on disk");
        }
        app.metrics().janitor_removed.inc();
        sleep(PACE).await;
    }
    Ok(count)
}

/// Compares the wall clock with the monotonic one.
#[derive(Debug)]
struct Drift {
    watch: Stopwatch,
    /// Wall minus monotonic, in seconds, at the last look.
    offset: i64,
}

impl Drift {
    fn new(watch: Stopwatch, wall: i64) -> Self {
        Self { watch, offset: wall }
    }

    fn jumped(&mut self, wall: i64) -> bool {
        let monotonic = i64::try_from(self.watch.elapsed().as_secs()).unwrap_or(i64::MAX);
        let offset = wall.saturating_sub(monotonic);
        let moved = offset.saturating_sub(self.offset).saturating_abs();
        self.offset = offset;
        moved > JUMP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_believed_at_the_second_look() {
        let mut drift = Drift::new(Stopwatch::start(), 1_000_000);
        assert!(!drift.jumped(1_000_030));
        assert!(drift.jumped(1_000_000 + 86_400));
        assert!(!drift.jumped(1_000_000 + 86_460));
        assert!(drift.jumped(1_000_000), "also when it jumps back");
    }
}
