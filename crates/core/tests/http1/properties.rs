//! What holds for every input: no panic, no dependence on how the network cut it, nothing lost between chunks.

use hfs_core::http1::{BodyDecoder, Decoded, Framing, HeadLimits, ResponseHead, encode_head, parse_head};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::ours::{self, End};
use crate::requests;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cuts_on_the_way_change_nothing(bytes in requests::stream(), pieces in vec(1_usize..50, 1..6)) {
        let whole = ours::read(&bytes, &[usize::MAX]);
        prop_assert_eq!(&ours::read(&bytes, &pieces), &whole);
        prop_assert_eq!(&ours::read(&bytes, &[1]), &whole);
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..200), pieces in vec(1_usize..20, 1..4)) {
        ours::read(&bytes, &pieces);
        let mut decoder = BodyDecoder::new(Framing::Chunked);
        if let Ok(Decoded::Data { skip, len }) = decoder.decode(&bytes) {
            prop_assert!(skip + len <= bytes.len());
        }
    }

    #[test]
    fn a_chunked_body_comes_out_as_it_went_in(
        chunks in vec(vec(any::<u8>(), 1..300), 0..8),
        pieces in vec(1_usize..400, 1..6),
    ) {
        let mut bytes = b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for chunk in &chunks {
            bytes.extend_from_slice(format!("{:x};x=y\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\nX-Sum: 1\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n");
        let reading = ours::read(&bytes, &pieces);
        prop_assert_eq!(reading.end, End::Clean);
        prop_assert_eq!(reading.messages.len(), 2);
        prop_assert_eq!(&reading.messages[0].body, &chunks.concat());
        prop_assert_eq!(reading.messages[1].uri.path(), "/next");
    }

    #[test]
    fn a_known_length_takes_exactly_that_much(body in vec(any::<u8>(), 0..600), pieces in vec(1_usize..400, 1..6)) {
        let head = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
        let bytes = [head.as_bytes(), &body, b"GET /next HTTP/1.0\r\n\r\n"].concat();
        let reading = ours::read(&bytes, &pieces);
        prop_assert_eq!(reading.messages.len(), 2);
        prop_assert_eq!(&reading.messages[0].body, &body);
    }

    #[test]
    fn heads_are_judged_alike_at_every_limit(bytes in requests::stream(), max_bytes in 0_usize..200) {
        let limits = HeadLimits { max_bytes, max_headers: 4 };
        let whole = parse_head(&bytes, &limits).map(|head| head.map(|(_, consumed)| consumed));
        let first_answer = (0..=bytes.len()).map(|end| parse_head(&bytes[..end], &limits)).find(|answer| !matches!(answer, Ok(None)));
        let grown = first_answer.unwrap_or(Ok(None)).map(|head| head.map(|(_, consumed)| consumed));
        prop_assert_eq!(grown.map_err(|refused| refused.status()), whole.map_err(|refused| refused.status()));
    }

    #[test]
    fn a_response_head_reads_back(
        status in 200_u16..600,
        names in vec("x-[a-z]{1,6}", 0..5),
        value in "[ -~]{0,20}",
        length in proptest::option::of(any::<u64>()),
        keep_alive: bool,
    ) {
        let mut headers = HeaderMap::new();
        for name in &names {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value.trim()).unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        let mut out = Vec::new();
        encode_head(&ResponseHead { status, headers: &headers, length, keep_alive, version_10: false, date: "" }, &mut out);
        let mut slots = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut slots);
        prop_assert_eq!(response.parse(&out), Ok(httparse::Status::Complete(out.len())));
        prop_assert_eq!(response.code, Some(status.as_u16()));
        let has = |name: &str| response.headers.iter().any(|header| header.name == name);
        prop_assert_eq!(has("connection"), !keep_alive);
        prop_assert_eq!(has("content-length"), length.is_some() && ![204, 304].contains(&status.as_u16()));
        prop_assert_eq!(response.headers.iter().filter(|header| header.name.starts_with("x-")).count(), names.len());
    }
}
