//! Rows and files that are kept at hand: never longer than they are true, whoever changes them.

use std::fs;
use std::time::Duration;

use crate::rig::server::{SECRET, TestServer};
use crate::rig::{sign, wait_until};

const DELETE_SECRET: &str = "deletes-9f8e7d6c5b4a3928170f6e5d4c3b2a19";

#[test]
fn what_one_process_deletes_is_gone_in_another_at_once() {
    let builder = || TestServer::builder().set("security.delete_secret", &format!("{DELETE_SECRET:?}"));
    let deleting = builder().start();
    let serving = builder().storage(deleting.storage()).start();
    for number in 0..20 {
        let slot = format!("shared/{number}.txt");
        assert_eq!(deleting.put(&slot, b"some bytes").status, 201);
        for server in [&deleting, &serving] {
            keep_at_hand(server, &slot);
        }
        let deletion = format!("{}?{}", deleting.target(&slot), sign::delete(SECRET, DELETE_SECRET, &slot));
        assert_eq!(deleting.request("DELETE", &deletion, &[], None).status, 204);
        for server in [&serving, &deleting] {
            assert_eq!(server.get(&slot).status, 404, "{slot}");
            assert!(!holds(server, &slot), "{slot} still takes room on the disk");
        }
    }
}

#[test]
fn a_file_that_is_taken_away_or_replaced_is_noticed_at_once() {
    let server = TestServer::start();
    for slot in ["a/replaced.txt", "a/cut.txt", "a/removed.txt"] {
        assert_eq!(server.put(slot, b"before").status, 201);
        keep_at_hand(&server, slot);
    }
    let path = |slot: &str| server.storage().join(slot);
    fs::write(path("a/new"), b"behind").expect("a new file");
    fs::rename(path("a/new"), path("a/replaced.txt")).expect("replaced");
    assert_eq!(server.get("a/replaced.txt").body, b"behind");
    fs::write(path("a/cut.txt"), b"short").expect("cut");
    fs::remove_file(path("a/removed.txt")).expect("removed");
    for slot in ["a/cut.txt", "a/removed.txt"] {
        assert_eq!(server.get(slot).status, 500, "{slot}");
    }
}

/// Asks for a slot until the server keeps its file open.
fn keep_at_hand(server: &TestServer, slot: &str) {
    // Not before the upload's own name among the temporaries is gone, which happens in the background.
    wait_until("open file", Duration::from_secs(10), || {
        assert_eq!(server.get(slot).status, 200, "{slot}");
        holds(server, slot)
    });
}

fn holds(server: &TestServer, slot: &str) -> bool {
    let folder = format!("/proc/{}/fd", server.pid().as_raw_nonzero());
    let open = fs::read_dir(folder).expect("descriptors").filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let name = server.storage().join(slot).display().to_string();
    // A removed file's name goes on with " (deleted)".
    open.into_iter().any(|file| file.display().to_string().starts_with(&name))
}
