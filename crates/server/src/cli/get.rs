//! `get`: downloads one file, going on where an earlier run or a broken connection stopped.
//!
//! The file has its name only when it is whole. Called by `cli`.

mod part;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use http::{HeaderMap, Response, header};
use indicatif::ProgressBar;
use percent_encoding::percent_decode_str;
use ureq::{Agent, Body};

use self::part::Part;
use super::client::{self, ClientError, ClientOptions, Direction, Refusal};

/// How often a broken connection is opened again while each one brings something.
const RECONNECTS: usize = 20;

/// How to download.
#[derive(Clone, Debug, Default)]
pub struct GetOptions {
    /// File or directory to write; by default the URL's last element, here.
    pub output: Option<PathBuf>,
    /// Replace an existing file.
    pub force: bool,
    /// The connection.
    pub client: ClientOptions,
}

/// Why a file was not downloaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GetError {
    /// The URL's last element cannot name a file.
    #[error("the URL names no file: say where to write with -o FILE")]
    NoName,
    /// The file exists.
    #[error("{} exists already: --force replaces it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Another download writes the same part.
    #[error("another download of {} is running", path.display())]
    Running {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// No answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The server said no.
    #[error("not downloaded, {0}")]
    Refused(Refusal),
    /// The answer contradicts itself or the request.
    #[error("not downloaded, the server's answer makes no sense: {0}")]
    Nonsense(&'static str),
    /// The connection broke; what came is kept where it can be resumed.
    #[error("the download broke after {have} bytes{}: the same command goes on from there", of_total(*total))]
    Broken {
        /// Bytes in the part.
        have: u64,
        /// Length of the file, where known.
        total: Option<u64>,
        /// What broke; `None` when the server just stopped.
        #[source]
        source: Option<io::Error>,
    },
    /// The result could not be printed; the file is there.
    #[error("downloaded, but could not print the name")]
    Print(#[source] io::Error),
}

fn of_total(total: Option<u64>) -> String {
    total.map(|total| format!(" of {total}")).unwrap_or_default()
}

/// Downloads `url` and prints the file's name.
///
/// # Errors
/// No file has appeared or changed then, but `FILE.part`, from which the next run goes on.
pub fn get(url: &str, options: &GetOptions, out: &mut dyn Write) -> Result<(), GetError> {
    let target = target(url, options.output.as_deref())?;
    if !options.force && target.symlink_metadata().is_ok() {
        return Err(GetError::Exists { path: target });
    }
    let agent = client::agent(&options.client, Direction::Get)?;
    let mut part = Part::open(&target).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => GetError::Running { path: target.clone() },
        _ => GetError::Write { path: target.clone(), source },
    })?;
    fetch(&agent, url, &mut part, &options.client)?;
    part.finish(&target, options.force).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => GetError::Exists { path: target.clone() },
        _ => GetError::Write { path: target.clone(), source },
    })?;
    writeln!(out, "{}", target.display()).map_err(GetError::Print)
}

fn target(url: &str, output: Option<&Path>) -> Result<PathBuf, GetError> {
    match output {
        Some(path) if path.is_dir() => Ok(path.join(name_of(url)?)),
        Some(path) => Ok(path.to_owned()),
        None => Ok(PathBuf::from(name_of(url)?)),
    }
}

/// The decoded last element of a URL's path, where it is a plain file name.
fn name_of(url: &str) -> Result<String, GetError> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    let (_, last) = path.rsplit_once('/').ok_or(GetError::NoName)?;
    let name = percent_decode_str(last).decode_utf8().map_err(|_| GetError::NoName)?;
    let plain = !matches!(&*name, "" | "." | "..") && !name.contains(['/', '\0']) && !name.contains(char::is_control);
    if plain { Ok(name.into_owned()) } else { Err(GetError::NoName) }
}

/// Brings the part to its full length, over as many connections as it takes.
fn fetch(agent: &Agent, url: &str, part: &mut Part, options: &ClientOptions) -> Result<(), GetError> {
    for _ in 0..RECONNECTS {
        let before = part.length();
        match attempt(agent, url, part, options) {
            Err(GetError::Broken { .. }) if part.resumable().is_some() && part.length() > before => {}
            result => return result,
        }
    }
    attempt(agent, url, part, options)
}

/// One request: from where the part ends, if the file is still the same.
fn attempt(agent: &Agent, url: &str, part: &mut Part, options: &ClientOptions) -> Result<(), GetError> {
    let have = part.length();
    let mut request = agent.get(url).header(header::ACCEPT_ENCODING, "identity");
    let tag = part.resumable().map(str::to_owned);
    if let Some(tag) = &tag {
        request = request.header(header::RANGE, format!("bytes={have}-")).header(header::IF_RANGE, tag);
    }
    let answer = request.call().map_err(|error| ClientError::unreachable(url, error))?;
    match (answer.status().as_u16(), &tag) {
        (200, _) => {
            restart(part, text(answer.headers(), &header::ETAG))?;
            let total = answer.body().content_length();
            receive(answer, part, total, options)
        }
        (206, Some(tag)) => {
            let (start, total) = content_range(answer.headers())?;
            if start != have || text(answer.headers(), &header::ETAG).is_some_and(|other| other != tag) {
                return Err(GetError::Nonsense("it sends another part than the one that was asked for"));
            }
            receive(answer, part, Some(total), options)
        }
        (206, None) => Err(GetError::Nonsense("it sends a part that was not asked for")),
        // Nothing follows what is here: either it is everything, or it is from no version of this file.
        (416, Some(_)) if unsatisfied_length(answer.headers()) == Some(have) => Ok(()),
        (416, Some(_)) => {
            // One connection at a time: this one ends before the next begins.
            drop(answer);
            restart(part, None)?;
            attempt(agent, url, part, options)
        }
        _ => Err(GetError::Refused(client::refusal(answer, Direction::Get))),
    }
}

fn restart(part: &mut Part, tag: Option<&str>) -> Result<(), GetError> {
    part.restart(tag).map_err(|source| GetError::Write { path: part.path().to_owned(), source })
}

/// Appends the body and checks the length that results.
fn receive(
    answer: Response<Body>,
    part: &mut Part,
    total: Option<u64>,
    options: &ClientOptions,
) -> Result<(), GetError> {
    let bar = client::bar(options, total, part.length());
    let broken = copy(&mut answer.into_body().into_reader(), part, &bar)?;
    let have = part.length();
    match (broken, total) {
        (None, None) => {}
        (None, Some(total)) if have == total => {}
        (None, Some(total)) if have > total => {
            restart(part, None)?;
            return Err(GetError::Nonsense("it sends more bytes than it announced"));
        }
        (source, total) => return Err(GetError::Broken { have, total, source }),
    }
    bar.finish();
    Ok(())
}

/// Copies until the end; returns what ended it too early.
fn copy(body: &mut impl Read, part: &mut Part, bar: &ProgressBar) -> Result<Option<io::Error>, GetError> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = match body.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Ok(Some(error)),
        };
        part.write(&buffer[..read]).map_err(|source| GetError::Write { path: part.path().to_owned(), source })?;
        bar.inc(read as u64);
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &http::HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// First byte and total length of `bytes 5-9/10`.
fn content_range(headers: &HeaderMap) -> Result<(u64, u64), GetError> {
    let parse = |value: &str| {
        let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last, total) = (first.parse().ok()?, last.parse::<u64>().ok()?, total.parse().ok()?);
        // The rest was asked for: a range that ends earlier would look like a broken connection for ever.
        (first <= last && last.checked_add(1) == Some(total)).then_some((first, total))
    };
    text(headers, &header::CONTENT_RANGE)
        .and_then(parse)
        .ok_or(GetError::Nonsense("its Content-Range is not the rest of the file"))
}

/// Length of `bytes */10`.
fn unsatisfied_length(headers: &HeaderMap) -> Option<u64> {
    text(headers, &header::CONTENT_RANGE)?.strip_prefix("bytes */")?.parse().ok()
}

#[cfg(test)]
mod tests;
