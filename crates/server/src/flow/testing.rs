//! Transfers of nobody in particular; an engine that has learnt something, without a transfer; connections whose congestion
//! control can be changed.

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::time::Duration;

use hfs_core::Timestamp;
use hfs_core::pace::{Arm, Carrier, Congestion, Direction, Expected, Settings, Snapshot, Start, controller};
use hfs_core::profile::{Guess, Lesson, ProfileKey, Vantage};

use super::wire::may_set;
use super::{Begin, Engine, Whose};
use crate::clock;
use crate::telemetry::RequestId;

/// An upload of which nothing is known, over no connection.
pub(crate) fn anonymous() -> Begin {
    Begin {
        request: RequestId::new(),
        direction: Direction::Upload,
        size: None,
        wire: None,
        whose: Whose::default(),
        forced: None,
        is_benchmark: false,
    }
}

/// A download of which nothing is known.
pub(crate) fn stranger() -> Start {
    Start {
        direction: Direction::Download,
        size: None,
        carrier: Carrier::Plain,
        is_shared: false,
        inherited: None,
        expected: Expected::default(),
    }
}

/// One download of a second over 40 ms, at `rate` bytes per second.
pub(crate) fn lesson(rate: u64) -> Lesson {
    Lesson {
        snapshot: Snapshot { min_rtt: Some(Duration::from_millis(40)), ..Snapshot::default() },
        plan: controller(Arm::Adaptive, &Settings::default().into(), &stranger()).plan(),
        direction: Direction::Download,
        elapsed: Duration::from_secs(1),
        bytes: rate,
        is_whole: true,
        guess: Guess::default(),
        vantage: Vantage::Client,
        has_asked: false,
    }
}

/// Teaches `engine` that the clients around `address` reach `rate`.
pub(crate) fn learnt(engine: &Engine, address: &str, rate: u64) {
    let (key, now): (_, Timestamp) = (ProfileKey::new(None, address.parse().ok()), clock::now());
    engine.profiles().learn(&key, &lesson(rate), 0.2, now);
}

/// A connection, our end first, that began with reno: every process may choose that, and no plan knows it.
pub(crate) fn pair_on_reno() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    hfs_sock::set_congestion(listener.as_fd(), "reno").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().unwrap().0, theirs)
}

/// A congestion control that it may be put on.
pub(crate) fn settable() -> Congestion {
    let mut why_not = Vec::new();
    for congestion in Congestion::ALL {
        match may_set(congestion) {
            Ok(()) => return congestion,
            Err(error) => why_not.push(error.to_string()),
        }
    }
    panic!("this test needs a congestion control that it may set: {}", why_not.join("; "))
}
