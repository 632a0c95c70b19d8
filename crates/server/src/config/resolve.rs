//! From what was said to what is meant: reads every key in use into [`Config`], with its default.
//!
//! A value that cannot be read is reported and its default taken, so that the rest of the file is judged too; the
//! caller throws the result away when there was an error.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hfs_core::ByteSize;
use hfs_core::admit::Limits;
use hfs_core::progress::StallLimits;

use super::kind::{self, Mismatch, Node, Place};
use super::said::Said;
use super::source::Notes;
use super::{Config, HttpConfig, address, cross, secrets};
use crate::admin::AdminConfig;
use crate::net::{ListenAddress, NetConfig, TlsConfig};
use crate::storage::StorageConfig;
use crate::telemetry::{LogConfig, LogFormat, MetricsConfig};

/// Reads keys, remembers which.
pub(super) struct Resolver<'a, 's> {
    pub(super) said: &'a Said,
    pub(super) notes: &'a mut Notes<'s>,
    /// Reads a file that must be private.
    pub(super) files: &'a dyn Fn(&Path) -> io::Result<String>,
    /// systemd's credentials.
    pub(super) credentials: Option<PathBuf>,
    /// Keys that were asked for; a test compares them with the register.
    pub(super) asked: BTreeSet<&'static str>,
    /// Paths whose value could not be read: some are asked for more than once, and told once.
    pub(super) unreadable: BTreeSet<String>,
}

impl Resolver<'_, '_> {
    /// The whole configuration.
    pub(super) fn config(&mut self, source: Option<PathBuf>) -> Config {
        let net = self.net();
        let config = Config {
            pace: self.pace(net.stall),
            net,
            http: self.http(),
            storage: self.storage(),
            limits: self.limits(),
            download_extensions: self.extensions("downloads.allowed_extensions"),
            keys: secrets::keyring(self),
            log: self.log(),
            metrics: self.metrics(),
            admin: self.admin(),
            source,
        };
        self.naming();
        cross::check(self, &config);
        config
    }

    /// The value of `path`, when it is given and readable.
    pub(super) fn read<T>(&mut self, path: &'static str, read: impl Fn(&Node) -> Result<T, Mismatch>) -> Option<T> {
        self.read_as(path, path, read)
    }

    /// The value of `path`, where the register has `key` for many such.
    pub(super) fn read_as<T>(
        &mut self,
        key: &'static str,
        path: &str,
        read: impl Fn(&Node) -> Result<T, Mismatch>,
    ) -> Option<T> {
        self.asked.insert(key);
        let given = self.said.get(path)?;
        match read(&given.node) {
            Ok(value) => return Some(value),
            Err(mismatch) if self.unreadable.insert(path.to_owned()) => {
                self.notes.error(&mismatch.at, mismatch.message);
            }
            Err(_) => {}
        }
        None
    }

    /// The value of `path`, or its default.
    pub(super) fn or<T>(&mut self, path: &'static str, read: impl Fn(&Node) -> Result<T, Mismatch>, default: T) -> T {
        self.read(path, read).unwrap_or(default)
    }

    /// Whether `path` is given.
    pub(super) fn has(&self, path: &str) -> bool {
        self.said.get(path).is_some()
    }

    /// Where the value of `path` stands.
    pub(super) fn place(&self, path: &str) -> Place {
        self.said.get(path).map_or(Place::Nowhere, |given| given.node.at.clone())
    }

    /// A string that is more than blanks.
    fn text(&mut self, path: &'static str) -> Option<String> {
        self.read(path, kind::text).filter(|text| !text.is_empty())
    }

    fn path(&mut self, path: &'static str) -> Option<PathBuf> {
        self.text(path).map(PathBuf::from)
    }

    /// Reads text further; what it cannot be is reported where it stands.
    fn parsed<T>(&mut self, path: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(path)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(message) => {
                self.notes.error(&self.place(path), message);
                None
            }
        }
    }

    /// Reads every element of a list further.
    fn each<T>(&mut self, path: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let items = self.read(path, kind::list).unwrap_or_default();
        let mut good = Vec::new();
        for (item, at) in items {
            match parse(&item) {
                Ok(value) => good.push(value),
                Err(message) => {
                    self.notes.error(&at, message);
                }
            }
        }
        good
    }

    /// A duration that is not zero.
    pub(super) fn span(&mut self, path: &'static str, default: u64) -> Duration {
        let span = self.or(path, kind::duration, Duration::from_secs(default));
        if span.is_zero() {
            self.notes.error(&self.place(path), format!("`{path}` must be longer than nothing"));
        }
        span
    }

    fn net(&mut self) -> NetConfig {
        let proxies = self.each("server.trusted_proxies", address::proxy);
        let max_connections = self.max_connections();
        NetConfig {
            listen: self.listen(),
            tls: self.tls(),
            trust_unix: proxies.contains(&None),
            trusted_proxies: proxies.into_iter().flatten().collect(),
            proxy_protocol: self.or("server.proxy_protocol", kind::bool, false),
            max_header: self.max_header(),
            header_timeout: self.span("timeouts.header_timeout", 15),
            idle_timeout: self.span("timeouts.idletimeout", 60),
            stall: self.stall(),
            drain_timeout: self.or("timeouts.shutdown", kind::duration, Duration::from_secs(30)),
            max_connections,
            max_per_address: self.max_per_address(max_connections),
        }
    }

    fn listen(&mut self) -> Vec<ListenAddress> {
        if self.or("server.unixsocket", kind::bool, false) {
            let help =
                "write `listen_address = \"unix:/run/hmac-file-server/http.sock\"`: anyone may create files in /tmp";
            self.notes
                .warning(&self.place("server.unixsocket"), "`unixsocket` listens on /tmp/hmac-file-server.sock only")
                .help = Some(help.to_owned());
            return vec![ListenAddress::Unix("/tmp/hmac-file-server.sock".into())];
        }
        let bind = self.parsed("server.bind_ip", |text| {
            text.trim_matches(['[', ']']).parse::<IpAddr>().map_err(|_| format!("`{text}` is not an IP address"))
        });
        if !self.has("server.listen_address") {
            self.asked.insert("server.listen_address");
            return address::listen("8080", bind).into_iter().collect();
        }
        let mut all: Vec<ListenAddress> = Vec::new();
        for address in self.each("server.listen_address", |text| address::listen(text, bind)) {
            if all.contains(&address) {
                self.notes.error(&self.place("server.listen_address"), "an address is listed twice");
            }
            all.push(address);
        }
        if all.is_empty() {
            self.notes.error(&self.place("server.listen_address"), "there is no address to listen on");
        }
        all
    }

    fn tls(&mut self) -> Option<TlsConfig> {
        match (self.path("tls.cert"), self.path("tls.key")) {
            (Some(cert), Some(key)) => Some(TlsConfig { cert, key }),
            (None, None) => None,
            (Some(_), None) => self.half("tls.cert", "tls.key"),
            (None, Some(_)) => self.half("tls.key", "tls.cert"),
        }
    }

    fn half<T>(&mut self, given: &'static str, missing: &str) -> Option<T> {
        self.notes.error(&self.place(given), format!("`{given}` needs `{missing}`"));
        None
    }

    fn max_header(&mut self) -> ByteSize {
        const DEFAULT: ByteSize = ByteSize::kib(64);
        let size = self.or("server.max_header_bytes", kind::size, DEFAULT);
        if size == ByteSize::ZERO {
            return DEFAULT;
        }
        if size < ByteSize::kib(4) || size > ByteSize::mib(1) {
            self.notes.error(&self.place("server.max_header_bytes"), format!("{size} is not between 4 KiB and 1 MiB"));
        }
        size
    }

    fn max_connections(&mut self) -> usize {
        let most = self.or("server.max_connections", one_at_least, 20_000);
        usize::try_from(most).unwrap_or(usize::MAX)
    }

    fn max_per_address(&mut self, max_connections: usize) -> usize {
        let half = u64::try_from(NetConfig::share_of(max_connections)).unwrap_or(u64::MAX);
        let most = self.or("server.max_connections_per_address", one_at_least, half);
        usize::try_from(most).unwrap_or(usize::MAX)
    }

    fn stall(&mut self) -> StallLimits {
        let default = StallLimits::default();
        let mut idle = None;
        for path in ["timeouts.readtimeout", "timeouts.writetimeout"] {
            let Some(limit) = self.read(path, kind::duration) else { continue };
            if limit < default.idle {
                let message = format!(
                    "a transfer that moves nothing for {limit:?} is cut, too soon for phones that change network"
                );
                let help = "here it limits the silence, not the whole transfer; 60s or more is right".to_owned();
                self.notes.warning(&self.place(path), message).help = Some(help);
            }
            if limit.is_zero() {
                self.notes.error(&self.place(path), "every transfer would be cut at once");
            }
            idle = idle.max(Some(limit));
        }
        StallLimits {
            idle: idle.unwrap_or(default.idle),
            min_rate: self.or("timeouts.min_rate", kind::size, ByteSize::bytes(default.min_rate)).as_u64(),
            window: self.span("timeouts.min_rate_window", default.window.as_secs()),
        }
    }

    fn http(&mut self) -> HttpConfig {
        self.parsed("server.public_url", address::public_url).unwrap_or_default()
    }

    fn storage(&mut self) -> StorageConfig {
        let path = self.path("server.storage_path");
        if path.is_none() && self.has("server.storage_path") {
            self.notes.error(&self.place("server.storage_path"), "the path is empty");
        }
        StorageConfig {
            path: path.unwrap_or_else(|| PathBuf::from("./uploads")),
            min_free: self.or("server.min_free_bytes", kind::size, ByteSize::mib(100)),
            io_deadline: self.span("server.io_deadline", 30),
            digests: self.or("uploads.content_hash", kind::bool, false),
            cleanup_interval: self.span("server.cleanup_interval", 60),
        }
    }

    fn limits(&mut self) -> Limits {
        let unlimited = |node: &Node| if node.is_off() { Ok(None) } else { kind::size(node).map(Some) };
        Limits {
            max_size: self.or("server.max_upload_size", unlimited, None),
            extensions: self.extensions("uploads.allowed_extensions"),
            min_free: self.or("server.min_free_bytes", kind::size, ByteSize::mib(100)),
        }
    }

    /// Lower case, no dot. Only the last extension of a name is compared, so `.tar.gz` could never match.
    fn extensions(&mut self, path: &'static str) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for (item, at) in self.read(path, kind::list).unwrap_or_default() {
            let bare = item.trim().trim_start_matches('.').to_lowercase();
            let last = bare.rsplit('.').next().unwrap_or(&bare).to_owned();
            if last.is_empty() || last.contains(['/', '*', ' ']) {
                self.notes.error(&at, format!("`{item}` is not an extension: write `jpg` or `.jpg`"));
                continue;
            }
            if last != bare {
                self.notes.warning(&at, format!("only the last extension of a name counts: `{item}` allows `.{last}`"));
            }
            if !all.contains(&last) {
                all.push(last);
            }
        }
        all
    }

    fn log(&mut self) -> LogConfig {
        const LEVELS: &[&str] = &["error", "warn", "warning", "info", "debug", "trace", "fatal", "panic"];
        const FORMATS: &[&str] = &["auto", "text", "json"];
        const OUTPUTS: &[&str] = &["console", "stderr", "stdout", "journald", "file"];
        let level = match self.or("logging.level", |node| kind::choice(node, LEVELS), "info") {
            "trace" => tracing::Level::TRACE,
            "debug" => tracing::Level::DEBUG,
            "info" => tracing::Level::INFO,
            "warn" | "warning" => tracing::Level::WARN,
            _ => tracing::Level::ERROR,
        };
        let format = match self.or("logging.format", |node| kind::choice(node, FORMATS), "auto") {
            "json" => LogFormat::Json,
            "text" => LogFormat::Text,
            _ => LogFormat::Auto,
        };
        let mut file = self.path("logging.file");
        let output = self.read("logging.output", |node| kind::choice(node, OUTPUTS));
        match (output, &file) {
            (Some("file"), None) => self.half("logging.output", "logging.file").unwrap_or_default(),
            (Some("file") | None, _) => {}
            (Some("stdout"), _) => {
                self.notes
                    .warning(&self.place("logging.output"), "the log goes to standard error, never to standard output");
                file = None;
            }
            (Some(_), Some(_)) => {
                self.notes.warning(&self.place("logging.file"), "not used: `logging.output` says otherwise");
                file = None;
            }
            (Some(_), None) => {}
        }
        let megabytes = self.or("logging.max_size", kind::int, 100);
        LogConfig {
            level,
            format,
            file,
            max_size: ByteSize::mib(megabytes.clamp(1, 1 << 40)),
            max_backups: usize::try_from(self.or("logging.max_backups", kind::int, 7)).unwrap_or(usize::MAX),
        }
    }

    fn metrics(&mut self) -> MetricsConfig {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let path = self.parsed("server.metrics_path", |text| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
            match text.starts_with('/') && text.len() > 1 && text.chars().all(plain) {
                true => Ok(text.to_owned()),
                false => Err(format!("`{text}` is not a path such as `/metrics`")),
            }
        });
        MetricsConfig {
            enabled: self.or("server.metricsenabled", kind::bool, true),
            path: path.unwrap_or_else(|| "/metrics".to_owned()),
            listen: self.parsed("server.metricsport", |text| address::socket(text, loopback)),
        }
    }

    fn admin(&mut self) -> AdminConfig {
        let listen = self.parsed("admin.listen", |text| address::socket(text, IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let token = secrets::admin_token(self);
        match self.or("admin.enabled", kind::bool, true) {
            true => AdminConfig { listen, token },
            false => AdminConfig::default(),
        }
    }

    fn naming(&mut self) {
        let words = |node: &Node| kind::choice(node, &["original", "none", "hmac"]);
        if self.read("server.file_naming", words) == Some("hmac") {
            let message = "files named by their MAC would not be found under the URL that the XMPP server hands out";
            let help = "write \"original\": files keep the path of their slot".to_owned();
            self.notes.error(&self.place("server.file_naming"), message).help = Some(help);
        }
    }
}

/// How many connections: with none, nobody would be served.
fn one_at_least(node: &Node) -> Result<u64, Mismatch> {
    kind::int_within(node, 1..=u64::MAX)
}
