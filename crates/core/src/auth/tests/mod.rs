//! Fixtures of the tests: one keyring, one moment, and heads that are short to write.

mod bearer;
mod explanations;
mod properties;
mod query_macs;

use super::{
    BodyLength, Denied, Dialect, Grant, Head, JwtAlgorithm, Keyring, Secret, SignedRequest, SlotRequest, authorize,
    sign,
};
use crate::{ByteSize, SlotPath, Timestamp};

const NOW: Timestamp = Timestamp::from_unix(1_795_376_000);

fn keys(secret: &str) -> Keyring {
    Keyring { secrets: vec![Secret::new(secret)], ..Keyring::default() }
}

/// Every key set, each another.
fn all_keys() -> Keyring {
    Keyring {
        secrets: vec![Secret::new("first shared secret"), Secret::new("second shared secret")],
        delete_secret: Some(Secret::new("delete secret")),
        jwt_secret: Some(Secret::new("plain token secret")),
        jwt_algorithm: JwtAlgorithm::Hs256,
        x_signature: false,
    }
}

fn slot(path: &str) -> SlotPath {
    SlotPath::parse(path).unwrap()
}

/// A PUT as the tests write it: path, query, length, type, `Authorization`.
#[derive(Clone, Debug)]
struct Put {
    slot: SlotPath,
    query: Option<String>,
    length: Option<u64>,
    content_type: Option<String>,
    authorization: Option<String>,
}

impl Put {
    fn new(path: &str, length: u64) -> Self {
        Self { slot: slot(path), query: None, length: Some(length), content_type: None, authorization: None }
    }

    fn query(mut self, query: impl Into<String>) -> Self {
        self.query = Some(query.into());
        self
    }

    fn chunked(mut self) -> Self {
        self.length = None;
        self
    }

    fn typed(mut self, content_type: &str) -> Self {
        self.content_type = Some(content_type.to_owned());
        self
    }

    fn authorization(mut self, value: impl Into<String>) -> Self {
        self.authorization = Some(value.into());
        self
    }

    fn bearer(self, token: &str) -> Self {
        self.authorization(format!("Bearer {token}"))
    }

    fn proof(mut self, signed: SignedRequest) -> Self {
        self.query = signed.query;
        self.authorization = signed.authorization;
        self
    }

    fn head(&self) -> Head<'_> {
        Head {
            slot: &self.slot,
            query: self.query.as_deref(),
            authorization: self.authorization.as_deref(),
            content_type: self.content_type.as_deref(),
            length: self.length.map_or(BodyLength::Unknown, |length| BodyLength::Known(ByteSize::bytes(length))),
        }
    }

    fn authorize(&self, keys: &Keyring) -> Result<Grant, Denied> {
        authorize(&self.head(), keys, NOW)
    }

    fn denied(&self, keys: &Keyring) -> Denied {
        self.authorize(keys).unwrap_err()
    }
}

/// A slot request of the default shape: valid for five minutes from [`NOW`].
fn request(slot: &SlotPath, size: u64) -> SlotRequest<'_> {
    SlotRequest {
        slot,
        size: ByteSize::bytes(size),
        media_type: None,
        owner: None,
        issued: NOW,
        valid_until: NOW.plus_seconds(300),
        delete_at: None,
    }
}

/// The proof that a server of this dialect signs, as the parts of a PUT of the same slot and size.
fn signed_put(dialect: Dialect, path: &str, size: u64, keys: &Keyring) -> Put {
    let put = Put::new(path, size);
    let signed = sign(dialect, &request(&slot(path), size), keys).unwrap();
    put.proof(signed)
}

/// The hexadecimal MAC of any message under any key.
fn mac(key: &str, message: &str) -> String {
    super::mac::Tag::of(&Secret::new(key), message.as_bytes()).to_hex()
}
