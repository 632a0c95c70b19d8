//! Two arms, one code: what a transfer does next.
//!
//! A [`Controller`] turns what was observed of one transfer into [`Plan`]s. [`Standard`] is what the original server
//! really does; [`Adaptive`] uses path samples, the client's profile and the configuration. The arm of a transfer only
//! picks the controller: everything else is the same code, so a comparison of the two has one independent variable.
//!
//! Pure: no clock, no socket. Times are offsets from the start of the transfer. Called by the server's `flow`.

mod adaptive;
mod cadence;
mod congestion;
mod estimate;
mod kept;
mod losses;
mod pacing;
mod path;
mod pieces;
mod rate;
mod settings;
mod shortest;
mod standard;
#[cfg(test)]
pub(crate) mod tests;
mod window;

use std::sync::Arc;
use std::time::Duration;

pub use adaptive::{Adaptive, HOSTS};
pub use cadence::Detection;
pub use path::{Congestion, PathSample};
pub use pieces::{BATCH, Pieces};
pub use settings::{Levers, Settings};
pub use standard::Standard;
pub use window::{Round, Window};

use crate::ByteSize;
use crate::progress::StallLimits;

/// Which data path a transfer uses.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Arm {
    /// What the original server does.
    Standard,
    /// Follows the network.
    Adaptive,
}

impl Arm {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Standard, Self::Adaptive];

    /// As it is written in logs, labels and URLs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Adaptive => "adaptive",
        }
    }
}

/// Which way the bytes go, seen from the server.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Direction {
    /// From the client to the store.
    Upload,
    /// From the store to the client.
    Download,
}

impl Direction {
    /// As it is written in logs and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::Download => "download",
        }
    }
}

/// What carries the bytes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Carrier {
    /// HTTP/1.1 without TLS: the socket's bytes are the body's.
    Plain,
    /// HTTP/1.1 over our own TLS.
    Tls,
    /// HTTP/2, with or without TLS: several transfers may share the connection.
    H2,
}

/// What is known of a transfer when it begins.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Which way.
    pub direction: Direction,
    /// Bytes to move, where somebody has said.
    pub size: Option<u64>,
    /// Over what.
    pub carrier: Carrier,
    /// Whether the connection's other end is a proxy that several clients share: no lever of the connection is moved
    /// then, and its figures say nothing about the client.
    pub is_shared: bool,
    /// The congestion control that the connection began with, where it is one that plans know.
    pub inherited: Option<Congestion>,
    /// What earlier transfers taught about this client.
    pub expected: Expected,
}

/// What earlier transfers of a client make likely; all `None` for a stranger.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Expected {
    /// Bytes per second that the client reached.
    pub rate: Option<u64>,
    /// Shortest round trip.
    pub min_rtt: Option<Duration>,
    /// Share of the data segments that were sent again, 0 to 1.
    pub loss: Option<f64>,
    /// Whether BBR served it better than another congestion control, where both were tried.
    pub is_bbr_better: Option<bool>,
    /// Whether nobody knows that, and this transfer is to show it.
    pub is_bbr_tried: bool,
    /// The gather or write step that served it best, in bytes.
    pub step: Option<usize>,
    /// The largest step that is worth it; `None` leaves it to the configuration.
    pub ceiling: Option<usize>,
    /// How many times the configured limit of silence it is worth waiting.
    pub patience: Option<f64>,
}

/// How the bytes get from one side to the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lane {
    /// Through a buffer of ours, gathered into large writes.
    Buffered,
    /// One step in, one step out: what `io.Copy` of the original server does.
    Stepwise,
    /// Inside the kernel: sendfile out, splice in. A carrier or a consumer that must see the bytes makes it `Buffered`.
    ZeroCopy,
}

/// What a transfer does next. Whoever moves the bytes asks again after each observation; a part that does not apply to
/// its carrier or direction is ignored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// The lane.
    pub lane: Lane,
    /// Bytes that an upload gathers before they are written, and per read of a download over HTTP/1.1 without TLS: what
    /// zero copy carries has pieces of its own.
    pub step: usize,
    /// Download: bytes handed to TLS or HTTP/2 at once.
    pub write: usize,
    /// Upload: reserve the announced size before the first byte.
    pub preallocate: bool,
    /// Upload: start writing to the disk while bytes still arrive.
    pub write_back: bool,
    /// Download: congestion control of the connection; `None` leaves it as it is.
    pub congestion: Option<Congestion>,
    /// Download: whether that has yet to show what it is worth.
    pub is_on_trial: bool,
    /// Download: whether the connection spreads its window over the round trip (`SO_MAX_PACING_RATE`). Once it does, it
    /// goes on.
    pub is_paced: bool,
    /// Download: unsent bytes that the socket takes beyond what is in flight (`TCP_NOTSENT_LOWAT`); `None` leaves it.
    pub unsent: Option<u32>,
    /// Upload over HTTP/2: how far the connection's receive window may grow while it is what limits.
    pub window: u32,
    /// When silence counts as a stall.
    pub stall: StallLimits,
    /// Time until the path is sampled again; `None`: never.
    pub sample_after: Option<Duration>,
}

impl Plan {
    /// Bytes of an upload that may be in memory at once: gathered, and being read. Stepwise, one step is read while another
    /// is there: with less, short uploads would be written in parts.
    #[must_use]
    pub fn gather(&self) -> usize {
        if self.lane == Lane::Stepwise { self.step.saturating_mul(2) } else { self.step }
    }
}

/// What happened since the last observation.
#[derive(Clone, Copy, Debug)]
pub struct Observation {
    /// Offset from the start of the transfer.
    pub now: Duration,
    /// Body bytes that moved.
    pub moved: u64,
    /// Whether every piece that the plan sizes was full: a larger one would have moved more at once. `None` where none
    /// moved anything, or where they were full and larger ones are not worth it.
    pub filled: Option<bool>,
    /// Whether bytes waited for the store or for the other side's reading, not for the network.
    pub is_app_limited: bool,
    /// What the kernel says of the path; `None` where it is not ours to see.
    pub path: Option<PathSample>,
}

/// One change of a plan, for the log: what was seen, what changed, why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decision {
    /// The lever.
    pub lever: &'static str,
    /// What it was.
    pub from: String,
    /// What it is now.
    pub to: String,
    /// What was seen, with the figures that decided.
    pub because: String,
}

/// What a controller has learnt of one transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Body bytes per second, recent.
    pub rate: Option<u64>,
    /// Shortest round trip seen.
    pub min_rtt: Option<Duration>,
    /// Smoothed round trip.
    pub rtt: Option<Duration>,
    /// Variation of the round trip.
    pub jitter: Option<Duration>,
    /// Share of data segments that were sent again, 0 to 1; downloads only.
    pub loss: Option<f64>,
    /// The same of those sent while no queue stood on the path: what a full path loses is not in it.
    pub unqueued_loss: Option<f64>,
    /// The same, as it was when another congestion control than BBR was last in force: what is lost under BBR may be its
    /// own doing. `None` where that was not for long enough to say.
    pub hosts_loss: Option<f64>,
    /// Bytes per second that the connection received, recent: of all the transfers on it together.
    pub received_rate: Option<u64>,
    /// Bytes per second that the connection delivered, likewise.
    pub delivered_rate: Option<u64>,
    /// Share of the body bytes that moved while the connection was on BBR, whoever had put it there; `None` where nobody has
    /// looked.
    pub bbr_share: Option<f64>,
    /// Path samples taken.
    pub samples: u32,
    /// The last path sample.
    pub last: Option<PathSample>,
}

/// Makes the plans of one transfer.
pub trait Controller: std::fmt::Debug + Send {
    /// What to do now.
    fn plan(&self) -> Plan;

    /// Takes note; the next [`Controller::plan`] may differ.
    fn observe(&mut self, seen: &Observation);

    /// Takes note of what happened last: no plan is asked for any more.
    fn conclude(&mut self, seen: &Observation);

    /// What was learnt.
    fn snapshot(&self) -> Snapshot;

    /// Hands over the decisions since the last call, in order. Empty unless the settings ask for them.
    fn decisions(&mut self) -> Vec<Decision>;
}

/// The controller of `arm` for a transfer that begins. It keeps the settings: thousands of transfers share them.
#[must_use]
pub fn controller(arm: Arm, settings: &Arc<Settings>, start: &Start) -> Box<dyn Controller> {
    match arm {
        Arm::Standard => Box::new(Standard::new(settings, start)),
        Arm::Adaptive => Box::new(Adaptive::new(settings, start)),
    }
}

/// The standard arm's step: `io.Copy` of the original server.
const STANDARD_STEP: usize = ByteSize::kib(32).as_u64() as usize;
