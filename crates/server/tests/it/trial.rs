//! Trial mode, as a person meets it: the printed command works as printed, and nothing else ever sees the secret.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::process::Signal;
use rustix::pty::{grantpt, ptsname, unlockpt};

use crate::rig::command::{clean, finish, within};
use crate::rig::process::{GUARDED, Process};
use crate::rig::{free_port, wait_until};

#[test]
fn the_printed_command_works_as_printed() {
    let home = tempfile::tempdir().expect("folder");
    let terminal = Terminal::open();
    let server = Process::start_at_terminal(&trial(home.path()), &terminal.end);
    wait_until("welcome", Duration::from_secs(20), || terminal.said().contains("Ctrl-C"));
    let said = terminal.said();

    let secret = fs::read_to_string(home.path().join("data/.hfs/secret")).expect("secret");
    let mode = fs::metadata(home.path().join("data/.hfs/secret")).expect("secret").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(said.contains(&format!("http_upload_external_secret = \"{}\"", secret.trim())), "{said}");
    assert!(said.contains(&format!("external_secret: \"{}\"", secret.trim())), "{said}");

    let commands: Vec<&str> = said.lines().map(str::trim).filter(|line| line.starts_with("curl ")).collect();
    let [upload, download] = commands[..] else { panic!("two curl commands: {said}") };
    assert_eq!(shell(home.path(), upload).trim(), "201");
    let text = shell(home.path(), download);
    assert!(upload.contains(text.trim()) && !text.trim().is_empty(), "{upload} -> {text}");
    drop(server);
}

#[test]
fn without_a_terminal_the_secret_is_not_told() {
    let home = tempfile::tempdir().expect("folder");
    let log = home.path().join("server.log");
    let server = Process::start(&trial(home.path()), &log);
    wait_until("line in the log", Duration::from_secs(20), || server.log().contains("127.0.0.1"));
    let secret = fs::read_to_string(home.path().join("data/.hfs/secret")).expect("secret");
    assert!(!server.log().contains(secret.trim()) && !server.log().contains("curl"), "{}", server.log());
}

#[test]
fn closing_the_terminal_ends_the_trial() {
    let home = tempfile::tempdir().expect("folder");
    let terminal = Terminal::open();
    // In a session of its own, whose terminal this is; also where these tests run under nohup.
    let session = ["env", "--default-signal=HUP", "setsid", "--ctty", "--wait"];
    let session = within(&session, &within(&GUARDED, &trial(home.path())));
    let mut server = Process::start_at_terminal(&session, &terminal.end);
    wait_until("welcome", Duration::from_secs(20), || terminal.said().contains("closing the terminal ends the trial"));
    drop(terminal);
    let status = server.wait(Duration::from_secs(20));
    assert!(status.success(), "{status}");
    let log = home.path().join("data/.hfs/meta.sqlite-wal");
    assert!(!log.exists(), "an orderly end folds the log into the database");
}

#[test]
fn under_nohup_a_trial_goes_on_without_its_terminal() {
    let home = tempfile::tempdir().expect("folder");
    let server = Process::start(&within(&["nohup"], &trial(home.path())), &home.path().join("server.log"));
    wait_until("line in the log", Duration::from_secs(20), || server.log().contains("127.0.0.1"));
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("signals");
    let ignored = u64::from_str_radix(ignored.trim(), 16).expect("a mask");
    let hangup = 1 << (Signal::HUP.as_raw() - 1);
    assert_ne!(ignored & hangup, 0, "the kernel drops it: {ignored:x}");
}

#[test]
fn a_missing_configuration_is_never_a_trial() {
    for (flags, environment) in [
        (&["--config", "missing.toml"][..], None),
        (&[][..], Some(("INVOCATION_ID", "0123456789abcdef0123456789abcdef"))),
        (&[][..], Some(("NOTIFY_SOCKET", "/nonexistent/notify"))),
    ] {
        let home = tempfile::tempdir().expect("folder");
        let mut command = clean(home.path());
        command.args(flags);
        if let Some((name, value)) = environment {
            command.env(name, value);
        }
        let output = finish(&command);
        assert_eq!(output.status.code(), Some(78), "{flags:?} {environment:?}: {output:?}");
        let left = fs::read_dir(home.path()).expect("folder").count();
        assert_eq!(left, 0, "{flags:?} {environment:?}: something was made");
    }
}

#[test]
fn a_wrong_configuration_says_where_and_changes_nothing() {
    let home = tempfile::tempdir().expect("folder");
    let config = home.path().join("config.toml");
    let text =
        "[server]\nlisten_adress = \"127.0.0.1:1\"\nstorage_path = \"store\"\n\n[security]\nsecret = \"changeme\"\n";
    fs::write(&config, text).expect("configuration");
    let output = finish(clean(home.path()).arg("--config").arg(&config));
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(78), "{said}");
    for expected in ["config.toml", "listen_adress", "listen_address", "secret", ":2"] {
        assert!(said.contains(expected), "no {expected} in: {said}");
    }
    assert_eq!(fs::read_to_string(&config).expect("configuration"), text);
    assert_eq!(fs::read_dir(home.path()).expect("folder").count(), 1, "something was made");
}

/// A trial on a free port.
fn trial(home: &Path) -> Command {
    let mut command = clean(home);
    command.args(["--listen", &format!("127.0.0.1:{}", free_port())]);
    command
}

fn shell(home: &Path, line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).current_dir(home).output().expect("sh runs");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A pseudo terminal and what was written to it. Dropping closes it, as the window of a terminal is closed.
struct Terminal {
    end: File,
    master: File,
    said: RefCell<Vec<u8>>,
}

impl Terminal {
    fn open() -> Self {
        let device = |path: &str, flags: OFlags| {
            let flags = (flags | OFlags::NOCTTY).bits().cast_signed();
            File::options().read(true).write(true).custom_flags(flags).open(path).expect("pty")
        };
        let master = device("/dev/ptmx", OFlags::NONBLOCK);
        grantpt(&master).expect("pty");
        unlockpt(&master).expect("pty");
        let name = ptsname(&master, Vec::new()).expect("pty").into_string().expect("a path");
        Self { end: device(&name, OFlags::empty()), master, said: RefCell::default() }
    }

    /// All that was written so far.
    fn said(&self) -> String {
        let mut said = self.said.borrow_mut();
        // Ends with an error where there is no more for now.
        let _ = (&self.master).read_to_end(&mut said);
        String::from_utf8_lossy(&said).into_owned()
    }
}
