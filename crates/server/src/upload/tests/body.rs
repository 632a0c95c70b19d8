//! Bodies that stall, break off, have another length than they should, or lose their client.

use std::time::Duration;

use hfs_core::ByteSize;
use hfs_core::auth::{Dialect, SlotRequest};
use http::Request;
use http::header::CONTENT_LENGTH;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

use super::{BYTES, OTHER};
use crate::http::exchange::{Incoming, Peer};
use crate::http::testing::{Client, Rig, get, listen, path, proven, put, slot_of, streamed, until};
use crate::net::h1;
use crate::storage::BlobStore;
use crate::storage::faulty::Operation;

/// A PUT whose body the test sends, of a slot for `signed` bytes and without a Content-Length.
async fn chunked(dialect: Dialect, signed: u64) -> (Client, Request<Incoming>) {
    let (client, body) = streamed().await;
    (client, proven(dialect, &slot_of(&path("a/b"), signed)).body(body).unwrap())
}

/// The same with its Content-Length.
async fn announced(size: u64) -> (Client, Request<Incoming>) {
    let (client, mut request) = chunked(Dialect::V1, size).await;
    request.headers_mut().insert(CONTENT_LENGTH, size.into());
    (client, request)
}

async fn is_tried_again(rig: &Rig) {
    rig.sees_nothing_of("a/b").await;
    assert!(rig.store.places().is_empty());
    assert_eq!(rig.send(put("a/b", OTHER)).await.status, 201);
    assert_eq!(rig.send(get("a/b")).await.body, OTHER);
}

#[tokio::test(start_paused = true)]
async fn a_silent_body_is_cut_after_the_idle_limit() {
    let rig = Rig::new();
    for sent in [None, Some(b"forty".as_slice())] {
        let (mut client, request) = announced(9).await;
        if let Some(sent) = sent {
            client.send(sent);
        }
        let started = Instant::now();
        assert_eq!(rig.send(request).await.status, 408);
        assert_eq!(started.elapsed().as_secs(), 60);
    }
    assert_eq!(rig.metric("hfs_transfers_total{direction=\"upload\",outcome=\"stalled\"}"), 2.0);
    assert_eq!(rig.metric("hfs_received_bytes_total"), 5.0);
    is_tried_again(&rig).await;
}

/// What the configuration says of its arm decides, and no more than it allows.
#[tokio::test(start_paused = true)]
async fn who_came_back_from_a_long_silence_is_granted_a_longer_one() {
    const PIECE: &[u8] = &[7; 20_000];
    for (is_adaptive, longest, status) in [(true, 300, 201), (true, 64, 408), (false, 300, 408)] {
        let rig = Rig::with(|config| {
            config.pace.enabled = is_adaptive;
            config.pace.settings.longest_stall = Some(Duration::from_secs(longest));
        });
        let (mut client, request) = announced(3 * PIECE.len() as u64).await;
        let answer = rig.start(request);
        for silence in [58, 66] {
            client.send(PIECE);
            sleep(Duration::from_secs(silence)).await;
        }
        assert_eq!(answer.is_finished(), status == 408, "{is_adaptive}, {longest} s");
        if status == 201 {
            client.send(PIECE);
            client.end();
        }
        assert_eq!(answer.await.unwrap().status, status, "{is_adaptive}, {longest} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dripping_body_is_cut_after_the_window() {
    let rig = Rig::new();
    let (mut client, request) = announced(9).await;
    let answer = rig.start(request);
    let started = Instant::now();
    for _ in 0..3 {
        client.send(b"x");
        sleep(Duration::from_secs(50)).await;
    }
    assert_eq!(answer.await.unwrap().status, 408);
    assert_eq!(started.elapsed().as_secs(), 150);
    is_tried_again(&rig).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_but_steady_body_has_no_total_limit() {
    const PIECE: &[u8] = &[7; 512];
    let rig = Rig::new();
    let (mut client, request) = announced(512 * 1000).await;
    let answer = rig.start(request);
    for _ in 0..1000 {
        sleep(Duration::from_secs(1)).await;
        client.send(PIECE);
    }
    client.end();
    assert_eq!(answer.await.unwrap().status, 201);
    assert_eq!(rig.send(get("a/b")).await.body, PIECE.repeat(1000));
}

#[tokio::test]
async fn a_chunked_body_must_have_the_length_that_its_token_signs() {
    for (body, signed) in [(b"forty-two and more".as_slice(), 9), (b"forty", 9), (b"", 9), (b"x", 0)] {
        let rig = Rig::new();
        let (mut client, request) = chunked(Dialect::FileShare, signed).await;
        client.send(body);
        client.end();
        let answer = rig.send(request).await;
        assert_eq!(answer.status, 413, "{body:?}");
        assert_eq!(answer.text(), format!("The slot is for {signed} bytes, not {} (other-size)\n", body.len()));
        is_tried_again(&rig).await;
    }
    let rig = Rig::new();
    let (mut client, request) = chunked(Dialect::FileShare, 9).await;
    client.send(BYTES);
    client.end();
    assert_eq!(rig.send(request).await.status, 201);
}

#[tokio::test]
async fn an_announced_length_must_be_the_one_that_the_token_signs() {
    for size in [8, 10] {
        let rig = Rig::new();
        let (_client, mut request) = chunked(Dialect::FileShare, 9).await;
        request.headers_mut().insert(CONTENT_LENGTH, size.into());
        // Refused before the body, which never comes.
        assert_eq!(rig.send(request).await.status, 413);
        assert_eq!(rig.faults.seen(Operation::Create), 0);
        is_tried_again(&rig).await;
    }
}

#[tokio::test]
async fn a_body_of_unknown_length_ends_at_the_largest_file() {
    let rig = Rig::with(|config| config.limits.max_size = Some(ByteSize::bytes(9)));
    let (mut client, request) = chunked(Dialect::V3, 0).await;
    client.send(b"forty-two");
    client.send(b"!");
    // The end never comes: the refusal does not wait for it.
    let answer = rig.send(request).await;
    assert_eq!((answer.status, answer.text()), (413, "At most 9 B per file (too-large)\n"));
    is_tried_again(&rig).await;

    let rig = Rig::with(|config| config.limits.max_size = Some(ByteSize::bytes(9)));
    let (mut client, request) = chunked(Dialect::V3, 0).await;
    client.send(BYTES);
    client.end();
    assert_eq!(rig.send(request).await.status, 201);
    assert_eq!(rig.send(put("a/c", b"forty-two!")).await.status, 413);
}

#[tokio::test]
async fn a_signed_length_needs_a_content_length() {
    let rig = Rig::new();
    for dialect in [Dialect::V1, Dialect::V2, Dialect::Token] {
        let (_client, request) = chunked(dialect, 9).await;
        assert_eq!(rig.send(request).await.status, 411, "{dialect:?}");
    }
    assert_eq!(rig.faults.seen(Operation::Create), 0);
}

#[tokio::test]
async fn a_client_that_breaks_off_leaves_nothing() {
    let rig = Rig::new();
    let (mut client, request) = announced(9).await;
    client.send(b"forty");
    let answer = rig.start(request);
    until("it has begun", async || rig.store.temporaries() == 1).await;
    client.leave();
    assert_eq!(answer.await.unwrap().status, 400);
    assert_eq!(rig.metric("hfs_transfers_total{direction=\"upload\",outcome=\"aborted\"}"), 1.0);
    is_tried_again(&rig).await;
}

#[tokio::test]
async fn only_what_breaks_off_counts_as_broken_off() {
    static LONG: [u8; 80_000] = [7; 80_000];
    let rig = Rig::with(|config| config.pace.log_profiles = true);
    let log = listen();
    let from_a_client = async || {
        let (client, mut request) = chunked(Dialect::FileShare, 70_000).await;
        request.extensions_mut().insert(Peer { socket: Some(([192, 0, 2, 7], 1).into()), ..Peer::default() });
        (client, rig.start(request))
    };
    let (mut client, answer) = from_a_client().await;
    client.send(&LONG);
    client.end();
    let refused = answer.await.unwrap();
    assert_eq!(refused.status, 413, "{}", refused.text());
    let (mut client, answer) = from_a_client().await;
    client.send(&LONG[..69_000]);
    until("it has begun", async || rig.store.temporaries() == 1).await;
    client.leave();
    assert_eq!(answer.await.unwrap().status, 400);
    let lines = log.lines_with("Learnt about a client");
    assert!(lines[0].contains("breaks=0.0") && lines[1].contains("breaks=0.2"), "{lines:#?}");
}

#[tokio::test]
async fn a_connection_that_dies_during_the_body_leaves_nothing() {
    let rig = Rig::new();
    let (mut client, request) = announced(9).await;
    client.send(b"forty");
    let answer = rig.start(request);
    until("it has begun", async || rig.store.temporaries() == 1).await;
    answer.abort();
    until("its temporary is gone", async || rig.store.temporaries() == 0).await;
    is_tried_again(&rig).await;
}

#[tokio::test]
async fn a_connection_that_dies_after_the_last_byte_leaves_the_file() {
    let rig = Rig::new();
    let claim = rig.store.claim(&path("a/b"), Duration::ZERO).await.unwrap();
    let free = || rig.app.engine().free_memory();
    let all = free();
    let answer = rig.start(put("a/b", BYTES));
    until("it waits for its claim", async || rig.faults.seen(Operation::Claim) == 1).await;
    answer.abort();
    assert!(answer.await.unwrap_err().is_cancelled());
    assert!(free() < all, "what was gathered is there until it is stored");
    drop(claim);
    until("the file is visible", async || rig.send(get("a/b")).await.status == 200).await;
    assert_eq!(rig.send(get("a/b")).await.body, BYTES);
    assert_eq!((rig.store.temporaries(), free()), (0, all));
    assert_eq!(rig.send(put("a/b", BYTES)).await.status, 201);
}

#[tokio::test]
async fn a_bad_proof_is_refused_without_a_look_at_the_store() {
    let rig = Rig::new();
    let (_client, mut request) = announced(9).await;
    request.headers_mut().insert(CONTENT_LENGTH, 8.into());
    assert_eq!(rig.send(request).await.status, 403);
    let slot = path("a/b");
    let unknown = SlotRequest { size: ByteSize::bytes(1), ..slot_of(&slot, 9) };
    let head = proven(Dialect::Jwt, &unknown).header(CONTENT_LENGTH, 9);
    assert_eq!(rig.send(head.body(Incoming::Full(Some(BYTES.into()))).unwrap()).await.status, 401);
    assert_eq!((rig.faults.seen(Operation::Free), rig.faults.seen(Operation::Create)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_gets_no_turn_in_time_is_a_retry() {
    let rig = Rig::new();
    let taken = rig.app.turns().take_all().await;
    let started = Instant::now();
    let answer = rig.send(on_a_socket(BYTES).await).await;
    assert_eq!((answer.status, started.elapsed().as_secs()), (503, 30), "{}", answer.text());
    rig.sees_nothing_of("a/b").await;

    let waiting = rig.start(on_a_socket(BYTES).await);
    sleep(Duration::from_secs(29)).await;
    assert!(!waiting.is_finished());
    drop(taken);
    assert_eq!(waiting.await.unwrap().status, 201, "the disk's time is not the client's");
    assert_eq!(rig.app.turns().take_all().await.len(), 16, "and its turn is over");
}

/// Pieces that fill their reads, and come one by one.
#[tokio::test]
async fn a_trickle_claims_no_more_than_it_began_with() {
    const PIECE: usize = 16 << 10;
    let rig = Rig::new();
    let engine = rig.app.engine();
    let all = engine.free_memory();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let bytes = vec![7; 40 * PIECE];
    let length = bytes.len() as u64;
    let body = Incoming::H1(h1::Body::of(accepted, length));
    let answer = rig.start(put("a/b", bytes.clone().leak()).map(|_| body));
    let mut most = 0;
    for piece in bytes.chunks(PIECE) {
        client.write_all(piece).await.unwrap();
        sleep(Duration::from_millis(40)).await;
        most = most.max(all - engine.free_memory());
    }
    assert_eq!(answer.await.unwrap().status, 201);
    assert_eq!(most, 64 << 10);
}

/// What an upload in frames claims at most, where each comes so long after the one before.
async fn claimed_of_frames(count: usize, each: Duration) -> usize {
    static FRAME: [u8; 16 << 10] = [7; 16 << 10];
    let rig = Rig::new();
    let all = rig.app.engine().free_memory();
    let (mut client, request) = announced((count * FRAME.len()) as u64).await;
    let answer = rig.start(request);
    let (mut most, mut last) = (0, usize::MAX);
    for nth in 0..count {
        sleep(each).await;
        client.send(&FRAME);
        let claimed = all - rig.app.engine().free_memory();
        most = most.max(claimed);
        if nth > count / 2 {
            last = last.min(claimed);
        }
    }
    assert_eq!(last, most, "it stays");
    client.end();
    assert_eq!(answer.await.unwrap().status, 201);
    most
}

/// All are full, whatever they are waited for.
#[tokio::test(start_paused = true)]
async fn an_even_stream_of_frames_claims_what_is_worth_a_write() {
    // 64 KiB each 48 ms, as much as it begins with: not worth more.
    assert_eq!(claimed_of_frames(1000, Duration::from_millis(12)).await, 64 << 10);
    // Each 12 ms: so 256 KiB, which come each 48.
    assert_eq!(claimed_of_frames(3000, Duration::from_millis(3)).await, 256 << 10);
    assert_eq!(claimed_of_frames(5000, Duration::from_millis(1)).await, 1 << 20);
}

/// A PUT whose body lies in the kernel.
async fn on_a_socket(bytes: &'static [u8]) -> Request<Incoming> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = async { TcpStream::connect(address).await.unwrap().write_all(bytes).await.unwrap() };
    let (accepted, ()) = tokio::join!(listener.accept(), client);
    put("a/b", bytes).map(|_| Incoming::H1(h1::Body::of(accepted.unwrap().0, bytes.len() as u64)))
}
