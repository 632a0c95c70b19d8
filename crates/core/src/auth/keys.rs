//! The keys of the house: what proofs are checked with and what our own commands sign with.
//!
//! Owns which keys count (an empty one never does). Filled by the configuration; read by `mac`, `jwt`, `sign`.

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

impl JwtAlgorithm {
    /// The name that a token's header and the configuration use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
        }
    }
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

// The original accepted MACs under an empty key when JWTs were on and no secret was set: anyone could upload. Every
// reader goes through these three, so that a key without bytes is the same as no key.
impl Keyring {
    pub(super) fn usable_secrets(&self) -> impl Iterator<Item = &Secret> {
        self.secrets.iter().filter(|secret| is_key(secret))
    }

    pub(super) fn usable_delete_secret(&self) -> Option<&Secret> {
        self.delete_secret.as_ref().filter(|secret| is_key(secret))
    }

    pub(super) fn usable_jwt_secret(&self) -> Option<&Secret> {
        self.jwt_secret.as_ref().filter(|secret| is_key(secret))
    }
}

fn is_key(secret: &Secret) -> bool {
    !secret.0.is_empty()
}
