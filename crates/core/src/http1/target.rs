//! The request target and `Host`: which resource of which host.

use http::header::HOST;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, Method, Uri, Version};

use super::BadRequest;

/// What `http::Uri` can hold.
const MAX_TARGET: usize = 65_534;

/// Reads a target in the form that RFC 9112 section 3.2 allows for this method.
///
/// UTF-8 that is not percent-encoded passes in paths and queries, although RFC 3986 has no place for it: command-line
/// clients send a pasted link that way, and no delimiter hides in it.
pub(super) fn parse(method: &Method, raw: &[u8]) -> Result<Uri, BadRequest> {
    if raw.len() > MAX_TARGET {
        return Err(BadRequest::TargetTooLong);
    }
    // `Uri` would drop it silently.
    if raw.contains(&b'#') {
        return Err(BadRequest::Fragment);
    }
    if *method == Method::CONNECT {
        return authority_form(raw);
    }
    match raw {
        b"*" if *method == Method::OPTIONS => Ok(Uri::from(PathAndQuery::from_static("*"))),
        [b'/', ..] => Uri::try_from(raw).map_err(|_| BadRequest::Target),
        _ => absolute_form(raw),
    }
}

fn authority_form(raw: &[u8]) -> Result<Uri, BadRequest> {
    if raw.contains(&b'/') || split_host(raw).is_none_or(|(_, port)| port.is_none()) {
        return Err(BadRequest::Target);
    }
    Uri::try_from(raw).map_err(|_| BadRequest::Target)
}

fn absolute_form(raw: &[u8]) -> Result<Uri, BadRequest> {
    let uri = Uri::try_from(raw).map_err(|_| BadRequest::Target)?;
    let web = uri.scheme().is_some_and(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS);
    let host_only = uri.authority().is_some_and(|authority| split_host(authority.as_str().as_bytes()).is_some());
    if web && host_only { Ok(uri) } else { Err(BadRequest::Target) }
}

/// Exactly one valid `Host` (none is fine in HTTP/1.0), and the one of the target where that names one.
pub(super) fn check_host(uri: &Uri, version: Version, headers: &HeaderMap) -> Result<(), BadRequest> {
    let mut hosts = headers.get_all(HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(BadRequest::RepeatedHost);
    }
    let Some(host) = first else {
        return if version == Version::HTTP_10 { Ok(()) } else { Err(BadRequest::MissingHost) };
    };
    let host = split_host(host.as_bytes()).ok_or(BadRequest::Host)?;
    let Some(authority) = uri.authority() else { return Ok(()) };
    let named = split_host(authority.as_str().as_bytes()).ok_or(BadRequest::Target)?;
    let default_port = match uri.scheme_str() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    };
    let same_name = host.0.eq_ignore_ascii_case(named.0);
    let same_port = host.1.or(default_port) == named.1.or(default_port);
    if same_name && same_port { Ok(()) } else { Err(BadRequest::OtherHost) }
}

/// Splits `name`, `name:port` or `[v6]:port`. Narrower than RFC 3986: no user, no percent-encoding, no sub-delimiter,
/// for none of them occurs in a name that resolves and each is read differently by someone.
fn split_host(raw: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let (name, rest) = match raw {
        [b'[', inner @ ..] => {
            let close = inner.iter().position(|&byte| byte == b']')?;
            let literal = &inner[..close];
            let known = |&byte: &u8| byte.is_ascii_alphanumeric() || b":.%-_~".contains(&byte);
            (literal.contains(&b':') && literal.iter().all(known)).then_some(())?;
            (&raw[..close + 2], &inner[close + 1..])
        }
        _ => raw.split_at(raw.iter().position(|&byte| byte == b':').unwrap_or(raw.len())),
    };
    let known = |&byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if name.is_empty() || (raw[0] != b'[' && !name.iter().all(known)) {
        return None;
    }
    match rest {
        [] | [b':'] => Some((name, None)),
        [b':', digits @ ..] if digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) => {
            let port = digits.iter().fold(0_u32, |port, digit| port * 10 + u32::from(digit - b'0'));
            Some((name, Some(u16::try_from(port).ok()?)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_split_into_name_and_port() {
        let split = |raw: &'static str| split_host(raw.as_bytes());
        assert_eq!(split("upload.example"), Some((&b"upload.example"[..], None)));
        assert_eq!(split("a_b-c.example.:"), Some((&b"a_b-c.example."[..], None)));
        assert_eq!(split("127.0.0.1:8080"), Some((&b"127.0.0.1"[..], Some(8080))));
        assert_eq!(split("[::1]:5281"), Some((&b"[::1]"[..], Some(5281))));
        assert_eq!(split("[fe80::1%25eth0]"), Some((&b"[fe80::1%25eth0]"[..], None)));
        for bad in [
            "", ":80", "a b", "a,b", "a/b", "u@h", "h:8o", "h:65536", "h:000080", "h:1:2", "[", "[]", "[::1", "[::1]x",
            "[1]", "ä",
        ] {
            assert_eq!(split_host(bad.as_bytes()), None, "{bad}");
        }
    }
}
