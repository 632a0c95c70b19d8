//! Whole texts: the mission's files, broken at random, and keys of the register with random values.
//!
//! Whatever a file holds, nothing panics, every place that a finding names is in the file, and what loads loads the same
//! again.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::super::keys;
use super::*;

const MISSION: [&str; 2] = [
    include_str!("../../../../../testdata/mission/config-adaptive.toml"),
    include_str!("../../../../../testdata/mission/test-simple-config.toml"),
];

/// What editors, copying and other systems leave in a file, and what TOML gives a meaning.
const SCRAPS: [&str; 22] = [
    "\r", "\r\r\n", "\n", "\t", "\0", "\u{feff}", "\u{2028}", "é", "\"", "'", "\"\"\"", "'''", "=", ".", ",", "#", "[",
    "]]", "{", "}", "\\", "-",
];

/// Values of every kind, right and wrong for most keys.
const VALUES: [&str; 26] = [
    "true",
    "false",
    "\"yes\"",
    "0",
    "1",
    "-1",
    "65536",
    "9223372036854775807",
    "1e400",
    "nan",
    "1.5",
    "\"\"",
    "\"8080\"",
    "\"10MB\"",
    "\"0.5GB\"",
    "\"999999999999TB\"",
    "\"30s\"",
    "\"999999999999h\"",
    "\"7d\"",
    "\"::1\"",
    "\"/x\"",
    "\"/\\u0000\"",
    "[]",
    "[\"a\", 1, [true]]",
    "{ a = \"b\" }",
    "2026-08-01",
];

/// One change to a text.
#[derive(Clone, Debug)]
enum Edit {
    Insert(Index, String),
    Remove(Index, usize),
    Repeat(Index, usize),
    Cut(Index),
}

impl Edit {
    fn apply(&self, text: &mut Vec<char>) {
        let at = |index: &Index, text: &[char]| index.index(text.len() + 1);
        let span = |start: usize, length: usize, text: &[char]| start..(start + length).min(text.len());
        match self {
            Self::Insert(index, scrap) => {
                let at = at(index, text);
                text.splice(at..at, scrap.chars());
            }
            Self::Remove(index, length) => {
                text.drain(span(at(index, text), *length, text));
            }
            Self::Repeat(index, length) => {
                let start = at(index, text);
                let piece = text[span(start, *length, text)].to_vec();
                text.splice(start..start, piece);
            }
            Self::Cut(index) => text.truncate(at(index, text)),
        }
    }
}

fn edit() -> impl Strategy<Value = Edit> {
    let scrap = prop_oneof![4 => select(&SCRAPS[..]).prop_map(str::to_owned), 1 => any::<String>()];
    prop_oneof![
        6 => (any::<Index>(), scrap).prop_map(|(index, scrap)| Edit::Insert(index, scrap)),
        3 => (any::<Index>(), 1usize..40).prop_map(|(index, length)| Edit::Remove(index, length)),
        2 => (any::<Index>(), 1usize..200).prop_map(|(index, length)| Edit::Repeat(index, length)),
        1 => any::<Index>().prop_map(Edit::Cut),
    ]
}

fn broken() -> impl Strategy<Value = String> {
    (select(&MISSION[..]), prop::collection::vec(edit(), 1..5)).prop_map(|(text, edits)| {
        let mut text: Vec<char> = text.chars().collect();
        edits.iter().for_each(|edit| edit.apply(&mut text));
        text.into_iter().collect()
    })
}

/// Some keys, each with some value.
fn keys_and_values() -> impl Strategy<Value = String> {
    let known: Vec<String> = keys::all().map(|key| key.path.replace('*', "dsl")).collect();
    let key = prop_oneof![8 => select(known), 1 => "[a-z_]{1,9}(\\.[a-z_]{1,9}){0,2}"];
    let value = prop_oneof![8 => select(&VALUES[..]).prop_map(str::to_owned), 1 => "\\PC{0,12}"];
    let end = select(&["\n", "\r\n", " # x\n"][..]);
    let lines = prop::collection::vec((key, value, end), 0..6);
    lines.prop_map(|lines| lines.iter().map(|(key, value, end)| format!("{key} = {value}{end}")).collect())
}

fn read(text: &str) -> Result<Loaded, Report> {
    let env = [("HMAC_FILE_SERVER__SECURITY__SECRET", SECRET), ("HMAC_FILE_SERVER__SERVER__STORAGE_PATH", "/srv/x")];
    with_env(text, &env)
}

fn judge(text: &str) -> Result<(), TestCaseError> {
    let first = read(text);
    let findings = first.as_ref().map_or_else(|report| &report.findings, |loaded| &loaded.findings);
    for finding in findings {
        prop_assert!(!finding.to_string().is_empty() && !finding.line().is_empty());
        if let Some(Location::Line(excerpt)) = &finding.location {
            let line = text.split('\n').nth(excerpt.line - 1);
            prop_assert!(line.is_some(), "there is no line {}", excerpt.line);
            let length = line.unwrap_or_default().chars().count();
            prop_assert!((1..=length + 1).contains(&excerpt.column), "{} of {length}: {finding}", excerpt.column);
        }
    }
    match (&first, &read(text)) {
        (Ok(one), Ok(two)) => prop_assert_eq!(format!("{one:?}"), format!("{two:?}")),
        (Err(one), Err(two)) => prop_assert_eq!(one, two),
        _ => prop_assert!(false, "accepted only once"),
    }
    Ok(())
}

#[test]
fn a_stray_carriage_return_is_reported_where_it_stands() {
    for text in ["a = 1\r\r", "a = 1\r\r\n", "\r", "[server]\r\rport = 1"] {
        assert!(read(text).is_err_and(|report| report.to_string().contains(" --> config.toml:1:")), "{text:?}");
        judge(text).unwrap();
    }
}

#[test]
fn the_missions_files_load_the_same_with_other_line_ends() {
    for text in MISSION {
        let same = read(&text.replace('\n', "\r\n")).unwrap().config;
        assert_eq!(format!("{same:?}"), format!("{:?}", read(text).unwrap().config));
    }
}

proptest! {
    #[test]
    fn the_missions_files_can_be_broken_anyhow(text in broken()) {
        judge(&text)?;
    }

    #[test]
    fn any_key_can_have_any_value(text in keys_and_values()) {
        judge(&text)?;
    }
}
