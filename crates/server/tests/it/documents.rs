//! What the documents promise: their blocks run, their tables are complete.

mod adaptive;
mod migration;
mod operating;
mod proxies;
mod tables;
mod units;
mod xmpp;
