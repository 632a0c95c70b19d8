//! What the documents promise: their blocks run, their tables are complete.

mod migration;
mod operating;
mod proxies;
mod tables;
mod units;
mod xmpp;
