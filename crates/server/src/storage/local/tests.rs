//! What only the local store does: its files, its errors, its failures call by call.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hfs_core::{BlobId, ByteSize};

use super::call::Call::{Allocate, Create, Link, MakeDirectory, Sync, SyncDirectory, Write};
use super::testing::{Root, config, files_below};
use super::{BlobStore, LocalStore, OpenError, StoreError};
use crate::storage::conformance::{self, pattern, publish, put, read, settle, slot};
use crate::storage::faulty::{Faults, Faulty};
use crate::storage::{Attempt, Hints, Place, Published};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn local_conforms() {
    let roots = std::sync::Mutex::new(Vec::new());
    conformance::conforms(|| {
        let root = Root::new();
        let store = Arc::new(root.open());
        roots.lock().unwrap().push(root);
        store
    })
    .await;
}

#[tokio::test]
async fn local_behind_a_faultless_wrapper_conforms() {
    let roots = std::sync::Mutex::new(Vec::new());
    conformance::conforms(|| {
        let root = Root::new();
        let store = Arc::new(Faulty::new(root.open(), Faults::none()));
        roots.lock().unwrap().push(root);
        store
    })
    .await;
}

#[tokio::test]
async fn files_lie_at_their_slots_and_are_private() {
    let root = Root::new();
    let store = root.open();
    settle(put(&store, "user/slot/photo 1.jpg", b"jpeg").await).await;
    store.quiesce().await;
    assert_eq!(files_below(root.path()), [".hfs/claims", "user/slot/photo 1.jpg"]);
    for (path, mode) in [(".hfs", 0o700), ("user", 0o700), ("user/slot/photo 1.jpg", 0o600)] {
        assert_eq!(fs::metadata(root.path().join(path)).unwrap().permissions().mode() & 0o777, mode, "{path}");
    }
}

#[tokio::test]
async fn every_step_of_a_removal_shows_in_a_file_that_another_process_has_open() {
    let root = Root::new();
    let (store, other) = (root.open(), root.open());
    let published = put(&store, "a/b", b"bytes").await;
    let (place, id) = (published.place.clone(), BlobId::from_random([7; 16]));
    assert!(!other.open(&place).await.unwrap().is_untouched(), "it still has its first name, too");
    settle(published).await;
    store.quiesce().await;
    let before = other.open(&place).await.unwrap();
    assert!(before.is_untouched());
    store.condemn(&place, id).await.unwrap();
    assert!(!before.is_untouched() && !other.open(&place).await.unwrap().is_untouched());
    store.absolve(id).await.unwrap();
    let spared = other.open(&place).await.unwrap();
    assert!(spared.is_untouched());
    // Without the note, as on a full disk.
    store.remove(&place).await.unwrap();
    assert!(!spared.is_untouched());
}

#[tokio::test]
async fn names_that_are_too_long_lie_by_id() {
    let root = Root::new();
    let store = root.open();
    let mut writer = store.create(None, Hints::default()).await.unwrap();
    writer.write(Bytes::from_static(b"x")).await.unwrap();
    let id = writer.id().to_string();
    let place = settle(publish(&store, writer, &"n".repeat(256)).await).await;
    assert_eq!(place, Place::new(format!(".hfs/blobs/{}/{id}", &id[id.len() - 2..])));
}

#[tokio::test]
async fn nothing_leads_out_of_the_root() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), b"secret").unwrap();
    let root = Root::new();
    let store = root.open();
    std::os::unix::fs::symlink(outside.path(), root.path().join("link")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret"), root.path().join("secret")).unwrap();
    let above = format!("../{}/secret", outside.path().file_name().unwrap().to_str().unwrap());
    let absolute = outside.path().join("secret").to_str().unwrap().to_owned();
    for place in ["link/secret", "secret", &above, &absolute] {
        let place = Place::new(place);
        let opened = store.open(&place).await;
        assert!(matches!(opened, Err(StoreError::Missing { .. })), "{place}: {opened:?}");
        if place.as_str() != "secret" {
            let _ = store.remove(&place).await;
        }
    }
    for path in ["link/secret", "link/new", "secret"] {
        let place = settle(put(&store, path, b"ours").await).await;
        assert!(place.as_str().starts_with(".hfs/blobs/"), "{place}");
        assert_eq!(read(&store, &place).await, b"ours");
    }
    assert_eq!(files_below(outside.path()), ["secret"]);
    assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"secret");
}

#[tokio::test]
async fn devices_and_pipes_are_missing_and_do_not_hang() {
    let root = Root::new();
    let store = root.open();
    let tree = fs::File::open(root.path()).unwrap();
    rustix::fs::mkfifoat(&tree, "pipe", rustix::fs::Mode::RWXU).unwrap();
    fs::create_dir(root.path().join("directory")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.path().join("socket")).unwrap();
    for name in ["pipe", "directory", "socket"] {
        assert!(matches!(store.open(&Place::new(name)).await, Err(StoreError::Missing { .. })), "{name}");
    }
}

#[tokio::test]
async fn space_is_reserved_before_the_first_byte() {
    let root = Root::new();
    let store = root.open();
    let too_much = ByteSize::bytes(1 << 45);
    assert!(store.free().await.unwrap() < too_much);
    assert!(matches!(
        store.create(Some(too_much), Hints::default()).await,
        Err(StoreError::Full { .. } | StoreError::Io { .. })
    ));
    store.quiesce().await;
    assert_eq!(files_below(root.path()), [".hfs/claims"]);
}

#[tokio::test]
async fn empty_directories_go_with_their_last_file() {
    let root = Root::new();
    let store = root.open();
    let deep = settle(put(&store, "a/b/c/d", b"x").await).await;
    let sibling = settle(put(&store, "a/e", b"x").await).await;
    store.remove(&deep).await.unwrap();
    assert!(!root.path().join("a/b").exists());
    store.remove(&sibling).await.unwrap();
    assert!(!root.path().join("a").exists());
    assert!(root.path().exists());
}

#[tokio::test]
async fn two_processes_share_a_root() {
    let root = Root::new();
    let (old, new) = (root.open(), root.open());
    let claim = old.claim(&slot("a/b"), Duration::ZERO).await.unwrap();
    assert!(matches!(new.claim(&slot("a/b"), Duration::ZERO).await, Err(StoreError::Busy { .. })));
    drop(claim);
    let place = settle(put(&old, "a/b", b"old").await).await;
    assert_eq!(read(&new, &place).await, b"old");
}

#[tokio::test]
async fn a_late_or_cancelled_publication_keeps_its_claim_until_it_ends() {
    let root = Root::new();
    let store = root.open();
    let claim = store.claim(&slot("a/b"), Duration::ZERO).await.unwrap();
    let hold = claim.hold();
    drop(claim);
    assert!(matches!(store.claim(&slot("a/b"), Duration::ZERO).await, Err(StoreError::Busy { .. })));
    drop(hold);
    store.claim(&slot("a/b"), Duration::ZERO).await.unwrap();
}

/// One upload that takes every kind of system call: two writes, new directories.
async fn upload(store: &LocalStore) -> Result<Published, StoreError> {
    let bytes = pattern(300 << 10);
    let mut writer = store.create(Some(ByteSize::bytes(bytes.len() as u64)), Hints::default()).await?;
    writer.write(Bytes::copy_from_slice(&bytes[..280 << 10])).await?;
    writer.write(Bytes::copy_from_slice(&bytes[280 << 10..])).await?;
    let claim = store.claim(&slot("a/b/c"), Duration::ZERO).await?;
    writer.publish(&claim).await
}

#[tokio::test]
async fn every_system_call_of_an_upload_may_fail_and_leaves_nothing() {
    let root = Root::new();
    let store = root.open();
    store.0.seam.arm(None);
    let place = settle(upload(&store).await.unwrap()).await;
    store.remove(&place).await.unwrap();
    let calls = store.0.seam.seen();
    let expected = [
        Create,
        Allocate,
        Write,
        Write,
        Sync,
        MakeDirectory,
        MakeDirectory,
        Link,
        SyncDirectory,
        SyncDirectory,
        SyncDirectory,
    ];
    assert_eq!(calls, expected);
    for (nth, call) in calls.iter().enumerate() {
        for errno in [EIO, ENOSPC] {
            store.0.seam.arm(Some((nth, errno)));
            let error = upload(&store).await.unwrap_err();
            match errno {
                EIO => assert!(matches!(error, StoreError::Io { .. }), "{:?}: {error:?}", call),
                _ => assert!(matches!(error, StoreError::Full { .. }), "{:?}: {error:?}", call),
            }
            store.quiesce().await;
            assert_eq!(files_below(root.path()), [".hfs/claims"], "{:?}", call);
            assert!(!root.path().join("a").exists(), "{:?}", call);
            store.0.seam.arm(None);
            let place = settle(upload(&store).await.unwrap()).await;
            assert!(read(&store, &place).await == pattern(300 << 10), "the next upload works");
            store.remove(&place).await.unwrap();
            store.quiesce().await;
        }
    }
}

#[tokio::test]
async fn a_directory_of_unknown_durability_is_synced_once() {
    let root = Root::new();
    // By a process that was killed before it synced them.
    fs::create_dir_all(root.path().join("a/b")).unwrap();
    let store = root.open();
    let syncs_of = async |path: &str| {
        store.0.seam.arm(None);
        let place = settle(put(&store, path, b"x").await).await;
        let seen = store.0.seam.seen();
        (place, seen.into_iter().filter(|call| *call == SyncDirectory).count())
    };
    let (first, syncs) = syncs_of("a/b/1").await;
    assert_eq!(syncs, 3, "the root has a, a has b, b has the file");
    let (second, syncs) = syncs_of("a/b/2").await;
    assert_eq!(syncs, 1, "b has the file");
    for place in [first, second] {
        store.remove(&place).await.unwrap();
    }
    let (third, syncs) = syncs_of("a/b/3").await;
    assert_eq!(syncs, 3, "these are other directories");
    fs::create_dir_all(root.path().join("next/b")).unwrap();
    root.open().remove(&third).await.unwrap();
    fs::rename(root.path().join("next"), root.path().join("a")).unwrap();
    assert_eq!(syncs_of("a/b/4").await.1, 3, "so are these, which another process made");
}

#[tokio::test]
async fn every_system_call_of_a_replacement_may_fail() {
    let root = Root::new();
    let store = root.open();
    let replace = async || {
        let mut writer = store.create(None, Hints::default()).await?;
        writer.write(Bytes::from_static(b"new")).await?;
        let claim = store.claim(&slot("a/b"), Duration::ZERO).await?;
        writer.publish(&claim).await
    };
    settle(put(&store, "a/b", b"leftover").await).await;
    store.0.seam.arm(None);
    settle(replace().await.unwrap()).await;
    let calls = store.0.seam.seen();
    assert_eq!(calls, [Create, Write, Sync, Link, SyncDirectory]);
    for (nth, call) in calls.iter().enumerate() {
        store.0.seam.arm(None);
        settle(put(&store, "a/b", b"leftover").await).await;
        store.0.seam.arm(Some((nth, EIO)));
        replace().await.unwrap_err();
        store.quiesce().await;
        let mut expected = vec![".hfs/claims", "a/b"];
        if *call == SyncDirectory {
            // The leftover was replaced already, and the new name is taken back.
            expected.pop();
        }
        assert_eq!(files_below(root.path()), expected, "{call:?}");
    }
}

#[tokio::test]
async fn a_writer_that_failed_never_publishes() {
    let root = Root::new();
    let store = root.open();
    let mut writer = store.create(None, Hints::default()).await.unwrap();
    store.0.seam.arm(Some((0, EIO)));
    writer.write(pattern(300 << 10).into()).await.unwrap_err();
    store.0.seam.arm(None);
    writer.write(Bytes::from_static(b"more")).await.unwrap_err();
    let claim = store.claim(&slot("a/b"), Duration::ZERO).await.unwrap();
    writer.publish(&claim).await.unwrap_err();
    store.quiesce().await;
    assert_eq!(files_below(root.path()), [".hfs/claims"]);
}

#[tokio::test]
async fn a_slot_that_may_have_a_row_leaves_the_disk_and_the_writer_as_they_were() {
    let root = Root::new();
    let store = root.open();
    // Held in memory as a whole, and half on the disk.
    for size in [3, 300 << 10] {
        let (bytes, slot) = (pattern(size), slot(&format!("a/{size}")));
        let mut writer = store.create(Some(ByteSize::bytes(size as u64)), Hints::default()).await.unwrap();
        for piece in bytes.chunks(280 << 10) {
            writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        let claim = store.claim(&slot, Duration::ZERO).await.unwrap();
        store.0.seam.arm(None);
        let attempt = writer.publish_if_vacant(&claim, Box::new(|| false)).await.unwrap();
        assert_eq!(store.0.seam.seen(), []);
        let Attempt::Kept(writer) = attempt else { panic!("{attempt:?}") };
        let attempt = writer.publish_if_vacant(&claim, Box::new(|| true)).await.unwrap();
        let Attempt::Published(published) = attempt else { panic!("{attempt:?}") };
        assert!(read(&store, &settle(published).await).await == bytes);
    }
}

#[tokio::test]
async fn a_cancelled_write_poisons_its_writer() {
    let root = Root::new();
    let store = root.open();
    let mut writer = store.create(None, Hints::default()).await.unwrap();
    let disk = store.0.writes.hold();
    {
        let mut write = writer.write(pattern(300 << 10).into());
        let is_done = std::future::poll_fn(|cx| std::task::Poll::Ready(write.as_mut().poll(cx).is_ready())).await;
        assert!(!is_done, "the disk is busy");
    }
    drop(disk);
    writer.write(Bytes::from_static(b"more")).await.unwrap_err();
}

#[tokio::test]
async fn free_space_is_what_the_system_says() {
    let root = Root::new();
    let store = root.open();
    let status = rustix::fs::statvfs(root.path()).unwrap();
    let system = status.f_bavail * status.f_frsize;
    let free = store.free().await.unwrap().as_u64();
    assert!(free.abs_diff(system) < system / 4, "{free} and {system}");
    assert_eq!(store.free().await.unwrap().as_u64(), free, "remembered for a second");
}

#[test]
fn a_missing_root_is_made_and_found_again() {
    let above = tempfile::tempdir().unwrap();
    let path = above.path().join("a/b");
    let first = LocalStore::open(&config(&path)).unwrap();
    assert_eq!(first.root(), path);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    LocalStore::open(&config(&path)).unwrap();
    assert_eq!(files_below(&path), [".hfs/claims"]);
}

#[test]
fn roots_that_cannot_be_used_say_why() {
    let above = tempfile::tempdir().unwrap();
    let file = above.path().join("file");
    fs::write(&file, b"x").unwrap();
    assert!(matches!(LocalStore::open(&config(&file)), Err(OpenError::NotADirectory { path }) if path == file));
    let below = file.join("below");
    let error = LocalStore::open(&config(&below)).unwrap_err();
    assert_eq!(error.to_string(), format!("{} does not exist and cannot be created", below.display()));
    assert_eq!(fs::read(&file).unwrap(), b"x");
    let nowhere = LocalStore::open(&config(&PathBuf::from("/proc/none"))).unwrap_err();
    assert!(matches!(nowhere, OpenError::Create { .. }), "{nowhere}");
}

#[tokio::test]
async fn the_old_kernels_way_of_opening_agrees() {
    let root = Root::new();
    let store = root.open();
    settle(put(&store, "a/b/c", b"x").await).await;
    std::os::unix::fs::symlink("a", root.path().join("link")).unwrap();
    let tree = fs::File::open(root.path()).unwrap();
    let old = super::Tree::without_openat2(tree.into());
    for path in ["a", "a/b/c", "", "link/b/c", "link", "a/../a", "../x", "none/x", "/etc/passwd", "a/b/c/d"] {
        let flags = rustix::fs::OFlags::RDONLY;
        let (old, new) = (old.open(path, flags), store.0.tree.open(path, flags));
        // A `..` that stays inside is refused here and harmless there; no slot has one.
        assert!(old.is_ok() == new.is_ok() || path == "a/../a", "{path}: {old:?} {new:?}");
    }
}
