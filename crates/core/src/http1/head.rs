//! [`parse_head`]: the bytes of one request head become a [`Head`].

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version};

use super::framing::{self, Framing};
use super::scan::HeadScan;
use super::{BadRequest, is_token, target};

/// Limits of a head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HeadLimits {
    /// Bytes from the first one to the empty line, both included.
    pub max_bytes: usize,
    /// Header lines.
    pub max_headers: usize,
}

impl Default for HeadLimits {
    /// 64 KiB and 100 headers, several times what browsers behind chatty proxies send.
    fn default() -> Self {
        Self { max_bytes: 64 << 10, max_headers: 100 }
    }
}

/// One parsed request head.
#[derive(Clone, Debug)]
pub struct Head {
    /// Method, target, version (1.0 or 1.1) and headers. The target is a path with query, a URL whose authority is the
    /// one of `Host`, an authority (CONNECT) or `*` (OPTIONS).
    pub request: Request<()>,
    /// How the body is delimited.
    pub framing: Framing,
    /// Whether the client lets the connection live on after this request.
    pub keep_alive: bool,
    /// Whether the client waits for [`super::CONTINUE`] before it sends the body. Never true without a body.
    pub expects_continue: bool,
}

/// Tries to parse a head at the start of `buffer`. `Ok(None)`: more bytes are needed. `Ok(Some((head, consumed)))`:
/// the head took the first `consumed` bytes, the body or the next request follows.
///
/// Each call looks at the whole buffer. Call it only when new bytes came; for clients that may send byte by byte keep
/// a [`HeadScan`] with the connection, which gives the same answers and looks at each byte once.
///
/// # Errors
/// The request is refused. Where the refusal does not need the rest of the head it comes at once.
pub fn parse_head(buffer: &[u8], limits: &HeadLimits) -> Result<Option<(Head, usize)>, BadRequest> {
    HeadScan::new().parse(buffer, limits)
}

/// Checks the shape of a whole first line, without its CRLF. `httparse` reads it again, less strictly.
pub(super) fn check_request_line(line: &[u8]) -> Result<(), BadRequest> {
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(method), Some(raw_target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(BadRequest::RequestLine);
    };
    if method.is_empty() || raw_target.is_empty() || !method.iter().copied().all(is_token) {
        return Err(BadRequest::RequestLine);
    }
    match version {
        b"HTTP/1.1" | b"HTTP/1.0" => Ok(()),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Err(BadRequest::Version),
        _ => Err(BadRequest::RequestLine),
    }
}

/// Gives a whole head its meaning: from the request line, which passed [`check_request_line`], to the empty line.
pub(super) fn interpret(bytes: &[u8], request_line: usize, headers: usize) -> Result<Head, BadRequest> {
    let raw_target = bytes[..request_line].split(|&byte| byte == b' ').nth(1).unwrap_or_default();
    let mut slots = vec![httparse::EMPTY_HEADER; headers];
    let mut parsed = httparse::Request::new(&mut slots);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(end)) if end == bytes.len() => {}
        // Anything shorter would mean that we disagree on where the head ends.
        Ok(_) => return Err(BadRequest::HeaderLine),
        Err(error) => return Err(refusal(error)),
    }
    let method = parsed.method.unwrap_or_default();
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| BadRequest::RequestLine)?;
    let version = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let headers = header_map(parsed.headers)?;
    let uri = target::parse(&method, raw_target)?;
    target::check_host(&uri, version, &headers)?;
    let framing = framing::of_request(version, &headers)?;
    let expects_continue = framing::expects_continue(version, &headers)? && framing.has_body();
    let keep_alive = framing::keep_alive(version, &headers);
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = version;
    *request.headers_mut() = headers;
    Ok(Head { request, framing, keep_alive, expects_continue })
}

fn header_map(parsed: &[httparse::Header<'_>]) -> Result<HeaderMap, BadRequest> {
    let mut headers = HeaderMap::with_capacity(parsed.len());
    for header in parsed {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| BadRequest::HeaderLine)?;
        let value = HeaderValue::from_bytes(header.value).map_err(|_| BadRequest::HeaderLine)?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn refusal(error: httparse::Error) -> BadRequest {
    match error {
        httparse::Error::TooManyHeaders => BadRequest::TooManyHeaders,
        httparse::Error::Version => BadRequest::Version,
        httparse::Error::Token => BadRequest::RequestLine,
        httparse::Error::HeaderName
        | httparse::Error::HeaderValue
        | httparse::Error::NewLine
        | httparse::Error::Status => BadRequest::HeaderLine,
    }
}
