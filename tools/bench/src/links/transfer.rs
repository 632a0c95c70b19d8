//! [`Site`]: servers of both arms behind a link, and transfers that are cut off after a while.

use std::io::{ErrorKind, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use netlab::{Lab, Namespace, SERVER};

use super::http2::{self, Small};
use super::report::Kind;
use super::{AT_ONCE, Carrier, Verb};
use crate::http::{BYTES, discard, read_head, signed};
use crate::ours::{ADAPTIVE, STANDARD, Variant};
use crate::process::Process;
use crate::tls::Certificate;

/// Until what is under way has arrived, or has been given up.
pub(super) const PAUSE: Duration = Duration::from_millis(1500);
/// A server that says nothing for this long fails the run.
const SILENCE: Duration = Duration::from_secs(60);
/// A transfer looks at its clock at least so often.
const TICK: Duration = Duration::from_millis(200);

/// One transfer that is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transfer {
    pub(super) verb: Verb,
    pub(super) kind: Kind,
    /// Number of the client's address.
    pub(super) client: u8,
    pub(super) span: Duration,
}

/// What it reached.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    /// Body bits per second that the receiver has; of an upload over HTTP/2 with its frames and TLS, 0.2 %. Of many small
    /// ones those of whole bodies: uploads that were answered, downloads that have come.
    pub(super) goodput: f64,
    /// Share of the sender's segments that were sent again.
    pub(super) retransmitted: f64,
}

/// A server of each arm in the laboratory's server namespace.
#[derive(Debug)]
pub(super) struct Site<'a> {
    lab: &'a Lab,
    carrier: Carrier,
    size: u64,
    servers: Vec<(&'static str, SocketAddr, Process)>,
    /// What speaks HTTP/2 to them; without it that is HTTP/1.1.
    http2: Option<http2::Client>,
    uploads: AtomicU64,
}

impl<'a> Site<'a> {
    pub(super) fn start(lab: &'a Lab, binary: &Path, folder: &Path, carrier: Carrier, size: u64) -> Result<Self> {
        let certificate = match carrier {
            Carrier::Http1 => None,
            Carrier::Http2 | Carrier::Small(_) => Some(Certificate::make(folder, "bench", SERVER.into())?),
        };
        let tls = certificate.as_ref().map_or_else(String::new, Certificate::section);
        let http2 = certificate.as_ref().map(http2::Client::new).transpose()?;
        let start = |variant: Variant<'static>, port: u16| -> Result<_> {
            let address = SocketAddr::from((SERVER, port));
            let files = folder.join(variant.name);
            let config = variant.prepare(folder, &files, address, &tls)?;
            let [enter, place] = lab.server.wrapper();
            let mut command = Command::new(enter);
            command.arg(place).arg(binary).arg("--config").arg(config);
            let log = folder.join(format!("{}.log", variant.name));
            let process = start_inside(&lab.server, &command, address, &log)?;
            lab.server.run(|| match &http2 {
                Some(client) => client.put_whole(address, &signed(SOURCE, size)?, size),
                None => put_whole(address, size),
            })?;
            Ok((variant.name, address, process))
        };
        let servers = vec![start(STANDARD, 8080)?, start(ADAPTIVE, 8081)?];
        Ok(Self { lab, carrier, size, servers, http2, uploads: AtomicU64::new(0) })
    }

    /// Runs one, and waits until the link is quiet again.
    pub(super) fn run(&self, transfer: &Transfer) -> Result<Outcome> {
        let arm = transfer.kind.arm();
        let (_, address, _) = self.servers.iter().find(|(name, ..)| *name == arm).context("no server of that arm")?;
        let sender = match transfer.verb {
            Verb::Get => &self.lab.server,
            Verb::Put => &self.lab.client,
        };
        let before = sender.tcp()?;
        let goodput = self.lab.client.run(|| {
            let from = Lab::client_address(transfer.client);
            match (transfer.verb, &self.http2) {
                (_, Some(client)) if matches!(self.carrier, Carrier::Small(_)) => {
                    client.many(from, *address, AT_ONCE, transfer.span, || self.small(transfer.verb))
                }
                (Verb::Get, None) => self.get(from, *address, transfer.span),
                (Verb::Put, None) => self.put(from, *address, transfer.span),
                (Verb::Get, Some(client)) => client.get(from, *address, &format!("/{SOURCE}"), transfer.span),
                (Verb::Put, Some(client)) => client.put(from, *address, &self.target()?, self.size, transfer.span),
            }
        })?;
        let after = sender.tcp()?;
        std::thread::sleep(PAUSE);
        let again = after.retransmitted - before.retransmitted;
        let all = after.sent - before.sent + again;
        Ok(Outcome { goodput, retransmitted: again as f64 / all.max(1) as f64 })
    }

    fn get(&self, from: Ipv4Addr, server: SocketAddr, span: Duration) -> Result<f64> {
        let begin = Instant::now();
        let mut stream = connect(from, server)?;
        write!(stream, "GET /{SOURCE} HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let (head, mut received) = read_head(&mut stream)?;
        ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
        stream.set_read_timeout(Some(TICK))?;
        let mut scratch = vec![0; 1 << 20];
        while begin.elapsed() < span && received < self.size {
            match discard(&stream, &mut scratch, self.size - received) {
                Ok(0) => anyhow::bail!("the body ended after {received} bytes"),
                Ok(count) => received += count,
                Err(error) if is_tick(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(received as f64 * 8.0 / begin.elapsed().as_secs_f64())
    }

    fn put(&self, from: Ipv4Addr, server: SocketAddr, span: Duration) -> Result<f64> {
        let begin = Instant::now();
        let mut stream = connect(from, server)?;
        let target = self.target()?;
        let head = format!("PUT {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", self.size);
        stream.write_all(head.as_bytes())?;
        stream.set_write_timeout(Some(TICK))?;
        let mut left = self.size;
        while begin.elapsed() < span && left > 0 {
            let piece = usize::try_from(left)?.min(64 << 10);
            match stream.write(&BYTES[..piece]) {
                Ok(count) => left -= count as u64,
                Err(error) if is_tick(&error) => {}
                Err(error) => return Err(error).context("the server ended the upload"),
            }
        }
        // Not what was handed to the kernel, but what the other side has.
        let acked = hfs_sock::tcp_info(stream.as_fd())?.bytes_acked.context("this kernel does not count bytes")?;
        // What is still queued is thrown away: it would be in the way of the next transfer.
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        Ok(acked.saturating_sub(head.len() as u64) as f64 * 8.0 / begin.elapsed().as_secs_f64())
    }

    /// The next of many.
    fn small(&self, verb: Verb) -> Result<Small> {
        Ok(match verb {
            Verb::Get => Small { target: format!("/{SOURCE}"), upload: None },
            Verb::Put => Small { target: self.target()?, upload: Some(self.size) },
        })
    }

    /// Path and query of the next upload.
    fn target(&self) -> Result<String> {
        let number = self.uploads.fetch_add(1, Ordering::Relaxed);
        signed(&format!("upload-{number}/blob.bin"), self.size)
    }
}

/// What downloads fetch.
const SOURCE: &str = "source/blob.bin";

/// The server ends with the thread that starts it, so this one only looks whether it answers.
fn start_inside(namespace: &Namespace, command: &Command, address: SocketAddr, log: &Path) -> Result<Process> {
    let mut process = Process::spawn(command, log)?;
    namespace.run(|| process.await_answer(address, log))?;
    Ok(process)
}

/// Puts the source where downloads find it, from within the server's network.
fn put_whole(address: SocketAddr, size: u64) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    never_silent(&stream)?;
    write!(stream, "PUT {} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n", signed(SOURCE, size)?)?;
    let mut left = size;
    while left > 0 {
        let piece = usize::try_from(left)?.min(BYTES.len());
        stream.write_all(&BYTES[..piece])?;
        left -= piece as u64;
    }
    let (head, _) = read_head(&mut stream)?;
    ensure!(head.starts_with("HTTP/1.1 201 "), "{head}");
    Ok(())
}

fn connect(from: Ipv4Addr, to: SocketAddr) -> Result<TcpStream> {
    let stream = netlab::connect(from, to).with_context(|| format!("no connection from {from} to {to}"))?;
    never_silent(&stream)?;
    Ok(stream)
}

fn never_silent(stream: &TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    Ok(stream.set_write_timeout(Some(SILENCE))?)
}

fn is_tick(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
