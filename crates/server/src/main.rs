//! The binary: hands its arguments to [`hmac_file_server::cli`] and ends with its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    hmac_file_server::cli::main(std::env::args_os())
}
