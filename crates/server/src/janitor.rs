//! Housekeeping in the background: hides and removes what has expired, sweeps what dead processes left, and closes files
//! that nobody asks for any more.
//!
//! A file is invisible from the moment it expires; the janitor only gives the space back, slowly, so that uploads and
//! downloads do not feel it (ext4 creates files several times slower right after many removals).

mod trust;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hfs_core::Timestamp;
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use crate::app::{App, BuryError};
use crate::clock::{self, Stopwatch};
use crate::download;
use crate::http::context::Chain;
use crate::meta::{Farewell, MetaError, MetaStore};
use trust::{Past, Trust};

/// Between two looks at whether the storage works again, and holds back what it should.
const ROUND: Duration = Duration::from_secs(60);
/// Between two sweeps of abandoned temporaries; one that ended early comes again after a round. The first one is for what
/// the last process left.
const SWEEP_PERIOD: Duration = Duration::from_secs(3600);
/// Rows that are read at once.
const PAGE: usize = 1000;
/// Between two removals.
const PACE: Duration = Duration::from_millis(5);
/// The note that says when the clock was last believed.
const NOTE: &str = "clock";

/// Runs until it is dropped.
pub async fn run(app: Arc<App>) {
    let clock = Clock::begin(&app).await;
    tokio::join!(expire(&app, &clock), make_rounds(&app, &clock), sweep(&app, &clock), clear_shelf(&app));
}

/// `cleanup_interval` is read each time: a reload counts from the next look on.
async fn expire(app: &App, clock: &Clock) {
    loop {
        sleep(app.config().storage.cleanup_interval).await;
        // The moment that is judged is the one that files are removed by: the clock may jump while that goes on.
        let now = clock::now();
        if !clock.is_believed(app, now) {
            debug!("Nothing expires by a clock that is not believed");
            continue;
        }
        match remove_expired(app, now).await {
            Ok(0) => debug!("Nothing has expired"),
            Ok(count) => info!(count, "Removed expired files"),
            Err(failure) => error!(error = %Chain(&failure), "Removing expired files failed"),
        }
    }
}

async fn make_rounds(app: &App, clock: &Clock) {
    loop {
        sleep(ROUND).await;
        app.probe().await;
        app.take_reserve().await;
        clock.is_believed(app, clock::now());
    }
}

async fn sweep(app: &App, clock: &Clock) {
    loop {
        clock.remember(app).await;
        let is_through = app.sweep().await;
        sleep(if is_through { SWEEP_PERIOD } else { ROUND }).await;
    }
}

async fn clear_shelf(app: &App) {
    loop {
        sleep(download::TURN).await;
        app.shelf().turn();
    }
}

/// Buries and removes all that has expired by `now`; returns how many.
///
/// # Errors
/// The rows could not be read or changed; what was buried until then stays buried.
pub async fn remove_expired(app: &App, now: Timestamp) -> Result<usize, BuryError> {
    let mut count = 0;
    loop {
        let expired = app.meta().expired(now, PAGE).await?;
        if expired.is_empty() {
            return Ok(count);
        }
        for record in expired {
            if app.bury(&record, Farewell::Expired).await? {
                app.metrics().janitor_removed.inc();
                count += 1;
            }
            sleep(PACE).await;
        }
    }
}

/// The wall clock, and what is thought of it.
struct Clock {
    watch: Stopwatch,
    trust: Mutex<Trust>,
}

impl Clock {
    async fn begin(app: &App) -> Self {
        let past = past(app.meta()).await.unwrap_or_else(|failure| {
            warn!(error = %Chain(&failure), "It is not known when the clock was last believed");
            Past::Forgotten
        });
        let trust = Trust::begin(past, clock::now());
        Self { watch: Stopwatch::start(), trust: Mutex::new(trust) }
    }

    fn is_believed(&self, app: &App, now: Timestamp) -> bool {
        // Each change inside is one assignment: a panic leaves nothing half done.
        let mut trust = self.trust.lock().unwrap_or_else(PoisonError::into_inner);
        let is_believed = trust.look(now, self.watch.elapsed());
        let was_paused = app.metrics().janitor_paused.set(i64::from(!is_believed));
        match (was_paused, is_believed) {
            (0, false) => warn!(
                "The clock is far from where it was: nothing is removed until it is back, or was steady for a day"
            ),
            (1, true) => info!("The clock is believed again: what has expired is removed"),
            _ => {}
        }
        is_believed
    }

    /// For the next process.
    async fn remember(&self, app: &App) {
        let now = clock::now();
        if !self.is_believed(app, now) {
            return;
        }
        if let Err(failure) = app.meta().set_note(NOTE, &now.as_unix().to_string()).await {
            warn!(error = %Chain(&failure), "The time could not be noted");
        }
    }
}

async fn past(meta: &dyn MetaStore) -> Result<Past, MetaError> {
    if let Some(at) = meta.note(NOTE).await?.and_then(|note| note.parse().ok()) {
        return Ok(Past::Believed(Timestamp::from_unix(at)));
    }
    let is_empty = meta.page(None, 1).await?.is_empty();
    Ok(if is_empty { Past::Nothing } else { Past::Forgotten })
}

#[cfg(test)]
mod tests {
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

    /// As a process that ended just now.
    async fn note_the_time(rig: &Rig) {
        rig.app.meta().set_note(NOTE, &clock::now().as_unix().to_string()).await.unwrap();
    }

    fn is_buried(entry: Option<&Entry>, since: Timestamp) -> bool {
        matches!(entry, Some(Entry::Gone(stone)) if stone.reason == Farewell::Expired && stone.at >= since)
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_expired_is_buried_and_removed_and_the_rest_stays() {
        let rig = expiring(&[("a/over", Some(-1)), ("a/now", Some(0)), ("a/later", Some(60)), ("a/never", None)]).await;
        let since = clock::now();
        assert_eq!(remove_expired(&rig.app, clock::now()).await.unwrap(), 2);
        for slot in ["a/over", "a/now"] {
            assert!(is_buried(rig.entry(slot).await.as_ref(), since), "{slot}");
        }
        assert_eq!(rig.store.places(), [Place::new("a/later"), Place::new("a/never")]);
        for slot in ["a/later", "a/never"] {
            assert_eq!(rig.send(get(slot)).await.text(), "bytes", "{slot}");
        }
        assert_eq!(rig.metric("hfs_janitor_removed_total"), 2.0);
        assert_eq!(remove_expired(&rig.app, clock::now()).await.unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_expires_while_others_are_removed_waits_for_the_next_look() {
        let rig = expiring(&[("a/over", Some(-1)), ("a/next", Some(5))]).await;
        let judged = clock::now();
        assert_eq!(remove_expired(&rig.app, judged).await.unwrap(), 1);
        assert_eq!(remove_expired(&rig.app, judged.plus_seconds(4)).await.unwrap(), 0, "whatever the clock says now");
        assert_eq!(remove_expired(&rig.app, judged.plus_seconds(5)).await.unwrap(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_cannot_be_removed_does_not_stop_the_others() {
        let rig = expiring(&[("a/1", Some(-3)), ("a/2", Some(-2)), ("a/3", Some(-1))]).await;
        rig.faults.fail(Operation::Remove, 2, Fault::Io);
        let log = listen();
        let since = clock::now();
        assert_eq!(remove_expired(&rig.app, clock::now()).await.unwrap(), 3);
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
        remove_expired(&rig.app, clock::now()).await.unwrap_err();
        assert_eq!(rig.store.places(), [Place::new("a/2")]);
        assert_eq!(rig.send(get("a/2")).await.status, 404, "it is hidden all the same");
        assert_eq!(remove_expired(&rig.app, clock::now()).await.unwrap(), 1);
        assert!(rig.store.places().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn it_looks_every_cleanup_interval_and_survives_a_failure() {
        let period = Duration::from_secs(60);
        let rig = expiring(&[("a/1", Some(-1))]).await;
        note_the_time(&rig).await;
        // The first one reads when the clock was last believed.
        rig.meta.fail_read(2);
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

    #[tokio::test]
    async fn the_clock_of_a_store_with_files_is_remembered_from_process_to_process() {
        let rig = expiring(&[("a/1", Some(-1))]).await;
        assert_eq!(past(rig.app.meta()).await.unwrap(), Past::Forgotten);
        Clock::begin(&rig.app).await.remember(&rig.app).await;
        assert_eq!(past(rig.app.meta()).await.unwrap(), Past::Forgotten, "what is not believed is not remembered");
        note_the_time(&rig).await;
        let clock = Clock::begin(&rig.app).await;
        assert!(clock.is_believed(&rig.app, clock::now()));
        clock.remember(&rig.app).await;
        assert!(
            matches!(past(rig.app.meta()).await.unwrap(), Past::Believed(at) if clock::now().as_unix() - at.as_unix() < 60)
        );
    }

    #[tokio::test]
    async fn the_clock_of_an_empty_store_is_believed() {
        assert_eq!(past(Rig::new().app.meta()).await.unwrap(), Past::Nothing);
    }

    #[tokio::test(start_paused = true)]
    async fn by_a_clock_that_is_not_believed_nothing_expires() {
        let rig = expiring(&[("a/1", Some(-1))]).await;
        let log = listen();
        let janitor = tokio::spawn(run(Arc::clone(&rig.app)));
        sleep(Duration::from_secs(600)).await;
        assert_eq!((rig.store.places().len(), log.lines_with("nothing is removed").len()), (1, 1));
        assert_eq!(rig.metric("hfs_janitor_paused"), 1.0);
        janitor.abort();
    }
}
