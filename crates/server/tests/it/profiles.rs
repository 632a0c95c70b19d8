//! What is learnt about clients outlives the process, and never stands in its way.

use std::process::Command;
use std::time::Duration;

use crate::rig::server::TestServer;
use crate::rig::wait_until;

const MOMENT: Duration = Duration::from_secs(20);
const KNOWN: &str = "What was learnt about clients is known again";

/// A download that teaches something about this machine.
fn transfer(server: &TestServer, slot: &str) {
    let body = vec![7; 300_000];
    assert_eq!(server.put(slot, &body).status, 201);
    assert!(server.get(slot).body == body);
}

/// The two lines of the log that contain `what`, once they are there: it is written behind.
fn lines(server: &TestServer, what: &str) -> Vec<String> {
    let found = || server.log().lines().filter(|line| line.contains(what)).map(str::to_owned).collect::<Vec<_>>();
    wait_until("two lines of the log", MOMENT, || found().len() == 2);
    found()
}

#[test]
fn what_was_learnt_about_a_client_is_known_after_a_restart() {
    let mut server = TestServer::start();
    transfer(&server, "a/1.bin");
    let ends = lines(&server, " finished ");
    assert!(ends.iter().all(|line| !line.contains("quality=\"unknown\"")), "{ends:?}");
    server.terminate();
    server.restart();
    let known = lines(&server, KNOWN);
    assert!(known[0].contains("clients=0") && known[1].contains("clients=1"), "{known:?}");
    server.assert_whole();
}

#[test]
fn a_server_whose_table_of_profiles_is_gone_serves_as_before() {
    let mut server = TestServer::start();
    transfer(&server, "a/1.bin");
    server.terminate();
    let database = server.storage().join(".hfs/meta.sqlite");
    let dropped = Command::new("sqlite3").arg(&database).arg("DROP TABLE profile").status().expect("sqlite3");
    assert!(dropped.success());
    server.restart();
    transfer(&server, "a/2.bin");
    wait_until("the word that nothing is kept", MOMENT, || server.log().contains("is not kept"));
    assert_eq!(server.get("a/1.bin").status, 200);
    server.terminate();
    server.restart();
    assert_eq!(server.get("a/2.bin").status, 200, "its row was not in the way of that table");
}
