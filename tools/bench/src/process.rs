//! [`Process`]: a server under measurement, for as long as the value lives.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(20);

/// A running program. Dropping ends it; it ends with the thread that started it, too.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts `command` with its output in `log`.
    pub(crate) fn spawn(command: &Command, log: &Path) -> Result<Self> {
        let output = File::create(log)?;
        let mut guarded = Command::new("setpriv");
        guarded.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
        guarded.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        guarded.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = guarded.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self { child })
    }

    /// Waits until it listens on `address`, as seen from the calling thread's network.
    pub(crate) fn await_answer(&mut self, address: SocketAddr, log: &Path) -> Result<()> {
        let deadline = Instant::now() + START;
        let said = || std::fs::read_to_string(log).unwrap_or_default();
        while TcpStream::connect_timeout(&address, START).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server for {address} ended at once: {status}\n{}", said());
            }
            if Instant::now() > deadline {
                bail!("nobody listens on {address}\n{}", said());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Its process id; a wrapper that replaces itself does not change it.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// A loopback port that nobody listens on.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Becomes the program that the words name, with every sync to disk a success that does nothing. Returns only when that
/// fails.
pub(crate) fn replace_without_sync(words: &[String]) -> anyhow::Error {
    let Some((program, arguments)) = words.split_first() else { return anyhow::anyhow!("no program") };
    match hfs_sock::ignore_syncs() {
        Ok(()) => Command::new(program).args(arguments).exec().into(),
        Err(error) => error.into(),
    }
}
