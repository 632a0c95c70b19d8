//! Taking a file in: proof, admission, bytes, row, 201.
//!
//! [`put`] is the whole path of one PUT, [`post`] that of one POST; [`ingest`] cannot be called without an `Admission`, which cannot be had
//! without a `Grant`. Knows nothing of statuses: `http::respond` maps [`PutError`].

mod delete;
mod form;
mod ingest;
mod put;
mod receive;
mod rehearse;
mod row;
mod tempo;
#[cfg(test)]
mod tests;
mod turns;

pub use delete::{DeleteError, delete};
pub use form::{Posted, post};
pub use ingest::Stored;
pub use put::put;
pub use rehearse::{Rehearsed, rehearse};
pub use turns::Turns;

use hfs_core::admit::Refusal;
use hfs_core::auth::Denied;
use hfs_core::form::InvalidForm;
use hfs_core::{ByteSize, InvalidSlotPath};

use crate::flow::Left;
use crate::http::exchange::BodyError;
use crate::meta::MetaError;
use crate::storage::StoreError;

/// Why a PUT did not end in 201, by what the client can do about it.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The path is not below the base path: usually a proxy that strips it, or an XMPP server that lacks it.
    #[error("the path is outside of the base path `{base_path}`")]
    Outside {
        /// As configured by `public_url`.
        base_path: String,
    },
    /// The path can be no slot.
    #[error(transparent)]
    Path(#[from] InvalidSlotPath),
    /// No proof, or a bad one.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// A good proof, but not now or not this.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A POST whose form cannot be used.
    #[error(transparent)]
    Form(#[from] InvalidForm),
    /// Too many uploads of this slot, or of this sender, run at once.
    #[error("too many uploads of this slot or sender run at once")]
    Crowded,
    /// The slot already holds other bytes.
    #[error("the slot already holds another file")]
    Taken,
    /// The slot held a file that was deleted or has expired.
    #[error("the slot's file is gone and cannot be replaced")]
    Gone,
    /// What the slot holds has another length than its record.
    #[error("the stored file does not match its record")]
    Damaged,
    /// Nothing, or too little, came for too long.
    #[error("the upload stalled after {received}")]
    Stalled {
        /// Bytes until then.
        received: ByteSize,
    },
    /// A body of unannounced length turned out to have another one than the slot's.
    #[error("the body has {received}, the slot is for {signed}")]
    OtherLength {
        /// What came.
        received: ByteSize,
        /// What the proof says.
        signed: ByteSize,
    },
    /// The body broke off or broke its framing.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The bytes could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The row could not be written.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// The task that stores the file died; nothing is known to be stored.
    #[error("the storing task ended early")]
    Aborted,
}

impl From<Left> for PutError {
    /// As when it leaves later.
    fn from(_: Left) -> Self {
        BodyError::Closed.into()
    }
}
