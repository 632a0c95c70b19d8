//! The path of a URL: whatever becomes a slot stays below the root and is one slot in every spelling.

use std::path::{Component, Path};

use hfs_core::SlotPath;

/// `data` is an encoded path without its leading slash.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = SlotPath::parse(text).map(|slot| check(&slot));
    let Ok(slot) = SlotPath::from_url(text) else { return };
    check(&slot);
    let every_byte_encoded: String = slot.as_str().bytes().map(|byte| format!("%{byte:02x}")).collect();
    assert_eq!(SlotPath::from_url(&every_byte_encoded), Ok(slot.clone()));
    assert_eq!(SlotPath::parse(slot.as_str()), Ok(slot));
}

fn check(slot: &SlotPath) {
    let path = Path::new(slot.as_str());
    assert!(path.components().all(|part| matches!(part, Component::Normal(_))), "{slot:?}");
    assert_eq!(path.components().count(), slot.as_str().split('/').count(), "{slot:?}");
    assert!(!slot.as_str().contains('\0') && !slot.file_name().is_empty() && !slot.first_element().is_empty());
    assert!(slot.as_str().len() <= 2048);
}
