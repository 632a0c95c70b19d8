//! What every HTTP version shares: the exchange types, the URL table, the error map, the headers.

pub mod exchange;
