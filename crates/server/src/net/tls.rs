//! [`TlsAcceptor`]: our own TLS, by rustls with the one crypto provider.
//!
//! The certificate can be replaced while the server runs: [`TlsAcceptor::reload`] checks the new pair first and then
//! swaps it; connections that stand keep the old one.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ProducesTickets;
use tokio_rustls::server::TlsStream;

use super::TlsConfig;
use super::socket::Socket;

/// A connection behind its handshake.
pub(super) type Stream = TlsStream<Socket>;

/// Accepts TLS 1.2 and 1.3 and offers HTTP/2 before HTTP/1.1.
#[derive(Debug)]
pub struct TlsAcceptor {
    current: ArcSwap<ServerConfig>,
    /// Kept over reloads, so that a renewed certificate does not cost every client a full handshake.
    tickets: Arc<dyn ProducesTickets>,
}

/// Why a certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A PEM file cannot be read, or holds nothing of its kind.
    #[error("cannot read {what} from {}", path.display())]
    Read {
        /// What was wanted.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: pem::Error,
    },
    /// The key is readable by everybody on this machine.
    #[error("the key {} is open to others (mode {mode:04o}): chmod 0600 or 0640", path.display())]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The pair does not fit together, or rustls does not take it.
    #[error("cannot use the certificate {} with the key {}", cert.display(), key.display())]
    Unusable {
        /// The chain.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// What rustls says.
        #[source]
        source: rustls::Error,
    },
}

impl TlsAcceptor {
    /// Loads certificate and key.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn load(config: &TlsConfig) -> Result<Self, TlsError> {
        let tickets = aws_lc_rs::Ticketer::new().map_err(|source| unusable(config, source))?;
        let current = ArcSwap::new(server_config(config, Arc::clone(&tickets))?);
        Ok(Self { current, tickets })
    }

    /// Replaces certificate and key for new connections.
    ///
    /// # Errors
    /// The new pair cannot be used; the old one stays.
    pub fn reload(&self, config: &TlsConfig) -> Result<(), TlsError> {
        self.current.store(server_config(config, Arc::clone(&self.tickets))?);
        Ok(())
    }

    /// The handshake. It has no deadline of its own.
    pub(super) async fn accept(&self, socket: Socket) -> io::Result<Stream> {
        tokio_rustls::TlsAcceptor::from(self.current.load_full()).accept(socket).await
    }
}

/// Whether client and server agreed on HTTP/2.
pub(super) fn speaks_h2(stream: &Stream) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}

fn server_config(config: &TlsConfig, tickets: Arc<dyn ProducesTickets>) -> Result<Arc<ServerConfig>, TlsError> {
    let read = |what, path: &Path, source| TlsError::Read { what, path: path.to_owned(), source };
    let chain = CertificateDer::pem_file_iter(&config.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .and_then(|chain| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) })
        .map_err(|source| read("a certificate", &config.cert, source))?;
    refuse_exposed(&config.key)?;
    let key = PrivateKeyDer::from_pem_file(&config.key).map_err(|source| read("a key", &config.key, source))?;
    let mut server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|source| unusable(config, source))?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    server.ticketer = tickets;
    Ok(Arc::new(server))
}

fn unusable(config: &TlsConfig, source: rustls::Error) -> TlsError {
    TlsError::Unusable { cert: config.cert.clone(), key: config.key.clone(), source }
}

fn refuse_exposed(path: &Path) -> Result<(), TlsError> {
    let mode = match std::fs::metadata(path) {
        Ok(found) => found.permissions().mode() & 0o7777,
        Err(source) => {
            return Err(TlsError::Read { what: "a key", path: path.to_owned(), source: pem::Error::Io(source) });
        }
    };
    if mode & 0o007 != 0 { Err(TlsError::Exposed { path: path.to_owned(), mode }) } else { Ok(()) }
}
