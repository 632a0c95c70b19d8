//! `Content-Disposition`: how a download is named, whoever named it.
//!
//! Pure text. The names come from strangers and go to browsers, which turn them into files.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::is_inline_safe;

/// The value of `Content-Disposition` for a file: RFC 6266, with an RFC 8187 name where plain ASCII does not do.
#[must_use]
pub fn disposition(media_type: &str, file_name: &str) -> String {
    let kind = if is_inline_safe(media_type) { "inline" } else { "attachment" };
    let name = presentable(file_name);
    let fallback: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    if fallback == name {
        return format!("{kind}; filename=\"{name}\"");
    }
    let encoded = utf8_percent_encode(&name, ATTR_CHAR);
    format!("{kind}; filename=\"{fallback}\"; filename*=UTF-8''{encoded}")
}

/// What RFC 8187 lets stand for itself (`attr-char`).
const ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// Characters that every browser reads alike inside `filename="..."`: escapes and `%` are not (RFC 6266 appendix D),
/// separators are nobody's business in a name.
fn is_plain(c: char) -> bool {
    matches!(c, ' '..='~') && !matches!(c, '"' | '\\' | '%' | '/')
}

/// Longest file name that is announced, in bytes. A head with more of it, percent-encoded, would not fit the 4 KiB
/// that proxies reserve for one; no file system keeps half of it.
const MAX_NAME: usize = 512;

/// `file_name` without characters that hide what it is, and not absurdly long.
fn presentable(file_name: &str) -> String {
    let clean: String = file_name.chars().filter(|c| !c.is_control() && !is_bidi_control(*c)).collect();
    if clean.trim().is_empty() {
        return "file".to_owned();
    }
    if clean.len() <= MAX_NAME {
        return clean;
    }
    let extension = match clean.rfind('.') {
        Some(dot) if clean.len() - dot <= 16 => &clean[dot..],
        _ => "",
    };
    let stem = &clean[..clean.floor_char_boundary(MAX_NAME - extension.len())];
    format!("{stem}{extension}")
}

/// Direction overrides make `exe.gpj` out of `jpg.exe` on the screen.
fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn simple_names_stay_simple() {
        assert_eq!(disposition("image/png", "cat 1.png"), "inline; filename=\"cat 1.png\"");
        assert_eq!(disposition("text/html", "page.html"), "attachment; filename=\"page.html\"");
    }

    #[test]
    fn awkward_names_have_a_fallback_and_their_true_spelling() {
        for (name, fallback, encoded) in [
            ("Grüße.txt", "Gr__e.txt", "Gr%C3%BC%C3%9Fe.txt"),
            ("😀.gif", "_.gif", "%F0%9F%98%80.gif"),
            ("a\"b\\c.png", "a_b_c.png", "a%22b%5Cc.png"),
            ("100%25.txt", "100_25.txt", "100%2525.txt"),
            ("a'b(ü).txt", "a'b(_).txt", "a%27b%28%C3%BC%29.txt"),
        ] {
            let expected = format!("inline; filename=\"{fallback}\"; filename*=UTF-8''{encoded}");
            assert_eq!(disposition("text/plain", name), expected);
        }
    }

    #[test]
    fn names_cannot_break_the_line_or_deceive_the_eye() {
        assert_eq!(disposition("a/b", "a\r\nSet-Cookie: x=1\0\u{85}"), "attachment; filename=\"aSet-Cookie: x=1\"");
        assert_eq!(disposition("a/b", "photo\u{202e}gpj.exe"), "attachment; filename=\"photogpj.exe\"");
        assert_eq!(disposition("a/b", "\u{7f}"), "attachment; filename=\"file\"");
    }

    #[test]
    fn giant_names_keep_their_extension() {
        let value = disposition("image/png", &format!("{}.png", "ü".repeat(1000)));
        assert!(value.len() < 2200 && value.ends_with(".png"), "{value}");
        let whole = "x".repeat(300);
        assert!(disposition("image/png", &whole).contains(&whole));
    }

    proptest! {
        #[test]
        fn every_name_fits_a_header(media_type in "\\PC*|[ -~]*", name in any::<String>()) {
            prop_assert!(disposition(&media_type, &name).bytes().all(|b| matches!(b, b' '..=b'~')));
        }

        #[test]
        fn the_true_name_can_be_read_back(name in "[a-zA-Z ü😀\"%';*=]{1,40}[a-z]") {
            let value = disposition("image/png", &name);
            let read = match value.split_once("filename*=UTF-8''") {
                Some((_, encoded)) => percent_encoding::percent_decode_str(encoded).decode_utf8().unwrap().into_owned(),
                None => value["inline; filename=\"".len()..value.len() - 1].to_owned(),
            };
            prop_assert_eq!(read, name);
        }
    }
}
