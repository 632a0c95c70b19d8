//! [`BodyDecoder`]: where the body's bytes lie in what arrived.
//!
//! It never copies and never holds bytes: the answer is a range of the caller's input. Chunk framing is read strictly:
//! hexadecimal digits alone, CRLF alone; extensions and trailers are bounded, checked and dropped.

use super::{Framing, is_text, is_token};

/// Most bytes of chunk extensions and trailers in one body, together: they carry nothing that we use.
const MAX_EXTRA: u32 = 8 << 10;

/// Most digits of a chunk size: 64 bits.
const MAX_DIGITS: u8 = 16;

/// Decodes one body out of what arrived.
#[derive(Clone, Debug)]
pub struct BodyDecoder {
    state: State,
    /// Bytes of extensions and trailers so far.
    extra: u32,
}

/// What [`BodyDecoder::decode`] found at the start of its input.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decoded {
    /// The first `consumed` bytes (all there were) are framing; more input is needed.
    NeedMore {
        /// Bytes to drop.
        consumed: usize,
    },
    /// The body goes on with `input[skip..skip + len]`; `skip + len` bytes are used up. `len` is never 0.
    Data {
        /// Bytes of framing before the data.
        skip: usize,
        /// Bytes of body.
        len: usize,
    },
    /// The body is over behind the first `consumed` bytes, which are framing.
    Done {
        /// Bytes to drop; what follows belongs to the next request.
        consumed: usize,
    },
}

/// Why a chunked body is refused. `Display` is short and stable: it may be sent to the client, with 400.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", self.as_str())]
#[non_exhaustive]
pub enum BadChunk {
    /// The chunk size is missing, signed, spaced, prefixed or otherwise not hexadecimal.
    Size,
    /// The chunk size is 2^63 or more.
    TooLarge,
    /// A line does not end in CRLF, or holds a control character.
    Line,
    /// A trailer is not `name: value`.
    Trailer,
    /// More than 8 KiB of extensions and trailers.
    TooMuchExtra,
}

impl BadChunk {
    /// The stable text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Size => "malformed chunk size",
            Self::TooLarge => "chunk size too large",
            Self::Line => "malformed line in chunk framing",
            Self::Trailer => "malformed trailer",
            Self::TooMuchExtra => "too many chunk extensions or trailers",
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Bytes left of a `Content-Length` body.
    Length(u64),
    Size {
        value: u64,
        digits: u8,
    },
    Extension {
        size: u64,
    },
    SizeLf {
        size: u64,
    },
    /// Bytes left of this chunk.
    Data(u64),
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
    Broken(BadChunk),
}

impl BodyDecoder {
    /// Starts at the first byte behind the head.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(left) => State::Length(left),
            Framing::Chunked => State::Size { value: 0, digits: 0 },
        };
        Self { state, extra: 0 }
    }

    /// Whether the body is over. A chunked body is over only behind its last line, not with its last byte of data.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Bytes of body still to come, when known.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// Notes that the next `bytes` of a body of known length went another way than through [`BodyDecoder::decode`];
    /// returns how many that were. None of a chunked one: its framing is among its bytes.
    pub fn skip(&mut self, bytes: u64) -> u64 {
        let State::Length(left) = self.state else { return 0 };
        let skipped = bytes.min(left);
        self.took(skipped);
        skipped
    }

    /// Says what the start of `input` is. Call it again with what follows the used-up bytes, and when new bytes came.
    ///
    /// # Errors
    /// The framing is malformed. There is no way back: every later call fails alike.
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, BadChunk> {
        let mut at = 0;
        loop {
            match self.state {
                State::Done => return Ok(Decoded::Done { consumed: at }),
                State::Broken(why) => return Err(why),
                State::Length(left) | State::Data(left) if at < input.len() => {
                    let len = usize::try_from(left).unwrap_or(usize::MAX).min(input.len() - at);
                    self.took(len as u64);
                    return Ok(Decoded::Data { skip: at, len });
                }
                _ => {}
            }
            let Some(&byte) = input.get(at) else { return Ok(Decoded::NeedMore { consumed: at }) };
            self.step(byte).inspect_err(|&why| self.state = State::Broken(why))?;
            at += 1;
        }
    }

    fn took(&mut self, len: u64) {
        self.state = match self.state {
            State::Length(left) if left == len => State::Done,
            State::Length(left) => State::Length(left - len),
            State::Data(left) if left == len => State::DataCr,
            State::Data(left) => State::Data(left - len),
            other => other,
        };
    }

    /// Moves over one byte of framing.
    fn step(&mut self, byte: u8) -> Result<(), BadChunk> {
        self.state = match (self.state, byte) {
            (State::Size { value: size, digits: 1.. }, b';') => self.text(byte, State::Extension { size })?,
            (State::Size { value, digits }, _) => size(value, digits, byte)?,
            (State::Extension { size }, b'\r') => State::SizeLf { size },
            (State::Extension { .. }, _) => self.text(byte, self.state)?,
            (State::SizeLf { size: 0 }, b'\n') => State::TrailerStart,
            (State::SizeLf { size }, b'\n') => State::Data(size),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { value: 0, digits: 0 },
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::TrailerName, b':') => self.text(byte, State::TrailerValue)?,
            (State::TrailerStart | State::TrailerName, _) if is_token(byte) => self.text(byte, State::TrailerName)?,
            (State::TrailerStart | State::TrailerName, _) => return Err(BadChunk::Trailer),
            (State::TrailerValue, b'\r') => State::TrailerLf,
            (State::TrailerValue, _) => self.text(byte, State::TrailerValue)?,
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::EndLf, b'\n') => State::Done,
            _ => return Err(BadChunk::Line),
        };
        Ok(())
    }

    /// Counts one byte of an extension or trailer.
    fn text(&mut self, byte: u8, next: State) -> Result<State, BadChunk> {
        self.extra += 1;
        match () {
            () if !is_text(byte) => Err(BadChunk::Line),
            () if self.extra > MAX_EXTRA => Err(BadChunk::TooMuchExtra),
            () => Ok(next),
        }
    }
}

/// One byte of a chunk-size line before its extensions.
fn size(value: u64, digits: u8, byte: u8) -> Result<State, BadChunk> {
    let digit = match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        b'\r' if digits > 0 => return Ok(State::SizeLf { size: value }),
        _ => return Err(BadChunk::Size),
    };
    if digits == MAX_DIGITS {
        return Err(BadChunk::TooLarge);
    }
    // A multiple of 16 below 2^63 has room for one more digit.
    let shifted = value.checked_mul(16).filter(|shifted| i64::try_from(*shifted).is_ok());
    let value = shifted.ok_or(BadChunk::TooLarge)? + u64::from(digit);
    Ok(State::Size { value, digits: digits + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Body and number of bytes used, for an input that holds a whole body.
    fn whole(input: &[u8]) -> Result<(Vec<u8>, usize), BadChunk> {
        let mut decoder = BodyDecoder::new(Framing::Chunked);
        let (mut body, mut at) = (Vec::new(), 0);
        loop {
            match decoder.decode(&input[at..])? {
                Decoded::Data { skip, len } => {
                    body.extend_from_slice(&input[at + skip..at + skip + len]);
                    at += skip + len;
                }
                Decoded::Done { consumed } => return Ok((body, at + consumed)),
                Decoded::NeedMore { consumed } => panic!("not whole: {consumed} of {} used", input.len() - at),
            }
        }
    }

    #[test]
    fn chunks_become_one_body() {
        let input = b"5\r\nhello\r\n1;ext=\"a;b\"\r\n \r\n005\r\nworld\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\nGET /";
        assert_eq!(whole(input), Ok((b"hello world".to_vec(), input.len() - 5)));
        assert_eq!(whole(b"0\r\n\r\n"), Ok((Vec::new(), 5)));
        assert_eq!(whole(b"A\r\n0123456789\r\n0\r\n\r\n"), Ok((b"0123456789".to_vec(), 20)));
    }

    #[test]
    fn malformed_chunks_are_refused() {
        let table: [(&[u8], BadChunk); 32] = [
            (b"\r\n", BadChunk::Size),
            (b"+5\r\nhello\r\n", BadChunk::Size),
            (b"-5\r\nhello\r\n", BadChunk::Size),
            (b" 5\r\nhello\r\n", BadChunk::Size),
            (b"5 \r\nhello\r\n", BadChunk::Size),
            (b"5 ;a\r\nhello\r\n", BadChunk::Size),
            (b"0x5\r\nhello\r\n", BadChunk::Size),
            (b"g\r\n", BadChunk::Size),
            (b";a\r\n", BadChunk::Size),
            (b"5_0\r\n", BadChunk::Size),
            (b"5\nhello\r\n", BadChunk::Size),
            (b"8000000000000000\r\n", BadChunk::TooLarge),
            (b"ffffffffffffffff\r\n", BadChunk::TooLarge),
            (b"10000000000000005\r\n", BadChunk::TooLarge),
            (b"00000000000000005\r\n", BadChunk::TooLarge),
            (b"5\rhello\r\n", BadChunk::Line),
            (b"5\r\nhello\n", BadChunk::Line),
            (b"5\r\nhello\r\r\n", BadChunk::Line),
            (b"5\r\nhelloX\r\n", BadChunk::Line),
            (b"5\r\nhello0\r\n\r\n", BadChunk::Line),
            (b"5;a\nhello", BadChunk::Line),
            (b"5;a\rb\r\nhello", BadChunk::Line),
            (b"5;\0\r\nhello", BadChunk::Line),
            (b"0\r\n\n", BadChunk::Trailer),
            (b"0\r\n\r\r\n", BadChunk::Line),
            (b"0\r\nX: y\n\r\n", BadChunk::Line),
            (b"0\r\nX: \0\r\n\r\n", BadChunk::Line),
            (b"0\r\nX : y\r\n\r\n", BadChunk::Trailer),
            (b"0\r\n: y\r\n\r\n", BadChunk::Trailer),
            (b"0\r\nX\r\n\r\n", BadChunk::Trailer),
            (b"0\r\nX: y\r\n folded\r\n\r\n", BadChunk::Trailer),
            (b"0\r\nGET / HTTP/1.1\r\n", BadChunk::Trailer),
        ];
        for (input, why) in table {
            assert_eq!(whole(input), Err(why), "{:?}", String::from_utf8_lossy(input));
        }
    }

    #[test]
    fn extensions_and_trailers_have_one_budget() {
        let extension = format!(";{}", "a".repeat(4 << 10));
        let input = |trailer: usize| format!("1{extension}\r\nx\r\n0\r\nX:{}\r\n\r\n", "y".repeat(trailer));
        assert!(whole(input(4 << 10).as_bytes()).is_err());
        assert!(whole(input(4090).as_bytes()).is_ok());
        let endless = "1;a\r\nx\r\n".repeat(5000);
        assert_eq!(whole(endless.as_bytes()), Err(BadChunk::TooMuchExtra));
    }

    #[test]
    fn a_known_length_ends_with_its_last_byte() {
        let mut decoder = BodyDecoder::new(Framing::Length(5));
        assert_eq!(decoder.decode(b""), Ok(Decoded::NeedMore { consumed: 0 }));
        assert_eq!(decoder.decode(b"hel"), Ok(Decoded::Data { skip: 0, len: 3 }));
        assert_eq!((decoder.remaining(), decoder.is_done()), (Some(2), false));
        assert_eq!(decoder.decode(b"loGET /"), Ok(Decoded::Data { skip: 0, len: 2 }));
        assert_eq!((decoder.remaining(), decoder.is_done()), (Some(0), true));
        assert_eq!(decoder.decode(b"GET /"), Ok(Decoded::Done { consumed: 0 }));
    }

    #[test]
    fn no_body_is_done_at_once() {
        for framing in [Framing::None, Framing::Length(0)] {
            assert!(BodyDecoder::new(framing).is_done());
        }
        assert_eq!(BodyDecoder::new(Framing::Chunked).remaining(), None);
    }

    #[test]
    fn a_refused_body_stays_refused() {
        let mut decoder = BodyDecoder::new(Framing::Chunked);
        assert_eq!(decoder.decode(b"x"), Err(BadChunk::Size));
        assert_eq!(decoder.decode(b"0\r\n\r\n"), Err(BadChunk::Size));
        assert!(!decoder.is_done());
    }
}
