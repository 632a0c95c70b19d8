//! Makes proofs: what an XMPP server signs for its user, in every dialect that [`authorize`](super::authorize) takes.
//!
//! Used by the `sign` command, by trial mode and by tests. It signs with the first usable secret and never checks
//! whether the server would accept: that is the other half's work.

use std::fmt;
use std::fmt::Write as _;

use super::jwt::{self, FileShareClaims, NumericDate, PlainClaims, WholeNumber};
use super::keys::{Keyring, Secret};
use super::mac::{self, OCTET_STREAM, Tag};
use crate::{ByteSize, SlotPath, Timestamp};

/// Who would have signed the slot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dialect {
    /// `?v=`: ejabberd, Prosody's mod_http_upload_external.
    V1,
    /// `?v2=`: Prosody's mod_http_upload_external.
    V2,
    /// `?token=`: Metronome.
    Token,
    /// `?v3=&expires=`: the original server.
    V3,
    /// A bearer JWT bound to the slot: Prosody's mod_http_file_share.
    FileShare,
    /// The original server's plain bearer JWT.
    Jwt,
    /// `?token=` of Metronome's DELETE.
    Delete,
}

/// What is asked for. Each dialect signs the part of it that it knows.
#[derive(Clone, Copy, Debug)]
pub struct SlotRequest<'a> {
    /// The path below the base URL.
    pub slot: &'a SlotPath,
    /// Exact size of the file.
    pub size: ByteSize,
    /// Declared type; XMPP servers take octet-stream for none.
    pub media_type: Option<&'a str>,
    /// Bare JID, for the JWTs.
    pub owner: Option<&'a str>,
    /// Now.
    pub issued: Timestamp,
    /// Until when the slot may be used, for v3 and the JWTs.
    pub valid_until: Timestamp,
    /// When the file is to disappear, for the file-share JWT.
    pub delete_at: Option<Timestamp>,
}

/// The parts of a request that carry the proof. `Debug` hides them: they grant writing.
#[derive(Clone)]
pub struct SignedRequest {
    /// The path below the base URL, percent-encoded, without a leading slash.
    pub path: String,
    /// The query, without the question mark.
    pub query: Option<String>,
    /// The `Authorization` header.
    pub authorization: Option<String>,
}

impl fmt::Debug for SignedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedRequest").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Why a slot could not be signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CannotSign {
    /// The keyring lacks the key of this dialect.
    #[error("no {0} is configured")]
    NoKey(&'static str),
    /// The file-share JWT names a slot and a file.
    #[error("a file-share path is `slot/name`, not `{0}`")]
    NotTwoElements(SlotPath),
    /// A moment before 1970, which no JWT can carry.
    #[error("{0} is before 1970")]
    BeforeEpoch(Timestamp),
    /// The JWT library failed.
    #[error("the token could not be encoded")]
    Token(#[source] jsonwebtoken::errors::Error),
}

/// Signs a slot as a server of that dialect would.
///
/// # Errors
/// The keyring has no key for the dialect, or the dialect cannot express the request.
pub fn sign(dialect: Dialect, request: &SlotRequest<'_>, keys: &Keyring) -> Result<SignedRequest, CannotSign> {
    let secret = || keys.usable_secrets().next().ok_or(CannotSign::NoKey("secret"));
    let path = request.slot.as_str();
    let length = request.size.as_u64().to_string();
    let media_type = request.media_type.unwrap_or(OCTET_STREAM);
    let query = |name: &str, key: &Secret, message: Vec<u8>| format!("{name}={}", Tag::of(key, &message).to_hex());
    let (query, authorization) = match dialect {
        Dialect::V1 => (Some(query("v", secret()?, mac::v1_message(path, &length))), None),
        Dialect::V2 => (Some(query("v2", secret()?, mac::v2_message(path, &length, media_type))), None),
        Dialect::Token => (Some(query("token", secret()?, mac::v2_message(path, &length, media_type))), None),
        Dialect::V3 => {
            let expires = not_before_epoch(request.valid_until)?.0.to_string();
            let proof = query("v3", secret()?, mac::v3_message(path, &expires));
            (Some(format!("{proof}&expires={expires}")), None)
        }
        Dialect::FileShare => (None, Some(file_share_token(request, secret()?, keys)?)),
        Dialect::Jwt => (None, Some(plain_token(request, keys)?)),
        Dialect::Delete => {
            let delete_secret = keys.usable_delete_secret().ok_or(CannotSign::NoKey("delete_secret"))?;
            (Some(query("token", secret()?, mac::delete_message(path, delete_secret))), None)
        }
    };
    let authorization = authorization.map(|token| format!("Bearer {token}"));
    Ok(SignedRequest { path: encode_path(path), query, authorization })
}

/// Percent-encodes a decoded path as Prosody does: lower-case digits, everything but `A-Za-z0-9.-_~` and the slash.
#[must_use]
pub fn encode_path(decoded: &str) -> String {
    let mut encoded = String::with_capacity(decoded.len());
    for byte in decoded.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' | b'/' => encoded.push(byte.into()),
            // Writing to a String cannot fail.
            _ => _ = write!(encoded, "%{byte:02x}"),
        }
    }
    encoded
}

fn file_share_token(request: &SlotRequest<'_>, key: &Secret, keys: &Keyring) -> Result<String, CannotSign> {
    let not_two = || CannotSign::NotTwoElements(request.slot.clone());
    let (slot, filename) = request.slot.as_str().split_once('/').ok_or_else(not_two)?;
    if filename.contains('/') {
        return Err(not_two());
    }
    let claims = FileShareClaims {
        sub: request.owner.map(str::to_owned),
        exp: not_before_epoch(request.valid_until)?,
        slot: slot.to_owned(),
        filename: filename.to_owned(),
        iat: Some(not_before_epoch(request.issued)?),
        filesize: Some(WholeNumber(request.size.as_u64())),
        expires: request.delete_at.map(not_before_epoch).transpose()?,
        filetype: Some(request.media_type.unwrap_or(OCTET_STREAM).to_owned()),
    };
    jwt::encode(&claims, key, keys.jwt_algorithm).map_err(CannotSign::Token)
}

fn plain_token(request: &SlotRequest<'_>, keys: &Keyring) -> Result<String, CannotSign> {
    let key = keys.usable_jwt_secret().ok_or(CannotSign::NoKey("jwtsecret"))?;
    let claims = PlainClaims {
        sub: request.owner.map(str::to_owned),
        exp: Some(not_before_epoch(request.valid_until)?),
        nbf: None,
        iat: Some(not_before_epoch(request.issued)?),
    };
    jwt::encode(&claims, key, keys.jwt_algorithm).map_err(CannotSign::Token)
}

fn not_before_epoch(moment: Timestamp) -> Result<NumericDate, CannotSign> {
    if moment.as_unix() < 0 { Err(CannotSign::BeforeEpoch(moment)) } else { Ok(NumericDate(moment.as_unix())) }
}
