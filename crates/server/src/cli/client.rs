//! What `put` and `get` share: the HTTP agent, the words for a refusal, the progress bar.
//!
//! Blocking, one connection at a time: a command line has nothing else to do. Prints nothing but the bar.

mod named;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use rustls::pki_types::CertificateDer;
use ureq::tls::{PemItem, TlsConfig, parse_pem};
use ureq::{Agent, Body};

/// A connection on which nothing moves for this long is given up. The whole transfer may take any time.
const IDLE: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(30);
/// A server may scan or copy a large file before it answers.
const ANSWER: Duration = Duration::from_secs(300);

/// How the client commands reach the server.
#[derive(Clone, Debug, Default)]
pub struct ClientOptions {
    /// Certificates (PEM), the server's own or an authority's, to trust instead of the public authorities.
    pub ca: Option<PathBuf>,
    /// No progress bar. Without a terminal there is none anyway.
    pub quiet: bool,
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The file of certificates cannot be read.
    #[error("cannot read the certificates in {}", path.display())]
    Certificates {
        /// That file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The file of certificates holds none.
    #[error("{} holds no PEM certificate", path.display())]
    NoCertificate {
        /// That file.
        path: PathBuf,
    },
    /// One of them cannot be used.
    #[error("{} holds a certificate that cannot be used", path.display())]
    UnusableCertificate {
        /// That file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls::Error,
    },
    /// No connection, no TLS, or no answer.
    #[error("no answer from {host}")]
    Unreachable {
        /// Host of the URL. Not the URL: it may carry a signature.
        host: String,
        /// What went wrong.
        #[source]
        source: Box<ureq::Error>,
    },
}

impl ClientError {
    pub(super) fn unreachable(url: &str, source: ureq::Error) -> Self {
        Self::Unreachable { host: host_of(url), source: Box::new(source) }
    }
}

/// `host:port` of a URL, for messages.
pub(super) fn host_of(url: &str) -> String {
    let host = url.parse::<http::Uri>().ok().and_then(|uri| uri.authority().map(|a| host_only(a.as_str()).to_owned()));
    host.unwrap_or_else(|| "the given URL".to_owned())
}

/// An authority without `user:password@`.
fn host_only(authority: &str) -> &str {
    authority.rsplit('@').next().unwrap_or(authority)
}

/// Which way the bytes of a command go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Direction {
    Put,
    Get,
}

/// An agent that hands every status to its caller.
pub(super) fn agent(options: &ClientOptions, direction: Direction) -> Result<Agent, ClientError> {
    let (redirects, answer) = match direction {
        // A slot is signed for one place. Whoever sends its bytes elsewhere should say so, not be followed.
        Direction::Put => (0, ANSWER),
        Direction::Get => (5, IDLE),
    };
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(redirects)
        .user_agent(concat!("hmac-file-server/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(CONNECT))
        .timeout_per_read(Some(answer))
        .timeout_per_write(Some(IDLE))
        .tls_config(TlsConfig::builder().unversioned_rustls_crypto_provider(crypto()).build())
        .build();
    let Some(path) = &options.ca else { return Ok(config.new_agent()) };
    named::agent(config, certificates(path)?, crypto())
        .map_err(|source| ClientError::UnusableCertificate { path: path.clone(), source })
}

/// The process's crypto provider, which is made one if there is none.
fn crypto() -> Arc<rustls::crypto::CryptoProvider> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Another thread may have been faster: then its provider, the same, is the default.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
    let default = rustls::crypto::CryptoProvider::get_default().cloned();
    default.unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let pem = std::fs::read(path).map_err(|source| ClientError::Certificates { path: path.to_owned(), source })?;
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(CertificateDer::from(certificate.der().to_vec())),
        _ => None,
    };
    let found: Vec<_> = parse_pem(&pem).filter_map(certificate).collect();
    if found.is_empty() {
        return Err(ClientError::NoCertificate { path: path.to_owned() });
    }
    Ok(found)
}

/// An answer that is a refusal, in words.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{status}: {hint}{}", quote(text))]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// What it means for this command.
    pub hint: &'static str,
    /// First line of what the server says, printable.
    pub text: String,
}

fn quote(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" (the server says: {text})") }
}

/// Reads a refusal out of an answer.
pub(super) fn refusal(answer: http::Response<Body>, direction: Direction) -> Refusal {
    let status = answer.status().as_u16();
    // The text only helps; a connection that breaks in the middle of it changes nothing.
    let mut start = Vec::new();
    let _ = answer.into_body().into_reader().take(512).read_to_end(&mut start);
    let text = String::from_utf8_lossy(&start);
    let line = text.lines().next().unwrap_or_default();
    let text = line.chars().filter(|c| !c.is_control()).take(200).collect::<String>().trim().to_owned();
    Refusal { status, hint: hint(status, direction), text }
}

fn hint(status: u16, direction: Direction) -> &'static str {
    match (status, direction) {
        (300..=399, _) => "the server points elsewhere: use the URL that it means",
        (400, _) => "the server does not accept this URL or request",
        (401, _) => "the server wants a proof (Authorization), or does not accept the one it got",
        (403, Direction::Put) => {
            "the signature does not fit: another secret, path, size or media type, or the slot is too old"
        }
        (403, Direction::Get) => "the server does not allow this download",
        (404, Direction::Put) => "the server knows no such upload path: is the base path right?",
        (404, Direction::Get) => "there is no such file: never uploaded, deleted or expired",
        (408, _) => "the connection was too slow for the server: try again",
        (409, _) => "the slot is already filled with other bytes: a slot is written once, ask for a new one",
        (410, Direction::Put) => "the slot is too old: ask for a new one",
        (410, Direction::Get) => "the file is gone",
        (411, _) => "the server wants to know the length beforehand",
        (413, _) => "the file is larger than the server or the slot allows",
        (415, _) => "the server does not take this kind of file",
        (429, _) => "too many requests: try again later",
        (503, _) => "the server is busy or restarting: try again",
        (507, _) => "the server has no space left",
        (500..=599, _) => "the server failed: its log knows why",
        _ => "an unexpected answer",
    }
}

/// A progress bar with rate and time left, drawn on standard error if that is a terminal.
pub(super) fn bar(options: &ClientOptions, total: Option<u64>, done: u64) -> ProgressBar {
    if options.quiet {
        return ProgressBar::hidden();
    }
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), "{wide_bar} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left"),
        None => (ProgressBar::no_length(), "{spinner} {bytes}  {bytes_per_sec}"),
    };
    let bar = bar.with_finish(ProgressFinish::Abandon).with_position(done);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    // What was there before counts for the length, not for the rate.
    bar.reset_eta();
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_host_without_proof_or_password() {
        assert_eq!(host_of("https://files.example:8443/a/b?v=0123"), "files.example:8443");
        assert_eq!(host_of("https://me:secret@files.example/a"), "files.example");
        assert_eq!(host_of("not a url"), "the given URL");
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let options = ClientOptions { ca: Some(path.clone()), quiet: true };
        assert!(matches!(agent(&options, Direction::Get), Err(ClientError::Certificates { .. })));
        std::fs::write(&path, "no certificate").unwrap();
        assert!(matches!(agent(&options, Direction::Get), Err(ClientError::NoCertificate { .. })));
    }

    #[test]
    fn every_status_has_words() {
        for status in 300..600 {
            for direction in [Direction::Put, Direction::Get] {
                assert!(!hint(status, direction).is_empty());
            }
        }
    }
}
