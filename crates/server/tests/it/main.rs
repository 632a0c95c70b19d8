//! Black-box tests of the real binary: a file per feature, `rig` for what they stand on.
//!
//! They know the command line, the configuration file and the network, nothing of the code. `cargo xtask test` provides
//! the programs that they need.

mod ejabberd;
mod prosody;
mod rig;
