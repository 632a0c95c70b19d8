//! Who the client is: the socket's other end, or what a trusted proxy says of it.
//!
//! Forwarded headers from anybody else are text that a client made up; they never count.

use std::fmt;
use std::net::IpAddr;

use http::{HeaderMap, header};
use ipnet::IpNet;

use super::exchange::Peer;

/// The client of one request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Client {
    /// At this address.
    Address(IpAddr),
    /// A process on this machine, through a Unix socket, that named no client.
    Local,
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Local => f.write_str("local"),
        }
    }
}

/// Headers by which a proxy shows that the request is not its own.
const FORWARDING: [&str; 4] = ["x-forwarded-for", "x-real-ip", "forwarded", "via"];

/// Where the client of a request sees this server, `http://host`; `None` where it sees a proxy instead.
pub fn origin_of(peer: &Peer, headers: &HeaderMap, is_proxied: bool) -> Option<String> {
    let is_direct = peer.socket.is_some() && !is_proxied && !is_forwarded(headers);
    let host = headers.get(header::HOST)?.to_str().ok().filter(|host| is_direct && !host.is_empty())?;
    Some(format!("{}://{host}", if peer.tls { "https" } else { "http" }))
}

/// The client of a request: the right-most address in the forwarded headers that is no trusted proxy itself, if the
/// peer is one; else the peer. Whether the peers of a Unix socket are trusted is said separately.
#[must_use]
pub fn client_of(peer: &Peer, headers: &HeaderMap, trusted: &[IpNet], trust_unix: bool) -> Client {
    let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
    let nearest = peer.announced.or(peer.socket.map(|socket| socket.ip())).map(|address| address.to_canonical());
    if !nearest.map_or(trust_unix, is_trusted) {
        return nearest.map_or(Client::Local, Client::Address);
    }
    let mut client = nearest;
    for hop in hops(headers).into_iter().rev() {
        // An element that is no address ends what can be believed.
        let Some(address) = hop else { break };
        client = Some(address);
        if !is_trusted(address) {
            break;
        }
    }
    client.map_or(Client::Local, Client::Address)
}

/// Whether the connection's other end is a proxy that speaks for its clients.
#[must_use]
pub fn is_proxied(peer: &Peer, trusted: &[IpNet], trust_unix: bool) -> bool {
    let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
    let socket = peer.socket.map(|socket| socket.ip().to_canonical());
    peer.announced.is_some() || socket.map_or(trust_unix, is_trusted)
}

/// Whether the request comes straight from a process on this machine: a peer on loopback TCP, and nothing that hints at a
/// proxy in between (a proxy on this host that is not configured as trusted also connects from loopback).
#[must_use]
pub fn is_local(peer: &Peer, headers: &HeaderMap) -> bool {
    let loopback = peer.socket.is_some_and(|socket| socket.ip().to_canonical().is_loopback());
    loopback && peer.announced.is_none() && !is_forwarded(headers)
}

/// Whether a proxy has said of itself that it is there, be it trusted or not.
fn is_forwarded(headers: &HeaderMap) -> bool {
    FORWARDING.iter().any(|name| headers.contains_key(*name))
}

/// The forwarding chain, nearest last; `None` for an element that names no address.
fn hops(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    if headers.contains_key("x-forwarded-for") {
        return elements(headers, "x-forwarded-for").map(parse_address).collect();
    }
    if headers.contains_key(header::FORWARDED) {
        return elements(headers, "forwarded").map(|element| forwarded_for(element).and_then(parse_address)).collect();
    }
    elements(headers, "x-real-ip").map(parse_address).collect()
}

fn elements<'a>(headers: &'a HeaderMap, name: &'static str) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).into_iter().flat_map(|value| value.to_str().unwrap_or("?").split(',').map(str::trim))
}

/// The `for=` of one element of `Forwarded` (RFC 7239 section 4).
fn forwarded_for(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.eq_ignore_ascii_case("for").then(|| value.trim_matches('"'))
    })
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip());
    text.parse::<IpAddr>().ok().or_else(bare).or_else(with_port).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    fn peer(socket: &str) -> Peer {
        Peer { socket: Some(socket.parse().unwrap()), ..Peer::default() }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_str(v).unwrap())).collect()
    }

    fn seen(peer: &Peer, pairs: &[(&'static str, &str)]) -> String {
        let trusted = ["127.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
        client_of(peer, &headers(pairs), &trusted, true).to_string()
    }

    #[test]
    fn a_stranger_cannot_name_itself() {
        assert_eq!(seen(&peer("203.0.113.9:1"), &[("x-forwarded-for", "127.0.0.1")]), "203.0.113.9");
        assert_eq!(seen(&peer("[::ffff:203.0.113.9]:1"), &[("x-real-ip", "127.0.0.1")]), "203.0.113.9");
    }

    #[test]
    fn the_right_most_untrusted_hop_is_the_client() {
        let proxy = peer("127.0.0.1:1");
        assert_eq!(seen(&proxy, &[("x-forwarded-for", "6.6.6.6, 198.51.100.7, 10.1.1.1")]), "198.51.100.7");
        assert_eq!(seen(&proxy, &[("x-forwarded-for", "198.51.100.7"), ("x-real-ip", "6.6.6.6")]), "198.51.100.7");
        assert_eq!(seen(&proxy, &[("forwarded", "for=6.6.6.6, for=\"[2001:db8::7]:80\";proto=https")]), "2001:db8::7");
        assert_eq!(seen(&proxy, &[("x-real-ip", "2001:db8::8")]), "2001:db8::8");
        assert_eq!(seen(&proxy, &[("x-forwarded-for", "6.6.6.6, unknown, 10.1.1.1")]), "10.1.1.1");
        assert_eq!(seen(&proxy, &[]), "127.0.0.1");
    }

    #[test]
    fn the_proxy_protocol_names_the_client_before_headers_do() {
        let announced = Peer { announced: "198.51.100.7".parse().ok(), ..peer("127.0.0.1:1") };
        assert_eq!(seen(&announced, &[("x-forwarded-for", "6.6.6.6")]), "198.51.100.7");
    }

    #[test]
    fn a_unix_peer_is_a_proxy_where_it_is_trusted() {
        assert_eq!(seen(&Peer::default(), &[("x-forwarded-for", "198.51.100.7")]), "198.51.100.7");
        assert_eq!(seen(&Peer::default(), &[]), "local");
        let lied = headers(&[("x-forwarded-for", "198.51.100.7")]);
        assert_eq!(client_of(&Peer::default(), &lied, &[], false), Client::Local);
    }

    #[test]
    fn who_asks_this_server_itself_sees_it_as_its_host_says() {
        let seen = |peer: &Peer, more: &[(&'static str, &str)], is_proxied| {
            origin_of(peer, &headers(&[&[("host", "a.example:81")], more].concat()), is_proxied)
        };
        let direct = peer("203.0.113.9:1");
        assert_eq!(seen(&direct, &[], false).as_deref(), Some("http://a.example:81"));
        assert_eq!(seen(&Peer { tls: true, ..direct.clone() }, &[], false).as_deref(), Some("https://a.example:81"));
        assert_eq!(seen(&direct, &[], true), None);
        assert_eq!(seen(&direct, &[("via", "1.1 proxy")], false), None, "also of one that is not trusted");
        assert_eq!(seen(&Peer::default(), &[], false), None, "who speaks over a Unix socket is a proxy");
        assert_eq!(origin_of(&direct, &HeaderMap::new(), false), None);
    }

    #[test]
    fn a_proxied_request_is_never_local() {
        assert!(is_local(&peer("127.0.0.1:1"), &headers(&[])));
        assert!(is_local(&peer("[::1]:1"), &headers(&[])));
        assert!(!is_local(&peer("203.0.113.9:1"), &headers(&[])));
        assert!(!is_local(&Peer::default(), &headers(&[])), "a Unix socket is nearly always a proxy's");
        for name in FORWARDING {
            assert!(!is_local(&peer("127.0.0.1:1"), &headers(&[(name, "x")])), "{name}");
        }
    }

    /// How a header spells its chain of addresses.
    #[derive(Clone, Copy, Debug)]
    enum Spelling {
        Plain,
        Forwarded,
    }

    impl Spelling {
        fn name(self) -> HeaderName {
            match self {
                Self::Plain => HeaderName::from_static("x-forwarded-for"),
                Self::Forwarded => header::FORWARDED,
            }
        }

        fn element(self, address: IpAddr, port: Option<u16>) -> String {
            let text = port.map_or(address.to_string(), |port| SocketAddr::new(address, port).to_string());
            match self {
                Self::Plain => text,
                Self::Forwarded => format!("proto=https;For=\"{text}\""),
            }
        }
    }

    fn spelling() -> impl Strategy<Value = Spelling> {
        prop_oneof![Just(Spelling::Plain), Just(Spelling::Forwarded)]
    }

    fn trusted() -> [IpNet; 3] {
        ["10.0.0.0/8", "127.0.0.0/8", "fd00::/8"].map(|net| net.parse().unwrap())
    }

    fn is_trusted(address: IpAddr) -> bool {
        trusted().iter().any(|net| net.contains(&address))
    }

    fn stranger() -> impl Strategy<Value = IpAddr> {
        any::<IpAddr>()
            .prop_map(|address| address.to_canonical())
            .prop_filter("a proxy", |address| !is_trusted(*address))
    }

    fn proxy() -> impl Strategy<Value = IpAddr> {
        let v4 = any::<[u8; 3]>().prop_map(|[b, c, d]| IpAddr::from([10, b, c, d]));
        let v6 = any::<u64>().prop_map(|low| IpAddr::from((0xfd00_u128 << 112 | u128::from(low)).to_be_bytes()));
        prop_oneof![v4, v6]
    }

    /// What a client may have put into the header itself.
    fn lie() -> impl Strategy<Value = String> {
        let address = (any::<IpAddr>(), any::<Option<u16>>(), spelling());
        prop_oneof![address.prop_map(|(ip, port, spelling)| spelling.element(ip, port)), "[ -~]{0,30}"]
    }

    /// The elements as they are sent: some on one line, the next on another.
    fn on_lines(name: &HeaderName, elements: &[String], per_line: usize) -> HeaderMap {
        let lines = elements.chunks(per_line).map(|line| HeaderValue::from_str(&line.join(", ")).unwrap());
        lines.map(|line| (name.clone(), line)).collect()
    }

    proptest! {
        #[test]
        fn no_header_moves_a_stranger(
            peer in stranger(),
            port: u16,
            values in prop::collection::vec((0..4usize, prop::collection::vec(any::<u8>(), 0..60)), 0..4),
        ) {
            let header = |(which, bytes): (usize, Vec<u8>)| {
                Some((HeaderName::from_static(FORWARDING[which]), HeaderValue::from_bytes(&bytes).ok()?))
            };
            let headers: HeaderMap = values.into_iter().filter_map(header).collect();
            let peer = Peer { socket: Some(SocketAddr::new(peer, port)), ..Peer::default() };
            let client = client_of(&peer, &headers, &trusted(), true);
            prop_assert_eq!(client, Client::Address(peer.socket.unwrap().ip()));
        }

        #[test]
        fn a_client_behind_proxies_is_found_whatever_it_claims(
            (spelling, per_line) in (spelling(), 1..4usize),
            lies in prop::collection::vec(lie(), 0..4),
            (client, port) in (stranger(), any::<Option<u16>>()),
            proxies in prop::collection::vec((proxy(), any::<Option<u16>>()), 0..4),
            nearest in proxy(),
            by_unix: bool,
        ) {
            let mut elements = lies;
            elements.push(spelling.element(client, port));
            elements.extend(proxies.into_iter().map(|(proxy, port)| spelling.element(proxy, port)));
            let headers = on_lines(&spelling.name(), &elements, per_line);
            let socket = (!by_unix).then(|| SocketAddr::new(nearest, 1));
            let peer = Peer { socket, ..Peer::default() };
            prop_assert_eq!(client_of(&peer, &headers, &trusted(), true), Client::Address(client));
            prop_assert!(is_proxied(&peer, &trusted(), true));
        }

        #[test]
        fn a_chain_of_proxies_ends_at_one_of_them(
            chain in prop::collection::vec(proxy(), 0..4),
            broken in "[ -~]{0,30}",
            nearest in proxy(),
        ) {
            let mut elements = vec![broken];
            elements.extend(chain.iter().map(|proxy| Spelling::Plain.element(*proxy, None)));
            let headers = on_lines(&Spelling::Plain.name(), &elements, 2);
            let peer = Peer { socket: Some(SocketAddr::new(nearest, 1)), ..Peer::default() };
            let Client::Address(client) = client_of(&peer, &headers, &trusted(), true) else {
                return Err(TestCaseError::fail("a TCP peer has an address"));
            };
            let named = elements[0].split(',').any(|element| parse_address(element.trim()) == Some(client));
            prop_assert!(named || client == nearest || chain.contains(&client), "{client} was never named");
        }
    }
}
