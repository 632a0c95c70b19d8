//! [`may_set`]: which congestion control the system lets connections have, and why not.

use std::io;
use std::os::fd::AsFd as _;

use hfs_core::pace::Congestion;

/// Why connections cannot have a congestion control.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(in crate::flow) enum Unsettable {
    /// Not in the kernel.
    #[error("the kernel does not have it: its module tcp_{0} is not loaded")]
    Absent(&'static str),
    /// Not for this process.
    #[error("this process has no CAP_NET_ADMIN, and net.ipv4.tcp_allowed_congestion_control does not name {0}")]
    Forbidden(&'static str),
    /// Anything else.
    #[error("the system refuses {0}: {1}")]
    Refused(&'static str, io::ErrorKind),
}

impl Unsettable {
    fn of(congestion: Congestion, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Absent(congestion.as_str()),
            io::ErrorKind::PermissionDenied => Self::Forbidden(congestion.as_str()),
            kind => Self::Refused(congestion.as_str(), kind),
        }
    }
}

/// Whether this process may give its connections that congestion control.
pub(in crate::flow) fn may_set(congestion: Congestion) -> Result<(), Unsettable> {
    let scratch = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let outcome = scratch.and_then(|scratch| hfs_sock::set_congestion(scratch.as_fd(), congestion.as_str()));
    outcome.map_err(|error| Unsettable::of(congestion, &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::testing::pair_on_reno;

    #[test]
    fn why_a_congestion_control_cannot_be_had_is_told() {
        let (ours, _theirs) = pair_on_reno();
        let unknown = hfs_sock::set_congestion(ours.as_fd(), "nonesuch").unwrap_err();
        assert_eq!(Unsettable::of(Congestion::Bbr, &unknown), Unsettable::Absent("bbr"));
        let forbidden = io::Error::from_raw_os_error(rustix::io::Errno::PERM.raw_os_error());
        let told = Unsettable::of(Congestion::Bbr, &forbidden).to_string();
        assert!(told.contains("tcp_allowed_congestion_control does not name bbr"), "{told}");
        let other = io::Error::from(io::ErrorKind::ResourceBusy);
        assert_eq!(Unsettable::of(Congestion::Bbr, &other).to_string(), "the system refuses bbr: resource busy");
    }
}
