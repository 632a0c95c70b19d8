//! [`Listeners`]: the sockets that the server accepts connections from.
//!
//! Sockets passed by systemd or by a parent (`LISTEN_FDS`) come first; configured addresses that none of them serves
//! are bound. Nothing here ever shuts an inherited socket down: whoever passed it still holds it, so that connections
//! queue there while one process replaces another. Called once by `app`; [`super::accept`] runs what it returns.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::ListenAddress;

/// Connections that may wait to be accepted. The kernel caps it at `net.core.somaxconn`, 4096 by default.
const BACKLOG: i32 = 4096;

/// Sockets to accept from.
#[derive(Debug)]
pub struct Listeners(pub(super) Vec<Listener>);

#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: ListenSocket,
    pub(super) address: ListenAddress,
    pub(super) inherited: bool,
}

#[derive(Debug)]
pub(super) enum ListenSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The kernel refused, most often because another program listens there.
    #[error("cannot listen on {address}")]
    Bind {
        /// Where.
        address: ListenAddress,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Something that is no socket lies where the Unix socket should be.
    #[error("cannot listen on unix:{}: a file that is no socket lies there", path.display())]
    Occupied {
        /// The path.
        path: PathBuf,
    },
    /// A passed descriptor cannot be used.
    #[error("cannot use the passed socket {address}")]
    Inherited {
        /// Its address, or its number.
        address: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// No address is configured and no socket was passed.
    #[error("no address to listen on")]
    Nowhere,
}

impl Listeners {
    /// Takes `inherited` and binds what of `addresses` they do not serve. Must run inside the runtime.
    ///
    /// # Errors
    /// An address cannot be bound; then nothing is listening.
    pub fn bind(addresses: &[ListenAddress], inherited: Inherited) -> Result<Self, ListenError> {
        Self::bind_all(addresses, inherited, false)
    }

    /// As [`Listeners::bind`], but beside another process of the same user that bound the same address this way: for a
    /// listener that nobody passes on, while a successor starts.
    ///
    /// # Errors
    /// As [`Listeners::bind`].
    pub fn bind_shared(addresses: &[ListenAddress], inherited: Inherited) -> Result<Self, ListenError> {
        Self::bind_all(addresses, inherited, true)
    }

    fn bind_all(addresses: &[ListenAddress], inherited: Inherited, is_shared: bool) -> Result<Self, ListenError> {
        let mut listeners = inherited.0;
        let passed = listeners.len();
        for address in addresses {
            if !listeners[..passed].iter().any(|listener| serves(&listener.address, address)) {
                listeners.push(bind(address, is_shared)?);
            }
        }
        if listeners.is_empty() { Err(ListenError::Nowhere) } else { Ok(Self(listeners)) }
    }

    /// The addresses as the kernel knows them: a port 0 has become a number.
    #[must_use]
    pub fn addresses(&self) -> Vec<ListenAddress> {
        self.0.iter().map(|listener| listener.address.clone()).collect()
    }
}

/// Sockets passed to this process.
#[derive(Debug, Default)]
pub struct Inherited(Vec<Listener>);

impl Inherited {
    /// None: for tests, and for listeners that are never passed.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Takes out the socket that serves `address`, if one was passed.
    #[must_use]
    pub fn take(&mut self, address: &ListenAddress) -> Self {
        let at = self.0.iter().position(|listener| listener.address == *address);
        Self(at.map(|at| self.0.remove(at)).into_iter().collect())
    }

    /// Takes what `LISTEN_FDS` announces. Call it once, before other threads run: it clears the variables.
    ///
    /// # Errors
    /// A passed descriptor is neither a TCP nor a Unix stream listener.
    pub fn from_env() -> Result<Self, ListenError> {
        let mut passed = listenfd::ListenFd::from_env();
        let mut inherited = Self::default();
        for index in 0..passed.len() {
            let refused = |source| ListenError::Inherited { address: format!("number {index}"), source };
            if let Ok(Some(listener)) = passed.take_unix_listener(index) {
                inherited.add_unix(listener)?;
            } else if let Some(listener) = passed.take_tcp_listener(index).map_err(refused)? {
                inherited.add_tcp(listener)?;
            }
        }
        Ok(inherited)
    }

    /// Adds a TCP listener that somebody else keeps open too.
    ///
    /// # Errors
    /// It is not a listener that the runtime can use.
    pub fn add_tcp(&mut self, listener: std::net::TcpListener) -> Result<(), ListenError> {
        let refused = |source| ListenError::Inherited { address: format!("{listener:?}"), source };
        let address = ListenAddress::Tcp(listener.local_addr().map_err(refused)?);
        listener.set_nonblocking(true).map_err(refused)?;
        let refused = |source| ListenError::Inherited { address: address.to_string(), source };
        let socket = ListenSocket::Tcp(TcpListener::from_std(listener).map_err(refused)?);
        self.0.push(Listener { socket, address, inherited: true });
        Ok(())
    }

    /// Adds a Unix listener that somebody else keeps open too.
    ///
    /// # Errors
    /// It is not a listener that the runtime can use.
    pub fn add_unix(&mut self, listener: std::os::unix::net::UnixListener) -> Result<(), ListenError> {
        let refused = |source| ListenError::Inherited { address: format!("{listener:?}"), source };
        let local = listener.local_addr().map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        // An abstract or unnamed socket has no path; it still serves, it only cannot match a configured address.
        let address = ListenAddress::Unix(local.as_pathname().map(Path::to_owned).unwrap_or_default());
        let refused = |source| ListenError::Inherited { address: address.to_string(), source };
        let socket = ListenSocket::Unix(UnixListener::from_std(listener).map_err(refused)?);
        self.0.push(Listener { socket, address, inherited: true });
        Ok(())
    }
}

/// Whether a socket bound to `bound` already takes the connections of `wanted`.
fn serves(bound: &ListenAddress, wanted: &ListenAddress) -> bool {
    match (bound, wanted) {
        (ListenAddress::Tcp(bound), ListenAddress::Tcp(wanted)) => {
            let port = wanted.port() == 0 || wanted.port() == bound.port();
            // `[::]` is dual-stack; `0.0.0.0` serves IPv4 alone.
            let all = bound.ip().is_unspecified() && (bound.is_ipv6() || wanted.is_ipv4());
            port && (all || bound.ip() == wanted.ip())
        }
        (ListenAddress::Unix(bound), ListenAddress::Unix(wanted)) => bound == wanted,
        _ => false,
    }
}

fn bind(address: &ListenAddress, is_shared: bool) -> Result<Listener, ListenError> {
    let refused = |source| ListenError::Bind { address: address.clone(), source };
    match address {
        ListenAddress::Tcp(wanted) => {
            let listener = bind_tcp(*wanted, is_shared).or_else(|error| match without_ipv6(*wanted, &error) {
                Some(ipv4) => bind_tcp(ipv4, is_shared),
                None => Err(error),
            });
            let listener = listener.map_err(refused)?;
            let address = ListenAddress::Tcp(listener.local_addr().map_err(refused)?);
            Ok(Listener { socket: ListenSocket::Tcp(listener), address, inherited: false })
        }
        ListenAddress::Unix(path) => {
            remove_stale(path)?;
            let socket = ListenSocket::Unix(bind_unix(path).map_err(refused)?);
            Ok(Listener { socket, address: address.clone(), inherited: false })
        }
    }
}

/// `[::]` means "everywhere": on a host without IPv6 that is `0.0.0.0`.
fn without_ipv6(wanted: SocketAddr, error: &io::Error) -> Option<SocketAddr> {
    let no_ipv6 = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL];
    let is_everywhere = wanted.is_ipv6() && wanted.ip().is_unspecified();
    let fits = is_everywhere && Errno::from_io_error(error).is_some_and(|errno| no_ipv6.contains(&errno));
    fits.then(|| SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, wanted.port())))
}

fn bind_tcp(address: SocketAddr, is_shared: bool) -> io::Result<TcpListener> {
    let domain = Domain::for_address(address);
    // An MPTCP listener costs plain TCP clients nothing: the kernel hands out a TCP socket when the client's first
    // packet does not ask for more. A kernel without it, or with it switched off, refuses the protocol.
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::MPTCP))
        .or_else(|_| Socket::new(domain, Type::STREAM, Some(Protocol::TCP)))?;
    socket.set_reuse_address(true)?;
    if is_shared {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Before `listen` nobody can connect, so no connection slips in under the wider mode.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    UnixListener::from_std(socket.into())
}

/// Removes the socket file of a process that is gone. One that somebody listens on stays, and binding then fails.
fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(ListenError::Occupied { path: path.to_owned() });
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)
            .map_err(|source| ListenError::Bind { address: ListenAddress::Unix(path.to_owned()), source }),
        _ => Ok(()),
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(address: &str) -> ListenAddress {
        ListenAddress::Tcp(address.parse().unwrap())
    }

    #[test]
    fn a_passed_socket_serves_the_addresses_it_covers() {
        assert!(serves(&tcp("[::]:8080"), &tcp("127.0.0.1:8080")));
        assert!(serves(&tcp("127.0.0.1:41234"), &tcp("127.0.0.1:0")));
        assert!(!serves(&tcp("0.0.0.0:8080"), &tcp("[::1]:8080")));
        assert!(!serves(&tcp("127.0.0.1:8080"), &tcp("127.0.0.1:8081")));
        assert!(!serves(&tcp("127.0.0.1:8080"), &ListenAddress::Unix("/run/a.sock".into())));
    }

    #[tokio::test]
    async fn the_dual_stack_wildcard_takes_ipv4() {
        let listeners = Listeners::bind(&[tcp("[::]:0")], Inherited::none()).unwrap();
        let [ListenAddress::Tcp(bound)] = listeners.addresses()[..] else { panic!("one TCP address") };
        assert_ne!(bound.port(), 0);
        tokio::net::TcpStream::connect(("127.0.0.1", bound.port())).await.unwrap();
    }

    #[tokio::test]
    async fn a_passed_listener_replaces_the_configured_one() {
        let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = ListenAddress::Tcp(held.local_addr().unwrap());
        let mut inherited = Inherited::none();
        inherited.add_tcp(held.try_clone().unwrap()).unwrap();
        let wanted = [address];
        let listeners = Listeners::bind(&wanted, inherited).unwrap();
        assert_eq!(listeners.addresses(), wanted);
        assert!(Listeners::bind(&wanted, Inherited::none()).is_err(), "it is taken");
        assert!(matches!(Listeners::bind(&[], Inherited::none()), Err(ListenError::Nowhere)));
    }

    #[tokio::test]
    async fn only_a_dead_unix_socket_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hfs.sock");
        let address = [ListenAddress::Unix(path.clone())];
        let first = Listeners::bind(&address, Inherited::none()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(matches!(Listeners::bind(&address, Inherited::none()), Err(ListenError::Bind { .. })));
        drop(first);
        drop(Listeners::bind(&address, Inherited::none()).unwrap());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(Listeners::bind(&address, Inherited::none()), Err(ListenError::Occupied { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn everywhere_without_ipv6_is_everywhere_of_ipv4() {
        let error = |errno: Errno| io::Error::from(errno);
        let everywhere = "[::]:8080".parse().unwrap();
        assert_eq!(without_ipv6(everywhere, &error(Errno::AFNOSUPPORT)), "0.0.0.0:8080".parse().ok());
        assert_eq!(without_ipv6(everywhere, &error(Errno::ADDRNOTAVAIL)), "0.0.0.0:8080".parse().ok());
        assert_eq!(without_ipv6(everywhere, &error(Errno::ADDRINUSE)), None);
        assert_eq!(without_ipv6("[::1]:8080".parse().unwrap(), &error(Errno::ADDRNOTAVAIL)), None);
    }

    #[tokio::test]
    async fn a_shared_listener_is_bound_by_two_at_once() {
        let first = Listeners::bind_shared(&[tcp("127.0.0.1:0")], Inherited::none()).unwrap();
        Listeners::bind_shared(&first.addresses(), Inherited::none()).unwrap();
    }
}
