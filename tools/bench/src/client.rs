//! [`Client`]: one connection of the load, plain or TLS, that costs little so that the server is what is measured.
//!
//! It throws received bytes away inside the kernel (`MSG_TRUNC`) where there is no TLS, and sends one large buffer again
//! and again.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustls::{ClientConnection, StreamOwned};
use socket2::SockRef;

use crate::http::{BYTES, discard, read_head};
use crate::peers::Peer;

/// A connection to a server.
#[derive(Debug)]
pub(crate) struct Client {
    carrier: Carrier,
    scratch: Vec<u8>,
}

#[derive(Debug)]
enum Carrier {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Client {
    /// Connects, and sends from a socket buffer of that size.
    pub(crate) fn connect(peer: &Peer, send_buffer: Option<usize>) -> Result<Self> {
        let stream = TcpStream::connect(peer.address)?;
        stream.set_nodelay(true)?;
        if let Some(bytes) = send_buffer {
            SockRef::from(&stream).set_send_buffer_size(bytes)?;
        }
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let carrier = match &peer.tls {
            None => Carrier::Plain(stream),
            Some(config) => {
                let session = ClientConnection::new(config.clone(), peer.address.ip().into())?;
                Carrier::Tls(Box::new(StreamOwned::new(session, stream)))
            }
        };
        Ok(Self { carrier, scratch: vec![0; 1 << 20] })
    }

    /// Downloads `path` and throws it away.
    pub(crate) fn get(&mut self, peer: &Peer, path: &str, size: u64) -> Result<()> {
        write!(self.stream(), "GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", peer.host())?;
        let (head, extra) = read_head(&mut self.stream())?;
        ensure!(head.starts_with("HTTP/1.1 200 "), "GET {path}: {head}");
        let mut left = size - extra;
        while left > 0 {
            let count = match &mut self.carrier {
                Carrier::Plain(stream) => discard(stream, &mut self.scratch, left)?,
                Carrier::Tls(stream) => stream.read(&mut self.scratch)? as u64,
            };
            ensure!(count > 0, "the body ended {left} bytes early");
            left -= count;
        }
        Ok(())
    }

    /// Uploads so many bytes to a slot; returns how long the answer took after the last of them.
    pub(crate) fn put(&mut self, peer: &Peer, slot: &str, size: u64) -> Result<Duration> {
        let (target, proof) = peer.proof.of(slot, size)?;
        let host = peer.host();
        write!(self.stream(), "PUT {target} HTTP/1.1\r\nHost: {host}\r\n{proof}Content-Length: {size}\r\n\r\n")?;
        let mut left = size;
        while left > 0 {
            let piece = usize::try_from(left)?.min(BYTES.len());
            self.stream().write_all(&BYTES[..piece])?;
            left -= piece as u64;
        }
        let sent = Instant::now();
        let (head, _) = read_head(&mut self.stream())?;
        ensure!(head.starts_with("HTTP/1.1 201 "), "PUT {target}: {head}");
        Ok(sent.elapsed())
    }

    fn stream(&mut self) -> Box<dyn Duplex + '_> {
        match &mut self.carrier {
            Carrier::Plain(stream) => Box::new(stream),
            Carrier::Tls(stream) => Box::new(stream),
        }
    }
}

trait Duplex: Read + Write {}
impl<T: Read + Write> Duplex for T {}
