//! (stub)
pub mod sign;

mod client;
pub mod get;
pub mod put;
#[cfg(test)]
mod scripted;

pub use client::{ClientError, ClientOptions, Refusal};
