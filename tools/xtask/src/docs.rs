//! `cargo xtask docs`: what is generated in the documents, that their links lead somewhere, and that the README's
//! number of crates is true.
//!
//! Generated here: the table of Debian packages in CONTRIBUTING.md, between two marker comments. What needs the server
//! itself (the manual of the configuration, the list of metrics) is checked and written by its own tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::packages::PACKAGES;
use crate::run::output;
use crate::{links, place};

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
    for file in links::documents(&checkout)? {
        dead.extend(links::dead(&file)?);
    }
    if !dead.is_empty() {
        bail!("links that lead nowhere:\n  {}", dead.join("\n  "));
    }
    count_crates(&checkout)
}

/// The README's number of crates is true within a tenth.
fn count_crates(checkout: &Path) -> Result<()> {
    let readme = fs::read_to_string(checkout.join("README.md")).context("cannot read README.md")?;
    let said = said_crates(&readme).context("README.md no longer says `about N crates`")?;
    let arguments = "tree -p hmac-file-server --edges normal --prefix none --no-dedupe --locked";
    let tree = output(Command::new("cargo").current_dir(checkout).args(arguments.split(' ')));
    let tree = tree.with_context(|| format!("`cargo {arguments}` failed"))?;
    let found = tree.lines().collect::<BTreeSet<_>>().len();
    if said.abs_diff(found) * 10 > found {
        bail!("README.md says about {said} crates, and there are {found}");
    }
    Ok(())
}

fn said_crates(readme: &str) -> Option<usize> {
    let (_, rest) = readme.split_once("about ")?;
    let (number, after) = rest.split_once(' ')?;
    if after.starts_with("crates") { number.parse().ok() } else { said_crates(rest) }
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
    fn the_number_of_crates_is_found() {
        assert_eq!(said_crates("about us: about 130 crates in all"), Some(130));
        assert_eq!(said_crates("about us"), None);
    }

    #[test]
    fn a_document_without_markers_is_refused() {
        assert!(with_table("nothing").is_err());
    }
}
