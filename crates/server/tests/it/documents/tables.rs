//! Tables that must be complete: statuses, metrics, messages; and that no block goes untested unnoticed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::rig::document::{DOCUMENTS, blocks, read, section};
use crate::rig::place;
use crate::rig::server::TestServer;

const MANUAL: &str = "docs/operating.md";
const METRICS: &str = "<!-- metrics: checked by the tests; UPDATE_DOCS=1 writes them -->";
const END_OF_METRICS: &str = "<!-- end of metrics -->";

#[test]
fn every_answer_is_in_the_table_and_nothing_else() {
    let table = section(MANUAL, "<!-- codes: checked by the tests -->", "<!-- end of codes -->");
    let rows = table.lines().skip(2).map(|row| {
        let mut cells = row.split('|').skip(1).map(str::trim);
        let (status, code) = (cells.next().expect("status"), cells.next().expect("code"));
        (status.parse().expect("a status"), code.trim_matches('`').to_owned())
    });
    let documented: Vec<(u16, String)> = rows.collect();
    let listed: BTreeSet<_> = documented.iter().cloned().collect();
    assert_eq!(listed.into_iter().collect::<Vec<_>>(), documented, "sorted, each once");
    assert_eq!(documented, answers().into_iter().collect::<Vec<_>>());
}

/// Every status and code of the one map from errors to answers, and of answers without an error.
fn answers() -> BTreeSet<(u16, String)> {
    let source = ["respond.rs", "respond/told.rs"].map(|name| read(&format!("crates/server/src/http/{name}"))).concat();
    let told = source.split("told(").skip(1).filter_map(|call| {
        let call = call.trim_start().strip_prefix("StatusCode::")?;
        let (status, rest) = call.split_once(',')?;
        let code = rest.trim_start().strip_prefix('"')?.split('"').next()?;
        Some((number(status), code.to_owned()))
    });
    told.collect()
}

fn number(status: &str) -> u16 {
    match status {
        "BAD_REQUEST" => 400,
        "UNAUTHORIZED" => 401,
        "FORBIDDEN" => 403,
        "NOT_FOUND" => 404,
        "METHOD_NOT_ALLOWED" => 405,
        "REQUEST_TIMEOUT" => 408,
        "CONFLICT" => 409,
        "GONE" => 410,
        "LENGTH_REQUIRED" => 411,
        "PAYLOAD_TOO_LARGE" => 413,
        "INTERNAL_SERVER_ERROR" => 500,
        "SERVICE_UNAVAILABLE" => 503,
        "INSUFFICIENT_STORAGE" => 507,
        other => panic!("{other}: which number is it, and is it in {MANUAL}?"),
    }
}

#[test]
fn the_metrics_are_listed_as_they_are_served() {
    let server = TestServer::start();
    let served = metrics_table(&server.request("GET", "/metrics", &[], None).text());
    let listed = section(MANUAL, METRICS, END_OF_METRICS);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let text = read(MANUAL).replace(&format!("{METRICS}\n{listed}"), &format!("{METRICS}\n{served}"));
        fs::write(place::checkout().join(MANUAL), text).expect("manual");
        return;
    }
    assert!(listed == served, "{MANUAL} lists other metrics than are served: run this test with UPDATE_DOCS=1");
}

fn metrics_table(text: &str) -> String {
    let mut table = String::from("| Metric | Kind | Labels | |\n|---|---|---|---|\n");
    for line in text.lines() {
        let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|line| line.split_once(' ')) else { continue };
        let kind = text.lines().find_map(|line| line.strip_prefix(&format!("# TYPE {name} "))).expect("a type");
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        // A histogram has no series of its own name, and its buckets have a label more.
        let series = if kind == "histogram" { "_count" } else { suffix };
        let labels: BTreeSet<String> = text
            .lines()
            .filter_map(|line| line.strip_prefix(&format!("{name}{series}{{"))?.split_once('}'))
            .flat_map(|(labels, _)| labels.split(',').filter_map(|label| label.split_once('=')))
            .map(|(label, _)| format!("`{label}`"))
            .collect();
        let labels = labels.into_iter().collect::<Vec<_>>().join(", ");
        table.push_str(&format!("| `{name}{suffix}` | {kind} | {labels} | {help} |\n"));
    }
    table
}

#[test]
fn every_message_in_the_manual_is_one_of_the_programs() {
    let mut source = String::new();
    gather(&place::checkout().join("crates/server/src"), "rs", &mut source);
    let manual = read(MANUAL);
    let (_, logs) = manual.split_once("| Message | Outcome | Meaning |\n|---|---|---|\n").expect("a table of messages");
    let rows: Vec<&str> = logs.lines().take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 10);
    for row in rows {
        let mut cells = row.split('|').skip(1).map(str::trim);
        let message = cells.next().expect("message").trim_matches('`');
        assert!(source.contains(&format!("\"{message}")), "nothing logs {message:?}");
        if let Some(outcome) = cells.next().and_then(|cell| cell.strip_prefix('`')?.strip_suffix('`')) {
            assert!(source.contains(&format!("\"{outcome}\"")), "no outcome is called {outcome:?}");
        }
    }
}

#[test]
fn no_block_for_another_program_goes_untested() {
    let mut tests = String::new();
    gather(&place::checkout().join("crates/server/tests/it"), "rs", &mut tests);
    for document in DOCUMENTS {
        for block in blocks(document) {
            let tested = ["nginx", "haproxy", "caddyfile", "apache", "lua", "yaml"].contains(&block.language.as_str());
            // Those of systemd and cargo cannot run here; TOML is read by the configuration's own tests.
            let exempt = ["systemctl ", "cargo "].iter().any(|word| block.text.contains(word));
            let named = block.name.is_some();
            assert!(!tested || named, "{document} has a block without a name:\n{}", block.text);
            assert!(block.language != "sh" || named || exempt, "{document}: untested commands:\n{}", block.text);
            if let Some(name) = &block.name {
                assert!(tests.contains(&format!("\"{name}\"")), "{document}: no test knows {name:?}");
            }
        }
    }
}

/// Every file with the extension, appended.
fn gather(folder: &Path, extension: &str, text: &mut String) {
    for entry in fs::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            gather(&path, extension, text);
        } else if path.extension().is_some_and(|known| known == extension) {
            text.push_str(&fs::read_to_string(&path).expect("source"));
        }
    }
}
