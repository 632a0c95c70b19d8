//! What a table was measured on.

use std::fs;

use anyhow::Result;

/// Processor, cores, kernel and day, on one line.
pub(crate) fn describe() -> Result<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown processor");
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let day = std::process::Command::new("date").arg("+%Y-%m-%d").output()?;
    Ok(format!(
        "{}, {cores} cores, Linux {}, {}",
        model.trim_start_matches([' ', '\t', ':']),
        kernel.trim(),
        String::from_utf8_lossy(&day.stdout).trim()
    ))
}
