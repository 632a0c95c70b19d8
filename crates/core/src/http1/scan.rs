//! [`HeadScan`]: finds the end of a request head, looking at each byte once.
//!
//! It refuses on the spot what can never become a request (a bare LF, a control byte, a wrong version), because a
//! client that waits after such a head would otherwise hang until its time-out. `httparse` sees only whole heads that
//! passed here: alone it would accept bare LF and any number of leading empty lines.

use std::ops::Range;

use super::head::{self, Head, HeadLimits};
use super::{BadRequest, is_token};

/// No method in any registry is half as long; a first line without a space beyond this is no request.
const MAX_METHOD: usize = 64;

/// Remembers how far the head at the start of a growing buffer was examined, so that a head that arrives byte by byte
/// costs time in proportion to its length.
#[derive(Clone, Debug, Default)]
pub struct HeadScan {
    /// First byte that was not examined yet.
    at: usize,
    line_start: usize,
    request_line: Option<Range<usize>>,
    headers: usize,
}

impl HeadScan {
    /// Starts before the first byte of a head.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Like [`super::parse_head`], for a buffer that only grew since the last call on this scan. After a head was
    /// returned and its bytes were removed, the scan starts anew by itself.
    ///
    /// # Errors
    /// The request is refused; the scan must not be used again.
    pub fn parse(&mut self, buffer: &[u8], limits: &HeadLimits) -> Result<Option<(Head, usize)>, BadRequest> {
        // Never looking beyond the limit makes the answer independent of how the bytes were cut on the way.
        let window = &buffer[..buffer.len().min(limits.max_bytes)];
        let Some(end) = self.find_end(window, limits)? else {
            self.check_unfinished(window)?;
            return if window.len() < limits.max_bytes { Ok(None) } else { Err(self.too_large(window)) };
        };
        let scan = std::mem::take(self);
        let request_line = scan.request_line.ok_or(BadRequest::RequestLine)?;
        let start = request_line.start;
        let head = head::interpret(&window[start..end], request_line.len(), scan.headers)?;
        Ok(Some((head, end)))
    }

    /// The position behind the empty line that ends the head.
    fn find_end(&mut self, window: &[u8], limits: &HeadLimits) -> Result<Option<usize>, BadRequest> {
        while let Some(&byte) = window.get(self.at) {
            match byte {
                b'\r' => match window.get(self.at + 1) {
                    None => return Ok(None),
                    Some(b'\n') => {
                        let line = self.line_start..self.at;
                        self.at += 2;
                        self.line_start = self.at;
                        if self.line_ends_head(window, line, limits)? {
                            return Ok(Some(self.at));
                        }
                        continue;
                    }
                    Some(_) => return Err(BadRequest::BareCr),
                },
                b'\n' => return Err(BadRequest::BareLf),
                b'\t' if self.request_line.is_some() => {}
                0..=0x1f | 0x7f => return Err(BadRequest::Control),
                _ => {}
            }
            if self.at == self.line_start && self.request_line.is_some() && matches!(byte, b' ' | b'\t') {
                return Err(BadRequest::Folded);
            }
            self.at += 1;
        }
        Ok(None)
    }

    /// Takes one whole line; true when it is the empty one behind the headers.
    fn line_ends_head(&mut self, window: &[u8], line: Range<usize>, limits: &HeadLimits) -> Result<bool, BadRequest> {
        match (&self.request_line, line.is_empty()) {
            (Some(_), true) => return Ok(true),
            (Some(_), false) => {
                self.headers += 1;
                if self.headers > limits.max_headers {
                    return Err(BadRequest::TooManyHeaders);
                }
            }
            (None, true) if line.start == 0 => {}
            (None, true) => return Err(BadRequest::EmptyLines),
            (None, false) => {
                head::check_request_line(&window[line.clone()])?;
                self.request_line = Some(line);
            }
        }
        Ok(false)
    }

    /// Refuses a first line that is not even the beginning of one: a TLS handshake, noise without an end.
    fn check_unfinished(&self, window: &[u8]) -> Result<(), BadRequest> {
        if self.request_line.is_some() {
            return Ok(());
        }
        let line = &window[self.line_start..self.at];
        let method = line.iter().take(MAX_METHOD + 1).position(|&byte| byte == b' ').unwrap_or(line.len());
        let hopeless = method > MAX_METHOD || line.starts_with(b" ") || !line[..method].iter().copied().all(is_token);
        if hopeless { Err(BadRequest::RequestLine) } else { Ok(()) }
    }

    fn too_large(&self, window: &[u8]) -> BadRequest {
        match &self.request_line {
            Some(_) => BadRequest::HeadTooLarge,
            None if window[self.line_start..].contains(&b' ') => BadRequest::TargetTooLong,
            None => BadRequest::RequestLine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 64 KiB, one byte at a time: quadratic work would be 2 * 10^9 steps.
    #[test]
    fn a_head_that_arrives_byte_by_byte_is_looked_at_once() {
        let mut bytes = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
        while bytes.len() < 63 << 10 {
            bytes.extend_from_slice(b"X-Filler: 0123456789012345678901234567890123456789\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        let limits = HeadLimits { max_bytes: 64 << 10, max_headers: 2000 };
        let mut scan = HeadScan::new();
        for end in 0..bytes.len() {
            assert!(scan.parse(&bytes[..end], &limits).unwrap().is_none(), "{end}");
            assert!(end - scan.at <= 1, "at {end} the scan stands at {}", scan.at);
        }
        let (head, consumed) = scan.parse(&bytes, &limits).unwrap().unwrap();
        assert_eq!((consumed, head.request.headers().contains_key("x-filler")), (bytes.len(), true));
    }

    #[test]
    fn hopeless_beginnings_are_refused_before_their_line_ends() {
        let hopeless: [&[u8]; 7] =
            [b"\x16\x03\x01\x02\x00", b"GET\t/", b"\xff\xfe\xfd", b"\n", b"\r\r", b" GET", &[b'A'; MAX_METHOD + 1]];
        for bytes in hopeless {
            let refused = HeadScan::new().parse(bytes, &HeadLimits::default()).unwrap_err();
            assert_eq!(refused.status(), http::StatusCode::BAD_REQUEST, "{bytes:?}");
        }
    }

    #[test]
    fn a_wrong_version_does_not_wait_for_the_headers() {
        let refused = HeadScan::new().parse(b"GET / HTTP/3.0\r\n", &HeadLimits::default()).unwrap_err();
        assert_eq!(refused, BadRequest::Version);
    }

    #[test]
    fn one_scan_serves_a_whole_connection() {
        let mut buffer = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
        let mut scan = HeadScan::new();
        for path in ["/1", "/2"] {
            let (head, consumed) = scan.parse(&buffer, &HeadLimits::default()).unwrap().unwrap();
            assert_eq!(head.request.uri(), path);
            buffer.drain(..consumed);
        }
        assert!(scan.parse(&buffer, &HeadLimits::default()).unwrap().is_none());
    }
}
