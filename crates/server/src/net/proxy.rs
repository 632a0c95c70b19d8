//! The PROXY protocol, versions 1 and 2: a trusted proxy says who its client is, before anything else on the wire.
//!
//! Only peers that the configuration trusts are read this way; of anybody else the same bytes are a malformed request.
//! A trusted peer must send the header: guessing would let a client behind a forgetful proxy forge it.

use std::net::IpAddr;

use bytes::{Buf, BytesMut};
use ppp::{v1, v2};

use super::socket::Socket;

const V1_PREFIX: &[u8] = b"PROXY ";
/// Longest line of version 1 with its CRLF, by its specification.
const V1_MAX: usize = 107;
const V2_PREFIX: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED: usize = 16;
/// Addresses and TLVs: real proxies send some hundred bytes at most.
const V2_MAX: usize = 4096;

/// Why a PROXY header cannot be used. The connection is closed without an answer: who sends such a thing is broken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// It does not start like a header of either version.
    #[error("the connection does not start with a PROXY header")]
    Missing,
    /// Version 1 that cannot be read.
    #[error("malformed PROXY header, version 1")]
    V1(#[from] v1::BinaryParseError),
    /// Version 2 that cannot be read.
    #[error("malformed PROXY header, version 2")]
    V2(#[from] v2::ParseError),
    /// Longer than any real one.
    #[error("PROXY header too long")]
    TooLong,
    /// The peer closed first.
    #[error("the connection ended before the PROXY header did")]
    Closed,
    /// The connection broke.
    #[error("the connection broke before the PROXY header ended")]
    Io(#[from] std::io::Error),
}

/// Reads the header; what was read beyond it is put back. `None`: the proxy speaks for itself (a health check) or does
/// not know.
pub(super) async fn read_header(socket: &mut Socket) -> Result<Option<IpAddr>, ProxyError> {
    let mut buffer = BytesMut::new();
    loop {
        if socket.read(&mut buffer, 512).await? == 0 {
            return Err(ProxyError::Closed);
        }
        if let Some((address, length)) = parse(&buffer)? {
            buffer.advance(length);
            socket.unread(buffer);
            return Ok(address);
        }
    }
}

/// `Ok(None)`: more bytes are needed.
fn parse(input: &[u8]) -> Result<Option<(Option<IpAddr>, usize)>, ProxyError> {
    if starts_like(input, V2_PREFIX) {
        parse_v2(input)
    } else if starts_like(input, V1_PREFIX) {
        parse_v1(input)
    } else {
        Err(ProxyError::Missing)
    }
}

/// As far as either goes.
fn starts_like(input: &[u8], prefix: &[u8]) -> bool {
    let common = input.len().min(prefix.len());
    input[..common] == prefix[..common]
}

fn parse_v1(input: &[u8]) -> Result<Option<(Option<IpAddr>, usize)>, ProxyError> {
    let Some(end) = input.windows(2).take(V1_MAX - 1).position(|pair| pair == b"\r\n") else {
        return if input.len() < V1_MAX { Ok(None) } else { Err(ProxyError::TooLong) };
    };
    let length = end + 2;
    let address = match v1::Header::try_from(&input[..length])?.addresses {
        v1::Addresses::Tcp4(addresses) => Some(addresses.source_address.into()),
        v1::Addresses::Tcp6(addresses) => Some(addresses.source_address.into()),
        v1::Addresses::Unknown => None,
    };
    Ok(Some((address.map(|address: IpAddr| address.to_canonical()), length)))
}

fn parse_v2(input: &[u8]) -> Result<Option<(Option<IpAddr>, usize)>, ProxyError> {
    let Some(fixed) = input.get(..V2_FIXED) else { return Ok(None) };
    let length = V2_FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > V2_MAX {
        return Err(ProxyError::TooLong);
    }
    let Some(whole) = input.get(..length) else { return Ok(None) };
    let header = v2::Header::try_from(whole)?;
    let address = match (header.command, header.addresses) {
        (v2::Command::Local, _) => None,
        (v2::Command::Proxy, v2::Addresses::IPv4(addresses)) => Some(addresses.source_address.into()),
        (v2::Command::Proxy, v2::Addresses::IPv6(addresses)) => Some(addresses.source_address.into()),
        (v2::Command::Proxy, v2::Addresses::Unix(_) | v2::Addresses::Unspecified) => None,
    };
    Ok(Some((address.map(|address: IpAddr| address.to_canonical()), length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

    fn v2_header(command: v2::Command) -> Vec<u8> {
        let addresses: v2::Addresses = v2::IPv4::new([203, 0, 113, 9], [192, 0, 2, 1], 40_000, 443).into();
        v2::Builder::with_addresses(v2::Version::Two | command, v2::Protocol::Stream, addresses).build().unwrap()
    }

    #[test]
    fn every_cut_of_a_header_asks_for_more_and_the_whole_names_the_client() {
        let mapped = b"PROXY TCP6 ::ffff:203.0.113.9 ::1 40000 443\r\n".to_vec();
        for header in
            [b"PROXY TCP4 203.0.113.9 192.0.2.1 40000 443\r\n".to_vec(), mapped, v2_header(v2::Command::Proxy)]
        {
            for cut in 0..header.len() {
                assert!(matches!(parse(&header[..cut]), Ok(None)), "cut at {cut}");
            }
            let mut more = header.clone();
            more.extend_from_slice(b"GET / HTTP/1.1\r\n");
            let (address, length) = parse(&more).unwrap().unwrap();
            assert_eq!(address, Some("203.0.113.9".parse().unwrap()));
            assert_eq!(length, header.len());
        }
    }

    #[test]
    fn a_proxy_that_speaks_for_itself_names_nobody() {
        assert!(matches!(parse(&v2_header(v2::Command::Local)), Ok(Some((None, 28)))));
        assert!(matches!(parse(b"PROXY UNKNOWN\r\n"), Ok(Some((None, 15)))));
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let endless = [V2_PREFIX, &[0x21, 0x11, 0xff, 0xff]].concat();
        let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
        let wrong = b"PROXY TCP4 300.0.113.9 192.0.2.1 40000 443\r\n";
        for input in [b"GET / HTTP/1.1\r\n".as_slice(), b"PROXX", b"PROXY TCP5 a b c d\r\n", wrong, &endless, &long] {
            assert!(parse(input).is_err(), "{input:?}");
        }
    }

    /// Both versions of a header that names `source`.
    fn headers(source: SocketAddr, port: u16) -> [Vec<u8>; 2] {
        let (family, addresses, own): (_, v2::Addresses, _) = match source {
            SocketAddr::V4(v4) => {
                ("TCP4", v2::IPv4::new(*v4.ip(), Ipv4Addr::new(192, 0, 2, 1), v4.port(), port).into(), "192.0.2.1")
            }
            SocketAddr::V6(v6) => {
                ("TCP6", v2::IPv6::new(*v6.ip(), Ipv6Addr::UNSPECIFIED, v6.port(), port).into(), "::")
            }
        };
        let v1 = format!("PROXY {family} {} {own} {} {port}\r\n", source.ip(), source.port());
        let v2 = v2::Builder::with_addresses(v2::Version::Two | v2::Command::Proxy, v2::Protocol::Stream, addresses);
        [v1.into_bytes(), v2.build().unwrap()]
    }

    proptest! {
        #[test]
        fn any_client_is_named_and_nothing_behind_the_header_is_touched(
            source: SocketAddr,
            port: u16,
            cut: prop::sample::Index,
            rest in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            for header in headers(source, port) {
                prop_assert!(matches!(parse(&header[..cut.index(header.len())]), Ok(None)));
                let (address, length) = parse(&[&header[..], &rest].concat()).unwrap().unwrap();
                prop_assert_eq!((address, length), (Some(source.ip().to_canonical()), header.len()));
            }
        }

        #[test]
        fn no_input_panics(input in prop::collection::vec(any::<u8>(), 0..300), v2: bool) {
            let prefix = if v2 { V2_PREFIX } else { V1_PREFIX };
            let _ = parse(&[prefix, &input].concat());
            let _ = parse(&input);
        }
    }
}
