//! A request body: the same bytes come out however they were cut, and never one from beyond its end.

use hfs_core::http1::{BadChunk, BodyDecoder, Decoded, Framing};

/// The first byte picks framing and cut, the rest is what a client sent behind its head.
pub(crate) fn run(data: &[u8]) {
    let Some((&choice, input)) = data.split_first() else { return };
    let framing = match choice & 3 {
        0 => Framing::None,
        1 => Framing::Length(u64::from(choice >> 2)),
        _ => Framing::Chunked,
    };
    let whole = read(framing, input, usize::MAX);
    let cut = read(framing, input, usize::from(choice >> 2) + 1);
    assert_eq!(read(framing, input, 1), cut);
    assert_eq!(whole, cut);
    let (body, used, end) = whole;
    assert!(used <= input.len() && body.len() <= input.len());
    match (framing, end) {
        (Framing::None, end) => assert_eq!((used, end), (0, Ok(true))),
        (Framing::Length(length), Ok(done)) => {
            assert_eq!(body, input[..used]);
            assert_eq!(done, body.len() as u64 == length);
        }
        (Framing::Length(_), Err(why)) => panic!("a plain body cannot be malformed: {why}"),
        (Framing::Chunked, Ok(true)) => assert!(input[..used].ends_with(b"\r\n")),
        (Framing::Chunked, _) => {}
    }
}

/// Body, bytes used, and whether the body is over or why it is refused.
type Reading = (Vec<u8>, usize, Result<bool, BadChunk>);

fn read(framing: Framing, input: &[u8], piece: usize) -> Reading {
    let mut decoder = BodyDecoder::new(framing);
    let (mut body, mut used) = (Vec::new(), 0_usize);
    loop {
        let end = input.len().min(used.saturating_add(piece));
        match decoder.decode(&input[used..end]) {
            Ok(Decoded::Done { consumed }) => return (body, used + consumed, Ok(true)),
            Ok(Decoded::Data { skip, len }) => {
                assert!(len > 0 && used + skip + len <= end);
                body.extend_from_slice(&input[used + skip..used + skip + len]);
                used += skip + len;
            }
            Ok(Decoded::NeedMore { consumed }) => {
                assert_eq!(used + consumed, end);
                used = end;
                if end == input.len() {
                    return (body, used, Ok(decoder.is_done()));
                }
            }
            // How far into the framing the error stands is not told; what was read before it is the same.
            Err(why) => return (body, 0, Err(why)),
        }
    }
}
