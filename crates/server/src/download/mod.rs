//! Giving a file out: row, conditions, range, bytes.
//!
//! Anybody who knows the URL may read; the slot's random part is the secret. The original server's `/download/` wants a
//! proof as well. Knows nothing of statuses:
//! `http::respond` maps [`GetError`] and [`Found`].

mod direct;
mod get;
mod known;
mod shelf;
#[cfg(test)]
mod tests;

pub use direct::get_direct;
pub use get::{Found, get};
pub use known::Known;
pub use shelf::{Shelf, TURN};

use hfs_core::auth::Denied;

use crate::flow::Left;
use crate::meta::MetaError;
use crate::storage::StoreError;

/// Why a GET found nothing to give.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// Never stored, deleted, expired, or no slot at all: they must look alike.
    #[error("no such file")]
    NotFound,
    /// No proof, or a bad one, where one is needed.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// `[downloads] allowed_extensions` does not list it.
    #[error("files named .{extension} are not served here")]
    Extension {
        /// Lower case, without the dot.
        extension: String,
    },
    /// The row's file is gone or has another length: the store was changed behind our back.
    #[error("the stored file does not match its record")]
    Damaged,
    /// Nobody waits for it any more.
    #[error(transparent)]
    Left(#[from] Left),
    /// The bytes could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The row could not be read.
    #[error(transparent)]
    Meta(#[from] MetaError),
}
