//! Housekeeping in the background: hides and removes what has expired, sweeps what dead processes left, and closes files
//! that nobody asks for any more.
//!
//! A file is invisible from the moment it expires; the janitor only gives the space back, slowly, so that uploads and
//! downloads do not feel it (ext4 creates files several times slower right after many removals).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use crate::app::{App, BuryError};
use crate::clock::{self, Stopwatch};
use crate::download;
use crate::http::context::Chain;
use crate::meta::Farewell;

/// Between two looks at whether the storage works again, and holds back what it should.
const ROUND: Duration = Duration::from_secs(60);
/// Between two sweeps of abandoned temporaries.
const SWEEP_PERIOD: Duration = Duration::from_secs(3600);
/// Rows that are read at once.
const PAGE: usize = 1000;
/// Between two removals.
const PACE: Duration = Duration::from_millis(5);
/// A wall clock that moved this much against the monotonic one since the last look is not believed for one more look.
const JUMP: i64 = 3600;

/// Runs until it is dropped.
pub async fn run(app: Arc<App>) {
    tokio::join!(expire(&app), make_rounds(&app), sweep(&app), clear_shelf(&app));
}

/// `cleanup_interval` is read each time: a reload counts from the next look on.
async fn expire(app: &App) {
    let mut drift = Drift::new(Stopwatch::start(), clock::now().as_unix());
    loop {
        sleep(app.config().storage.cleanup_interval).await;
        if drift.jumped(clock::now().as_unix()) {
            warn!("The clock jumped by more than an hour: nothing expires until the next look");
            continue;
        }
        match remove_expired(app).await {
            Ok(0) => debug!("Nothing has expired"),
            Ok(count) => info!(count, "Removed expired files"),
            Err(failure) => error!(error = %Chain(&failure), "Removing expired files failed"),
        }
    }
}

async fn make_rounds(app: &App) {
    loop {
        sleep(ROUND).await;
        app.probe().await;
        app.take_reserve().await;
    }
}

async fn sweep(app: &App) {
    loop {
        sleep(SWEEP_PERIOD).await;
        app.sweep().await;
    }
}

async fn clear_shelf(app: &App) {
    loop {
        sleep(download::TURN).await;
        app.shelf().turn();
    }
}

/// Buries and removes all that has expired; returns how many.
///
/// # Errors
/// The rows could not be read or changed; what was buried until then stays buried.
pub async fn remove_expired(app: &App) -> Result<usize, BuryError> {
    let mut count = 0;
    loop {
        let expired = app.meta().expired(clock::now(), PAGE).await?;
        if expired.is_empty() {
            return Ok(count);
        }
        for record in expired {
            app.bury(&record, Farewell::Expired).await?;
            app.metrics().janitor_removed.inc();
            count += 1;
            sleep(PACE).await;
        }
    }
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
    use hfs_core::Timestamp;

    use super::*;
    use crate::http::testing::{Rig, get, listen, until};
    use crate::meta::Entry;
    use crate::meta::faulty::Fault as RowFault;
    use crate::storage::Place;
    use crate::storage::faulty::{Fault, Operation};

    /// Files that expire at these moments, counted from now.
    async fn expiring(offsets: &[(&str, Option<i64>)]) -> Rig {
        let rig = Rig::new();
        for (slot, offset) in offsets {
            let expires = offset.map(|offset| clock::now().plus_seconds(offset));
            rig.fill(slot, b"bytes", |record| record.expires = expires).await;
        }
        rig
    }

    fn is_buried(entry: Option<&Entry>, since: Timestamp) -> bool {
        matches!(entry, Some(Entry::Gone(stone)) if stone.reason == Farewell::Expired && stone.at >= since)
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_expired_is_buried_and_removed_and_the_rest_stays() {
        let rig = expiring(&[("a/over", Some(-1)), ("a/now", Some(0)), ("a/later", Some(60)), ("a/never", None)]).await;
        let since = clock::now();
        assert_eq!(remove_expired(&rig.app).await.unwrap(), 2);
        for slot in ["a/over", "a/now"] {
            assert!(is_buried(rig.entry(slot).await.as_ref(), since), "{slot}");
        }
        assert_eq!(rig.store.places(), [Place::new("a/later"), Place::new("a/never")]);
        for slot in ["a/later", "a/never"] {
            assert_eq!(rig.send(get(slot)).await.text(), "bytes", "{slot}");
        }
        assert_eq!(rig.metric("hfs_janitor_removed_total"), 2.0);
        assert_eq!(remove_expired(&rig.app).await.unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_cannot_be_removed_does_not_stop_the_others() {
        let rig = expiring(&[("a/1", Some(-3)), ("a/2", Some(-2)), ("a/3", Some(-1))]).await;
        rig.faults.fail(Operation::Remove, 2, Fault::Io);
        let log = listen();
        let since = clock::now();
        assert_eq!(remove_expired(&rig.app).await.unwrap(), 3);
        for slot in ["a/1", "a/2", "a/3"] {
            assert!(is_buried(rig.entry(slot).await.as_ref(), since), "{slot}");
        }
        assert_eq!(rig.store.places(), [Place::new("a/2")]);
        let lines = log.lines_with("stays on disk");
        assert!(lines.len() == 1 && lines[0].contains("a/2"), "{lines:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_that_cannot_be_buried_keeps_its_file_for_the_next_look() {
        let rig = expiring(&[("a/1", Some(-2)), ("a/2", Some(-1))]).await;
        rig.meta.fail_write(2, RowFault::Busy);
        remove_expired(&rig.app).await.unwrap_err();
        assert_eq!(rig.store.places(), [Place::new("a/2")]);
        assert_eq!(rig.send(get("a/2")).await.status, 404, "it is hidden all the same");
        assert_eq!(remove_expired(&rig.app).await.unwrap(), 1);
        assert!(rig.store.places().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn it_looks_every_cleanup_interval_and_survives_a_failure() {
        let period = Duration::from_secs(60);
        let rig = expiring(&[("a/1", Some(-1))]).await;
        rig.meta.fail_read(1);
        let log = listen();
        let janitor = tokio::spawn(run(Arc::clone(&rig.app)));
        tokio::task::yield_now().await;
        tokio::time::advance(period).await;
        until("the first look has failed", async || log.lines_with("Removing expired files failed").len() == 1).await;
        assert_eq!(rig.store.places().len(), 1);
        tokio::time::advance(period).await;
        until("the second look removed it", async || rig.store.places().is_empty()).await;
        janitor.abort();
    }

    #[test]
    fn a_jump_is_believed_at_the_second_look() {
        let mut drift = Drift::new(Stopwatch::start(), 1_000_000);
        assert!(!drift.jumped(1_000_030));
        assert!(drift.jumped(1_000_000 + 86_400));
        assert!(!drift.jumped(1_000_000 + 86_460));
        assert!(drift.jumped(1_000_000), "also when it jumps back");
    }
}
