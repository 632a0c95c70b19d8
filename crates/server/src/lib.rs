//! hmac-file-server: stores and serves the files that XMPP users send each other (XEP-0363).

pub mod admin;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
mod crew;
pub mod download;
pub mod flow;
pub mod http;
pub mod janitor;
pub mod keeper;
pub mod meta;
pub mod net;
pub mod random;
pub mod run;
pub mod storage;
pub mod telemetry;
pub mod upload;
