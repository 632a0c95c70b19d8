//! The path of one GET or HEAD over memory.
