//! [`decide`]: may this upload start now?
//!
//! Pure. Called by `upload::put` between the proof ([`Grant`]) and the first byte; the [`Admission`] it returns is
//! the only thing that `upload::ingest` takes, so that neither step can be forgotten.

use crate::ByteSize;
use crate::auth::Grant;
use crate::media;

/// What the operator allows. Owned by `[server]` and `[uploads]`.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Largest file, when there is a limit.
    pub max_size: Option<ByteSize>,
    /// Allowed file-name extensions, lower case, without the dot. Empty allows all.
    pub extensions: Vec<String>,
    /// Space that must stay free on the store after the upload.
    pub min_free: ByteSize,
}

/// What the store and the request say right now.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Free bytes on the store, when it can tell.
    pub free: Option<ByteSize>,
    /// Length of the body, when the request announces it.
    pub announced: Option<ByteSize>,
}

/// Permission to receive one body now.
#[derive(Debug)]
pub struct Admission {
    grant: Grant,
    size: Option<ByteSize>,
    ceiling: Option<ByteSize>,
}

impl Admission {
    /// The proof this rests on.
    #[must_use]
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The exact length the body must have, when it is known beforehand.
    #[must_use]
    pub fn size(&self) -> Option<ByteSize> {
        self.size
    }

    /// The most that a body of unknown length may bring.
    #[must_use]
    pub fn ceiling(&self) -> Option<ByteSize> {
        self.ceiling
    }
}

/// Why an upload with a good proof may not start.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Over the operator's limit.
    #[error("at most {max} per file")]
    TooLarge {
        /// That limit.
        max: ByteSize,
    },
    /// The body's length is not the one that was signed.
    #[error("the slot is for {signed}, not {announced}")]
    OtherSize {
        /// Length in the proof.
        signed: ByteSize,
        /// Length in the request.
        announced: ByteSize,
    },
    /// `[uploads] allowed_extensions` does not list it.
    #[error("files named .{extension} are not allowed here")]
    Extension {
        /// Lower case, without the dot; empty when the name has none.
        extension: String,
    },
    /// The store would fall below its floor of free space.
    #[error("no space left")]
    NoSpace,
}

/// Decides whether the upload may start.
///
/// # Errors
/// The first limit that it breaks, cheapest to explain first: size, name, space.
pub fn decide(grant: Grant, usage: Usage, limits: &Limits) -> Result<Admission, Refusal> {
    if let (Some(signed), Some(announced)) = (grant.size(), usage.announced)
        && signed != announced
    {
        return Err(Refusal::OtherSize { signed, announced });
    }
    let size = usage.announced.or(grant.size());
    if let (Some(max), Some(size)) = (limits.max_size, size)
        && size > max
    {
        return Err(Refusal::TooLarge { max });
    }
    let extension = media::extension(grant.slot().file_name());
    if !limits.extensions.is_empty() && !limits.extensions.contains(&extension) {
        return Err(Refusal::Extension { extension });
    }
    if let Some(free) = usage.free {
        let needed = limits.min_free.as_u64().saturating_add(size.unwrap_or(ByteSize::ZERO).as_u64());
        if free.as_u64() < needed {
            return Err(Refusal::NoSpace);
        }
    }
    Ok(Admission { grant, size, ceiling: limits.max_size })
}
