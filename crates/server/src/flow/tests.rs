//! Flows over real connections.
