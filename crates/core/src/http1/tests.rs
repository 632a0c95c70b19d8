//! Tables: what is refused and with which status, what is accepted and what it means.

use http::{Method, StatusCode, Version};

use super::{BadRequest, Framing, Head, HeadLimits, parse_head};

fn parse(bytes: impl AsRef<[u8]>) -> Result<Option<(Head, usize)>, BadRequest> {
    parse_head(bytes.as_ref(), &HeadLimits::default())
}

fn accepted(bytes: impl AsRef<[u8]>) -> Head {
    let bytes = bytes.as_ref();
    let (head, consumed) = parse(bytes).unwrap().expect("a whole head");
    assert_eq!(consumed, bytes.len());
    head
}

/// A PUT with these header lines besides Host.
fn put(lines: &str) -> String {
    format!("PUT /a/b HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n")
}

fn get(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\n{lines}\r\n\r\n")
}

#[test]
fn malformed_heads_are_refused_with_their_status() {
    use BadRequest as Bad;
    let long_target = format!("GET /{} HTTP/1.1\r\n", "a".repeat(70_000));
    let long_header = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(70_000));
    let many_headers = get(&["Host: a\r\n", &"X: y\r\n".repeat(99), "X: y"].concat());
    let long_method = format!("{} / HTTP/1.1\r\n", "A".repeat(70_000));
    let table: Vec<(String, Bad, u16)> = [
        // Line ends and bytes that no head may hold.
        ("GET / HTTP/1.1\nHost: a\n\n", Bad::BareLf, 400),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", Bad::BareLf, 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", Bad::BareLf, 400),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Bad::BareLf, 400),
        ("GET / HTTP/1.1\rHost: a\r\r", Bad::BareCr, 400),
        ("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", Bad::BareCr, 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: y\rz\r\n\r\n", Bad::BareCr, 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: y\0z\r\n\r\n", Bad::Control, 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\0: y\r\n\r\n", Bad::Control, 400),
        ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", Bad::Control, 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \x1b[31m\r\n\r\n", Bad::Control, 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: y\x7f\r\n\r\n", Bad::Control, 400),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Bad::EmptyLines, 400),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\u{7c}\x03\x03", Bad::Control, 400),
        // The request line.
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Bad::RequestLine, 400),
        ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", Bad::RequestLine, 400),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", Bad::RequestLine, 400),
        (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", Bad::RequestLine, 400),
        ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", Bad::Control, 400),
        ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", Bad::RequestLine, 400),
        ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", Bad::RequestLine, 400),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", Bad::RequestLine, 400),
        ("GET / HTTP/1.10\r\nHost: a\r\n\r\n", Bad::RequestLine, 400),
        ("GET / HTTP/+1.1\r\nHost: a\r\n\r\n", Bad::RequestLine, 400),
        ("GET /\r\n", Bad::RequestLine, 400),
        ("GET\r\n", Bad::RequestLine, 400),
        ("GET / HTTP/0.9\r\n", Bad::Version, 505),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", Bad::Version, 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Bad::Version, 505),
        // The target.
        ("GET foo HTTP/1.1\r\nHost: a\r\n\r\n", Bad::Target, 400),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", Bad::Target, 400),
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", Bad::Fragment, 400),
        ("GET http://a/#b HTTP/1.1\r\nHost: a\r\n\r\n", Bad::Fragment, 400),
        ("GET ftp://a/b HTTP/1.1\r\nHost: a\r\n\r\n", Bad::Target, 400),
        ("GET http://u@a/b HTTP/1.1\r\nHost: a\r\n\r\n", Bad::Target, 400),
        ("GET http:///b HTTP/1.1\r\nHost: a\r\n\r\n", Bad::Target, 400),
        ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", Bad::OtherHost, 400),
        ("GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n", Bad::OtherHost, 400),
        ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", Bad::Target, 400),
        ("CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", Bad::Target, 400),
        ("CONNECT b:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", Bad::OtherHost, 400),
        // Header lines.
        (&get("Host : a"), Bad::HeaderLine, 400),
        (&get("Host\t: a"), Bad::HeaderLine, 400),
        (&get("Host: a\r\nNo colon here"), Bad::HeaderLine, 400),
        (&get("Host: a\r\nNocolon"), Bad::HeaderLine, 400),
        (&get("Host: a\r\n: y"), Bad::HeaderLine, 400),
        (&get("Host: a\r\nX(y): z"), Bad::HeaderLine, 400),
        (&get("Host: a\r\nÄ: z"), Bad::HeaderLine, 400),
        (&get(" Host: a"), Bad::Folded, 400),
        (&get("Host: a\r\n folded"), Bad::Folded, 400),
        (&get("Host: a\r\n\tfolded: yes"), Bad::Folded, 400),
        // Host.
        (&get("X: y"), Bad::MissingHost, 400),
        ("GET / HTTP/1.1\r\n\r\n", Bad::MissingHost, 400),
        ("GET http://a/ HTTP/1.1\r\n\r\n", Bad::MissingHost, 400),
        (&get("Host: a\r\nHost: a"), Bad::RepeatedHost, 400),
        (&get("Host: a\r\nhOST: b"), Bad::RepeatedHost, 400),
        ("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", Bad::RepeatedHost, 400),
        (&get("Host:"), Bad::Host, 400),
        (&get("Host: a, b"), Bad::Host, 400),
        (&get("Host: a/b"), Bad::Host, 400),
        (&get("Host: u@a"), Bad::Host, 400),
        (&get("Host: a:b"), Bad::Host, 400),
        // Body framing.
        (&put("Content-Length: 5\r\nTransfer-Encoding: chunked"), Bad::LengthAndCoding, 400),
        (&put("Transfer-Encoding: identity\r\nContent-Length: 5"), Bad::LengthAndCoding, 400),
        (&put("Content-Length: 5\r\nContent-Length: 6"), Bad::RepeatedLength, 400),
        (&put("Content-Length: 5\r\ncontent-length: 5"), Bad::RepeatedLength, 400),
        (&put("Content-Length: 5, 5"), Bad::Length, 400),
        (&put("Content-Length: 5 5"), Bad::Length, 400),
        (&put("Content-Length: +5"), Bad::Length, 400),
        (&put("Content-Length: -1"), Bad::Length, 400),
        (&put("Content-Length: 0x5"), Bad::Length, 400),
        (&put("Content-Length: 5.0"), Bad::Length, 400),
        (&put("Content-Length: five"), Bad::Length, 400),
        (&put("Content-Length:"), Bad::Length, 400),
        (&put("Content-Length: ٣"), Bad::Length, 400),
        (&put("Content-Length: 9223372036854775808"), Bad::Length, 400),
        (&put("Content-Length: 18446744073709551621"), Bad::Length, 400),
        (&put("Content-Length: 99999999999999999999999999"), Bad::Length, 400),
        (&put("Transfer-Encoding:"), Bad::Coding, 400),
        (&put("Transfer-Encoding: chunked, chunked"), Bad::Coding, 400),
        (&put("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), Bad::Coding, 400),
        (&put("Transfer-Encoding: chunked, gzip"), Bad::Coding, 400),
        (&put("Transfer-Encoding: chunked;q=1"), Bad::Coding, 400),
        (&put("Transfer-Encoding: \"chunked\""), Bad::Coding, 400),
        (&put("Transfer-Encoding: ,chunked"), Bad::Coding, 400),
        ("PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Bad::Coding, 400),
        (&put("Transfer-Encoding: gzip, chunked"), Bad::UnknownCoding, 501),
        (&put("Transfer-Encoding: identity"), Bad::UnknownCoding, 501),
        (&put("Transfer-Encoding: xchunked"), Bad::UnknownCoding, 501),
        (&put("Content-Length: 5\r\nExpect: bogus"), Bad::Expectation, 417),
        (&put("Content-Length: 5\r\nExpect: 100-continue, x=y"), Bad::Expectation, 417),
        // Size.
        (&long_target, Bad::TargetTooLong, 414),
        (&long_header, Bad::HeadTooLarge, 431),
        (&many_headers, Bad::TooManyHeaders, 431),
        (&long_method, Bad::RequestLine, 400),
    ]
    .into_iter()
    .map(|(bytes, why, status)| (bytes.to_owned(), why, status))
    .collect();
    assert!(table.len() >= 40, "{}", table.len());
    for (bytes, why, status) in table {
        let shown: String = bytes.chars().take(80).collect();
        assert_eq!(parse(&bytes).map(|head| head.map(|_| ())), Err(why), "{shown:?}");
        assert_eq!(why.status().as_u16(), status, "{shown:?}");
    }
}

#[test]
fn ordinary_requests_mean_what_they_say() {
    let head = accepted(put("Content-Length: 12\r\nContent-Type: text/plain"));
    assert_eq!(head.request.method(), Method::PUT);
    assert_eq!(head.request.uri(), "/a/b");
    assert_eq!(head.request.version(), Version::HTTP_11);
    assert_eq!(head.request.headers()["content-type"], "text/plain");
    assert_eq!((head.framing, head.keep_alive, head.expects_continue), (Framing::Length(12), true, false));

    let head = accepted(put("tRANSFER-eNCODING: \tCHUNKED \r\nConnection: TE, Close"));
    assert_eq!((head.framing, head.keep_alive), (Framing::Chunked, false));
    assert_eq!(accepted(get("Host: a")).framing, Framing::None);
    assert_eq!(accepted(put("Content-Length: 0")).framing, Framing::Length(0));
    assert_eq!(accepted(put("Content-Length: 9223372036854775807")).framing, Framing::Length(i64::MAX as u64));
}

#[test]
fn a_request_without_its_last_byte_is_not_there_yet() {
    let whole = put("Content-Length: 12");
    for end in 0..whole.len() {
        assert!(parse(&whole[..end]).unwrap().is_none(), "{end}");
    }
}

#[test]
fn one_empty_line_may_precede_a_request() {
    assert!(parse("\r\n").unwrap().is_none());
    assert_eq!(accepted(format!("\r\n{}", get("Host: a"))).request.uri(), "/");
}

#[test]
fn what_follows_a_head_is_left_alone() {
    let head = put("Content-Length: 4");
    let (_, consumed) = parse(format!("{head}\r\n\0\n")).unwrap().unwrap();
    assert_eq!(consumed, head.len());
}

#[test]
fn http_10_needs_no_host_and_stays_only_if_asked() {
    let head = accepted("PUT /a/b HTTP/1.0\r\nContent-Length: 3\r\n\r\n");
    assert_eq!((head.request.version(), head.framing, head.keep_alive), (Version::HTTP_10, Framing::Length(3), false));
    assert!(accepted("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keep_alive);
    assert!(!accepted("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n").keep_alive);
    assert!(!accepted(get("Host: a\r\nConnection: close\r\nConnection: keep-alive")).keep_alive);
}

#[test]
fn only_a_body_of_http_11_waits_for_continue() {
    assert!(accepted(put("Content-Length: 3\r\nExpect: 100-Continue")).expects_continue);
    assert!(accepted(put("Transfer-Encoding: chunked\r\nExpect: 100-continue")).expects_continue);
    assert!(!accepted(put("Content-Length: 0\r\nExpect: 100-continue")).expects_continue);
    assert!(!accepted("PUT / HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n").expects_continue);
}

#[test]
fn targets_come_in_four_forms() {
    let target = |line: &str, host: &str| {
        accepted(format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n")).request.into_parts().0.uri
    };
    assert_eq!(target("GET //evil/../x?y=1?", "a").path(), "//evil/../x");
    assert_eq!(target("GET /Gr%C3%BC%c3%9fe", "a").path(), "/Gr%C3%BC%c3%9fe");
    assert_eq!(target("GET /Grüße", "a").path(), "/Grüße");
    assert_eq!(target("GET http://A.example/x?y", "a.EXAMPLE:80").path(), "/x");
    assert_eq!(target("GET https://[::1]:5281", "[::1]:5281").path(), "/");
    assert_eq!(target("OPTIONS *", "a").path(), "*");
    assert_eq!(target("CONNECT a:443", "a:443").authority().unwrap(), "a:443");
}

#[test]
fn raw_bytes_in_a_path_are_utf8_or_refused() {
    let refused = parse(b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n").unwrap_err();
    assert_eq!((refused, refused.status()), (BadRequest::RequestLine, StatusCode::BAD_REQUEST));
    let value = accepted(b"GET / HTTP/1.1\r\nHost: a\r\nX: \xff\r\n\r\n");
    assert_eq!(value.request.headers()["x"].as_bytes(), b"\xff");
}

#[test]
fn limits_count_to_the_byte_and_to_the_line() {
    let bytes = get("Host: a\r\nX: y");
    let exact = HeadLimits { max_bytes: bytes.len(), max_headers: 2 };
    assert!(parse_head(bytes.as_bytes(), &exact).unwrap().is_some());
    let short = HeadLimits { max_bytes: bytes.len() - 1, ..exact };
    assert_eq!(parse_head(bytes.as_bytes(), &short).unwrap_err(), BadRequest::HeadTooLarge);
    let few = HeadLimits { max_headers: 1, ..exact };
    assert_eq!(parse_head(bytes.as_bytes(), &few).unwrap_err(), BadRequest::TooManyHeaders);
}
