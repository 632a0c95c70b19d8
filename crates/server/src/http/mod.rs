//! What every HTTP version shares: the exchange types, the URL table, the error map, the headers.

pub mod client;
pub mod context;
pub mod cors;
pub(crate) mod direct;
pub mod exchange;
pub mod headers;
pub mod router;

mod respond;
pub(crate) mod tally;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
