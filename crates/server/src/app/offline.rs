//! Commands on a store, with or without a server that runs on it.

use std::io::Write;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;

use super::{database, open_rows};
use crate::clock;
use crate::config::Config;
use crate::http::context::Chain;
use crate::meta::MetaStore;
use crate::storage::adopt::Adopted;
use crate::storage::audit::{Audited, Depth};
use crate::storage::local::LocalStore;
use crate::storage::sweep::{self, Reach};
use crate::storage::{BlobStore as _, adopt, audit};

/// `adopt`: gives rows to whatever files of the store have none, now; but for what a crash left of our own uploads, which
/// goes.
///
/// # Errors
/// As [`App::adopt`](super::App::adopt); also when the store could not be swept before.
pub async fn adopt(config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
    let tree = LocalStore::open(&config.storage)?;
    let meta: Arc<dyn MetaStore> = Arc::new(open_rows(&tree, Counter::default())?);
    // Else what nobody was told to be stored would be taken for the files of somebody else.
    sweep::sweep(&tree, &*meta, Reach::Tree).await?;
    let mut said = Vec::new();
    let mut report = |skipped| said.push(Chain(&skipped).to_string());
    let adopted = adopt::adopt(&tree, &meta, clock::now(), &mut report).await?;
    for line in said {
        writeln!(out, "not adopted: {line}")?;
    }
    let Adopted { files, size, known, skipped } = adopted;
    writeln!(out, "{files} files adopted ({size}), {known} known already, {skipped} skipped")?;
    // The rows may have needed it.
    tree.take_reserve().await?;
    Ok(())
}

/// `check --storage`: compares files and rows, both ways, and looks into the database; true when all is whole.
///
/// # Errors
/// The store or its rows could not be read.
pub async fn audit(config: &Config, depth: Depth, out: &mut dyn Write) -> anyhow::Result<bool> {
    anyhow::ensure!(database(&config.storage.path).is_file(), "no store in {}", config.storage.path.display());
    let tree = LocalStore::open(&config.storage)?;
    let meta = open_rows(&tree, Counter::default())?;
    let mut said = Vec::new();
    let mut report = |finding| said.push(format!("{finding}"));
    let audited = audit::audit(&tree, &meta, depth, &mut report).await?;
    let damages = meta.verify().await?;
    let is_whole = audited.is_whole() && damages.is_empty();
    said.extend(damages.into_iter().map(|damage| format!("the database: {damage}")));
    for line in said {
        writeln!(out, "{line}")?;
    }
    let Audited { rows, files, running, digests, findings, .. } = audited;
    if depth == Depth::Digests {
        writeln!(out, "{digests} files compared with their digests")?;
    }
    writeln!(out, "{rows} rows, {files} files, {running} running uploads, {findings} findings")?;
    // Closed first: its log and its shared memory may lie where the reserve was.
    drop(meta);
    tree.take_reserve().await?;
    Ok(is_whole)
}
