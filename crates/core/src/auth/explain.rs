//! Tells the operator what a refused proof would have been right for.
//!
//! It accepts nothing: what it finds is for the log, and no sentence shows a key, a MAC or a token. One thing is
//! varied at a time (path, length, type, dialect, key), which finds every mistake of a single setting with some
//! hundred MACs of a short text; whoever calls it for every refusal should bound how often. Called by `upload::put`
//! after [`authorize`](super::authorize) refused, and by the command that diagnoses a URL.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

use super::explanation::{Explanation, OtherKey, PathFault, SignedAs};
use super::jwt::{self, FileShareClaims, PlainClaims, Shape};
use super::keys::{Keyring, Secret};
use super::mac::{self, Tag};
use super::query::{self, Carried};
use super::{BodyLength, Head, encode_path};
use crate::Timestamp;

/// What the configuration knows that a request head does not.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExplainHints<'a> {
    /// The base path that was stripped from the request, `/upload` or empty.
    pub base_path: &'a str,
    /// The path of the public URL, where that is another.
    pub public_path: &'a str,
    /// Secrets that are no longer accepted.
    pub retired: &'a [Secret],
    /// Now.
    pub now: Timestamp,
}

/// Looks for what a refused proof would have been right for. Empty when nothing was found.
#[must_use]
pub fn explain(head: &Head<'_>, keys: &Keyring, hints: &ExplainHints<'_>) -> Vec<Explanation> {
    match query::strongest(head) {
        Err(_) => Vec::new(),
        Ok(Carried::Bearer(token)) => explain_bearer(head, keys, hints, &token),
        Ok(_) if keys.usable_secrets().next().is_none() => vec![Explanation::NoKey],
        Ok(Carried::V1(mac)) => explain_mac(head, keys, hints, Scheme::V1, &mac),
        Ok(Carried::V2(mac) | Carried::Token(mac)) => explain_mac(head, keys, hints, Scheme::V2, &mac),
        Ok(Carried::V3 { mac, expires }) => explain_mac(head, keys, hints, Scheme::V3(&expires), &mac),
    }
}

/// The scheme that the request claims to use.
#[derive(Clone, Copy)]
enum Scheme<'a> {
    V1,
    V2,
    V3(&'a str),
}

impl Scheme<'_> {
    /// Its messages for a path and a length: one, or one for each type.
    fn messages(self, path: &str, length: &str, types: &[String]) -> Vec<Vec<u8>> {
        match self {
            Self::V1 => vec![mac::v1_message(path, length)],
            Self::V2 => types.iter().map(|media_type| mac::v2_message(path, length, media_type)).collect(),
            Self::V3(expires) => vec![mac::v3_message(path, expires)],
        }
    }
}

fn explain_mac(
    head: &Head<'_>,
    keys: &Keyring,
    hints: &ExplainHints<'_>,
    scheme: Scheme<'_>,
    sent: &str,
) -> Vec<Explanation> {
    let Some(tag) = Tag::from_hex(sent) else { return Vec::new() };
    let matches = |messages: &[Vec<u8>]| mac::position(&tag, keys.usable_secrets(), messages);
    let path = head.slot.as_str();
    let length = match head.length {
        BodyLength::Known(size) => size.as_u64().to_string(),
        BodyLength::Unknown => "-1".to_owned(),
    };
    let types = mac::type_candidates(head);
    let asked = scheme.messages(path, &length, &types);
    let mut found = Vec::new();

    if matches(&asked).is_some() {
        return explain_right_mac(scheme, sent, hints.now);
    }
    for (signed, fault) in other_paths(path, hints) {
        if matches(&scheme.messages(&signed, &length, &types)).is_some() {
            found.push(Explanation::OtherPath { signed, fault });
        }
    }
    if !matches!(scheme, Scheme::V3(_)) {
        for signed in other_lengths(head.length) {
            if matches(&scheme.messages(path, &signed, &types)).is_some() {
                found.push(Explanation::OtherLength { signed });
            }
        }
    }
    if matches!(scheme, Scheme::V2) {
        let common: Vec<_> = COMMON_TYPES.iter().map(|common| (*common).to_owned()).collect();
        if let Some(index) = matches(&scheme.messages(path, &length, &common)) {
            found.push(Explanation::OtherType { signed: COMMON_TYPES[index].to_owned() });
        }
    }
    for (signed_as, messages) in other_schemes(head, keys, &length, &types) {
        if matches(&messages).is_some() {
            found.push(Explanation::OtherScheme(signed_as));
        }
    }
    for (other, key) in other_keys(keys, hints) {
        if mac::position(&tag, std::iter::once(&key), &asked).is_some() {
            found.push(Explanation::OtherKey(other));
        }
    }
    found
}

/// The MAC is right after all: only `v3` refuses such a one, for its digits or its time.
fn explain_right_mac(scheme: Scheme<'_>, sent: &str, now: Timestamp) -> Vec<Explanation> {
    let mut found = Vec::new();
    if let Scheme::V3(expires) = scheme {
        if sent.contains(|digit: char| digit.is_ascii_uppercase()) {
            found.push(Explanation::UpperCase);
        }
        if let Ok(deadline) = mac::decimal_seconds(expires)
            && now > deadline
        {
            found.push(Explanation::Expired { seconds: now.as_unix().saturating_sub(deadline.as_unix()) });
        }
    }
    found
}

fn other_paths(path: &str, hints: &ExplainHints<'_>) -> Vec<(String, PathFault)> {
    let mut paths = Vec::new();
    for base in [hints.base_path, hints.public_path] {
        let base = base.trim_matches('/');
        if !base.is_empty() && !paths.iter().any(|(_, fault)| *fault == PathFault::BaseExtra(base.to_owned())) {
            paths.push((format!("{base}/{path}"), PathFault::BaseExtra(base.to_owned())));
        }
    }
    // Base paths of more than three elements are not seen in the wild.
    for (slash, _) in path.match_indices('/').take(3) {
        paths.push((path[slash + 1..].to_owned(), PathFault::BaseMissing(path[..slash].to_owned())));
    }
    paths.push((format!("/{path}"), PathFault::LeadingSlash));
    let encoded = encode_path(path);
    if encoded != path {
        let upper = percent_upper(&encoded);
        if upper != encoded {
            paths.push((upper, PathFault::Encoded));
        }
        paths.push((encoded, PathFault::Encoded));
    }
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    if decoded != path {
        paths.push((decoded.into_owned(), PathFault::EncodedTwice));
    }
    paths
}

/// The same encoding with upper-case digits, as most clients write it.
fn percent_upper(encoded: &str) -> String {
    let mut digits_left = 0;
    let upper = |character: char| {
        if character == '%' {
            digits_left = 2;
        } else if digits_left > 0 {
            digits_left -= 1;
            return character.to_ascii_uppercase();
        }
        character
    };
    encoded.chars().map(upper).collect()
}

fn other_lengths(length: BodyLength) -> Vec<String> {
    let mut lengths = vec!["0".to_owned(), "-1".to_owned(), String::new()];
    if let BodyLength::Known(size) = length {
        // Sixteen bytes: a client that asked for a slot before (or after) it counted the tag of the encrypted file.
        lengths.extend(
            [size.as_u64().checked_sub(16), size.as_u64().checked_add(16)].into_iter().flatten().map(|n| n.to_string()),
        );
    }
    lengths
}

/// Types that clients declare; tried when neither the header nor the name says what was signed.
const COMMON_TYPES: [&str; 24] = [
    "image/jpeg",
    "image/jpg",
    "image/png",
    "image/gif",
    "image/webp",
    "image/heic",
    "image/avif",
    "image/svg+xml",
    "video/mp4",
    "video/webm",
    "video/quicktime",
    "video/3gpp",
    "audio/mpeg",
    "audio/mp4",
    "audio/m4a",
    "audio/aac",
    "audio/ogg",
    "audio/opus",
    "audio/webm",
    "text/plain",
    "text/html",
    "application/pdf",
    "application/zip",
    "application/json",
];

fn other_schemes(head: &Head<'_>, keys: &Keyring, length: &str, types: &[String]) -> Vec<(SignedAs, Vec<Vec<u8>>)> {
    let path = head.slot.as_str();
    let mut schemes = vec![
        (SignedAs::V1, vec![mac::v1_message(path, length)]),
        (SignedAs::V2, Scheme::V2.messages(path, length, types)),
        (SignedAs::V2WithoutType, vec![[path, "\0", length].concat().into_bytes()]),
        (SignedAs::V3WithoutExpires, vec![["PUT\n/", path].concat().into_bytes()]),
        (SignedAs::PathOnly, vec![path.as_bytes().to_vec(), ["/", path].concat().into_bytes()]),
    ];
    if let Ok(params) = query::Params::parse(head.query.unwrap_or_default())
        && let Some(expires) = params.expires
    {
        schemes.push((SignedAs::V3, vec![mac::v3_message(path, &expires)]));
    }
    if let Some(delete_secret) = keys.usable_delete_secret() {
        schemes.push((SignedAs::Delete, vec![mac::delete_message(path, delete_secret)]));
    }
    schemes
}

fn other_keys(keys: &Keyring, hints: &ExplainHints<'_>) -> Vec<(OtherKey, Secret)> {
    let mut others: Vec<_> = hints.retired.iter().map(|key| (OtherKey::Retired, key.clone())).collect();
    others.extend(keys.usable_jwt_secret().map(|key| (OtherKey::JwtSecret, key.clone())));
    others.extend(keys.usable_delete_secret().map(|key| (OtherKey::DeleteSecret, key.clone())));
    for key in keys.usable_secrets() {
        let bytes = key.expose();
        others.push((OtherKey::Trimmed, Secret::new(bytes.trim_ascii())));
        others.push((OtherKey::WithLineBreak, Secret::new([bytes, b"\n"].concat())));
        others.extend(decoded(bytes).into_iter().map(|bytes| (OtherKey::Decoded, Secret::new(bytes))));
    }
    others.retain(|(_, key)| !key.expose().is_empty());
    others
}

/// What the text of a key stands for, where it is hexadecimal or base64.
fn decoded(text: &[u8]) -> Vec<Vec<u8>> {
    let hex = text.chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
        u8::from_str_radix(pair, 16).ok()
    });
    [hex.collect::<Option<Vec<u8>>>(), STANDARD.decode(text).ok()].into_iter().flatten().collect()
}

fn explain_bearer(head: &Head<'_>, keys: &Keyring, hints: &ExplainHints<'_>, token: &str) -> Vec<Explanation> {
    let Ok(header) = jsonwebtoken::decode_header(token) else { return Vec::new() };
    let algorithm = keys.jwt_algorithm;
    if header.alg != jwt::library_name(algorithm) {
        return vec![Explanation::OtherAlgorithm { named: format!("{:?}", header.alg), pinned: algorithm.as_str() }];
    }
    if keys.usable_secrets().next().is_none() && keys.usable_jwt_secret().is_none() {
        return vec![Explanation::NoKey];
    }
    let signed_by = |key: &Secret| jwt::decode::<Shape>(token, key, algorithm).ok();
    for key in keys.usable_secrets() {
        match signed_by(key) {
            Some(Shape { slot: Some(_) }) => {
                let claims = jwt::decode::<FileShareClaims>(token, key, algorithm);
                return claims.map_or_else(|_| Vec::new(), |claims| explain_claims(head, hints.now, &claims));
            }
            Some(_) if keys.usable_jwt_secret().is_none_or(|plain| signed_by(plain).is_none()) => {
                let key = Explanation::OtherKey(OtherKey::SharedSecret);
                return vec![Explanation::OtherScheme(SignedAs::PlainJwt), key];
            }
            _ => {}
        }
    }
    if let Some(key) = keys.usable_jwt_secret()
        && let Some(Shape { slot: None }) = signed_by(key)
    {
        let claims = jwt::decode::<PlainClaims>(token, key, algorithm);
        return claims.map_or_else(|_| Vec::new(), |claims| times(hints.now, claims.exp, claims.nbf.or(claims.iat)));
    }
    let others = other_keys(keys, hints).into_iter().filter(|(_, key)| signed_by(key).is_some());
    others.map(|(other, _)| Explanation::OtherKey(other)).collect()
}

/// A genuine file-share token: it names another slot, or the clocks differ.
fn explain_claims(head: &Head<'_>, now: Timestamp, claims: &FileShareClaims) -> Vec<Explanation> {
    let path = head.slot.as_str();
    let signed = format!("{}/{}", claims.slot, claims.filename);
    let mut found = times(now, Some(claims.exp), claims.iat);
    if signed != path {
        let base = path.strip_suffix(&signed).and_then(|base| base.strip_suffix('/'));
        let fault = base.map_or(PathFault::OtherSlot, |base| PathFault::BaseMissing(base.to_owned()));
        found.push(Explanation::OtherPath { signed, fault });
    }
    found
}

fn times(now: Timestamp, until: Option<jwt::NumericDate>, from: Option<jwt::NumericDate>) -> Vec<Explanation> {
    let now = now.as_unix();
    let expired =
        until.filter(|until| now >= until.0).map(|until| Explanation::Expired { seconds: now.saturating_sub(until.0) });
    let early = from.filter(|from| now < from.0).map(|from| Explanation::Early { seconds: from.0.saturating_sub(now) });
    expired.into_iter().chain(early).collect()
}
