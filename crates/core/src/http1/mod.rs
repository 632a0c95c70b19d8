//! Strict HTTP/1.1 framing as a sans-IO state machine on `httparse`.
//!
//! Owns where a request head ends, what its body framing is, where body bytes lie between chunk framing, and how a
//! response head looks on the wire. It holds no byte, reads no socket and no clock: the adapter (`net::h1`) brings a
//! buffer and gets positions back. It does not know what a slot, a method or a header means beyond framing.
//!
//! *Invariant:* every line ends in CRLF, a request has exactly one meaning or is refused. Whoever stands between us
//! and the client (a proxy, a balancer) may read sloppier; a shape that two readers could split differently gets 400.
//!
//! After any refusal the connection is out of step and has to be closed behind the answer.

mod body;
mod encode;
mod framing;
mod head;
mod refusal;
mod scan;
mod target;
#[cfg(test)]
mod tests;

pub use body::{BadChunk, BodyDecoder, Decoded};
pub use encode::{CONTINUE, ResponseHead, encode_head, encode_interim};
pub use framing::Framing;
pub use head::{Head, HeadLimits, parse_head};
pub use refusal::BadRequest;
pub use scan::HeadScan;

/// A `tchar` of RFC 9110 section 5.6.2: what methods and header names are made of.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What a header value may hold besides its folding: HTAB, SP, visible characters and obs-text.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}
