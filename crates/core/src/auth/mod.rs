//! Who may write: every slot proof in use, checked in constant time.
//!
//! [`authorize`] turns a request head into a [`Grant`], the only way to one. Pure: keys and time are arguments.
//! Called by `upload::put`; [`authorize_delete`] by the router's DELETE.

use crate::{ByteSize, SlotPath, Timestamp};

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

/// Key bytes. `Debug` shows nothing of them; two are compared only in constant time, by what they sign.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Wraps the raw bytes of a configured string.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The key bytes, for signing and verifying only.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Signature algorithm of JWTs, pinned by configuration: a token that names another is refused.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum JwtAlgorithm {
    /// HMAC with SHA-256, what Prosody signs.
    #[default]
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
}

/// The keys that proofs are checked with.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    /// Shared with the XMPP servers; the first signs our own commands, all are accepted. v, v2, token, v3 and
    /// Prosody's file-share JWT use them. Empty refuses them all (an empty key is no key).
    pub secrets: Vec<Secret>,
    /// Metronome's `http_file_delete_secret`; `None` refuses every DELETE.
    pub delete_secret: Option<Secret>,
    /// Key of the original server's plain JWT; `None` unless `enablejwt`.
    pub jwt_secret: Option<Secret>,
    /// Algorithm of every JWT.
    pub jwt_algorithm: JwtAlgorithm,
}
