//! Who may write: every slot proof in use, checked in constant time.
//!
//! [`authorize`] turns a request head into a [`Grant`], the only way to one; [`authorize_delete`] proves Metronome's
//! DELETE. Pure: keys and time are arguments. It knows nothing of sizes, quotas or stores: that is `admit`. Called by
//! `upload::put` and the router's DELETE. [`explain()`] tells the operator why a proof failed, [`sign()`] makes proofs.
//!
//! Weak schemes of the original (MACs over the path alone, grace after expiry) are not accepted; `X-Signature` only by
//! [`authorize_post`] and [`authorize_read`], and only where the keyring says so.

mod admin;
mod direct;
mod explain;
mod explanation;
mod jwt;
mod keys;
mod mac;
mod query;
mod sign;
#[cfg(test)]
mod tests;

pub use admin::{Administrator, NotAdministrator, authorize_admin};
pub use direct::{DirectHead, Pass, Reading, authorize_post, authorize_read};
pub use explain::{ExplainHints, explain};
pub use explanation::{Explanation, OtherKey, PathFault, SignedAs};
pub use keys::{JwtAlgorithm, Keyring, Retired, Secret};
pub use sign::{CannotSign, Dialect, SignedRequest, SlotRequest, encode_path, sign};

use crate::{ByteSize, SlotPath, Timestamp};
use query::Carried;

/// Checks the proof of a PUT.
///
/// The first of `v3` with `expires`, `v2`, `token`, `v` and `Authorization: Bearer` that is present decides alone;
/// `token` in the shape of a JWT is a bearer token.
///
/// # Errors
/// Says what is wrong with the proof that decides, or that there is none.
pub fn authorize(head: &Head<'_>, keys: &Keyring, now: Timestamp) -> Result<Grant, Denied> {
    match query::strongest(head)? {
        Carried::V3 { mac, expires } => mac::check_v3(head, keys, now, &mac, &expires),
        Carried::V2(mac) => mac::check_v2(head, keys, Proof::V2, &mac),
        Carried::Token(mac) => mac::check_v2(head, keys, Proof::Token, &mac),
        Carried::V1(mac) => mac::check_v1(head, keys, &mac),
        Carried::Bearer(token) => jwt::check(head, keys, now, &token),
    }
}

/// Checks the `token` of Metronome's DELETE. No bearer and no other parameter deletes anything.
///
/// # Errors
/// `Missing` without a token, `BadSignature` when it is wrong or no `delete_secret` is set, `Malformed` when it is
/// repeated.
pub fn authorize_delete(head: &Head<'_>, keys: &Keyring) -> Result<Deletion, Denied> {
    let params = query::Params::parse(head.query.unwrap_or_default())?;
    let token = params.token.ok_or(Denied::Missing)?;
    mac::check_delete(head.slot, keys, &token)
}

/// Why a request may not write. Matched exhaustively by `http::respond`; each variant names its status.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Denied {
    /// 401 with `WWW-Authenticate: Bearer`: neither a query proof nor a bearer token.
    #[error("no slot signature and no bearer token")]
    Missing,
    /// 403: the MAC of this query parameter is not right for this path, length and type, or no MAC at all.
    #[error("the {} signature does not match", .0.as_str())]
    BadSignature(Proof),
    /// 401 with `WWW-Authenticate: Bearer error="invalid_token"`: the token is not valid, for the reason given.
    #[error("the bearer token is not valid: {0}")]
    BadBearer(&'static str),
    /// 403: the token is genuine, but for another slot.
    #[error("the bearer token is for another slot")]
    OtherSlot,
    /// 403: the signature is right, but past its `expires` (v3).
    #[error("the slot has expired")]
    Expired,
    /// 410: the token is genuine, but past its `exp`, or the file would already be past its `expires`.
    #[error("the bearer token has expired")]
    Gone,
    /// 411: v, v2 and token sign a length, and the request announces none.
    #[error("the slot needs a Content-Length")]
    LengthRequired,
    /// 403: a proof that cannot be read: a repeated parameter, a time that is no number, a claim of another type.
    #[error("the slot signature is malformed: {0}")]
    Malformed(&'static str),
}

/// The proof that a request brought.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Proof {
    /// `?v=` of Prosody's mod_http_upload_external and of ejabberd.
    V1,
    /// `?v2=` of Prosody's mod_http_upload_external.
    V2,
    /// `?token=` of Metronome.
    Token,
    /// `?v3=&expires=` of the original server.
    V3,
    /// The bearer JWT of Prosody's built-in mod_http_file_share.
    FileShare,
    /// The original server's plain JWT (`enablejwt`).
    Jwt,
    /// The original server's constant `X-Signature` (`[compat] x_signature`).
    XSignature,
    /// The administrator's token (`[admin]`).
    Admin,
}

impl Proof {
    /// Short stable name, for logs, rows and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::Token => "token",
            Self::V3 => "v3",
            Self::FileShare => "file-share",
            Self::Jwt => "jwt",
            Self::XSignature => "x-signature",
            Self::Admin => "admin",
        }
    }
}

/// Whose file it is, as far as the protocol tells.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Owner {
    /// Bare JID, from a JWT's `sub`.
    Jid(String),
    /// Lower-case hexadecimal SHA-1 of the bare JID: ejabberd's first path element.
    JidSha1(String),
}

/// Length of the request body as its framing says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BodyLength {
    /// `Content-Length`.
    Known(ByteSize),
    /// Chunked, or an HTTP/2 body without a length.
    Unknown,
}

/// The parts of a request head that a proof can rest on.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// Path below the base path, decoded.
    pub slot: &'a SlotPath,
    /// Query string without the question mark, still encoded.
    pub query: Option<&'a str>,
    /// `Authorization`.
    pub authorization: Option<&'a str>,
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
    /// Length of the body.
    pub length: BodyLength,
}

/// Proof that this request may write this slot. Only [`authorize`] makes one.
#[derive(Clone, Debug)]
pub struct Grant {
    slot: SlotPath,
    proof: Proof,
    size: Option<ByteSize>,
    media_type: Option<String>,
    owner: Option<Owner>,
    expires: Option<Timestamp>,
}

#[cfg(test)]
impl Grant {
    /// What tests of later steps start from, without a signature.
    pub(crate) fn for_test(slot: SlotPath, size: Option<ByteSize>) -> Self {
        Self { slot, proof: Proof::V1, size, media_type: None, owner: None, expires: None }
    }
}

impl Grant {
    /// The slot.
    #[must_use]
    pub fn slot(&self) -> &SlotPath {
        &self.slot
    }

    /// How it was proven.
    #[must_use]
    pub fn proof(&self) -> Proof {
        self.proof
    }

    /// The exact size that was signed.
    #[must_use]
    pub fn size(&self) -> Option<ByteSize> {
        self.size
    }

    /// The media type to store: the signed one, else the declared one.
    #[must_use]
    pub fn media_type(&self) -> Option<&str> {
        self.media_type.as_deref()
    }

    /// The owner.
    #[must_use]
    pub fn owner(&self) -> Option<&Owner> {
        self.owner.as_ref()
    }

    /// When the file is to disappear (a JWT's `expires`).
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        self.expires
    }
}

/// Proof that this request may delete this slot. Only [`authorize_delete`] makes one.
#[derive(Clone, Debug)]
pub struct Deletion {
    slot: SlotPath,
}

impl Deletion {
    /// The slot.
    #[must_use]
    pub fn slot(&self) -> &SlotPath {
        &self.slot
    }
}
