//! A link between two network namespaces, made and removed by the process that wants it.
//!
//! [`Lab`] makes a namespace for a server and one for its clients, a TUN device in each, and carries every packet
//! between them through a [`Shape`]: rate with a drop-tail queue, delay, jitter, loss, outages, changed while they run.
//! Nothing stays behind, however the process ends: the namespaces live as long as a child that reads our end of a pipe,
//! the devices as long as our descriptors. Used by `cargo xtask netlab`, `cargo xtask bench --links` and the black-box
//! tests. Linux, and root (or `unshare --user --map-root-user`).

mod congestion;
mod dice;
mod emulator;
mod lab;
mod line;
mod namespace;
mod shape;

pub use dice::Dice;
pub use emulator::{Counters, Emulator, Way};
pub use lab::{Lab, SERVER, Setup, connect, permission};
pub use namespace::{Namespace, TcpCounters};
pub use shape::{PROFILES, Shape};
