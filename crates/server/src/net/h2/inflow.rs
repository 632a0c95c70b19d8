//! [`Inflow`]: what a connection receives, and the window of each stream that follows it.
//!
//! What all of them together may have under way is another question (`promise`). While an upload's plan lets the window
//! grow, a PING now and then measures what arrives within one round trip (`core::pace::Window` decides what that means). The
//! answer takes the way of the body, so it is right also where the TCP connection ends at something in between.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use h2::server::Connection;
use h2::{Ping, PingPong};
use hfs_core::pace::{Round, Window};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::promise::{Arrivals, Promise};
use super::queue::Queued;
use crate::flow::{WindowClaim, Wire};

/// Time between questions that changed nothing: it doubles from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(10);

/// A connection without a request for this long gets its first window again, or ends where it may send what nobody expects:
/// longer than a client takes from one file to the next.
pub(super) const REST: Duration = Duration::from_secs(5);

/// The receiving side of one connection.
pub(super) struct Inflow {
    /// Gone when the connection has no socket to speak of, or when it broke.
    measured: Option<Measured>,
    window: Window,
    arrivals: Arc<Arrivals>,
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

impl Inflow {
    pub(super) fn new(wire: Option<Wire>, pings: Option<PingPong>, promise: &Promise) -> Self {
        let step = Step::Pause { until: Instant::now(), from: 0 };
        let measured = wire.zip(pings).map(|(wire, pings)| Measured { wire, pings, pause: Duration::ZERO, step });
        Self { measured, window: Window::default(), arrivals: Arc::clone(promise.arrivals()) }
    }

    /// Waits for the next round trip after which the window should be larger, where there is the memory for what it is now.
    /// Never ends where nothing may grow. Cancel-safe.
    pub(super) async fn growth(&mut self) -> (u32, Round) {
        let Some(measured) = &mut self.measured else { return std::future::pending().await };
        let wire = measured.wire.clone();
        let Some(claimed) = wire.window() else { return std::future::pending().await };
        loop {
            let most = claimed.above(self.window.size()).await;
            let Some(round) = measured.round(&self.arrivals).await else {
                // The connection is about to say why.
                return std::future::pending().await;
            };
            let is_served = self.arrivals.is_served(self.window.size());
            match self.window.wanted(&round, most).filter(|_| is_served) {
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
        promise: &mut Promise,
        size: u32,
        round: &Round,
    ) {
        // Refused while the client has not acknowledged the last change: the next round trip asks again.
        if connection.set_initial_window_size(size).is_err() {
            return;
        }
        promise.suit(size);
        if let Some(claimed) = self.claimed() {
            let Round { bytes, took } = round;
            claimed.explain("window", self.window.size(), size, format_args!("{bytes} bytes arrived within {took:?}"));
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

    /// Makes the window what it was at first, as far as the client allows.
    pub(super) fn shrink<T: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        connection: &mut Connection<T, Queued>,
        promise: &mut Promise,
    ) {
        if self.window.size() > Window::FIRST {
            // As for growing.
            if connection.set_initial_window_size(Window::FIRST).is_err() {
                return;
            }
            promise.suit(Window::FIRST);
            if let Some(claimed) = self.claimed() {
                let because = format_args!("the connection rested for {REST:?}");
                claimed.explain("window", self.window.size(), Window::FIRST, because);
            }
            self.window = Window::default();
        }
        if let Some(claimed) = self.claimed() {
            claimed.forget();
        }
        if let Some(measured) = &mut self.measured {
            measured.begin_anew();
        }
    }
}

impl Measured {
    /// Forgets how long nothing came of the rounds before.
    fn begin_anew(&mut self) {
        self.pause = Duration::ZERO;
        if let Step::Pause { until, .. } = &mut self.step {
            *until = Instant::now();
        }
    }

    /// One round trip in which something arrived. `None`: the connection is over.
    async fn round(&mut self, arrivals: &Arrivals) -> Option<Round> {
        loop {
            match self.step {
                Step::Pause { until, from } => {
                    tokio::time::sleep_until(until).await;
                    let now = arrivals.dealt();
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
                    let now = arrivals.dealt();
                    self.step = Step::Pause { until: Instant::now() + self.pause, from: now };
                    return Some(Round { bytes: now - from, took: at.elapsed() });
                }
            }
        }
    }
}
