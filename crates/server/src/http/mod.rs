//! What every HTTP version shares: the exchange types, the URL table, the error map, the headers.

pub mod exchange;
pub mod client;
pub mod context;
pub mod router;

mod cors;
mod headers;
mod respond;
