//! Which pages of other origins may talk to us: all of them, since a slot's proof and a file's URL are the only keys
//! and there are no cookies.
//!
//! Called by the router on every answer, errors included: without these headers a browser hides from a web client why
//! its upload was refused.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

const METHODS: &str = "OPTIONS, HEAD, GET, PUT, POST, DELETE";
const EXPOSED: &str = "Content-Length, Content-Range, ETag, Accept-Ranges, Last-Modified, Location";
/// Offered when a preflight names no headers, or something that is no header.
const DEFAULT_HEADERS: &str =
    "Authorization, Content-Type, If-Match, If-Modified-Since, If-None-Match, If-Range, Range";
/// Longest list of header names that is echoed.
const MAX_REQUESTED: usize = 2048;

/// Adds the headers that let any page read this answer. May be called twice.
pub fn apply(request: &HeaderMap, response: &mut HeaderMap) {
    match sole(request, &header::ORIGIN) {
        // Browsers take `*` for requests without credentials only, so the origin is mirrored.
        Some(origin) => {
            response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            response.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        None => {
            response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            response.remove(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
        }
    }
    response.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    // Also without an Origin: a cache must not hand the answer for `*` to a page that needs its own name.
    vary_by(response, "Origin");
}

/// All headers of the answer to a preflight (OPTIONS), and to any other OPTIONS.
#[must_use]
pub fn preflight(request: &HeaderMap) -> HeaderMap {
    let mut response = HeaderMap::new();
    apply(request, &mut response);
    response.insert(header::ALLOW, HeaderValue::from_static(METHODS));
    response.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
    response.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed_headers(request));
    // Two hours is the most that Chromium remembers.
    response.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
    vary_by(&mut response, "Access-Control-Request-Headers");
    response
}

/// The headers that the page asks for, where they are header names: clients send headers that we never heard of.
fn allowed_headers(request: &HeaderMap) -> HeaderValue {
    requested_headers(request).unwrap_or(HeaderValue::from_static(DEFAULT_HEADERS))
}

fn requested_headers(request: &HeaderMap) -> Option<HeaderValue> {
    let requested = sole(request, &header::ACCESS_CONTROL_REQUEST_HEADERS)?.to_str().ok()?;
    if requested.len() > MAX_REQUESTED {
        return None;
    }
    let names: Vec<&str> = requested.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    let valid = !names.is_empty() && names.iter().all(|name| HeaderName::from_bytes(name.as_bytes()).is_ok());
    valid.then(|| HeaderValue::try_from(names.join(", ")).ok()).flatten()
}

/// The value of a header that stands there once; these never repeat in a browser's request.
fn sole<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value).filter(|value| !value.is_empty())
}

fn vary_by(response: &mut HeaderMap, name: &'static str) {
    let named = |value: &HeaderValue| {
        value.to_str().is_ok_and(|list| list.split(',').any(|other| other.trim().eq_ignore_ascii_case(name)))
    };
    if !response.get_all(header::VARY).iter().any(named) {
        response.append(header::VARY, HeaderValue::from_static(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn text(headers: &HeaderMap, name: &str) -> String {
        let lines: Vec<_> = headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
        lines.join(" | ")
    }

    #[test]
    fn an_origin_is_mirrored_with_credentials() {
        let mut response = HeaderMap::new();
        apply(&request(&[("origin", "https://chat.example")]), &mut response);
        assert_eq!(text(&response, "access-control-allow-origin"), "https://chat.example");
        assert_eq!(text(&response, "access-control-allow-credentials"), "true");
        assert_eq!(text(&response, "access-control-expose-headers"), EXPOSED);
        assert_eq!(text(&response, "vary"), "Origin");
    }

    /// The page that a browser builds around a sandboxed video asks for its bytes with this origin.
    #[test]
    fn the_origin_of_a_sandboxed_document_is_mirrored() {
        let mut response = HeaderMap::new();
        apply(&request(&[("origin", "null")]), &mut response);
        assert_eq!(text(&response, "access-control-allow-origin"), "null");
    }

    #[test]
    fn without_one_origin_everybody_may_read_without_credentials() {
        for lines in [&[][..], &[("origin", "https://a"), ("origin", "https://b")], &[("origin", "")]] {
            let mut response = HeaderMap::new();
            apply(&request(lines), &mut response);
            assert_eq!(text(&response, "access-control-allow-origin"), "*");
            assert_eq!(text(&response, "access-control-allow-credentials"), "");
            assert_eq!(text(&response, "vary"), "Origin");
        }
    }

    #[test]
    fn applying_twice_changes_nothing() {
        let request = request(&[("origin", "https://chat.example")]);
        let mut response = preflight(&request);
        let once = response.clone();
        apply(&request, &mut response);
        assert_eq!(response, once);
    }

    #[test]
    fn an_existing_vary_is_kept() {
        let mut response = HeaderMap::new();
        response.insert(header::VARY, HeaderValue::from_static("Accept, ORIGIN"));
        apply(&HeaderMap::new(), &mut response);
        assert_eq!(text(&response, "vary"), "Accept, ORIGIN");
    }

    #[test]
    fn a_preflight_gets_what_it_asks_for() {
        let response = preflight(&request(&[
            ("origin", "https://chat.example"),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "authorization,content-type , x-unheard-of"),
        ]));
        assert_eq!(text(&response, "access-control-allow-headers"), "authorization, content-type, x-unheard-of");
        assert_eq!(text(&response, "access-control-allow-methods"), METHODS);
        assert_eq!(text(&response, "access-control-max-age"), "7200");
        assert_eq!(text(&response, "access-control-allow-origin"), "https://chat.example");
        assert_eq!(text(&response, "vary"), "Origin | Access-Control-Request-Headers");
    }

    #[test]
    fn what_is_no_header_name_is_not_echoed() {
        for list in ["", ",", "a b", "x: y", "<script>", "ü", &"x,".repeat(2000)] {
            let response = preflight(&request(&[("access-control-request-headers", list)]));
            assert_eq!(text(&response, "access-control-allow-headers"), DEFAULT_HEADERS, "{list}");
        }
    }

    proptest! {
        #[test]
        fn no_request_panics(origin in "[ -~]{0,40}", list in "[ -~]{0,60}") {
            let response = preflight(&request(&[("origin", &origin), ("access-control-request-headers", &list)]));
            prop_assert!(response.contains_key("access-control-allow-origin"));
            prop_assert!(!text(&response, "access-control-allow-headers").is_empty());
        }
    }
}
