//! HMAC-SHA-256 proofs of the query: what each dialect signs, and comparison in constant time.
//!
//! Owns the signed messages byte for byte. It does not pick the parameter (`query`) and reads no clock. Called by
//! `authorize`, `authorize_delete`; `sign` and `explain` build the same messages.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::keys::{Keyring, Secret};
use super::{BodyLength, Deletion, Denied, Grant, Head, Owner, Proof};
use crate::{ByteSize, SlotPath, Timestamp, media};

/// Type that stands for "none was declared", in slot requests and in uploads.
pub(super) const OCTET_STREAM: &str = "application/octet-stream";

/// Grants `v`: `path SP length`. Prosody's mod_http_upload_external and ejabberd sign it.
pub(super) fn check_v1(head: &Head<'_>, keys: &Keyring, sent: &str) -> Result<Grant, Denied> {
    let size = known_length(head)?;
    let message = v1_message(head.slot.as_str(), &size.as_u64().to_string());
    let tag = Tag::from_hex(sent).ok_or(Denied::BadSignature(Proof::V1))?;
    position(&tag, keys.usable_secrets(), &[message]).ok_or(Denied::BadSignature(Proof::V1))?;
    Ok(Grant {
        slot: head.slot.clone(),
        proof: Proof::V1,
        size: Some(size),
        media_type: declared_type(head),
        owner: ejabberd_owner(head.slot),
        expires: None,
    })
}

/// Grants `v2` and Metronome's `token`: `path NUL length NUL type`.
///
/// The type was declared by the slot request, and clients legitimately send another with the body or none. Each
/// candidate is a statement that somebody with the key signed, so trying several accepts nothing unsigned; the one
/// that matches is the type that gets stored.
pub(super) fn check_v2(head: &Head<'_>, keys: &Keyring, proof: Proof, sent: &str) -> Result<Grant, Denied> {
    let size = known_length(head)?;
    let length = size.as_u64().to_string();
    let types = type_candidates(head);
    let messages: Vec<_> = types.iter().map(|media_type| v2_message(head.slot.as_str(), &length, media_type)).collect();
    let tag = Tag::from_hex(sent).ok_or(Denied::BadSignature(proof))?;
    let index = position(&tag, keys.usable_secrets(), &messages).ok_or(Denied::BadSignature(proof))?;
    let signed = types.into_iter().nth(index).filter(|media_type| is_storable(media_type));
    Ok(Grant {
        slot: head.slot.clone(),
        proof,
        size: Some(size),
        // A signed empty type (or one that is no type) says that the slot request declared none: then the upload's own word stands.
        media_type: signed.or_else(|| declared_type(head)),
        owner: None,
        expires: None,
    })
}

/// Grants `v3`: `PUT LF expires LF /path`. It signs no length, so a body of unknown length is fine.
pub(super) fn check_v3(
    head: &Head<'_>,
    keys: &Keyring,
    now: Timestamp,
    sent: &str,
    expires: &str,
) -> Result<Grant, Denied> {
    let deadline = decimal_seconds(expires)?;
    // The original compares text: upper-case digits never passed, and nobody signs them.
    if sent.contains(|digit: char| digit.is_ascii_uppercase()) {
        return Err(Denied::BadSignature(Proof::V3));
    }
    let tag = Tag::from_hex(sent).ok_or(Denied::BadSignature(Proof::V3))?;
    let message = v3_message(head.slot.as_str(), expires);
    position(&tag, keys.usable_secrets(), &[message]).ok_or(Denied::BadSignature(Proof::V3))?;
    if now > deadline {
        return Err(Denied::Expired);
    }
    Ok(Grant {
        slot: head.slot.clone(),
        proof: Proof::V3,
        size: None,
        media_type: declared_type(head),
        owner: None,
        expires: None,
    })
}

/// Proves `X-Signature`: the path alone, with its leading slash.
pub(super) fn check_path(path: &str, keys: &Keyring, sent: &str) -> Result<Proof, Denied> {
    let denied = Denied::BadSignature(Proof::XSignature);
    let tag = Tag::from_hex(sent).ok_or(denied)?;
    position(&tag, keys.usable_secrets(), &[path.as_bytes().to_vec()]).ok_or(denied)?;
    Ok(Proof::XSignature)
}

/// Proves Metronome's DELETE: `path NUL delete-secret`, in `token`.
pub(super) fn check_delete(slot: &SlotPath, keys: &Keyring, sent: &str) -> Result<Deletion, Denied> {
    let denied = Denied::BadSignature(Proof::Token);
    let delete_secret = keys.usable_delete_secret().ok_or(denied)?;
    let tag = Tag::from_hex(sent).ok_or(denied)?;
    position(&tag, keys.usable_secrets(), &[delete_message(slot.as_str(), delete_secret)]).ok_or(denied)?;
    Ok(Deletion { slot: slot.clone() })
}

/// What `v` signs.
pub(super) fn v1_message(path: &str, length: &str) -> Vec<u8> {
    [path, " ", length].concat().into_bytes()
}

/// What `v2` and `token` sign.
pub(super) fn v2_message(path: &str, length: &str, media_type: &str) -> Vec<u8> {
    [path, "\0", length, "\0", media_type].concat().into_bytes()
}

/// What `v3` signs.
pub(super) fn v3_message(path: &str, expires: &str) -> Vec<u8> {
    ["PUT\n", expires, "\n/", path].concat().into_bytes()
}

/// What Metronome's DELETE signs.
pub(super) fn delete_message(path: &str, delete_secret: &Secret) -> Vec<u8> {
    [path.as_bytes(), b"\0", delete_secret.expose()].concat()
}

/// The types that a `v2` signature may be over, most likely first, each once.
pub(super) fn type_candidates(head: &Head<'_>) -> Vec<String> {
    const UTF8: &str = "; charset=utf-8";
    let bare = |media_type: &str| media_type.split(';').next().unwrap_or_default().trim().to_owned();
    let sent = head.content_type.unwrap_or(OCTET_STREAM);
    let by_name = media::type_of_name(head.slot.file_name());
    let candidates = [
        sent.to_owned(),
        bare(sent),
        bare(sent) + UTF8,
        OCTET_STREAM.to_owned(),
        String::new(),
        bare(by_name),
        bare(by_name) + UTF8,
        // Conversations declares this for OpenPGP and uploads with another.
        "application/pgp-encrypted".to_owned(),
    ];
    let mut types: Vec<String> = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        if !types.contains(&candidate) {
            types.push(candidate);
        }
    }
    types
}

/// The `Content-Type` of the upload itself.
pub(super) fn declared_type(head: &Head<'_>) -> Option<String> {
    head.content_type.map(str::trim).filter(|media_type| is_storable(media_type)).map(str::to_owned)
}

/// Whether a type can be sent back in a header: XMPP servers sign whatever text their users call a type.
pub(super) fn is_storable(media_type: &str) -> bool {
    (1..=255).contains(&media_type.len()) && media_type.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// A MAC. It has no `PartialEq`: only [`position`] compares two.
pub(super) struct Tag([u8; 32]);

impl Tag {
    /// The MAC of a message.
    pub(super) fn of(key: &Secret, message: &[u8]) -> Self {
        let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes keys of any length");
        mac.update(message);
        Self(mac.finalize().into_bytes().into())
    }

    /// Reads 64 hexadecimal digits of any case.
    pub(super) fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Some(Self(bytes))
    }

    /// 64 lower-case hexadecimal digits.
    pub(super) fn to_hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
        self.0.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }
}

/// Index of the message that one of the keys signs with `tag`.
///
/// Every key meets every message and nothing stops early: the time tells only how many keys and candidates there are.
pub(super) fn position<'k>(tag: &Tag, keys: impl Iterator<Item = &'k Secret>, messages: &[Vec<u8>]) -> Option<usize> {
    const NONE: u32 = u32::MAX;
    let mut found = NONE;
    for key in keys {
        for (index, message) in (0..NONE).zip(messages) {
            let equal = Tag::of(key, message).0.ct_eq(&tag.0);
            found.conditional_assign(&index, equal);
        }
    }
    usize::try_from(found).ok().filter(|_| found != NONE)
}

/// `v`, `v2` and `token` sign a length: without one there is nothing to compare, and `-1` is never signed for it.
fn known_length(head: &Head<'_>) -> Result<ByteSize, Denied> {
    match head.length {
        BodyLength::Known(size) => Ok(size),
        BodyLength::Unknown => Err(Denied::LengthRequired),
    }
}

/// Unix seconds as `v3` writes them: decimal digits only, no sign, no space.
pub(super) fn decimal_seconds(text: &str) -> Result<Timestamp, Denied> {
    const MALFORMED: Denied = Denied::Malformed("`expires` is no decimal number of seconds");
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(MALFORMED);
    }
    text.parse().map(Timestamp::from_unix).map_err(|_| MALFORMED)
}

/// ejabberd's paths are `sha1(jid)/random/name`: the first element tells the user although `v` signs none.
fn ejabberd_owner(slot: &SlotPath) -> Option<Owner> {
    let hash = slot.first_element();
    let is_hash = hash.len() == 40 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (is_hash && slot.as_str().split('/').count() == 3).then(|| Owner::JidSha1(hash.to_owned()))
}
