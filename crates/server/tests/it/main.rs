//! Black-box tests of the real binary: a file per feature, `rig` for what they stand on.
//!
//! They know the command line, the configuration file and the network, nothing of the code. `cargo xtask test` provides
//! the programs that they need.
#![allow(clippy::print_stdout, reason = "figures and logs that a failed test shows")]

mod admin;
mod adoption;
mod arms;
mod clock;
mod commands;
mod crash;
mod dialects;
mod digests;
mod direct;
mod disk_full;
mod disk_trouble;
mod documents;
mod ejabberd;
mod http2;
mod lanes;
mod links;
mod logs;
mod malformed;
mod manager;
mod memory;
mod nginx;
mod posts;
mod powercut;
mod profiles;
mod prosody;
mod reload;
mod repeats;
mod restart;
mod rig;
mod rotation;
mod share;
mod shelf;
mod slow;
mod statuses;
mod syscalls;
mod tls;
mod trial;
