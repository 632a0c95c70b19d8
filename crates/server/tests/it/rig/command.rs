//! The program's commands, run to their end.

use std::path::Path;
use std::process::{Command, Output};

use super::place;
use super::server::TestServer;

/// What a command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// Both streams, for looking into.
    pub(crate) fn all(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}

/// The program in this folder, with nothing of the test's own environment that it might listen to.
pub(crate) fn clean(home: &Path) -> Command {
    let mut command = Command::new(place::binary());
    command.current_dir(home);
    for name in ["INVOCATION_ID", "NOTIFY_SOCKET", "SYSTEMD_EXEC_PID", "LISTEN_FDS", "LISTEN_PID"] {
        command.env_remove(name);
    }
    let ours = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HMAC_FILE_SERVER"));
    for (name, _) in ours {
        command.env_remove(name);
    }
    command
}

/// The command run by another one, as in `timeout 20 hmac-file-server ...`: in its folder, with its environment.
pub(crate) fn within(words: &[&str], command: &Command) -> Command {
    let mut outer = Command::new(words[0]);
    outer.args(&words[1..]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        outer.current_dir(folder);
    }
    outer
}

/// Runs what must end by itself.
pub(crate) fn finish(command: &Command) -> Output {
    within(&["timeout", "--kill-after=1", "20"], command).output().expect("timeout runs")
}

/// The program with these arguments, in this folder, to its end.
pub(crate) fn run(home: &Path, arguments: &[&str]) -> Said {
    said(clean(home).args(arguments))
}

/// The same for a command that was prepared further.
pub(crate) fn said(command: &mut Command) -> Said {
    let Output { status, stdout, stderr } = finish(command);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { code: status.code(), out: text(stdout), err: text(stderr) }
}

/// The URL as curl sends it, with these options: what it wrote to standard output.
#[track_caller]
pub(crate) fn curl(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("curl").args(["-sS", "--max-time", "60"]).args(arguments).output().expect("curl runs");
    assert!(output.status.success(), "curl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The same as text.
#[track_caller]
pub(crate) fn curl_text(arguments: &[&str]) -> String {
    String::from_utf8(curl(arguments)).expect("text")
}

impl TestServer {
    /// `check --storage` finds files and rows in agreement.
    #[track_caller]
    pub(crate) fn assert_whole(&self) {
        // Not bounded: a store that a long test has filled takes its time.
        let output = clean(self.home()).args(["check", "--storage", "--config"]).arg(self.config()).output();
        let output = output.expect("check runs");
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "check --storage: {}\n{said}", output.status);
    }
}
