//! Giving a file out: row, conditions, range, bytes.
//!
//! Anybody who knows the URL may read; the slot's random part is the secret. Knows nothing of statuses:
//! `http::respond` maps [`GetError`] and [`Found`].

mod get;
#[cfg(test)]
mod tests;

pub use get::{Found, get};

use crate::meta::MetaError;
use crate::storage::StoreError;

/// Why a GET found nothing to give.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// Never stored, deleted, expired, or no slot at all: they must look alike.
    #[error("no such file")]
    NotFound,
    /// `[downloads] allowed_extensions` does not list it.
    #[error("files named .{extension} are not served here")]
    Extension {
        /// Lower case, without the dot.
        extension: String,
    },
    /// The row's file is gone or has another length: the store was changed behind our back.
    #[error("the stored file does not match its record")]
    Damaged,
    /// The bytes could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The row could not be read.
    #[error(transparent)]
    Meta(#[from] MetaError),
}
