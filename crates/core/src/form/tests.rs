//! What clients send, and what nobody should.

use proptest::prelude::*;

use super::*;

const TYPE: &str = "multipart/form-data; boundary=------------------------d74496d66958873e";
const CURL: &[u8] = b"--------------------------d74496d66958873e\r\n\
    Content-Disposition: form-data; name=\"file\"; filename=\"cat.png\"\r\n\
    Content-Type: image/png\r\n\r\n\
    PNG\r\n--------\r\n\
    \r\n--------------------------d74496d66958873e--\r\n";

/// What a form gives when it comes in pieces of `size` bytes.
fn read(content_type: &str, body: &[u8], size: usize) -> Result<(FilePart, Vec<u8>), InvalidForm> {
    let mut form = Form::new(content_type, "file")?;
    let (mut part, mut bytes, mut pieces) = (None, Vec::new(), body.chunks(size));
    loop {
        match form.step()? {
            Step::More => form.feed(Bytes::copy_from_slice(pieces.next().ok_or(InvalidForm::Unfinished)?)),
            Step::File(file) => assert!(part.replace(file).is_none()),
            Step::Data(data) => bytes.extend_from_slice(&data),
            Step::End => return Ok((part.expect("a file before the end"), bytes)),
        }
    }
}

fn form(parts: &[(&str, &str)]) -> Vec<u8> {
    let parts: String = parts.iter().map(|(head, body)| format!("--b\r\n{head}\r\n\r\n{body}\r\n")).collect();
    format!("{parts}--b--\r\n").into_bytes()
}

fn file(name: &str) -> String {
    format!("Content-Disposition: form-data; name=\"file\"; filename=\"{name}\"")
}

fn read_parts(parts: &[(&str, &str)]) -> Result<(FilePart, Vec<u8>), InvalidForm> {
    let body = form(parts);
    let whole = read("multipart/form-data; boundary=b", &body, body.len());
    for size in [1, 2, 3, 7] {
        assert_eq!(read("multipart/form-data; boundary=b", &body, size), whole);
    }
    whole
}

#[test]
fn what_curl_sends_is_read_however_it_is_cut() {
    for size in 1..=CURL.len() {
        let (part, bytes) = read(TYPE, CURL, size).unwrap();
        assert_eq!(part, FilePart { name: "cat.png".to_owned(), media_type: Some("image/png".to_owned()) });
        assert_eq!(bytes, b"PNG\r\n--------\r\n", "in pieces of {size}");
    }
}

#[test]
fn what_is_kept_of_a_piece_does_not_keep_the_piece() {
    let field = "Content-Disposition: form-data; name=\"session_id\"";
    let body = form(&[(&file("a.txt"), &"hello\r\n--".repeat(100)), (field, "x")]);
    // With nothing left of what is before it, a piece is not copied.
    let (head, rest) = body.split_at(body.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4);
    for cut in 1..rest.len() {
        let mut form = Form::new("multipart/form-data; boundary=b", "file").unwrap();
        let piece = Bytes::copy_from_slice(&rest[..cut]);
        for bytes in [Bytes::copy_from_slice(head), piece.clone()] {
            form.feed(bytes);
            while !matches!(form.step().unwrap(), Step::More | Step::End) {}
        }
        assert!(piece.is_unique(), "of {cut} bytes");
    }
}

#[test]
fn other_fields_are_stepped_over() {
    let field = "Content-Disposition: form-data; name=\"session_id\"";
    let (part, bytes) = read_parts(&[(field, "x"), (&file("a.txt"), "hello"), (field, "")]).unwrap();
    assert_eq!((part.name.as_str(), part.media_type, bytes.as_slice()), ("a.txt", None, b"hello".as_slice()));
    let (_, nothing) = read_parts(&[(&file("empty"), "")]).unwrap();
    assert!(nothing.is_empty());
}

#[test]
fn a_form_without_exactly_one_file_is_refused() {
    let field = "Content-Disposition: form-data; name=\"file\"";
    let other = "Content-Disposition: form-data; name=\"files\"; filename=\"a\"";
    assert_eq!(read_parts(&[]).unwrap_err(), InvalidForm::NoFile);
    assert_eq!(read_parts(&[(field, "text")]).unwrap_err(), InvalidForm::NoFile);
    assert_eq!(read_parts(&[(&file(""), "")]).unwrap_err(), InvalidForm::NoFile);
    assert_eq!(read_parts(&[(other, "text")]).unwrap_err(), InvalidForm::NoFile);
    assert_eq!(read_parts(&[(&file("a"), "1"), (&file("b"), "2")]).unwrap_err(), InvalidForm::TwoFiles);
}

#[test]
fn the_name_is_the_last_element_of_what_the_client_says() {
    for (said, name) in [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\a\\photo.jpg", "photo.jpg"),
        ("..", ".."),
        ("a\\\"b.txt", "a\"b.txt"),
        ("Gr\u{fc}\u{df}e.txt", "Gr\u{fc}\u{df}e.txt"),
        ("a;b=c.txt", "a;b=c.txt"),
    ] {
        assert_eq!(read_parts(&[(&file(said), "x")]).unwrap().0.name, name, "{said}");
    }
    let extended = "Content-Disposition: form-data; name=file; filename*=utf-8''na%C3%AFve.txt";
    assert_eq!(read_parts(&[(extended, "x")]).unwrap().0.name, "na\u{ef}ve.txt");
}

#[test]
fn two_readers_cannot_read_two_things() {
    for head in [
        "Content-Disposition: form-data; name=\"file\"; name=\"other\"; filename=\"a\"",
        "Content-Disposition: form-data; name=\"file\"; filename=\"a\"; filename=\"b\"",
        "Content-Disposition: form-data; name=\"file\"; filename=\"a\"\r\nContent-Disposition: form-data; name=\"x\"",
        "Content-Type: text/plain",
    ] {
        assert_eq!(read_parts(&[(head, "x")]).unwrap_err(), InvalidForm::Part, "{head}");
    }
}

#[test]
fn all_but_the_file_is_bounded() {
    let endless = "x".repeat(Form::MOST_OVERHEAD);
    let field = "Content-Disposition: form-data; name=\"other\"";
    let other = form(&[(field, &endless), (&file("a"), "x")]);
    assert_eq!(read("multipart/form-data; boundary=b", &other, 4096).unwrap_err(), InvalidForm::Overhead);
    let head = form(&[(&format!("X: {endless}"), "")]);
    assert_eq!(read("multipart/form-data; boundary=b", &head, 512).unwrap_err(), InvalidForm::Part);
    let preamble = [endless.as_bytes(), b"more", CURL].concat();
    assert_eq!(read(TYPE, &preamble, 4096).unwrap_err(), InvalidForm::Overhead);
    let large = form(&[(&file("a"), &endless.repeat(3))]);
    assert_eq!(read("multipart/form-data; boundary=b", &large, 4096).unwrap().1.len(), 3 * endless.len());
}

#[test]
fn a_form_that_is_cut_is_never_complete() {
    for end in 0..CURL.len() - 4 {
        assert_eq!(read(TYPE, &CURL[..end], 5).unwrap_err(), InvalidForm::Unfinished, "{end}");
    }
}

#[test]
fn a_boundary_must_be_there_and_be_one() {
    for content_type in ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\"\""]
    {
        assert_eq!(Form::new(content_type, "file").unwrap_err(), InvalidForm::NoBoundary);
    }
    let longest = format!("multipart/form-data; boundary={}", "b".repeat(71));
    assert_eq!(Form::new(&longest, "file").unwrap_err(), InvalidForm::NoBoundary);
    let odd = b"--b\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\nx\r\n--bc";
    assert_eq!(read("multipart/form-data; boundary=b", odd, 9).unwrap_err(), InvalidForm::Boundary);
    let is_form = |text: &'static str| Form::is_announced(Some(&HeaderValue::from_static(text)));
    assert!(is_form("Multipart/Form-Data; boundary=b") && !is_form("text/plain") && !Form::is_announced(None));
}

proptest! {
    #[test]
    fn every_file_comes_out_as_it_went_in(bytes: Vec<u8>, size in 1_usize..40) {
        let head = format!("--b\u{7e}\r\n{}\r\n\r\n", file("a"));
        let body = [head.as_bytes(), &bytes, b"\r\n--b~--"].concat();
        prop_assume!(!bytes.windows(5).any(|window| window == b"\r\n--b"));
        let (_, read) = read("multipart/form-data; boundary=b~", &body, size).unwrap();
        prop_assert_eq!(read, bytes);
    }

    #[test]
    fn near_boundaries_are_bytes_too(bytes in "[\r\n\\-b]{0,40}", size in 1_usize..9) {
        prop_assume!(!bytes.contains("\r\n--bbb"));
        let body = format!("--bbb\r\n{}\r\n\r\n{bytes}\r\n--bbb--\r\n", file("a"));
        let (_, read) = read("multipart/form-data; boundary=bbb", body.as_bytes(), size).unwrap();
        prop_assert_eq!(read, bytes.as_bytes());
    }
}
