//! Which proof a request carries: reads the query and `Authorization`, and picks the one that decides.
//!
//! It verifies nothing. The order is `v3` with `expires`, `v2`, `token`, `v`, then `Authorization: Bearer`: the first
//! that is present decides alone, so that a bad strong proof is never rescued by a good weak one. The header comes
//! last because a slot's URL is what the XMPP server signed, while a client or proxy may add credentials of its own.
//! Called by `authorize`, `authorize_delete` and `explain`.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::{Denied, Head};

/// The one proof that decides, not verified yet.
pub(super) enum Carried<'a> {
    /// `v3` and `expires`, both as their original text.
    V3 { mac: Cow<'a, str>, expires: Cow<'a, str> },
    /// `v2`.
    V2(Cow<'a, str>),
    /// `token` that has not the shape of a JWT.
    Token(Cow<'a, str>),
    /// `v`.
    V1(Cow<'a, str>),
    /// A JWT, from `Authorization` or from `token`.
    Bearer(Cow<'a, str>),
}

/// The parameters that mean something to a proof; empty ones count as absent.
#[derive(Default)]
pub(super) struct Params<'a> {
    v: Option<Cow<'a, str>>,
    v2: Option<Cow<'a, str>>,
    v3: Option<Cow<'a, str>>,
    pub(super) expires: Option<Cow<'a, str>>,
    pub(super) token: Option<Cow<'a, str>>,
}

/// Picks the proof that decides.
///
/// # Errors
/// `Missing` when there is none, `Malformed` when a parameter is repeated or no text.
pub(super) fn strongest<'a>(head: &Head<'a>) -> Result<Carried<'a>, Denied> {
    let params = Params::parse(head.query.unwrap_or_default())?;
    if let Some(mac) = params.v3 {
        // The highest parameter decides alone: one that cannot be checked does not make way for a weaker one.
        let expires = params.expires.ok_or(Denied::Malformed("v3 without expires"))?;
        return Ok(Carried::V3 { mac, expires });
    }
    if let Some(mac) = params.v2 {
        return Ok(Carried::V2(mac));
    }
    if let Some(token) = params.token {
        return Ok(if is_jwt_shaped(&token) { Carried::Bearer(token) } else { Carried::Token(token) });
    }
    if let Some(mac) = params.v {
        return Ok(Carried::V1(mac));
    }
    head.authorization.and_then(bearer).map(|token| Carried::Bearer(token.into())).ok_or(Denied::Missing)
}

impl<'a> Params<'a> {
    /// Reads the parameters of a query; unknown ones are not ours to judge.
    pub(super) fn parse(query: &'a str) -> Result<Self, Denied> {
        let mut params = Self::default();
        let mut seen: Vec<&'static str> = Vec::new();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Ok(decoded_name) = percent_decode_str(name).decode_utf8() else { continue };
            let (name, field) = match &*decoded_name {
                "v" => ("v", &mut params.v),
                "v2" => ("v2", &mut params.v2),
                "v3" => ("v3", &mut params.v3),
                "expires" => ("expires", &mut params.expires),
                "token" => ("token", &mut params.token),
                _ => continue,
            };
            // Two readers of one query that pick different copies is how signatures get bypassed: refuse.
            if seen.contains(&name) {
                return Err(Denied::Malformed("a signature parameter appears twice"));
            }
            seen.push(name);
            let value = percent_decode_str(value).decode_utf8();
            let value = value.map_err(|_| Denied::Malformed("a signature parameter is not UTF-8"))?;
            *field = Some(value).filter(|value| !value.is_empty());
        }
        Ok(params)
    }
}

/// Metronome's `token` is 64 hex digits, the original's is a JWT: three parts between dots.
fn is_jwt_shaped(token: &str) -> bool {
    let mut parts = token.split('.');
    parts.by_ref().take(3).filter(|part| !part.is_empty()).count() == 3 && parts.next().is_none()
}

/// The token of an `Authorization: Bearer` header; the scheme is case-insensitive (RFC 9110 section 11.1).
pub(super) fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.trim_start().split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
