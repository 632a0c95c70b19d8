//! Names below the root: what is ours, and which slot paths can be file names.

use hfs_core::{BlobId, SlotPath};

use super::Place;

/// Everything of ours lies below it; no [`SlotPath`] begins with it.
pub(super) const OURS: &str = ".hfs";
/// Temporaries, below [`OURS`].
pub(super) const TEMPORARIES: &str = "tmp";
/// Lock file of the claims, below [`OURS`]. Made last: its presence says that the folder is ours.
pub(super) const CLAIMS: &str = "claims";
/// Present while a foreign tree still has to be adopted, below [`OURS`].
pub(super) const ADOPTION_DUE: &str = "adoption-due";
/// Folder of what is held back for a full disk, below [`OURS`].
pub(super) const RESERVE: &str = "reserve";
/// Root of the blobs whose slot path is no file name.
pub(super) const BY_ID: &str = ".hfs/blobs";
/// What a second name of a temporary ends with, while it replaces a leftover.
pub(super) const SECOND_NAME: &str = ".link";

/// What follows a blob's id in the name of the note that it is being removed, among the temporaries. A name of its own:
/// the temporary of a blob that was committed a moment ago may still have its id, and soon goes.
pub(super) const REMOVAL: &str = ".removal";

/// Longest file name of every common file system.
const MAX_NAME: usize = 255;
/// More directories than any XMPP server's slots have; each one costs a descriptor while a blob is published.
const MAX_DEPTH: usize = 32;

/// The place that a slot path names, if a file can lie there.
pub(super) fn by_name(slot: &SlotPath) -> Option<Place> {
    let mut depth = 0;
    for name in slot.as_str().split('/') {
        depth += 1;
        if name.len() > MAX_NAME {
            return None;
        }
    }
    (depth <= MAX_DEPTH).then(|| Place::new(slot.as_str()))
}

/// The place of a blob whose slot path is no file name. Ids begin with the time and end by chance, so it is their end that
/// spreads them over folders. (Earlier versions went by the beginning: a row says where its blob lies.)
pub(super) fn by_id(id: BlobId) -> Place {
    let id = id.to_string();
    Place::new(format!("{BY_ID}/{}/{id}", &id[id.len() - 2..]))
}

/// Which blob a name among the temporaries is about; `None` for other names of ours.
pub(super) fn blob_of(temporary: &str) -> Option<BlobId> {
    temporary.strip_suffix(REMOVAL).unwrap_or(temporary).parse().ok()
}

/// Directory and name of a relative path; the directory is empty at the root.
pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_file_system_holds_lie_by_id() {
        let place = |path: &str| by_name(&SlotPath::parse(path).unwrap());
        assert_eq!(place("a/b.txt"), Some(Place::new("a/b.txt")));
        assert_eq!(place(&format!("a/{}", "b".repeat(255))).map(|p| p.as_str().len()), Some(257));
        assert_eq!(place(&format!("a/{}", "b".repeat(256))), None);
        assert_eq!(place(&format!("{}/b", "ü".repeat(128))), None);
        assert_eq!(place(&["d"; 33].join("/")), None);
        let mut bytes = [0xab; 16];
        bytes[15] = 0xcd;
        let id = BlobId::from_random(bytes);
        assert_eq!(by_id(id).as_str(), format!(".hfs/blobs/cd/{id}"));
    }
}
