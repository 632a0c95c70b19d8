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
    some_lines(server, what, 2)
}

fn some_lines(server: &TestServer, what: &str, count: usize) -> Vec<String> {
    let found = || server.log().lines().filter(|line| line.contains(what)).map(str::to_owned).collect::<Vec<_>>();
    wait_until(&format!("{count} lines of the log"), MOMENT, || found().len() == count);
    found()
}

/// What sqlite3 says to `statement` about the server's database.
#[track_caller]
fn sql(server: &TestServer, statement: &str) -> String {
    let database = server.storage().join(".hfs/meta.sqlite");
    let output = Command::new("sqlite3").args(["-cmd", ".timeout 5000"]).arg(&database).arg(statement).output();
    let output = output.expect("sqlite3");
    assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
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
fn what_was_learnt_outlives_a_kill_and_is_forgotten_when_its_time_is_over() {
    let mut server = TestServer::builder().set("performance.profile_persistence_duration", "\"2h\"").start();
    transfer(&server, "a/1.bin");
    wait_until("a row of the client", MOMENT, || sql(&server, "SELECT count(*) FROM profile") == "1");
    server.kill();
    server.restart();
    assert!(some_lines(&server, KNOWN, 2)[1].contains("clients=1"));
    server.terminate();
    for (age, clients, starts) in [("-7100", 1, 3), ("-200", 0, 4)] {
        sql(&server, &format!("UPDATE profile SET learnt_at = learnt_at {age}"));
        server.restart();
        let known = some_lines(&server, KNOWN, starts);
        assert!(known[starts - 1].contains(&format!("clients={clients}")), "{age}: {known:?}");
        server.terminate();
    }
}

#[test]
fn a_server_whose_table_of_profiles_is_gone_serves_as_before() {
    let mut server = TestServer::start();
    transfer(&server, "a/1.bin");
    server.terminate();
    sql(&server, "DROP TABLE profile");
    server.restart();
    transfer(&server, "a/2.bin");
    wait_until("the word that nothing is kept", MOMENT, || server.log().contains("is not kept"));
    assert_eq!(server.get("a/1.bin").status, 200);
    server.terminate();
    server.restart();
    assert_eq!(server.get("a/2.bin").status, 200, "its row was not in the way of that table");
}
