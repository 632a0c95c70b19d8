//! Media types and file names: what a name's extension says, what a browser may show inline, how a download is named.
//!
//! Pure text. Called by `auth` (type candidates of a v2 signature), `admit` and `download::get`.

/// The last extension of a file name: lower case, without the dot; empty when there is none.
#[must_use]
pub fn extension(file_name: &str) -> String {
    match file_name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => extension.to_lowercase(),
        _ => String::new(),
    }
}

/// The media type that the extension of `file_name` names (`application/octet-stream` when it names none).
#[must_use]
pub fn type_of_name(file_name: &str) -> &'static str {
    let _ = file_name;
    todo!()
}

/// Whether a browser may show this type inside a page: the safe media of facts (jpeg, png, gif, webp, avif, mp4, webm, audio, plain text).
#[must_use]
pub fn is_inline_safe(media_type: &str) -> bool {
    let _ = media_type;
    todo!()
}

/// The value of `Content-Disposition` for a file: RFC 6266 with an RFC 8187 name.
#[must_use]
pub fn disposition(media_type: &str, file_name: &str) -> String {
    let _ = (media_type, file_name);
    todo!()
}
