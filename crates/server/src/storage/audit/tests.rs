//! Trees and rows that disagree, one finding at a time.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::*;
use crate::meta::Entry;
use crate::meta::memory::MemoryMeta;
use crate::storage::Hints;
use crate::storage::conformance::{publish, put, record, settle, slot};
use crate::storage::local::testing::Root;

async fn store_recorded(store: &LocalStore, rows: &MemoryMeta, path: &str, bytes: &'static [u8]) {
    let mut writer = store.create(None, Hints { digest: true, ..Hints::default() }).await.unwrap();
    writer.write(Bytes::from_static(bytes)).await.unwrap();
    let id = writer.id();
    let published = publish(store, writer, path).await;
    let integrity = Integrity::Digested(published.digest.unwrap());
    let record = Record { integrity, ..record(id, path, published.place.as_str(), bytes.len() as u64) };
    rows.put(&slot(path), Entry::Live(record));
    settle(published).await;
}

async fn findings(store: &LocalStore, rows: &MemoryMeta) -> (Audited, Vec<String>) {
    let mut found = Vec::new();
    let audited = audit(store, rows, Depth::Digests, &mut |finding| found.push(finding.to_string())).await.unwrap();
    found.sort();
    (audited, found)
}

#[tokio::test]
async fn a_store_in_use_is_whole() {
    let (root, rows) = (Root::new(), MemoryMeta::new());
    let store = root.open();
    let long = format!("a/{}", "n".repeat(300));
    for path in ["a/b", "c", &long] {
        store_recorded(&store, &rows, path, b"bytes").await;
    }
    let writer = store.create(None, Hints::default()).await.unwrap();
    let unresolved = put(&store, "a/publishing", b"x").await;
    std::os::unix::fs::symlink("/etc", root.path().join("etc")).unwrap();
    store.quiesce().await;
    let (audited, found) = findings(&store, &rows).await;
    assert_eq!(found, [""; 0]);
    assert_eq!(audited, Audited { rows: 3, files: 4, foreign: 1, running: 2, digests: 3, findings: 0 });
    assert!(audited.is_whole());
    drop((writer, unresolved));
}

/// Earlier versions took the folder from the beginning of the id.
#[tokio::test]
async fn a_blob_lies_where_its_row_says_also_in_another_folder_than_today() {
    let (root, rows) = (Root::new(), MemoryMeta::new());
    let store = root.open();
    let (path, id) = ("n".repeat(300), BlobId::from_random([0xab; 16]));
    let place = format!(".hfs/blobs/00/{id}");
    fs::create_dir_all(root.path().join(".hfs/blobs/00")).unwrap();
    fs::write(root.path().join(&place), b"bytes").unwrap();
    rows.put(&slot(&path), Entry::Live(record(id, &path, &place, 5)));
    let (audited, found) = findings(&store, &rows).await;
    assert_eq!((found, audited.rows, audited.files), (vec![], 1, 1));
    store.remove(&Place::new(place.as_str())).await.unwrap();
    assert!(!root.path().join(&place).exists());
}

#[tokio::test]
async fn every_disagreement_is_reported() {
    let (root, rows) = (Root::new(), MemoryMeta::new());
    let store = root.open();
    for path in ["a/whole", "a/changed", "a/missing", "a/short"] {
        store_recorded(&store, &rows, path, b"bytes").await;
    }
    fs::remove_file(root.path().join("a/missing")).unwrap();
    fs::write(root.path().join("a/changed"), b"bytez").unwrap();
    fs::write(root.path().join("a/short"), b"byt").unwrap();
    fs::write(root.path().join("a/leftover"), b"x").unwrap();
    fs::write(root.path().join(".hfs/tmp/0123"), b"x").unwrap();
    settle(put(&store, &"n".repeat(300), b"x").await).await;
    store.quiesce().await;
    let (audited, found) = findings(&store, &rows).await;
    assert_eq!(audited, Audited { rows: 4, files: 5, foreign: 0, running: 0, digests: 2, findings: 6 });
    assert!(!audited.is_whole());
    assert!(found[0].starts_with(".hfs/blobs/") && found[0].ends_with(": a file of 1 B without a row"), "{found:?}");
    assert_eq!(found[1], ".hfs/tmp/0123: the temporary of a dead server");
    assert_eq!(
        found[2..],
        [
            "a/changed: the bytes are not those that were received",
            "a/leftover: a file of 1 B without a row",
            "a/missing: recorded, but there is no file a/missing",
            "a/short: recorded with 5 bytes, but the file has 3",
        ]
    );
}

#[tokio::test]
async fn uploads_and_removals_meanwhile_are_no_findings() {
    let (root, rows) = (Root::new(), MemoryMeta::new());
    let store = root.open();
    let rounds = std::sync::Arc::new(AtomicUsize::new(0));
    let traffic = tokio::spawn({
        let (store, rows, rounds) = (store.clone(), rows.clone(), std::sync::Arc::clone(&rounds));
        async move {
            for round in 0.. {
                rounds.store(round, Ordering::Relaxed);
                let path = format!("d{}/f{round}", round % 7);
                store_recorded(&store, &rows, &path, b"bytes").await;
                let Some(Entry::Live(removed)) = rows.forget(&slot(&path)) else { panic!("{path} has a row") };
                if round % 2 == 0 {
                    store.remove(&removed.place).await.unwrap();
                } else {
                    rows.put(&slot(&path), Entry::Live(removed));
                }
            }
        }
    });
    while rounds.load(Ordering::Relaxed) < 3 {
        assert_eq!(findings(&store, &rows).await.1, [""; 0]);
        assert!(!traffic.is_finished(), "{:?}", traffic.await);
    }
    traffic.abort();
}
