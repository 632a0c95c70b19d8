//! The servers under measurement: started here, pinned to core 0, stopped on drop.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Shared secret of the measured server: of no use anywhere else.
pub(crate) const SECRET: &str = "only-for-benchmarks-0123456789";

/// One running server.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    /// Whether a PUT must be signed.
    pub(crate) signed: bool,
    /// Root of its files.
    pub(crate) files: PathBuf,
    child: Child,
}

impl Peer {
    /// What [`Peer::start_named`] knows.
    pub(crate) const NAMES: &str = "adaptive,standard,pinned,nginx";

    /// Starts the server of that name: an arm of ours (`pinned` is the adaptive one without any lever), or another one.
    pub(crate) fn start_named(name: &str, binary: &Path, folder: &Path) -> Result<Self> {
        match name {
            "adaptive" => Self::hmac_file_server("adaptive", "", binary, folder),
            "standard" => Self::hmac_file_server("standard", "adaptive_buffers = false", binary, folder),
            "pinned" => Self::hmac_file_server("pinned", "levers = []", binary, folder),
            "nginx" => Self::nginx(folder),
            _ => bail!("there is no server `{name}`: {}", Self::NAMES),
        }
    }

    fn hmac_file_server(name: &'static str, performance: &str, binary: &Path, folder: &Path) -> Result<Self> {
        let address = free_address()?;
        let files = folder.join(name);
        let config = folder.join(format!("{name}.toml"));
        let text = format!(
            "[server]\nlisten_address = \"{address}\"\nstorage_path = \"{}\"\nmin_free_bytes = \"100MB\"\n\
             [security]\nsecret = \"{SECRET}\"\n[performance]\n{performance}\n[logging]\nlevel = \"warn\"\n",
            files.display()
        );
        fs::write(&config, text)?;
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).arg(binary).arg("--config").arg(&config);
        Self::start(name, command, address, true, files)
    }

    fn nginx(folder: &Path) -> Result<Self> {
        let address = free_address()?;
        let files = folder.join("nginx");
        fs::create_dir_all(&files)?;
        let config = folder.join("nginx.conf");
        let root = folder.display();
        // Tuned as the best of its own options for large uploads: whole 1 MiB buffers, written as they come.
        let text = format!(
            "daemon off; worker_processes 1; pid {root}/nginx.pid; error_log {root}/nginx.log warn; user root;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; types {{}}\n\
             client_body_temp_path {files}/.tmp; client_body_buffer_size 1m; client_max_body_size 0;\n\
             server {{ listen {address}; root {files}; location / {{ dav_methods PUT; create_full_put_path on; }} }} }}\n",
            files = files.display()
        );
        fs::write(&config, text)?;
        let mut command = Command::new("taskset");
        command.args(["-c", "0", "nginx", "-c"]).arg(&config);
        Self::start("nginx", command, address, false, files)
    }

    fn start(
        name: &'static str,
        mut command: Command,
        address: SocketAddr,
        signed: bool,
        files: PathBuf,
    ) -> Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let mut peer =
            Self { name, address, signed, files, child: child.with_context(|| format!("cannot start {name}"))? };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            if let Some(status) = peer.child.try_wait()? {
                bail!("{name} ended at once: {status}");
            }
            if Instant::now() > deadline {
                bail!("{name} does not listen on {address}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(peer)
    }

    /// CPU seconds that the server and its children have used so far.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        let mut ticks = 0;
        for process in family(self.child.id())? {
            let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
            // The command's name, in parentheses, may hold anything: count the fields behind it.
            let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
            let field =
                |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok()).context("odd /proc stat");
            ticks += field(11)? + field(12)?;
        }
        Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

fn family(parent: u32) -> Result<Vec<u32>> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
    Ok(std::iter::once(parent).chain(children.split_whitespace().filter_map(|pid| pid.parse().ok())).collect())
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
