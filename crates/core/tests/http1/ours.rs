//! Reads a byte stream the way an adapter does, with our framing.

use hfs_core::http1::{BodyDecoder, Decoded, HeadLimits, HeadScan};
use http::{HeaderMap, Method, Uri, Version};

/// One request with its whole body, as a reader understood it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// How reading ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    /// All bytes read, or the client asked to close.
    Clean,
    /// A message was refused, with the status the client would see.
    Refused(u16),
    /// The bytes ended inside a message.
    Unfinished,
}

/// What a reader made of a byte stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    pub(crate) messages: Vec<Message>,
    pub(crate) end: End,
}

/// Reads `bytes` as they arrive in pieces of these lengths (over and over), one message behind the other.
pub(crate) fn read(bytes: &[u8], pieces: &[usize]) -> Reading {
    let mut connection = Connection { incoming: bytes, pieces: pieces.iter().copied().cycle(), buffer: Vec::new() };
    let mut messages = Vec::new();
    let mut scan = HeadScan::new();
    let end = loop {
        match connection.message(&mut scan) {
            Ok((message, true)) => messages.push(message),
            Ok((message, false)) => {
                messages.push(message);
                break End::Clean;
            }
            Err(end) => break end,
        }
    };
    Reading { messages, end }
}

struct Connection<'a, I> {
    incoming: &'a [u8],
    pieces: I,
    buffer: Vec<u8>,
}

impl<I: Iterator<Item = usize>> Connection<'_, I> {
    fn message(&mut self, scan: &mut HeadScan) -> Result<(Message, bool), End> {
        let (head, consumed) = loop {
            match scan.parse(&self.buffer, &HeadLimits::default()) {
                Ok(Some(parsed)) => break parsed,
                Ok(None) => self.receive(self.buffer.is_empty() || self.buffer == b"\r\n")?,
                Err(refused) => return Err(End::Refused(refused.status().as_u16())),
            }
        };
        self.buffer.drain(..consumed);
        let mut decoder = BodyDecoder::new(head.framing);
        let mut body = Vec::new();
        while !decoder.is_done() {
            match decoder.decode(&self.buffer).map_err(|_| End::Refused(400))? {
                Decoded::NeedMore { consumed } => {
                    assert_eq!(consumed, self.buffer.len(), "more input is only needed when all of it was used");
                    self.buffer.clear();
                    self.receive(false)?;
                }
                Decoded::Data { skip, len } => {
                    assert!(len > 0);
                    body.extend_from_slice(&self.buffer[skip..skip + len]);
                    self.buffer.drain(..skip + len);
                }
                Decoded::Done { consumed } => drop(self.buffer.drain(..consumed)),
            }
        }
        let (parts, ()) = head.request.into_parts();
        let http::request::Parts { method, uri, version, headers, .. } = parts;
        Ok((Message { method, uri, version, headers, body }, head.keep_alive))
    }

    fn receive(&mut self, between_messages: bool) -> Result<(), End> {
        if self.incoming.is_empty() {
            return Err(if between_messages { End::Clean } else { End::Unfinished });
        }
        let len = self.pieces.next().unwrap_or(usize::MAX).clamp(1, self.incoming.len());
        let (piece, rest) = self.incoming.split_at(len);
        self.buffer.extend_from_slice(piece);
        self.incoming = rest;
        Ok(())
    }
}
