//! Puts the store in order: resolves what dead processes left, and adopts what another server left.

use tracing::{error, info, warn};

use super::App;
use crate::clock;
use crate::http::context::Chain;
use crate::meta::MetaError;
use crate::storage::adopt::{self, Adopted};
use crate::storage::local::LocalStore;
use crate::storage::sweep::{self, SweepError, Swept};

impl App {
    /// Whether a start has to wait for [`App::sweep`].
    pub async fn awaits_sweep(&self) -> bool {
        match &self.tree {
            Some(tree) => sweep::comes_first(tree, self.config().limits.min_free).await,
            None => false,
        }
    }

    /// Resolves what dead processes left behind: temporaries, and names without a row.
    pub async fn sweep(&self) {
        let Some(tree) = &self.tree else { return };
        match self.sweep_tree(tree).await {
            Ok(swept) => self.metrics.swept(&swept),
            Err(failure) => error!(error = %Chain(&failure), "The sweep of abandoned uploads failed"),
        }
    }

    async fn sweep_tree(&self, tree: &LocalStore) -> Result<Swept, SweepError> {
        let begun = match sweep::begin(&*self.meta).await {
            // What is swept may be what fills the disk. Nothing after the beginning needs room, and it can take minutes:
            // no time to keep removals waiting for the reserve.
            Err(MetaError::Full { .. }) => self.on_reserve(sweep::begin(&*self.meta)).await,
            begun => begun,
        };
        sweep::resolve(tree, &*self.meta, begun?).await
    }

    /// Gives rows to the files of a tree that another server wrote, at the first start on it; later, to those that were
    /// unreadable then.
    ///
    /// # Errors
    /// The tree could not be walked or the rows not be written; the next start goes on where this one stopped.
    pub async fn adopt(&self) -> anyhow::Result<()> {
        let Some(tree) = &self.tree else { return Ok(()) };
        let mut report = |skipped| warn!("Not adopted: {}", Chain(&skipped));
        if let Some(adopted) = adopt::adopt_if_due(tree, &self.meta, clock::now(), &mut report).await? {
            let Adopted { files, size, skipped, .. } = adopted;
            info!(files, %size, skipped, "Adopted the files that were here before");
        }
        Ok(())
    }
}
