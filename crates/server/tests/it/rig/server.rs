//! [`TestServer`]: the real binary with a folder, a configuration and a port of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::http::{Response, exchange};
use super::process::Process;
use super::{free_port, place, sign, wait_until};

/// The secret that every test signs with.
pub(crate) const SECRET: &str = "7c1f0e5b9a2d4f6880b3c5d7e9f1a2b4c6d8e0f2a4b6c8d0";

/// Where this variable is set, servers run in the standard arm unless a test says otherwise.
pub(crate) const STANDARD_ARM: &str = "HFS_TEST_STANDARD_ARM";

/// How long a start may take: a cold debug build on a busy machine, not the goal of R1.
const START: Duration = Duration::from_secs(20);

/// A server that is about to start.
pub(crate) struct Builder {
    settings: BTreeMap<String, BTreeMap<String, String>>,
    base_path: String,
    storage: Option<PathBuf>,
    wrapper: Vec<String>,
    environment: Vec<(String, String)>,
    port: Option<u16>,
    listener: Option<TcpListener>,
    is_nameless: bool,
}

impl Builder {
    /// Sets a key of the configuration, `section.key`, to a TOML value.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        let (section, key) = name.rsplit_once('.').expect("section.key");
        self.settings.entry(section.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
        self
    }

    /// Path of the public URL: `/upload`.
    pub(crate) fn base_path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.base_path);
        self
    }

    /// Keeps the files in this folder instead of a temporary one.
    pub(crate) fn storage(mut self, folder: &Path) -> Self {
        self.storage = Some(folder.to_owned());
        self
    }

    /// Runs the server below another program, as in `strace -f hmac-file-server ...`.
    pub(crate) fn wrapper(mut self, words: &[&str]) -> Self {
        self.wrapper = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Leaves it to the server where its clients see it.
    pub(crate) fn without_public_url(mut self) -> Self {
        self.is_nameless = true;
        self
    }

    /// Sets a variable of the server's environment.
    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// The port to expect it on, where the test sets `listen_address` itself.
    pub(crate) fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Lets the server inherit a socket that the test keeps, as a `.socket` unit of systemd does.
    pub(crate) fn inherit(mut self, listener: TcpListener) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Starts it and waits until it answers.
    #[track_caller]
    pub(crate) fn start(self) -> TestServer {
        let home = tempfile::tempdir().expect("temporary folder");
        let address = match &self.listener {
            Some(listener) => listener.local_addr().expect("bound"),
            None => SocketAddr::from(([127, 0, 0, 1], self.port.unwrap_or_else(free_port))),
        };
        let storage = self.storage.clone().unwrap_or_else(|| home.path().join("storage"));
        fs::create_dir_all(&storage).expect("storage folder");
        let config = home.path().join("config.toml");
        let settings = Self { storage: Some(storage.clone()), ..self };
        fs::write(&config, settings.text(address)).expect("configuration");
        let command = settings.command(&config);
        let Self { base_path, listener, .. } = settings;
        let process = spawn(&command, listener.as_ref(), home.path());
        let mut server = TestServer { process, command, home, address, storage, base_path, listener };
        server.await_ready();
        server
    }

    fn text(&self, address: SocketAddr) -> String {
        let mut settings = self.settings.clone();
        // A file of secrets takes the place of the default one.
        let has_secret_file = settings.get("security").is_some_and(|keys| keys.contains_key("secret_file"));
        let mut default = |section: &str, key: &str, value: String| {
            settings.entry(section.to_owned()).or_default().entry(key.to_owned()).or_insert(value);
        };
        let storage = self.storage.as_deref().expect("set by start");
        default("server", "listen_address", format!("\"{address}\""));
        default("server", "storage_path", format!("{:?}", storage.display().to_string()));
        if !self.is_nameless {
            default("server", "public_url", format!("\"http://{address}{}\"", self.base_path));
        }
        if std::env::var_os(STANDARD_ARM).is_some() {
            default("performance", "adaptive_buffers", "false".to_owned());
        }
        if !has_secret_file {
            default("security", "secret", format!("\"{SECRET}\""));
        }
        let mut text = String::new();
        for (section, keys) in settings {
            text.push_str(&format!("[{section}]\n"));
            text.extend(keys.iter().map(|(key, value)| format!("{key} = {value}\n")));
        }
        text
    }

    fn command(&self, config: &Path) -> Command {
        let binary = place::binary();
        let mut words = self.wrapper.iter().map(Into::into).chain([binary.into_os_string()]).collect::<Vec<_>>();
        if self.listener.is_some() {
            // The convention of systemd: sockets from descriptor 3 on, and the number of the process they are for.
            let script = "exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\"";
            words.splice(0..0, ["sh", "-c", script, "sh"].map(Into::into));
        }
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("--config").arg(config);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A running server. Dropping kills it and removes its folder.
pub(crate) struct TestServer {
    process: Process,
    command: Command,
    home: TempDir,
    address: SocketAddr,
    storage: PathBuf,
    base_path: String,
    listener: Option<TcpListener>,
}

/// Starts the command, with the inherited socket where there is one.
fn spawn(command: &Command, listener: Option<&TcpListener>, home: &Path) -> Process {
    let input =
        listener.map_or_else(Stdio::null, |listener| OwnedFd::from(listener.try_clone().expect("clone")).into());
    Process::start_with_input(command, &home.join("server.log"), input)
}

impl TestServer {
    pub(crate) fn builder() -> Builder {
        Builder {
            settings: BTreeMap::new(),
            base_path: String::new(),
            storage: None,
            wrapper: Vec::new(),
            environment: Vec::new(),
            port: None,
            listener: None,
            is_nameless: false,
        }
    }

    /// Starts one with nothing but the defaults.
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::builder().start()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:port/base`, without a trailing slash.
    pub(crate) fn public_url(&self) -> String {
        format!("http://{}{}", self.address, self.base_path)
    }

    /// A folder that lives as long as the server.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Root of the stored files.
    pub(crate) fn storage(&self) -> &Path {
        &self.storage
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.home.path().join("config.toml")
    }

    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Target of a slot's request: base path, encoded slot.
    pub(crate) fn target(&self, slot: &str) -> String {
        format!("{}/{}", self.base_path, sign::encode(slot))
    }

    /// Any request, on a connection of its own.
    #[track_caller]
    pub(crate) fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Response {
        exchange(self.address, method, target, headers, body)
            .unwrap_or_else(|error| panic!("{method} {target}: no answer: {error}"))
    }

    /// PUT with a right v1 signature; fails where the connection does.
    pub(crate) fn try_put(&self, slot: &str, body: &[u8]) -> io::Result<Response> {
        let target = format!("{}?{}", self.target(slot), sign::v1(SECRET, slot, body.len() as u64));
        exchange(self.address, "PUT", &target, &[("Content-Type", "text/plain")], Some(body))
    }

    #[track_caller]
    pub(crate) fn put(&self, slot: &str, body: &[u8]) -> Response {
        self.try_put(slot, body).unwrap_or_else(|error| panic!("PUT {slot}: no answer: {error}"))
    }

    #[track_caller]
    pub(crate) fn get(&self, slot: &str) -> Response {
        self.request("GET", &self.target(slot), &[], None)
    }

    pub(crate) fn is_healthy(&self) -> bool {
        exchange(self.address, "GET", "/health", &[], None).is_ok_and(|response| response.status == 200)
    }

    /// Sends a signal to the process that was started.
    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// How it ended, if it has.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.process.exited()
    }

    /// Waits for it to end by itself.
    #[track_caller]
    pub(crate) fn wait(&mut self, deadline: Duration) -> ExitStatus {
        self.process.wait(deadline)
    }

    /// SIGKILL, at once.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM, and waits for the end.
    #[track_caller]
    pub(crate) fn terminate(&mut self) {
        self.signal(Signal::TERM);
        let status = self.wait(Duration::from_secs(60));
        assert!(status.success(), "SIGTERM ended in {status}");
    }

    /// SIGHUP.
    pub(crate) fn reload(&self) {
        kill_process(self.pid(), Signal::HUP).expect("the server runs");
    }

    /// Starts it again, on the same files and port; kills it first where it still runs.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        self.process.kill();
        self.process = spawn(&self.command, self.listener.as_ref(), self.home.path());
        self.await_ready();
    }

    /// Starts a second process on the inherited socket and the same files; once it says that it is ready, ends the
    /// first. Returns how the first ended.
    #[track_caller]
    pub(crate) fn hand_over(&mut self) -> ExitStatus {
        // The socket's file must be a new one each time: nobody answers at the old one any more.
        let path = self.home.path().join(format!("ready-{}", self.process.pid()));
        let manager = UnixDatagram::bind(&path).expect("notification socket");
        manager.set_read_timeout(Some(START)).expect("time-out");
        self.command.env("NOTIFY_SOCKET", &path);
        let next = spawn(&self.command, self.listener.as_ref(), self.home.path());
        let mut message = [0; 512];
        while !manager
            .recv(&mut message)
            .map(|length| String::from_utf8_lossy(&message[..length]).lines().any(|line| line == "READY=1"))
            .expect("the successor says READY=1")
        {}
        let mut old = std::mem::replace(&mut self.process, next);
        old.signal(Signal::TERM);
        old.wait(Duration::from_secs(60))
    }

    #[track_caller]
    fn await_ready(&mut self) {
        let mut ended = None;
        wait_until("answer from /health", START, || {
            ended = self.process.exited();
            ended.is_some() || self.is_healthy()
        });
        if let Some(status) = ended {
            panic!("the server ended while starting: {status}");
        }
    }

    /// Names below `.hfs` that look like an upload on its way: what must not be left after a start.
    pub(crate) fn temporaries(&self) -> BTreeSet<PathBuf> {
        let mut files = BTreeSet::new();
        let own = self.storage.join(".hfs/tmp");
        if own.is_dir() {
            collect(&own, &own, &mut files);
        }
        files
    }

    /// Every file below the storage folder that a request could have made, relative; not the server's own.
    pub(crate) fn stored(&self) -> BTreeSet<PathBuf> {
        let mut files = BTreeSet::new();
        collect(&self.storage, &self.storage, &mut files);
        files.retain(|file| !file.starts_with(".hfs"));
        files
    }

    /// Process id of the server itself, also below a wrapper.
    pub(crate) fn pid(&self) -> Pid {
        let name = place::binary().file_name().expect("a file").to_string_lossy().into_owned();
        // The kernel keeps 15 bytes of a name.
        let name = name.get(..15).unwrap_or(&name).to_owned();
        let outer = self.process.pid();
        named(outer.as_raw_nonzero().get(), &name).and_then(Pid::from_raw).unwrap_or(outer)
    }

    /// Most memory that it ever held, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// Memory that it holds now and that no file backs, in bytes.
    pub(crate) fn own_memory(&self) -> u64 {
        self.memory("RssAnon:")
    }

    /// How many files and connections it has open.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("the server runs").count()
    }

    fn memory(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the server runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a figure of memory");
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kibibytes * 1024
    }
}

fn named(pid: i32, name: &str) -> Option<i32> {
    if fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end() == name {
        return Some(pid);
    }
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().filter_map(|child| child.parse().ok()).find_map(|child| named(child, name))
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).expect("storage folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            files.insert(path.strip_prefix(root).expect("below the root").to_owned());
        }
    }
}
