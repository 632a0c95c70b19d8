//! [`Process`]: another program, for as long as the value lives.

use std::fs::{self, File, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::command::within;
use super::wait_until;

/// A running program with its output in a file. Dropping kills it and whatever it started.
///
/// `setpriv` also makes the kernel kill it when the thread that started it ends, so nothing outlives a test process that
/// was itself killed. (So start a process in the thread of the test, not in one that ends sooner.)
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// What the kernel kills when the thread that started it ends.
pub(crate) const GUARDED: [&str; 4] = ["setpriv", "--pdeathsig", "KILL", "--"];

impl Process {
    /// Starts the program in a process group of its own, appending its output to `log`.
    pub(crate) fn start(command: &Command, log: &Path) -> Self {
        Self::start_with_input(command, log, Stdio::null())
    }

    /// The same with something on standard input: how a child gets a socket that is already listening.
    pub(crate) fn start_with_input(command: &Command, log: &Path, input: Stdio) -> Self {
        let output = OpenOptions::new().create(true).append(true).open(log).expect("log file");
        let errors = output.try_clone().expect("log file");
        Self::spawn(command, log, [input, output.into(), errors.into()])
    }

    /// Starts the program as a person at this terminal does.
    pub(crate) fn start_at_terminal(command: &Command, terminal: &File) -> Self {
        let end = || Stdio::from(terminal.try_clone().expect("terminal"));
        Self::spawn(command, Path::new(""), [end(), end(), end()])
    }

    fn spawn(command: &Command, log: &Path, [input, output, errors]: [Stdio; 3]) -> Self {
        let mut guarded = within(&GUARDED, command);
        guarded.stdin(input).stdout(output).stderr(errors).process_group(0);
        let name = command.get_program().to_string_lossy().into_owned();
        let child = guarded.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self { name, child, log: log.to_owned() }
    }

    /// Process id of the program (of the outermost one, where it is wrapped in another).
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends a signal to the program alone.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the process is gone");
    }

    /// The exit status, once it has ended.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("wait")
    }

    /// Waits for the program to end by itself.
    #[track_caller]
    pub(crate) fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let mut status = None;
        wait_until(&format!("end of {}", self.name), deadline, || {
            status = self.exited();
            status.is_some()
        });
        status.expect("it has ended")
    }

    /// SIGKILL to the whole group, and waits until the program is gone.
    pub(crate) fn kill(&mut self) {
        // The group may be gone already: that is what we want.
        let _ = kill_process_group(self.pid(), Signal::KILL);
        let _ = self.child.wait();
    }

    /// Everything that it said.
    pub(crate) fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(60)..].join("\n");
            println!("---- end of the log of {} ----\n{tail}\n----", self.name);
        }
    }
}
