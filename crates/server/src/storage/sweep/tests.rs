//! What processes leave when they die at each point of an upload, and what a sweep makes of it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use hfs_core::{ByteSize, SlotPath};

use super::*;
use crate::app::App;
use crate::http::testing::test_config;
use crate::meta::faulty::FaultyMeta;
use crate::meta::memory::MemoryMeta;
use crate::meta::{Entry, Farewell, Tombstone};
use crate::storage::Hints;
use crate::storage::conformance::{publish, put, read, record, settle, slot};
use crate::storage::local::testing::{Root, files_below};
use crate::telemetry::metrics::Metrics;

/// What a process does before it dies: dropping the store ends its leases, as its death would.
struct Fixture {
    root: Root,
    rows: MemoryMeta,
}

impl Fixture {
    fn new() -> Self {
        Self { root: Root::new(), rows: MemoryMeta::new() }
    }

    fn record(&self, record: Record) {
        self.rows.put(&record.slot.clone(), Entry::Live(record));
    }

    async fn sweep(&self) -> Swept {
        sweep(&self.root.open(), &self.rows, Reach::Tree).await.unwrap()
    }

    /// Two recorded blobs of equal bytes that a program has made one file: the rows of `a/one` and `a/other`.
    async fn linked_pair(&self) -> (LocalStore, [Record; 2]) {
        let store = self.root.open();
        let mut rows = Vec::new();
        for path in ["a/one", "a/other"] {
            let mut writer = store.create(None, Hints::default()).await.unwrap();
            writer.write(Bytes::from_static(b"equal")).await.unwrap();
            rows.push(record(writer.id(), path, path, 5));
            settle(publish(&store, writer, path).await).await;
        }
        store.quiesce().await;
        rows.iter().for_each(|row| self.record(row.clone()));
        let [one, other] = ["a/one", "a/other"].map(|path| self.root.path().join(path));
        fs::remove_file(&other).unwrap();
        fs::hard_link(&one, &other).unwrap();
        (store, rows.try_into().unwrap())
    }

    /// A removal, as far as its tombstone.
    async fn begin_removal(&self, store: &LocalStore, row: &Record) {
        store.condemn(&row.place, row.id).await.unwrap();
        let tombstone = Tombstone { at: row.stored_at, reason: Farewell::Deleted };
        assert!(self.rows.bury(&row.slot, row.id, tombstone).await.unwrap());
    }

    fn temporaries(&self) -> Vec<String> {
        files_below(&self.root.path().join(".hfs/tmp"))
    }
}

/// A second name of a temporary: what is left when its writer dies without a chance to clean up.
fn die(root: &Path, id: BlobId) {
    let own = root.join(format!(".hfs/tmp/{id}"));
    let kept = root.join("kept");
    fs::hard_link(&own, &kept).unwrap();
    fs::write(root.join("kept-name"), id.to_string()).unwrap();
}

fn revive(root: &Path) {
    let name = fs::read_to_string(root.join("kept-name")).unwrap();
    fs::rename(root.join("kept"), root.join(".hfs/tmp").join(name)).unwrap();
    fs::remove_file(root.join("kept-name")).unwrap();
}

#[tokio::test]
async fn running_uploads_are_left_alone() {
    let fixture = Fixture::new();
    let store = fixture.root.open();
    let mut writer = store.create(None, Hints::default()).await.unwrap();
    writer.write(Bytes::from_static(b"half")).await.unwrap();
    assert_eq!(fixture.sweep().await, Swept { living: 1, ..Swept::default() });
    let place = settle(publish(&store, writer, "a/b").await).await;
    assert_eq!(read(&store, &place).await, b"half");
}

#[tokio::test]
async fn a_broken_upload_of_a_dead_process_goes() {
    let fixture = Fixture::new();
    let store = fixture.root.open();
    let writer = store.create(Some(ByteSize::mib(1)), Hints::default()).await.unwrap();
    die(fixture.root.path(), writer.id());
    drop(writer);
    store.quiesce().await;
    drop(store);
    revive(fixture.root.path());
    assert_eq!(fixture.temporaries().len(), 1);
    assert_eq!(fixture.sweep().await, Swept { orphans: 1, ..Swept::default() });
    assert_eq!(fixture.temporaries(), [""; 0]);
}

#[tokio::test]
async fn a_removal_that_was_cut_short_is_ended() {
    let fixture = Fixture::new();
    let store = fixture.root.open();
    let mut writer = store.create(None, Hints::default()).await.unwrap();
    writer.write(Bytes::from_static(b"deleted")).await.unwrap();
    let id = writer.id();
    let place = settle(publish(&store, writer, "a/b").await).await;
    store.quiesce().await;

    store.condemn(&place, id).await.unwrap();
    fixture.record(record(id, "a/b", place.as_str(), 7));
    assert_eq!(fixture.sweep().await, Swept { settled: 1, ..Swept::default() }, "with its row, it stays");
    assert_eq!(read(&store, &place).await, b"deleted");

    store.condemn(&place, id).await.unwrap();
    fixture.rows.forget(&SlotPath::parse("a/b").unwrap()).expect("a row");
    assert_eq!(fixture.sweep().await, Swept { retracted: 1, ..Swept::default() }, "without, it goes");
    assert!(matches!(store.open(&place).await, Err(StoreError::Missing { .. })));
    assert_eq!(fixture.temporaries(), [""; 0]);
}

#[tokio::test]
async fn a_removal_right_after_the_upload_is_ended_too() {
    let fixture = Fixture::new();
    let store = fixture.root.open();
    let published = put(&store, "a/b", b"deleted").await;
    let id: BlobId = fixture.temporaries().remove(0).parse().unwrap();
    // The temporary's own name goes only after the removal was noted.
    store.condemn(&published.place, id).await.unwrap();
    let place = settle(published).await;
    store.quiesce().await;
    assert!(!store.open(&place).await.unwrap().is_untouched(), "no process keeps it at hand");
    assert_eq!(fixture.sweep().await, Swept { retracted: 1, ..Swept::default() });
    assert_eq!(files_below(fixture.root.path()), [".hfs/claims"]);
}

#[tokio::test]
async fn a_removal_that_is_cut_short_beside_another_of_the_same_blob_is_ended() {
    let fixture = Fixture::new();
    let store = fixture.root.open();
    let writer = store.create(None, Hints::default()).await.unwrap();
    let row = record(writer.id(), "a/b", "a/b", 0);
    settle(publish(&store, writer, "a/b").await).await;
    store.quiesce().await;
    fixture.record(row.clone());

    // One process writes its tombstone and dies; the other has found the row before that.
    store.condemn(&row.place, row.id).await.unwrap();
    let tombstone = Tombstone { at: row.stored_at, reason: Farewell::Expired };
    assert!(fixture.rows.bury(&row.slot, row.id, tombstone).await.unwrap());
    let (other, rows) = (Arc::new(store), Arc::new(fixture.rows.clone()));
    let app = App::of_parts(test_config(|_| {}), other, rows, Arc::new(Metrics::new()));
    assert!(!app.bury(&row, Farewell::Deleted).await.unwrap());

    assert_eq!(fixture.sweep().await, Swept { retracted: 1, ..Swept::default() });
    assert_eq!(files_below(fixture.root.path()), [".hfs/claims"]);
}

#[tokio::test]
async fn a_committed_upload_only_loses_its_temporary_name() {
    let fixture = Fixture::new();
    let store = fixture.root.open();
    let mut writer = store.create(None, Hints::default()).await.unwrap();
    writer.write(Bytes::from_static(b"safe")).await.unwrap();
    let id = writer.id();
    let published = publish(&store, writer, "a/b").await;
    fixture.record(record(id, "a/b", published.place.as_str(), 4));
    drop(published);
    drop(store);
    assert_eq!(fixture.sweep().await, Swept { settled: 1, ..Swept::default() });
    assert_eq!(fixture.temporaries(), [""; 0]);
    assert_eq!(read(&fixture.root.open(), &Place::new("a/b")).await, b"safe");
}

#[tokio::test]
async fn what_was_published_and_never_recorded_goes_under_all_its_names() {
    let fixture = Fixture::new();
    let store = fixture.root.open();
    let long = format!("a/{}", "n".repeat(300));
    for path in ["a/b", "c/d/e", &long] {
        drop(put(&store, path, b"unacknowledged").await);
    }
    let bystander = settle(put(&store, "a/other", b"recorded").await).await;
    store.quiesce().await;
    drop(store);
    assert_eq!(fixture.sweep().await, Swept { retracted: 3, ..Swept::default() });
    assert_eq!(files_below(fixture.root.path()), [".hfs/claims", "a/other"]);
    assert!(!fixture.root.path().join("c").exists(), "empty directories go too");
    assert_eq!(read(&fixture.root.open(), &bystander).await, b"recorded");
}

#[tokio::test]
async fn an_unresolved_publication_is_left_to_its_living_process() {
    let fixture = Fixture::new();
    let store = fixture.root.open();
    drop(put(&store, "a/b", b"its row may still come").await);
    assert_eq!(sweep(&store, &fixture.rows, Reach::Tree).await.unwrap(), Swept { living: 1, ..Swept::default() });
    assert_eq!(fixture.sweep().await, Swept { living: 1, ..Swept::default() });
    drop(store);
    assert_eq!(fixture.sweep().await, Swept { retracted: 1, ..Swept::default() });
}

#[tokio::test]
async fn a_leftover_that_was_replaced_does_not_take_its_successor_along() {
    let fixture = Fixture::new();
    let store = fixture.root.open();
    drop(put(&store, "a/b", b"leftover").await);
    let place = settle(put(&store, "a/b", b"new").await).await;
    store.quiesce().await;
    drop(store);
    assert_eq!(fixture.sweep().await, Swept { orphans: 1, ..Swept::default() });
    assert_eq!(read(&fixture.root.open(), &place).await, b"new");
}

#[tokio::test]
async fn a_replacement_that_died_half_way_leaves_no_second_name() {
    let fixture = Fixture::new();
    let store = fixture.root.open();
    drop(put(&store, "a/b", b"x").await);
    drop(store);
    let tmp = fixture.root.path().join(".hfs/tmp");
    let own = fixture.temporaries().remove(0);
    fs::hard_link(tmp.join(&own), tmp.join(format!("{own}.link"))).unwrap();
    let swept = fixture.sweep().await;
    assert_eq!(swept, Swept { orphans: 1, retracted: 1, ..Swept::default() });
    assert_eq!(files_below(fixture.root.path()), [".hfs/claims"]);
}

#[tokio::test]
async fn the_last_copy_of_a_recorded_blob_gets_its_name_back() {
    let fixture = Fixture::new();
    let store = fixture.root.open();
    let mut writer = store.create(None, Hints::default()).await.unwrap();
    writer.write(Bytes::from_static(b"precious")).await.unwrap();
    let id = writer.id();
    drop(publish(&store, writer, "a/b").await);
    fixture.record(record(id, "a/b", "a/b", 8));
    drop(store);
    fs::remove_dir_all(fixture.root.path().join("a")).unwrap();
    assert_eq!(fixture.sweep().await, Swept { settled: 1, ..Swept::default() });
    assert_eq!(fixture.temporaries(), [""; 0]);
    assert_eq!(read(&fixture.root.open(), &Place::new("a/b")).await, b"precious");
}

#[tokio::test]
async fn a_hard_link_elsewhere_does_not_hide_that_a_name_is_lost() {
    let fixture = Fixture::new();
    let store = fixture.root.open();
    let mut writer = store.create(None, Hints::default()).await.unwrap();
    writer.write(Bytes::from_static(b"precious")).await.unwrap();
    let id = writer.id();
    let place = publish(&store, writer, "a/b").await.place;
    fixture.record(record(id, "a/b", place.as_str(), 8));
    drop(store);
    fs::rename(fixture.root.path().join("a/b"), fixture.root.path().join("backup")).unwrap();
    assert_eq!(fixture.sweep().await, Swept { settled: 1, ..Swept::default() });
    assert_eq!(read(&fixture.root.open(), &place).await, b"precious");
}

#[tokio::test]
async fn a_place_that_cannot_be_looked_at_keeps_no_other_temporary_from_being_swept() {
    let fixture = Fixture::new();
    let store = fixture.root.open();
    let writer = store.create(None, Hints::default()).await.unwrap();
    fixture.record(record(writer.id(), "a/b", "no\0name", 0));
    let id = writer.id();
    drop(publish(&store, writer, "a/b").await);
    drop(store);
    fs::write(fixture.root.path().join(".hfs/tmp").join("0".repeat(32)), b"half").unwrap();
    assert_eq!(fixture.sweep().await, Swept { orphans: 1, failed: 1, ..Swept::default() });
    assert_eq!(fixture.temporaries(), [id.to_string()]);
}

#[tokio::test]
async fn what_is_removed_while_a_sweep_restores_it_stays_removed() {
    let fixture = Fixture::new();
    let store = fixture.root.open();
    let writer = store.create(None, Hints::default()).await.unwrap();
    let record = record(writer.id(), "a/b", "a/b", 0);
    drop(publish(&store, writer, "a/b").await);
    drop(store);
    fs::remove_file(fixture.root.path().join("a/b")).unwrap();

    let store = fixture.root.open();
    let Ok(Lease::Dead(dead)) = store.lease(record.id.to_string()).await else { panic!("its writer is dead") };
    let mut swept = Swept::default();
    // The row that was there at the first look is gone.
    restore(&store, &fixture.rows, dead, &record, &mut swept).await.unwrap();
    assert_eq!(swept, Swept { orphans: 1, ..Swept::default() });
    assert_eq!(files_below(fixture.root.path()), [".hfs/claims"]);
}

#[tokio::test]
async fn the_last_copy_of_a_recorded_blob_is_kept_where_another_file_has_its_place() {
    let fixture = Fixture::new();
    let store = fixture.root.open();
    let writer = store.create(None, Hints::default()).await.unwrap();
    let id = writer.id();
    drop(publish(&store, writer, "a/b").await);
    fixture.record(record(id, "a/b", "a/b", 0));
    drop(store);
    fs::remove_file(fixture.root.path().join("a/b")).unwrap();
    fs::write(fixture.root.path().join("a/b"), b"someone's").unwrap();
    assert_eq!(fixture.sweep().await, Swept { failed: 1, ..Swept::default() });
    assert_eq!(fixture.temporaries(), [id.to_string()]);
    assert_eq!(fs::read(fixture.root.path().join("a/b")).unwrap(), b"someone's");
}

#[tokio::test]
async fn a_removal_that_was_cut_short_takes_no_file_that_another_row_has() {
    // It died before it gave up its name, or after.
    for is_removed in [false, true] {
        let fixture = Fixture::new();
        let (store, [one, other]) = fixture.linked_pair().await;
        fixture.begin_removal(&store, &one).await;
        let mut swept = Swept { retracted: 1, ..Swept::default() };
        if is_removed {
            store.remove(&one.place).await.unwrap();
            swept = Swept { orphans: 1, ..Swept::default() };
        }
        assert_eq!(fixture.sweep().await, swept);
        assert_eq!(read(&store, &other.place).await, b"equal");
        assert_eq!(files_below(fixture.root.path()), [".hfs/claims", "a/other"]);
    }
}

#[tokio::test]
async fn of_equal_files_that_are_all_removed_none_is_left() {
    let fixture = Fixture::new();
    let (store, rows) = fixture.linked_pair().await;
    for row in &rows {
        fixture.begin_removal(&store, row).await;
    }
    // The notes are names of one file, so a sweep can lease one of them.
    for living in [1, 0] {
        assert_eq!(fixture.sweep().await, Swept { retracted: 1, living, ..Swept::default() });
    }
    assert_eq!(files_below(fixture.root.path()), [".hfs/claims"]);
}

#[tokio::test]
async fn what_lies_where_another_row_has_its_place_stays() {
    let fixture = Fixture::new();
    let store = fixture.root.open();
    let rival: BlobId = "0".repeat(32).parse().unwrap();
    drop(put(&store, "a/b", b"bytes").await);
    fixture.record(record(rival, "a/b", "a/b", 5));
    store.quiesce().await;
    drop(store);
    assert_eq!(fixture.sweep().await, Swept { orphans: 1, ..Swept::default() });
    assert_eq!(fixture.temporaries(), [""; 0]);
    assert_eq!(read(&fixture.root.open(), &Place::new("a/b")).await, b"bytes");
}

#[tokio::test]
async fn names_that_no_upload_could_give_are_left_to_whoever_gave_them() {
    let fixture = Fixture::new();
    let store = fixture.root.open();
    drop(put(&store, "a/b", b"unacknowledged").await);
    store.quiesce().await;
    drop(store);
    let root = fixture.root.path();
    let others = [OsStr::new(".metadata/backup"), OsStr::from_bytes(b"latin-\xe9")].map(|name| root.join(name));
    for other in &others {
        fs::create_dir_all(other.parent().unwrap()).unwrap();
        fs::hard_link(root.join("a/b"), other).unwrap();
    }
    assert_eq!(fixture.sweep().await, Swept { retracted: 1, ..Swept::default() });
    assert!(!root.join("a/b").exists() && others.iter().all(|other| other.exists()));
}

#[tokio::test]
async fn nothing_is_removed_while_the_rows_cannot_be_asked() {
    let fixture = Fixture::new();
    let store = fixture.root.open();
    drop(put(&store, "a/b", b"unacknowledged").await);
    store.quiesce().await;
    drop(store);
    let rows = FaultyMeta::new(fixture.rows.clone());
    // The first is about the blob, the second about who has its name.
    rows.fail_read(2);
    assert!(matches!(sweep(&fixture.root.open(), &rows, Reach::Tree).await, Err(SweepError::Meta(_))));
    assert!(fixture.root.path().join("a/b").exists() && fixture.temporaries().len() == 1);
    assert_eq!(rows.lookup(&slot("a/b")).await.unwrap(), None);
    assert_eq!(fixture.sweep().await, Swept { retracted: 1, ..Swept::default() });
}

#[tokio::test]
async fn a_start_waits_for_a_walk_only_before_a_first_adoption() {
    let (root, rows) = (Root::new(), MemoryMeta::new());
    let store = root.open();
    assert_eq!(Reach::of_start(&store, &rows).await, Reach::Temporaries);
    store.adoption_is_due().await.unwrap();
    assert_eq!(Reach::of_start(&store, &rows).await, Reach::Tree);
    rows.set_note("adopted", "1").await.unwrap();
    assert_eq!(Reach::of_start(&store, &rows).await, Reach::Temporaries, "parts were unreadable then");
}

#[tokio::test]
async fn without_a_walk_broken_uploads_go_and_what_was_published_waits() {
    let fixture = Fixture::new();
    let (store, tmp) = (fixture.root.open(), fixture.root.path().join(".hfs/tmp"));
    fs::write(tmp.join("0".repeat(32)), "broken").unwrap();
    fs::write(tmp.join("1".repeat(32)), "published").unwrap();
    fs::hard_link(tmp.join("1".repeat(32)), fixture.root.path().join("left")).unwrap();
    let swept = sweep(&store, &fixture.rows, Reach::Temporaries).await.unwrap();
    assert_eq!(swept, Swept { orphans: 1, ..Swept::default() });
    assert!(fixture.root.path().join("left").exists() && fixture.temporaries() == ["1".repeat(32)]);
    assert_eq!(fixture.sweep().await, Swept { retracted: 1, ..Swept::default() });
}
