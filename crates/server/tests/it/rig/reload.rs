//! Changing the configuration of a server that runs, and reading its metrics.

use std::fs;
use std::time::Duration;

use super::server::{STANDARD_ARM, TestServer};
use super::wait_until;

impl TestServer {
    /// Replaces text of the configuration file; the server learns of it by [`Self::reload`].
    #[track_caller]
    pub(crate) fn reconfigure(&self, old: &str, new: &str) {
        let text = fs::read_to_string(self.config()).expect("configuration");
        assert!(text.contains(old), "no {old} in: {text}");
        fs::write(self.config(), text.replace(old, new)).expect("configuration");
    }

    /// Value of a metric, the sum over the labels that are not named. Every series is there from the first scrape: one
    /// that is not has another name.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.request("GET", "/metrics", &[], None).text();
        value_of(name, &text).unwrap_or_else(|| panic!("no {name} in\n{text}"))
    }

    /// Transfers that ended in this arm.
    #[track_caller]
    pub(crate) fn transfers(&self, arm: &str) -> u64 {
        self.metric(&format!("hfs_transfers_total{{arm=\"{arm}\"}}"))
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

fn value_of(name: &str, text: &str) -> Option<u64> {
    let (family, labels) = name.trim_end_matches('}').split_once('{').unwrap_or((name, ""));
    let value = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        let (named, has) = series.split_once('{').unwrap_or((series, ""));
        let is_meant = named == family && labels.split(',').all(|label| has.contains(label));
        is_meant.then(|| value.parse::<u64>().expect("a whole number"))
    };
    text.lines().filter_map(value).fold(None, |sum, value| Some(sum.unwrap_or(0) + value))
}

#[test]
fn a_metric_that_is_not_there_has_no_value() {
    let text =
        "# TYPE a counter\na_total{arm=\"x\",size=\"small\"} 1\na_total{arm=\"x\",size=\"large\"} 2\nb 0\n# EOF\n";
    let value = |name| value_of(name, text);
    assert_eq!(value("a_total"), Some(3));
    assert_eq!(value("a_total{arm=\"x\",size=\"large\"}"), Some(2));
    assert_eq!((value("b"), value("a"), value("a_total{arm=\"y\"}")), (Some(0), None, None));
}

/// What `cargo xtask test` runs again in the standard arm would show nothing if it took the other one.
#[test]
fn a_server_takes_the_arm_of_the_run() {
    let server = TestServer::start();
    assert_eq!(server.put("a/1.bin", b"hello").status, 201);
    assert_eq!(server.get("a/1.bin").body, b"hello");
    let is_standard = std::env::var_os(STANDARD_ARM).is_some();
    let [used, unused] = if is_standard { ["standard", "adaptive"] } else { ["adaptive", "standard"] };
    wait_until("both transfers' ends", Duration::from_secs(20), || server.transfers(used) == 2);
    assert_eq!(server.transfers(unused), 0);
}
