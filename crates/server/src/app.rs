//! [`App`]: the parts, put together. The only place that names concrete backends.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use arc_swap::ArcSwap;
use tracing::{error, info, warn};

use crate::clock::Stopwatch;
use crate::config::Config;
use crate::http::context::Chain;
use crate::meta::MetaStore;
use crate::meta::sqlite::SqliteMeta;
use crate::storage::local::LocalStore;
use crate::storage::{BlobStore, adopt, sweep};
use crate::telemetry::Metrics;

/// What every request needs.
pub struct App {
    config: ArcSwap<Config>,
    store: Arc<dyn BlobStore>,
    meta: Arc<dyn MetaStore>,
    metrics: Arc<Metrics>,
    /// When a refused signature was last explained, in milliseconds of `started`.
    explained: AtomicU64,
    started: Stopwatch,
    /// The local tree, where the store is one: what only a tree needs (sweep, adoption).
    tree: Option<Arc<LocalStore>>,
}

impl App {
    /// Opens the local tree and the database inside it.
    ///
    /// # Errors
    /// One of them cannot be used; the error says which, where and why.
    pub fn open(config: Config, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let tree = Arc::new(LocalStore::open(&config.storage)?);
        let meta = Arc::new(SqliteMeta::open(&database(&config.storage.path))?);
        let store = Arc::<LocalStore>::clone(&tree);
        Ok(Self { tree: Some(tree), ..Self::of_parts(config, store, meta, metrics) })
    }

    /// Puts given parts together: for tests.
    #[must_use]
    pub fn of_parts(
        config: Config,
        store: Arc<dyn BlobStore>,
        meta: Arc<dyn MetaStore>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (explained, started) = (AtomicU64::new(0), Stopwatch::start());
        Self { config: ArcSwap::from_pointee(config), store, meta, metrics, explained, started, tree: None }
    }

    /// The configuration in force; a request keeps the one it began with.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Puts a new configuration in force for requests from now on.
    pub fn swap_config(&self, config: Config) {
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

    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
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

    /// Resolves what dead processes left behind: temporaries, and names without a row.
    pub async fn sweep(&self) {
        let Some(tree) = &self.tree else { return };
        match sweep::sweep(tree, &*self.meta).await {
            Ok(swept) => self.metrics.swept(&swept),
            Err(failure) => error!(error = %Chain(&failure), "The sweep of abandoned uploads failed"),
        }
    }

    /// Gives rows to the files of a tree that another server wrote; does nothing on a tree that is ours.
    ///
    /// # Errors
    /// The tree could not be walked or the rows not be written; the next start goes on where this one stopped.
    pub async fn adopt(&self) -> anyhow::Result<()> {
        let Some(tree) = &self.tree else { return Ok(()) };
        let adopted = adopt::adopt_once(tree, &*self.meta).await?;
        if let Some(adopted) = adopted {
            info!(adopted = adopted.adopted, skipped = adopted.skipped, "Adopted the existing files");
            if adopted.recent > 0 {
                warn!(recent = adopted.recent, "Files that changed just now were not adopted: run `adopt` later");
            }
        }
        Ok(())
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
