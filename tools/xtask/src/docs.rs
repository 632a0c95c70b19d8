//! `cargo xtask docs`: what is generated in the documents, and that their links lead somewhere.
//!
//! Generated today: the table of Debian packages in CONTRIBUTING.md, between two marker comments.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::packages::PACKAGES;
use crate::place;

const BEGIN: &str = "<!-- packages: written by `cargo xtask docs` -->\n";
const END: &str = "<!-- end of packages -->";

/// Writes the generated parts.
pub(crate) fn write() -> Result<()> {
    let file = place::checkout()?.join("CONTRIBUTING.md");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    fs::write(&file, with_table(&text)?).with_context(|| format!("cannot write {}", file.display()))
}

/// Fails when a generated part is out of date or a link leads nowhere.
pub(crate) fn check() -> Result<()> {
    let checkout = place::checkout()?;
    let contributing = fs::read_to_string(checkout.join("CONTRIBUTING.md")).context("cannot read CONTRIBUTING.md")?;
    if with_table(&contributing)? != contributing {
        bail!("the package table of CONTRIBUTING.md is out of date: `cargo xtask docs` writes it");
    }
    let mut dead = Vec::new();
    for folder in [checkout.clone(), checkout.join("docs")].iter().filter(|folder| folder.is_dir()) {
        for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let file = entry?.path();
            if file.extension().is_some_and(|extension| extension == "md") {
                dead.extend(dead_links(&file)?);
            }
        }
    }
    if !dead.is_empty() {
        bail!("links that lead nowhere:\n  {}", dead.join("\n  "));
    }
    Ok(())
}

fn with_table(text: &str) -> Result<String> {
    let markers = || format!("CONTRIBUTING.md lacks the markers {} and {END}", BEGIN.trim());
    let (before, rest) = text.split_once(BEGIN).with_context(markers)?;
    let (_, after) = rest.split_once(END).with_context(markers)?;
    let mut table = String::from("| package | used by | for |\n|---|---|---|\n");
    for package in PACKAGES {
        table.push_str(&format!("| {} | {} | {} |\n", package.name, package.tests, package.purpose));
    }
    Ok(format!("{before}{BEGIN}{table}{END}{after}"))
}

/// Relative targets of `[text](target)` that do not exist.
fn dead_links(file: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    Ok(targets
        .map(|target| target.split('#').next().unwrap_or(target))
        .filter(|target| !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:"))
        .filter(|target| !folder.join(target).exists())
        .map(|target| format!("{}: {target}", file.display()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_replaces_only_what_is_between_the_markers() {
        let text = format!("before\n{BEGIN}old\n{END}\nafter\n");
        let written = with_table(&text).unwrap();
        assert!(written.starts_with("before\n") && written.ends_with("\nafter\n"));
        assert!(written.contains("| strace |") && !written.contains("old"));
        assert_eq!(with_table(&written).unwrap(), written);
    }

    #[test]
    fn a_document_without_markers_is_refused() {
        assert!(with_table("nothing").is_err());
    }
}
