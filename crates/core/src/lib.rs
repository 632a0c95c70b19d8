//! Pure decisions of hmac-file-server.
//!
//! Nothing here opens a socket or a file, reads a clock or spawns a task: time, randomness and measurements are
//! arguments, so that every decision can be replayed in a test. The server crate does what is decided here.

pub mod admit;
pub mod auth;
pub mod form;
pub mod http1;
pub mod media;
pub mod pace;
pub mod profile;
pub mod progress;
pub mod range;
pub mod tune;

mod blob;
mod digest;
mod size;
mod slot;
mod time;

pub use blob::{BlobId, InvalidBlobId};
pub use digest::Digest;
pub use size::{ByteSize, InvalidByteSize};
pub use slot::{InvalidSlotPath, SlotPath};
pub use time::Timestamp;
