//! A form with a file: the same file comes out however the body was cut, and never more than there was.

use bytes::Bytes;
use hfs_core::form::{FilePart, Form, InvalidForm, Step};

/// The first byte picks the cut, the rest is what a client sent as a form with the boundary `b`.
pub(crate) fn run(data: &[u8]) {
    let Some((&choice, input)) = data.split_first() else { return };
    let whole = read(input, usize::MAX);
    assert_eq!(read(input, usize::from(choice) + 1), whole);
    assert_eq!(read(input, 1), whole);
    let (part, file, end) = whole;
    assert!(file.len() <= input.len());
    if let Some(part) = &part {
        assert!(!part.name.is_empty() && !part.name.contains(['/', '\\']));
    }
    if end == Ok(true) {
        assert!(part.is_some() && input.windows(5).any(|window| window == b"--b--"));
    }
}

/// The file, its bytes, and whether the form is over or why it is refused.
type Reading = (Option<FilePart>, Vec<u8>, Result<bool, InvalidForm>);

fn read(input: &[u8], piece: usize) -> Reading {
    let mut form = Form::new("multipart/form-data; boundary=b", "file").expect("a boundary");
    let (mut part, mut file, mut pieces) = (None, Vec::new(), input.chunks(piece));
    loop {
        match form.step() {
            Ok(Step::More) => match pieces.next() {
                Some(piece) => form.feed(Bytes::copy_from_slice(piece)),
                None => return (part, file, Ok(false)),
            },
            Ok(Step::File(found)) => assert!(part.replace(found).is_none(), "two files"),
            Ok(Step::Data(bytes)) => {
                assert!(part.is_some() && !bytes.is_empty());
                file.extend_from_slice(&bytes);
            }
            Ok(Step::End) => return (part, file, Ok(true)),
            // How much of the file came before it depends on the cut.
            Err(why) => return (None, Vec::new(), Err(why)),
        }
    }
}
