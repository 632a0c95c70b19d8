//! The headers of a download: what a cache may keep, what a browser may do with a stranger's file.
//!
//! Called by `download::get` for every answer about a blob, and by `http::respond` ([`secure`]) for every other one.
//! Knows nothing of origins: see `cors`.

use hfs_core::range::{self, Delivery};
use hfs_core::{Timestamp, media};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::download::Known;
use crate::meta::Record;

/// Nothing loads, runs, frames or submits, and the document has an origin of its own. What is left is what browsers
/// need for the page that they build around a single picture, sound or video: its one source, and inline styles.
///
/// `sandbox` makes Chromium (156, tried) fetch the media of that page with `Origin: null` in CORS mode: a video plays
/// because `cors` mirrors that origin on downloads, and would not without. It starts on a click, not by itself.
const POLICY: &str = "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; \
                      frame-ancestors 'none'; form-action 'none'; base-uri 'none'; sandbox";

/// A year, what caches take for "for ever".
const LONGEST_AGE: i64 = 31_536_000;

/// Fills in the headers of an answer about `record`: 200, 206, 304, 412 or 416.
///
/// Includes the Content-Length of the bytes that a GET would send, so that a HEAD gets it too; for 412 and 416 it is
/// left to whoever writes their text.
pub fn describe(headers: &mut HeaderMap, known: &Known, delivery: &Delivery, now: Timestamp) {
    let record = known.record();
    let size = record.size.as_u64();
    // A dozen texts that are the same each time: for a hot file the largest part of an answer's cost.
    headers.clone_from(known.described(describe_whole));
    match delivery {
        Delivery::Whole => describe_age(headers, record, now),
        Delivery::Partial(part) => {
            describe_age(headers, record, now);
            headers.insert(header::CONTENT_LENGTH, (part.end - part.start).into());
            // The last byte's offset is inclusive; a part is never empty.
            headers.insert(header::CONTENT_RANGE, value(format!("bytes {}-{}/{size}", part.start, part.end - 1)));
        }
        // RFC 9110 section 15.4.5: what a 200 would say about caching, nothing about the bytes.
        Delivery::NotModified => {
            forget_bytes(headers);
            describe_age(headers, record, now);
        }
        Delivery::PreconditionFailed => {
            forget_bytes(headers);
            headers.remove(header::LAST_MODIFIED);
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        Delivery::Unsatisfiable => {
            forget_bytes(headers);
            headers.remove(header::LAST_MODIFIED);
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            headers.insert(header::CONTENT_RANGE, value(format!("bytes */{size}")));
        }
    }
}

/// What every answer carries, whatever it is: even an error's text may be opened as a page.
pub fn secure(headers: &mut HeaderMap) {
    const ALWAYS: [(HeaderName, &str); 5] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        // Web clients show files inside pages of their own origin.
        (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
    ];
    for (name, text) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(text));
    }
}

/// All that a 200 says, but for its age.
fn describe_whole(record: &Record) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(24);
    secure(&mut headers);
    let media_type = media::serve_as(&record.media_type);
    let disposition = media::disposition(&media_type, record.slot.file_name());
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::ETAG, value(range::etag(record.id)));
    headers.insert(header::LAST_MODIFIED, value(record.stored_at.to_http_date()));
    headers.insert(header::CONTENT_DISPOSITION, value(disposition));
    headers.insert(header::CONTENT_TYPE, value(media_type));
    headers.insert(header::CONTENT_LENGTH, record.size.as_u64().into());
    headers
}

/// Takes back what only an answer with bytes says.
fn forget_bytes(headers: &mut HeaderMap) {
    for name in [header::CONTENT_DISPOSITION, header::CONTENT_TYPE, header::CONTENT_LENGTH] {
        headers.remove(name);
    }
}

fn describe_age(headers: &mut HeaderMap, record: &Record, now: Timestamp) {
    // Private: the URL is the only key to the file, so no shared cache should outlive its deletion.
    let caching = match record.expires.map(|end| end.as_unix().saturating_sub(now.as_unix())) {
        Some(left) if left < LONGEST_AGE => value(format!("private, max-age={}, immutable", left.max(0))),
        _ => HeaderValue::from_static("private, max-age=31536000, immutable"),
    };
    headers.insert(header::CACHE_CONTROL, caching);
}

/// Every text here is visible ASCII: numbers, dates, or what `media` made fit for a header.
fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::Integrity;
    use crate::storage::Place;
    use hfs_core::{BlobId, ByteSize, SlotPath};

    const NOW: Timestamp = Timestamp::from_unix(1_000_000_000);

    fn record(path: &str, media_type: &str) -> Record {
        Record {
            id: BlobId::from_random([7; 16]),
            slot: SlotPath::parse(path).unwrap(),
            place: Place::new(path),
            size: ByteSize::bytes(1000),
            media_type: media_type.to_owned(),
            owner: None,
            stored_at: Timestamp::from_unix(784_111_777),
            expires: None,
            integrity: Integrity::Written,
            proof: None,
        }
    }

    fn described(record: &Record, delivery: &Delivery) -> HeaderMap {
        let mut headers = HeaderMap::new();
        describe(&mut headers, &Known::new(record.clone()), delivery, NOW);
        headers
    }

    fn text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
        headers.get(name).map_or("(absent)", |value| value.to_str().unwrap())
    }

    #[test]
    fn a_whole_file_says_all_about_itself() {
        let headers = described(&record("a/cat.png", "image/png"), &Delivery::Whole);
        for (name, expected) in [
            ("content-type", "image/png"),
            ("content-disposition", "inline; filename=\"cat.png\""),
            ("content-length", "1000"),
            ("content-range", "(absent)"),
            ("accept-ranges", "bytes"),
            ("etag", "\"07070707070707070707\""),
            ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("cache-control", "private, max-age=31536000, immutable"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "cross-origin"),
        ] {
            assert_eq!(text(&headers, name), expected, "{name}");
        }
    }

    #[test]
    fn the_policy_runs_nothing_and_lets_a_video_play() {
        let headers = described(&record("a/v.mp4", "video/mp4"), &Delivery::Whole);
        let policy: Vec<&str> = text(&headers, "content-security-policy").split("; ").collect();
        for directive in
            ["default-src 'none'", "media-src 'self'", "img-src 'self'", "frame-ancestors 'none'", "sandbox"]
        {
            assert!(policy.contains(&directive), "{directive}");
        }
        assert!(!policy.iter().any(|directive| directive.starts_with("script-src") || directive.contains("allow-")));
    }

    #[test]
    fn a_part_says_which_one() {
        let headers = described(&record("a/b.bin", ""), &Delivery::Partial(10..11));
        assert_eq!(text(&headers, "content-range"), "bytes 10-10/1000");
        assert_eq!(text(&headers, "content-length"), "1");
        assert_eq!(text(&headers, "content-type"), "application/octet-stream");
        assert_eq!(text(&headers, "content-disposition"), "attachment; filename=\"b.bin\"");
    }

    #[test]
    fn an_unchanged_file_says_nothing_about_its_bytes() {
        let headers = described(&record("a/b.txt", "text/plain"), &Delivery::NotModified);
        assert_eq!(text(&headers, "etag"), "\"07070707070707070707\"");
        assert_eq!(text(&headers, "cache-control"), "private, max-age=31536000, immutable");
        for absent in ["content-type", "content-length", "content-disposition", "content-range"] {
            assert_eq!(text(&headers, absent), "(absent)", "{absent}");
        }
    }

    #[test]
    fn an_impossible_range_learns_the_size_and_is_not_kept() {
        let headers = described(&record("a/b.txt", "text/plain"), &Delivery::Unsatisfiable);
        assert_eq!(text(&headers, "content-range"), "bytes */1000");
        assert_eq!(text(&headers, "cache-control"), "no-store");
        assert_eq!(text(&headers, "content-length"), "(absent)");
    }

    #[test]
    fn caches_forget_a_file_when_it_expires() {
        let age = |expires| {
            let record = Record { expires: Some(Timestamp::from_unix(expires)), ..record("a/b", "text/plain") };
            text(&described(&record, &Delivery::Whole), "cache-control").to_owned()
        };
        assert_eq!(age(1_000_000_060), "private, max-age=60, immutable");
        assert_eq!(age(999_999_999), "private, max-age=0, immutable");
        assert_eq!(age(i64::MAX), "private, max-age=31536000, immutable");
        assert_eq!(age(i64::MIN), "private, max-age=0, immutable");
    }

    #[test]
    fn what_could_run_in_a_browser_is_an_attachment() {
        for media_type in ["text/html", "image/svg+xml", "application/pdf", "text/plain\r\n", "text/plain, text/html"] {
            let headers = described(&record("a/b", media_type), &Delivery::Whole);
            assert!(text(&headers, "content-disposition").starts_with("attachment"), "{media_type}");
        }
    }
}
