//! Downloads that break off while the last of their bytes are on their way: what has not left was not sent.

use std::time::Duration;

use hfs_core::pace::Settings;
use tokio::time::sleep;

use super::gate::{self, Valve};
use super::peers::connect_tls;
use super::{Client, TestServer, noise, test_config, test_tls};
use crate::flow::Ending;
use crate::net::NetConfig;

const GET: &str = "GET /file HTTP/1.1\r\nHost: a\r\n\r\n";
/// They fit into one read of a head; their answers are far more than small sockets take.
const REQUESTS: usize = 30;
/// This is put behind its head, that is a piece by itself.
const SHORT: usize = 10_000;
const PIECE: usize = 20_000;
/// What of a record has left shows nobody a byte.
const RECORD: u64 = 16 << 10;

/// A server with small sockets, and a file that it sends through memory.
fn serve(is_tls: bool, length: usize) -> TestServer {
    let keys = tempfile::tempdir().unwrap();
    let tls = is_tls.then(|| test_tls(keys.path(), ""));
    let config = NetConfig { tls, ..test_config() };
    let settings = Settings { zero_copy: false, ..Settings::default() };
    let server = TestServer::paced(gate::listen(Some(16 << 10)), config, settings);
    server.store(&noise(length));
    server
}

/// Looks in a row that have found no other answer: one may only show that the machine was busy.
const QUIET: u32 = 6;

/// Asks for the file again and again, and takes nothing of it; returns when the sockets are full.
async fn ask(server: &TestServer, is_tls: bool) -> Client {
    let stream = gate::connect(server.tcp(), 4 << 10).await;
    let mut client = match is_tls {
        true => Client::over(connect_tls(stream, "", &["http/1.1"], b"").await),
        false => Client::over(stream),
    };
    client.send(GET.repeat(REQUESTS)).await;
    server.ending(0).await;
    let (mut before, mut quiet) = (0, 0);
    while quiet < QUIET {
        let now = endings(server).len();
        quiet = if now > before { 0 } else { quiet + 1 };
        before = now;
        sleep(Duration::from_millis(50)).await;
    }
    client
}

fn endings(server: &TestServer) -> Vec<Ending> {
    server.service.0.endings.lock().unwrap().clone()
}

fn cut(server: &TestServer) {
    server.shutdown.begin();
    server.shutdown.cut();
}

#[tokio::test]
async fn a_download_that_breaks_off_in_its_last_piece_is_not_complete() {
    let mut wrong = Vec::new();
    for is_tls in [false, true] {
        for length in [SHORT, PIECE] {
            for leaves in [true, false] {
                let server = serve(is_tls, length);
                let client = ask(&server, is_tls).await;
                let mut client = Some(client);
                if leaves {
                    client.take();
                } else {
                    cut(&server);
                }
                server.seen.closed.reaches(1).await;
                let endings = endings(&server);
                let (last, whole) = endings.split_last().unwrap();
                let complete = Ending { bytes: length as u64, complete: true };
                assert!(whole.len() < REQUESTS && whole.iter().all(|&ending| ending == complete), "{whole:?}");
                if last.complete || last.bytes == length as u64 {
                    wrong.push(format!("TLS: {is_tls}, of {length} bytes, leaves: {leaves}"));
                }
                drop(client);
            }
        }
    }
    assert!(wrong.is_empty(), "complete: {wrong:#?}");
}

#[tokio::test]
async fn what_was_sent_of_a_download_that_was_cut_is_what_arrives() {
    for length in [SHORT, PIECE] {
        let server = serve(false, length);
        let mut client = ask(&server, false).await;
        cut(&server);
        let endings = || endings(&server);
        server.seen.closed.reaches(1).await;
        let mut arrived = &client.rest().await[..];
        for ending in endings() {
            let head = arrived.windows(4).position(|window| window == b"\r\n\r\n");
            let (_, rest) = arrived.split_at(head.map_or(arrived.len(), |at| at + 4));
            let (body, rest) = rest.split_at(length.min(rest.len()));
            assert_eq!(ending, Ending { bytes: body.len() as u64, complete: body.len() == length });
            arrived = rest;
        }
        assert!(arrived.is_empty() && endings().iter().any(|ending| !ending.complete));
    }
}

#[tokio::test]
async fn no_more_is_taken_back_than_tls_can_hold() {
    let server = serve(true, 4 << 20);
    let (stream, valve) = Valve::after(2 << 20, gate::connect(server.tcp(), 4 << 10).await);
    let mut client = Client::over(connect_tls(stream, "", &["http/1.1"], b"").await);
    client.send(GET).await;
    let reading = tokio::spawn(async move {
        client.head().await.unwrap();
        client.rest().await.len() as u64
    });
    while !valve.is_closed() {
        tokio::task::yield_now().await;
    }
    cut(&server);
    let Ending { bytes, complete } = server.ending(0).await;
    valve.open();
    let arrived = reading.await.unwrap();
    let write = server.last().1.write as u64;
    assert!(!complete && arrived >= 1 << 20, "{arrived} bytes came");
    assert!(bytes <= arrived + RECORD && arrived <= bytes + write + RECORD, "{bytes} sent, {arrived} came, {write}");
}
