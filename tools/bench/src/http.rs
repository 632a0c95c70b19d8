//! Just enough of HTTP for a load that costs little: signatures, heads, and bodies that are thrown away in the kernel.

use std::io::Read;
use std::net::TcpStream;

use anyhow::{Context as _, Result, ensure};
use hfs_core::auth::{self, Dialect, Keyring, Secret, SignedRequest, SlotRequest};
use hfs_core::{ByteSize, SlotPath, Timestamp};
use rustix::net::RecvFlags;

/// Shared secret of the measured servers: of no use anywhere else.
pub(crate) const SECRET: &str = "only-for-benchmarks-0123456789";

/// What uploads send, again and again.
pub(crate) static BYTES: [u8; 1 << 20] = [b'x'; 1 << 20];

/// Path and query of a slot that our server accepts.
pub(crate) fn signed(slot: &str, size: u64) -> Result<String> {
    let signed = sign(Dialect::V1, slot, size)?;
    Ok(format!("/{}?{}", signed.path, signed.query.unwrap_or_default()))
}

/// Value of `Authorization` for a slot of Prosody's file share.
pub(crate) fn token(slot: &str, size: u64) -> Result<String> {
    sign(Dialect::FileShare, slot, size)?.authorization.context("a token of that dialect is a header")
}

fn sign(dialect: Dialect, slot: &str, size: u64) -> Result<SignedRequest> {
    let keys = Keyring { secrets: vec![Secret::new(SECRET)], ..Keyring::default() };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let now = Timestamp::from_unix(i64::try_from(now.as_secs())?);
    let slot = SlotPath::parse(slot)?;
    let request = SlotRequest {
        slot: &slot,
        size: ByteSize::bytes(size),
        media_type: None,
        owner: Some("bench@localhost"),
        issued: now,
        valid_until: now.plus_seconds(3600),
        delete_at: None,
    };
    Ok(auth::sign(dialect, &request, &keys)?)
}

/// Reads a response head; returns it and the number of body bytes that came with it.
pub(crate) fn read_head(stream: &mut impl Read) -> Result<(String, u64)> {
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let count = stream.read(&mut piece)?;
        ensure!(count > 0, "the server closed the connection");
        head.extend_from_slice(&piece[..count]);
        if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            return Ok((String::from_utf8_lossy(&head[..end]).into_owned(), (head.len() - end - 4) as u64));
        }
    }
}

/// Takes up to `most` bytes off the connection without copying them; 0 at its end.
pub(crate) fn discard(stream: &TcpStream, scratch: &mut [u8], most: u64) -> std::io::Result<u64> {
    let piece = usize::try_from(most).unwrap_or(usize::MAX).min(scratch.len());
    let (_, count) = rustix::net::recv(stream, &mut scratch[..piece], RecvFlags::TRUNC)?;
    Ok(count as u64)
}
