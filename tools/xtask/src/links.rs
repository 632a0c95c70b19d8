//! Links of the Markdown files: each relative target exists in the checkout, each anchor is a heading. Called by `docs`.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Folders that are not the project's.
const FOREIGN: [&str; 3] = ["target", "data", ".git"];

/// Every Markdown file of the checkout.
pub(crate) fn documents(checkout: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    gather(checkout, &mut found)?;
    found.sort();
    Ok(found)
}

fn gather(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        let path = entry.path();
        let is_foreign = FOREIGN.iter().any(|name| entry.file_name() == *name);
        if entry.file_type()?.is_dir() {
            if !is_foreign {
                gather(&path, found)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    Ok(())
}

/// The links of a document that lead nowhere, each with its line.
pub(crate) fn dead(file: &Path) -> Result<Vec<String>> {
    let text = read(file)?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut dead = Vec::new();
    for (number, line) in prose(&text) {
        for target in targets(line) {
            if let Some(reason) = fault(file, folder, target)? {
                dead.push(format!("{}:{number}: {target}: {reason}", file.display()));
            }
        }
    }
    Ok(dead)
}

fn fault(file: &Path, folder: &Path, target: &str) -> Result<Option<&'static str>> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(None);
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let target = if path.is_empty() { file.to_owned() } else { folder.join(path) };
    if !target.exists() {
        return Ok(Some("no such file"));
    }
    if anchor.is_empty() || anchors(&read(&target)?).iter().any(|known| known == anchor) {
        return Ok(None);
    }
    Ok(Some("no such heading"))
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// The lines outside of fenced blocks, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().zip(1..).filter_map(move |(line, number)| {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        (!fenced && !is_fence).then_some((number, line))
    })
}

/// Targets of `[text](target)`.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|target| !target.is_empty())
}

/// Names of the headings, as the hosts of repositories make them: lower case, blanks as hyphens, no punctuation, a
/// number behind a repeated one.
fn anchors(text: &str) -> Vec<String> {
    let mut seen: HashMap<String, u32> = HashMap::new();
    let headings = prose(text).filter(|(_, line)| line.starts_with('#'));
    let names = headings.map(|(_, line)| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let name: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let count = seen.entry(name.clone()).or_default();
        *count += 1;
        if *count == 1 { name } else { format!("{name}-{}", *count - 1) }
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_have_the_names_that_links_use() {
        let text = "# Answers, and what they mean\n## `[server]`\n```\n# no heading\n```\n## Files\n## Files\n";
        assert_eq!(anchors(text), ["answers-and-what-they-mean", "server", "files", "files-1"]);
    }

    #[test]
    fn links_in_blocks_are_none() {
        let text = "[a](b.md) and [c](d.md#e)\n```\n[f](g)\n```\n";
        let found: Vec<_> = prose(text).flat_map(|(_, line)| targets(line)).collect();
        assert_eq!(found, ["b.md", "d.md#e"]);
    }

    #[test]
    fn what_leads_nowhere_is_named() {
        let checkout = crate::place::checkout().unwrap();
        let readme = checkout.join("README.md");
        let fault = |target| fault(&readme, &checkout, target).unwrap();
        assert_eq!(fault("LICENSE"), None);
        assert_eq!(fault("#no-such-heading"), Some("no such heading"));
        assert_eq!(fault("docs/none.md"), Some("no such file"));
        assert_eq!(fault("https://example.org/none"), None);
    }
}
