//! Response heads on the wire. Head and body length can only be said here, so that no handler can contradict them.

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, StatusCode};

/// The interim answer that lets a client send the body it holds back.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What a final response head says.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// A final status, not 1xx.
    pub status: StatusCode,
    /// Headers of the answer. `Connection`, `Transfer-Encoding`, `Date` among them are left out: they are this
    /// module's; so is `Content-Length` where `length` is given or the status forbids one.
    pub headers: &'a HeaderMap,
    /// Bytes of the body that follows (or, for HEAD, that GET would bring). `None` writes no length: only for answers
    /// without a body, or when the connection closes behind the body.
    pub length: Option<u64>,
    /// Whether the connection lives on.
    pub keep_alive: bool,
    /// Whether the request was HTTP/1.0. The answer is HTTP/1.1 all the same (RFC 9110 section 2.5), but a 1.0
    /// client must be told that the connection stays.
    pub version_10: bool,
    /// The value of `Date`: IMF-fixdate of now. Empty writes none.
    pub date: &'a str,
}

/// Writes a response head: status line, headers in order, length, date, what becomes of the connection, empty line.
pub fn encode_head(head: &ResponseHead<'_>, out: &mut Vec<u8>) {
    let bodiless = head.status == StatusCode::NO_CONTENT || head.status.is_informational();
    // A 304 may carry the length of the 200 it stands for, but only the handler knows that one.
    let length = head.length.filter(|_| !bodiless && head.status != StatusCode::NOT_MODIFIED);
    let own_length = bodiless || length.is_some();
    status_line(head.status, out);
    for (name, value) in head.headers {
        if !is_ours(name, own_length) {
            line(name.as_str(), value.as_bytes(), out);
        }
    }
    if let Some(length) = length {
        line(CONTENT_LENGTH.as_str(), length.to_string().as_bytes(), out);
    }
    if !head.date.is_empty() {
        line(DATE.as_str(), head.date.as_bytes(), out);
    }
    match (head.keep_alive, head.version_10) {
        (false, _) => line(CONNECTION.as_str(), b"close", out),
        (true, true) => line(CONNECTION.as_str(), b"keep-alive", out),
        (true, false) => {}
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes an interim response head (103, 104), which leaves the final one still to come. Any other status than 1xx
/// writes nothing, because it would be taken for the answer.
pub fn encode_interim(status: StatusCode, headers: &HeaderMap, out: &mut Vec<u8>) {
    if !status.is_informational() {
        return;
    }
    status_line(status, out);
    for (name, value) in headers {
        if !is_ours(name, true) {
            line(name.as_str(), value.as_bytes(), out);
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn is_ours(name: &HeaderName, own_length: bool) -> bool {
    [CONNECTION, TRANSFER_ENCODING, DATE].contains(name) || (own_length && *name == CONTENT_LENGTH)
}

fn status_line(status: StatusCode, out: &mut Vec<u8>) {
    let reason = match status.as_u16() {
        104 => "Upload Resumption Supported",
        _ => status.canonical_reason().unwrap_or_default(),
    };
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn line(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const DAY: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn text(
        status: StatusCode,
        headers: &HeaderMap,
        length: Option<u64>,
        keep_alive: bool,
        version_10: bool,
    ) -> String {
        let mut out = Vec::new();
        encode_head(&ResponseHead { status, headers, length, keep_alive, version_10, date: DAY }, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_head_says_length_date_and_connection_once() {
        let mut headers = HeaderMap::new();
        headers.insert("etag", HeaderValue::from_static("\"x\""));
        headers.append("vary", HeaderValue::from_static("origin"));
        headers.append("vary", HeaderValue::from_static("range"));
        for (name, value) in [(CONTENT_LENGTH, "7"), (CONNECTION, "x"), (TRANSFER_ENCODING, "chunked"), (DATE, "now")] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let expected = format!(
            "HTTP/1.1 200 OK\r\netag: \"x\"\r\nvary: origin\r\nvary: range\r\ncontent-length: 5\r\ndate: {DAY}\r\n\r\n"
        );
        assert_eq!(text(StatusCode::OK, &headers, Some(5), true, false), expected);
    }

    #[test]
    fn the_connection_header_depends_on_the_version() {
        let ends = |keep_alive, version_10| {
            let head = text(StatusCode::CREATED, &HeaderMap::new(), Some(0), keep_alive, version_10);
            head.split_once("GMT\r\n").unwrap().1.to_owned()
        };
        assert_eq!(ends(true, false), "\r\n");
        assert_eq!(ends(true, true), "connection: keep-alive\r\n\r\n");
        assert_eq!(ends(false, false), "connection: close\r\n\r\n");
        assert_eq!(ends(false, true), "connection: close\r\n\r\n");
    }

    #[test]
    fn no_length_where_the_status_forbids_one() {
        for status in [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED] {
            assert!(!text(status, &HeaderMap::new(), Some(0), true, false).contains("content-length"), "{status}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("42"));
        assert!(text(StatusCode::OK, &headers, None, true, false).contains("content-length: 42\r\n"));
        assert!(!text(StatusCode::NO_CONTENT, &headers, None, true, false).contains("content-length"));
    }

    #[test]
    fn interim_heads_carry_only_their_headers() {
        let mut headers = HeaderMap::new();
        headers.insert("upload-draft-interop-version", HeaderValue::from_static("8"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("42"));
        let mut out = Vec::new();
        encode_interim(StatusCode::from_u16(104).unwrap(), &headers, &mut out);
        assert_eq!(out, b"HTTP/1.1 104 Upload Resumption Supported\r\nupload-draft-interop-version: 8\r\n\r\n");
        encode_interim(StatusCode::OK, &headers, &mut out);
        assert!(!String::from_utf8(out).unwrap().contains("200"));
    }
}
