//! The names that operators rely on, and a strict reader of the exposition format.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use hfs_core::pace::{self, Arm};
use hfs_core::profile::{Quality, Vantage};

use super::*;

#[test]
fn the_names_stay_as_operators_know_them() {
    let text = Metrics::new().encode();
    let list: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# HELP ")).collect();
    insta::assert_snapshot!(list.join("\n"), @r"
    hfs_build Version of the server.
    uploads Uploads stored.
    upload_errors Uploads refused, broken off or failed.
    downloads Downloads sent completely.
    download_errors Downloads broken off or failed.
    upload_duration_seconds Duration of stored uploads.
    download_duration_seconds Duration of complete downloads.
    upload_size_bytes Size of stored uploads.
    download_size_bytes Bytes sent by complete downloads.
    active_connections_total Requests being handled.
    hfs_connections Open connections.
    hfs_connections_rejected Connections refused before any request: broken TLS, a malformed PROXY header.
    hfs_connections_crowded Connections closed at once: their client holds its share.
    hfs_requests Requests answered.
    hfs_transfers Transfers ended.
    hfs_transfer_duration_seconds Duration of complete transfers by arm and size.
    hfs_transfer_bytes Body bytes of complete transfers.
    hfs_flows Transfers of at least 64 KiB that ended.
    hfs_upload_refusals Uploads refused.
    hfs_auth Proofs checked.
    hfs_received_bytes Body bytes received.
    hfs_sent_bytes Body bytes sent.
    hfs_store_free_bytes Free bytes on the store.
    hfs_memory_free_bytes Bytes of max_memory_usage that no transfer holds.
    hfs_config_reloads Configuration reloads.
    hfs_janitor_paused 1 while the clock is not believed and nothing is removed.
    hfs_janitor_removed Expired files removed.
    hfs_meta_commits Commits of the metadata.
    hfs_log_lines_lost Log lines lost while their destination hung.
    adaptive_upload_duration_seconds Duration of stored uploads in the adaptive arm.
    adaptive_upload_errors Uploads broken off or failed in the adaptive arm.
    adaptive_download_duration_seconds Duration of complete downloads in the adaptive arm.
    adaptive_download_errors Downloads broken off or failed in the adaptive arm.
    adaptive_buffer_optimizations Changes of a transfer's step or write size, and of what transfers begin with.
    adaptive_performance_gains Rate of an adaptive transfer over that of the standard path's of the same direction, quality and size.
    hfs_congestion_switches Changes of a connection's congestion control.
    hfs_zero_copy_bytes Body bytes moved inside the kernel.
    hfs_sweep_runs Sweeps for what crashes left.
    hfs_sweep_temporaries_removed Temporaries without an owner removed.
    hfs_sweep_leftovers_removed Files without a row removed.
    ");
}

#[test]
fn the_originals_names_are_exposed_from_the_first_scrape() {
    let text = Metrics::new().encode();
    let families = parse(&text);
    for name in ["uploads", "upload_errors", "downloads", "download_errors"] {
        assert_eq!(families[name].kind, "counter", "{name}");
        assert!(text.contains(&format!("\n{name}_total 0\n")), "{name}");
    }
    for name in ["upload_duration_seconds", "download_duration_seconds", "upload_size_bytes", "download_size_bytes"] {
        assert_eq!(families[name].kind, "histogram", "{name}");
        assert!(text.contains(&format!("\n{name}_count 0\n")), "{name}");
        assert!(text.contains(&format!("\n{name}_sum 0.0\n")), "{name}");
    }
    assert!(text.contains("# TYPE active_connections_total gauge\nactive_connections_total 0\n"));
    assert!(text.contains("\nhfs_build_info{version=\""));
}

#[test]
fn no_series_appears_later() {
    let metrics = Metrics::new();
    let series = |text: &str| -> HashSet<String> {
        parse(text).into_values().flat_map(|family| family.samples).map(|sample| sample.series).collect()
    };
    let before = series(&metrics.encode());
    let sorts = [Arm::Standard, Arm::Adaptive].map(|arm| [0, 1 << 20, 1 << 30].map(|bytes| (arm, bytes)));
    for &outcome in TransferOutcome::ALL {
        for (arm, bytes) in sorts.into_iter().flatten() {
            metrics.upload_finished(arm, outcome, bytes, Duration::from_secs(1));
            metrics.download_finished(arm, outcome, bytes, Duration::from_secs(1));
        }
    }
    UploadRefusal::ALL.iter().for_each(|&reason| metrics.upload_refused(reason));
    metrics.proof_checked(Some(Proof::FileShare), AuthOutcome::Accepted);
    metrics.request_answered(Method::from("BREW"), StatusClass::from(405));
    for quality in Quality::ALL {
        for vantage in [Vantage::Client, Vantage::Proxy] {
            metrics.flow_ended(pace::Direction::Download, Arm::Adaptive, quality, vantage, 64 << 10);
        }
    }
    metrics.config_reloaded(ReloadOutcome::Refused);
    metrics.set_store_free(ByteSize::gib(20_000));
    assert_eq!(series(&metrics.encode()), before);
    assert!(before.len() < 1000, "{} series", before.len());
}

#[test]
fn the_arms_can_be_compared_by_size() {
    let metrics = Metrics::new();
    metrics.upload_finished(Arm::Standard, TransferOutcome::Complete, 2 << 20, Duration::from_secs(5));
    metrics.upload_finished(Arm::Adaptive, TransferOutcome::Complete, 3 << 20, Duration::from_secs(1));
    metrics.download_finished(Arm::Adaptive, TransferOutcome::Complete, 1000, Duration::from_millis(5));
    metrics.download_finished(Arm::Adaptive, TransferOutcome::Aborted, 1 << 30, Duration::from_secs(9));
    let text = metrics.encode();
    for line in [
        "hfs_transfers_total{direction=\"download\",outcome=\"aborted\",arm=\"adaptive\",size=\"large\"} 1",
        "hfs_transfer_duration_seconds_sum{direction=\"upload\",arm=\"standard\",size=\"medium\"} 5.0",
        "hfs_transfer_duration_seconds_sum{direction=\"upload\",arm=\"adaptive\",size=\"medium\"} 1.0",
        "hfs_transfer_duration_seconds_count{direction=\"download\",arm=\"adaptive\",size=\"small\"} 1",
        "hfs_transfer_duration_seconds_count{direction=\"download\",arm=\"adaptive\",size=\"large\"} 0",
        "hfs_transfer_bytes_total{direction=\"upload\",arm=\"standard\",size=\"medium\"} 2097152",
        "hfs_transfer_bytes_total{direction=\"upload\",arm=\"adaptive\",size=\"medium\"} 3145728",
        "hfs_transfer_bytes_total{direction=\"download\",arm=\"adaptive\",size=\"large\"} 0",
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line}\n{text}");
    }
    parse(&text);
}

#[test]
fn a_stored_upload_counts_once_and_falls_into_its_buckets() {
    let metrics = Metrics::new();
    metrics.upload_finished(Arm::Standard, TransferOutcome::Complete, 3 << 30, Duration::from_secs(700));
    metrics.upload_finished(Arm::Standard, TransferOutcome::Aborted, 1000, Duration::from_secs(9));
    metrics.upload_refused(UploadRefusal::TooLarge);
    let text = metrics.encode();
    for line in [
        "uploads_total 1",
        "upload_errors_total 2",
        "upload_duration_seconds_bucket{le=\"300.0\"} 0",
        "upload_duration_seconds_bucket{le=\"900.0\"} 1",
        "upload_size_bytes_count 1",
        "upload_size_bytes_bucket{le=\"1073741824.0\"} 0",
        "upload_size_bytes_bucket{le=\"4294967296.0\"} 1",
        "hfs_received_bytes_total 3221226472",
        "hfs_transfers_total{direction=\"upload\",outcome=\"aborted\",arm=\"standard\",size=\"small\"} 1",
        "hfs_upload_refusals_total{reason=\"too-large\"} 1",
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line}\n{text}");
    }
    parse(&text);
}

#[test]
fn what_is_in_flight_ends_with_its_guard() {
    let metrics = Metrics::new();
    let guards = (metrics.request_started(), metrics.request_started());
    assert_eq!(metrics.active_requests.get(), 2);
    drop(guards);
    assert_eq!(metrics.active_requests.get(), 0);
}

struct Parsed {
    kind: String,
    samples: Vec<Sample>,
}

struct Sample {
    /// Name and labels as written.
    series: String,
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// Reads an OpenMetrics exposition as strictly as its grammar; panics at the first fault.
fn parse(text: &str) -> BTreeMap<String, Parsed> {
    let body = text.strip_suffix("# EOF\n").expect("ends with EOF");
    assert!(!text.contains("\r") && !text.contains("\n\n"));
    let mut families: BTreeMap<String, Parsed> = BTreeMap::new();
    let (mut seen, mut lines) = (HashSet::new(), body.lines().peekable());
    while let Some(help) = lines.next() {
        let (name, help) = help.strip_prefix("# HELP ").expect("a family begins with HELP").split_once(' ').unwrap();
        assert!(is_name(name) && !help.is_empty(), "{name}");
        let kind = lines.next().and_then(|line| line.strip_prefix(&format!("# TYPE {name} "))).expect("then its TYPE");
        let mut samples = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let sample = parse_sample(line);
            let suffix = sample.name.strip_prefix(name).unwrap_or_else(|| panic!("{line} in family {name}"));
            let allowed: &[&str] = match kind {
                "counter" => &["_total"],
                "gauge" => &[""],
                "info" => &["_info"],
                "histogram" => &["_bucket", "_sum", "_count"],
                other => panic!("type {other}"),
            };
            assert!(allowed.contains(&suffix), "{line} is no {kind}");
            assert!(kind != "counter" || sample.value >= 0.0, "{line}");
            assert!(seen.insert(sample.series.clone()), "{line} twice");
            samples.push(sample);
        }
        assert!(!samples.is_empty(), "{name} is empty");
        if kind == "histogram" {
            check_histogram(name, &samples);
        }
        assert!(families.insert(name.to_owned(), Parsed { kind: kind.to_owned(), samples }).is_none(), "{name} twice");
    }
    families
}

fn parse_sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').expect("a value");
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').expect("closing brace")),
        None => (series, ""),
    };
    assert!(is_name(name), "{line}");
    let labels = labels.split_terminator(',').map(|label| {
        let (key, value) = label.split_once('=').expect("a label");
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).expect("quotes");
        assert!(is_name(key) && !key.contains(':') && !value.contains(['"', '\\']), "{line}");
        (key.to_owned(), value.to_owned())
    });
    let value = if value == "NaN" { f64::NAN } else { value.parse().expect("a number") };
    Sample { series: series.to_owned(), name: name.to_owned(), labels: labels.collect(), value }
}

/// One set of buckets for each set of other labels.
fn check_histogram(name: &str, samples: &[Sample]) {
    let mut sets: BTreeMap<BTreeMap<&str, &str>, Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        let labels = sample.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        sets.entry(labels.filter(|(key, _)| *key != "le").collect()).or_default().push(sample);
    }
    sets.values().for_each(|set| check_buckets(name, set));
}

fn check_buckets(name: &str, samples: &[&Sample]) {
    let buckets: Vec<_> = samples.iter().filter(|sample| sample.name.ends_with("_bucket")).collect();
    let bounds: Vec<f64> = buckets.iter().map(|bucket| bucket.labels["le"].parse().unwrap()).collect();
    assert!(bounds.is_sorted_by(|a, b| a < b) && bounds.last() == Some(&f64::INFINITY), "{name}: {bounds:?}");
    assert!(buckets.is_sorted_by(|a, b| a.value <= b.value), "{name} is not cumulative");
    let count = samples.iter().find(|sample| sample.name.ends_with("_count")).unwrap().value;
    assert_eq!(buckets.last().unwrap().value, count, "{name}");
}

fn is_name(text: &str) -> bool {
    let ok = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    text.starts_with(|c: char| !c.is_ascii_digit()) && !text.is_empty() && text.chars().all(ok)
}
