//! What a multipath TCP connection knows of itself.

use std::io;
use std::mem::offset_of;
use std::os::fd::BorrowedFd;

use libc::tcp_info as Tcp;

use crate::option;

/// Level and options, and a flag of what the first tells (Linux `uapi/linux/mptcp.h`).
const SOL_MPTCP: libc::c_int = 284;
const MPTCP_INFO: libc::c_int = 1;
const MPTCP_TCPINFO: libc::c_int = 2;
const FALLBACK: u32 = 1;

/// Offsets in `struct mptcp_info`, which each kernel fills as far as it knows it.
const SUBFLOWS: usize = 0;
const FLAGS: usize = 8;
const ACKNOWLEDGED: usize = 24;
const SUBFLOWS_TOTAL: usize = 80;

/// `struct mptcp_subflow_data`, which is in front of a `struct tcp_info` of each TCP connection: its own size, how many
/// there are, and how much of each is told.
const HEADER: usize = 16;
const COUNT: usize = 4;
const EACH: usize = 12;
/// What is asked for of each, and of how many: the first one, and eight that the kernel lets join it.
const ASKED: usize = offset_of!(Tcp, tcpi_sndbuf_limited);
const MOST: usize = 9;

/// One reading of `MPTCP_INFO`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MptcpInfo {
    /// TCP connections that carry it now; 0 when none is left.
    pub subflows: u8,
    /// Whether the one that it began with has ended and others carry it. An older kernel does not tell.
    pub has_moved: bool,
    /// The first byte that the other end has not acknowledged, counted from somewhere, over all of them.
    pub acknowledged: u64,
    /// Microseconds in which they had data to send and the other end had room for it, those of all of them together; only
    /// where it takes more than [`tcp_info`](crate::tcp_info), which knows the first one. `None` before Linux 5.16.
    pub busy: Option<u64>,
}

/// Asks the kernel about a multipath connection; `None` where it is plain TCP, or became that because something on the
/// way does not know multipath. Half a microsecond, and twice that where not only the first one carries it.
#[must_use]
pub fn mptcp_info(fd: BorrowedFd<'_>) -> Option<MptcpInfo> {
    let info = read(fd).ok().flatten()?;
    let is_first_alone = info.subflows == 1 && !info.has_moved;
    Some(if is_first_alone { info } else { MptcpInfo { busy: busy(fd), ..info } })
}

fn read(fd: BorrowedFd<'_>) -> io::Result<Option<MptcpInfo>> {
    let mut bytes = [0; SUBFLOWS_TOTAL + 1];
    let length = option::get(fd, SOL_MPTCP, MPTCP_INFO, &mut bytes)?;
    Ok(of(&bytes[..length.min(bytes.len())]))
}

fn of(filled: &[u8]) -> Option<MptcpInfo> {
    let flags = u32::from_ne_bytes(filled.get(FLAGS..FLAGS + 4)?.try_into().ok()?);
    let acknowledged = u64::from_ne_bytes(filled.get(ACKNOWLEDGED..ACKNOWLEDGED + 8)?.try_into().ok()?);
    // Older kernels count those besides the first only, and do not say whether that one still lives.
    let others = filled[SUBFLOWS];
    let all = filled.get(SUBFLOWS_TOTAL).copied().unwrap_or(others.saturating_add(1));
    let has_moved = others > 0 && all == others;
    (flags & FALLBACK == 0).then_some(MptcpInfo { subflows: all, has_moved, acknowledged, busy: None })
}

fn busy(fd: BorrowedFd<'_>) -> Option<u64> {
    let mut bytes = [0; HEADER + MOST * ASKED];
    bytes[..4].copy_from_slice(&(HEADER as u32).to_ne_bytes());
    bytes[EACH..HEADER].copy_from_slice(&(ASKED as u32).to_ne_bytes());
    let length = option::get(fd, SOL_MPTCP, MPTCP_TCPINFO, &mut bytes).ok()?;
    busy_of_all(&bytes[..length.min(bytes.len())])
}

fn busy_of_all(filled: &[u8]) -> Option<u64> {
    let word = |offset| Some(u32::from_ne_bytes(filled.get(offset..offset + 4)?.try_into().ok()?));
    let (count, each) = (usize::try_from(word(COUNT)?).ok()?, usize::try_from(word(EACH)?).ok()?);
    let all = filled.get(HEADER..)?.chunks_exact(ASKED);
    // A part of them tells nothing.
    if each != ASKED || all.len() != count {
        return None;
    }
    all.map(busy_of).sum()
}

/// Time with data to send, which time limited by the other end's window is a part of.
fn busy_of(tcp: &[u8]) -> Option<u64> {
    let long = |offset| Some(u64::from_ne_bytes(tcp.get(offset..offset + 8)?.try_into().ok()?));
    let (busy, limited) = (offset_of!(Tcp, tcpi_busy_time), offset_of!(Tcp, tcpi_rwnd_limited));
    Some(long(busy)?.saturating_sub(long(limited)?))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::os::fd::AsFd as _;

    use rustix::net::{AddressFamily, SocketType, ipproto, socket};

    use super::*;

    /// A connection whose client speaks `ours`, to a listener for both.
    fn pair(ours: rustix::net::Protocol) -> (TcpStream, TcpStream) {
        let open = |protocol| {
            let socket = socket(AddressFamily::INET, SocketType::STREAM, Some(protocol));
            socket.expect("multipath TCP, which this kernel lacks or `sysctl net.mptcp.enabled` has switched off")
        };
        let (listener, client) = (open(ipproto::MPTCP), open(ours));
        rustix::net::bind(&listener, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        rustix::net::listen(&listener, 1).unwrap();
        let listener = std::net::TcpListener::from(listener);
        rustix::net::connect(&client, &listener.local_addr().unwrap()).unwrap();
        (client.into(), listener.accept().unwrap().0)
    }

    #[test]
    fn a_multipath_connection_says_what_carries_it_and_what_arrived() {
        let (mut client, mut server) = pair(ipproto::MPTCP);
        let before = mptcp_info(server.as_fd()).expect("a multipath connection");
        assert_eq!((before.subflows, before.has_moved), (1, false));
        server.write_all(&[7; 10_000]).unwrap();
        client.read_exact(&mut [0; 10_000]).unwrap();
        // What answers has acknowledged.
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0]).unwrap();
        let after = mptcp_info(server.as_fd()).unwrap();
        assert_eq!(after.acknowledged.wrapping_sub(before.acknowledged), 10_000);
    }

    #[test]
    fn a_connection_without_multipath_says_nothing() {
        let (_client, server) = pair(ipproto::TCP);
        assert_eq!(mptcp_info(server.as_fd()), None);
    }

    #[test]
    fn the_time_with_data_to_send_is_of_all_that_carry_it() {
        let (mut client, mut server) = pair(ipproto::MPTCP);
        server.write_all(&[7; 10_000]).unwrap();
        client.read_exact(&mut [0; 10_000]).unwrap();
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0]).unwrap();
        let first = crate::tcp_info(server.as_fd()).unwrap();
        assert_eq!(mptcp_info(server.as_fd()).unwrap().busy, None, "TCP_INFO tells");
        assert_eq!(busy(server.as_fd()), first.busy_time, "of one, it is the same");

        let mut bytes = vec![0; HEADER + 2 * ASKED];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(COUNT, &2u32.to_ne_bytes());
        put(EACH, &(ASKED as u32).to_ne_bytes());
        for (at, [busy, limited]) in [(HEADER, [300_000u64, 100_000]), (HEADER + ASKED, [50_000, 0])] {
            put(at + offset_of!(Tcp, tcpi_busy_time), &busy.to_ne_bytes());
            put(at + offset_of!(Tcp, tcpi_rwnd_limited), &limited.to_ne_bytes());
        }
        assert_eq!(busy_of_all(&bytes), Some(250_000));
        assert_eq!(busy_of_all(&bytes[..HEADER + ASKED]), None, "one of two");
    }

    #[test]
    fn older_kernels_count_all_but_the_first() {
        let mut bytes = [0; 96];
        bytes[SUBFLOWS] = 2;
        let told = |filled: &[u8]| of(filled).map(|info| (info.subflows, info.has_moved));
        assert_eq!(told(&bytes[..48]), Some((3, false)));
        bytes[SUBFLOWS_TOTAL] = 3;
        assert_eq!(told(&bytes), Some((3, false)));
        bytes[SUBFLOWS_TOTAL] = 2;
        assert_eq!(told(&bytes), Some((2, true)), "the first has ended");
        bytes[FLAGS..FLAGS + 4].copy_from_slice(&FALLBACK.to_ne_bytes());
        assert_eq!(of(&bytes), None);
        assert_eq!(of(&bytes[..16]), None);
    }
}
