//! Where the configuration comes from: a file, the environment, or nothing at all (trial).
//!
//! Trial mode is for a person at a terminal. It never starts in place of a configuration that is missing: not when one
//! is named, and not under a service manager.

use std::path::{Path, PathBuf};

use super::Settings;
use super::trial::{self, TrialError};
use crate::config::{self, Finding, Loaded, Report, Severity};

/// Names the configuration file when no flag does.
const VARIABLE: &str = "HMAC_FILE_SERVER_CONFIG";

/// What the program was started with, besides its flags.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The environment.
    pub env: Vec<(String, String)>,
    /// The folder it was started in.
    pub folder: PathBuf,
    /// Whether a person is at a terminal.
    pub interactive: bool,
    /// The process.
    pub pid: u32,
}

/// Where the configuration comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Start {
    /// This file.
    File(PathBuf),
    /// Environment and flags say it all.
    Environment,
    /// For trial, below this folder.
    Trial(PathBuf),
}

/// Why there is no configuration to run on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It is wrong. Status 78.
    #[error(transparent)]
    Report(#[from] Report),
    /// The trial's folder cannot be prepared. Status 1.
    #[error(transparent)]
    Trial(#[from] TrialError),
}

impl StartError {
    /// The status to end with.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            Self::Report(_) => config::EXIT_CONFIG,
            Self::Trial(_) => 1,
        }
    }
}

impl Surroundings {
    /// Those of this process.
    ///
    /// # Errors
    /// The current folder is gone.
    pub fn here() -> std::io::Result<Self> {
        use std::io::IsTerminal;
        // A variable that is not Unicode is none of ours: keys and paths in it would be refused anyway.
        let env = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Ok(Self {
            env: env.collect(),
            folder: std::env::current_dir()?,
            interactive: std::io::stdout().is_terminal(),
            pid: std::process::id(),
        })
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.env.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether systemd started this process as a service. `INVOCATION_ID` alone does not tell: terminals of a desktop
    /// session pass on the one of their own unit.
    fn is_service(&self) -> bool {
        self.variable("NOTIFY_SOCKET").is_some()
            || self.variable("SYSTEMD_EXEC_PID") == Some(self.pid.to_string().as_str())
            || self.variable("INVOCATION_ID").is_some() && !self.interactive
    }
}

/// Decides where the configuration comes from.
///
/// # Errors
/// There is none, and a service does not start for trial.
pub fn choose(settings: &Settings, around: &Surroundings) -> Result<Start, Report> {
    let named = settings.config.clone().or_else(|| around.variable(VARIABLE).map(PathBuf::from));
    if let Some(path) = named {
        return Ok(Start::File(path));
    }
    // By its short name, so that messages say `config.toml`; only tests are in another folder.
    let usual = around.folder.join("config.toml");
    if usual.symlink_metadata().is_ok() {
        let here = std::env::current_dir().is_ok_and(|folder| folder == around.folder);
        return Ok(Start::File(if here { PathBuf::from("config.toml") } else { usual }));
    }
    if config::speaks(&around.env, &settings.overrides()) {
        return Ok(Start::Environment);
    }
    if around.is_service() {
        let finding =
            Finding::new(Severity::Error, "there is no configuration, and a service does not start for trial");
        return Err(Report::of(finding.help("name one: hmac-file-server --config /etc/hmac-file-server/config.toml")));
    }
    Ok(Start::Trial(around.folder.join("data")))
}

/// Loads what [`choose`] chose; `Start` tells whether to welcome a trial.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(settings: &Settings, around: &Surroundings) -> Result<(Start, Loaded), StartError> {
    let start = choose(settings, around)?;
    let overrides = settings.overrides();
    let loaded = match &start {
        Start::File(path) => config::load(path, around.env.iter().cloned(), &overrides)?,
        Start::Environment => config::load_env(around.env.iter().cloned(), &overrides)?,
        Start::Trial(folder) => Loaded { config: trial::trial_config(folder, &overrides)?, findings: Vec::new() },
    };
    Ok((start, loaded))
}

/// Whether a trial was started below `folder` before.
pub(super) fn is_trial(folder: &Path) -> bool {
    trial::secret_path(folder).is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(folder: &Path, env: &[(&str, &str)]) -> Surroundings {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Surroundings { env, folder: folder.to_owned(), interactive: false, pid: 42 }
    }

    fn chosen(folder: &Path, env: &[(&str, &str)]) -> Result<Start, Report> {
        choose(&Settings::default(), &around(folder, env))
    }

    #[test]
    fn nothing_at_all_is_a_trial() {
        let folder = tempfile::tempdir().unwrap();
        let trial = Start::Trial(folder.path().join("data"));
        assert_eq!(chosen(folder.path(), &[]).unwrap(), trial);
        let settings = Settings { listen: vec!["127.0.0.1:0".to_owned()], ..Settings::default() };
        assert_eq!(choose(&settings, &around(folder.path(), &[])).unwrap(), trial);
    }

    #[test]
    fn a_named_configuration_that_is_missing_is_never_a_trial() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("no.toml");
        let by_flag = Settings { config: Some(missing.clone()), ..Settings::default() };
        let by_env = around(folder.path(), &[("HMAC_FILE_SERVER_CONFIG", missing.to_str().unwrap())]);
        let error = load(&by_flag, &around(folder.path(), &[])).unwrap_err();
        assert_eq!(error.status(), 78);
        assert!(load(&Settings::default(), &by_env).unwrap_err().to_string().contains("no.toml"));
        // Not even a broken link of the usual name.
        std::os::unix::fs::symlink("nowhere", folder.path().join("config.toml")).unwrap();
        assert!(load(&Settings::default(), &around(folder.path(), &[])).is_err());
        assert!(!folder.path().join("data").exists());
    }

    #[test]
    fn a_service_is_never_a_trial() {
        let folder = tempfile::tempdir().unwrap();
        for env in [("NOTIFY_SOCKET", "/run/x"), ("INVOCATION_ID", "abc"), ("SYSTEMD_EXEC_PID", "42")] {
            let error = chosen(folder.path(), &[env]).unwrap_err();
            assert!(error.to_string().contains("--config"), "{error}");
        }
        let mut desktop = around(folder.path(), &[("INVOCATION_ID", "abc"), ("SYSTEMD_EXEC_PID", "7")]);
        desktop.interactive = true;
        assert!(matches!(choose(&Settings::default(), &desktop), Ok(Start::Trial(_))));
    }

    #[test]
    fn settings_of_the_environment_are_a_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let env = [("HMAC_FILE_SERVER__SERVER__STORAGE_PATH", "/srv")];
        assert_eq!(chosen(folder.path(), &env).unwrap(), Start::Environment);
        let error = load(&Settings::default(), &around(folder.path(), &env)).unwrap_err().to_string();
        assert!(error.contains("there is no secret"), "{error}");
        std::fs::write(folder.path().join("config.toml"), "").unwrap();
        assert!(matches!(chosen(folder.path(), &env), Ok(Start::File(_))));
    }
}
