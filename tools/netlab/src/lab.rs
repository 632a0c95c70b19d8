//! [`Lab`]: a server's network, its clients' network, and the link between them.

use std::fs::{self, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use socket2::{Domain, Socket, Type};

use crate::{Emulator, Namespace, Shape, congestion};

/// The server's address.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);

/// Name of the device on either side.
const DEVICE: &str = "link0";

/// Packets that wait for an emulator which is late. The usual 500 are 58 ms at 100 Mbit/s, and what more there is would
/// be lost to no link.
const WAITING: u32 = 20_000;

/// What a laboratory shall be.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Of both ways.
    pub shape: Shape,
    /// What new connections on both sides begin with; `None`: as the host does.
    pub congestion: Option<String>,
    /// Of the losses and the jitter.
    pub seed: u64,
}

/// Two networks and the link between them, until it is dropped.
#[derive(Debug)]
pub struct Lab {
    /// Where the server at [`SERVER`] runs.
    pub server: Namespace,
    /// Where clients run; they have many addresses: [`Lab::client_address`].
    pub client: Namespace,
    /// What lies between.
    pub link: Emulator,
}

impl Lab {
    /// Makes it.
    ///
    /// # Errors
    /// What is missing is said: rights, a device, a program, a congestion control.
    pub fn build(setup: &Setup) -> Result<Self> {
        permission()?;
        let (server, client) = (Namespace::new()?, Namespace::new()?);
        if let Some(name) = &setup.congestion {
            let begin = |network: &Namespace| network.run(|| congestion::make_default(name));
            congestion::while_allowed(name, || begin(&server).and_then(|()| begin(&client)))?;
        }
        let mtu = setup.shape.mtu;
        let open = |namespace: &Namespace| {
            namespace.run(|| {
                forget_paths();
                hfs_sock::open_tun(DEVICE).context("cannot make a TUN device")
            })
        };
        let (server_end, client_end) = (open(&server)?, open(&client)?);
        server.ip(&format!(
            "link set lo up\nlink set {DEVICE} mtu {mtu} txqueuelen {WAITING} up\naddr add {SERVER}/24 dev {DEVICE}\n\
             route add 10.79.0.0/16 dev {DEVICE}\n"
        ))?;
        client.ip(&format!(
            "link set lo up\nlink set {DEVICE} mtu {mtu} txqueuelen {WAITING} up\naddr add 10.78.0.2/24 dev {DEVICE}\n\
             route add local 10.79.0.0/16 dev lo\n"
        ))?;
        let link = Emulator::start(&client_end, &server_end, setup.shape, setup.seed)?;
        Ok(Self { server, client, link })
    }

    /// Address of the client of this number: each lies in a network of its own, so a server cannot know one from
    /// another.
    #[must_use]
    pub fn client_address(number: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 79, number, 2)
    }
}

/// Whether this process can make a laboratory.
///
/// # Errors
/// It cannot, and why.
pub fn permission() -> Result<()> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .context("an emulated link needs /dev/net/tun: root, or a device that everyone may open")?;
    for (program, package) in [("ip", "iproute2"), ("nsenter", "util-linux"), ("unshare", "util-linux")] {
        let quiet = Command::new(program).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if quiet.is_err() {
            bail!("an emulated link needs `{program}` (Debian package {package})");
        }
    }
    Namespace::new().map(drop).context("an emulated link needs root, or `unshare --user --map-root-user`")
}

/// Connects from one of the client's addresses. The calling thread must be in the client's namespace.
///
/// # Errors
/// The connection cannot be made.
pub fn connect(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect_timeout(&to.into(), Duration::from_secs(30))?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Each connection starts from nothing but what its program knows: the kernel's memory of destinations would let one
/// transfer change the next. Older kernels have it for all namespaces only.
fn forget_paths() {
    let _ = fs::write("/proc/sys/net/ipv4/tcp_no_metrics_save", "1");
}
