//! `multipart/form-data` with one file in it, as it arrives (RFC 7578), without IO.
//!
//! [`Form`] takes the pieces of a body and gives the bytes of the one field that is wanted. Other fields are stepped
//! over. Memory is bounded by one piece and one part's head, whatever is sent; everything that is not the file may be
//! [`Form::MOST_OVERHEAD`] in all. Called by `upload::post`.

mod disposition;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use memchr::memmem::Finder;

use disposition::{file_name, parameter};

/// One form on its way in.
#[derive(Debug)]
pub struct Form {
    /// CRLF, two dashes, the boundary.
    delimiter: Finder<'static>,
    field: &'static str,
    state: State,
    /// What came and is not given out yet.
    rest: Bytes,
    overhead: usize,
}

/// What is next.
#[derive(Debug, Eq, PartialEq)]
pub enum Step {
    /// Nothing until another piece is fed.
    More,
    /// The wanted file begins.
    File(FilePart),
    /// Some of its bytes.
    Data(Bytes),
    /// The form is complete. What is fed from now on is ignored, within the same bound.
    End,
}

/// What a form says of its file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FilePart {
    /// Last element of the name that the client gave; may be anything else that a client makes up.
    pub name: String,
    /// Declared type.
    pub media_type: Option<String>,
}

/// Why a form cannot be used. The client gets 400.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidForm {
    /// `Content-Type` names no boundary, or an impossible one.
    #[error("the form names no boundary")]
    NoBoundary,
    /// A part's head cannot be read.
    #[error("a part of the form is malformed")]
    Part,
    /// What follows a boundary is neither another part nor the end.
    #[error("a boundary of the form is malformed")]
    Boundary,
    /// More than [`Form::MOST_OVERHEAD`] besides the file.
    #[error("the form holds more than 64 KiB besides a file in its field `file`")]
    Overhead,
    /// The wanted field is not there, or is no file.
    #[error("the form has no file in its field `file`")]
    NoFile,
    /// The wanted field is there twice.
    #[error("the form has more than one file")]
    TwoFiles,
    /// The body ended before the form did.
    #[error("the form is not complete")]
    Unfinished,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Before the first boundary.
    Preamble,
    /// Right behind a boundary.
    Boundary { seen: bool },
    /// In a part's head.
    Head { seen: bool },
    /// In the wanted file.
    File,
    /// In another field.
    Other { seen: bool },
    /// Behind the last boundary.
    Epilogue,
}

impl Form {
    /// The most that a form may hold besides its file.
    pub const MOST_OVERHEAD: usize = 64 << 10;
    /// The longest head of a part.
    const MOST_HEAD: usize = 8 << 10;
    const MOST_HEADERS: usize = 16;

    /// Whether a `Content-Type` says that the body is a form.
    #[must_use]
    pub fn is_announced(content_type: Option<&HeaderValue>) -> bool {
        let text = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
        text.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case("multipart/form-data"))
    }

    /// A form of this `Content-Type`, of which `field` is wanted.
    ///
    /// # Errors
    /// There is no boundary in it.
    pub fn new(content_type: &str, field: &'static str) -> Result<Self, InvalidForm> {
        let boundary = parameter(content_type, "boundary").ok().flatten().ok_or(InvalidForm::NoBoundary)?;
        // RFC 2046 section 5.1.1; all clients keep to it.
        if !(1..=70).contains(&boundary.len()) || !boundary.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(InvalidForm::NoBoundary);
        }
        let delimiter = Finder::new(&format!("\r\n--{boundary}")).into_owned();
        // The first boundary has no line before it; with this, it is like all others.
        Ok(Self { delimiter, field, state: State::Preamble, rest: Bytes::from_static(b"\r\n"), overhead: 0 })
    }

    /// Takes the next piece of the body.
    pub fn feed(&mut self, piece: Bytes) {
        self.rest = if self.rest.is_empty() { piece } else { [&self.rest[..], &piece].concat().into() };
    }

    /// What the bytes so far mean. To be called until it says [`Step::More`].
    ///
    /// # Errors
    /// The form cannot be used; it says so again when asked again.
    pub fn step(&mut self) -> Result<Step, InvalidForm> {
        loop {
            let step = match self.state {
                State::Preamble => self.skip(false)?,
                State::Other { seen } => self.skip(seen)?,
                State::File => self.file_bytes(),
                State::Boundary { seen } => self.boundary(seen)?,
                State::Head { seen } => self.head(seen)?,
                State::Epilogue => {
                    let ignored = std::mem::take(&mut self.rest);
                    self.note_overhead(ignored.len())?;
                    return Ok(Step::End);
                }
            };
            if let Some(step) = step {
                if step == Step::More {
                    // What is left is less than a head, and would keep all of its piece until the next one comes.
                    self.rest = Bytes::copy_from_slice(&self.rest);
                }
                return Ok(step);
            }
        }
    }

    /// Steps over what nobody wants, up to the next boundary.
    fn skip(&mut self, seen: bool) -> Result<Option<Step>, InvalidForm> {
        let (skipped, is_last) = self.cut();
        self.note_overhead(skipped.len())?;
        Ok(if is_last { self.go(State::Boundary { seen }) } else { Some(Step::More) })
    }

    fn file_bytes(&mut self) -> Option<Step> {
        let (data, is_last) = self.cut();
        if is_last {
            self.state = State::Boundary { seen: true };
        }
        match (data.is_empty(), is_last) {
            (false, _) => Some(Step::Data(data)),
            (true, true) => None,
            (true, false) => Some(Step::More),
        }
    }

    /// Takes off what certainly belongs to the current part; true when the boundary behind it was taken off too.
    fn cut(&mut self) -> (Bytes, bool) {
        if let Some(end) = self.delimiter.find(&self.rest) {
            let data = self.rest.split_to(end);
            drop(self.rest.split_to(self.delimiter.needle().len()));
            return (data, true);
        }
        let kept = begun(&self.rest, self.delimiter.needle());
        (self.rest.split_to(self.rest.len() - kept), false)
    }

    fn boundary(&mut self, seen: bool) -> Result<Option<Step>, InvalidForm> {
        // No blanks behind it, as gateways of e-mail may add: no HTTP client does.
        match &self.rest[..self.rest.len().min(2)] {
            [] | [b'\r' | b'-'] => Ok(Some(Step::More)),
            b"\r\n" => {
                drop(self.rest.split_to(2));
                Ok(self.go(State::Head { seen }))
            }
            b"--" if seen => Ok(self.go(State::Epilogue)),
            b"--" => Err(InvalidForm::NoFile),
            _ => Err(InvalidForm::Boundary),
        }
    }

    fn head(&mut self, seen: bool) -> Result<Option<Step>, InvalidForm> {
        let mut headers = [httparse::EMPTY_HEADER; Self::MOST_HEADERS];
        let status = httparse::parse_headers(&self.rest, &mut headers).map_err(|_| InvalidForm::Part)?;
        let httparse::Status::Complete((length, headers)) = status else {
            return if self.rest.len() > Self::MOST_HEAD { Err(InvalidForm::Part) } else { Ok(Some(Step::More)) };
        };
        let text = |name: http::HeaderName| {
            let mut values = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name.as_str()));
            let value = values.next().map(|header| String::from_utf8_lossy(header.value).into_owned());
            if values.next().is_some() { Err(InvalidForm::Part) } else { Ok(value) }
        };
        if length > Self::MOST_HEAD {
            return Err(InvalidForm::Part);
        }
        let disposition = text(header::CONTENT_DISPOSITION)?.ok_or(InvalidForm::Part)?;
        let media_type = text(header::CONTENT_TYPE)?;
        let name = parameter(&disposition, "name")?.ok_or(InvalidForm::Part)?;
        let is_wanted = name == self.field;
        if is_wanted && seen {
            return Err(InvalidForm::TwoFiles);
        }
        let file = if is_wanted { Some(file_name(&disposition)?.ok_or(InvalidForm::NoFile)?) } else { None };
        self.note_overhead(length)?;
        drop(self.rest.split_to(length));
        let Some(name) = file else { return Ok(self.go(State::Other { seen })) };
        self.state = State::File;
        Ok(Some(Step::File(FilePart { name, media_type })))
    }

    fn go(&mut self, state: State) -> Option<Step> {
        self.state = state;
        None
    }

    fn note_overhead(&mut self, bytes: usize) -> Result<(), InvalidForm> {
        self.overhead += bytes;
        if self.overhead > Self::MOST_OVERHEAD { Err(InvalidForm::Overhead) } else { Ok(()) }
    }
}

/// How many of the last bytes may be the beginning of `needle`.
fn begun(bytes: &[u8], needle: &[u8]) -> usize {
    let most = bytes.len().min(needle.len() - 1);
    // A boundary's only line break is its first: nothing can begin elsewhere.
    let tail = &bytes[bytes.len() - most..];
    memchr::memrchr(b'\r', tail).map_or(0, |at| if needle.starts_with(&tail[at..]) { most - at } else { 0 })
}
