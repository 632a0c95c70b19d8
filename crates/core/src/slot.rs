//! [`SlotPath`]: the decoded path of an upload slot, proven safe.
//!
//! Every request path becomes a `SlotPath` before anything else looks at it. Called by the router with the path below
//! the configured base path. A valid signature never means a safe path: Prosody and ejabberd sign `.` and `..`.

use std::fmt;

use percent_encoding::percent_decode_str;

/// Longest decoded path, in bytes. Longer than any name a client sends; short enough for a log line and an index key.
const MAX_BYTES: usize = 2048;

/// First path elements that belong to the server, or to the original server whose trees we adopt.
const RESERVED: [&str; 3] = [".hfs", ".metadata", ".upload_sessions"];

/// Decoded path of an upload slot: UTF-8, relative, 1 to 2048 bytes, no NUL, no empty, `.` or `..` element.
///
/// Two spellings of one URL (`%41` and `A`, `%3d` and `%3D`) are one `SlotPath`. An encoded separator (`%2F`) is a
/// separator, as the XMPP servers' own receivers have it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SlotPath(String);

/// Why a path can be no slot. The client gets 400 for it (404 on GET), whatever it signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSlotPath {
    /// Nothing below the base path, or an empty element (`a//b`, a trailing slash).
    #[error("the path has an empty element")]
    Empty,
    /// An element is `.` or `..`.
    #[error("the path has a `.` or `..` element")]
    Dots,
    /// A NUL byte, which no file system stores and which would shift the fields of a v2 signature.
    #[error("the path has a NUL byte")]
    Nul,
    /// Not UTF-8 after percent-decoding.
    #[error("the path is not UTF-8")]
    NotUtf8,
    /// Over 2048 bytes.
    #[error("the path is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// The first element belongs to the server.
    #[error("the path is reserved for the server")]
    Reserved,
}

impl SlotPath {
    /// Decodes the path of a URL, without its leading slash, once.
    ///
    /// # Errors
    /// Says what makes the path unfit for a slot.
    pub fn from_url(encoded: &str) -> Result<Self, InvalidSlotPath> {
        // Decoding only ever shortens, to a third at most: refuse before allocating for a giant.
        if encoded.len() > 3 * MAX_BYTES {
            return Err(InvalidSlotPath::TooLong);
        }
        let decoded = percent_decode_str(encoded).decode_utf8().map_err(|_| InvalidSlotPath::NotUtf8)?;
        Self::parse(&decoded)
    }

    /// Checks a path that is already decoded.
    ///
    /// # Errors
    /// Says what makes the path unfit for a slot.
    pub fn parse(decoded: &str) -> Result<Self, InvalidSlotPath> {
        if decoded.len() > MAX_BYTES {
            return Err(InvalidSlotPath::TooLong);
        }
        if decoded.contains('\0') {
            return Err(InvalidSlotPath::Nul);
        }
        for element in decoded.split('/') {
            match element {
                "" => return Err(InvalidSlotPath::Empty),
                "." | ".." => return Err(InvalidSlotPath::Dots),
                _ => {}
            }
        }
        let first = decoded.split('/').next().unwrap_or_default();
        if RESERVED.contains(&first) {
            return Err(InvalidSlotPath::Reserved);
        }
        Ok(Self(decoded.to_owned()))
    }

    /// The decoded path, without a leading slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first element: Prosody's slot id, ejabberd's user hash.
    #[must_use]
    pub fn first_element(&self) -> &str {
        self.0.split('/').next().unwrap_or(&self.0)
    }

    /// The last element: the name of the file as its owner knows it.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl fmt::Display for SlotPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn two_spellings_are_one_slot() {
        let plain = SlotPath::from_url("a%3db/Gr%C3%BC%C3%9Fe%201.txt").unwrap();
        assert_eq!(plain.as_str(), "a=b/Grüße 1.txt");
        assert_eq!(SlotPath::from_url("%61=b/Gr%c3%bc%C3%9fe%201%2Etxt").unwrap(), plain);
        assert_eq!(plain.first_element(), "a=b");
        assert_eq!(plain.file_name(), "Grüße 1.txt");
    }

    #[test]
    fn percent_is_decoded_once() {
        assert_eq!(SlotPath::from_url("a/100%25%41.txt").unwrap().as_str(), "a/100%A.txt");
        assert_eq!(SlotPath::from_url("a/%252e%252e").unwrap().as_str(), "a/%2e%2e");
    }

    #[test]
    fn what_servers_sign_but_no_disk_should_hold_is_refused() {
        let refused = |path: &str| SlotPath::from_url(path).unwrap_err();
        assert_eq!(refused("uuid/.."), InvalidSlotPath::Dots);
        assert_eq!(refused("uuid/%2e%2E"), InvalidSlotPath::Dots);
        assert_eq!(refused("a/..%2F..%2Fetc/passwd"), InvalidSlotPath::Dots);
        assert_eq!(refused("uuid/."), InvalidSlotPath::Dots);
        assert_eq!(refused("uuid/"), InvalidSlotPath::Empty);
        assert_eq!(refused("/etc/passwd"), InvalidSlotPath::Empty);
        assert_eq!(refused(""), InvalidSlotPath::Empty);
        assert_eq!(refused("a/b%00c"), InvalidSlotPath::Nul);
        assert_eq!(refused("a/%ff"), InvalidSlotPath::NotUtf8);
        assert_eq!(refused(".hfs/meta.sqlite"), InvalidSlotPath::Reserved);
        assert_eq!(refused("%2ehfs/keys"), InvalidSlotPath::Reserved);
        assert_eq!(refused(&"a".repeat(MAX_BYTES + 1)), InvalidSlotPath::TooLong);
        assert_eq!(refused(&"%41".repeat(MAX_BYTES + 1)), InvalidSlotPath::TooLong);
    }

    proptest! {
        #[test]
        fn a_slot_never_leaves_the_root(encoded in "[a./%20efEF5c]{0,40}") {
            if let Ok(slot) = SlotPath::from_url(&encoded) {
                let joined = std::path::Path::new("/root").join(slot.as_str());
                prop_assert!(joined.components().all(|c| c != std::path::Component::ParentDir));
                prop_assert!(joined.starts_with("/root") && joined != std::path::Path::new("/root"));
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = SlotPath::from_url(&text);
        }

        #[test]
        fn a_decoded_slot_parses_to_itself(text in "[a-z./ %]{1,30}") {
            if let Ok(slot) = SlotPath::parse(&text) {
                prop_assert_eq!(slot.as_str(), text);
            }
        }
    }
}
