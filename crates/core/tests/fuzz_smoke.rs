//! Runs the checks of `fuzz/bodies` with the stable compiler: over their corpus, and over mutations of it that are the
//! same in every run.

use std::panic::catch_unwind;
use std::path::Path;

#[path = "../../../fuzz/bodies/auth_query.rs"]
mod auth_query;
#[path = "../../../fuzz/bodies/form.rs"]
mod form;
#[path = "../../../fuzz/bodies/http1_body.rs"]
mod http1_body;
#[path = "../../../fuzz/bodies/http1_head.rs"]
mod http1_head;
#[path = "../../../fuzz/bodies/slot_path.rs"]
mod slot_path;

/// Pieces that parsers care about, for mutations to insert.
const PIECES: [&[u8]; 35] = [
    b"\r\n",
    b"\r",
    b"\n",
    b"\r\n\r\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"0",
    b"5\r\n",
    b"0\r\n\r\n",
    b"f",
    b"+",
    b"-",
    b"/",
    b"..",
    b"%2e",
    b"%2F",
    b"%00",
    b"%",
    b"&",
    b"=",
    b"v=",
    b"v2=",
    b"token=",
    b"HTTP/1.1",
    b"Host: a\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"\xc3\xbc",
    b"\r\n--b",
    b"--b--",
    b"; filename=\"a\"",
];

#[test]
fn form_holds_on_its_corpus_and_mutations() {
    fuzz("form", form::run);
}

#[test]
fn http1_head_holds_on_its_corpus_and_mutations() {
    fuzz("http1_head", http1_head::run);
}

#[test]
fn http1_body_holds_on_its_corpus_and_mutations() {
    fuzz("http1_body", http1_body::run);
}

#[test]
fn slot_path_holds_on_its_corpus_and_mutations() {
    fuzz("slot_path", slot_path::run);
}

#[test]
fn auth_query_holds_on_its_corpus_and_mutations() {
    fuzz("auth_query", auth_query::run);
}

fn fuzz(target: &str, run: fn(&[u8])) {
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "no corpus for {target}");
    for input in &corpus {
        check(target, run, input);
    }
    let rounds = std::env::var("HFS_FUZZ_ROUNDS").map_or(10_000, |rounds| rounds.parse().expect("a number of rounds"));
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for _ in 0..rounds {
        check(target, run, &mutant(&corpus, &mut dice));
    }
}

/// The committed inputs, in the order of their names so that every run is the same.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).expect("a corpus folder");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry of it").path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).expect("a corpus file")).collect()
}

fn check(target: &str, run: fn(&[u8]), input: &[u8]) {
    assert!(catch_unwind(|| run(input)).is_ok(), "{target} breaks on b\"{}\"", input.escape_ascii());
}

/// One input of the corpus after one to six changes.
fn mutant(corpus: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = corpus[dice.below(corpus.len())].clone();
    for _ in 0..=dice.below(6) {
        let at = dice.below(bytes.len() + 1);
        let end = bytes.len().min(at + dice.below(5));
        match dice.below(6) {
            0 => drop(bytes.splice(at..at, PIECES[dice.below(PIECES.len())].iter().copied())),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.truncate(at),
            3 => bytes.extend_from_within(at..end),
            4 => bytes.insert(at, dice.below(256) as u8),
            _ => {
                let other = &corpus[dice.below(corpus.len())];
                drop(bytes.splice(at..end, other[dice.below(other.len() + 1)..].iter().copied()));
            }
        }
    }
    bytes
}

/// SplitMix64: few lines, good enough, and the same on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) % bound as u64) as usize
    }
}
