//! [`Shares`]: how many connections each client holds, so that no one client holds them all.
//!
//! A client is an IPv4 address or, since a host has as many IPv6 addresses as it likes, a /64. Called by `accept`, before
//! a byte is read.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedSemaphorePermit;

use super::NetConfig;
use crate::http::client::is_proxied;
use crate::http::exchange::Peer;

/// One of all connections, and one of its client's where that has a share.
#[derive(Debug)]
pub(super) struct Seat {
    _permit: OwnedSemaphorePermit,
    _share: Option<Share>,
}

impl Seat {
    /// `None`: the client holds its share already.
    pub(super) fn take(
        peer: &Peer,
        config: &NetConfig,
        permit: OwnedSemaphorePermit,
        shares: &Arc<Shares>,
    ) -> Option<Self> {
        let share = match client_with_share(peer, config) {
            Some(client) => Some(shares.take(client, config.max_per_address)?),
            None => None,
        };
        Some(Self { _permit: permit, _share: share })
    }
}

/// The address whose share a connection of `peer` counts for. `None` for peers that stand for many clients: a trusted
/// proxy, and anything on this machine, which may be a proxy that nobody has configured as one.
fn client_with_share(peer: &Peer, config: &NetConfig) -> Option<IpAddr> {
    let address = peer.socket?.ip().to_canonical();
    let is_shared = address.is_loopback() || is_proxied(peer, &config.trusted_proxies, config.trust_unix);
    (!is_shared).then(|| network_of(address))
}

fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
    }
}

/// Open connections by client; a client without any has no entry.
#[derive(Debug, Default)]
pub(super) struct Shares(Mutex<HashMap<IpAddr, usize>>);

impl Shares {
    /// Counts one more connection of `client` until the guard is dropped; `None` when it holds `most` already.
    fn take(self: &Arc<Self>, client: IpAddr, most: usize) -> Option<Share> {
        let mut open = self.lock();
        let count = open.entry(client).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Share { shares: Arc::clone(self), client })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection of a client.
#[derive(Debug)]
struct Share {
    shares: Arc<Shares>,
    client: IpAddr,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut open = self.shares.lock();
        if let Some(count) = open.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tests::test_config;

    fn client(socket: &str) -> Option<String> {
        let config = NetConfig { trusted_proxies: vec!["192.0.2.0/24".parse().unwrap()], ..test_config() };
        let peer = Peer { socket: Some(socket.parse().unwrap()), ..Peer::default() };
        client_with_share(&peer, &config).map(|address| address.to_string())
    }

    #[test]
    fn a_client_is_an_address_or_a_network_of_64_bits() {
        assert_eq!(client("198.51.100.7:1").as_deref(), Some("198.51.100.7"));
        assert_eq!(client("[::ffff:198.51.100.7]:1").as_deref(), Some("198.51.100.7"));
        assert_eq!(client("[2001:db8:1:2:3:4:5:6]:1").as_deref(), Some("2001:db8:1:2::"));
    }

    #[test]
    fn who_stands_for_many_has_no_share() {
        for peer in ["192.0.2.9:1", "[::ffff:192.0.2.9]:1", "127.0.0.1:1", "[::1]:1"] {
            assert_eq!(client(peer), None, "{peer}");
        }
        assert_eq!(client_with_share(&Peer::default(), &test_config()), None, "a Unix socket");
    }

    #[test]
    fn a_share_is_free_again_when_its_connection_ends() {
        let (one, two) = ("198.51.100.7".parse().unwrap(), "198.51.100.8".parse().unwrap());
        let shares = Arc::new(Shares::default());
        let held: Vec<Share> = (0..3).filter_map(|_| shares.take(one, 2)).collect();
        assert_eq!(held.len(), 2);
        let other = shares.take(two, 2);
        assert!(other.is_some(), "another client has a share of its own");
        drop(held);
        assert!(shares.take(one, 1).is_some());
        drop(other);
        assert!(shares.lock().is_empty(), "who left is forgotten");
    }
}
