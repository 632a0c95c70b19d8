//! Trial mode, as a person meets it: the printed command works as printed, and nothing else ever sees the secret.

use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::rig::command::{clean, finish};
use crate::rig::process::Process;
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
        let output = finish(&mut command);
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

/// A pseudo terminal and what was written to it.
struct Terminal {
    end: File,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn open() -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("pty");
        grantpt(&master).expect("pty");
        unlockpt(&master).expect("pty");
        let name = ptsname(&master, Vec::new()).expect("pty").into_string().expect("a path");
        let end = OpenOptions::new().read(true).write(true).open(name).expect("pty");
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            let mut master = File::from(master);
            let mut bytes = [0; 4096];
            // Ends with an error once nobody holds the other end.
            while let Ok(count) = master.read(&mut bytes) {
                heard.lock().expect("terminal").extend_from_slice(&bytes[..count]);
            }
        });
        Self { end, said }
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().expect("terminal")).into_owned()
    }
}
