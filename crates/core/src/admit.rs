//! [`decide`]: may this upload start now?
//!
//! Pure. Called by `upload::put` between the proof ([`Grant`]) and the first byte; the [`Admission`] it returns is
//! the only thing that `upload::ingest` takes, so that neither step can be forgotten.

use crate::ByteSize;
use crate::auth::Grant;
use crate::media;

/// What the operator allows. Owned by `[server]` and `[uploads]`.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Largest file, when there is a limit.
    pub max_size: Option<ByteSize>,
    /// Allowed file-name extensions, lower case, without the dot. Empty allows all.
    pub extensions: Vec<String>,
    /// Space that must stay free on the store after the upload.
    pub min_free: ByteSize,
}

/// What the store and the request say right now.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Free bytes on the store, when it can tell.
    pub free: Option<ByteSize>,
    /// Length of the body, when the request announces it.
    pub announced: Option<ByteSize>,
}

/// Permission to receive one body now.
#[derive(Debug)]
pub struct Admission {
    grant: Box<Grant>,
    size: Option<ByteSize>,
    ceiling: Option<ByteSize>,
}

impl Admission {
    /// The proof this rests on.
    #[must_use]
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The exact length the body must have, when it is known beforehand.
    #[must_use]
    pub fn size(&self) -> Option<ByteSize> {
        self.size
    }

    /// The most that a body of unknown length may bring.
    #[must_use]
    pub fn ceiling(&self) -> Option<ByteSize> {
        self.ceiling
    }
}

/// Why an upload with a good proof may not start.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Over the operator's limit.
    #[error("at most {max} per file")]
    TooLarge {
        /// That limit.
        max: ByteSize,
    },
    /// The body's length is not the one that was signed.
    #[error("the slot is for {signed}, not {announced}")]
    OtherSize {
        /// Length in the proof.
        signed: ByteSize,
        /// Length in the request.
        announced: ByteSize,
    },
    /// `[uploads] allowed_extensions` does not list it.
    #[error("files {} are not allowed here", spell(extension))]
    Extension {
        /// Lower case, without the dot; empty when the name has none.
        extension: String,
    },
    /// The store would fall below its floor of free space.
    #[error("no space left")]
    NoSpace,
}

fn spell(extension: &str) -> String {
    if extension.is_empty() { "without an extension".to_owned() } else { format!("named .{extension}") }
}

/// Decides whether the upload may start. The grant comes in a box: it goes through several futures, and each keeps room
/// for what it hands on.
///
/// # Errors
/// The first limit that it breaks, cheapest to explain first: size, name, space.
pub fn decide(grant: Box<Grant>, usage: Usage, limits: &Limits) -> Result<Admission, Refusal> {
    if let (Some(signed), Some(announced)) = (grant.size(), usage.announced)
        && signed != announced
    {
        return Err(Refusal::OtherSize { signed, announced });
    }
    let size = usage.announced.or(grant.size());
    if let (Some(max), Some(size)) = (limits.max_size, size)
        && size > max
    {
        return Err(Refusal::TooLarge { max });
    }
    let extension = media::extension(grant.slot().file_name());
    if !limits.extensions.is_empty() && !limits.extensions.contains(&extension) {
        return Err(Refusal::Extension { extension });
    }
    if let Some(free) = usage.free {
        let needed = limits.min_free.as_u64().saturating_add(size.unwrap_or(ByteSize::ZERO).as_u64());
        if free.as_u64() < needed {
            return Err(Refusal::NoSpace);
        }
    }
    Ok(Admission { grant, size, ceiling: limits.max_size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SlotPath;
    use proptest::prelude::*;

    fn grant(path: &str, signed: Option<u64>) -> Box<Grant> {
        Box::new(Grant::for_test(SlotPath::parse(path).unwrap(), signed.map(ByteSize::bytes)))
    }

    fn usage(announced: Option<u64>, free: Option<u64>) -> Usage {
        Usage { free: free.map(ByteSize::bytes), announced: announced.map(ByteSize::bytes) }
    }

    #[test]
    fn without_limits_everything_is_admitted() {
        let admission = decide(grant("a/b", None), usage(None, None), &Limits::default()).unwrap();
        assert_eq!((admission.size(), admission.ceiling()), (None, None));
        assert_eq!(admission.grant().slot().as_str(), "a/b");
    }

    #[test]
    fn the_size_is_the_announced_or_else_the_signed_one() {
        let size = |signed, announced| {
            decide(grant("a/b", signed), usage(announced, None), &Limits::default()).map(|admission| admission.size())
        };
        assert_eq!(size(None, Some(5)), Ok(Some(ByteSize::bytes(5))));
        assert_eq!(size(Some(5), None), Ok(Some(ByteSize::bytes(5))));
        assert_eq!(size(Some(0), Some(0)), Ok(Some(ByteSize::ZERO)));
        let refusal = Refusal::OtherSize { signed: ByteSize::bytes(5), announced: ByteSize::bytes(6) };
        assert_eq!(size(Some(5), Some(6)), Err(refusal));
    }

    #[test]
    fn the_largest_file_is_admitted_and_one_byte_more_is_not() {
        let limits = Limits { max_size: Some(ByteSize::bytes(100)), ..Limits::default() };
        let decide = |signed, announced| decide(grant("a/b", signed), usage(announced, None), &limits);
        let too_large = Refusal::TooLarge { max: ByteSize::bytes(100) };
        assert_eq!(decide(None, Some(100)).unwrap().ceiling(), Some(ByteSize::bytes(100)));
        assert_eq!(decide(None, Some(101)).unwrap_err(), too_large);
        // A chunked body that may only become too large is refused before it is sent.
        assert_eq!(decide(Some(101), None).unwrap_err(), too_large);
        // Of unknown length: the ceiling is left to whoever receives it.
        assert_eq!(decide(None, None).unwrap().ceiling(), Some(ByteSize::bytes(100)));
    }

    #[test]
    fn only_listed_extensions_are_admitted() {
        let limits = Limits { extensions: vec!["jpg".into(), "gz".into()], ..Limits::default() };
        let decide = |path| decide(grant(path, None), usage(Some(1), None), &limits);
        for fine in ["a/b.jpg", "a/B.JPG", "a/b.tar.gz"] {
            assert!(decide(fine).is_ok(), "{fine}");
        }
        for (other, text) in [
            ("a/b.exe", "files named .exe are not allowed here"),
            ("a/b.jpg.exe", "files named .exe are not allowed here"),
            ("a/b", "files without an extension are not allowed here"),
            ("a.jpg/b", "files without an extension are not allowed here"),
            ("a/.jpg", "files without an extension are not allowed here"),
        ] {
            assert_eq!(decide(other).unwrap_err().to_string(), text, "{other}");
        }
    }

    #[test]
    fn the_floor_of_free_space_holds_after_the_upload() {
        let limits = Limits { min_free: ByteSize::bytes(50), ..Limits::default() };
        let decide = |announced, free| decide(grant("a/b", None), usage(announced, free), &limits).map(|_| ());
        assert_eq!(decide(Some(10), Some(60)), Ok(()));
        assert_eq!(decide(Some(10), Some(59)), Err(Refusal::NoSpace));
        assert_eq!(decide(None, Some(49)), Err(Refusal::NoSpace));
        assert_eq!(decide(Some(u64::MAX), Some(u64::MAX - 1)), Err(Refusal::NoSpace));
        // A store that cannot tell is believed to have room.
        assert_eq!(decide(Some(10), None), Ok(()));
    }

    #[test]
    fn the_cheapest_explanation_comes_first() {
        let limits = Limits {
            max_size: Some(ByteSize::bytes(10)),
            extensions: vec!["jpg".into()],
            min_free: ByteSize::bytes(50),
        };
        let refusal = |signed, announced| decide(grant("a/b", signed), usage(announced, Some(0)), &limits).unwrap_err();
        assert!(matches!(refusal(Some(5), Some(20)), Refusal::OtherSize { .. }));
        assert!(matches!(refusal(None, Some(20)), Refusal::TooLarge { .. }));
        assert!(matches!(refusal(None, Some(5)), Refusal::Extension { .. }));
    }

    proptest! {
        #[test]
        fn an_admitted_upload_fits_everywhere(
            signed: Option<u64>, announced: Option<u64>, free: Option<u64>, max: Option<u64>, min_free: u64,
        ) {
            let limits =
                Limits { max_size: max.map(ByteSize::bytes), min_free: ByteSize::bytes(min_free), extensions: vec![] };
            if let Ok(admission) = decide(grant("a/b", signed), usage(announced, free), &limits) {
                let size = admission.size().unwrap_or(ByteSize::ZERO).as_u64();
                prop_assert!(max.is_none_or(|max| size <= max));
                prop_assert!(signed.is_none_or(|signed| size == signed));
                prop_assert!(free.is_none_or(|free| u128::from(size) + u128::from(min_free) <= u128::from(free)));
            }
        }
    }
}
