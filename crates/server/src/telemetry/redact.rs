//! Takes secrets out of URLs before they are logged.
//!
//! A MAC or token in a log lets its reader write the slot, so no log line may hold one. Values go by their parameter's
//! name and, under whatever name, by their looks. Paths stay: they are what a log is searched for.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_decode_str;

/// What stands for a secret.
const MARK: &str = "…";

/// Parameters whose values are proofs or credentials, lower case.
const NAMES: [&str; 14] = [
    "v",
    "v2",
    "v3",
    "token",
    "sig",
    "mac",
    "hmac",
    "jwt",
    "key",
    "auth",
    "authorization",
    "bearer",
    "password",
    "code",
];

/// Parts of names that say the same (`x-signature`, `client_secret`, `access_token`).
const NAME_PARTS: [&str; 3] = ["signature", "secret", "token"];

/// A query string without its secrets; everything else as it was.
#[must_use]
pub fn redact_query(query: &str) -> String {
    let parameters: Vec<_> = query.split('&').map(redact_parameter).collect();
    parameters.join("&")
}

/// A request target or URI, printed without the secrets of its query, user or fragment.
#[derive(Clone, Copy)]
pub struct Redacted<'a>(pub &'a str);

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.0.split('#').next().unwrap_or_default();
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let (scheme, rest) = path.split_once("://").unwrap_or(("", path));
        if !scheme.is_empty() {
            write!(f, "{scheme}://")?;
        }
        // The user and password of an absolute URI: all before the last `@` of its authority.
        let authority_end = if scheme.is_empty() { 0 } else { rest.find('/').unwrap_or(rest.len()) };
        let rest = rest[..authority_end].rfind('@').map_or(rest, |at| &rest[at + 1..]);
        f.write_str(rest)?;
        match query {
            Some(query) => write!(f, "?{}", redact_query(query)),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

fn redact_parameter(parameter: &str) -> Cow<'_, str> {
    match parameter.split_once('=') {
        Some((name, value)) if is_secret_name(name) || looks_secret(value) => {
            let name = if looks_secret(name) { MARK } else { name };
            format!("{name}={MARK}").into()
        }
        _ if looks_secret(parameter) => MARK.into(),
        _ => parameter.into(),
    }
}

fn is_secret_name(name: &str) -> bool {
    let name = percent_decode_str(name).decode_utf8_lossy().trim().to_lowercase();
    NAMES.contains(&name.as_str()) || NAME_PARTS.iter().any(|part| name.contains(part))
}

/// A run of hexadecimal digits as long as a SHA-1 MAC, or the beginning of a JWT.
fn looks_secret(text: &str) -> bool {
    let text = percent_decode_str(text).decode_utf8_lossy();
    let long_hex = text.split(|c: char| !c.is_ascii_hexdigit()).any(|run| run.len() >= 40);
    // "eyJ" is the Base64 of `{"`, with which every JWT header and claim set begins.
    long_hex || text.contains("eyJ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: &str = "d23f9b0e5a1c4d7788990a1b2c3d4e5f60718293a4b5c6d7e8f9012345678aff";
    const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhQGIifQ.c2lnbmF0dXJlc2lnbmF0dXJl";

    #[test]
    fn proofs_go_and_the_rest_stays() {
        assert_eq!(redact_query(&format!("v={MAC}")), "v=…");
        assert_eq!(redact_query(&format!("v3={MAC}&expires=1700000000&lang=de")), "v3=…&expires=1700000000&lang=de");
        assert_eq!(redact_query("v2=short&token=x&V=Y"), "v2=…&token=…&V=…");
        assert_eq!(
            redact_query("X-Signature=1&client_secret=2&sig=3&design=4"),
            "X-Signature=…&client_secret=…&sig=…&design=4"
        );
        assert_eq!(redact_query(""), "");
        assert_eq!(redact_query("a&b=&=c&&d=e=f"), "a&b=&=c&&d=e=f");
    }

    #[test]
    fn an_encoded_name_is_known_too() {
        assert_eq!(redact_query("%76=abc&v%32=abc"), "%76=…&v%32=…");
    }

    #[test]
    fn a_target_keeps_its_path_and_loses_its_proof() {
        assert_eq!(Redacted(&format!("/up/a%20b.txt?v={MAC}")).to_string(), "/up/a%20b.txt?v=…");
        assert_eq!(Redacted("/up/a@b").to_string(), "/up/a@b");
        assert_eq!(Redacted("https://u:p@host/a@b?x=1#frag").to_string(), "https://host/a@b?x=1");
        assert_eq!(Redacted("https://host").to_string(), "https://host");
        assert_eq!(format!("{:?}", Redacted("/a?v=1")), "\"/a?v=…\"");
    }

    proptest! {
        #[test]
        fn no_mac_or_jwt_survives_under_any_name(
            name in "[a-zA-Z0-9_.%;?/-]{0,8}",
            before in "[a-z0-9=&;?]{0,12}",
            after in "[a-z0-9=&;?]{0,12}",
        ) {
            for secret in [MAC, JWT, &MAC.to_uppercase()] {
                for query in [format!("{before}&{name}={secret}&{after}"), format!("{before}{secret}{after}")] {
                    let redacted = redact_query(&query);
                    prop_assert!(!redacted.contains(secret), "{redacted}");
                    let shown = Redacted(&format!("/a?{query}")).to_string();
                    prop_assert!(!shown.contains(secret), "{shown}");
                }
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = (redact_query(&text), Redacted(&text).to_string());
        }
    }
}
