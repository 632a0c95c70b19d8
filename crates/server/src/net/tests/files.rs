//! Files on their way out, by sendfile and otherwise.

use std::fs::File;
use std::time::Duration;

use hfs_core::progress::StallLimits;

use super::{TestServer, noise};
use crate::flow::Ending;

#[tokio::test]
async fn files_of_any_size_arrive_whole() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    for (n, length) in [0, 1, 16_384, 16_385, 1 << 20, (1 << 20) + 1, 7_654_321].into_iter().enumerate() {
        let content = noise(length);
        server.store(&content);
        assert!(client.get("/file").await.body == content, "{length} bytes");
        let complete = Ending { bytes: length as u64, complete: true };
        assert_eq!(server.ending(n).await, complete);
    }
}

#[tokio::test]
async fn a_file_that_is_not_in_memory_arrives_too() {
    let server = TestServer::start().await;
    let content = noise(5_000_000);
    server.store(&content);
    let file = File::open(server.file()).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    assert!(server.client().await.get("/file").await.body == content);
}

#[tokio::test]
async fn a_file_that_shrinks_ends_its_connection_alone() {
    let server = TestServer::start().await;
    let mut bystander = server.client().await;
    assert_eq!(bystander.get("/a").await.status, 200);
    // More than the socket's buffers take, so that the server is still at it.
    let length = 64 << 20;
    File::create(server.file()).unwrap().set_len(length).unwrap();
    let mut client = server.client().await;
    client.send("GET /file HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().length(), Some(64 << 20));
    File::options().write(true).open(server.file()).unwrap().set_len(length / 2).unwrap();
    assert!((client.rest().await.len() as u64) < length);
    assert_eq!(bystander.get("/b").await.status, 200);
    assert!(!server.ending(0).await.complete);
}

#[tokio::test]
async fn a_reader_that_stalls_is_cut() {
    let stall = StallLimits { idle: Duration::from_millis(300), min_rate: 0, window: Duration::from_secs(60) };
    let server = TestServer::with(|config| config.stall = stall).await;
    File::create(server.file()).unwrap().set_len(64 << 20).unwrap();
    let mut client = server.client().await;
    client.send("GET /file HTTP/1.1\r\nHost: a\r\n\r\n").await;
    server.seen.stalled.reaches(1).await;
    server.seen.closed.reaches(1).await;
    assert!(!server.ending(0).await.complete);
}
