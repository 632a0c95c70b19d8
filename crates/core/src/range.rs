//! Turns conditional and range headers into a [`Delivery`].
//!
//! Pure: it never opens the object. Called by `download::get`.
//! Invariant: a `Partial` range always lies inside the object and is never empty.

use std::ops::Range;

use http::HeaderMap;

use crate::{BlobId, Timestamp};

/// What conditions compare against.
#[derive(Clone, Copy, Debug)]
pub struct Object {
    /// Length in bytes.
    pub size: u64,
    /// Its strong ETag is `"<id>"`.
    pub id: BlobId,
    /// Its Last-Modified.
    pub modified: Timestamp,
}

/// What to send for a GET or HEAD.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Delivery {
    /// 200, everything.
    Whole,
    /// 206, these bytes.
    Partial(Range<u64>),
    /// 304.
    NotModified,
    /// 412, `If-Match` or `If-Unmodified-Since` failed.
    PreconditionFailed,
    /// 416, with `Content-Range: bytes */size`.
    Unsatisfiable,
}

/// The strong entity tag of a blob, quotes included.
#[must_use]
pub fn etag(id: BlobId) -> String {
    format!("\"{id}\"")
}

/// Evaluates the request's conditions in the order of RFC 9110 section 13.2.2, then its Range (section 14).
#[must_use]
pub fn evaluate(headers: &HeaderMap, object: &Object) -> Delivery {
    let _ = (headers, object);
    todo!()
}
