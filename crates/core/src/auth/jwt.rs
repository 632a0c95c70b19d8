//! Bearer JWTs: Prosody's built-in file share, and the original server's plain token.
//!
//! A token with a `slot` claim is a file-share token, signed with a shared secret and bound to one slot; any other is
//! a plain token, signed with `jwt_secret` and bound to nothing but its times. The first kind never passes as the
//! second, whatever key signed it. Pure: the time is an argument, never the clock of the JWT library. Called by
//! `authorize`; `sign` encodes and `explain` reads with the same claims.

use jsonwebtoken::errors::Error;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::de::{DeserializeOwned, Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};

use super::keys::{JwtAlgorithm, Keyring, Secret};
use super::mac::{declared_type, is_storable};
use super::{Denied, Grant, Head, Owner, Proof};
use crate::{ByteSize, Timestamp};

/// How far ahead the issuer's clock may run before `iat` is disbelieved. The slot of a user is used within
/// milliseconds, so an XMPP server whose clock is a second ahead must not fail; a token's life ends at `exp` alone.
const CLOCK_AHEAD_SECONDS: i64 = 60;

/// Checks a bearer token and everything it claims.
pub(super) fn check(head: &Head<'_>, keys: &Keyring, now: Timestamp, token: &str) -> Result<Grant, Denied> {
    check_header(token, keys.jwt_algorithm)?;
    match shared_signer(token, keys) {
        Some((key, shape)) if shape.slot.is_some() => check_file_share(head, keys, now, token, key),
        _ => check_plain(head, keys, now, token),
    }
}

/// The algorithm is the configured one, and no extension is asked for that we would not understand.
fn check_header(token: &str, algorithm: JwtAlgorithm) -> Result<(), Denied> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| Denied::BadBearer("it is no JWT that we know"))?;
    if header.alg != library_name(algorithm) {
        return Err(Denied::BadBearer("its algorithm is not the configured one"));
    }
    // RFC 7515 section 4.1.11: a critical extension that is not understood makes the token invalid.
    if header.crit.is_some() {
        return Err(Denied::BadBearer("it asks for extensions"));
    }
    Ok(())
}

/// The shared secret that signed the token. All are tried, whichever matches.
fn shared_signer<'k>(token: &str, keys: &'k Keyring) -> Option<(&'k Secret, Shape)> {
    keys.usable_secrets().fold(None, |found, key| {
        let claims = decode::<Shape>(token, key, keys.jwt_algorithm).ok();
        claims.map(|shape| (key, shape)).or(found)
    })
}

fn check_file_share(
    head: &Head<'_>,
    keys: &Keyring,
    now: Timestamp,
    token: &str,
    key: &Secret,
) -> Result<Grant, Denied> {
    let claims: FileShareClaims = decode(token, key, keys.jwt_algorithm)
        .map_err(|_| Denied::Malformed("a claim of the token is missing or of another type"))?;
    if head.slot.as_str().split_once('/') != Some((claims.slot.as_str(), claims.filename.as_str()))
        || claims.filename.contains('/')
    {
        return Err(Denied::OtherSlot);
    }
    check_times(now, Some(claims.exp), None, claims.iat)?;
    if claims.expires.is_some_and(|expires| now >= expires.moment()) {
        return Err(Denied::Gone);
    }
    Ok(Grant {
        slot: head.slot.clone(),
        proof: Proof::FileShare,
        size: claims.filesize.map(|size| ByteSize::bytes(size.0)),
        media_type: claims.filetype.filter(|media_type| is_storable(media_type)).or_else(|| declared_type(head)),
        owner: claims.sub.as_deref().and_then(owner),
        expires: claims.expires.map(NumericDate::moment),
    })
}

/// Checks a token that must not be bound to a slot, for requests that have none; returns the owner that it names.
pub(super) fn check_unbound(keys: &Keyring, now: Timestamp, token: &str) -> Result<Option<Owner>, Denied> {
    check_header(token, keys.jwt_algorithm)?;
    match shared_signer(token, keys) {
        Some((_, shape)) if shape.slot.is_some() => Err(Denied::OtherSlot),
        _ => check_plain_claims(keys, now, token),
    }
}

fn check_plain(head: &Head<'_>, keys: &Keyring, now: Timestamp, token: &str) -> Result<Grant, Denied> {
    let owner = check_plain_claims(keys, now, token)?;
    Ok(Grant {
        slot: head.slot.clone(),
        proof: Proof::Jwt,
        size: None,
        media_type: declared_type(head),
        owner,
        expires: None,
    })
}

fn check_plain_claims(keys: &Keyring, now: Timestamp, token: &str) -> Result<Option<Owner>, Denied> {
    const UNSIGNED: Denied = Denied::BadBearer("no configured key signed it");
    let key = keys.usable_jwt_secret().ok_or(UNSIGNED)?;
    let shape: Shape = decode(token, key, keys.jwt_algorithm).map_err(|_| UNSIGNED)?;
    if shape.slot.is_some() {
        return Err(Denied::BadBearer("it is bound to a slot, but not signed with a shared secret"));
    }
    let claims: PlainClaims = decode(token, key, keys.jwt_algorithm)
        .map_err(|_| Denied::Malformed("a claim of the token is of another type"))?;
    check_times(now, claims.exp, claims.nbf, claims.iat)?;
    Ok(claims.sub.as_deref().and_then(owner))
}

fn check_times(
    now: Timestamp,
    exp: Option<NumericDate>,
    nbf: Option<NumericDate>,
    iat: Option<NumericDate>,
) -> Result<(), Denied> {
    // RFC 7519 section 4.1.4: not accepted on or after `exp`.
    if exp.is_some_and(|exp| now >= exp.moment()) {
        return Err(Denied::Gone);
    }
    if nbf.is_some_and(|nbf| now < nbf.moment()) {
        return Err(Denied::BadBearer("it is not valid yet"));
    }
    if iat.is_some_and(|iat| now.plus_seconds(CLOCK_AHEAD_SECONDS) < iat.moment()) {
        return Err(Denied::BadBearer("it was issued in the future"));
    }
    Ok(())
}

/// The bare JID of a `sub` claim.
fn owner(sub: &str) -> Option<Owner> {
    let bare = sub.split('/').next().unwrap_or_default();
    (!bare.is_empty()).then(|| Owner::Jid(bare.to_owned()))
}

/// Verifies the signature with the pinned algorithm, then reads the claims. Times are ours to check.
pub(super) fn decode<T: DeserializeOwned>(token: &str, key: &Secret, algorithm: JwtAlgorithm) -> Result<T, Error> {
    let mut validation = Validation::new(library_name(algorithm));
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    // Neither Prosody nor the original knows an audience.
    validation.validate_aud = false;
    jsonwebtoken::decode(token, &DecodingKey::from_secret(key.expose()), &validation).map(|data| data.claims)
}

/// Signs claims with the pinned algorithm.
pub(super) fn encode<T: Serialize>(claims: &T, key: &Secret, algorithm: JwtAlgorithm) -> Result<String, Error> {
    let header = Header::new(library_name(algorithm));
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(key.expose()))
}

/// The library's name of an algorithm.
pub(super) fn library_name(algorithm: JwtAlgorithm) -> Algorithm {
    match algorithm {
        JwtAlgorithm::Hs256 => Algorithm::HS256,
        JwtAlgorithm::Hs384 => Algorithm::HS384,
        JwtAlgorithm::Hs512 => Algorithm::HS512,
    }
}

/// Just enough of the claims to tell the two kinds of token apart.
#[derive(Deserialize)]
pub(super) struct Shape {
    #[serde(default, deserialize_with = "present")]
    pub(super) slot: Option<IgnoredAny>,
}

/// The claims of Prosody's mod_http_file_share, in the order that it happened to write them.
#[derive(Deserialize, Serialize)]
pub(super) struct FileShareClaims {
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub(super) sub: Option<String>,
    pub(super) exp: NumericDate,
    pub(super) slot: String,
    pub(super) filename: String,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub(super) iat: Option<NumericDate>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub(super) filesize: Option<WholeNumber>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<NumericDate>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub(super) filetype: Option<String>,
}

/// The claims of the original's plain token that mean something.
#[derive(Deserialize, Serialize)]
pub(super) struct PlainClaims {
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub(super) sub: Option<String>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub(super) exp: Option<NumericDate>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub(super) nbf: Option<NumericDate>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub(super) iat: Option<NumericDate>,
}

/// An optional claim that is there must have its type: `null` is not the same as absent.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Seconds since the epoch. RFC 7519 allows a fraction; it is cut off, which only ever shortens a life.
#[derive(Clone, Copy, Serialize)]
#[serde(transparent)]
pub(super) struct NumericDate(pub(super) i64);

impl NumericDate {
    pub(super) fn moment(self) -> Timestamp {
        Timestamp::from_unix(self.0)
    }
}

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Number::deserialize(deserializer)? {
            Number::Whole(seconds) => i64::try_from(seconds).map(Self).map_err(D::Error::custom),
            // Beyond 2^53 a float no longer names one second exactly, and no clock will ever show it.
            Number::Float(seconds) if (0.0..9e15).contains(&seconds) => Ok(Self(seconds as i64)),
            Number::Float(_) => Err(D::Error::custom("not a time")),
        }
    }
}

/// A number of bytes. Lua may write a whole number as `1000.0`.
#[derive(Clone, Copy, Serialize)]
#[serde(transparent)]
pub(super) struct WholeNumber(pub(super) u64);

impl<'de> Deserialize<'de> for WholeNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Number::deserialize(deserializer)? {
            Number::Whole(bytes) => Ok(Self(bytes)),
            Number::Float(bytes) if (0.0..9e15).contains(&bytes) && bytes.fract() == 0.0 => Ok(Self(bytes as u64)),
            Number::Float(_) => Err(D::Error::custom("not a number of bytes")),
        }
    }
}

/// A JSON number that is not negative, as it was written.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Whole(u64),
    Float(f64),
}
