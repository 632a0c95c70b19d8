//! Puts the store in order: resolves what dead processes left, and adopts what another server left.

use tracing::{error, info, warn};

use super::App;
use crate::clock;
use crate::http::context::Chain;
use crate::meta::MetaError;
use crate::storage::adopt::{self, Adopted};
use crate::storage::local::LocalStore;
use crate::storage::sweep::{self, Reach, SweepError, Swept};

impl App {
    /// Resolves of what dead processes left behind what a start has to: temporaries, and before an adoption names without a
    /// row.
    pub async fn sweep_at_start(&self) {
        let Some(tree) = &self.tree else { return };
        self.sweep_as_far(tree, Reach::of_start(tree, &*self.meta).await).await;
    }

    /// Resolves all of it; false when something kept it from going through.
    pub async fn sweep(&self) -> bool {
        let Some(tree) = &self.tree else { return true };
        self.sweep_as_far(tree, Reach::Tree).await
    }

    async fn sweep_as_far(&self, tree: &LocalStore, reach: Reach) -> bool {
        let swept = match sweep::begin(&*self.meta).await {
            // What is swept may be what fills the disk.
            Err(MetaError::Full { .. }) => self.sweep_on_reserve(tree, reach).await,
            Ok(begun) => sweep::resolve(tree, &*self.meta, begun, reach).await,
            Err(error) => Err(error.into()),
        };
        match &swept {
            Ok(swept) => self.metrics.swept(swept, reach),
            Err(failure) => error!(error = %Chain(failure), "The sweep of abandoned uploads failed"),
        }
        swept.is_ok()
    }

    async fn sweep_on_reserve(&self, tree: &LocalStore, reach: Reach) -> Result<Swept, SweepError> {
        match reach {
            Reach::Temporaries => self.on_reserve(sweep::sweep(tree, &*self.meta, reach)).await,
            // A walk can take minutes: no time to keep removals waiting for the reserve. All that needs room after the
            // beginning is the folder of a name that is given back, and a start does that.
            Reach::Tree => {
                let begun = self.on_reserve(sweep::begin(&*self.meta)).await?;
                sweep::resolve(tree, &*self.meta, begun, reach).await
            }
        }
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
