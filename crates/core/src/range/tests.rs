//! Ranges and conditions against the tables of RFC 9110 and a model.

use super::*;
use http::HeaderValue;
use proptest::prelude::*;

/// The random part of the id: `000102030405` may tell the time.
const OWN: &str = "\"060708090a0b0c0d0eff\"";
const STORED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

fn object(size: u64) -> Object {
    let id = BlobId::from_random([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
    Object { size, id, modified: Timestamp::from_unix(784_111_777) }
}

fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    map
}

fn delivery(lines: &[(HeaderName, &str)]) -> Delivery {
    evaluate(&headers(lines), &object(1000))
}

fn ranged(range: &str, size: u64) -> Delivery {
    evaluate(&headers(&[(header::RANGE, range)]), &object(size))
}

#[test]
fn without_conditions_everything_is_sent() {
    assert_eq!(delivery(&[]), Delivery::Whole);
}

#[test]
fn one_range_selects_its_bytes() {
    for (range, expected) in [
        ("bytes=0-0", 0..1),
        ("bytes=0-499", 0..500),
        ("bytes=500-", 500..1000),
        ("bytes=999-", 999..1000),
        ("bytes=0-", 0..1000),
        ("bytes=0-5000", 0..1000),
        ("bytes=-1", 999..1000),
        ("bytes=-1000", 0..1000),
        ("bytes=-5000", 0..1000),
        ("BYTES=1-2", 1..3),
        ("bytes=0007-0008", 7..9),
        (" bytes= 1-2\t", 1..3),
        ("bytes=,1-2 ,", 1..3),
        ("bytes=5-99999999999999999999999999", 5..1000),
        ("bytes=-99999999999999999999999999", 0..1000),
        ("bytes=0-18446744073709551615", 0..1000),
    ] {
        assert_eq!(ranged(range, 1000), Delivery::Partial(expected), "{range}");
    }
}

#[test]
fn a_range_outside_the_object_is_refused() {
    for range in
        ["bytes=1000-", "bytes=1000-2000", "bytes=-0", "bytes=18446744073709551615-", "bytes=99999999999999999999-"]
    {
        assert_eq!(ranged(range, 1000), Delivery::Unsatisfiable, "{range}");
    }
}

#[test]
fn what_is_no_single_byte_range_is_ignored() {
    for range in [
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=a-b",
        "bytes=1",
        "bytes=2-1",
        "bytes=1-2-3",
        "bytes=--1",
        "bytes=+1-2",
        "bytes=1 - 2",
        "bytes=1- 2",
        "bytes =1-2",
        "lines=1-2",
        "bytes=0-1,5-6",
        "bytes=0-0, -1",
        "bytes=0x1-2",
        "bytes=١-٢",
        "bytes:1-2",
    ] {
        assert_eq!(ranged(range, 1000), Delivery::Whole, "{range}");
    }
}

#[test]
fn a_repeated_range_header_is_ignored() {
    assert_eq!(delivery(&[(header::RANGE, "bytes=0-1"), (header::RANGE, "bytes=0-1")]), Delivery::Whole);
}

#[test]
fn all_of_an_empty_object_is_nothing() {
    for range in ["bytes=0-", "bytes=0-99", "bytes=-5"] {
        assert_eq!(ranged(range, 0), Delivery::Whole, "{range}");
    }
    for range in ["bytes=1-", "bytes=-0"] {
        assert_eq!(ranged(range, 0), Delivery::Unsatisfiable, "{range}");
    }
}

#[test]
fn a_head_has_conditions_but_no_range() {
    let with_range = headers(&[(header::RANGE, "bytes=5000-")]);
    assert_eq!(evaluate_head(&with_range, &object(1000)), Delivery::Whole);
    assert_eq!(evaluate_head(&headers(&[(header::IF_NONE_MATCH, OWN)]), &object(1000)), Delivery::NotModified);
}

#[test]
fn if_match_compares_strongly() {
    for fine in [OWN, "*", &format!("\"a,b\", {OWN}"), &format!(", ,{OWN}")] {
        assert_eq!(delivery(&[(header::IF_MATCH, fine)]), Delivery::Whole, "{fine}");
    }
    for other in [&format!("W/{OWN}"), "\"x\"", "", OWN.trim_matches('"'), "\"*\""] {
        assert_eq!(delivery(&[(header::IF_MATCH, other)]), Delivery::PreconditionFailed, "{other}");
    }
}

#[test]
fn if_none_match_compares_weakly() {
    for seen in [OWN, "*", &format!("W/{OWN}"), &format!("\"x\" , W/\"y\",\t{OWN}")] {
        assert_eq!(delivery(&[(header::IF_NONE_MATCH, seen)]), Delivery::NotModified, "{seen}");
    }
    for other in ["\"x\"", "W/\"x\"", "", OWN.trim_matches('"'), &format!("\"unclosed, {OWN}")] {
        assert_eq!(delivery(&[(header::IF_NONE_MATCH, other)]), Delivery::Whole, "{other}");
    }
}

#[test]
fn a_list_of_tags_may_span_lines() {
    assert_eq!(delivery(&[(header::IF_NONE_MATCH, "\"x\""), (header::IF_NONE_MATCH, OWN)]), Delivery::NotModified);
}

#[test]
fn dates_compare_in_whole_seconds() {
    assert_eq!(delivery(&[(header::IF_MODIFIED_SINCE, EARLIER)]), Delivery::Whole);
    assert_eq!(delivery(&[(header::IF_MODIFIED_SINCE, STORED)]), Delivery::NotModified);
    assert_eq!(delivery(&[(header::IF_MODIFIED_SINCE, LATER)]), Delivery::NotModified);
    assert_eq!(delivery(&[(header::IF_UNMODIFIED_SINCE, EARLIER)]), Delivery::PreconditionFailed);
    assert_eq!(delivery(&[(header::IF_UNMODIFIED_SINCE, STORED)]), Delivery::Whole);
    for nonsense in ["yesterday", "", "0"] {
        assert_eq!(delivery(&[(header::IF_MODIFIED_SINCE, nonsense)]), Delivery::Whole);
        assert_eq!(delivery(&[(header::IF_UNMODIFIED_SINCE, nonsense)]), Delivery::Whole);
    }
}

#[test]
fn tags_outrank_dates() {
    let changed = [(header::IF_NONE_MATCH, "\"x\""), (header::IF_MODIFIED_SINCE, LATER)];
    assert_eq!(delivery(&changed), Delivery::Whole);
    let same = [(header::IF_MATCH, OWN), (header::IF_UNMODIFIED_SINCE, EARLIER)];
    assert_eq!(delivery(&same), Delivery::Whole);
}

#[test]
fn conditions_come_before_the_range() {
    let lost = [(header::IF_MATCH, "\"x\""), (header::IF_NONE_MATCH, OWN), (header::RANGE, "bytes=0-1")];
    assert_eq!(delivery(&lost), Delivery::PreconditionFailed);
    let cached = [(header::IF_NONE_MATCH, OWN), (header::RANGE, "bytes=5000-")];
    assert_eq!(delivery(&cached), Delivery::NotModified);
}

#[test]
fn if_range_wants_the_same_object() {
    for same in [OWN, STORED] {
        let resumed = [(header::RANGE, "bytes=10-"), (header::IF_RANGE, same)];
        assert_eq!(delivery(&resumed), Delivery::Partial(10..1000), "{same}");
    }
    for other in ["\"x\"", &format!("W/{OWN}"), EARLIER, LATER, "", &format!("{OWN}, \"x\"")] {
        for range in ["bytes=10-", "bytes=5000-"] {
            let restarted = [(header::RANGE, range), (header::IF_RANGE, other)];
            assert_eq!(delivery(&restarted), Delivery::Whole, "{other}");
        }
    }
}

/// The bytes that section 14.1.2 selects, by asking for each offset whether it belongs to the range.
fn model(first: Option<u128>, last: Option<u128>, size: u64) -> Vec<u64> {
    let belongs = |offset: u128| match (first, last) {
        (Some(first), Some(last)) => first <= offset && offset <= last,
        (Some(first), None) => first <= offset,
        (None, Some(length)) => u128::from(size) <= offset + length,
        (None, None) => false,
    };
    (0..size).filter(|offset| belongs(u128::from(*offset))).collect()
}

fn number() -> impl Strategy<Value = u128> {
    prop_oneof![
        0u128..40,
        Just(u128::from(u64::MAX)),
        Just(u128::from(u64::MAX) + 1),
        any::<u128>().prop_map(|n| n >> 1)
    ]
}

proptest! {
    #[test]
    fn a_range_selects_what_the_definition_says(
        first in prop::option::of(number()), last in prop::option::of(number()), size in 1u64..40,
    ) {
        let spell = |n: Option<u128>| n.map(|n| n.to_string()).unwrap_or_default();
        let selected = ranged(&format!("bytes={}-{}", spell(first), spell(last)), size);
        // Beyond 64 bits all numbers are one, so their order does not matter.
        let saturate = |n: u128| n.min(u128::from(u64::MAX));
        let invalid = match (first, last) {
            (None, None) => true,
            (Some(first), Some(last)) => saturate(first) > saturate(last),
            _ => false,
        };
        let expected = model(first, last, size);
        match selected {
            Delivery::Whole => prop_assert!(invalid),
            Delivery::Unsatisfiable => prop_assert!(!invalid && expected.is_empty()),
            Delivery::Partial(range) => prop_assert_eq!(range.collect::<Vec<_>>(), expected),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn a_part_is_inside_and_not_empty(
        range in "(bytes=)?[0-9, -]{0,30}|bytes=[0-9]{0,22}-[0-9]{0,22}", size in prop_oneof![0u64..50, any::<u64>()],
    ) {
        if let Delivery::Partial(part) = ranged(&range, size) {
            prop_assert!(part.start < part.end && part.end <= size, "{:?} of {}", part, size);
        }
    }

    #[test]
    fn no_header_panics(
        lines in prop::collection::vec((0usize..6, prop_oneof!["[ -~\\t]{0,40}", "[W/\"*, 0a-]{0,20}"]), 0..8), size: u64,
    ) {
        let names = [
            header::RANGE, header::IF_RANGE, header::IF_MATCH, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE,
            header::IF_UNMODIFIED_SINCE,
        ];
        let lines: Vec<_> = lines.iter().map(|(name, value)| (names[*name].clone(), value.as_str())).collect();
        let map = headers(&lines);
        if let Delivery::Partial(part) = evaluate(&map, &object(size)) {
            prop_assert!(part.start < part.end && part.end <= size);
        }
        prop_assert!(!matches!(evaluate_head(&map, &object(size)), Delivery::Partial(_) | Delivery::Unsatisfiable));
    }
}
