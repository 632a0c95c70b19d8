//! [`Keeper`]: what was learnt about clients outlives the process.
//!
//! Profiles are read at the start and written behind, a few seconds' worth in one transaction: no request waits for
//! them. They are worth nothing compared with rows of blobs, which share their database: the first failure of another
//! kind than "not now" ends it until the next start.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use crate::app::App;
use crate::flow::MOST_PROFILES;
use crate::http::context::Chain;
use crate::meta::MetaError;

/// Between two writes: what a crash may forget.
const PERIOD: Duration = Duration::from_secs(5);
/// What transfers begin with changes slowly.
const TUNING_PERIOD: Duration = Duration::from_secs(60);
/// The note that has it.
const TUNING: &str = "tuning";
/// Profiles in one transaction, which uploads may share.
const BATCH: usize = 500;

/// Keeps the profiles of one server.
#[derive(Debug)]
pub struct Keeper {
    app: Arc<App>,
    /// Whether the table cannot be used.
    has_given_up: AtomicBool,
    /// What was last written, or read, of what transfers begin with.
    tuning: Mutex<String>,
}

impl Keeper {
    /// For `app`.
    #[must_use]
    pub fn new(app: Arc<App>) -> Self {
        Self { app, has_given_up: AtomicBool::new(false), tuning: Mutex::default() }
    }

    /// Reads what earlier processes learnt. What cannot be read is as good as not learnt.
    pub async fn load(&self) {
        let engine = self.app.engine();
        if !engine.remembers() {
            return;
        }
        match self.app.meta().profiles(MOST_PROFILES).await {
            Ok(profiles) => {
                let clients = engine.recall(profiles);
                info!(clients, "What was learnt about clients is known again");
            }
            Err(failure) => self.give_up(&failure),
        }
        if let Ok(Some(text)) = self.app.meta().note(TUNING).await {
            engine.recall_tuning(&text);
            *self.tuning() = text;
        }
    }

    /// Writes now and then, until it is dropped.
    pub async fn run(&self) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tunings = interval(TUNING_PERIOD);
        tunings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.write().await,
                _ = tunings.tick() => self.write_tuning().await,
            }
        }
    }

    /// Writes what transfers begin with, if that has changed.
    pub async fn write_tuning(&self) {
        let text = self.app.engine().tuning();
        if text == *self.tuning() || self.has_given_up.load(Relaxed) {
            return;
        }
        match self.app.meta().set_note(TUNING, &text).await {
            Ok(()) => *self.tuning() = text,
            Err(failure) => debug!(error = %Chain(&failure), "What transfers begin with is kept later"),
        }
    }

    fn tuning(&self) -> MutexGuard<'_, String> {
        self.tuning.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what has changed since the last time.
    pub async fn write(&self) {
        let engine = self.app.engine();
        while !self.has_given_up.load(Relaxed) {
            let changed = engine.changed(BATCH);
            if changed.is_empty() {
                return;
            }
            let keys: Vec<_> = changed.iter().map(|(key, _)| key.clone()).collect();
            match self.app.meta().keep_profiles(changed, engine.oldest(), MOST_PROFILES).await {
                Ok(()) => debug!(clients = keys.len(), "What was learnt about clients is kept"),
                Err(failure @ (MetaError::Busy | MetaError::Full { .. } | MetaError::Unavailable { .. })) => {
                    debug!(error = %Chain(&failure), "What was learnt about clients is kept later");
                    return engine.keep_later(keys);
                }
                Err(failure) => self.give_up(&failure),
            }
        }
    }

    fn give_up(&self, failure: &MetaError) {
        self.has_given_up.store(true, Relaxed);
        warn!(error = %Chain(failure), "What is learnt about clients is not kept: the next start begins anew");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::testing::learnt;
    use crate::http::testing::{Rig, listen};
    use crate::meta::MetaStore as _;
    use crate::meta::faulty::Fault;
    use crate::storage::faulty::Faults;

    #[tokio::test(start_paused = true)]
    async fn what_was_learnt_is_known_to_the_next_server() {
        let rig = Rig::new();
        let keeper = Keeper::new(Arc::clone(&rig.app));
        learnt(rig.app.engine(), "192.0.2.1", 200_000);
        keeper.write().await;
        let heir = rig.sibling(Faults::none());
        assert_eq!(heir.app.engine().expected_of("192.0.2.9").rate, None);
        Keeper::new(Arc::clone(&heir.app)).load().await;
        assert_eq!(heir.app.engine().expected_of("192.0.2.9").rate, Some(200_000));
    }

    #[tokio::test(start_paused = true)]
    async fn what_transfers_begin_with_is_kept_and_written_only_when_it_changes() {
        const TEXT: &str = "download good lte congestion 1 - 1 0 0 2 0 0\n";
        let rig = Rig::new();
        let keeper = Keeper::new(Arc::clone(&rig.app));
        rig.app.engine().recall_tuning(TEXT);
        keeper.write_tuning().await;
        let heir = rig.sibling(Faults::none());
        let next = Keeper::new(Arc::clone(&heir.app));
        next.load().await;
        assert!(heir.app.engine().tuning().contains(TEXT), "{}", heir.app.engine().tuning());
        rig.meta.fail_write(1, Fault::Busy);
        next.write_tuning().await;
        rig.meta.set_note("another", "note").await.unwrap_err();
    }

    /// What is learnt of a client is written within [`PERIOD`], what transfers begin with within [`TUNING_PERIOD`]: a crash
    /// forgets no more.
    #[tokio::test(start_paused = true)]
    async fn what_was_learnt_is_written_behind_before_long() {
        let rig = Rig::new();
        let keeper = Arc::new(Keeper::new(Arc::clone(&rig.app)));
        let running = tokio::spawn({
            let keeper = Arc::clone(&keeper);
            async move { keeper.run().await }
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
        learnt(rig.app.engine(), "192.0.2.1", 200_000);
        rig.app.engine().recall_tuning("download good lte congestion 1 - 1 0 0 2 0 0\n");
        tokio::time::sleep(PERIOD).await;
        assert_eq!(rig.meta.profiles(9).await.unwrap().len(), 1);
        tokio::time::sleep(TUNING_PERIOD).await;
        assert!(rig.meta.note(TUNING).await.unwrap().is_some_and(|text| text.contains("good lte congestion 1")));
        running.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_written_now_is_written_later() {
        let rig = Rig::new();
        let keeper = Keeper::new(Arc::clone(&rig.app));
        learnt(rig.app.engine(), "192.0.2.1", 200_000);
        rig.meta.fail_write(1, Fault::Busy);
        keeper.write().await;
        assert_eq!(rig.meta.profiles(9).await.unwrap(), []);
        keeper.write().await;
        assert_eq!(rig.meta.profiles(9).await.unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_table_that_cannot_be_used_is_left_alone_and_said_once() {
        let rig = Rig::new();
        let keeper = Keeper::new(Arc::clone(&rig.app));
        let log = listen();
        rig.meta.fail_read(1);
        keeper.load().await;
        for address in ["192.0.2.1", "198.51.100.1"] {
            learnt(rig.app.engine(), address, 200_000);
            keeper.write().await;
        }
        assert_eq!(rig.meta.profiles(9).await.unwrap(), []);
        assert_eq!(log.lines_with("is not kept").len(), 1);
    }
}
