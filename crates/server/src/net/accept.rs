//! [`serve`]: accepts connections, one small task each, and drains them at the end.
//!
//! Owns the number of connections, what an accept error means, and the order in which a new connection is understood:
//! PROXY header, TLS, protocol. It never looks at a request. Called by `app`, once per service.

use std::convert::Infallible;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::BytesMut;
use futures_core::future::BoxFuture;
use hfs_core::pace::Carrier;
use http::{Request, Response};
use rustix::io::Errno;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, info, warn};

use super::drain::{Phase, Phases};
use super::listen::{ListenSocket, Listener};
use super::share::{Seat, Shares};
use super::socket::Socket;
use super::{ConnectionEvents, Listeners, NetConfig, Shutdown, TlsAcceptor, h1, h2, proxy, tls};
use crate::flow::Wire;
use crate::http::exchange::{Incoming, Outgoing, Peer};

/// Between "this connection ends" and closing the idle ones: what clients sent before they heard it still gets through.
const GRACE: Duration = Duration::from_secs(1);
/// After an accept error that the next call would meet again.
const BACKOFF: Duration = Duration::from_millis(50);
/// A connection that waits in a listener shows within one turn of the reactor.
const WAITING: Duration = Duration::from_millis(5);
/// The same trouble is logged at most this often.
const COMPLAINT: Duration = Duration::from_secs(10);
/// What an HTTP/2 client sends first.
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What answers requests: any tower service over the exchange types.
pub trait HttpService:
    tower_service::Service<Request<Incoming>, Response = Response<Outgoing>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static
{
}

impl<S> HttpService for S where
    S: tower_service::Service<Request<Incoming>, Response = Response<Outgoing>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// What [`serve`] runs on.
#[derive(Clone)]
pub struct Server<S> {
    /// Time-outs and limits. A swapped configuration counts for new connections; addresses and `max_connections` do
    /// not change while it runs.
    pub config: Arc<ArcSwap<NetConfig>>,
    /// TLS on every TCP listener. Unix sockets stay cleartext: only a proxy on this machine reaches them.
    pub tls: Option<Arc<TlsAcceptor>>,
    /// Answers requests; cloned per connection.
    pub service: S,
    /// Ends it.
    pub shutdown: Shutdown,
    /// Counts.
    pub events: Arc<dyn ConnectionEvents>,
}

impl<S> std::fmt::Debug for Server<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("config", &self.config).field("tls", &self.tls).finish_non_exhaustive()
    }
}

/// What a connection knows of its server.
#[derive(Clone)]
pub(super) struct Link<S> {
    pub(super) config: Arc<NetConfig>,
    pub(super) service: S,
    pub(super) peer: Peer,
    pub(super) phases: Phases,
    pub(super) events: Arc<dyn ConnectionEvents>,
}

/// Serves `listeners` until the shutdown has drained: new connections are refused first, everybody is told, idle
/// connections are closed, running transfers get `drain_timeout`, then whatever is left is dropped.
pub async fn serve<S: HttpService>(listeners: Listeners, server: Server<S>) {
    let config = server.config.load_full();
    let most = u32::try_from(config.max_connections).unwrap_or(u32::MAX).max(1);
    let free = Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)));
    let shares = Arc::new(Shares::default());
    let mut loops = JoinSet::new();
    for listener in listeners.0 {
        info!(address = %listener.address, inherited = listener.inherited, "Listening");
        loops.spawn(accept_loop(listener, server.clone(), Arc::clone(&free), Arc::clone(&shares)));
    }
    while loops.join_next().await.is_some() {}

    let gone = || free.acquire_many(most);
    if timeout(GRACE, gone()).await.is_ok() {
        return;
    }
    server.shutdown.advance(Phase::Closing);
    let patience = server.config.load().drain_timeout;
    let mut phases = server.shutdown.watch();
    tokio::select! {
        _ = gone() => return,
        () = tokio::time::sleep(patience) => warn!(left = running(&free, most), "Transfers cut: they outlasted the drain"),
        () = phases.reach(Phase::Cut) => warn!(left = running(&free, most), "Transfers cut"),
    }
    server.shutdown.advance(Phase::Cut);
    // Connection tasks end at their next wait: nothing in them blocks.
    let _ = gone().await;
}

fn running(free: &Semaphore, most: u32) -> usize {
    usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(free.available_permits())
}

async fn accept_loop<S: HttpService>(listener: Listener, server: Server<S>, free: Arc<Semaphore>, shares: Arc<Shares>) {
    let mut phases = server.shutdown.watch();
    let mut complaints = Complaints::default();
    let mut crowds = Complaints::default();
    loop {
        if free.available_permits() == 0 && complaints.due(Instant::now()) {
            warn!(address = %listener.address, "Connection limit reached, new ones wait");
        }
        let permit = tokio::select! {
            biased;
            () = phases.reach(Phase::Draining) => break,
            permit = Arc::clone(&free).acquire_owned() => permit,
        };
        let Ok(permit) = permit else { break };
        let accepted = tokio::select! {
            biased;
            () = phases.reach(Phase::Draining) => break,
            accepted = accept(&listener.socket) => accepted,
        };
        match accepted {
            Ok((socket, peer)) => match Seat::take(&peer, &server.config.load(), permit, &shares) {
                Some(seat) => start(socket, peer, &server, seat),
                None => {
                    server.events.crowded();
                    if crowds.due(Instant::now()) {
                        warn!(client = %peer, "A client holds its share of the connections, further ones are closed");
                    }
                }
            },
            Err(error) if lost_one_connection(&error) => debug!(%error, "A connection was gone before it was accepted"),
            Err(error) => {
                if complaints.due(Instant::now()) {
                    warn!(address = %listener.address, %error, "Cannot accept connections, trying again");
                }
                tokio::time::sleep(BACKOFF).await;
            }
        }
    }
    if !listener.inherited {
        take_waiting(&listener, server, &free, &shares).await;
    }
}

/// Closing a listener resets the connections that wait in it, so those are taken first. An inherited listener lives on
/// in whoever passed it, and so do they.
async fn take_waiting<S: HttpService>(
    listener: &Listener,
    server: Server<S>,
    free: &Arc<Semaphore>,
    shares: &Arc<Shares>,
) {
    while let Ok(permit) = Arc::clone(free).try_acquire_owned() {
        let Ok(Ok((socket, peer))) = timeout(WAITING, accept(&listener.socket)).await else { return };
        match Seat::take(&peer, &server.config.load(), permit, shares) {
            Some(seat) => start(socket, peer, &server, seat),
            None => server.events.crowded(),
        }
    }
}

async fn accept(socket: &ListenSocket) -> io::Result<(Socket, Peer)> {
    match socket {
        ListenSocket::Tcp(listener) => {
            let (stream, mut address) = listener.accept().await?;
            // Answers leave when they are complete. Best effort, as every option on a socket that may be multipath.
            let _ = stream.set_nodelay(true);
            // A dual-stack listener shows IPv4 clients in IPv6 clothes; rules and logs mean the address itself.
            address.set_ip(address.ip().to_canonical());
            Ok((stream.into(), Peer { socket: Some(address), ..Peer::default() }))
        }
        ListenSocket::Unix(listener) => Ok((listener.accept().await?.0.into(), Peer::default())),
    }
}

/// Errors that concern the one connection that was to be accepted; anything else would come again at once.
fn lost_one_connection(error: &io::Error) -> bool {
    let lost = [Errno::CONNABORTED, Errno::CONNRESET, Errno::PROTO, Errno::PERM, Errno::INTR, Errno::TIMEDOUT];
    Errno::from_io_error(error).is_some_and(|errno| lost.contains(&errno))
}

/// Keeps one kind of trouble from filling the log.
#[derive(Default)]
struct Complaints(Option<Instant>);

impl Complaints {
    fn due(&mut self, now: Instant) -> bool {
        let due = self.0.is_none_or(|last| now.duration_since(last) >= COMPLAINT);
        if due {
            self.0 = Some(now);
        }
        due
    }
}

/// Counts a connection for as long as it lives, however it ends.
struct Open {
    events: Arc<dyn ConnectionEvents>,
    _seat: Seat,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.events.closed();
    }
}

fn start<S: HttpService>(socket: Socket, peer: Peer, server: &Server<S>, seat: Seat) {
    let events = Arc::clone(&server.events);
    events.opened();
    let open = Open { events: Arc::clone(&events), _seat: seat };
    let phases = server.shutdown.watch();
    let link =
        Box::new(Link { config: server.config.load_full(), service: server.service.clone(), peer, phases, events });
    let tls = server.tls.clone().filter(|_| link.peer.socket.is_some());
    tokio::spawn(connection(socket, link, tls, open));
}

/// Serves one connection until it ends or is cut, and keeps `open` as long. Its future stays as small as an idle HTTP/1.1
/// connection is: the way there, which holds a whole TLS handshake, and HTTP/2 live in boxes.
pub(super) fn connection<S: HttpService>(
    socket: Socket,
    link: Box<Link<S>>,
    tls: Option<Arc<TlsAcceptor>>,
    open: impl Send + 'static,
) -> impl Future<Output = ()> + Send + 'static {
    let mut phases = link.phases.clone();
    let understood = Box::pin(understand(socket, link, tls));
    async move {
        let served = async {
            match understood.await {
                Some(Protocol::H1(connection)) => h1::serve(connection).await,
                Some(Protocol::H2(serving)) => serving.await,
                None => {}
            }
        };
        tokio::select! {
            // First: whoever looks at the phase inside relies on this to be told of the next one.
            biased;
            () = phases.reach(Phase::Cut) => {}
            () = served => {}
        }
        drop(open);
    }
}

/// A descriptor of its own: the `h2` crate gives no way back to the socket that it took. Without one, streams are not
/// measured.
fn shared_wire(socket: &Socket) -> Option<Wire> {
    socket.as_fd().try_clone_to_owned().ok().map(|fd| Wire::new(fd, Carrier::H2))
}

/// What the client speaks.
enum Protocol<S> {
    H1(Box<h1::Connection<S>>),
    /// Served to its end.
    H2(BoxFuture<'static, ()>),
}

/// From the first byte to the protocol. `None`: the connection is over.
async fn understand<S: HttpService>(
    mut socket: Socket,
    mut link: Box<Link<S>>,
    tls: Option<Arc<TlsAcceptor>>,
) -> Option<Protocol<S>> {
    if link.config.proxy_protocol && is_trusted(&link) {
        read_proxy_header(&mut socket, &mut link).await?;
    }
    if let Some(acceptor) = tls {
        link.peer.tls = true;
        // Boxed: of hundreds of connections in the clear that come together, each would leave a hole of that size.
        let stream = Box::pin(handshake(socket, &acceptor, &mut link)).await?;
        if !tls::speaks_h2(&stream) {
            return Some(Protocol::H1(h1::Connection::new(stream.into(), BytesMut::new(), link)));
        }
        link.peer.wire = shared_wire(stream.get_ref().0);
        let batch = h2::Batch::from(stream);
        return Some(Protocol::H2(Box::pin(h2::serve(batch.clone(), Some(batch), link))));
    }
    let (buffer, h2) = first_bytes(&mut socket, &mut link).await?;
    if !h2 {
        return Some(Protocol::H1(h1::Connection::new(socket.into(), buffer, link)));
    }
    socket.unread(buffer);
    link.peer.wire = shared_wire(&socket);
    Some(Protocol::H2(Box::pin(h2::serve(socket, None, link))))
}

/// Whether the peer may say who its client is.
fn is_trusted<S>(link: &Link<S>) -> bool {
    let config = &link.config;
    link.peer.socket.map_or(config.trust_unix, |peer| config.trusted_proxies.iter().any(|net| net.contains(&peer.ip())))
}

async fn read_proxy_header<S>(socket: &mut Socket, link: &mut Link<S>) -> Option<()> {
    match timeout(link.config.header_timeout, proxy::read_header(socket)).await {
        Ok(Ok(announced)) => {
            link.peer.announced = announced;
            return Some(());
        }
        // Balancers probe by connecting and leaving: no trouble worth a line.
        Ok(Err(proxy::ProxyError::Closed)) => return None,
        Ok(Err(error)) => warn!(proxy = %link.peer, %error, "Refused a connection from a trusted proxy"),
        Err(_) => warn!(proxy = %link.peer, "A trusted proxy sent no PROXY header in time"),
    }
    link.events.rejected();
    None
}

async fn handshake<S>(socket: Socket, acceptor: &TlsAcceptor, link: &mut Link<S>) -> Option<tls::Stream> {
    match timeout(link.config.header_timeout, acceptor.accept(socket)).await {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => debug!(client = %link.peer, %error, "TLS handshake failed"),
        Err(_) => debug!(client = %link.peer, "TLS handshake took too long"),
    }
    link.events.rejected();
    None
}

/// Reads until it is clear which protocol begins. `None`: nothing came.
async fn first_bytes<S>(socket: &mut Socket, link: &mut Link<S>) -> Option<(BytesMut, bool)> {
    let mut buffer = socket.take_unread();
    let deadline = Instant::now() + link.config.header_timeout;
    loop {
        let common = buffer.len().min(H2_PREFACE.len());
        if buffer[..common] != H2_PREFACE[..common] {
            return Some((buffer, false));
        }
        if common == H2_PREFACE.len() {
            return Some((buffer, true));
        }
        let read = tokio::select! {
            read = timeout_at(deadline, socket.read(&mut buffer, h1::READ)) => read,
            () = link.phases.reach(Phase::Closing) => return None,
        };
        match read {
            Ok(Ok(read)) if read > 0 => {}
            // Half a preface: let HTTP/1.1 say what it thinks of it.
            Err(_) if !buffer.is_empty() => return Some((buffer, false)),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_of_one_connection_are_met_without_a_pause() {
        assert!(lost_one_connection(&Errno::CONNABORTED.into()));
        assert!(!lost_one_connection(&Errno::MFILE.into()));
        assert!(!lost_one_connection(&Errno::NFILE.into()));
    }

    #[test]
    fn a_complaint_is_not_repeated_at_once() {
        let mut complaints = Complaints::default();
        let start = Instant::now();
        let due: Vec<u32> = (0..300).filter(|&n| complaints.due(start + BACKOFF * n)).collect();
        assert_eq!(due, [0, 200]);
    }
}
