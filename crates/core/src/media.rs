//! Media types and file names: what a name's extension says, what a browser may show inline, how a download is named.
//!
//! Pure text: bytes are never sniffed. Called by `auth` (type candidates of a v2 signature), `admit` and
//! `http::headers`. The types and names come from strangers; whatever is returned here fits a header line.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The type of bytes of which nothing is known.
pub const OCTET_STREAM: &str = "application/octet-stream";

/// The last extension of a file name: lower case, without the dot; empty when there is none.
#[must_use]
pub fn extension(file_name: &str) -> String {
    match file_name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => extension.to_lowercase(),
        _ => String::new(),
    }
}

/// The media type that the extension of `file_name` names ([`OCTET_STREAM`] when it names none). Never with
/// parameters: v2 signatures are checked with and without a charset by `auth`.
#[must_use]
pub fn type_of_name(file_name: &str) -> &'static str {
    let extension = extension(file_name);
    supplement(&extension).or_else(|| mime_guess::from_ext(&extension).first_raw()).unwrap_or(OCTET_STREAM)
}

/// What the original server calls these files. It wins over the general table: signatures and stored files that
/// rest on its names must keep working, and the general table has odd ones for them (`stl` is a certificate list).
fn supplement(extension: &str) -> Option<&'static str> {
    Some(match extension {
        "m4a" => "audio/mp4",
        "flac" => "audio/flac",
        "ogg" => "audio/ogg",
        "opus" => "audio/opus",
        "aac" => "audio/aac",
        "amr" => "audio/amr",
        "wma" => "audio/x-ms-wma",
        "webm" => "video/webm",
        "mkv" => "video/x-matroska",
        "m4v" => "video/x-m4v",
        "3gp" => "video/3gpp",
        "asf" => "video/x-ms-asf",
        "wmv" => "video/x-ms-wmv",
        "flv" => "video/x-flv",
        "7z" => "application/x-7z-compressed",
        "rar" => "application/vnd.rar",
        "tar" => "application/x-tar",
        "bz2" => "application/x-bzip2",
        "xz" => "application/x-xz",
        "lz4" => "application/x-lz4",
        "zst" => "application/zstd",
        "epub" => "application/epub+zip",
        "mobi" => "application/x-mobipocket-ebook",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "pptx" => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "odt" => "application/vnd.oasis.opendocument.text",
        "ods" => "application/vnd.oasis.opendocument.spreadsheet",
        "odp" => "application/vnd.oasis.opendocument.presentation",
        "apk" => "application/vnd.android.package-archive",
        "deb" => "application/vnd.debian.binary-package",
        "rpm" => "application/x-rpm",
        "dmg" => "application/x-apple-diskimage",
        "msi" => "application/x-ms-installer",
        "pkg" => "application/x-apple-package",
        "iso" => "application/x-cd-image",
        "img" => "application/x-raw-disk-image",
        "vdi" => "application/x-virtualbox-vdi",
        "vmdk" => "application/x-vmware-vmdk",
        "qcow2" => "application/x-qemu-disk",
        "py" => "text/x-python",
        "go" => "text/x-go",
        "rs" => "text/x-rust",
        "pl" => "text/x-perl",
        "rb" => "text/x-ruby",
        "swift" => "text/x-swift",
        "kt" => "text/x-kotlin",
        "scala" => "text/x-scala",
        "r" => "text/x-r",
        "php" => "application/x-php",
        "sql" => "application/sql",
        "toml" => "application/toml",
        "yaml" | "yml" => "application/x-yaml",
        "ini" | "conf" | "cfg" | "env" => "text/plain",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "ttf" => "font/ttf",
        "otf" => "font/otf",
        "eot" => "application/vnd.ms-fontobject",
        "stl" => "model/stl",
        "obj" => "model/obj",
        "ply" => "model/ply",
        "3mf" => "model/3mf",
        "step" => "model/step",
        "dwg" => "image/vnd.dwg",
        "bak" => "application/x-backup",
        "db" | "sqlite" | "sqlite3" => "application/x-sqlite3",
        "mdb" => "application/x-msaccess",
        _ => return None,
    })
}

/// Whether a browser may show this type as a document of its own: pixels, sound and plain text. Never what can carry
/// script (HTML, SVG, XML, JavaScript, PDF), whatever the Content-Security-Policy would make of it.
#[must_use]
pub fn is_inline_safe(media_type: &str) -> bool {
    matches!(
        essence(media_type).as_str(),
        "image/jpeg"
            | "image/png"
            | "image/gif"
            | "image/webp"
            | "image/avif"
            | "video/mp4"
            | "video/webm"
            | "video/ogg"
            | "audio/mpeg"
            | "audio/mp3"
            | "audio/mp4"
            | "audio/m4a"
            | "audio/x-m4a"
            | "audio/aac"
            | "audio/ogg"
            | "audio/opus"
            | "audio/webm"
            | "audio/flac"
            | "audio/x-flac"
            | "audio/wav"
            | "audio/x-wav"
            | "audio/wave"
            | "audio/vnd.wave"
            | "audio/amr"
            | "audio/3gpp"
            | "text/plain"
    )
}

/// The value of `Content-Type` for a file that was declared as `media_type`.
///
/// What is no media type of RFC 9110 section 8.3.1, or over 255 bytes, is [`OCTET_STREAM`]. Plain text without a
/// charset is UTF-8, as XMPP clients write it: browsers would guess a legacy one.
#[must_use]
pub fn serve_as(media_type: &str) -> String {
    let trimmed = media_type.trim_matches([' ', '\t']);
    if trimmed.len() > 255 || !is_media_type(trimmed) {
        return OCTET_STREAM.to_owned();
    }
    let has_charset = || parameters(trimmed).any(|(name, _)| name.eq_ignore_ascii_case("charset"));
    if essence(trimmed) == "text/plain" && !has_charset() {
        return format!("{}; charset=utf-8", trimmed.trim_end_matches([' ', '\t', ';']));
    }
    trimmed.to_owned()
}

/// `type/subtype`, lower case, without parameters.
fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_media_type(text: &str) -> bool {
    // `*` is a token character, but `*/*` and `image/*` name no type.
    let is_name = |name: &str| is_token(name) && !name.contains('*');
    let names = text.split(';').next().unwrap_or_default().trim_end_matches([' ', '\t']);
    let named = names.split_once('/').is_some_and(|(kind, subtype)| is_name(kind) && is_name(subtype));
    named && parameters(text).all(|(name, value)| is_token(name) && (is_token(value) || is_quoted(value)))
}

/// The parameters of a media type; one without `=` has an empty value. Empty ones (`text/plain;`) are skipped.
fn parameters(media_type: &str) -> impl Iterator<Item = (&str, &str)> {
    // A quoted string may hold semicolons, never an unescaped quote; escapes are not worth understanding here:
    // a type that uses them is cut wrongly, then fails the check of its pieces and becomes octet-stream.
    let mut quoted = false;
    let pieces = media_type.split(move |c: char| {
        quoted ^= c == '"';
        c == ';' && !quoted
    });
    pieces
        .skip(1)
        .map(|piece| piece.trim_matches([' ', '\t']))
        .filter(|piece| !piece.is_empty())
        .map(|piece| piece.split_once('=').unwrap_or((piece, "")))
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn is_quoted(text: &str) -> bool {
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.is_some_and(|inner| inner.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\'))
}

/// Longest file name that is announced, in bytes. A head with more of it, percent-encoded, would not fit the 4 KiB
/// that proxies reserve for one; no file system keeps half of it.
const MAX_NAME: usize = 512;

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

/// Characters that every browser reads alike inside `filename="..."`: escapes and `%` are not (RFC 6266 appendix D),
/// separators are nobody's business in a name.
fn is_plain(c: char) -> bool {
    matches!(c, ' '..='~') && !matches!(c, '"' | '\\' | '%' | '/')
}

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
    fn the_last_extension_counts_in_any_case() {
        assert_eq!(extension("a.TAR.Gz"), "gz");
        assert_eq!(extension(".bashrc"), "");
        assert_eq!(extension("README"), "");
        assert_eq!(type_of_name("holiday.JPG"), "image/jpeg");
        assert_eq!(type_of_name("a.png.exe"), type_of_name("b.exe"));
    }

    #[test]
    fn common_files_have_their_registered_types() {
        for (name, media_type) in [
            ("a.txt", "text/plain"),
            ("a.html", "text/html"),
            ("a.svg", "image/svg+xml"),
            ("a.pdf", "application/pdf"),
            ("a.png", "image/png"),
            ("a.gif", "image/gif"),
            ("a.webp", "image/webp"),
            ("a.avif", "image/avif"),
            ("a.mp4", "video/mp4"),
            ("a.mp3", "audio/mpeg"),
            ("a.zip", "application/zip"),
            ("a.json", "application/json"),
            ("a.unheard-of", OCTET_STREAM),
            ("noextension", OCTET_STREAM),
            ("", OCTET_STREAM),
        ] {
            assert_eq!(type_of_name(name), media_type, "{name}");
        }
    }

    #[test]
    fn the_originals_names_win_over_the_general_table() {
        let general = |name: &str| mime_guess::from_ext(name).first_raw();
        for (extension, media_type) in [
            ("m4a", "audio/mp4"),
            ("opus", "audio/opus"),
            ("rar", "application/vnd.rar"),
            ("py", "text/x-python"),
            ("stl", "model/stl"),
            ("iso", "application/x-cd-image"),
        ] {
            assert_ne!(general(extension), Some(media_type), "{extension} needs no entry of its own");
            assert_eq!(type_of_name(&format!("a.{extension}")), media_type);
        }
    }

    #[test]
    fn browsers_show_pixels_sound_and_plain_text_only() {
        for safe in ["image/jpeg", "IMAGE/PNG", "video/mp4; codecs=avc1", "audio/ogg", " text/plain ;charset=utf-8"] {
            assert!(is_inline_safe(safe), "{safe}");
        }
        for unsafe_type in [
            "text/html",
            "image/svg+xml",
            "application/xhtml+xml",
            "text/xml",
            "text/javascript",
            "application/pdf",
            "application/octet-stream",
            "image/png+xml",
            "text/plain, text/html",
            "",
        ] {
            assert!(!is_inline_safe(unsafe_type), "{unsafe_type}");
        }
    }

    #[test]
    fn what_is_no_media_type_is_served_as_bytes() {
        for hostile in [
            "",
            "text",
            "text/",
            "/plain",
            "*/*",
            "image/*",
            "text/html\r\nX: y",
            "text /plain",
            "text/plain, text/html",
            "text/plain; charset",
            "text/plain; =x",
            "text/plain; a=\"b",
            "text/plain; a=\"b\\\"c\"",
            "text/plän",
            "a/b/c",
            &format!("text/{}", "x".repeat(260)),
        ] {
            assert_eq!(serve_as(hostile), OCTET_STREAM, "{hostile}");
        }
        for fine in ["text/html", "video/mp4; codecs=\"avc1.4D401E, mp4a.40.2\"", "application/x; a=\"b;c\"; d=e"] {
            assert_eq!(serve_as(fine), fine);
        }
    }

    #[test]
    fn plain_text_is_utf8_unless_it_says_otherwise() {
        assert_eq!(serve_as("text/plain"), "text/plain; charset=utf-8");
        assert_eq!(serve_as("Text/Plain;"), "Text/Plain; charset=utf-8");
        assert_eq!(serve_as("text/plain; format=flowed"), "text/plain; format=flowed; charset=utf-8");
        assert_eq!(serve_as("text/plain; Charset=iso-8859-1"), "text/plain; Charset=iso-8859-1");
        assert_eq!(serve_as("text/x-python"), "text/x-python");
    }

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
        fn every_value_fits_a_header(media_type in "\\PC*|[ -~]*", name in any::<String>()) {
            let visible = |text: &str| text.bytes().all(|b| matches!(b, b' '..=b'~'));
            prop_assert!(visible(&disposition(&media_type, &name)));
            prop_assert!(visible(&serve_as(&media_type)));
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
