//! [`Inflow`]: what a connection receives, and the windows that follow it.
//!
//! While an upload's plan lets the window grow, a PING now and then measures what arrives within one round trip
//! (`core::pace::Window` decides what that means). The answer takes the way of the body, so it is right also where the
//! TCP connection ends at something in between.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use h2::server::Connection;
use h2::{Ping, PingPong};
use hfs_core::pace::{Round, Window};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::queue::Queued;
use crate::flow::{WindowClaim, Wire};

/// What a connection may have under way beyond the window of one stream: others go on while the disk is slow for one.
const OTHERS: u32 = 1 << 20;
/// Time between questions that changed nothing: it doubles from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(10);

/// A connection without a request for this long gets its first window again, and gives the memory of a larger one back:
/// longer than a client takes from one file to the next.
pub(super) const REST: Duration = Duration::from_secs(5);

/// Body bytes of all streams of a connection, counted as they are dealt with.
pub(super) type Arrived = Arc<AtomicU64>;

/// The receiving side of one connection.
pub(super) struct Inflow {
    /// Gone when the connection has no socket to speak of, or when it broke.
    measured: Option<Measured>,
    window: Window,
    arrived: Arrived,
}

struct Measured {
    wire: Wire,
    pings: PingPong,
    pause: Duration,
    step: Step,
}

/// Where the measuring stands, so that it can be given up and taken up again at any point.
#[derive(Clone, Copy)]
enum Step {
    Pause { until: Instant, from: u64 },
    Asked { at: Instant, from: u64 },
}

/// The windows that a connection begins with: of one stream, of all.
pub(super) const FIRST: (u32, u32) = (Window::FIRST, Window::FIRST + OTHERS);

impl Inflow {
    pub(super) fn new(wire: Option<Wire>, pings: Option<PingPong>) -> Self {
        let step = Step::Pause { until: Instant::now(), from: 0 };
        let measured = wire.zip(pings).map(|(wire, pings)| Measured { wire, pings, pause: Duration::ZERO, step });
        Self { measured, window: Window::default(), arrived: Arc::default() }
    }

    /// For a stream to count on.
    pub(super) fn arrived(&self) -> Arrived {
        Arc::clone(&self.arrived)
    }

    /// Waits for the next round trip after which the window should be larger, and for the memory that it needs. Never
    /// ends where nothing may grow. Cancel-safe.
    pub(super) async fn growth(&mut self) -> (u32, Round) {
        let Some(measured) = &mut self.measured else { return std::future::pending().await };
        let wire = measured.wire.clone();
        let Some(claimed) = wire.window() else { return std::future::pending().await };
        loop {
            let most = claimed.above(self.window.size()).await;
            let Some(round) = measured.round(&self.arrived).await else {
                // The connection is about to say why.
                return std::future::pending().await;
            };
            match self.window.wanted(&round, most).filter(|&size| claimed.claim(size)) {
                Some(size) => {
                    measured.pause = Duration::ZERO;
                    return (size, round);
                }
                None => measured.pause = (measured.pause * 2).clamp(FIRST_PAUSE, LAST_PAUSE),
            }
        }
    }

    /// Tells the client, whose next bytes may already come under the new windows.
    pub(super) fn grow<T: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        connection: &mut Connection<T, Queued>,
        size: u32,
        round: &Round,
    ) {
        // Refused while the client has not acknowledged the last change: the next round trip asks again. What was claimed
        // for it stays until then, or until the connection rests.
        if connection.set_initial_window_size(size).is_err() {
            return;
        }
        connection.set_target_window_size(size + OTHERS);
        if let Some(claimed) = self.claimed() {
            let Round { bytes, took } = round;
            claimed.explain(self.window.size(), size, format_args!("{bytes} bytes arrived within {took:?}"));
        }
        self.window.grow(size, round);
    }

    /// Whether the window is larger than at first, or may become so without another flow that lets it.
    pub(super) fn is_loose(&self) -> bool {
        self.window.size() > Window::FIRST || self.claimed().is_some_and(WindowClaim::is_allowed)
    }

    fn claimed(&self) -> Option<&WindowClaim> {
        self.measured.as_ref()?.wire.window()
    }

    /// Makes the window what it was at first, as far as the client allows. It may use what the connection as a whole was
    /// promised once more; once it has acknowledged the new one, no single stream of it may.
    pub(super) fn shrink<T: AsyncRead + AsyncWrite + Unpin>(&mut self, connection: &mut Connection<T, Queued>) {
        if self.window.size() > Window::FIRST {
            // As for growing.
            if connection.set_initial_window_size(FIRST.0).is_err() {
                return;
            }
            connection.set_target_window_size(FIRST.1);
            if let Some(claimed) = self.claimed() {
                claimed.explain(self.window.size(), FIRST.0, format_args!("the connection rested for {REST:?}"));
            }
            self.window = Window::default();
        }
        if let Some(claimed) = self.claimed() {
            claimed.release();
        }
    }
}

impl Measured {
    /// One round trip in which something arrived. `None`: the connection is over.
    async fn round(&mut self, arrived: &AtomicU64) -> Option<Round> {
        loop {
            match self.step {
                Step::Pause { until, from } => {
                    tokio::time::sleep_until(until).await;
                    let now = arrived.load(Relaxed);
                    if now == from {
                        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LAST_PAUSE);
                        self.step = Step::Pause { until: Instant::now() + self.pause, from };
                    } else {
                        self.pings.send_ping(Ping::opaque()).ok()?;
                        self.step = Step::Asked { at: Instant::now(), from: now };
                    }
                }
                Step::Asked { at, from } => {
                    poll_fn(|cx| self.pings.poll_pong(cx)).await.ok()?;
                    let now = arrived.load(Relaxed);
                    self.step = Step::Pause { until: Instant::now() + self.pause, from: now };
                    return Some(Round { bytes: now - from, took: at.elapsed() });
                }
            }
        }
    }
}
