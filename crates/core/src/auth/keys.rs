//! The keys of the house: what proofs are checked with and what our own commands sign with.
//!
//! Owns which keys count (an empty one never does). Filled by the configuration; read by `mac`, `jwt`, `sign`.

use subtle::ConstantTimeEq as _;

/// Key bytes. `Debug` shows nothing of them; two are compared only in constant time.
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

    fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Keys that a reload took away: nothing is granted for them, but a proof made with one can be explained.
#[derive(Clone, Debug, Default)]
pub struct Retired(Vec<Secret>);

impl Retired {
    /// The oldest are forgotten: who still signs with them has had several changes to notice.
    const MOST: usize = 8;

    /// What is retired once `new` took the place of `old`: one that came back is not.
    #[must_use]
    pub fn after(&self, old: &Keyring, new: &Keyring) -> Self {
        let in_use = |secret: &Secret| new.checking().any(|key| key.is(secret));
        let mut all: Vec<Secret> = Vec::new();
        for secret in self.0.iter().chain(old.checking()) {
            if !in_use(secret) && !all.iter().any(|known| known.is(secret)) {
                all.push(secret.clone());
            }
        }
        all.drain(..all.len().saturating_sub(Self::MOST));
        Self(all)
    }

    /// Oldest first.
    #[must_use]
    pub fn as_slice(&self) -> &[Secret] {
        &self.0
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
    /// Whether the original server's constant `X-Signature` counts for POST and `/download/`.
    pub x_signature: bool,
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

    /// Every key that a PUT may be checked with.
    fn checking(&self) -> impl Iterator<Item = &Secret> {
        self.usable_secrets().chain(self.usable_jwt_secret())
    }
}

pub(super) fn is_key(secret: &Secret) -> bool {
    !secret.0.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(secrets: &[&str]) -> Keyring {
        Keyring { secrets: secrets.iter().map(|secret| Secret::new(*secret)).collect(), ..Keyring::default() }
    }

    fn names(retired: &Retired) -> Vec<&str> {
        retired.as_slice().iter().map(|secret| std::str::from_utf8(secret.expose()).unwrap()).collect()
    }

    #[test]
    fn what_a_change_takes_away_is_retired_until_it_comes_back() {
        let first = Retired::default().after(&ring(&["a", "b"]), &ring(&["b", "c"]));
        assert_eq!(names(&first), ["a"]);
        let second = first.after(&ring(&["b", "c"]), &ring(&["c"]));
        assert_eq!(names(&second), ["a", "b"]);
        assert_eq!(names(&second.after(&ring(&["c"]), &ring(&["a"]))), ["b", "c"]);
        assert_eq!(names(&second.after(&ring(&["c"]), &ring(&["c"]))), ["a", "b"]);
    }

    #[test]
    fn the_key_of_plain_tokens_is_retired_too() {
        let old = Keyring { jwt_secret: Some(Secret::new("plain")), ..ring(&["a"]) };
        assert_eq!(names(&Retired::default().after(&old, &ring(&["a"]))), ["plain"]);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let key = |n: usize| format!("key {n}");
        let mut retired = Retired::default();
        for n in 0..20 {
            retired = retired.after(&ring(&[&key(n)]), &ring(&[&key(n + 1)]));
        }
        assert_eq!(names(&retired), (12..20).map(key).collect::<Vec<_>>());
    }
}
