//! Configuration: [`Config`] is the sum of what each module owns, validated and resolved. Nothing else of the program
//! sees what the file said.
//!
//! [`parse`] is pure and does the work: file, then environment, then flags. [`load`] and [`reload`] bring the file.
//! Called by `cli` and, on SIGHUP, by the app.

mod address;
mod cross;
mod duration;
mod keys;
mod kind;
mod network;
mod pace;
mod reference;
mod report;
mod resolve;
mod said;
mod secrets;
mod source;
#[cfg(test)]
mod tests;

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hfs_core::admit::Limits;
use hfs_core::auth::Keyring;
use toml::de::DeTable;

pub use self::reference::reference;
pub use self::report::{Excerpt, Finding, Location, Report, Severity};
use self::resolve::Resolver;
use self::said::Said;
use self::source::{Notes, Source};
use crate::admin::AdminConfig;
use crate::flow::PaceConfig;
use crate::net::NetConfig;
use crate::storage::StorageConfig;
use crate::telemetry::{LogConfig, MetricsConfig};

/// Exit status of a configuration that cannot be used: `EX_CONFIG` of sysexits, which systemd can be told not to
/// restart on.
pub const EXIT_CONFIG: u8 = 78;

/// A commented configuration file that loads once its secret is set.
pub const EXAMPLE: &str = include_str!("../../../packaging/hmac-file-server.toml");

/// Everything the server runs on.
#[derive(Clone, Debug)]
pub struct Config {
    /// Listeners, TLS, time-outs.
    pub net: NetConfig,
    /// Public URL, base path, fixed routes.
    pub http: HttpConfig,
    /// The tree of blobs.
    pub storage: StorageConfig,
    /// What uploads are allowed.
    pub limits: Limits,
    /// Extensions that may be downloaded, lower case, no dot; empty allows all.
    pub download_extensions: Vec<String>,
    /// The keys.
    pub keys: Keyring,
    /// Where the log goes.
    pub log: LogConfig,
    /// Whether and where metrics are served.
    pub metrics: MetricsConfig,
    /// Who the administrator is, and where.
    pub admin: AdminConfig,
    /// The two data paths.
    pub pace: PaceConfig,
    /// File this came from; `None` in trial mode.
    pub source: Option<PathBuf>,
}

/// `[server] public_url`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HttpConfig {
    /// `https://host[:port]/base/`, without a trailing slash; `None` when not configured.
    pub public_url: Option<String>,
    /// Path of the public URL, stripped before verification: empty or `/base`, never with a trailing slash.
    pub base_path: String,
}

/// What flags say; they outrank the environment, which outranks the file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Overrides {
    /// `--listen`, for each listener.
    pub listen: Vec<String>,
    /// `--storage-path`.
    pub storage: Option<String>,
    /// `--public-url`.
    pub public_url: Option<String>,
    /// `--secret-file`, for each secret.
    pub secret_file: Vec<String>,
    /// `--log-level`.
    pub log_level: Option<String>,
}

/// A configuration that can be used, and what is to say about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Warnings and notices, in the order of the file.
    pub findings: Vec<Finding>,
}

/// Reads a configuration file.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn load(
    path: &Path,
    env: impl IntoIterator<Item = (String, String)>,
    overrides: &Overrides,
) -> Result<Loaded, Report> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| {
        Report::of(Finding::new(Severity::Error, format!("cannot read the configuration: {e}")).at(&name))
    })?;
    let mut loaded = parse(&text, Some(path), env, overrides, &read_private)?;
    let open = std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o004 != 0);
    let holds_secret = DeTable::parse(&text).is_ok_and(|table| holds_secret(table.get_ref()));
    if open && holds_secret {
        let finding = Finding::new(Severity::Warning, "the file holds a secret and everyone can read it");
        loaded.findings.push(finding.at(&name).help(format!("chmod 640 {name}")));
    }
    Ok(loaded)
}

/// Reads what the environment and the flags alone say, without a file.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn load_env(env: impl IntoIterator<Item = (String, String)>, overrides: &Overrides) -> Result<Loaded, Report> {
    parse("", None, env, overrides, &read_private)
}

/// Whether environment and flags make a configuration without a file: a key of ours is set, or a secret is named.
#[must_use]
pub fn speaks(env: &[(String, String)], overrides: &Overrides) -> bool {
    !overrides.secret_file.is_empty() || env.iter().any(|(name, _)| name.starts_with(said::PREFIX))
}

/// Reads a configuration again while the server runs. What cannot change while it runs stays as it is in the result,
/// and a notice says so.
///
/// # Errors
/// Everything that is wrong with the new one; the running one stays in use.
pub fn reload(
    running: &Config,
    env: impl IntoIterator<Item = (String, String)>,
    overrides: &Overrides,
) -> Result<Loaded, Report> {
    let env: Vec<(String, String)> = env.into_iter().collect();
    let mut loaded = match &running.source {
        Some(path) => load(path, env, overrides)?,
        None if speaks(&env, overrides) => load_env(env, overrides)?,
        None => {
            let nothing = Finding::new(Severity::Notice, "there is no configuration file to read again");
            return Ok(Loaded { config: running.clone(), findings: vec![nothing] });
        }
    };
    let Loaded { config, findings } = &mut loaded;
    let mut keep = |changed: bool, key: &str| {
        if changed {
            let message = format!("`{key}` has changed, and takes effect at the next start");
            findings.push(Finding::new(Severity::Notice, message));
        }
    };
    keep(config.net.listen != running.net.listen, "server.listen_address");
    keep(config.metrics.listen != running.metrics.listen, "server.metricsport");
    keep(config.admin.listen != running.admin.listen, "admin.listen");
    keep(config.storage.path != running.storage.path, "server.storage_path");
    keep(config.net.tls.is_some() != running.net.tls.is_some(), "tls");
    keep(config.log.file != running.log.file, "logging.file");
    keep(config.log.format != running.log.format, "logging.format");
    keep(config.log.max_size != running.log.max_size, "logging.max_size");
    keep(config.log.max_backups != running.log.max_backups, "logging.max_backups");
    keep(config.net.max_connections != running.net.max_connections, "server.max_connections");
    keep(config.storage.io_deadline != running.storage.io_deadline, "server.io_deadline");
    // One client's share stays with what it is half of. Whoever says just that many gets it at the next start too.
    if config.net.max_per_address == NetConfig::share_of(config.net.max_connections) {
        config.net.max_per_address = NetConfig::share_of(running.net.max_connections);
    }
    config.net.max_connections = running.net.max_connections;
    config.storage.io_deadline = running.storage.io_deadline;
    config.net.listen.clone_from(&running.net.listen);
    config.metrics.listen = running.metrics.listen;
    config.admin.listen = running.admin.listen;
    config.storage.path.clone_from(&running.storage.path);
    config.log = LogConfig { level: config.log.level, ..running.log.clone() };
    if config.net.tls.is_some() != running.net.tls.is_some() {
        config.net.tls.clone_from(&running.net.tls);
    }
    Ok(loaded)
}

/// The pure core of [`load`]: `read_private` reads the files of secrets.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn parse(
    text: &str,
    file: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
    overrides: &Overrides,
    read_private: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<Loaded, Report> {
    let name = file.map_or_else(|| "(no file)".to_owned(), |file| file.display().to_string());
    let mut env: Vec<(String, String)> = env.into_iter().collect();
    env.sort();
    let mut notes = Notes::new(Source::new(&name, text));
    let (table, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        return Err(not_toml(&syntax, notes));
    }
    let mut said = Said::default();
    said.add_file(table.get_ref(), &mut notes);
    said.add_env(&env, &mut notes);
    add_flags(&mut said, overrides, &mut notes);
    said.judge(&mut notes);
    let credentials = env.iter().find(|(name, _)| name == "CREDENTIALS_DIRECTORY").map(|(_, folder)| folder.into());
    let mut resolver = Resolver {
        said: &said,
        notes: &mut notes,
        files: read_private,
        credentials,
        asked: Default::default(),
        unreadable: Default::default(),
    };
    let config = resolver.config(file.map(Path::to_owned));
    let findings = notes.finish();
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(Report { findings });
    }
    Ok(Loaded { config, findings })
}

fn add_flags(said: &mut Said, overrides: &Overrides, notes: &mut Notes<'_>) {
    said.add_flag("server.listen_address", "--listen", &overrides.listen, notes);
    said.add_flag("server.storage_path", "--storage-path", overrides.storage.as_slice(), notes);
    said.add_flag("server.public_url", "--public-url", overrides.public_url.as_slice(), notes);
    said.add_flag("security.secret_file", "--secret-file", &overrides.secret_file, notes);
    said.add_flag("logging.level", "--log-level", overrides.log_level.as_slice(), notes);
}

/// Text that is no TOML is not judged further: what follows a mistake is guesswork.
fn not_toml(errors: &[toml::de::Error], mut notes: Notes<'_>) -> Report {
    let mut lines = std::collections::BTreeSet::new();
    for error in errors {
        let bytes = error.span().unwrap_or(0..0);
        notes.source.mask_suspicious(&bytes);
        // One mistake often makes several on its line; the first is the one to mend.
        if lines.insert(notes.source.line_of(bytes.start).start) {
            let first = error.message().lines().next().unwrap_or_default().to_owned();
            notes.error(&kind::Place::File(bytes), first);
        }
    }
    Report { findings: notes.finish() }
}

fn holds_secret(table: &DeTable<'_>) -> bool {
    let text = |section: &str, name: &str| {
        let section = table.get(section).and_then(|section| section.get_ref().as_table());
        section.is_some_and(|section| section.contains_key(name))
    };
    let keys = ["secret", "secrets", "jwtsecret", "delete_secret"];
    keys.iter().any(|name| text("security", name)) || text("admin", "token")
}

/// Reads a file of a secret; one that others can read is refused. systemd guards its credentials by other means.
fn read_private(path: &Path) -> io::Result<String> {
    let mode = std::fs::metadata(path)?.permissions().mode();
    let credential = std::env::var_os("CREDENTIALS_DIRECTORY").is_some_and(|folder| path.starts_with(folder));
    if mode & 0o077 != 0 && !credential {
        let message = format!("others can read it (mode {:04o}): chmod 600 {}", mode & 0o7777, path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    std::fs::read_to_string(path)
}
