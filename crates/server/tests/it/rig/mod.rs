//! What the black-box tests stand on: the server, other programs, an HTTP/1 client, signatures, mounts.
//!
//! Everything here cleans up by being dropped, stops only what it started, and waits for conditions, not for time.

pub(crate) mod carrier;
pub(crate) mod command;
pub(crate) mod crowd;
pub(crate) mod disk;
pub(crate) mod document;
pub(crate) mod front;
pub(crate) mod health;
pub(crate) mod http;
pub(crate) mod leftover;
pub(crate) mod load;
pub(crate) mod place;
pub(crate) mod post;
pub(crate) mod process;
mod reload;
pub(crate) mod server;
pub(crate) mod sign;
pub(crate) mod syncs;
pub(crate) mod tls;
pub(crate) mod unfinished;
pub(crate) mod xmpp;

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// Polls until the condition holds; fails the test, naming what was awaited, when it does not in time.
#[track_caller]
pub(crate) fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < deadline, "no {what} within {deadline:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A loopback port that nobody listens on, and that no other caller in this process gets.
///
/// Below the ports that the kernel gives to outgoing connections, so that none of those can take it before the program
/// that it is for has started.
pub(crate) fn free_port() -> u16 {
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two test processes at once start far from each other.
    let offset = (std::process::id() % u32::from(COUNT)) as u16;
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (offset + step.wrapping_mul(7) % COUNT) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// `long` in `cargo xtask soak`, else `short`.
pub(crate) fn soak_or<T>(short: T, long: T) -> T {
    if std::env::var_os("HFS_SOAK").is_some() { long } else { short }
}

/// Small source of chance for tests that look for moments nobody thought of. Prints its seed, so that a failure's log
/// has it.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).expect("after 1970");
        let seed = since.as_nanos() as u64 | 1;
        println!("seed {seed}");
        Self(seed)
    }

    /// The same sequence for the same seed.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// Any number below the bound.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// xorshift64*.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}
