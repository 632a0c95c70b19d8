//! Kernel calls that no safe crate offers, and the few safe ones that belong beside them.
//!
//! The only crate with `unsafe`; each call is small, says what it does where the kernel or the file system cannot,
//! and returns plain `io::Result`s. It decides nothing. Called by the server's `storage` (locks, preallocation,
//! write-back, blocks, what the page cache has), `net` (reads) and `flow` (path figures, socket options), and by the
//! tools that measure. Linux only, as the server is.

mod extents;
mod file;
mod lock;
mod mptcp;
mod option;
mod receive;
mod resident;
mod seccomp;
mod tap;
mod tcp;
mod time;
mod tun;

pub use extents::has_blocks;
pub use file::{preallocate, read_cached, start_write_back, wait_write_back};
pub use lock::try_lock_byte;
pub use mptcp::{MptcpInfo, mptcp_info};
pub use receive::{receive, set_receive_low};
pub use resident::is_resident;
pub use seccomp::ignore_syncs;
pub use tap::Tap;
pub use tcp::{
    TcpInfo, congestion, is_paced, notsent_lowat, set_congestion, set_notsent_lowat, set_paced, tcp_info,
    unacknowledged,
};
pub use time::process_time;
pub use tun::open_tun;
