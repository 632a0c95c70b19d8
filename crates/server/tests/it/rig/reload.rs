//! Changing the configuration of a server that runs, and reading its metrics.

use std::fs;
use std::time::Duration;

use super::server::TestServer;
use super::wait_until;

impl TestServer {
    /// Replaces text of the configuration file; the server learns of it by [`Self::reload`].
    #[track_caller]
    pub(crate) fn reconfigure(&self, old: &str, new: &str) {
        let text = fs::read_to_string(self.config()).expect("configuration");
        assert!(text.contains(old), "no {old} in: {text}");
        fs::write(self.config(), text.replace(old, new)).expect("configuration");
    }

    /// Value of a metric, spelt with its labels; 0 as long as it has none.
    #[track_caller]
    pub(crate) fn metric(&self, series: &str) -> u64 {
        let text = self.request("GET", "/metrics", &[], None).text();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().expect("a whole number"))
    }

    /// SIGHUP, and waits until the new configuration is `applied` or `refused`.
    #[track_caller]
    pub(crate) fn reload_until(&self, outcome: &str) {
        let series = format!("hfs_config_reloads_total{{outcome=\"{outcome}\"}}");
        let before = self.metric(&series);
        self.reload();
        wait_until(&format!("configuration {outcome}"), Duration::from_secs(10), || self.metric(&series) > before);
    }
}
