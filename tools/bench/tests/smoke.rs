//! The bench itself, with loads that take seconds: figures come out for every work. What they say is not judged here.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Runs `bench` with these words and returns its report.
fn bench(words: &[&str]) -> Value {
    let program = Path::new(env!("CARGO_BIN_EXE_bench"));
    let server = program.with_file_name("hmac-file-server");
    assert!(server.is_file(), "{} is missing: `cargo build -p hmac-file-server` makes it", server.display());
    let folder = tempfile::tempdir().expect("folder");
    let report = folder.path().join("report");
    let mut command = Command::new(program);
    command.args(words).arg("--out").arg(&report).env("HFS_BENCH_SERVER", server);
    let output = command.output().expect("the bench runs");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "bench {words:?}: {}\n{said}", output.status);
    let table = std::fs::read_to_string(report.with_extension("md")).expect("a table");
    assert!(!table.contains("NaN") && !table.contains("inf"), "{table}");
    let json = std::fs::read_to_string(report.with_extension("json")).expect("a report");
    serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"))
}

#[track_caller]
fn rows(report: &Value) -> &[Value] {
    report["rows"].as_array().unwrap_or_else(|| panic!("no rows: {report}"))
}

/// The figure of that name of the only round.
#[track_caller]
fn figure(figures: &Value, name: &str) -> f64 {
    let rounds = figures[name].as_array().unwrap_or_else(|| panic!("no {name}: {figures}"));
    assert_eq!(rounds.len(), 1, "{name}: {figures}");
    rounds[0].as_f64().unwrap_or_else(|| panic!("no number {name}: {figures}"))
}

#[track_caller]
fn assert_work_is_measured(row: &Value, servers: &[&str]) {
    let measured = row["servers"].as_object().unwrap_or_else(|| panic!("no servers: {row}"));
    assert_eq!(measured.len(), servers.len(), "{row}");
    for server in servers {
        for name in ["cpu_seconds", "wall_seconds"] {
            assert!(figure(&measured[*server], name) > 0.0, "{server}: {row}");
        }
    }
}

#[test]
fn every_work_of_the_bench_is_measured_at_our_own_server() {
    let report = bench(&["--part", "32", "--rounds", "1", "--peers", "adaptive"]);
    let (memory, works) = rows(&report).split_at(2);
    let memory: Vec<f64> = memory.iter().map(|row| figure(&row["servers"]["adaptive"], "kib_each")).collect();
    // So few may fit into what the server holds already.
    assert!(memory.iter().all(|&each| each >= 0.0), "{memory:?}");
    assert_eq!(works.len(), 6, "{report}");
    works.iter().for_each(|row| assert_work_is_measured(row, &["adaptive"]));
}

#[test]
fn what_many_slow_uploads_hold_is_measured() {
    let report = bench(&["--part", "4", "--rounds", "1", "--only", "slow", "--peers", "adaptive"]);
    let each = figure(&rows(&report)[0]["servers"]["adaptive"], "kib_each");
    assert!(each > 1.0, "{each} KiB");
}

#[test]
fn every_variant_of_our_own_server_and_the_floor_are_measured() {
    const OURS: [&str; 5] = ["standard", "pinned", "hashing", "unsynced", "tls"];
    const FLOOR: [&str; 3] = ["floor", "floor-hashing", "floor-unsynced"];
    let report = bench(&["--part", "128", "--rounds", "1", "--only", "get-large", "--peers", &OURS.join(",")]);
    assert_work_is_measured(&rows(&report)[0], &OURS);
    let all = [OURS.as_slice(), &FLOOR].concat();
    let report = bench(&["--part", "128", "--rounds", "1", "--only", "put-large,put-small", "--peers", &all.join(",")]);
    assert_eq!(rows(&report).len(), 2, "{report}");
    for row in rows(&report) {
        assert_work_is_measured(row, &all);
        // What goals name, and a server with itself.
        assert_are_compared(&row["paired"][0], "pinned", "standard");
        assert_are_compared(&row["paired"][1], "standard", "standard");
    }
}

#[test]
fn a_server_that_shares_no_files_serves_those_of_every_load() {
    let report = bench(&["--part", "128", "--rounds", "1", "--only", "get-large,get-small", "--peers", "prosody"]);
    assert_eq!(rows(&report).len(), 2, "{report}");
    rows(&report).iter().for_each(|row| assert_work_is_measured(row, &["prosody"]));
}

#[test]
fn whoever_is_asked_for_is_compared_closely_and_nobody_else() {
    let report = bench(&["--part", "128", "--only", "put-small", "--pairs", "floor/floor-unsynced,floor/floor"]);
    let row = &rows(&report)[0];
    assert_work_is_measured(row, &[]);
    assert_eq!(row["paired"].as_array().map(Vec::len), Some(2), "{row}");
    assert_are_compared(&row["paired"][0], "floor", "floor-unsynced");
    assert_are_compared(&row["paired"][1], "floor", "floor");
}

#[track_caller]
fn assert_are_compared(paired: &Value, of: &str, over: &str) {
    assert_eq!((&paired["of"], &paired["over"]), (&of.into(), &over.into()), "{paired}");
    for what in ["cpu", "throughput"] {
        let figures = &paired[what];
        let [low, ratio, high] = [&figures["interval"][0], &figures["ratio"], &figures["interval"][1]]
            .map(|figure| figure.as_f64().unwrap_or_else(|| panic!("no figures: {paired}")));
        assert!(0.0 < low && low <= ratio && ratio <= high, "{paired}");
    }
}

#[test]
fn transfers_over_a_link_are_measured() {
    let report = bench(&["--links", "--rounds", "1", "--seconds", "1", "--only", "get-10-40,put-10-40"]);
    assert_eq!(rows(&report).len(), 2, "{report}");
    for row in rows(&report) {
        for kind in ["standard", "cold", "warm"] {
            assert!(figure(&row["transfers"][kind], "bits_per_second") > 0.0, "{kind}: {row}");
        }
    }
}
