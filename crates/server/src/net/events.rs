//! [`ConnectionEvents`]: what the connection layer tells whoever counts.

use http::StatusCode;

/// A seam for metrics. Every method has an empty default and must return at once.
pub trait ConnectionEvents: Send + Sync + 'static {
    /// A connection was accepted.
    fn opened(&self) {}
    /// A connection ended, whatever the reason.
    fn closed(&self) {}
    /// A connection was refused before any request reached the service: broken TLS, a malformed PROXY header.
    fn rejected(&self) {}
    /// A connection was closed at once: its client holds its share of them already.
    fn crowded(&self) {}
    /// A request never reached the service: the adapter answered it with `status`.
    fn refused(&self, status: StatusCode) {
        let _ = status;
    }
    /// A response was cut because its reader stalled.
    fn stalled(&self) {}
}

/// Nobody counts.
impl ConnectionEvents for () {}
