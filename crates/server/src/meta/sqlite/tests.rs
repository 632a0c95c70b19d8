//! What SQLite adds to the cases that every store passes: durability, rivals, errors of the engine.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use hfs_core::BlobId;
use rusqlite::Connection;
use tempfile::TempDir;

use super::schema::open_writer;
use super::{OpenError, SqliteMeta, rows};
use crate::meta::conformance::{conformance_tests, sample, tombstone};
use crate::meta::{Entry, Farewell, MetaError, MetaStore, Record, Recorded};

fn fresh() -> (TempDir, SqliteMeta) {
    let folder = tempfile::tempdir().unwrap();
    let meta = SqliteMeta::open(&database(&folder)).unwrap();
    (folder, meta)
}

fn database(folder: &TempDir) -> PathBuf {
    folder.path().join(".hfs/meta.sqlite")
}

/// Another program's hands on the same file.
fn raw(folder: &TempDir) -> Connection {
    Connection::open(database(folder)).unwrap()
}

async fn live(meta: &SqliteMeta, record: &Record) -> bool {
    meta.lookup(&record.slot).await.unwrap() == Some(Entry::Live(record.clone()))
}

conformance_tests!(fresh);

#[tokio::test]
async fn rows_survive_reopening() {
    let (folder, meta) = fresh();
    let (kept, gone) = (sample("kept", 1), sample("gone", 2));
    meta.record(kept.clone()).await.unwrap();
    meta.record(gone.clone()).await.unwrap();
    meta.bury(&gone.slot, gone.id, tombstone(5, Farewell::Deleted)).await.unwrap();
    meta.set_note("adopted", "yes").await.unwrap();
    drop(meta);
    let meta = SqliteMeta::open(&database(&folder)).unwrap();
    assert!(live(&meta, &kept).await);
    assert_eq!(meta.lookup(&gone.slot).await.unwrap(), Some(Entry::Gone(tombstone(5, Farewell::Deleted))));
    assert_eq!(meta.note("adopted").await.unwrap().as_deref(), Some("yes"));
    assert_eq!(meta.verify().await.unwrap(), Vec::<String>::new());
}

#[test]
fn rows_of_ids_as_they_are_drawn_change_fewer_pages() {
    let pages = |id: fn(Duration, [u8; 16]) -> BlobId| {
        let folder = tempfile::tempdir().unwrap();
        let connection = open_writer(&database(&folder)).unwrap();
        let insert = |numbers: Range<u64>| {
            connection.execute_batch("BEGIN").unwrap();
            for number in numbers {
                let mut random = [0; 16];
                aws_lc_rs::rand::fill(&mut random).unwrap();
                let record = sample(&format!("{number:06}"), number);
                let id = id(Duration::from_millis(1_700_000_000_000 + number / 4), random);
                assert_eq!(rows::insert(&connection, &Record { id, ..record }).unwrap(), Recorded::Inserted);
            }
            connection.execute_batch("COMMIT").unwrap();
        };
        insert(0..3000);
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        (0..10).for_each(|commit| insert(3000 + 15 * commit..3015 + 15 * commit));
        // A header of the log's own, and of each page in it: https://sqlite.org/fileformat2.html#the_write_ahead_log
        (fs::metadata(database(&folder).with_extension("sqlite-wal")).unwrap().len() - 32) / (4096 + 24)
    };
    let (random, drawn) = (pages(|_, random| BlobId::from_random(random)), pages(BlobId::drawn));
    // A page of their index for nearly each row, beside those that the table needs.
    assert!(2 * drawn < random, "{drawn} and {random} pages for 150 rows");
}

#[tokio::test]
async fn closing_folds_the_log_into_the_database() {
    let (folder, meta) = fresh();
    meta.record(sample("s", 1)).await.unwrap();
    assert!(live(&meta, &sample("s", 1)).await);
    drop(meta);
    let names: Vec<_> = fs::read_dir(folder.path().join(".hfs")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["meta.sqlite"]);
}

#[tokio::test]
async fn every_file_is_for_its_owner_alone() {
    let (folder, meta) = fresh();
    meta.record(sample("s", 1)).await.unwrap();
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(folder.path().join(".hfs")), 0o700);
    for name in ["meta.sqlite", "meta.sqlite-wal", "meta.sqlite-shm"] {
        assert_eq!(mode(folder.path().join(".hfs").join(name)), 0o600, "{name}");
    }
}

#[tokio::test]
async fn the_log_is_synced_at_every_commit() {
    let (_folder, meta) = fresh();
    let settings = meta.writer.run("test", |connection| {
        let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        let synchronous: i64 = connection.pragma_query_value(None, "synchronous", |row| row.get(0))?;
        let limit: i64 = connection.pragma_query_value(None, "journal_size_limit", |row| row.get(0))?;
        Ok((mode, synchronous, limit))
    });
    assert_eq!(settings.await.unwrap(), ("wal".to_owned(), 2, 64 << 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_processes_that_race_for_a_slot_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(&folder);
    // Opened at the same time, as at a first start that overlaps another.
    let open = |path: PathBuf| tokio::task::spawn_blocking(move || SqliteMeta::open(&path).unwrap());
    let (one, two) = tokio::join!(open(path.clone()), open(path));
    let (one, two) = (one.unwrap(), two.unwrap());
    for round in 0..50 {
        let (a, b) = (sample(&format!("s{round}"), 1000 + round), sample(&format!("s{round}"), 2000 + round));
        let (first, second) = tokio::join!(one.record(a.clone()), two.record(b.clone()));
        match (first.unwrap(), second.unwrap()) {
            (Recorded::Inserted, Recorded::Taken(entry)) => assert_eq!(entry, Entry::Live(a)),
            (Recorded::Taken(entry), Recorded::Inserted) => assert_eq!(entry, Entry::Live(b)),
            both => panic!("{both:?}"),
        }
    }
    assert_eq!(one.page(None, 100).await.unwrap(), two.page(None, 100).await.unwrap());
}

#[test]
fn two_processes_may_start_at_once_on_an_empty_folder() {
    for _ in 0..30 {
        let folder = tempfile::tempdir().unwrap();
        let (path, gate) = (database(&folder), std::sync::Barrier::new(4));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    gate.wait();
                    SqliteMeta::open(&path).unwrap();
                });
            }
        });
    }
}

#[tokio::test]
async fn sixty_four_waiting_records_share_two_commits() {
    let (folder, meta) = fresh();
    let rival = raw(&folder);
    rival.execute_batch("BEGIN IMMEDIATE").unwrap();
    let before = meta.commits();
    let all: Vec<_> = (0..64).map(|n| meta.record(sample(&format!("s{n}"), n))).collect();
    let mut tasks = all.into_iter().map(Box::pin).collect::<Vec<_>>();
    // One poll puts each into the queue; the rival's lock keeps the writer from committing any.
    for task in &mut tasks {
        let polled = std::future::poll_fn(|context| std::task::Poll::Ready(task.as_mut().poll(context).is_ready()));
        assert!(!polled.await);
    }
    rival.execute_batch("COMMIT").unwrap();
    for task in tasks {
        assert_eq!(task.await.unwrap(), Recorded::Inserted);
    }
    let commits = meta.commits() - before;
    assert!((1..=2).contains(&commits), "{commits} commits");
    assert_eq!(meta.page(None, 100).await.unwrap().len(), 64);
}

#[tokio::test]
async fn a_slot_is_vacant_where_that_is_seen_at_once_and_nothing_is_known_of_it() {
    let (_folder, meta) = fresh();
    let (live, gone, other) = (sample("live", 1), sample("gone", 2), sample("other", 3).slot);
    assert!(!meta.is_vacant(&other), "nobody has opened a connection yet");
    assert_eq!(meta.lookup(&other).await.unwrap(), None);
    assert!(meta.is_vacant(&other) && meta.is_vacant(&live.slot) && meta.is_vacant(&gone.slot));
    meta.record(live.clone()).await.unwrap();
    meta.record(gone.clone()).await.unwrap();
    meta.bury(&gone.slot, gone.id, tombstone(5, Farewell::Expired)).await.unwrap();
    assert!(meta.is_vacant(&other) && !meta.is_vacant(&live.slot) && !meta.is_vacant(&gone.slot));
}

#[tokio::test]
async fn a_bad_operation_fails_alone() {
    let (folder, meta) = fresh();
    meta.record(sample("first", 1)).await.unwrap();
    let rival = raw(&folder);
    rival.execute_batch("BEGIN IMMEDIATE").unwrap();
    let before = meta.commits();
    let (good, bad, late) = (sample("good", 2), sample("bad", 1), sample("late", 3));
    let release = async { rival.execute_batch("COMMIT").unwrap() };
    let (good_end, bad_end, late_end, ()) =
        tokio::join!(meta.record(good.clone()), meta.record(bad.clone()), meta.record(late.clone()), release);
    assert_eq!((good_end.unwrap(), late_end.unwrap()), (Recorded::Inserted, Recorded::Inserted));
    assert!(matches!(bad_end, Err(MetaError::Backend { .. })));
    assert_eq!(meta.lookup(&bad.slot).await.unwrap(), None);
    assert!(meta.commits() - before <= 2);
}

#[tokio::test]
async fn a_failed_commit_fails_its_whole_batch_and_the_next_works() {
    let (folder, meta) = fresh();
    let rival = raw(&folder);
    rival
        .execute_batch(
            "CREATE TABLE parent (id INTEGER PRIMARY KEY);
             CREATE TABLE child (id INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
             BEGIN IMMEDIATE",
        )
        .unwrap();
    // A deferred foreign key that dangles: the statement passes, COMMIT does not.
    let dangling = meta.writer.run("test", |connection| connection.execute("INSERT INTO child VALUES (1)", []));
    let release = async { rival.execute_batch("COMMIT").unwrap() };
    let (dangling, record, ()) = tokio::join!(dangling, meta.record(sample("s", 1)), release);
    assert!(matches!(dangling, Err(MetaError::Backend { .. })));
    // Both were queued while the rival held the lock, so they shared the transaction.
    assert!(matches!(record, Err(MetaError::Backend { .. })));
    assert_eq!(meta.lookup(&sample("s", 1).slot).await.unwrap(), None);
    assert_eq!(meta.record(sample("t", 2)).await.unwrap(), Recorded::Inserted);
}

#[tokio::test]
async fn an_io_error_makes_the_writer_reopen_before_it_answers() {
    let (_folder, meta) = fresh();
    let broken = meta.writer.run("test", |connection| {
        connection.execute("INSERT INTO note VALUES ('lost', 'x')", [])?;
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC);
        Err::<(), _>(rusqlite::Error::SqliteFailure(code, None))
    });
    assert!(matches!(broken.await, Err(MetaError::Backend { .. })));
    assert_eq!(meta.note("lost").await.unwrap(), None);
    assert_eq!(meta.note("meta.reopened").await.unwrap().as_deref(), Some("1"));
    assert_eq!(meta.record(sample("s", 1)).await.unwrap(), Recorded::Inserted);
}

#[tokio::test]
async fn what_never_began_was_certainly_not_written() {
    let (folder, meta) = fresh();
    // The writer loses its database, and finds something else in its place until that is mended.
    let (path, away) = (database(&folder), folder.path().join("away"));
    let broken = meta.writer.run("test", {
        let (path, away) = (path.clone(), away.clone());
        move |_| {
            fs::rename(&path, &away).unwrap();
            fs::create_dir(&path).unwrap();
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_WRITE);
            Err::<(), _>(rusqlite::Error::SqliteFailure(code, None))
        }
    });
    assert!(matches!(broken.await, Err(MetaError::Backend { .. })), "there is room: nobody knows");
    assert!(matches!(meta.record(sample("s", 1)).await, Err(MetaError::Unavailable { .. })));
    fs::remove_dir(&path).unwrap();
    fs::rename(&away, &path).unwrap();
    assert_eq!(meta.record(sample("s", 1)).await.unwrap(), Recorded::Inserted);
}

#[tokio::test]
async fn a_full_disk_is_told_apart_and_passes() {
    let (_folder, meta) = fresh();
    let limit = |pages: &'static str| {
        meta.writer.run("test", move |connection| {
            connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |row| row.get::<_, i64>(0))
        })
    };
    // A limit below the present size means the present size.
    limit("1").await.unwrap();
    let mut stored = Vec::new();
    let refused = loop {
        let record =
            Record { media_type: "x".repeat(2000), ..sample(&format!("s{}", stored.len()), stored.len() as u64) };
        match meta.record(record.clone()).await {
            Ok(outcome) => assert_eq!(outcome, Recorded::Inserted),
            Err(error) => break (record, error),
        }
        stored.push(record);
        assert!(stored.len() < 100, "the limit never bit");
    };
    assert!(matches!(refused.1, MetaError::Full { .. }), "{:?}", refused.1);
    assert_eq!(meta.lookup(&refused.0.slot).await.unwrap(), None);
    for record in &stored {
        assert!(live(&meta, record).await);
    }
    limit("1000000").await.unwrap();
    assert_eq!(meta.record(refused.0.clone()).await.unwrap(), Recorded::Inserted);
    assert!(live(&meta, &refused.0).await);
    assert_eq!(meta.verify().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_lock_that_is_never_released_is_busy() {
    let (folder, meta) = fresh();
    meta.writer.run("test", |connection| connection.busy_timeout(Duration::ZERO)).await.unwrap();
    let rival = raw(&folder);
    rival.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(matches!(meta.record(sample("s", 1)).await, Err(MetaError::Busy)));
    assert_eq!(meta.lookup(&sample("s", 1).slot).await.unwrap(), None);
    rival.execute_batch("COMMIT").unwrap();
    // Without patience, any lock of a moment is in the way: a reader's that closes, a checkpoint's.
    let mut again = Err(MetaError::Busy);
    for _ in 0..1_000 {
        again = meta.record(sample("s", 1)).await;
        if !matches!(again, Err(MetaError::Busy)) {
            break;
        }
    }
    assert_eq!(again.unwrap(), Recorded::Inserted);
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let (folder, meta) = fresh();
    drop(meta);
    raw(&folder).pragma_update(None, "user_version", 99).unwrap();
    let before = fs::read(database(&folder)).unwrap();
    let error = SqliteMeta::open(&database(&folder)).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 99, known: 4, .. }), "{error:?}");
    assert!(error.to_string().ends_with("has schema version 99, this server knows up to 4: run the newer server"));
    assert_eq!(fs::read(database(&folder)).unwrap(), before);
}

#[test]
fn a_database_of_another_program_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join(".hfs")).unwrap();
    raw(&folder).execute_batch("CREATE TABLE recipes (name TEXT)").unwrap();
    let before = fs::read(database(&folder)).unwrap();
    assert!(matches!(SqliteMeta::open(&database(&folder)), Err(OpenError::Foreign { .. })));
    assert_eq!(fs::read(database(&folder)).unwrap(), before);
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join(".hfs")).unwrap();
    let text = "not a database, though long enough to be one\n".repeat(100);
    fs::write(database(&folder), &text).unwrap();
    let error = SqliteMeta::open(&database(&folder)).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("is damaged or no database"), "{error}");
    assert_eq!(fs::read_to_string(database(&folder)).unwrap(), text);
}

#[tokio::test]
async fn damage_inside_is_found_by_verify() {
    let (folder, meta) = fresh();
    for n in 0..200 {
        meta.record(sample(&format!("slot-{n}"), n)).await.unwrap();
    }
    drop(meta);
    let mut bytes = fs::read(database(&folder)).unwrap();
    let page = bytes.len() - 4096;
    bytes[page..page + 200].fill(0xa5);
    fs::write(database(&folder), bytes).unwrap();
    // Either the check lists what is wrong, or it is so wrong that it cannot be read: never "whole".
    let meta = SqliteMeta::open(&database(&folder)).unwrap();
    assert!(!meta.verify().await.is_ok_and(|findings| findings.is_empty()));
}

#[tokio::test]
async fn a_slot_both_live_and_gone_is_found_by_verify() {
    let (folder, meta) = fresh();
    meta.record(sample("s", 1)).await.unwrap();
    raw(&folder).execute_batch("INSERT INTO gone VALUES ('s', 1, 'expired')").unwrap();
    assert_eq!(meta.verify().await.unwrap(), ["s is both live and gone"]);
}

#[tokio::test]
async fn a_missing_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".hfs"), "a file").unwrap();
    let error = SqliteMeta::open(&database(&folder)).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }) && error.to_string().contains(".hfs"), "{error}");
}

#[tokio::test]
async fn the_indices_serve_their_queries() {
    let (folder, _meta) = fresh();
    let plan = |sql: &str| {
        let connection = raw(&folder);
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let lines = statement.query_map([], |row| row.get::<_, String>(3)).unwrap();
        lines.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    };
    let expired = plan("SELECT * FROM blob WHERE expires <= 5 ORDER BY expires, slot LIMIT 3");
    assert!(expired.contains("blob_expires") && !expired.contains("TEMP B-TREE"), "{expired}");
    assert!(plan("SELECT * FROM blob WHERE slot > 'a' ORDER BY slot LIMIT 3").contains("PRIMARY KEY"));
    assert!(plan("SELECT * FROM blob WHERE id = x'00'").contains("sqlite_autoindex"));
    assert!(plan("SELECT * FROM blob WHERE owner = 'x'").contains("blob_owner"));
}
