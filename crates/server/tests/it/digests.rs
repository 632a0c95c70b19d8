//! `[uploads] content_hash`: what was received can be told from what lies there later.

use std::fs;
use std::io::Write as _;

use crate::rig::command::run;
use crate::rig::http::Connection;
use crate::rig::server::{SECRET, TestServer};
use crate::rig::sign;

const LARGE: usize = 24 << 20;

fn check(server: &TestServer) -> (Option<i32>, String) {
    let config = server.config().display().to_string();
    let said = run(server.home(), &["check", "--storage", "--digests", "--quiet", "--config", &config]);
    (said.code, said.all())
}

/// Through a pump's thread, where the client is fast enough.
fn put_large(server: &TestServer, slot: &str, body: &[u8]) -> u16 {
    let mut connection = Connection::open(server.address()).expect("connect");
    let signed = format!("{}?{}", server.target(slot), sign::v1(SECRET, slot, body.len() as u64));
    let head = format!("PUT {signed} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    connection.writer().expect("clone").write_all(&[head.as_bytes(), body].concat()).expect("send");
    connection.receive(false).expect("answer").status
}

#[test]
fn a_file_that_changed_behind_our_back_is_found() {
    let body: Vec<u8> = (0..LARGE as u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    for adaptive in ["true", "false"] {
        let server = TestServer::builder()
            .set("uploads.content_hash", "true")
            .set("performance.adaptive_buffers", adaptive)
            .start();
        for slot in ["a/1.bin", "a/2.bin"] {
            assert_eq!(put_large(&server, slot, &body), 201);
        }
        for (slot, length) in [("b/empty", 0), ("b/small", 1000), ("b/middle", 3_000_000)] {
            assert_eq!(server.put(slot, &body[..length]).status, 201);
        }
        assert_eq!(server.metric("hfs_zero_copy_bytes_total{direction=\"upload\"}"), 0, "what is hashed is seen");
        let (code, said) = check(&server);
        assert!(code == Some(0) && said.contains("5 files compared with their digests"), "{said}");

        let file = fs::File::options().write(true).open(server.storage().join("a/2.bin")).expect("file");
        rustix::io::pwrite(&file, b"?", LARGE as u64 / 2).expect("one byte");
        let (code, said) = check(&server);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("a/2.bin: the bytes are not those that were received"), "{said}");
        assert!(!said.contains("a/1.bin"), "{said}");
    }
}
