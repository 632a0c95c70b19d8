//! The proof of an upload: nobody without the key gets a grant, and with it only for what was signed.

use hfs_core::auth::{BodyLength, Head, Keyring, Proof, Secret, authorize, authorize_delete};
use hfs_core::{ByteSize, SlotPath, Timestamp};

/// The key that the corpus was signed with.
const CORPUS_KEY: &str = "test-vector-secret-0123456789";

/// What the MACs in the corpus sign. A mutation can change the request, but not make a MAC for another one.
const SIGNED: [(&str, u64); 3] =
    [("c1842/8f3a/report.pdf", 1_048_576), ("c1842/8f3a/Grüße 1.txt", 11), ("c1842/8f3a/notes.txt", 11)];

/// Five lines: query, `Authorization`, `Content-Type`, length of the body (anything but a number: not known), path.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.splitn(5, '\n');
    let mut line = || lines.next().filter(|line| !line.is_empty());
    let (query, authorization, content_type, length) = (line(), line(), line(), line());
    let Ok(slot) = SlotPath::from_url(line().unwrap_or_default()) else { return };
    let length = match length.and_then(|length| length.parse().ok()) {
        Some(bytes) => BodyLength::Known(ByteSize::bytes(bytes)),
        None => BodyLength::Unknown,
    };
    let head = Head { slot: &slot, query, authorization, content_type, length };
    let now = Timestamp::from_unix(1_800_000_000);

    let stranger = keyring("5dd0c8b4a1f34e7e9a55d2c6b7f80913");
    assert!(authorize(&head, &stranger, now).is_err(), "a grant without the key");
    assert!(authorize_delete(&head, &stranger).is_err(), "a deletion without the key");
    assert!(authorize(&head, &Keyring::default(), now).is_err(), "a grant without any key");

    let Ok(grant) = authorize(&head, &keyring(CORPUS_KEY), now) else { return };
    assert_eq!(grant.slot(), &slot);
    let size = grant.size().map(ByteSize::as_u64);
    match grant.proof() {
        Proof::V1 | Proof::V2 | Proof::Token => {
            assert!(SIGNED.iter().any(|(path, bytes)| *path == slot.as_str() && Some(*bytes) == size), "{grant:?}");
        }
        Proof::V3 => assert!(SIGNED.iter().any(|(path, _)| *path == slot.as_str()), "{grant:?}"),
        _ => {}
    }
}

fn keyring(key: &str) -> Keyring {
    Keyring {
        secrets: vec![Secret::new(key)],
        delete_secret: Some(Secret::new(key)),
        jwt_secret: Some(Secret::new(key)),
        ..Keyring::default()
    }
}
