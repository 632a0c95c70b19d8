//! [`audit`]: do rows and files agree? For `check --storage`; it changes nothing.
//!
//! It may run beside a working server: whatever looks wrong is looked at again after a moment, since an upload, a
//! removal or a sweep may have been half-way.

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use hfs_core::{BlobId, ByteSize};
use tokio::sync::mpsc;

use super::digest::digest_of;
use super::local::{FileStatus, Found, Lease, LocalStore, Step};
use super::recorded::is_recorded;
use super::{BlobStore as _, Place, StoreError};
use crate::meta::{Integrity, MetaError, MetaStore, Record};

/// Rows per page.
const PAGE: usize = 512;
/// From the first look to the second.
const MOMENT: Duration = Duration::from_secs(1);

/// How closely files are looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Depth {
    /// Whether they are there, and their sizes.
    Sizes,
    /// Also every byte of those that were hashed when they came.
    Digests,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Audited {
    /// Live rows.
    pub rows: u64,
    /// Files that a URL could lead to, and blobs that lie by id.
    pub files: u64,
    /// What no URL leads to: symlinks, names that are no slot, another server's own folders.
    pub foreign: u64,
    /// Temporaries of uploads that run.
    pub running: u64,
    /// Files whose bytes were compared with their digest.
    pub digests: u64,
    /// What was reported.
    pub findings: u64,
}

impl Audited {
    /// Whether rows and files agree.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.findings == 0
    }
}

/// A disagreement.
#[derive(Debug)]
#[non_exhaustive]
pub enum Finding {
    /// A row without its file: a link that leads nowhere.
    Missing(Box<Record>),
    /// A file that is not as long as its row says.
    WrongSize {
        /// The row.
        record: Box<Record>,
        /// Length of the file.
        found: ByteSize,
    },
    /// A file whose bytes are no longer those that were received.
    Damaged(Box<Record>),
    /// A file without a live row: the leftover of a crash or of a removal, or put there by someone. Not served.
    Unrecorded {
        /// Path below the root.
        path: PathBuf,
        /// Its length.
        size: ByteSize,
    },
    /// A temporary whose server is dead; the next sweep resolves it.
    Abandoned {
        /// Its name in `.hfs/tmp`.
        name: String,
    },
    /// A part of the tree that could not be read.
    Unreadable {
        /// Path below the root.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(record) => write!(f, "{}: recorded, but there is no file {}", record.slot, record.place),
            Self::WrongSize { record, found } => {
                let (slot, recorded, found) = (&record.slot, record.size.as_u64(), found.as_u64());
                write!(f, "{slot}: recorded with {recorded} bytes, but the file has {found}")
            }
            Self::Damaged(record) => write!(f, "{}: the bytes are not those that were received", record.slot),
            Self::Unrecorded { path, size } => write!(f, "{}: a file of {size} without a row", path.display()),
            Self::Abandoned { name } => write!(f, ".hfs/tmp/{name}: the temporary of a dead server"),
            Self::Unreadable { path, error } => write!(f, "{}: unreadable: {error}", path.display()),
        }
    }
}

/// Why an audit could not finish.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The files could not be read.
    #[error("could not compare the store with its rows")]
    Store(#[from] StoreError),
    /// The rows could not be read.
    #[error("could not compare the rows with their store")]
    Meta(#[from] MetaError),
}

/// Compares rows with files, files with rows, and looks for abandoned temporaries.
///
/// # Errors
/// When rows or files cannot be read at all; findings are no errors.
pub async fn audit(
    store: &LocalStore,
    meta: &dyn MetaStore,
    depth: Depth,
    report: &mut (dyn FnMut(Finding) + Send),
) -> Result<Audited, AuditError> {
    let mut audit = Audit { store, meta, depth, report, seen: Audited::default(), suspects: Vec::new() };
    audit.rows().await?;
    audit.files(store.walk()).await?;
    audit.files(store.walk_by_id()).await?;
    audit.temporaries().await?;
    audit.look_again().await?;
    Ok(audit.seen)
}

struct Audit<'a> {
    store: &'a LocalStore,
    meta: &'a dyn MetaStore,
    depth: Depth,
    report: &'a mut (dyn FnMut(Finding) + Send),
    seen: Audited,
    suspects: Vec<Suspect>,
}

/// What looked wrong at the first look.
enum Suspect {
    Row(BlobId),
    File(PathBuf),
    Temporary(String),
}

impl Audit<'_> {
    async fn rows(&mut self) -> Result<(), AuditError> {
        let mut after = None;
        loop {
            let page = self.meta.page(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.slot.clone());
            self.seen.rows += page.len() as u64;
            let files = self.store.stat(page.iter().map(|record| record.place.clone()).collect()).await?;
            let wrong = page.iter().zip(&files).filter(|(record, file)| disagreement(record, **file).is_some());
            self.suspects.extend(wrong.map(|(record, _)| Suspect::Row(record.id)));
            for record in &page {
                let Some(is_damaged) = self.is_damaged(record).await? else { continue };
                self.seen.digests += 1;
                if is_damaged {
                    self.suspects.push(Suspect::Row(record.id));
                }
            }
        }
    }

    /// Whether the bytes at a place are other ones than its row remembers. `None`: nothing to compare; also where the file
    /// is not as long or not there, which is another finding.
    async fn is_damaged(&mut self, record: &Record) -> Result<Option<bool>, StoreError> {
        let (Depth::Digests, Integrity::Digested(digest)) = (self.depth, record.integrity) else { return Ok(None) };
        let found = match self.store.open(&record.place).await {
            Ok(blob) if blob.size() == record.size => digest_of(&*blob).await,
            Ok(_) | Err(StoreError::Missing { .. }) => return Ok(None),
            Err(error) => Err(error),
        };
        match found {
            Ok(found) => Ok(Some(found != digest)),
            Err(StoreError::Io { source, .. }) => {
                self.find(Finding::Unreadable { path: record.place.as_str().into(), error: source });
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn files(&mut self, mut steps: mpsc::Receiver<Step>) -> Result<(), AuditError> {
        while let Some(step) = steps.recv().await {
            match step {
                Step::File(Found { path, .. }) => match is_recorded(self.meta, &path).await? {
                    Some(true) => self.seen.files += 1,
                    Some(false) => {
                        self.seen.files += 1;
                        self.suspects.push(Suspect::File(path));
                    }
                    None => self.seen.foreign += 1,
                },
                Step::Special(_) => self.seen.foreign += 1,
                Step::Unreadable(path, error) => self.find(Finding::Unreadable { path, error }),
            }
        }
        Ok(())
    }

    async fn temporaries(&mut self) -> Result<(), AuditError> {
        for name in self.store.temporaries().await? {
            match self.store.lease(name).await? {
                Lease::Gone => {}
                Lease::Living => self.seen.running += 1,
                Lease::Dead(dead) => self.suspects.push(Suspect::Temporary(dead.name)),
            }
        }
        Ok(())
    }

    async fn look_again(&mut self) -> Result<(), AuditError> {
        let suspects = std::mem::take(&mut self.suspects);
        if !suspects.is_empty() {
            tokio::time::sleep(MOMENT).await;
        }
        for suspect in suspects {
            let finding = match suspect {
                Suspect::Row(id) => self.row_again(id).await?,
                Suspect::File(path) => self.file_again(path).await?,
                Suspect::Temporary(name) => match self.store.lease(name).await? {
                    Lease::Dead(dead) => Some(Finding::Abandoned { name: dead.name }),
                    Lease::Gone | Lease::Living => None,
                },
            };
            if let Some(finding) = finding {
                self.find(finding);
            }
        }
        Ok(())
    }

    async fn row_again(&mut self, id: BlobId) -> Result<Option<Finding>, AuditError> {
        let Some(record) = self.meta.find(id).await? else { return Ok(None) };
        let file = self.stat(Place::new(record.place.as_str())).await?;
        if let Some(wrong) = disagreement(&record, file) {
            return Ok(Some(wrong(Box::new(record))));
        }
        let is_damaged = self.is_damaged(&record).await? == Some(true);
        Ok(is_damaged.then(|| Finding::Damaged(Box::new(record))))
    }

    async fn file_again(&self, path: PathBuf) -> Result<Option<Finding>, AuditError> {
        let Some(place) = path.to_str().map(Place::new) else { return Ok(None) };
        let before = self.stat(place.clone()).await?;
        // First the lease, then the row: once the lease has ended, the row is as it will be.
        if self.store.is_being_published(place.clone()).await? || is_recorded(self.meta, &path).await? != Some(false) {
            return Ok(None);
        }
        match (before, self.stat(place).await?) {
            // Else someone has just published there.
            (Some(before), Some(after)) if before.inode == after.inode => {
                Ok(Some(Finding::Unrecorded { path, size: ByteSize::bytes(after.size) }))
            }
            _ => Ok(None),
        }
    }

    async fn stat(&self, place: Place) -> Result<Option<FileStatus>, StoreError> {
        Ok(self.store.stat(vec![place]).await?.pop().flatten())
    }

    fn find(&mut self, finding: Finding) {
        self.seen.findings += 1;
        (self.report)(finding);
    }
}

/// What is wrong between a row and what lies at its place.
fn disagreement(record: &Record, file: Option<FileStatus>) -> Option<impl FnOnce(Box<Record>) -> Finding + use<>> {
    let found = file.map(|file| ByteSize::bytes(file.size));
    (found != Some(record.size)).then_some(move |record| match found {
        None => Finding::Missing(record),
        Some(found) => Finding::WrongSize { record, found },
    })
}
