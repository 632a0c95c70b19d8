//! [`Certificate`]: one for an address, made by `openssl`, and a client that trusts it and speaks TLS 1.3 only.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Files of a certificate and its key.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificate {
    /// Makes one in the folder for the server of that name: a server may look again at files that change.
    pub(crate) fn make(folder: &Path, name: &str, address: IpAddr) -> Result<Self> {
        let (chain, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        let arguments = format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=bench \
             -addext subjectAltName=IP:{address} -addext basicConstraints=critical,CA:FALSE"
        );
        let mut command = Command::new("openssl");
        command.args(arguments.split_whitespace()).arg("-out").arg(&chain).arg("-keyout").arg(&key);
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        ensure!(status.context("cannot start openssl")?.success(), "openssl makes no certificate");
        Ok(Self { chain, key })
    }

    /// Lines of a configuration of our own server that has it.
    pub(crate) fn section(&self) -> String {
        let [cert, key] = [&self.chain, &self.key].map(|file| file.display());
        format!("[tls]\ncert = \"{cert}\"\nkey = \"{key}\"\n")
    }

    /// A client that trusts it alone.
    pub(crate) fn client(&self) -> Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&fs::read(&self.chain)?)?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13])?;
        Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
    }
}
