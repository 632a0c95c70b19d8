//! Media types and file names: what a name's extension says, what a browser may show inline, how a download is named.
//!
//! Pure text: bytes are never sniffed. Called by `auth` (type candidates of a v2 signature), `admit` and
//! `http::headers`. The types and names come from strangers; whatever is returned here fits a header line.

mod disposition;

pub use disposition::disposition;

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

    proptest! {
        #[test]
        fn every_declared_type_fits_a_header(media_type in "\\PC*|[ -~]*") {
            prop_assert!(serve_as(&media_type).bytes().all(|b| matches!(b, b' '..=b'~')));
        }
    }
}
