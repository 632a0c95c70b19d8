//! What a configuration needs of this machine: folders, space, certificates, BBR. Looks only; nothing is left behind.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hfs_core::ByteSize;
use rustix::fs::{Access, CWD, Mode, OFlags};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::config::{Config, Finding, Severity};
use crate::net::{ListenAddress, TlsConfig};

/// Everything that this machine does not give.
pub(super) fn inspect(config: &Config) -> Vec<Finding> {
    let mut findings = storage(config);
    findings.extend(config.net.tls.as_ref().and_then(tls));
    findings.extend(config.log.file.as_deref().and_then(|file| folder_of(file, "logging.file")));
    for listen in &config.net.listen {
        if let ListenAddress::Unix(path) = listen {
            findings.extend(folder_of(path, "server.listen_address"));
        }
    }
    let pace = &config.pace;
    if pace.enabled && pace.downloads && pace.settings.levers.congestion {
        findings.extend(congestion());
    }
    findings
}

/// Whether connections may be put on BBR, or on cubic where they begin with BBR. Asking a socket, as the server does, would
/// load the module for root: so the kernel's lists are read.
fn congestion() -> Option<Finding> {
    let list = |name: &str| std::fs::read_to_string(format!("/proc/sys/net/ipv4/tcp_{name}")).ok();
    no_choice(
        &list("congestion_control")?,
        &list("available_congestion_control")?,
        &list("allowed_congestion_control")?,
    )
}

/// What stands in the way of choosing on a host with this default, these modules, and these for everybody.
fn no_choice(default: &str, available: &str, allowed: &str) -> Option<Finding> {
    let has = |list: &str, wanted: &str| list.split_whitespace().any(|name| name == wanted);
    let about = |message: &str, help: &str| Some(Finding::new(Severity::Notice, message).at("congestion").help(help));
    let other = if has(default, "bbr") { "cubic" } else { "bbr" };
    let is_available = has(available, other);
    if is_available && has(allowed, other) {
        return None;
    }
    let allow = "sysctl -w net.ipv4.tcp_allowed_congestion_control=\"reno cubic bbr\"";
    match (other, is_available) {
        ("cubic", true) => {
            about("without CAP_NET_ADMIN downloads over clean short paths stay on BBR, not cubic", allow)
        }
        ("cubic", false) => about(
            "downloads over clean short paths stay on BBR: the module of cubic is not loaded",
            "modprobe tcp_cubic, and name cubic in net.ipv4.tcp_allowed_congestion_control for a service without CAP_NET_ADMIN",
        ),
        (_, true) => about("without CAP_NET_ADMIN the server may not put downloads over lossy paths on BBR", allow),
        (_, false) => about(
            "downloads over lossy paths cannot be put on BBR: its module is not loaded",
            "modprobe tcp_bbr, and name bbr in net.ipv4.tcp_allowed_congestion_control for a service without CAP_NET_ADMIN",
        ),
    }
}

fn storage(config: &Config) -> Vec<Finding> {
    let path = &config.storage.path;
    let about = |severity, message: String| Finding::new(severity, message).at("server.storage_path");
    let folder = nearest(path);
    if folder.metadata().is_ok_and(|meta| !meta.is_dir()) {
        return vec![about(Severity::Error, format!("{} is not a folder", folder.display()))];
    }
    let mut findings = Vec::new();
    match writable(&folder) {
        Ok(()) => {}
        // The server starts all the same, and serves what it has.
        Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            let message =
                format!("{} has no room for another file: every upload would be answered 507", folder.display());
            findings.push(about(Severity::Warning, message).help("make room"));
        }
        Err(error) => return vec![about(Severity::Error, format!("cannot write to {}: {error}", folder.display()))],
    }
    if folder != *path {
        findings.push(about(Severity::Notice, format!("{} does not exist yet and will be created", path.display())));
    }
    if let Some(free) = free(&folder)
        && free < config.storage.min_free
    {
        let floor = config.storage.min_free;
        let message = format!("{free} are free, below the floor of {floor}: every upload would be answered 507");
        findings.push(about(Severity::Warning, message).help("make room, or lower `min_free_bytes`"));
    }
    findings
}

/// The path itself, or the folder in which it would be created.
fn nearest(path: &Path) -> PathBuf {
    let here = Path::new(".");
    let exists = path.ancestors().map(|a| if a.as_os_str().is_empty() { here } else { a }).find(|a| a.exists());
    exists.unwrap_or(here).to_owned()
}

/// Tries to write without leaving a name behind.
fn writable(folder: &Path) -> io::Result<()> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::openat(CWD, folder, flags, Mode::RUSR | Mode::WUSR) {
        Ok(_) => Ok(()),
        // Some file systems have no nameless files.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => {
            Ok(rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
        }
        Err(error) => Err(error.into()),
    }
}

fn free(folder: &Path) -> Option<ByteSize> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    Some(ByteSize::bytes(stat.f_bavail.saturating_mul(stat.f_frsize)))
}

/// A file can only be created where its folder is.
fn folder_of(file: &Path, key: &str) -> Option<Finding> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let error = writable(folder).err()?;
    let message = format!("cannot create {}: {error}", file.display());
    Some(Finding::new(Severity::Error, message).at(key))
}

fn tls(tls: &TlsConfig) -> Option<Finding> {
    let about = |path: &Path, message: String| {
        Some(Finding::new(Severity::Error, format!("{}: {message}", path.display())).at("tls"))
    };
    let chain: Result<Vec<CertificateDer<'static>>, _> =
        CertificateDer::pem_file_iter(&tls.cert).and_then(Iterator::collect);
    let chain = match chain {
        Ok(chain) if chain.is_empty() => return about(&tls.cert, "there is no certificate in it".to_owned()),
        Ok(chain) => chain,
        Err(error) => return about(&tls.cert, format!("cannot read the certificate: {error}")),
    };
    let key = match PrivateKeyDer::from_pem_file(&tls.key) {
        Ok(key) => key,
        Err(error) => return about(&tls.key, format!("cannot read the key: {error}")),
    };
    if tls.key.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o007 != 0) {
        return about(&tls.key, "everyone can read the key: chmod 600".to_owned());
    }
    match CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider()) {
        Ok(_) => None,
        Err(rustls::Error::InconsistentKeys(_)) => about(&tls.key, format!("not the key of {}", tls.cert.display())),
        Err(error) => about(&tls.cert, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::trial::trial_config;
    use crate::config::Overrides;

    fn testdata(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/tls").join(name)
    }

    fn pair(cert: &str, key: &str) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let private = folder.path().join("key.pem");
        std::fs::copy(testdata(key), &private).unwrap();
        std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o600)).unwrap();
        tls(&TlsConfig { cert: testdata(cert), key: private }).map(|finding| finding.message)
    }

    #[test]
    fn only_a_matching_pair_is_a_pair() {
        assert_eq!(pair("cert.pem", "key.pem"), None);
        assert!(pair("cert.pem", "other-key.pem").unwrap().contains("not the key of"));
        assert!(pair("key.pem", "key.pem").unwrap().contains("no certificate"));
        assert!(pair("cert.pem", "cert.pem").unwrap().contains("cannot read the key"));
        assert!(pair("missing.pem", "key.pem").unwrap().contains("missing.pem"));
    }

    #[test]
    fn what_stands_in_the_way_of_another_congestion_control_is_said() {
        let said = |default, available, allowed| no_choice(default, available, allowed).map(|finding| finding.line());
        assert_eq!(said("cubic\n", "reno cubic bbr\n", "reno cubic bbr\n"), None);
        assert_eq!(said("bbr", "reno bbr cubic", "reno cubic"), None, "connections are on it already");
        let no_cubic = said("bbr", "reno bbr cubic", "reno bbr").unwrap();
        assert!(no_cubic.contains("without CAP_NET_ADMIN") && no_cubic.contains("sysctl -w"), "{no_cubic}");
        let absent = said("bbr", "reno bbr", "reno bbr").unwrap();
        assert!(absent.contains("cubic is not loaded") && absent.contains("modprobe tcp_cubic"), "{absent}");
        let absent = said("cubic", "reno cubic", "reno cubic").unwrap();
        assert!(absent.contains("not loaded") && absent.contains("modprobe tcp_bbr"), "{absent}");
        let forbidden = said("cubic", "reno cubic bbr", "reno cubic").unwrap();
        assert!(forbidden.contains("without CAP_NET_ADMIN") && forbidden.contains("sysctl -w"), "{forbidden}");
    }

    #[test]
    fn looking_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = trial_config(&folder.path().join("trial"), &Overrides::default()).unwrap();
        let store = folder.path().join("store");
        std::fs::create_dir(&store).unwrap();
        config.storage.path = store.join("a/b");
        config.pace.settings.levers.congestion = false;
        let findings = inspect(&config);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].message.contains("will be created"));
        assert_eq!(std::fs::read_dir(&store).unwrap().count(), 0);
    }

    #[test]
    fn missing_room_and_wrong_places_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = trial_config(folder.path(), &Overrides::default()).unwrap();
        config.storage.min_free = ByteSize::gib(1 << 30);
        assert!(inspect(&config)[0].message.contains("below the floor"));
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        config.storage.path = file.join("below");
        assert_eq!(inspect(&config)[0].severity, Severity::Error);
        config.storage.path = folder.path().to_owned();
        config.storage.min_free = ByteSize::ZERO;
        config.log.file = Some(folder.path().join("no/such.log"));
        assert!(inspect(&config)[0].message.contains("cannot create"));
    }
}
