//! Servers that are not ours, each by its own means and as fast as its manual makes it.

use std::fs;

use anyhow::Result;

use super::{Peer, Proof, Site};
use crate::http::SECRET;
use crate::tls::Certificate;

impl Site<'_> {
    /// nginx with sendfile and its DAV module; `uploads` are lines about bodies.
    pub(super) fn nginx(&self, uploads: &str, certificate: Option<&Certificate>) -> Result<Peer> {
        let (address, name, root) = (self.address, self.name, self.folder.display());
        let tls = certificate.map(|certificate| {
            let [cert, key] = [&certificate.chain, &certificate.key].map(|file| file.display());
            format!("ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.3;")
        });
        let listen = if tls.is_some() { format!("{address} ssl") } else { address.to_string() };
        let text = format!(
            "daemon off; master_process off; pid {root}/{name}.pid; error_log {root}/{name}.log warn; user root;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; types {{}}\n\
             client_body_temp_path {files}/.tmp; client_max_body_size 0; {uploads} {tls}\n\
             server {{ listen {listen}; root {files}; location / {{ dav_methods PUT; create_full_put_path on; }} }} }}\n",
            files = self.files.display(),
            tls = tls.unwrap_or_default(),
        );
        let config = self.folder.join(format!("{name}.conf"));
        fs::write(&config, text)?;
        let peer = self.start(&["nginx".as_ref(), "-c".as_ref(), config.as_os_str()], Proof::Nothing, self.files)?;
        Ok(Peer { tls: certificate.map(Certificate::client).transpose()?, ..peer })
    }

    /// Caddy's file server, which takes no uploads.
    pub(super) fn caddy(&self) -> Result<Peer> {
        let (address, root) = (self.address, self.folder.display());
        let text = format!(
            "{{\n admin off\n auto_https off\n storage file_system {root}/caddy-data\n}}\nhttp://{address} {{\n \
             root * {}\n file_server\n}}\n",
            self.files.display()
        );
        let config = self.folder.join("Caddyfile");
        fs::write(&config, text)?;
        let words = ["caddy".as_ref(), "run".as_ref(), "--config".as_ref(), config.as_os_str()];
        self.start(&words, Proof::Impossible, self.files)
    }

    /// Prosody's built-in file share, whose files lie as no other server has them.
    pub(super) fn prosody(&self) -> Result<Peer> {
        let files = self.folder.join(self.name);
        fs::create_dir_all(&files)?;
        let (port, home) = (self.address.port(), files.display());
        let text = format!(
            "run_as_root = true\npidfile = \"{home}/prosody.pid\"\ndata_path = \"{home}/data\"\n\
             log = {{ warn = \"*console\" }}\ninterfaces = {{ \"127.0.0.1\" }}\nhttp_interfaces = {{ \"127.0.0.1\" }}\n\
             http_ports = {{ {port} }}\nhttps_ports = {{ }}\nc2s_ports = {{ }}\ns2s_ports = {{ }}\n\
             modules_disabled = {{ \"c2s\", \"s2s\", \"tls\" }}\n\
             VirtualHost \"localhost\"\n\
             Component \"share.localhost\" \"http_file_share\"\n http_file_share_secret = \"{SECRET}\"\n \
             http_file_share_size_limit = 2 * 1024 * 1024 * 1024\n"
        );
        let config = self.folder.join("prosody.cfg.lua");
        fs::write(&config, text)?;
        let words = ["prosody".as_ref(), "-F".as_ref(), "--config".as_ref(), config.as_os_str()];
        // 30 to 40 CPU seconds for an upload of 1 GiB.
        Ok(Peer { part: 32, ..self.start(&words, Proof::Token, &files)? })
    }

    /// dufs, a file server in Rust.
    pub(super) fn dufs(&self) -> Result<Peer> {
        let (address, port) = (self.address.ip().to_string(), self.address.port().to_string());
        let words = ["dufs", "--allow-upload", "--bind", &address, "--port", &port, "--log-format", ""];
        let mut words: Vec<_> = words.iter().map(AsRef::as_ref).collect();
        words.push(self.files.as_os_str());
        self.start(&words, Proof::Nothing, self.files)
    }
}
