//! Slot proofs as the XMPP servers make them, written a second time: the server's own code is what is being tested.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

/// What Prosody leaves unescaped in a slot's path, and the slash between its elements.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_').remove(b'~').remove(b'/');

/// The slot's path as a request target below the base path, without the leading slash.
pub(crate) fn encode(slot: &str) -> String {
    utf8_percent_encode(slot, ESCAPED).to_string()
}

/// `v=` of Prosody and ejabberd.
pub(crate) fn v1(secret: &str, slot: &str, size: u64) -> String {
    format!("v={}", hex(&mac(secret, format!("{slot} {size}").as_bytes())))
}

/// `v2=` of Prosody; `token=` of Metronome is the same message.
pub(crate) fn v2(secret: &str, slot: &str, size: u64, media_type: &str) -> String {
    format!("v2={}", hex(&mac(secret, format!("{slot}\0{size}\0{media_type}").as_bytes())))
}

/// `token=` of Metronome's PUT.
pub(crate) fn token(secret: &str, slot: &str, size: u64, media_type: &str) -> String {
    v2(secret, slot, size, media_type).replacen("v2=", "token=", 1)
}

/// `token=` of Metronome's DELETE.
pub(crate) fn delete(secret: &str, delete_secret: &str, slot: &str) -> String {
    format!("token={}", hex(&mac(secret, format!("{slot}\0{delete_secret}").as_bytes())))
}

/// `v3=` of the original server; `expires` in seconds since 1970.
pub(crate) fn v3(secret: &str, slot: &str, expires: u64) -> String {
    format!("v3={}&expires={expires}", hex(&mac(secret, format!("PUT\n{expires}\n/{slot}").as_bytes())))
}

/// The original server's `X-Signature`: the URL's path, and nothing of the request.
pub(crate) fn path(secret: &str, path: &str) -> String {
    hex(&mac(secret, path.as_bytes()))
}

/// `Authorization` of Prosody's mod_http_file_share.
pub(crate) fn file_share(secret: &str, claims: &serde_json::Value) -> String {
    format!("Bearer {}", jwt(r#"{"alg":"HS256","typ":"JWT"}"#, secret, claims))
}

/// A JWT with this header, whatever it says, and an HMAC-SHA-256 below it.
pub(crate) fn jwt(header: &str, secret: &str, claims: &serde_json::Value) -> String {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let signed = format!("{}.{}", encode(header.as_bytes()), encode(claims.to_string().as_bytes()));
    format!("{signed}.{}", encode(&mac(secret, signed.as_bytes())))
}

/// Seconds since 1970, that long from now.
pub(crate) fn in_seconds(seconds: u64) -> u64 {
    let then = SystemTime::now() + Duration::from_secs(seconds);
    then.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs()
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn mac(secret: &str, message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length is a key");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
