//! A request head: whatever is accepted has one meaning, however its bytes were cut on the way.

use hfs_core::http1::{Framing, HeadLimits, HeadScan, parse_head};
use http::Version;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};

/// `data` is what a client sent.
pub(crate) fn run(data: &[u8]) {
    let limits = HeadLimits { max_bytes: 4096, max_headers: 20 };
    let whole = parse_head(data, &limits);
    let mut scan = HeadScan::new();
    let grown =
        (0..=data.len()).map(|end| scan.parse(&data[..end], &limits)).find(|answer| !matches!(answer, Ok(None)));
    match (&whole, grown) {
        (Ok(Some((_, at_once))), Some(Ok(Some((_, bytewise))))) => assert_eq!(*at_once, bytewise),
        (Err(at_once), Some(Err(bytewise))) => assert_eq!(at_once.status(), bytewise.status()),
        (Ok(None), None) => {}
        (whole, grown) => panic!("at once {whole:?}, byte by byte {grown:?}"),
    }
    let Ok(Some((head, consumed))) = whole else { return };
    let text = &data[..consumed];
    assert!(consumed <= limits.max_bytes && text.ends_with(b"\r\n\r\n"));
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'\n' => assert_eq!(text[at - 1], b'\r'),
            b'\r' => assert_eq!(text[at + 1], b'\n'),
            byte => assert!(*byte == b'\t' || !byte.is_ascii_control()),
        }
    }
    let headers = head.request.headers();
    let count = |name| headers.get_all(name).iter().count();
    assert!(headers.len() <= limits.max_headers);
    assert!(count(HOST) == 1 || (count(HOST) == 0 && head.request.version() == Version::HTTP_10));
    let expected = match head.framing {
        Framing::None => (0, 0),
        Framing::Length(_) => (1, 0),
        Framing::Chunked => (0, 1),
    };
    assert_eq!((count(CONTENT_LENGTH), count(TRANSFER_ENCODING)), expected);
    if let Framing::Length(length) = head.framing {
        let said: u64 = headers[CONTENT_LENGTH].to_str().expect("digits").parse().expect("a number");
        assert_eq!(length, said);
    }
    assert!(!head.expects_continue || !matches!(head.framing, Framing::None | Framing::Length(0)));
}
