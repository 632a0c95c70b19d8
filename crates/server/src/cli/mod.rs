//! (stub)
pub mod sign;
