//! [`PathSample`]: what the kernel says about one connection at one moment.

use std::time::Duration;

/// Figures of `TCP_INFO` (Linux `tcp.h`), or of QUIC's statistics. Counters run from the start of the *connection*, so
/// only differences between two samples of one transfer mean anything. A field that the kernel is too old for is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PathSample {
    /// Smoothed round-trip time.
    pub rtt: Duration,
    /// Its variation. Half the round trip by definition in the first sample.
    pub rtt_var: Duration,
    /// Shortest round trip of the last minutes.
    pub min_rtt: Option<Duration>,
    /// Round trip as the receiver sees it: the only one that grows with the queue of a client's uplink.
    pub receive_rtt: Option<Duration>,
    /// Bytes per second that the network delivered most recently.
    pub delivery_rate: Option<u64>,
    /// Whether that figure was limited by us having nothing to send.
    pub is_rate_app_limited: bool,
    /// Congestion window, segments.
    pub window: u32,
    /// Largest segment that we send, bytes.
    pub mss: u32,
    /// Largest segment that the client sends, bytes.
    pub receive_mss: u32,
    /// Data segments sent.
    pub segments_out: Option<u64>,
    /// Data segments received.
    pub segments_in: Option<u64>,
    /// Segments sent again.
    pub retransmits: u64,
    /// Bytes sent, with those sent again.
    pub bytes_out: Option<u64>,
    /// Bytes sent again.
    pub bytes_retransmitted: Option<u64>,
    /// Bytes that the other side acknowledged; of a multipath connection over all paths, counted from somewhere.
    pub bytes_acked: Option<u64>,
    /// Bytes received.
    pub bytes_in: Option<u64>,
    /// Segments that arrived behind a hole. Loss or reordering happened; no rate of loss.
    pub out_of_order: Option<u32>,
    /// Segments that were sent again although they had arrived.
    pub spurious: Option<u32>,
    /// Times that the sender saw reordering.
    pub reorderings: Option<u32>,
    /// Time with data to send. Of a multipath connection that more than its first path carries, the times of all of them
    /// together, without what the receiver's window limited.
    pub busy: Option<Duration>,
    /// Of that, time limited by the receiver's window.
    pub receiver_limited: Option<Duration>,
    /// Of that, time limited by our send buffer.
    pub sender_limited: Option<Duration>,
    /// Bytes queued and not yet sent.
    pub unsent: Option<u32>,
    /// The connection's congestion control.
    pub congestion: Option<Congestion>,
    /// Whether a plan has asked for it to be paced: what does not do it then cannot.
    pub is_paced: bool,
    /// Bytes per second that it delivered before a plan changed that, if that was a short while ago: not yet judged.
    pub rate_before: Option<u64>,
    /// TCP connections that carry a multipath connection now, of which nearly all other figures know the first; 1 for plain
    /// TCP.
    pub subflows: u8,
    /// Whether the one that it began with has ended: its client has moved to another path. The kernel then tells of another
    /// connection, or of none: the round trip is zero.
    pub has_moved: bool,
}

/// A congestion control that plans know.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Congestion {
    /// Backs off at loss: fair on clean paths.
    Cubic,
    /// Models bandwidth and delay: keeps its rate where loss is no congestion (Cardwell et al. 2016).
    Bbr,
}

impl Congestion {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Cubic, Self::Bbr];

    /// The kernel's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cubic => "cubic",
            Self::Bbr => "bbr",
        }
    }

    /// Reads the kernel's name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }
}
