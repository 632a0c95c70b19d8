//! Downloads from a server that plays a script: cuts, changes, refusals.

use std::fs;

use super::*;
use crate::cli::scripted::{Answer, Scripted};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Names and contents, sorted.
    fn files(&self) -> Vec<(String, String)> {
        let entries = fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap());
        let mut files: Vec<_> = entries
            .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap()))
            .collect();
        files.sort();
        files
    }

    fn get(&self, url: &str, force: bool) -> Result<String, GetError> {
        let client = ClientOptions { quiet: true, ..ClientOptions::default() };
        let options = GetOptions { output: Some(self.0.path().to_owned()), force, client };
        let mut out = Vec::new();
        get(url, &options, &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    fn download(&self, answers: Vec<Answer>) -> (Result<String, GetError>, Vec<String>) {
        let server = Scripted::start(answers);
        let result = self.get(&server.url("/x/a.txt"), false);
        (result, server.requests().into_iter().map(|(head, _)| head).collect())
    }
}

fn whole(body: &str) -> Answer {
    Answer::status("200 OK", body).header("ETag: \"one\"")
}

fn rest(from: usize, body: &str) -> Answer {
    let (last, total) = (body.len() - 1, body.len());
    Answer::status("206 Partial Content", &body[from..])
        .header("ETag: \"one\"")
        .header(&format!("Content-Range: bytes {from}-{last}/{total}"))
}

fn only(name: &str, content: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), content.to_owned())]
}

fn kept(content: &str, tag: &str) -> Vec<(String, String)> {
    [only("a.txt.part", content), only("a.txt.part.meta", &format!("{tag}\n"))].concat()
}

#[test]
fn a_file_arrives_under_its_name() {
    let folder = Folder::new();
    let (printed, seen) = folder.download(vec![whole("0123456789")]);
    assert_eq!(printed.unwrap(), format!("{}\n", folder.path("a.txt").display()));
    assert_eq!(folder.files(), only("a.txt", "0123456789"));
    assert!(seen[0].starts_with("GET /x/a.txt HTTP/1.1\r\n") && !seen[0].contains("range"), "{}", seen[0]);
    assert!(seen[0].contains("accept-encoding: identity\r\n"));
}

#[test]
fn a_cut_download_goes_on_at_once() {
    let folder = Folder::new();
    let (printed, seen) = folder.download(vec![whole("0123456789").cut_after(4), rest(4, "0123456789")]);
    printed.unwrap();
    assert_eq!(folder.files(), only("a.txt", "0123456789"));
    assert!(seen[1].contains("range: bytes=4-\r\n") && seen[1].contains("if-range: \"one\"\r\n"), "{}", seen[1]);
}

#[test]
fn a_cut_download_goes_on_in_the_next_run() {
    let folder = Folder::new();
    let (first, _) = folder.download(vec![whole("0123456789").cut_after(4), Answer::status("503 Busy", "")]);
    assert!(matches!(first, Err(GetError::Refused(Refusal { status: 503, .. }))), "{first:?}");
    assert_eq!(folder.files(), kept("0123", "\"one\""));
    let (second, seen) = folder.download(vec![rest(4, "0123456789")]);
    second.unwrap();
    assert!(seen[0].contains("range: bytes=4-\r\n"));
    assert_eq!(folder.files(), only("a.txt", "0123456789"));
}

#[test]
fn a_changed_file_starts_again() {
    let folder = Folder::new();
    let changed = Answer::status("200 OK", "abcdef").header("ETag: \"two\"");
    let (printed, _) = folder.download(vec![whole("0123456789").cut_after(4), changed]);
    printed.unwrap();
    assert_eq!(folder.files(), only("a.txt", "abcdef"));
}

#[test]
fn a_part_of_another_file_is_never_appended() {
    let folder = Folder::new();
    let other = rest(4, "abcdefghij").replace_header("ETag", "\"two\"");
    let (result, _) = folder.download(vec![whole("0123456789").cut_after(4), other]);
    assert!(matches!(result, Err(GetError::Nonsense(_))), "{result:?}");
    assert_eq!(folder.files(), kept("0123", "\"one\""));
}

#[test]
fn a_part_that_begins_elsewhere_or_ends_early_is_refused() {
    for range in ["bytes 0-9/10", "bytes 5-9/10", "bytes 4-8/10", "bytes 4-9/*", "bytes */10", "4-9/10", ""] {
        let folder = Folder::new();
        let odd = rest(4, "0123456789").replace_header("Content-Range", range);
        let (result, _) = folder.download(vec![whole("0123456789").cut_after(4), odd]);
        assert!(matches!(result, Err(GetError::Nonsense(_))), "{range}: {result:?}");
        assert_eq!(folder.files(), kept("0123", "\"one\""), "{range}");
    }
}

#[test]
fn without_a_strong_tag_a_cut_download_starts_again() {
    for tag in ["W/\"one\"", "one"] {
        let folder = Folder::new();
        let weak = || whole("0123456789").replace_header("ETag", tag);
        let (first, _) = folder.download(vec![weak().cut_after(4)]);
        let message = first.unwrap_err().to_string();
        assert!(message.starts_with("the download broke after 4 bytes of 10"), "{message}");
        let (second, seen) = folder.download(vec![weak()]);
        second.unwrap();
        assert!(!seen[0].contains("range"), "{}", seen[0]);
        assert_eq!(folder.files(), only("a.txt", "0123456789"));
    }
}

#[test]
fn a_part_that_was_already_whole_is_only_renamed() {
    let folder = Folder::new();
    fs::write(folder.path("a.txt.part"), "0123").unwrap();
    fs::write(folder.path("a.txt.part.meta"), "\"one\"\n").unwrap();
    let (printed, _) = folder.download(vec![Answer::status("416 No", "no").header("Content-Range: bytes */4")]);
    printed.unwrap();
    assert_eq!(folder.files(), only("a.txt", "0123"));
}

#[test]
fn a_part_that_is_too_long_is_dropped() {
    let folder = Folder::new();
    fs::write(folder.path("a.txt.part"), "0123").unwrap();
    fs::write(folder.path("a.txt.part.meta"), "\"one\"\n").unwrap();
    let unsatisfiable = Answer::status("416 No", "no").header("Content-Range: bytes */2");
    let (printed, seen) = folder.download(vec![unsatisfiable, whole("ab")]);
    printed.unwrap();
    assert!(!seen[1].contains("range"));
    assert_eq!(folder.files(), only("a.txt", "ab"));
}

#[test]
fn an_existing_file_is_kept_unless_forced() {
    let folder = Folder::new();
    fs::write(folder.path("a.txt"), "mine").unwrap();
    let refused = folder.get("http://127.0.0.1:1/x/a.txt", false);
    assert!(matches!(refused, Err(GetError::Exists { .. })), "{refused:?}");
    assert_eq!(folder.files(), only("a.txt", "mine"));
    let server = Scripted::start(vec![whole("theirs")]);
    folder.get(&server.url("/x/a.txt"), true).unwrap();
    assert_eq!(folder.files(), only("a.txt", "theirs"));
}

#[test]
fn a_refusal_leaves_no_file() {
    for (status, words) in [("404 Not Found", "there is no such file"), ("403 Forbidden", "does not allow")] {
        let folder = Folder::new();
        let (result, _) = folder.download(vec![Answer::status(status, "gone\n")]);
        let message = result.unwrap_err().to_string();
        assert!(message.contains(words) && message.ends_with("(the server says: gone)"), "{message}");
        assert_eq!(folder.files(), []);
    }
}

#[test]
fn a_server_that_never_gets_on_is_given_up() {
    let folder = Folder::new();
    let (result, seen) = folder.download(vec![whole("0123456789").cut_after(4), rest(4, "0123456789").cut_after(0)]);
    assert!(matches!(result, Err(GetError::Broken { have: 4, total: Some(10), .. })), "{result:?}");
    assert_eq!(seen.len(), 2);
    assert_eq!(folder.files(), kept("0123", "\"one\""));
}

#[test]
fn an_empty_file_is_a_file() {
    let folder = Folder::new();
    folder.download(vec![whole("")]).0.unwrap();
    assert_eq!(folder.files(), only("a.txt", ""));
}

#[test]
fn the_name_is_the_urls_last_element_if_it_is_a_name() {
    for (url, name) in [
        ("https://h/a/Gr%C3%BC%C3%9Fe%201.txt?x=/y", "Grüße 1.txt"),
        ("https://h/a/b.txt#c/d", "b.txt"),
        ("https://h/%2e%2ebashrc", "..bashrc"),
    ] {
        assert_eq!(name_of(url).unwrap(), name, "{url}");
    }
    for url in [
        "https://h",
        "https://h/",
        "https://h/a/",
        "https://h/a/..",
        "https://h/%2e%2E",
        "https://h/..%2fx",
        "https://h/a%00b",
        "https://h/%ff",
        "https://h/a%0Ab",
    ] {
        assert!(matches!(name_of(url), Err(GetError::NoName)), "{url}");
    }
}
