//! [`open_tun`]: the user's end of a network device. For the emulated links of `tools/netlab`; the server has none.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;

/// Makes a TUN device of this name in the network namespace of the calling thread: each read is one IP packet that the
/// kernel sends there, each write one that it receives. Never blocks; the device goes when the file is closed.
///
/// # Errors
/// There is no `/dev/net/tun`, this process may not use it, or the name is taken.
pub fn open_tun(name: &str) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short },
    };
    // The last byte stays zero.
    if name.is_empty() || name.len() >= libc::IFNAMSIZ {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    // SAFETY: TUNSETIFF (Linux `Documentation/networking/tuntap.rst`) reads and writes one `ifreq`, which `request` is;
    // the descriptor is open because `file` lives.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if result == 0 { Ok(file) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_device_can_have_is_refused() {
        for name in ["", "a-name-that-is-too-long"] {
            assert!(open_tun(name).is_err(), "{name:?}");
        }
    }
}
