//! Trial mode: no configuration, everything below one folder, a secret of its own, loopback only.
//!
//! Owns the secret's file. When trial mode is chosen is `start`'s business; what is printed is `welcome`'s.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::config::{self, Config, Overrides, Report};

/// Where a trial listens unless a flag says otherwise.
const ADDRESS: &str = "127.0.0.1:8080";

/// Bytes of a generated secret, before it is written in hexadecimal.
const SECRET_BYTES: usize = 32;

/// Why a trial cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrialError {
    /// The folder or the secret in it.
    #[error("cannot {action} {}", path.display())]
    Folder {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// No randomness.
    #[error("the system gives no random bytes for a secret")]
    Random,
    /// A flag, or the secret that an earlier trial left.
    #[error(transparent)]
    Settings(#[from] Report),
}

/// Where the secret of a trial below `folder` lies.
pub(super) fn secret_path(folder: &Path) -> PathBuf {
    folder.join(".hfs/secret")
}

/// The configuration of a trial below `folder`, with the secret of an earlier one or a new one.
///
/// # Errors
/// The folder cannot be prepared, or a flag makes no sense.
pub fn trial_config(folder: &Path, overrides: &Overrides) -> Result<Config, TrialError> {
    let secret = secret_path(folder);
    if !secret.exists() {
        generate(&secret)?;
    }
    let mut overrides = overrides.clone();
    overrides.secret_file = vec![secret.display().to_string()];
    if overrides.listen.is_empty() {
        overrides.listen = vec![ADDRESS.to_owned()];
    }
    overrides.storage.get_or_insert_with(|| folder.display().to_string());
    Ok(config::load_env([], &overrides)?.config)
}

/// Whether who started this process wants it to go on without its terminal: `nohup` makes it ignore SIGHUP.
pub(super) fn outlives_its_terminal() -> bool {
    /// SIGHUP is the first of them.
    const HANGUP: u64 = 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & HANGUP != 0)
}

/// Writes a new secret that appears whole or not at all, and never in place of another.
fn generate(path: &Path) -> Result<(), TrialError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| TrialError::Folder { action, path, source }
    };
    let folder = path.parent().unwrap_or(path);
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(folder).map_err(failed("create", folder))?;
    let mut bytes = [0; SECRET_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| TrialError::Random)?;
    let draft = path.with_extension(format!("new-{}", hex(&bytes[..4])));
    // The draft's name tells nothing about the secret: its bytes are replaced.
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| TrialError::Random)?;
    let written = write_new(&draft, &hex(&bytes)).and_then(|()| match std::fs::hard_link(&draft, path) {
        // Another trial was quicker: its secret is as good.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    });
    let _ = std::fs::remove_file(&draft);
    written.and_then(|()| File::open(folder)?.sync_all()).map_err(failed("write", path))
}

fn write_new(path: &Path, secret: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{secret}")?;
    file.sync_all()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::net::ListenAddress;

    #[test]
    fn a_trial_is_local_and_keeps_its_secret() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let first = trial_config(&data, &Overrides::default()).unwrap();
        assert_eq!(first.net.listen, [ListenAddress::Tcp("127.0.0.1:8080".parse().unwrap())]);
        assert_eq!(first.storage.path, data);
        assert_eq!(first.keys.secrets[0].expose().len(), 2 * SECRET_BYTES);
        assert_eq!(first.source, None);
        let secret = secret_path(&data);
        assert_eq!(secret.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let again = trial_config(&data, &Overrides::default()).unwrap();
        assert_eq!(first.keys.secrets[0].expose(), again.keys.secrets[0].expose());
        let left: Vec<_> = std::fs::read_dir(secret.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "no draft stays");
        let other = trial_config(&folder.path().join("other"), &Overrides::default()).unwrap();
        assert_ne!(first.keys.secrets[0].expose(), other.keys.secrets[0].expose());
    }

    #[test]
    fn a_trial_may_listen_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let overrides = Overrides { listen: vec!["127.0.0.1:0".to_owned()], ..Overrides::default() };
        let config = trial_config(folder.path(), &overrides).unwrap();
        assert_eq!(config.net.listen, [ListenAddress::Tcp("127.0.0.1:0".parse().unwrap())]);
    }

    #[test]
    fn a_secret_that_others_can_read_ends_the_trial() {
        let folder = tempfile::tempdir().unwrap();
        trial_config(folder.path(), &Overrides::default()).unwrap();
        let secret = secret_path(folder.path());
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = trial_config(folder.path(), &Overrides::default()).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_folder_that_is_a_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::write(&data, "").unwrap();
        let error = trial_config(&data, &Overrides::default()).unwrap_err();
        assert!(error.to_string().contains("data/.hfs"), "{error}");
    }
}
