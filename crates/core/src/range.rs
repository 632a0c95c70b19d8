//! Turns conditional and range headers into a [`Delivery`].
//!
//! Pure: it never opens the object. Called by `download::get`.
//! Invariant: a `Partial` range always lies inside the object and is never empty.

use std::ops::Range;

use http::{HeaderMap, HeaderName, header};

use crate::{BlobId, Timestamp};

/// What conditions compare against.
#[derive(Clone, Copy, Debug)]
pub struct Object {
    /// Length in bytes.
    pub size: u64,
    /// Its name; the strong ETag is of it ([`etag`]).
    pub id: BlobId,
    /// Its Last-Modified.
    pub modified: Timestamp,
}

/// What to send for a GET or HEAD.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Delivery {
    /// 200, everything.
    Whole,
    /// 206, these bytes.
    Partial(Range<u64>),
    /// 304.
    NotModified,
    /// 412, `If-Match` or `If-Unmodified-Since` failed.
    PreconditionFailed,
    /// 416, with `Content-Range: bytes */size`.
    Unsatisfiable,
}

/// The strong entity tag of a blob, quotes included: the random bits of its id. When it was drawn is nobody's business,
/// since beside Last-Modified it tells how long the upload took.
#[must_use]
pub fn etag(id: BlobId) -> String {
    let id = id.to_string();
    format!("\"{}\"", &id[BlobId::TIME_DIGITS..])
}

/// Evaluates a GET's conditions in the order of RFC 9110 section 13.2.2, then its Range (section 14).
///
/// Several ranges are answered with everything: `multipart/byteranges` has no reader among XMPP clients and browsers'
/// media elements, and many small ranges are a known way to make a server work. Section 14.2 allows to ignore a Range.
#[must_use]
pub fn evaluate(headers: &HeaderMap, object: &Object) -> Delivery {
    if let Some(verdict) = failed_condition(headers, object) {
        return verdict;
    }
    match sole(headers, &header::RANGE) {
        Some(range) if range_still_applies(headers, object) => select(range, object.size),
        _ => Delivery::Whole,
    }
}

/// The same for a HEAD, on which a Range means nothing (RFC 9110 section 14.2): its Content-Length is always the whole.
#[must_use]
pub fn evaluate_head(headers: &HeaderMap, object: &Object) -> Delivery {
    failed_condition(headers, object).unwrap_or(Delivery::Whole)
}

fn failed_condition(headers: &HeaderMap, object: &Object) -> Option<Delivery> {
    if headers.contains_key(header::IF_MATCH) {
        if !any_tag_matches(headers, &header::IF_MATCH, object.id, Comparison::Strong) {
            return Some(Delivery::PreconditionFailed);
        }
    } else if date(headers, &header::IF_UNMODIFIED_SINCE).is_some_and(|limit| object.modified > limit) {
        return Some(Delivery::PreconditionFailed);
    }
    let unchanged = if headers.contains_key(header::IF_NONE_MATCH) {
        any_tag_matches(headers, &header::IF_NONE_MATCH, object.id, Comparison::Weak)
    } else {
        date(headers, &header::IF_MODIFIED_SINCE).is_some_and(|seen| object.modified <= seen)
    };
    unchanged.then_some(Delivery::NotModified)
}

/// `If-Range`: whether the bytes that the client already has belong to this object. Absent, they do.
fn range_still_applies(headers: &HeaderMap, object: &Object) -> bool {
    if !headers.contains_key(header::IF_RANGE) {
        return true;
    }
    let Some(value) = sole(headers, &header::IF_RANGE) else { return false };
    if value.starts_with(b"\"") {
        return value == etag(object.id).as_bytes();
    }
    // A date is a strong validator here: a slot's bytes never change, and a slot is never filled twice. A weak tag
    // is no date either, so it fails as section 13.1.5 demands.
    parse_date(value) == Some(object.modified)
}

/// The value of a header that stands there once. Repeated, these headers mean nothing.
fn sole<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| trim(value.as_bytes()))
}

fn date(headers: &HeaderMap, name: &HeaderName) -> Option<Timestamp> {
    parse_date(sole(headers, name)?)
}

fn parse_date(value: &[u8]) -> Option<Timestamp> {
    Timestamp::parse_http_date(std::str::from_utf8(value).ok()?)
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Comparison {
    /// `W/"x"` never matches.
    Strong,
    /// `W/"x"` matches `"x"`.
    Weak,
}

/// Whether a list of entity tags (over all its lines) is `*` or names the object. Text that is no list names nothing.
fn any_tag_matches(headers: &HeaderMap, name: &HeaderName, id: BlobId, comparison: Comparison) -> bool {
    let own = etag(id);
    headers.get_all(name).iter().any(|line| {
        let line = trim(line.as_bytes());
        line == b"*"
            || Tags(line).any(|tag| tag.value == own.as_bytes() && (comparison == Comparison::Weak || !tag.weak))
    })
}

/// An entity tag, quotes included.
struct Tag<'a> {
    weak: bool,
    value: &'a [u8],
}

/// Reads the tags of a list until its end or its first mistake. Commas inside quotes belong to the tag.
struct Tags<'a>(&'a [u8]);

impl<'a> Iterator for Tags<'a> {
    type Item = Tag<'a>;

    fn next(&mut self) -> Option<Tag<'a>> {
        let start = self.0.iter().position(|b| !matches!(b, b' ' | b'\t' | b','))?;
        let rest = &self.0[start..];
        let (weak, quoted) = match rest.strip_prefix(b"W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        let inner = quoted.strip_prefix(b"\"")?;
        let end = inner.iter().position(|b| *b == b'"')?;
        let (value, after) = quoted.split_at(end + 2);
        self.0 = after;
        Some(Tag { weak, value })
    }
}

/// One `range-spec` of RFC 9110 section 14.1.2.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Spec {
    /// `first-` or `first-last`, both inclusive.
    From { first: u64, last: Option<u64> },
    /// `-length`.
    Suffix { length: u64 },
}

/// What a Range header selects of `size` bytes. What is not understood is ignored, as section 14.2 wants.
fn select(header: &[u8], size: u64) -> Delivery {
    match parse_range(header) {
        Some(spec) => resolve(spec, size),
        None => Delivery::Whole,
    }
}

fn resolve(spec: Spec, size: u64) -> Delivery {
    match spec {
        Spec::Suffix { length: 0 } => Delivery::Unsatisfiable,
        // All of nothing cannot be a 206, and a client that asks for all of it should get what there is: media
        // elements and download tools put `bytes=0-` on every request.
        Spec::From { first: 0, .. } | Spec::Suffix { .. } if size == 0 => Delivery::Whole,
        Spec::Suffix { length } => Delivery::Partial(size.saturating_sub(length)..size),
        Spec::From { first, .. } if first >= size => Delivery::Unsatisfiable,
        Spec::From { first, last } => {
            let end = last.map_or(size, |last| size.min(last.saturating_add(1)));
            Delivery::Partial(first..end)
        }
    }
}

/// The only range of a `bytes` header; `None` for another unit, a mistake or several ranges.
fn parse_range(header: &[u8]) -> Option<Spec> {
    let text = std::str::from_utf8(header).ok()?;
    let (unit, set) = text.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    // List syntax (section 5.6.1): blanks around commas and empty elements are harmless.
    let mut specs =
        set.split(',').map(|element| element.trim_matches([' ', '\t'])).filter(|element| !element.is_empty());
    let spec = specs.next()?;
    if specs.next().is_some() {
        return None;
    }
    parse_spec(spec)
}

fn parse_spec(spec: &str) -> Option<Spec> {
    match spec.split_once('-')? {
        ("", length) => Some(Spec::Suffix { length: parse_number(length)? }),
        (first, "") => Some(Spec::From { first: parse_number(first)?, last: None }),
        (first, last) => {
            let (first, last) = (parse_number(first)?, parse_number(last)?);
            (first <= last).then_some(Spec::From { first, last: Some(last) })
        }
    }
}

/// Digits only: no sign, no blank. A number beyond 64 bits is as good as the largest of them.
fn parse_number(digits: &str) -> Option<u64> {
    let valid = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    valid.then(|| digits.parse().unwrap_or(u64::MAX))
}

fn trim(value: &[u8]) -> &[u8] {
    let is_blank = |b: &u8| matches!(b, b' ' | b'\t');
    let start = value.iter().position(|b| !is_blank(b)).unwrap_or(value.len());
    let end = value.iter().rposition(|b| !is_blank(b)).map_or(start, |last| last + 1);
    &value[start..end]
}

#[cfg(test)]
mod tests;
