//! One client cannot hold all connections. Peers on loopback have no share, so this client has a network of its own.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::time::Duration;

use rustix::process::geteuid;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::rig::server::TestServer;
use crate::rig::wait_until;

const CROWDED: &str = "hfs_connections_crowded_total";

/// Gives the server a network in which 192.0.2.1 is its own address. It also inherits a socket of the test's network,
/// where the test's other requests go.
const NETWORK: &str = "ip link set lo up && ip addr add 192.0.2.1/32 dev lo && exec \"$@\"";

#[test]
fn a_client_that_holds_its_share_leaves_the_rest_to_others() {
    assert!(geteuid().is_root(), "this test makes a network, which needs root");
    let listener = TcpListener::bind("127.0.0.1:0").expect("listener");
    let outside = listener.local_addr().expect("bound");
    let inside: SocketAddr = ([192, 0, 2, 1], 8080).into();
    let server = TestServer::builder()
        .inherit(listener)
        .set("server.listen_address", &format!("[\"{outside}\", \"{inside}\"]"))
        .set("server.max_connections_per_address", "5")
        .wrapper(&["unshare", "--net", "sh", "-c", NETWORK, "sh"])
        .start();
    std::thread::scope(|scope| scope.spawn(|| crowd(&server, inside)).join()).expect("the client");
    assert!(server.metric(CROWDED) >= 10, "{} were closed", server.metric(CROWDED));
    wait_until("line in the log", Duration::from_secs(5), || server.log().contains("holds its share"));
    assert_eq!(server.log().matches("holds its share").count(), 1, "one line, not one each: {}", server.log());
}

/// A client in the server's network. A thread that went there never comes back, so it must be one of its own.
fn crowd(server: &TestServer, address: SocketAddr) {
    let network = File::open(format!("/proc/{}/ns/net", server.pid())).expect("the server's network");
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter it");
    let mut held: Vec<TcpStream> = (0..5).map(|_| TcpStream::connect(address).expect("connection")).collect();
    assert!(held.iter_mut().all(is_served), "within the share");
    for number in 6..16 {
        let mut connection = TcpStream::connect(address).expect("connection");
        assert!(!is_served(&mut connection), "connection {number} of a share of five");
    }
    assert!(held.iter_mut().all(is_served), "what the client holds it keeps");
    held.truncate(4);
    wait_until("place in the share", Duration::from_secs(5), || {
        is_served(&mut TcpStream::connect(address).expect("connection"))
    });
}

/// Whether a request is answered, and the connection kept.
fn is_served(connection: &mut TcpStream) -> bool {
    connection.set_read_timeout(Some(Duration::from_secs(10))).expect("time-out");
    if connection.write_all(b"HEAD /health HTTP/1.1\r\nHost: files.example.org\r\n\r\n").is_err() {
        return false;
    }
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(b"\r\n\r\n") {
        match connection.read(&mut byte) {
            Ok(1) => answer.push(byte[0]),
            _ => return false,
        }
    }
    answer.starts_with(b"HTTP/1.1 200")
}
