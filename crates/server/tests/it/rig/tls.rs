//! [`Certificate`]: the pairs that lie with the tests, where a server can use them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::free_port;
use super::server::{Builder, TestServer};

/// A certificate for `localhost` and 127.0.0.1 with its key, which only its owner may read.
pub(crate) struct Certificate {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// Where the pairs lie.
pub(crate) fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/tls")
}

impl Certificate {
    /// A copy of the usual pair in this folder.
    pub(crate) fn copy(folder: &Path) -> Self {
        let certificate = Self { cert: folder.join("cert.pem"), key: folder.join("key.pem") };
        certificate.renew("cert.pem", "key.pem");
        certificate
    }

    /// Replaces both files, as a renewal does.
    pub(crate) fn renew(&self, cert: &str, key: &str) {
        fs::copy(testdata().join(cert), &self.cert).expect("certificate");
        // Written first and then made narrow: nothing here is secret.
        fs::copy(testdata().join(key), &self.key).expect("key");
        self.key_mode(0o600);
    }

    pub(crate) fn key_mode(&self, mode: u32) {
        fs::set_permissions(&self.key, fs::Permissions::from_mode(mode)).expect("mode of the key");
    }
}

/// A server that speaks TLS on `port`, with its metrics, which answer the rig's questions, in cleartext elsewhere.
pub(crate) fn builder(certificate: &Certificate) -> (Builder, u16) {
    let (port, metrics) = (free_port(), free_port());
    let path = |path: &Path| format!("{:?}", path.display().to_string());
    let builder = TestServer::builder()
        .port(metrics)
        .set("server.listen_address", &format!("\"127.0.0.1:{port}\""))
        .set("server.metricsport", &format!("\"127.0.0.1:{metrics}\""))
        .set("server.public_url", &format!("\"https://127.0.0.1:{port}\""))
        .set("tls.cert", &path(&certificate.cert))
        .set("tls.key", &path(&certificate.key));
    (builder, port)
}
