//! [`Stderr`]: standard error as a [`Sink`]. Called by `log` where neither a file nor the journal is the destination.

use std::io::{self, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};

use super::LogFormat;
use super::queue::Sink;

/// Standard error, in this shape.
#[derive(Debug)]
pub(super) struct Stderr(pub(super) LogFormat);

impl Sink for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let mut rest = line;
        while !rest.is_empty() {
            // Locked for one call at a time: a panic elsewhere has something to say too.
            match io::stderr().write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Whoever shares the terminal or the pipe may have made it so: half a line would be worse than waiting.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait()?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn confession(&self, missing: u64) -> Vec<u8> {
        confession(self.0, missing)
    }
}

fn wait() -> io::Result<()> {
    let stderr = io::stderr();
    let fd = stderr.as_fd();
    match poll(&mut [PollFd::new(&fd, PollFlags::OUT)], None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The line that says how many are missing.
pub(super) fn confession(format: LogFormat, missing: u64) -> Vec<u8> {
    let line = match format {
        LogFormat::Json => {
            format!("{{\"level\":\"WARN\",\"message\":\"Log lines were lost here\",\"lines\":{missing}}}\n")
        }
        LogFormat::Auto | LogFormat::Text => format!("WARN Log lines were lost here lines={missing}\n"),
    };
    line.into_bytes()
}
