//! [`Failure`]: what an error of the engine means for those who asked it for something.

use std::sync::Arc;

use rusqlite::ErrorCode;

use crate::meta::MetaError;

/// One error, told to everybody whose change it ended.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    cause: Arc<rusqlite::Error>,
    fate: Fate,
}

/// What became of the change.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// Not written, for want of room.
    Full,
    /// Not written: somebody else had the database.
    Busy,
    /// Not even tried.
    NotBegun,
    Unknown,
}

impl Failure {
    /// By what the engine says alone.
    pub(super) fn of(cause: rusqlite::Error) -> Self {
        let fate = match cause.sqlite_error_code() {
            // SQLite gives this code when a write found no space, which is before the sync of the log: the frames that
            // were written lack their end, and no recovery takes them for a transaction.
            Some(ErrorCode::DiskFull) => Fate::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Fate::Busy,
            _ => Fate::Unknown,
        };
        Self { cause: Arc::new(cause), fate }
    }

    /// Of a transaction that could not begin.
    pub(super) fn not_begun(cause: rusqlite::Error) -> Self {
        let Self { cause, fate } = Self::of(cause);
        Self { cause, fate: if matches!(fate, Fate::Unknown) { Fate::NotBegun } else { fate } }
    }

    /// For want of room, which the caller has found out: SQLite says so of ENOSPC alone.
    pub(super) fn full(cause: rusqlite::Error) -> Self {
        Self { cause: Arc::new(cause), fate: Fate::Full }
    }

    /// The same for one of them.
    pub(super) fn told(&self, action: &'static str) -> MetaError {
        let source = Arc::clone(&self.cause).into();
        match self.fate {
            Fate::Full => MetaError::Full { source },
            Fate::Busy => MetaError::Busy,
            Fate::NotBegun => MetaError::Unavailable { source },
            Fate::Unknown => MetaError::Backend { action, source },
        }
    }
}
