//! `put`: uploads one file into a slot.
//!
//! It knows no secret: a [`Slot`] comes signed, from `sign` or from an XMPP server. Called by `cli`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use hfs_core::media;
use http::header;
use ureq::SendBody;

use super::client::{self, ClientError, ClientOptions, Direction, Refusal};

/// Above this, the server is asked before the bytes are sent (`Expect: 100-continue`): a refusal then costs nothing,
/// and is not lost in a connection that breaks while bytes are still on their way.
const ASK_FIRST: u64 = 1 << 20;

/// A place to upload to, as an XMPP server hands it out.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Slot {
    /// Where the bytes go, with its proof.
    pub put_url: String,
    /// Where they can be fetched afterwards.
    pub get_url: String,
    /// Headers of the PUT: `Authorization`, a signed `Content-Type`.
    pub headers: Vec<(String, String)>,
}

impl Slot {
    /// The slot of a bare PUT URL: its GET URL is the same without the query.
    #[must_use]
    pub fn from_put_url(put_url: &str) -> Self {
        let get_url = put_url.split(['?', '#']).next().unwrap_or(put_url);
        Self { put_url: put_url.to_owned(), get_url: get_url.to_owned(), headers: Vec::new() }
    }
}

impl std::fmt::Debug for Slot {
    /// Without the proof.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("get_url", &self.get_url).finish_non_exhaustive()
    }
}

/// How to upload.
#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    /// Declared media type; by default the slot's, else what the file's name says.
    pub media_type: Option<String>,
    /// The connection.
    pub client: ClientOptions,
}

/// Why a file was not uploaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PutError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A directory, a pipe, a device: nothing with a length that can be announced.
    #[error("{} is no regular file", path.display())]
    NotAFile {
        /// What was given.
        path: PathBuf,
    },
    /// No answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The server said no.
    #[error("not uploaded, {0}")]
    Refused(Refusal),
    /// The result could not be printed; the file is uploaded.
    #[error("uploaded to {get_url}, but could not print it")]
    Print {
        /// Where the file is.
        get_url: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// Uploads `file` and prints its GET URL.
///
/// # Errors
/// Nothing is uploaded then, except where the connection broke after the last byte: the same PUT can be repeated.
pub fn put(file: &Path, slot: &Slot, options: &PutOptions, out: &mut dyn Write) -> Result<(), PutError> {
    let (source, size) = open(file)?;
    let agent = client::agent(&options.client, Direction::Put)?;
    let mut request = agent.put(&slot.put_url).header(header::CONTENT_LENGTH, size.to_string());
    for (name, value) in slot.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("content-type")) {
        request = request.header(name, value);
    }
    request = request.header(header::CONTENT_TYPE, media_type(file, slot, options));
    if size >= ASK_FIRST {
        request = request.header(header::EXPECT, "100-continue");
    }
    let bar = client::bar(&options.client, Some(size), 0);
    let mut body = bar.wrap_read(Exactly { source, left: size });
    let answer = request
        .send(SendBody::from_reader(&mut body))
        .map_err(|error| ClientError::unreachable(&slot.put_url, error))?;
    if !answer.status().is_success() {
        return Err(PutError::Refused(client::refusal(answer, Direction::Put)));
    }
    bar.finish();
    writeln!(out, "{}", slot.get_url).map_err(|source| PutError::Print { get_url: slot.get_url.clone(), source })
}

fn open(path: &Path) -> Result<(File, u64), PutError> {
    let read = |source| PutError::Read { path: path.to_owned(), source };
    let metadata = std::fs::metadata(path).map_err(read)?;
    // Asked before it is opened: opening a pipe would wait for its writer.
    if !metadata.is_file() {
        return Err(PutError::NotAFile { path: path.to_owned() });
    }
    let file = File::open(path).map_err(read)?;
    let size = file.metadata().map_err(read)?.len();
    Ok((file, size))
}

fn media_type(file: &Path, slot: &Slot, options: &PutOptions) -> String {
    let signed = || slot.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let named = || file.file_name().map(|name| media::type_of_name(&name.to_string_lossy()));
    match &options.media_type {
        Some(given) => given.clone(),
        None => match signed() {
            Some((_, signed)) => signed.clone(),
            None => named().unwrap_or(media::OCTET_STREAM).to_owned(),
        },
    }
}

/// Reads the announced number of bytes, no more even if the file grows, and fails where it has become shorter.
#[derive(Debug)]
struct Exactly<R> {
    source: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let read = self.source.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was read"));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::scripted::{Answer, Request, Scripted};

    fn quiet() -> PutOptions {
        PutOptions { client: ClientOptions { quiet: true, ..ClientOptions::default() }, ..PutOptions::default() }
    }

    fn file(dir: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Uploads `bytes` to a server that gives `answer`; what was printed, and what the server saw.
    fn upload(bytes: &[u8], answer: Answer) -> (Result<String, PutError>, Vec<Request>) {
        let dir = tempfile::tempdir().unwrap();
        let path = file(&dir, "cat.png", bytes);
        let server = Scripted::start(vec![answer]);
        let slot = Slot::from_put_url(&server.url("/a/cat.png?v=0123"));
        let mut out = Vec::new();
        let result = put(&path, &slot, &quiet(), &mut out).map(|()| String::from_utf8(out).unwrap());
        (result, server.requests())
    }

    #[test]
    fn an_upload_announces_its_length_and_type_and_prints_the_get_url() {
        let (printed, seen) = upload(b"meow", Answer::status("201 Created", ""));
        let (head, body) = &seen[0];
        assert!(head.starts_with("PUT /a/cat.png?v=0123 HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("content-length: 4\r\n") && head.contains("content-type: image/png\r\n"), "{head}");
        assert!(!head.contains("transfer-encoding") && !head.contains("expect"), "{head}");
        assert_eq!(body, b"meow");
        let printed = printed.unwrap();
        assert!(printed.starts_with("http://127.0.0.1:") && printed.ends_with("/a/cat.png\n"), "{printed}");
    }

    #[test]
    fn an_empty_file_is_uploaded() {
        let (printed, seen) = upload(b"", Answer::status("201 Created", ""));
        assert!(printed.is_ok());
        assert!(seen[0].0.contains("content-length: 0\r\n"), "{}", seen[0].0);
    }

    #[test]
    fn a_large_file_is_refused_before_it_is_sent() {
        let (result, seen) =
            upload(&vec![7; 3 << 20], Answer::status("413 Too Large", "at most 1 MiB").before_the_body());
        assert!(matches!(result, Err(PutError::Refused(Refusal { status: 413, .. }))), "{result:?}");
        assert_eq!(seen[0].1, b"");
    }

    #[test]
    fn a_large_file_arrives_whole_after_the_server_agreed() {
        let bytes: Vec<u8> = (0..3u32 << 18).flat_map(u32::to_le_bytes).collect();
        let (printed, seen) = upload(&bytes, Answer::status("201 Created", ""));
        assert!(printed.is_ok());
        assert!(seen[0].0.contains("expect: 100-continue\r\n"));
        assert!(seen[0].1 == bytes);
    }

    #[test]
    fn a_refusal_says_what_it_means_and_prints_nothing() {
        for (status, words) in [
            ("403 Forbidden", "the signature does not fit"),
            ("409 Conflict", "filled with other bytes"),
            ("413 Too Large", "larger than the server or the slot allows"),
            ("507 Insufficient Storage", "no space left"),
            ("307 Temporary Redirect", "points elsewhere"),
            ("500 Oops", "its log knows why"),
        ] {
            let (result, _) =
                upload(b"meow", Answer::status(status, "bad \x1b[31msignature\r\nmore").header("Location: /x"));
            let message = result.unwrap_err().to_string();
            assert!(message.starts_with(&format!("not uploaded, {}: ", &status[..3])), "{message}");
            assert!(message.contains(words) && message.ends_with("(the server says: bad [31msignature)"), "{message}");
        }
    }

    #[test]
    fn the_slots_headers_are_sent_and_its_type_wins() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(&dir, "cat.png", b"meow");
        let server = Scripted::start(vec![Answer::status("201 Created", "")]);
        let headers = [("Authorization", "Bearer abc"), ("Content-Type", "application/x-secret")];
        let slot = Slot {
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            ..Slot::from_put_url(&server.url("/a/b"))
        };
        put(&path, &slot, &quiet(), &mut Vec::new()).unwrap();
        let head = &server.requests()[0].0;
        assert!(head.contains("authorization: Bearer abc\r\n"), "{head}");
        assert_eq!(head.matches("content-type").count(), 1);
        assert!(head.contains("content-type: application/x-secret\r\n"), "{head}");
        assert!(!format!("{slot:?}").contains("abc"));
    }

    #[test]
    fn what_cannot_be_sent_is_refused_without_a_request() {
        let dir = tempfile::tempdir().unwrap();
        let slot = Slot::from_put_url("http://127.0.0.1:1/a");
        let put = |path: &Path| put(path, &slot, &quiet(), &mut Vec::new()).unwrap_err();
        assert!(matches!(put(dir.path()), PutError::NotAFile { .. }));
        assert!(matches!(put(&dir.path().join("absent")), PutError::Read { .. }));
    }

    #[test]
    fn a_server_that_is_not_there_is_named_without_the_proof() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(&dir, "a", b"x");
        let slot = Slot::from_put_url("http://127.0.0.1:1/a?v=secret");
        let message = format!("{:#}", anyhow::Error::from(put(&path, &slot, &quiet(), &mut Vec::new()).unwrap_err()));
        assert!(message.starts_with("no answer from 127.0.0.1:1") && !message.contains("secret"), "{message}");
    }

    #[test]
    fn a_file_that_shrinks_or_grows_never_breaks_the_announced_length() {
        let mut bytes = Vec::new();
        Exactly { source: &b"12345"[..], left: 3 }.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"123");
        let error = Exactly { source: &b"12"[..], left: 3 }.read_to_end(&mut bytes).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
