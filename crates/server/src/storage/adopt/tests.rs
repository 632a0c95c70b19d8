//! Trees of another server, and what of them gets a row.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, SystemTime};

use super::*;
use crate::meta::faulty::{Fault, FaultyMeta};
use crate::meta::memory::MemoryMeta;
use crate::meta::{Entry, Farewell, Tombstone};
use crate::storage::conformance::{put, settle, slot};
use crate::storage::local::testing::Root;
use crate::storage::sweep::{Reach, Swept, sweep};

const HASH: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
/// When the files of the other server were written.
const THEN: i64 = 1_700_000_000;

fn write(root: &Root, path: &str, bytes: &[u8]) {
    let file = root.path().join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, bytes).unwrap();
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(THEN.unsigned_abs());
    fs::File::options().write(true).open(&file).unwrap().set_modified(then).unwrap();
}

fn now() -> Timestamp {
    Timestamp::from_unix(THEN + 1_000)
}

async fn run(root: &Root, rows: &MemoryMeta) -> (Option<Adopted>, Vec<String>) {
    let meta: Arc<dyn MetaStore> = Arc::new(rows.clone());
    let mut skipped = Vec::new();
    let adopted = adopt_if_due(&root.open(), &meta, now(), &mut |skip| skipped.push(skip.to_string())).await.unwrap();
    skipped.sort();
    (adopted, skipped)
}

#[tokio::test]
async fn a_foreign_tree_is_adopted_once_in_place() {
    let (root, rows) = (Root::new(), MemoryMeta::new());
    write(&root, &format!("{HASH}/random/photo.jpg"), b"jpeg");
    write(&root, "uuid/notes.txt", b"text");
    write(&root, "uuid/photo.thumb.jpg", b"thumbnail");
    write(&root, ".upload_sessions/sess_1/chunk_0", b"chunk");
    write(&root, ".metadata/metadata.db", b"sqlite");
    let (adopted, skipped) = run(&root, &rows).await;
    assert_eq!(adopted, Some(Adopted { files: 3, size: ByteSize::bytes(17), known: 0, skipped: 0 }));
    assert_eq!(skipped, [""; 0]);

    let photo = slot(&format!("{HASH}/random/photo.jpg"));
    let Some(Entry::Live(record)) = rows.lookup(&photo).await.unwrap() else { panic!("no row") };
    assert_eq!(record.place.as_str(), photo.as_str());
    assert_eq!((record.size, record.stored_at), (ByteSize::bytes(4), Timestamp::from_unix(THEN)));
    assert_eq!(record.media_type, "image/jpeg");
    assert_eq!(record.owner, Some(Owner::JidSha1(HASH.to_owned())));
    assert_eq!((record.integrity, record.proof, record.expires), (Integrity::Unknown, None, None));

    write(&root, "uuid/later.txt", b"never silently");
    assert_eq!(run(&root, &rows).await.0, None);
    assert_eq!(rows.lookup(&slot("uuid/later.txt")).await.unwrap(), None);
}

#[tokio::test]
async fn an_empty_or_known_folder_needs_no_adoption() {
    let (root, rows) = (Root::new(), MemoryMeta::new());
    assert_eq!(run(&root, &rows).await.0, None);
    write(&root, "a/leftover", b"x");
    assert_eq!(run(&root, &rows).await.0, None);
}

#[tokio::test]
async fn what_cannot_be_adopted_is_reported() {
    let (root, rows) = (Root::new(), MemoryMeta::new());
    write(&root, "a/old", b"x");
    write(&root, "a/fresh", b"x");
    let fresh = fs::File::options().write(true).open(root.path().join("a/fresh")).unwrap();
    fresh.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(THEN.unsigned_abs() + 900)).unwrap();
    fs::write(root.path().join(std::ffi::OsStr::from_bytes(b"latin-\xe9")), b"x").unwrap();
    std::os::unix::fs::symlink("/etc", root.path().join("a/etc")).unwrap();
    let (adopted, skipped) = run(&root, &rows).await;
    assert_eq!(adopted, Some(Adopted { files: 1, size: ByteSize::bytes(1), known: 0, skipped: 3 }));
    assert_eq!(
        skipped,
        [
            "a/etc is not a regular file",
            "a/fresh changed less than 120 s before the adoption, or since: adopt again to pick it up",
            "latin-\u{fffd} cannot be a slot"
        ]
    );
}

#[tokio::test]
async fn what_was_left_is_adopted_later_as_it_was_then() {
    let (root, rows) = (Root::new(), MemoryMeta::new());
    write(&root, "a/known", b"x");
    assert_eq!(run(&root, &rows).await.0.unwrap().files, 1);
    // As if these could not be read then; something else came since.
    for path in ["left/old", "left/deep/old", "file"] {
        write(&root, path, b"x");
    }
    let store = root.open();
    settle(put(&store, "left/leftover", b"ours, from a crash").await).await;
    write(&root, "other/later", b"never silently");
    rows.set_note(LEFT, &note_of(&["left".into(), "file".into(), "gone".into()])).await.unwrap();
    store.adoption_is_due().await.unwrap();

    let (adopted, skipped) = run(&root, &rows).await;
    assert_eq!(adopted, Some(Adopted { files: 3, size: ByteSize::bytes(3), known: 0, skipped: 1 }));
    assert!(skipped[0].starts_with("left/leftover changed"), "{skipped:?}");
    for absent in ["left/leftover", "other/later"] {
        assert_eq!(rows.lookup(&slot(absent)).await.unwrap(), None, "{absent}");
    }
    assert_eq!(run(&root, &rows).await.0, None, "nothing is left");
}

#[test]
fn what_is_left_is_noted_by_path() {
    let left: Vec<PathBuf> = ["a/b", "new\nline", "c"].map(PathBuf::from).to_vec();
    assert_eq!(parts(&note_of(&left)), left);
    assert_eq!(parts(&note_of(&[])), [""; 0].map(PathBuf::from));
    let many = vec![PathBuf::from("x"); MOST_LEFT + 1];
    assert_eq!(parts(&note_of(&many)), [PathBuf::new()], "the whole tree again");
}

#[tokio::test]
async fn an_interrupted_adoption_goes_on() {
    let (root, rows) = (Root::new(), MemoryMeta::new());
    for n in 0..600 {
        write(&root, &format!("d{n}/f"), b"x");
    }
    let full = FaultyMeta::new(rows.clone());
    full.fail_write(401, Fault::Full);
    let meta: Arc<dyn MetaStore> = Arc::new(full);
    adopt_if_due(&root.open(), &meta, now(), &mut |_| {}).await.unwrap_err();
    let adopted = run(&root, &rows).await.0.unwrap();
    assert!(adopted.files > 0 && adopted.known > 0 && adopted.files + adopted.known == 600, "{adopted:?}");
    assert_eq!(run(&root, &rows).await.0, None);
}

#[tokio::test]
async fn by_command_it_takes_what_is_new_but_nothing_that_is_gone_or_on_its_way() {
    let (root, rows) = (Root::new(), MemoryMeta::new());
    let store = root.open();
    write(&root, "a/new", b"x");
    write(&root, "a/gone", b"x");
    rows.put(&slot("a/gone"), Entry::Gone(Tombstone { at: now(), reason: Farewell::Expired }));
    let publishing = put(&store, "a/publishing", b"x").await;
    let meta: Arc<dyn MetaStore> = Arc::new(rows.clone());
    let much_later = Timestamp::from_unix(i64::MAX);
    let mut skipped = Vec::new();
    let adopted = adopt(&store, &meta, much_later, &mut |skip| skipped.push(skip)).await.unwrap();
    assert_eq!((adopted.files, adopted.known, adopted.skipped), (1, 1, 1));
    assert!(matches!(&skipped[..], [Skipped::Fresh(path)] if path == Path::new("a/publishing")));
    drop(publishing);
}

#[tokio::test]
async fn what_is_being_adopted_is_not_swept() {
    let (root, rows) = (Root::new(), MemoryMeta::new());
    let store = root.open();
    write(&root, "a/left", b"of a crash");
    fs::hard_link(root.path().join("a/left"), root.path().join(".hfs/tmp").join("0".repeat(32))).unwrap();
    let meta = Arc::new(FaultyMeta::new(rows.clone()));
    meta.fail_write(1, Fault::Stuck);
    let stuck = Arc::<FaultyMeta<_>>::clone(&meta) as Arc<dyn MetaStore>;
    let adoption = tokio::spawn(async move { adopt(&store, &stuck, now(), &mut |_| {}).await.map(drop) });
    while meta.failures_left() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(sweep(&root.open(), &rows, Reach::Tree).await.unwrap(), Swept { living: 1, ..Swept::default() });
    assert!(root.path().join("a/left").exists(), "its row is on the way");
    adoption.abort();
}
