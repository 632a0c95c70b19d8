//! [`Namespace`]: a network of its own, for as long as the value lives.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace. It is held by a child that ends with the pipe to it, so also when this process is killed.
#[derive(Debug)]
pub struct Namespace {
    holder: Child,
}

/// What TCP in a namespace has sent so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TcpCounters {
    /// Segments, without those that only repeat.
    pub sent: u64,
    /// Segments that repeat.
    pub retransmitted: u64,
}

impl Namespace {
    /// Makes one with nothing in it but a loopback device that is down.
    ///
    /// # Errors
    /// This process may not, or `unshare` (util-linux) is not there.
    pub fn new() -> Result<Self> {
        let mut command = Command::new("unshare");
        command.args(["--net", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut holder = command.spawn().context("cannot start `unshare` (util-linux)")?;
        // `cat` repeats the byte once it is in its namespace.
        let mut answer = [0];
        let greeted = holder.stdin.as_mut().is_some_and(|input| input.write_all(b"\n").is_ok());
        let answered = holder.stdout.as_mut().is_some_and(|output| output.read_exact(&mut answer).is_ok());
        if !(greeted && answered) {
            let output = holder.wait_with_output().context("`unshare` cannot be waited for")?;
            bail!("cannot make a network namespace: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(Self { holder })
    }

    /// Moves the calling thread into it, for good. Descriptors stay where they were opened.
    ///
    /// # Errors
    /// The thread may not.
    pub fn enter(&self) -> Result<()> {
        let namespace = File::open(self.path()).context("cannot open the namespace")?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .context("cannot enter the namespace")
    }

    /// Calls `work` on a thread that is inside.
    ///
    /// # Errors
    /// The thread may not enter, or the work fails.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                self.enter()?;
                work()
            });
            worker.join().unwrap_or_else(|_| bail!("a thread in a namespace panicked"))
        })
    }

    /// The words before a command that shall run inside.
    #[must_use]
    pub fn wrapper(&self) -> [String; 2] {
        ["nsenter".to_owned(), format!("--net={}", self.path())]
    }

    /// A program that will run inside.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let [enter, place] = self.wrapper();
        let mut command = Command::new(enter);
        command.args([place.as_str(), program]);
        command
    }

    /// Gives `ip` a batch of commands, one a line.
    ///
    /// # Errors
    /// One of them failed, or `ip` (iproute2) is not there.
    pub(crate) fn ip(&self, batch: &str) -> Result<()> {
        let mut command = self.command("ip");
        command.args(["-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start `nsenter` (util-linux)")?;
        child.stdin.take().context("piped")?.write_all(batch.as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "`ip` (iproute2): {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }

    /// What its TCP has sent, over all connections.
    ///
    /// # Errors
    /// The kernel's table looks otherwise than expected.
    pub fn tcp(&self) -> Result<TcpCounters> {
        let table = fs::read_to_string(format!("/proc/{}/net/snmp", self.holder.id()))?;
        let mut rows = table.lines().filter_map(|line| line.strip_prefix("Tcp: "));
        let (names, values) = rows.next().zip(rows.next()).context("no TCP in /proc/net/snmp")?;
        let value = |wanted: &str| {
            let index = names.split(' ').position(|name| name == wanted)?;
            values.split(' ').nth(index)?.parse().ok()
        };
        let missing = "a counter is missing in /proc/net/snmp";
        Ok(TcpCounters {
            sent: value("OutSegs").context(missing)?,
            retransmitted: value("RetransSegs").context(missing)?,
        })
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
