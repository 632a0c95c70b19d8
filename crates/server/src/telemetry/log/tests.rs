//! Lines as an operator reads them, through a subscriber that is this test's alone.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

use hfs_core::ByteSize;
use tracing::{debug, info, warn};

use super::*;
use crate::telemetry::redact::Redacted;

fn config(path: &Path, format: LogFormat) -> LogConfig {
    LogConfig { level: Level::INFO, format, file: Some(path.to_owned()), max_size: ByteSize::mib(1), max_backups: 1 }
}

/// What `act` logs.
fn logged(format: LogFormat, act: impl FnOnce(&LogHandle)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.log");
    let (subscriber, handle) = build(&config(&path, format)).unwrap();
    tracing::subscriber::with_default(subscriber, || act(&handle));
    handle.flush();
    fs::read_to_string(&path).unwrap()
}

#[test]
fn a_line_has_its_fields_and_no_colours() {
    let text = logged(LogFormat::Auto, |_| info!(slot = %"a/b", bytes = 5, outcome = "complete", "Upload finished"));
    assert!(text.ends_with(" INFO Upload finished slot=a/b bytes=5 outcome=\"complete\"\n"), "{text}");
    assert!(!text.contains('\x1b'), "{text}");
}

#[test]
fn json_is_one_object_a_line() {
    let text = logged(LogFormat::Json, |_| {
        info!(slot = %"a\n\"b", bytes = 5, "Upload finished");
        warn!("Second");
    });
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["message"], &lines[0]["slot"], &lines[0]["bytes"]),
        (&"Upload finished".into(), &"a\n\"b".into(), &5.into())
    );
    assert_eq!(lines[1]["level"], "WARN");
}

#[test]
fn a_hostile_name_cannot_forge_a_line() {
    let hostile = "x\n2026-01-01T00:00:00Z  INFO Upload finished\r\x1b[2J\u{9b}31m\0\u{202e}";
    let text = logged(LogFormat::Text, |_| info!(slot = %hostile, "Upload finished"));
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("slot=x\\n2026"), "{text:?}");
    assert!(!text.trim_end().contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
}

#[test]
fn the_level_changes_while_it_runs() {
    let text = logged(LogFormat::Text, |handle| {
        debug!("too early");
        handle.set_level(Level::DEBUG);
        debug!("in time");
        handle.set_level(Level::WARN);
        info!("too quiet");
    });
    assert!(text.contains("in time") && !text.contains("too"), "{text}");
}

#[test]
fn other_crates_stay_below_warnings_at_any_level() {
    let text = logged(LogFormat::Text, |handle| {
        handle.set_level(Level::TRACE);
        tracing::debug!(target: "h2::codec", "PUT /a?v=0123");
        tracing::warn!(target: "h2::codec", "a warning");
        tracing::trace!(target: "hfs_core::auth", "ours");
    });
    assert!(!text.contains("0123") && text.contains("a warning") && text.contains("ours"), "{text}");
}

#[test]
fn a_redacted_target_keeps_its_mac_out_of_the_log() {
    let mac = "d23f9b0e5a1c4d7788990a1b2c3d4e5f60718293a4b5c6d7e8f9012345678aff";
    let target = format!("/up/a?v={mac}");
    let text = logged(LogFormat::Json, |_| info!(target_uri = %Redacted(&target), "Refused"));
    assert!(text.contains("/up/a?v=…") && !text.contains(mac), "{text}");
}

#[test]
fn a_reopened_log_goes_on_in_the_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.log");
    let (subscriber, handle) = build(&config(&path, LogFormat::Text)).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        info!("before");
        handle.flush();
        fs::rename(&path, folder.path().join("moved")).unwrap();
        handle.reopen().unwrap();
        info!("after");
    });
    drop(handle);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("after") && !text.contains("before"), "{text}");
}

#[test]
fn a_log_file_that_cannot_be_opened_is_named() {
    let path = Path::new("/nonexistent/server.log");
    let error = build(&config(path, LogFormat::Text)).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "cannot write the log file /nonexistent/server.log");
}

#[test]
fn the_journal_is_known_by_device_and_inode() {
    let file = tempfile::tempfile().unwrap();
    let stat = rustix::fs::fstat(&file).unwrap();
    let (device, inode) = (stat.st_dev, stat.st_ino);
    assert!(names_stream(&format!("{device}:{inode}"), file.as_fd()));
    assert!(!names_stream(&format!("{device}:{}", inode + 1), file.as_fd()));
    assert!(!names_stream("", file.as_fd()));
}
