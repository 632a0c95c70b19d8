//! [`App`]: the parts, put together. The only place that names concrete backends.

pub mod offline;
mod order;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use hfs_core::SlotPath;
use hfs_core::auth::Retired;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::Semaphore;
use tracing::{debug, error, info, warn};

use crate::admin::Bench;
use crate::clock::{self, Stopwatch};
use crate::config::Config;
use crate::download::Shelf;
use crate::flow::Engine;
use crate::http::context::Chain;
use crate::meta::sqlite::{OpenError, SqliteMeta};
use crate::meta::{Farewell, MetaError, MetaStore, Record, Tombstone};
use crate::storage::local::LocalStore;
use crate::storage::{BlobStore, StoreError};
use crate::telemetry::metrics::Metrics;
use crate::upload::Turns;

/// What every request needs.
pub struct App {
    config: ArcSwap<Config>,
    store: Arc<dyn BlobStore>,
    meta: Arc<dyn MetaStore>,
    shelf: Shelf,
    metrics: Arc<Metrics>,
    engine: Arc<Engine>,
    tries: Arc<Tries>,
    turns: Turns,
    bench: Bench,
    /// Whose turn it is to use up the store's reserve.
    hard_times: Semaphore,
    /// Whether the last step of an upload that the disk or the database took part in failed.
    is_troubled: AtomicBool,
    /// Secrets that reloads took away, for explanations.
    retired: ArcSwap<Retired>,
    /// When a refused signature was last explained, in milliseconds of `started`.
    explained: AtomicU64,
    started: Stopwatch,
    /// The local tree, where the store is one: what only a tree needs (sweep, adoption).
    tree: Option<LocalStore>,
}

impl App {
    /// Opens the local tree and the database inside it.
    ///
    /// # Errors
    /// One of them cannot be used; the error says which, where and why.
    pub fn open(config: Config, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let tree = LocalStore::open(&config.storage)?;
        let meta = open_rows(&tree, metrics.meta_commits.clone())?;
        let store = Arc::new(tree.clone());
        Ok(Self { tree: Some(tree), ..Self::of_parts(config, store, Arc::new(meta), metrics) })
    }

    /// Puts given parts together: for tests.
    #[must_use]
    pub fn of_parts(
        config: Config,
        store: Arc<dyn BlobStore>,
        meta: Arc<dyn MetaStore>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (explained, started, tries) = (AtomicU64::new(0), Stopwatch::start(), Arc::default());
        Self {
            engine: Arc::new(Engine::new(config.pace.clone(), Arc::clone(&metrics))),
            config: ArcSwap::from_pointee(config),
            store,
            meta,
            shelf: Shelf::new(),
            metrics,
            tries,
            turns: Turns::default(),
            bench: Bench::default(),
            hard_times: Semaphore::new(1),
            is_troubled: AtomicBool::new(false),
            retired: ArcSwap::default(),
            explained,
            started,
            tree: None,
        }
    }

    /// The configuration in force; a request keeps the one it began with.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Puts a new configuration in force for requests from now on.
    pub fn swap_config(&self, config: Config) {
        self.engine.configure(config.pace.clone());
        self.retired.rcu(|retired| retired.after(&self.config.load().keys, &config.keys));
        self.config.store(Arc::new(config));
    }

    /// The bytes.
    #[must_use]
    pub fn store(&self) -> &dyn BlobStore {
        &*self.store
    }

    /// The rows.
    #[must_use]
    pub fn meta(&self) -> &dyn MetaStore {
        &*self.meta
    }

    /// What was asked for lately.
    #[must_use]
    pub fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// What begins flows, and learns from them.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Whose slow piece of an upload is next.
    #[must_use]
    pub fn turns(&self) -> &Turns {
        &self.turns
    }

    /// What benchmarks share.
    #[must_use]
    pub fn bench(&self) -> &Bench {
        &self.bench
    }

    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Secrets that were accepted earlier in this process's life.
    #[must_use]
    pub fn retired(&self) -> Arc<Retired> {
        self.retired.load_full()
    }

    /// Whether a refused signature may be explained now. An explanation costs some hundred MACs, so a flood of bad
    /// signatures gets ten a second and no more.
    #[must_use]
    pub fn may_explain(&self) -> bool {
        const BETWEEN_MS: u64 = 100;
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(BETWEEN_MS);
        let last = self.explained.load(Relaxed);
        now >= last + BETWEEN_MS && self.explained.compare_exchange(last, now, Relaxed, Relaxed).is_ok()
    }

    /// Waits until what uploads left to do on disk is done; for an orderly exit.
    pub async fn quiesce(&self) {
        if let Some(tree) = &self.tree {
            tree.quiesce().await;
        }
    }

    /// Replaces a live row by a tombstone, then removes its file; false when the slot no longer has that blob: another
    /// removal was first, or another blob took its place. A crash in between leaves nothing for ever: the sweep finds
    /// the file by the note made before. Works on a full disk too, by what the store holds back.
    ///
    /// # Errors
    /// The tombstone was not written, or nobody knows; the file stays. One that cannot be removed after its tombstone
    /// is no error: it is invisible, and the sweep tries again.
    pub async fn bury(&self, record: &Record, reason: Farewell) -> Result<bool, BuryError> {
        match self.bury_in_room(record, reason).await {
            Err(BuryError::Meta(MetaError::Full { .. })) => self.on_reserve(self.bury_in_room(record, reason)).await,
            outcome => outcome,
        }
    }

    async fn bury_in_room(&self, record: &Record, reason: Farewell) -> Result<bool, BuryError> {
        let (slot, place, id) = (&record.slot, &record.place, record.id);
        // A full disk must not keep what would make room: without the note, only a crash in between leaves the file.
        if let Err(failure) = self.store.condemn(place, id).await {
            warn!(%slot, error = %Chain(&failure), "A removal could not be noted beforehand");
        }
        let tombstone = Tombstone { at: clock::now(), reason };
        let deadline = self.config().storage.io_deadline;
        let burial = tokio::time::timeout(deadline, self.meta.bury(slot, id, tombstone)).await;
        let is_buried = burial.map_err(|_| StoreError::Slow { action: "record the removal", deadline })??;
        self.shelf.forget(slot);
        if !is_buried {
            // Whoever was first is perhaps not done, and by this note a sweep ends what a crash leaves of that.
            return Ok(false);
        }
        if let Err(failure) = self.store.remove(place).await {
            error!(%slot, error = %Chain(&failure), "A file without a row stays on disk until the next sweep");
        } else if let Err(failure) = self.store.absolve(id).await {
            warn!(%slot, error = %Chain(&failure), "The next sweep ends a removal");
        }
        Ok(true)
    }

    /// Does, on what the store holds back, what failed for want of room. One at a time: the next must not find the
    /// reserve half taken back.
    async fn on_reserve<T>(&self, work: impl Future<Output = T>) -> T {
        // It is never closed.
        let _turn = self.hard_times.acquire().await;
        match self.store.give_up_reserve().await {
            Ok(given_up) => debug!(given_up, "The disk is full: using what was held back"),
            Err(failure) => warn!(error = %Chain(&failure), "What was held back for a full disk could not be used"),
        }
        let done = work.await;
        self.hold_back().await;
        done
    }

    /// Holds back some space for a full disk, as far as there is any. Whoever uses it up at the moment takes it back.
    pub async fn take_reserve(&self) {
        if let Ok(_turn) = self.hard_times.try_acquire() {
            self.hold_back().await;
        }
    }

    async fn hold_back(&self) {
        match self.store.take_reserve().await {
            Ok(is_whole) => debug!(is_whole, "Space is held back for a full disk"),
            Err(failure) => warn!(error = %Chain(&failure), "Nothing is held back for a full disk"),
        }
    }

    /// Notes whether disk and database did what an upload asked of them.
    pub fn note_storing(&self, worked: bool) {
        if self.is_troubled.swap(!worked, Relaxed) == worked {
            if worked {
                info!("The storage works again");
            } else {
                error!("The storage fails: not ready for uploads until something is stored again");
            }
        }
    }

    /// Whether uploads can be expected to succeed. Touches no disk: it says what the last upload met.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.is_troubled.load(Relaxed)
    }

    /// Stores a note, where the last upload failed: without it, a server that nobody uses would stay not ready.
    pub async fn probe(&self) {
        if self.is_ready() {
            return;
        }
        let deadline = self.config().storage.io_deadline;
        if let Ok(Ok(())) = tokio::time::timeout(deadline, self.meta.set_note("probe", "written")).await {
            self.note_storing(true);
        }
    }

    /// Counts a try to fill `slot` until the guard is dropped; `None` when there are too many at once.
    ///
    /// Each try reserves its whole size on disk, and a slot that is signed without an expiry can be tried for ever:
    /// one user could reserve the disk. A phone that changes networks has a few half-dead tries at most.
    #[must_use]
    pub fn begin_try(&self, slot: &SlotPath) -> Option<Try> {
        const MOST: usize = 8;
        self.begin(Trying::Slot(slot.clone()), MOST)
    }

    /// Counts a POST of `sender` until the guard is dropped; `None` when there are too many at once. Each has a slot of
    /// its own, so only their sender holds them together.
    #[must_use]
    pub fn begin_post(&self, sender: String) -> Option<Try> {
        const MOST: usize = 64;
        self.begin(Trying::Sender(sender), MOST)
    }

    fn begin(&self, what: Trying, most: usize) -> Option<Try> {
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        let count = tries.entry(what.clone()).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Try { what, tries: Arc::clone(&self.tries) })
    }
}

/// Opens the database of a tree. It needs room for its log and its shared memory: on a full disk, that which the tree
/// holds back. SQLite has many names for a lack of room, so none is asked for: whatever the cause, that costs nothing.
fn open_rows(tree: &LocalStore, commits: Counter) -> Result<SqliteMeta, OpenError> {
    let path = database(tree.root());
    match SqliteMeta::open_counted(&path, commits.clone()) {
        Err(OpenError::Engine { .. } | OpenError::Io { .. }) if tree.give_up_reserve_now() => {
            SqliteMeta::open_counted(&path, commits)
        }
        opened => opened,
    }
}

/// Why a blob was not removed.
#[derive(Debug, thiserror::Error)]
pub enum BuryError {
    /// The disk failed or did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The tombstone could not be written.
    #[error(transparent)]
    Meta(#[from] MetaError),
}

/// What tries are counted by.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Trying {
    Slot(SlotPath),
    /// Who POSTs: an owner, else an address.
    Sender(String),
}

/// Running tries; what has none has no entry.
type Tries = Mutex<HashMap<Trying, usize>>;

/// One running try to store a file.
#[derive(Debug)]
pub struct Try {
    what: Trying,
    tries: Arc<Tries>,
}

impl Drop for Try {
    fn drop(&mut self) {
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = tries.get_mut(&self.what) {
            *count -= 1;
            if *count == 0 {
                tries.remove(&self.what);
            }
        }
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("store", &self.store).field("meta", &self.meta).finish_non_exhaustive()
    }
}

/// Where the database of a tree lies: out of reach of every URL.
#[must_use]
pub fn database(root: &Path) -> std::path::PathBuf {
    root.join(".hfs").join("meta.sqlite")
}
