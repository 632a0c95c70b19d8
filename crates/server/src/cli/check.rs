//! `check`: judges a configuration, and this machine against it, without starting or changing anything.

use std::io::{self, Write};

use super::start::{self, Start, Surroundings};
use super::{CheckArgs, Settings, machine};
use crate::config::{Config, EXIT_CONFIG, Finding, Report, Severity};
use crate::storage::audit::Depth;

/// Compares files and rows of a store, tells on the writer what differs, returns whether they are whole. Brought by
/// whoever knows the concrete stores.
pub type Audit<'a> = &'a dyn Fn(&Config, Depth, &mut dyn Write) -> anyhow::Result<bool>;

/// Status of a store that is not whole, or that could not be read.
const EXIT_STORAGE: u8 = 1;

/// Writes every finding to `out` and returns the status to end with: 0, 78 for the configuration, 1 for the store.
///
/// # Errors
/// `out` cannot be written.
pub fn check(
    settings: &Settings,
    args: CheckArgs,
    around: &Surroundings,
    audit: Audit<'_>,
    out: &mut dyn Write,
) -> io::Result<u8> {
    if let Ok(Start::Trial(folder)) = start::choose(settings, around)
        && !start::is_trial(&folder)
    {
        let finding = Finding::new(Severity::Error, "there is no configuration to check, and no trial in ./data");
        write!(out, "{}", finding.help("name one: hmac-file-server check --config FILE"))?;
        return Ok(EXIT_CONFIG);
    }
    let (mut findings, config) = match start::load(settings, around) {
        Ok((_, loaded)) => (loaded.findings, loaded.config),
        Err(error) => {
            writeln!(out, "{error}")?;
            return Ok(error.status());
        }
    };
    findings.extend(machine::inspect(&config));
    let report = Report { findings };
    if !args.quiet || report.errors() > 0 {
        writeln!(out, "{report}")?;
    }
    if report.errors() > 0 {
        return Ok(EXIT_CONFIG);
    }
    if !args.storage {
        return Ok(0);
    }
    let depth = if args.digests { Depth::Digests } else { Depth::Sizes };
    match audit(&config, depth, out) {
        Ok(true) => Ok(0),
        Ok(false) => Ok(EXIT_STORAGE),
        Err(error) => {
            writeln!(out, "error: cannot check the storage: {error:#}")?;
            Ok(EXIT_STORAGE)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    const SECRET: &str = "b1946ac92492d2347c6235b4d2611184";

    fn run(folder: &Path, config: &str, args: CheckArgs, audit: Audit<'_>) -> (u8, String) {
        let path = folder.join("config.toml");
        std::fs::write(&path, config).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let around = Surroundings { env: Vec::new(), folder: folder.to_owned(), interactive: false, pid: 1 };
        let mut out = Vec::new();
        let status = check(&Settings::default(), args, &around, audit, &mut out).unwrap();
        (status, String::from_utf8(out).unwrap())
    }

    fn good(folder: &Path) -> String {
        format!(
            "server.storage_path = \"{}/store\"\nsecurity.secret = \"{SECRET}\"\nserver.min_free_bytes = 0\n",
            folder.display()
        )
    }

    fn never(_: &Config, _: Depth, _: &mut dyn Write) -> anyhow::Result<bool> {
        panic!("the storage was not to be checked")
    }

    #[test]
    fn a_good_configuration_is_status_0_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (status, text) = run(folder.path(), &good(folder.path()), CheckArgs::default(), &never);
        assert_eq!(status, 0, "{text}");
        assert!(text.contains("will be created") && text.ends_with("0 errors, 0 warnings\n"), "{text}");
        assert!(!folder.path().join("store").exists());
        let quiet = CheckArgs { quiet: true, ..CheckArgs::default() };
        assert_eq!(run(folder.path(), &good(folder.path()), quiet, &never), (0, String::new()));
    }

    #[test]
    fn a_bad_configuration_is_status_78() {
        let folder = tempfile::tempdir().unwrap();
        let (status, text) =
            run(folder.path(), "server.storage = 1\nsecurity.secret = \"changeme\"", CheckArgs::default(), &never);
        assert_eq!(status, 78);
        assert!(text.contains("there is no key `server.storage`") && text.contains("published example"), "{text}");
        assert!(!text.contains("changeme"));
        let blocked = format!("{}logging.file = \"/no/such/folder/x.log\"", good(folder.path()));
        assert_eq!(run(folder.path(), &blocked, CheckArgs::default(), &never).0, 78);
    }

    #[test]
    fn the_storage_is_checked_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let args = CheckArgs { storage: true, quiet: true, ..CheckArgs::default() };
        assert_eq!(run(folder.path(), &good(folder.path()), args, &|_, _, _| Ok(true)).0, 0);
        assert_eq!(run(folder.path(), &good(folder.path()), args, &|_, _, _| Ok(false)).0, 1);
        let (status, text) = run(folder.path(), &good(folder.path()), args, &|_, _, _| anyhow::bail!("no database"));
        assert_eq!(status, 1);
        assert!(text.contains("no database"), "{text}");
        let deep = CheckArgs { digests: true, ..args };
        assert_eq!(run(folder.path(), &good(folder.path()), deep, &|_, depth, _| Ok(depth == Depth::Digests)).0, 0);
    }

    #[test]
    fn nothing_to_check_is_no_trial() {
        let folder = tempfile::tempdir().unwrap();
        let around = Surroundings { env: Vec::new(), folder: folder.path().to_owned(), interactive: true, pid: 1 };
        let mut out = Vec::new();
        let status = check(&Settings::default(), CheckArgs::default(), &around, &never, &mut out).unwrap();
        assert_eq!(status, 78);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
