//! The text of a configuration file: cutting the excerpts that findings show, without secrets.
//!
//! Blanked are the bytes that [`Source::mask`] was told and, in text that is not even TOML, what looks like a secret.

use std::fmt;
use std::ops::Range;

use super::keys::normal;
use super::kind::Place;
use super::report::{Finding, Location, Severity};

/// A line with a caret below it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Excerpt {
    /// Name of the file.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters of the file.
    pub column: usize,
    text: String,
    caret: Range<usize>,
}

/// Findings while they are collected. Their excerpts are cut at the end, when every secret is known.
#[derive(Debug)]
pub(super) struct Notes<'a> {
    pub(super) source: Source<'a>,
    list: Vec<(Place, Finding)>,
}

impl<'a> Notes<'a> {
    pub(super) fn new(source: Source<'a>) -> Self {
        Self { source, list: Vec::new() }
    }

    pub(super) fn error(&mut self, at: &Place, message: impl Into<String>) -> &mut Finding {
        self.note(Severity::Error, at, message)
    }

    pub(super) fn warning(&mut self, at: &Place, message: impl Into<String>) -> &mut Finding {
        self.note(Severity::Warning, at, message)
    }

    pub(super) fn notice(&mut self, at: &Place, message: impl Into<String>) -> &mut Finding {
        self.note(Severity::Notice, at, message)
    }

    fn note(&mut self, severity: Severity, at: &Place, message: impl Into<String>) -> &mut Finding {
        let index = self.list.len();
        self.list.push((at.clone(), Finding::new(severity, message)));
        &mut self.list[index].1
    }

    /// Every finding, in the order of the file.
    pub(super) fn finish(mut self) -> Vec<Finding> {
        self.list.sort_by_key(|(at, _)| match at {
            Place::File(bytes) => bytes.start,
            _ => usize::MAX,
        });
        let source = self.source;
        self.list.into_iter().map(|(at, finding)| Finding { location: source.locate(&at), ..finding }).collect()
    }
}

impl Excerpt {
    /// `file:line:column`.
    pub(super) fn place(&self) -> String {
        format!("{}:{}:{}", self.file, self.line, self.column)
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gutter = self.line.to_string().len();
        writeln!(f, "{:gutter$}--> {}", "", self.place())?;
        writeln!(f, "{:gutter$} |", "")?;
        writeln!(f, "{} | {}", self.line, self.text)?;
        let carets = "^".repeat(self.caret.len().max(1));
        writeln!(f, "{:gutter$} | {:indent$}{carets}", "", "", indent = self.caret.start)
    }
}

/// A file's text, and which of its bytes must not be shown.
#[derive(Debug)]
pub(super) struct Source<'a> {
    name: &'a str,
    text: &'a str,
    masks: Vec<Range<usize>>,
}

impl<'a> Source<'a> {
    pub(super) fn new(name: &'a str, text: &'a str) -> Self {
        Self { name, text, masks: Vec::new() }
    }

    /// Blanks these bytes in every excerpt, and the rest of their last line: a comment may tell what was there before.
    pub(super) fn mask(&mut self, bytes: &Range<usize>) {
        self.masks.push(bytes.start..self.line_of(bytes.end).end);
    }

    /// Blanks what may be a secret on the lines from which `bytes` begins: for text that could not be parsed, so that
    /// nobody knows what is a value.
    pub(super) fn mask_suspicious(&mut self, bytes: &Range<usize>) {
        let line = self.line_of(bytes.start);
        let before = &self.text[..line.end];
        let section = before.lines().rev().map(str::trim).find(|l| l.starts_with('[') && !l.contains('='));
        // The key may stand some lines above, where a list begins.
        let key = before.lines().rev().find_map(|l| l.split_once('=')).map_or("", |(key, _)| key);
        if is_suspicious(section.unwrap_or("")) || is_suspicious(key) || is_suspicious(&self.text[line.clone()]) {
            let start = self.text[line.clone()].find('=').map_or(line.start, |at| line.start + at + 1);
            self.masks.push(start..line.end);
        }
    }

    /// Where `place` is.
    pub(super) fn locate(&self, place: &Place) -> Option<Location> {
        match place {
            Place::File(bytes) => Some(Location::Line(self.excerpt(bytes))),
            Place::Env(name) => Some(Location::Named(format!("environment variable {name}"))),
            Place::Flag(name) => Some(Location::Named(format!("option {name}"))),
            Place::Nowhere => None,
        }
    }

    fn excerpt(&self, bytes: &Range<usize>) -> Excerpt {
        let line = self.line_of(bytes.start);
        // A place may be in the line's end, which is not shown.
        let start = self.floor(bytes.start).min(line.end);
        let end = self.floor(bytes.end).clamp(start, line.end);
        let mut text = String::new();
        let mut caret = 0..0;
        let mut masked = false;
        for (offset, c) in self.text[line.clone()].char_indices() {
            let at = line.start + offset;
            if at == start {
                caret.start = text.chars().count();
            }
            let hidden = self.masks.iter().any(|mask| mask.contains(&at));
            match (hidden, masked) {
                (true, false) => text.push_str("***"),
                (true, true) => {}
                (false, _) => text.push(if c.is_control() { ' ' } else { c }),
            }
            masked = hidden;
            if at < end {
                caret.end = text.chars().count();
            }
        }
        if start == line.end {
            caret.start = text.chars().count();
        }
        caret.end = caret.end.max(caret.start + 1);
        let column = self.text[line.start..start].chars().count() + 1;
        let number = self.text[..line.start].matches('\n').count() + 1;
        let (text, caret) = window(&text, caret);
        Excerpt { file: self.name.to_owned(), line: number, column, text, caret }
    }

    /// The bytes of the line around `at`, without its end.
    pub(super) fn line_of(&self, at: usize) -> Range<usize> {
        let at = self.floor(at);
        let start = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let end = self.text[at..].find('\n').map_or(self.text.len(), |newline| at + newline);
        start..self.text[start..end].trim_end_matches('\r').len() + start
    }

    fn floor(&self, at: usize) -> usize {
        self.text.floor_char_boundary(at.min(self.text.len()))
    }
}

/// Cuts a long line around its caret.
fn window(text: &str, caret: Range<usize>) -> (String, Range<usize>) {
    const WIDTH: usize = 120;
    let length = text.chars().count();
    if length <= WIDTH {
        return (text.trim_end().to_owned(), caret);
    }
    let skip = caret.start.saturating_sub(WIDTH / 3).min(length - WIDTH);
    let mut cut: String = text.chars().skip(skip).take(WIDTH).collect();
    let mut shift = 0;
    if skip > 0 {
        cut.insert(0, '…');
        shift = 1;
    }
    if skip + WIDTH < length {
        cut.push('…');
    }
    let start = caret.start - skip + shift;
    (cut, start..(caret.end - skip + shift).min(WIDTH + shift))
}

fn is_suspicious(text: &str) -> bool {
    const WORDS: [&str; 9] =
        ["secret", "secert", "secrt", "password", "passwd", "token", "security", "redis", "sessionstore"];
    let text = normal(text);
    WORDS.iter().any(|word| text.contains(word)) || text.contains("[admin")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str, bytes: Range<usize>, mask: Option<&Range<usize>>) -> String {
        let mut source = Source::new("f.toml", text);
        mask.into_iter().for_each(|mask| source.mask(mask));
        let location = source.locate(&Place::File(bytes));
        Finding { location, ..Finding::new(Severity::Error, "no") }.to_string()
    }

    #[test]
    fn the_caret_stands_below_what_is_meant() {
        insta::assert_snapshot!(shown("[a]\nüber = 1 # x\n", 4..9, None), @r"
        error: no
         --> f.toml:2:1
          |
        2 | über = 1 # x
          | ^^^^
        ");
    }

    #[test]
    fn a_masked_value_keeps_its_caret() {
        insta::assert_snapshot!(shown("secret = \"hunter2\" # x", 9..18, Some(&(9..18))), @r"
        error: no
         --> f.toml:1:10
          |
        1 | secret = ***
          |          ^^^
        ");
    }

    #[test]
    fn a_place_in_the_lines_end_is_shown_behind_its_last_character() {
        insta::assert_snapshot!(shown("a = 1\r\r\nb = 2", 6..7, None), @r"
        error: no
         --> f.toml:1:6
          |
        1 | a = 1
          |      ^
        ");
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let text = format!("list = [{}]", "\"abc\", ".repeat(100));
        let shown = shown(&text, 400..405, None);
        assert!(shown.lines().all(|line| line.chars().count() < 140), "{shown}");
        assert!(shown.contains('…'));
    }

    proptest! {
        #[test]
        fn no_place_panics_and_no_mask_leaks(text in "[a-z=\r\n\"é]{0,60}", a in 0usize..70, b in 0usize..70) {
            let marked = format!("{text}HUNTER2{text}");
            let secret = text.len()..text.len() + 7;
            prop_assert!(!shown(&marked, a..b, Some(&secret)).contains("HUNTER"));
        }
    }
}
