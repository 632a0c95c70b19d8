//! What connections hold while they wait: memory of the server per upload that trickles, per connection that idles.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::http::{BYTES, read_head};
use crate::peers::Peer;

/// A slow upload sends a piece, and waits.
const PIECE: usize = 8 << 10;
const WAIT: Duration = Duration::from_millis(200);
/// Pieces before the memory is looked at.
const PIECES: usize = 12;
/// Uploads that are under way already when the count begins.
const FIRST: u64 = 8;

/// KiB per upload of `size` that brings 8 KiB every 200 ms, beside a few others: what the first uploads of a server bring
/// into memory (the code of the path, its threads) is nobody's share.
pub(crate) fn of_slow_uploads(peer: &Peer, count: u64, size: u64) -> Result<f64> {
    allow_files(2 * (FIRST + count))?;
    let open = |number| -> Result<TcpStream> {
        let mut stream = TcpStream::connect(peer.address)?;
        let (target, proof) = peer.proof.of(&format!("slow-{number}/blob.bin"), size)?;
        write!(stream, "PUT {target} HTTP/1.1\r\nHost: x\r\n{proof}Content-Length: {size}\r\n\r\n")?;
        Ok(stream)
    };
    let mut uploads = (0..FIRST).map(open).collect::<Result<Vec<_>>>()?;
    for _ in 0..PIECES {
        send_piece(&mut uploads)?;
    }
    let before = peer.memory()?;
    let counted = (FIRST..FIRST + count).map(open);
    uploads.extend(counted.collect::<Result<Vec<_>>>()?);
    let mut most = 0;
    for piece in 0..PIECES {
        send_piece(&mut uploads)?;
        if piece >= PIECES / 2 {
            most = most.max(peer.memory()?);
        }
    }
    Ok(each(before, most, count))
}

/// Sends a piece of each upload, and waits.
fn send_piece(uploads: &mut [TcpStream]) -> Result<()> {
    for upload in uploads {
        upload.write_all(&BYTES[..PIECE]).context("the server ended a slow upload")?;
    }
    std::thread::sleep(WAIT);
    Ok(())
}

/// KiB per connection that has asked something and waits for its next request.
pub(crate) fn of_idle_connections(peer: &Peer, count: u64) -> Result<f64> {
    allow_files(2 * count)?;
    warm_up(peer)?;
    let before = peer.memory()?;
    let connections = (0..count).map(|_| asked(peer)).collect::<Result<Vec<_>>>()?;
    std::thread::sleep(WAIT);
    let held = peer.memory()?;
    drop(connections);
    Ok(each(before, held, count))
}

/// What the first request brings into memory is nobody's share.
fn warm_up(peer: &Peer) -> Result<()> {
    for _ in 0..8 {
        asked(peer)?;
    }
    std::thread::sleep(WAIT);
    Ok(())
}

/// A connection on which one small request was answered.
fn asked(peer: &Peer) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(peer.address)?;
    stream.write_all(b"GET /none/blob.bin HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let (head, begun) = read_head(&mut stream)?;
    ensure!(head.starts_with("HTTP/1.1 404 "), "{head}");
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let rest = length.unwrap_or(begun).saturating_sub(begun);
    std::io::copy(&mut (&stream).take(rest), &mut std::io::sink())?;
    Ok(stream)
}

fn each(before: u64, after: u64, count: u64) -> f64 {
    after.saturating_sub(before) as f64 / 1024.0 / count as f64
}

/// Lets this process hold so many descriptors.
fn allow_files(count: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.current.map(|current| current.max(count));
    setrlimit(Resource::Nofile, Rlimit { current: wanted, ..limit }).context("too few descriptors are allowed")
}
