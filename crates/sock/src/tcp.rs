//! What a TCP connection knows of its path, and the options that plans change.
//!
//! Every option is best effort for the caller: a multipath or Unix socket refuses some of them, and an unprivileged
//! process may only choose congestion controls that the system allows.

use std::io;
use std::mem::offset_of;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use libc::tcp_info as Raw;

use crate::option;

/// One reading of `TCP_INFO` (tcp(7), Linux `uapi/linux/tcp.h`). Microseconds, bytes, segments; counters since the
/// connection began. `None`: this kernel is too old for the field.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[allow(missing_docs, reason = "the names are the kernel's, without tcpi_")]
pub struct TcpInfo {
    pub rtt: u32,
    pub rttvar: u32,
    pub rto: u32,
    pub rcv_rtt: u32,
    pub snd_mss: u32,
    pub rcv_mss: u32,
    pub snd_cwnd: u32,
    pub total_retrans: u32,
    pub min_rtt: Option<u32>,
    pub bytes_acked: Option<u64>,
    pub bytes_received: Option<u64>,
    pub notsent_bytes: Option<u32>,
    pub data_segs_in: Option<u32>,
    pub data_segs_out: Option<u32>,
    pub delivery_rate: Option<u64>,
    pub delivery_rate_app_limited: bool,
    pub busy_time: Option<u64>,
    pub rwnd_limited: Option<u64>,
    pub sndbuf_limited: Option<u64>,
    pub bytes_sent: Option<u64>,
    pub bytes_retrans: Option<u64>,
    pub dsack_dups: Option<u32>,
    pub reord_seen: Option<u32>,
    pub rcv_ooopack: Option<u32>,
}

/// The bit field behind the window scales, which the C structure of the `libc` crate leaves out.
const APP_LIMITED: usize = 7;

/// Asks the kernel about a connection. About a microsecond. Of a multipath connection it tells about the first subflow
/// only.
///
/// # Errors
/// `fd` is no TCP socket, or the kernel says otherwise.
pub fn tcp_info(fd: BorrowedFd<'_>) -> io::Result<TcpInfo> {
    let mut bytes = [0; size_of::<Raw>()];
    let length = get(fd, libc::TCP_INFO, &mut bytes)?;
    let filled = &bytes[..length.min(bytes.len())];
    let word = |offset: usize| {
        let field = filled.get(offset..offset + 4)?;
        Some(u32::from_ne_bytes(field.try_into().ok()?))
    };
    let long = |offset: usize| {
        let field = filled.get(offset..offset + 8)?;
        Some(u64::from_ne_bytes(field.try_into().ok()?))
    };
    let old = |offset| word(offset).unwrap_or(0);
    Ok(TcpInfo {
        rtt: old(offset_of!(Raw, tcpi_rtt)),
        rttvar: old(offset_of!(Raw, tcpi_rttvar)),
        rto: old(offset_of!(Raw, tcpi_rto)),
        rcv_rtt: old(offset_of!(Raw, tcpi_rcv_rtt)),
        snd_mss: old(offset_of!(Raw, tcpi_snd_mss)),
        rcv_mss: old(offset_of!(Raw, tcpi_rcv_mss)),
        snd_cwnd: old(offset_of!(Raw, tcpi_snd_cwnd)),
        total_retrans: old(offset_of!(Raw, tcpi_total_retrans)),
        // All ones until there was a first round trip.
        min_rtt: word(offset_of!(Raw, tcpi_min_rtt)).filter(|&rtt| rtt != u32::MAX && rtt != 0),
        bytes_acked: long(offset_of!(Raw, tcpi_bytes_acked)),
        bytes_received: long(offset_of!(Raw, tcpi_bytes_received)),
        notsent_bytes: word(offset_of!(Raw, tcpi_notsent_bytes)),
        data_segs_in: word(offset_of!(Raw, tcpi_data_segs_in)),
        data_segs_out: word(offset_of!(Raw, tcpi_data_segs_out)),
        delivery_rate: long(offset_of!(Raw, tcpi_delivery_rate)).filter(|&rate| rate != 0),
        delivery_rate_app_limited: filled.get(APP_LIMITED).is_some_and(|bits| bits & 1 != 0),
        busy_time: long(offset_of!(Raw, tcpi_busy_time)),
        rwnd_limited: long(offset_of!(Raw, tcpi_rwnd_limited)),
        sndbuf_limited: long(offset_of!(Raw, tcpi_sndbuf_limited)),
        bytes_sent: long(offset_of!(Raw, tcpi_bytes_sent)),
        bytes_retrans: long(offset_of!(Raw, tcpi_bytes_retrans)),
        dsack_dups: word(offset_of!(Raw, tcpi_dsack_dups)),
        reord_seen: word(offset_of!(Raw, tcpi_reord_seen)),
        rcv_ooopack: word(offset_of!(Raw, tcpi_rcv_ooopack)),
    })
}

/// Name of the connection's congestion control.
///
/// # Errors
/// `fd` is no TCP socket.
pub fn congestion(fd: BorrowedFd<'_>) -> io::Result<String> {
    // TCP_CA_NAME_MAX.
    let mut name = [0; 16];
    let length = get(fd, libc::TCP_CONGESTION, &mut name)?;
    let name = name[..length.min(name.len())].split(|&byte| byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

/// Changes the connection's congestion control; what is in flight stays.
///
/// # Errors
/// `NotFound` when the kernel does not have it, `PermissionDenied` when this process may not choose it, others where
/// the socket cannot.
pub fn set_congestion(fd: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    set(fd, libc::TCP_CONGESTION, name.as_bytes())
}

/// Lets the connection spread what its window allows over the round trip, at the rate that its congestion control works out
/// (`SO_MAX_PACING_RATE`, socket(7)): the limit is none that a path reaches, but a socket with one is paced. There is no way
/// back (Linux `sock.c`: only the limit can be lifted).
///
/// # Errors
/// The socket has no such option.
pub fn set_paced(fd: BorrowedFd<'_>) -> io::Result<()> {
    option::set(fd, libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, &(u32::MAX - 1).to_ne_bytes())
}

/// Whether somebody has limited the rate of a socket, as [`set_paced`] does.
///
/// # Errors
/// The socket has no such option.
pub fn is_paced(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut limit = [0; 4];
    option::get(fd, libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, &mut limit)?;
    Ok(u32::from_ne_bytes(limit) != u32::MAX)
}

/// Limits the bytes that a socket takes beyond what it can send at once (`TCP_NOTSENT_LOWAT`); 0 puts the system's
/// default back.
///
/// # Errors
/// The socket has no such option.
pub fn set_notsent_lowat(fd: BorrowedFd<'_>, bytes: u32) -> io::Result<()> {
    set(fd, libc::TCP_NOTSENT_LOWAT, &bytes.to_ne_bytes())
}

/// The limit that [`set_notsent_lowat`] set.
///
/// # Errors
/// The socket has no such option.
pub fn notsent_lowat(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut bytes = [0; 4];
    get(fd, libc::TCP_NOTSENT_LOWAT, &mut bytes)?;
    Ok(u32::from_ne_bytes(bytes))
}

fn get(fd: BorrowedFd<'_>, option: libc::c_int, value: &mut [u8]) -> io::Result<usize> {
    option::get(fd, libc::IPPROTO_TCP, option, value)
}

fn set(fd: BorrowedFd<'_>, option: libc::c_int, value: &[u8]) -> io::Result<()> {
    option::set(fd, libc::IPPROTO_TCP, option, value)
}

/// Bytes that a socket was given and the other end has not acknowledged (`SIOCOUTQ`, tcp(7)); those that a Unix socket's
/// other end has not read.
///
/// # Errors
/// `fd` is no socket.
pub fn unacknowledged(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ, which is TIOCOUTQ, writes one int to where it is told; the descriptor is open because it is borrowed.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 { Ok(usize::try_from(bytes).unwrap_or(0)) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd as _;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (ours, listener.accept().unwrap().0)
    }

    #[test]
    fn counters_count_what_was_sent() {
        let (mut ours, mut theirs) = pair();
        ours.write_all(&[7; 100_000]).unwrap();
        theirs.read_exact(&mut [0; 100_000]).unwrap();
        theirs.write_all(b"x").unwrap();
        ours.read_exact(&mut [0]).unwrap();
        let info = tcp_info(ours.as_fd()).unwrap();
        assert!(info.rtt > 0 && info.snd_mss > 500, "{info:?}");
        assert!(info.bytes_acked.is_none_or(|bytes| bytes >= 100_000), "{info:?}");
        assert!(info.bytes_sent.is_none_or(|bytes| bytes >= 100_000), "{info:?}");
        assert_eq!(info.bytes_received.unwrap_or(1), 1);
        assert_eq!(info.total_retrans, 0);
    }

    #[test]
    fn what_the_other_end_has_no_room_for_is_not_acknowledged() {
        let (mut ours, mut theirs) = pair();
        assert_eq!(unacknowledged(ours.as_fd()).unwrap(), 0);
        ours.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(more) = ours.write(&[7; 100_000]) {
            written += more;
        }
        let unacknowledged_now = unacknowledged(ours.as_fd()).unwrap();
        assert!(0 < unacknowledged_now && unacknowledged_now <= written, "{unacknowledged_now} of {written}");
        theirs.read_exact(&mut vec![0; written]).unwrap();
        theirs.write_all(b"x").unwrap();
        ours.set_nonblocking(false).unwrap();
        ours.read_exact(&mut [0]).unwrap();
        assert_eq!(unacknowledged(ours.as_fd()).unwrap(), 0);
        assert!(unacknowledged(std::fs::File::open("/dev/null").unwrap().as_fd()).is_err());
    }

    #[test]
    fn a_listener_that_was_never_connected_has_no_round_trip() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(tcp_info(listener.as_fd()).unwrap().min_rtt, None);
    }

    #[test]
    fn a_socket_that_is_not_tcp_is_an_error() {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(tcp_info(ours.as_fd()).is_err());
        assert!(congestion(ours.as_fd()).is_err());
        assert!(set_notsent_lowat(ours.as_fd(), 1 << 17).is_err());
    }

    #[test]
    fn congestion_control_is_read_and_set() {
        let (ours, _theirs) = pair();
        let first = congestion(ours.as_fd()).unwrap();
        // Setting what is set is allowed to everyone.
        set_congestion(ours.as_fd(), &first).unwrap();
        // Every kernel has reno, and every process may choose it.
        set_congestion(ours.as_fd(), "reno").unwrap();
        assert_eq!(congestion(ours.as_fd()).unwrap(), "reno");
        assert_eq!(set_congestion(ours.as_fd(), "nonsense").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(set_congestion(ours.as_fd(), "a name beyond all bounds").is_err());
        assert_eq!(congestion(ours.as_fd()).unwrap(), "reno");
    }

    #[test]
    fn a_socket_is_paced_once_it_was_asked_to_be() {
        let (mut ours, mut theirs) = pair();
        assert!(!is_paced(ours.as_fd()).unwrap());
        set_paced(ours.as_fd()).unwrap();
        assert!(is_paced(ours.as_fd()).unwrap());
        ours.write_all(&[7; 100_000]).unwrap();
        theirs.read_exact(&mut [0; 100_000]).unwrap();
    }

    #[test]
    fn the_limit_of_unsent_bytes_is_set_and_taken_back() {
        let (ours, _theirs) = pair();
        let first = notsent_lowat(ours.as_fd()).unwrap();
        set_notsent_lowat(ours.as_fd(), 128 << 10).unwrap();
        assert_eq!(notsent_lowat(ours.as_fd()).unwrap(), 128 << 10);
        set_notsent_lowat(ours.as_fd(), 0).unwrap();
        assert_eq!(notsent_lowat(ours.as_fd()).unwrap(), first);
    }
}
