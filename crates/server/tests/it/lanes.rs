//! The lanes on which bytes travel: whatever the lane, every byte stays in its place.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use crate::rig::http::Connection;
use crate::rig::server::{SECRET, TestServer};
use crate::rig::{sign, wait_until};

const MOMENT: Duration = Duration::from_secs(20);

fn noise(length: usize) -> Vec<u8> {
    (0..length as u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect()
}

/// A server of each arm.
fn both() -> [(&'static str, TestServer); 2] {
    let start = |adaptive: &str| TestServer::builder().set("performance.adaptive_buffers", adaptive).start();
    [("adaptive", start("true")), ("standard", start("false"))]
}

fn put_head(server: &TestServer, slot: &str, length: usize) -> String {
    let signed = format!("{}?{}", server.target(slot), sign::v1(SECRET, slot, length as u64));
    format!("PUT {} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n", signed)
}

#[test]
fn requests_behind_a_large_upload_stay_in_their_place() {
    let body = noise(24 << 20);
    for (arm, server) in both() {
        let mut connection = Connection::open(server.address()).expect("connect");
        // Three uploads and a download in one go: nothing of one may end up in another.
        let mut wire = Vec::new();
        for slot in ["a/1.bin", "a/2.bin", "a/3.bin"] {
            wire.extend_from_slice(put_head(&server, slot, body.len()).as_bytes());
            wire.extend_from_slice(&body);
        }
        wire.extend_from_slice(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", server.target("a/2.bin")).as_bytes());
        let mut answers = Vec::new();
        std::thread::scope(|scope| {
            let mut writing = connection.writer().expect("clone");
            scope.spawn(move || writing.write_all(&wire).expect("send"));
            for _ in 0..4 {
                answers.push(connection.receive(false).expect("answer"));
            }
        });
        assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [201, 201, 201, 200], "{arm}");
        assert!(answers[3].body == body, "{arm}");
        for slot in ["a/1.bin", "a/3.bin"] {
            assert!(server.get(slot).body == body, "{arm} {slot}");
        }
        let spliced = server.metric("hfs_zero_copy_bytes_total{direction=\"upload\"}");
        match arm {
            "adaptive" => assert!(spliced > 2 * body.len() as u64, "{spliced} bytes were spliced"),
            _ => assert_eq!(spliced, 0, "the standard arm copies"),
        }
        server.assert_whole();
    }
}

#[test]
fn without_zero_copy_every_byte_goes_through_memory() {
    let body = noise(24 << 20);
    for (zero_copy, is_expected) in [("true", true), ("false", false)] {
        let server = TestServer::builder().set("experimental.zero_copy_optimization", zero_copy).start();
        assert_eq!(server.put("a/1.bin", &body).status, 201);
        assert!(server.get("a/1.bin").body == body);
        for direction in ["upload", "download"] {
            let moved = server.metric(&format!("hfs_zero_copy_bytes_total{{direction=\"{direction}\"}}"));
            assert_eq!(moved > 0, is_expected, "{direction}: {moved} bytes inside the kernel");
        }
        server.assert_whole();
    }
}

#[test]
fn an_upload_that_breaks_off_on_a_thread_leaves_nothing() {
    let body = noise(32 << 20);
    for (arm, server) in both() {
        for half in [5 << 20, 20 << 20] {
            let mut stream = TcpStream::connect(server.address()).expect("connect");
            stream.write_all(put_head(&server, "s/file.bin", body.len()).as_bytes()).expect("head");
            stream.write_all(&body[..half]).expect("half");
            drop(stream);
            wait_until("end of the temporary", MOMENT, || server.temporaries().is_empty());
            assert_eq!(server.get("s/file.bin").status, 404, "{arm}");
        }
        assert_eq!(server.put("s/file.bin", &body).status, 201, "{arm}: the slot can be tried again");
        assert!(server.get("s/file.bin").body == body, "{arm}");
        server.assert_whole();
    }
}

#[test]
fn an_upload_that_stutters_changes_lanes_and_loses_nothing() {
    let body = noise(24 << 20);
    for (arm, server) in both() {
        let mut stream = TcpStream::connect(server.address()).expect("connect");
        stream.write_all(put_head(&server, "s/file.bin", body.len()).as_bytes()).expect("head");
        let mut at = 0;
        for (turn, length) in [3 << 20, 1, 5 << 20, 100, 7 << 20, 4096, 100_000].into_iter().cycle().enumerate() {
            let end = (at + length).min(body.len());
            stream.write_all(&body[at..end]).expect("piece");
            at = end;
            if at == body.len() {
                break;
            }
            if turn % 2 == 1 {
                std::thread::sleep(Duration::from_millis(30));
            }
        }
        stream.shutdown(Shutdown::Write).expect("shutdown");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answer");
        assert!(answer.starts_with("HTTP/1.1 201"), "{arm}: {answer}");
        assert!(server.get("s/file.bin").body == body, "{arm}");
        server.assert_whole();
    }
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_ends_its_own_connection_only() {
    let body = noise(64 << 20);
    let server = TestServer::start();
    // Both are on their way when one of them shrinks.
    let [mut shrinks, mut stays] = ["s/shrinks.bin", "s/stays.bin"].map(|slot| {
        assert_eq!(server.put(slot, &body).status, 201);
        let mut stream = TcpStream::connect(server.address()).expect("connect");
        stream.set_read_timeout(Some(MOMENT)).expect("time-out");
        let head = format!("GET {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", server.target(slot));
        stream.write_all(head.as_bytes()).expect("ask");
        let mut begin = vec![0; 1 << 20];
        stream.read_exact(&mut begin).expect("begins");
        (stream, begin)
    });
    let file = std::fs::OpenOptions::new().write(true).open(server.storage().join("s/shrinks.bin")).expect("file");
    file.set_len(8 << 20).expect("shrink");
    // A reset or an early end: never the announced length.
    let _ = shrinks.0.read_to_end(&mut shrinks.1);
    assert!(shrinks.1.len() < body.len(), "{} bytes came", shrinks.1.len());
    let by_sendfile = || server.metric("hfs_zero_copy_bytes_total{direction=\"download\"}");
    wait_until("what sendfile carried of it", MOMENT, || by_sendfile() > 0);
    assert!(by_sendfile() > 7 << 20, "{}", by_sendfile());
    assert_eq!(server.metric("hfs_transfers_total{direction=\"download\"}"), 1, "the other one goes on");

    stays.0.read_to_end(&mut stays.1).expect("the rest");
    assert!(stays.1.ends_with(&body), "{} bytes came", stays.1.len());
    wait_until("what sendfile carried of both", MOMENT, || by_sendfile() > body.len() as u64);
    assert!(server.get("s/stays.bin").body == body);
}
