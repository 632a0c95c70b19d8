//! The findings of [`explain`](super::explain()) and their sentences, for the operator's log.
//!
//! Paths and types come from strangers: they are printed escaped. No finding holds a key, a MAC or a token.

use std::fmt;

/// One thing that would have made the proof right. `Display` is the sentence for the log.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Explanation {
    /// There is no key to check such a proof with.
    NoKey,
    /// Signed for another path.
    OtherPath {
        /// The path that was signed.
        signed: String,
        /// How it may have come about.
        fault: PathFault,
    },
    /// Signed for another length, in bytes as it was signed (`-1` is an unknown one).
    OtherLength {
        /// The length that was signed.
        signed: String,
    },
    /// Signed for another media type.
    OtherType {
        /// The type that was signed.
        signed: String,
    },
    /// The message of another scheme, sent as this one.
    OtherScheme(SignedAs),
    /// Signed with another key.
    OtherKey(OtherKey),
    /// The hexadecimal digits of `v3` are upper-case.
    UpperCase,
    /// The token names another algorithm than the configured one.
    OtherAlgorithm {
        /// As the token names it.
        named: String,
        /// As it is configured.
        pinned: &'static str,
    },
    /// Right, but its time is over.
    Expired {
        /// For how long.
        seconds: i64,
    },
    /// Right, but its time is yet to come.
    Early {
        /// For how long.
        seconds: i64,
    },
}

/// How a signed path may have come to differ from the requested one.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum PathFault {
    /// The path was signed without these leading elements: they are a base path that is not configured here.
    BaseMissing(String),
    /// The path was signed with these leading elements: they are a base path here, but not for the XMPP server.
    BaseExtra(String),
    /// It was signed with a leading slash.
    LeadingSlash,
    /// It was signed in its percent-encoded form.
    Encoded,
    /// It was encoded once more on its way here.
    EncodedTwice,
    /// The token names another slot or file.
    OtherSlot,
}

/// The scheme whose message was signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SignedAs {
    /// The message of `v`.
    V1,
    /// The message of `v2` and `token`.
    V2,
    /// The message of `v2`, without a type.
    V2WithoutType,
    /// The message of `v3`.
    V3,
    /// The message of `v3`, without a deadline.
    V3WithoutExpires,
    /// The path alone.
    PathOnly,
    /// Metronome's DELETE.
    Delete,
    /// A plain JWT, without a slot.
    PlainJwt,
}

/// A key that is not accepted, but was used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum OtherKey {
    /// A secret that was retired.
    Retired,
    /// `jwtsecret`.
    JwtSecret,
    /// One of the shared secrets, where `jwtsecret` was due.
    SharedSecret,
    /// Metronome's delete secret.
    DeleteSecret,
    /// The secret without the blanks around it.
    Trimmed,
    /// The secret and a line break.
    WithLineBreak,
    /// The bytes that the secret is the hexadecimal or base64 text of.
    Decoded,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKey => f.write_str("no key is configured for such a proof: set [security] secret"),
            Self::OtherPath { signed, fault } => write!(f, "the signature is right for path {signed:?}: {fault}"),
            Self::OtherLength { signed } if signed.is_empty() => {
                f.write_str("the signature is right without a length: the XMPP server signed none")
            }
            Self::OtherLength { signed } => {
                write!(f, "the signature is right for a length of {signed}: the body is not what the slot was for")
            }
            Self::OtherType { signed } => {
                write!(f, "the signature is right for type {signed:?}: client or proxy changed Content-Type")
            }
            Self::OtherScheme(signed_as) => write!(f, "the signature is right, but as {signed_as}"),
            Self::OtherKey(key) => write!(f, "the signature is right for another key: {key}"),
            Self::UpperCase => f.write_str("the signature is right, but v3 must be in lower-case digits"),
            Self::OtherAlgorithm { named, pinned } => {
                write!(f, "the token is signed with {named}, but {pinned} is configured")
            }
            Self::Expired { seconds } => {
                write!(f, "the signature is right, but expired {seconds} s ago: do the clocks agree?")
            }
            Self::Early { seconds } => {
                write!(f, "the signature is right, but only in {seconds} s: do the clocks agree?")
            }
        }
    }
}

impl fmt::Display for PathFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BaseMissing(base) => {
                write!(f, "base path missing? `public_url` should end in {:?}", format!("/{base}/"))
            }
            Self::BaseExtra(base) => {
                write!(f, "base path of the XMPP server missing? its base URL should end in {:?}", format!("/{base}/"))
            }
            Self::LeadingSlash => f.write_str("the XMPP server signs a leading slash, does its base URL lack one?"),
            Self::Encoded => f.write_str("it was signed in its percent-encoded form"),
            Self::EncodedTwice => f.write_str("client or proxy percent-encoded it twice"),
            Self::OtherSlot => f.write_str("the token is for another slot"),
        }
    }
}

impl fmt::Display for SignedAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "v: the XMPP server's protocol setting and its URLs disagree",
            Self::V2 => "v2: the XMPP server's protocol setting and its URLs disagree",
            Self::V2WithoutType => "v2 without a type, which is not accepted",
            Self::V3 => "v3",
            Self::V3WithoutExpires => "v3 without `expires`, which is not accepted",
            Self::PathOnly => "a path without a length, which is not accepted",
            Self::Delete => "Metronome's DELETE",
            Self::PlainJwt => "a plain token without a slot, which needs `enablejwt` and `jwtsecret`",
        })
    }
}

impl fmt::Display for OtherKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Retired => "a retired secret; the XMPP server still has the old one",
            Self::JwtSecret => "`jwtsecret`",
            Self::SharedSecret => "`secret`",
            Self::DeleteSecret => "the delete secret",
            Self::Trimmed => "`secret` without the blanks around it",
            Self::WithLineBreak => "`secret` with a line break at its end",
            Self::Decoded => "the bytes that `secret` is the hexadecimal or base64 text of",
        })
    }
}
