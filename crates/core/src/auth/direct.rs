//! Requests that name no slot of an XMPP server: the original server's `POST /upload` and `GET /download/<path>`.
//!
//! [`authorize_post`] gives a [`Pass`], which makes one [`Grant`] for a slot that the server itself invents;
//! [`authorize_read`] gives a [`Reading`]. Neither accepts what was signed for something else: a slot's own signature
//! or token posts nothing. Called by `upload::post` and `download::direct`.

use super::keys::Keyring;
use super::query::{Carried, Params, bearer, strongest};
use super::{BodyLength, Denied, Grant, Head, Owner, Proof, jwt, mac};
use crate::{ByteSize, SlotPath, Timestamp};

/// The parts of a request head that such a proof can rest on.
#[derive(Clone, Copy, Debug)]
pub struct DirectHead<'a> {
    /// Path of the URL, decoded, with its leading slash: what `X-Signature` signs.
    pub path: &'a str,
    /// Query string without the question mark, still encoded.
    pub query: Option<&'a str>,
    /// `Authorization`.
    pub authorization: Option<&'a str>,
    /// `X-Signature`.
    pub signature: Option<&'a str>,
}

/// Proof that this request may store one file in a slot of its own. Only [`authorize_post`] makes one.
#[derive(Debug)]
pub struct Pass {
    proof: Proof,
    owner: Option<Owner>,
}

impl Pass {
    /// How it was proven.
    #[must_use]
    pub fn proof(&self) -> Proof {
        self.proof
    }

    /// The owner.
    #[must_use]
    pub fn owner(&self) -> Option<&Owner> {
        self.owner.as_ref()
    }

    /// Uses it up for `slot`, which nobody else knows yet; `media_type` is what the client declares.
    #[must_use]
    pub fn into_grant(self, slot: SlotPath, media_type: Option<String>) -> Grant {
        let Self { proof, owner } = self;
        let media_type = media_type.filter(|media_type| mac::is_storable(media_type));
        Grant { slot, proof, size: None, media_type, owner, expires: None }
    }
}

/// Proof that this request may read by `/download/`. Only [`authorize_read`] makes one.
#[derive(Debug)]
pub struct Reading {
    proof: Proof,
}

impl Reading {
    /// How it was proven.
    #[must_use]
    pub fn proof(&self) -> Proof {
        self.proof
    }
}

/// Checks the proof of a POST: a plain JWT, as bearer or as `token`; without one, `X-Signature` where the keyring
/// allows it.
///
/// # Errors
/// Says what is wrong with the proof that decides, or that there is none.
pub fn authorize_post(head: &DirectHead<'_>, keys: &Keyring, now: Timestamp) -> Result<Pass, Denied> {
    let params = Params::parse(head.query.unwrap_or_default())?;
    if let Some(token) = params.token.as_deref().or(head.authorization.and_then(bearer)) {
        let owner = jwt::check_unbound(keys, now, token)?;
        return Ok(Pass { proof: Proof::Jwt, owner });
    }
    check_signature(head, keys).map(|proof| Pass { proof, owner: None })
}

/// Checks the proof of a read: `v`, `v2` or `token` over `download/<path>` and a length of zero, a plain JWT, or
/// `X-Signature` where the keyring allows it. The first that is present decides alone.
///
/// # Errors
/// Says what is wrong with the proof that decides, or that there is none.
pub fn authorize_read(head: &DirectHead<'_>, keys: &Keyring, now: Timestamp) -> Result<Reading, Denied> {
    const NOT_A_PATH: Denied = Denied::Malformed("the path can be no slot");
    let path = SlotPath::parse(head.path.trim_start_matches('/')).map_err(|_| NOT_A_PATH)?;
    let signed = Head {
        slot: &path,
        query: head.query,
        authorization: head.authorization,
        content_type: None,
        length: BodyLength::Known(ByteSize::ZERO),
    };
    let proof = match strongest(&signed) {
        Ok(Carried::V1(tag)) => mac::check_v1(&signed, keys, &tag)?.proof,
        Ok(Carried::V2(tag)) => mac::check_v2(&signed, keys, Proof::V2, &tag)?.proof,
        Ok(Carried::Token(tag)) => mac::check_v2(&signed, keys, Proof::Token, &tag)?.proof,
        Ok(Carried::V3 { .. }) => return Err(Denied::Malformed("v3 signs uploads only")),
        Ok(Carried::Bearer(token)) => jwt::check_unbound(keys, now, &token).map(|_| Proof::Jwt)?,
        Err(Denied::Missing) => check_signature(head, keys)?,
        Err(denied) => return Err(denied),
    };
    Ok(Reading { proof })
}

/// The constant MAC of a path. It says nothing of time, length or content, so whoever has seen one has it for ever.
fn check_signature(head: &DirectHead<'_>, keys: &Keyring) -> Result<Proof, Denied> {
    let sent = head.signature.filter(|signature| !signature.is_empty()).ok_or(Denied::Missing)?;
    if !keys.x_signature {
        return Err(Denied::BadSignature(Proof::XSignature));
    }
    mac::check_path(head.path, keys, sent)
}

#[cfg(test)]
mod tests {
    use super::super::{Dialect, Secret, SlotRequest, sign};
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix(1_795_376_000);
    /// From the original server, for the secret of [`keys`].
    const SIGNED_UPLOAD: &str = "64dc859f039d9ccc4b6e14229ffba97ae606afae96200f8ae2c1807434a5412d";
    const SIGNED_DOWNLOAD: &str = "a41107259ad66d88192d8f29f6847aab62e98e63c29874b4dd2c26d78ec2e21a";

    fn keys() -> Keyring {
        Keyring {
            secrets: vec![Secret::new("test-vector-secret-0123456789")],
            jwt_secret: Some(Secret::new("plain token secret")),
            ..Keyring::default()
        }
    }

    fn head<'a>(path: &'a str) -> DirectHead<'a> {
        DirectHead { path, query: None, authorization: None, signature: None }
    }

    fn token(dialect: Dialect, slot: &SlotPath) -> String {
        let request = SlotRequest {
            slot,
            size: ByteSize::bytes(9),
            media_type: None,
            owner: Some("juliet@example.org/balcony"),
            issued: NOW,
            valid_until: NOW.plus_seconds(300),
            delete_at: None,
        };
        sign(dialect, &request, &keys()).unwrap().authorization.unwrap()
    }

    #[test]
    fn a_plain_token_posts_and_names_the_owner() {
        let slot = SlotPath::parse("unused/unused").unwrap();
        let token = token(Dialect::Jwt, &slot);
        let bare = token.strip_prefix("Bearer ").unwrap();
        let query = format!("token={bare}");
        for carried in [
            DirectHead { authorization: Some(&token), ..head("/upload") },
            DirectHead { query: Some(&query), ..head("/upload") },
        ] {
            let pass = authorize_post(&carried, &keys(), NOW).unwrap();
            assert_eq!(pass.proof(), Proof::Jwt);
            assert_eq!(pass.owner(), Some(&Owner::Jid("juliet@example.org".to_owned())));
            assert_eq!(authorize_post(&carried, &keys(), NOW.plus_seconds(301)).unwrap_err(), Denied::Gone);
            let without = Keyring { jwt_secret: None, ..keys() };
            assert!(matches!(authorize_post(&carried, &without, NOW), Err(Denied::BadBearer(_))));
        }
    }

    #[test]
    fn what_was_signed_for_a_slot_posts_nothing() {
        let slot = SlotPath::parse("upload/file.txt").unwrap();
        let token = token(Dialect::FileShare, &slot);
        let bearing = DirectHead { authorization: Some(&token), ..head("/upload") };
        assert_eq!(authorize_post(&bearing, &keys(), NOW).unwrap_err(), Denied::OtherSlot);
        let query = format!("v={SIGNED_UPLOAD}&v2={SIGNED_UPLOAD}");
        let signed = DirectHead { query: Some(&query), ..head("/upload") };
        assert_eq!(authorize_post(&signed, &keys(), NOW).unwrap_err(), Denied::Missing);
    }

    #[test]
    fn a_constant_signature_counts_only_where_it_is_switched_on() {
        let signed = DirectHead { signature: Some(SIGNED_UPLOAD), ..head("/upload") };
        assert_eq!(authorize_post(&signed, &keys(), NOW).unwrap_err(), Denied::BadSignature(Proof::XSignature));
        let on = Keyring { x_signature: true, ..keys() };
        assert_eq!(authorize_post(&signed, &on, NOW).unwrap().proof(), Proof::XSignature);
        let elsewhere = DirectHead { path: "/upload/adaptive", ..signed };
        assert_eq!(authorize_post(&elsewhere, &on, NOW).unwrap_err(), Denied::BadSignature(Proof::XSignature));
        let empty = DirectHead { signature: Some(""), ..signed };
        assert_eq!(authorize_post(&empty, &on, NOW).unwrap_err(), Denied::Missing);
        let no_key = Keyring { x_signature: true, secrets: vec![Secret::new("")], ..Keyring::default() };
        assert_eq!(authorize_post(&signed, &no_key, NOW).unwrap_err(), Denied::BadSignature(Proof::XSignature));
    }

    #[test]
    fn a_bad_token_is_not_rescued_by_a_good_constant_signature() {
        let on = Keyring { x_signature: true, ..keys() };
        let both =
            DirectHead { authorization: Some("Bearer x.y.z"), signature: Some(SIGNED_UPLOAD), ..head("/upload") };
        assert!(matches!(authorize_post(&both, &on, NOW), Err(Denied::BadBearer(_))));
        assert!(matches!(authorize_read(&both, &on, NOW), Err(Denied::BadBearer(_))));
    }

    #[test]
    fn a_read_is_proven_by_what_the_original_accepted() {
        let path = "/download/c1842/8f3a/report.pdf";
        let query = format!("v={SIGNED_DOWNLOAD}");
        let signed = DirectHead { query: Some(&query), ..head(path) };
        assert_eq!(authorize_read(&signed, &keys(), NOW).unwrap().proof(), Proof::V1);
        let other = DirectHead { path: "/download/c1842/8f3a/other.pdf", ..signed };
        assert_eq!(authorize_read(&other, &keys(), NOW).unwrap_err(), Denied::BadSignature(Proof::V1));
        assert_eq!(authorize_read(&head(path), &keys(), NOW).unwrap_err(), Denied::Missing);
        let plain = token(Dialect::Jwt, &SlotPath::parse("unused/unused").unwrap());
        let bearing = DirectHead { authorization: Some(&plain), ..head(path) };
        assert_eq!(authorize_read(&bearing, &keys(), NOW).unwrap().proof(), Proof::Jwt);
        let v3 = DirectHead { query: Some("v3=00&expires=4102444800"), ..head(path) };
        assert!(matches!(authorize_read(&v3, &keys(), NOW), Err(Denied::Malformed(_))));
    }

    #[test]
    fn a_pass_keeps_only_a_type_that_fits_a_header() {
        let on = Keyring { x_signature: true, ..keys() };
        let pass =
            || authorize_post(&DirectHead { signature: Some(SIGNED_UPLOAD), ..head("/upload") }, &on, NOW).unwrap();
        let slot = SlotPath::parse("a/b.txt").unwrap();
        let typed = |media_type: &str| pass().into_grant(slot.clone(), Some(media_type.to_owned()));
        assert_eq!(typed("text/plain").media_type(), Some("text/plain"));
        assert_eq!(typed("text/plain\r\nX: y").media_type(), None);
        assert_eq!(typed("").slot().as_str(), "a/b.txt");
    }
}
