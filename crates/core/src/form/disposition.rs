//! Parameters of a header (`name="value"`), and the name of a file among them.

use percent_encoding::percent_decode_str;

use super::InvalidForm;

/// The value of parameter `name`; `None` without one.
///
/// # Errors
/// It is there twice: two readers would take different ones.
pub(super) fn parameter(header: &str, name: &str) -> Result<Option<String>, InvalidForm> {
    let mut found = None;
    let mut rest = header.split_once(';').map_or("", |(_, rest)| rest);
    while !rest.trim().is_empty() {
        let (key, behind) = rest.split_once('=').unwrap_or((rest, ""));
        let (value, behind) = value(behind.trim_start());
        if key.trim().eq_ignore_ascii_case(name) && found.replace(value).is_some() {
            return Err(InvalidForm::Part);
        }
        rest = behind;
    }
    Ok(found)
}

/// One value and what stands behind the semicolon that ends it.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (token, rest) = text.split_once(';').unwrap_or((text, ""));
        return (token.trim().to_owned(), rest);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match (c, chars.peek()) {
            ('"', _) => return (value, quoted[at + 1..].split_once(';').map_or("", |(_, rest)| rest)),
            // Only these two: a lone backslash is part of a Windows path.
            ('\\', Some(&(_, next @ ('"' | '\\')))) => {
                value.push(next);
                chars.next();
            }
            _ => value.push(c),
        }
    }
    (value, "")
}

/// The last element of the file name that a `Content-Disposition` gives, if it gives one.
///
/// `filename*` counts where nothing else is there: RFC 7578 forbids it, and widespread clients send it for names that
/// are not ASCII.
pub(super) fn file_name(disposition: &str) -> Result<Option<String>, InvalidForm> {
    let plain = parameter(disposition, "filename")?;
    let name = match plain {
        Some(name) => Some(name),
        None => parameter(disposition, "filename*")?.and_then(|value| extended(&value)),
    };
    let last = |name: String| name.rsplit(['/', '\\']).next().map(str::to_owned);
    Ok(name.and_then(last).filter(|name| !name.is_empty()))
}

/// `UTF-8''na%C3%AFve.txt` (RFC 8187).
fn extended(value: &str) -> Option<String> {
    let mut parts = value.splitn(3, '\'');
    let charset = parts.next().filter(|charset| charset.eq_ignore_ascii_case("utf-8"));
    let encoded = charset.and(parts.nth(1))?;
    percent_decode_str(encoded).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}
