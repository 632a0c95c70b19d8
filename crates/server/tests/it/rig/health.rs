//! [`HealthProbe`]: how long /health takes while something bad goes on.

use std::time::{Duration, Instant};

use super::server::TestServer;

/// Ten times the goal of 100 ms: it tells hanging from answering, also on a machine that has other things to do.
const MOST: Duration = Duration::from_secs(1);

/// The answers' times so far.
#[derive(Default)]
pub(crate) struct HealthProbe(Vec<Duration>);

impl HealthProbe {
    /// Asks once.
    #[track_caller]
    pub(crate) fn ask(&mut self, server: &TestServer) {
        let asked = Instant::now();
        assert!(server.is_healthy(), "no answer from /health");
        self.0.push(asked.elapsed());
    }

    /// The longest one: for what holds everybody up once.
    pub(crate) fn longest(&self) -> Duration {
        self.0.iter().max().copied().unwrap_or_default()
    }

    /// Prints the 99th percentile, and fails where it is too long.
    #[track_caller]
    pub(crate) fn judge(mut self, during: &str) {
        self.0.sort_unstable();
        let count = self.0.len();
        assert!(count > 0, "nobody asked");
        let p99 = self.0[(count * 99).div_ceil(100) - 1];
        println!("/health during {during}: p99 {p99:?}, longest {:?} of {count}", self.0[count - 1]);
        assert!(p99 <= MOST, "{during}: p99 of /health is {p99:?}");
    }
}
