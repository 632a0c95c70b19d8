//! What the headers say about the message itself: length of the body, life of the connection, expectation.

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Version};

use super::{BadRequest, is_token};

/// How a body is delimited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Framing {
    /// Neither `Content-Length` nor `Transfer-Encoding`: a request without a body.
    None,
    /// `Content-Length`, zero included; below 2^63.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

impl Framing {
    /// Whether a byte of body may follow.
    pub(super) fn has_body(self) -> bool {
        !matches!(self, Self::None | Self::Length(0))
    }
}

/// The one framing that the headers can mean.
pub(super) fn of_request(version: Version, headers: &HeaderMap) -> Result<Framing, BadRequest> {
    let coded = headers.contains_key(TRANSFER_ENCODING);
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (Some(_), _) if coded => Err(BadRequest::LengthAndCoding),
        (Some(_), Some(_)) => Err(BadRequest::RepeatedLength),
        (Some(length), None) => parse_length(length.as_bytes()).map(Framing::Length),
        (None, _) if coded => check_coding(version, headers).map(|()| Framing::Chunked),
        (None, _) => Ok(Framing::None),
    }
}

/// One plain decimal number. `str::parse` would take a sign.
fn parse_length(digits: &[u8]) -> Result<u64, BadRequest> {
    // 2^63 - 1, the largest file offset there is, has 19 digits.
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(BadRequest::Length);
    }
    let length = digits.iter().fold(0_u64, |length, digit| length * 10 + u64::from(digit - b'0'));
    if i64::try_from(length).is_ok() { Ok(length) } else { Err(BadRequest::Length) }
}

/// Only `chunked`, once, in HTTP/1.1. What is well formed but not ours is 501, so that the client may try without it.
fn check_coding(version: Version, headers: &HeaderMap) -> Result<(), BadRequest> {
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    let (Some(value), None) = (lines.next(), lines.next()) else { return Err(BadRequest::Coding) };
    if version != Version::HTTP_11 {
        return Err(BadRequest::Coding);
    }
    if value.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let codings: Vec<&[u8]> = value.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii).collect();
    let well_formed = codings.iter().all(|coding| !coding.is_empty() && coding.iter().copied().all(is_token));
    let chunked_before_last = codings.iter().rev().skip(1).any(|coding| coding.eq_ignore_ascii_case(b"chunked"));
    if well_formed && !chunked_before_last { Err(BadRequest::UnknownCoding) } else { Err(BadRequest::Coding) }
}

/// Whether the client lets the connection live on. `close` wins over everything.
pub(super) fn keep_alive(version: Version, headers: &HeaderMap) -> bool {
    let asks = |option: &str| {
        let has = |value: &HeaderValue| {
            value
                .as_bytes()
                .split(|&byte| byte == b',')
                .any(|part| part.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
        };
        headers.get_all(CONNECTION).iter().any(has)
    };
    !asks("close") && (version == Version::HTTP_11 || asks("keep-alive"))
}

/// Whether the client waits for `100 Continue`. HTTP/1.0 has no interim answers: RFC 9110 section 10.1.1 has us ignore
/// the wish there.
pub(super) fn expects_continue(version: Version, headers: &HeaderMap) -> Result<bool, BadRequest> {
    let mut expected = false;
    for value in headers.get_all(EXPECT) {
        if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") {
            return Err(BadRequest::Expectation);
        }
        expected = version == Version::HTTP_11;
    }
    Ok(expected)
}
