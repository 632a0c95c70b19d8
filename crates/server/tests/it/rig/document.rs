//! The documents as programs: what stands in a fenced block is what the tests run, word for word.
//!
//! A block that a test runs is named by a comment on the line before it: `<!-- tested: nginx -->`. A test fills in
//! its own ports and folders by replacing text that must stand in the block.

use std::fs;
use std::path::PathBuf;

use super::place;

/// Every document for people, relative to the checkout.
pub(crate) const DOCUMENTS: [&str; 6] = [
    "README.md",
    "docs/xmpp-servers.md",
    "docs/proxy.md",
    "docs/operating.md",
    "docs/adaptive.md",
    "docs/migration.md",
];

/// Text of a file of the checkout.
#[track_caller]
pub(crate) fn read(document: &str) -> String {
    let path: PathBuf = place::checkout().join(document);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{document}: {error}"))
}

/// One fenced block.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// Document and line, for messages.
    place: String,
    pub(crate) name: Option<String>,
    pub(crate) language: String,
    pub(crate) text: String,
}

impl Block {
    /// Replaces every `said` by `meant`; fails when the block does not say it.
    #[track_caller]
    pub(crate) fn with(mut self, said: &str, meant: &str) -> Self {
        assert!(self.text.contains(said), "{} does not say {said:?}:\n{}", self.place, self.text);
        self.text = self.text.replace(said, meant);
        self
    }
}

/// Every fenced block of a document.
pub(crate) fn blocks(document: &str) -> Vec<Block> {
    let text = read(document);
    let mut blocks = Vec::new();
    let mut name = None;
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let inside = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
            let text = inside.map(|line| format!("{line}\n")).collect();
            let place = format!("{document}:{}", number + 1);
            blocks.push(Block { place, name: name.take(), language: language.to_owned(), text });
        } else if !line.is_empty() {
            let comment = line.strip_prefix("<!-- tested: ").and_then(|rest| rest.strip_suffix(" -->"));
            name = comment.map(str::to_owned);
        }
    }
    blocks
}

/// The block of this name.
#[track_caller]
pub(crate) fn block(document: &str, name: &str) -> Block {
    let mut found = blocks(document).into_iter().filter(|block| block.name.as_deref() == Some(name));
    let block = found.next().unwrap_or_else(|| panic!("{document} has no block {name:?}"));
    assert!(found.next().is_none(), "{document} has two blocks {name:?}");
    block
}

/// What stands between two lines that are these comments.
#[track_caller]
pub(crate) fn section(document: &str, begin: &str, end: &str) -> String {
    let text = read(document);
    let inside = text.split_once(&format!("{begin}\n")).and_then(|(_, rest)| rest.split_once(end));
    inside.unwrap_or_else(|| panic!("{document} lacks {begin} or {end}")).0.to_owned()
}
