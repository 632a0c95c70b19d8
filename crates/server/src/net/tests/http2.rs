//! HTTP/2, cleartext by prior knowledge and over TLS, with the client of the `h2` crate.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use hfs_core::progress::StallLimits;
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, duplex};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::peers::connect_tls;
use super::windows::link;
use super::{State, TestServer, describe, noise, test_tls};
use crate::flow::Ending;
use crate::net::h2::{Batch, serve as h2_server};
use crate::net::{Shutdown, TlsAcceptor};

pub(super) type Driver = JoinHandle<Result<(), h2::Error>>;

pub(super) async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> (SendRequest<Bytes>, Driver) {
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    (client, tokio::spawn(connection))
}

async fn connect(server: &TestServer) -> (SendRequest<Bytes>, Driver) {
    handshake(TcpStream::connect(server.tcp()).await.unwrap()).await
}

async fn get(client: &SendRequest<Bytes>, uri: &str) -> Response<RecvStream> {
    send(client, Request::get(uri).body(()).unwrap(), None).await.await.unwrap()
}

/// Sends a request and, as the window allows, its body.
pub(super) async fn send(client: &SendRequest<Bytes>, request: Request<()>, body: Option<Bytes>) -> ResponseFuture {
    let mut client = client.clone().ready().await.unwrap();
    let (response, mut stream) = client.send_request(request, body.is_none()).unwrap();
    if let Some(mut body) = body {
        tokio::spawn(async move {
            while !body.is_empty() {
                stream.reserve_capacity(body.len());
                let Some(Ok(room)) = poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
                let piece = body.split_to(room.min(body.len()));
                if stream.send_data(piece, body.is_empty()).is_err() {
                    return;
                }
            }
        });
    }
    response
}

pub(super) async fn body(response: Response<RecvStream>) -> Result<Vec<u8>, h2::Error> {
    let mut stream = response.into_body();
    let mut all = Vec::new();
    while let Some(piece) = stream.data().await {
        let piece = piece?;
        stream.flow_control().release_capacity(piece.len()).unwrap();
        all.extend_from_slice(&piece);
    }
    Ok(all)
}

pub(super) fn put(uri: &str) -> Request<()> {
    Request::put(uri).body(()).unwrap()
}

#[tokio::test]
async fn a_body_in_hundreds_of_small_frames_at_once_is_taken() {
    let server = TestServer::start().await;
    let (client, _driver) = connect(&server).await;
    let mut sending = client.clone().ready().await.unwrap();
    let (answer, mut stream) = sending.send_request(put("http://a.example/echo"), false).unwrap();
    for _ in 0..500 {
        stream.send_data(Bytes::from_static(&[7; 100]), false).unwrap();
    }
    stream.send_data(Bytes::new(), true).unwrap();
    assert_eq!(body(answer.await.unwrap()).await.unwrap(), describe(&[7; 50_000]).into_bytes());
}

#[tokio::test]
async fn prior_knowledge_gets_http_2() {
    let server = TestServer::start().await;
    let content = noise(3_456_789);
    server.store(&content);
    let (client, _driver) = connect(&server).await;
    let (file, echo) =
        tokio::join!(async { body(get(&client, "http://a.example/file").await).await.unwrap() }, async {
            let sent = send(&client, put("http://a.example/echo"), Some(content.clone().into())).await;
            body(sent.await.unwrap()).await.unwrap()
        });
    assert!(file == content);
    assert_eq!(String::from_utf8(echo).unwrap(), describe(&content));
    assert_eq!(server.ending(0).await, Ending { bytes: content.len() as u64, complete: true });
    let reply = get(&client, "http://a.example/large").await;
    assert_eq!(reply.headers()["content-length"], "1048576");
    assert!(reply.headers().contains_key("date"));
    assert_eq!(body(reply).await.unwrap().len(), 1 << 20);
    let peer = body(get(&client, "http://a.example:80/peer").await).await.unwrap();
    assert_eq!(peer, b"127.0.0.1 - false a.example:80");
}

#[tokio::test]
async fn alpn_chooses_http_2() {
    let keys = tempfile::tempdir().unwrap();
    let server = TestServer::with(|config| config.tls = Some(test_tls(keys.path(), ""))).await;
    let content = noise(1_234_567);
    server.store(&content);
    let stream = connect_tls(TcpStream::connect(server.tcp()).await.unwrap(), "", &["h2", "http/1.1"], b"").await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (client, _driver) = handshake(stream).await;
    assert_eq!(body(get(&client, "https://a.example/peer").await).await.unwrap(), b"127.0.0.1 - true a.example");
    assert!(body(get(&client, "https://a.example/file").await).await.unwrap() == content);
}

#[tokio::test]
async fn the_head_of_a_bodiless_answer_is_complete() {
    let server = TestServer::start().await;
    let (client, _driver) = connect(&server).await;
    let request = Request::head("http://a.example/sized").body(()).unwrap();
    let reply = send(&client, request, None).await.await.unwrap();
    assert_eq!(reply.headers()["content-length"], "123456789");
    assert_eq!(body(reply).await.unwrap(), b"");
    let reply = get(&client, "http://a.example/none").await;
    assert_eq!((reply.status().as_u16(), reply.headers().get("content-length")), (204, None));
}

#[tokio::test]
async fn a_request_without_one_host_is_refused() {
    let server = TestServer::start().await;
    let (client, _driver) = connect(&server).await;
    let other = Request::get("http://a.example/x").header("host", "b.example").body(()).unwrap();
    assert_eq!(send(&client, other, None).await.await.unwrap().status(), 400);
    let bogus = Request::put("http://a.example/echo").header("expect", "bogus").body(()).unwrap();
    assert_eq!(send(&client, bogus, Some(Bytes::from_static(b"x"))).await.await.unwrap().status(), 417);
    assert_eq!(get(&client, "http://a.example/x").await.status(), 200);
}

#[tokio::test]
async fn a_wanted_body_is_asked_for() {
    let server = TestServer::start().await;
    let (client, _driver) = connect(&server).await;
    let expecting =
        |path: &str| Request::put(format!("http://a.example{path}")).header("expect", "100-continue").body(()).unwrap();
    let mut client = client.ready().await.unwrap();
    let (mut response, mut stream) = client.send_request(expecting("/echo"), false).unwrap();
    let interim = poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap();
    assert_eq!(interim.status(), 100);
    stream.send_data(Bytes::from_static(b"hello"), true).unwrap();
    assert_eq!(body(response.await.unwrap()).await.unwrap(), describe(b"hello").as_bytes());

    let mut client = client.ready().await.unwrap();
    let (mut response, _stream) = client.send_request(expecting("/refused"), false).unwrap();
    assert!(poll_fn(|cx| response.poll_informational(cx)).await.is_none());
    assert_eq!(response.await.unwrap().status(), 403);
}

#[tokio::test]
async fn after_an_early_refusal_the_body_is_taken() {
    let server = TestServer::start().await;
    let (client, _driver) = connect(&server).await;
    let mut ready = client.clone().ready().await.unwrap();
    let (response, mut stream) = ready.send_request(put("http://a.example/refused"), false).unwrap();
    assert_eq!(response.await.unwrap().status(), 403);
    // More than one window, so that somebody must read it.
    assert_eq!(send_up_to(&mut stream, 3 << 20).await, None);
    stream.send_data(Bytes::new(), true).unwrap();
    assert_eq!(get(&client, "http://a.example/x").await.status(), 200);
}

#[tokio::test]
async fn a_refused_body_without_an_end_is_stopped_without_an_error() {
    let server = TestServer::start().await;
    let (client, _driver) = connect(&server).await;
    let mut ready = client.clone().ready().await.unwrap();
    let (response, mut stream) = ready.send_request(put("http://a.example/refused"), false).unwrap();
    assert_eq!(response.await.unwrap().status(), 403);
    assert_eq!(send_up_to(&mut stream, 80 << 20).await, Some(Reason::NO_ERROR));
    assert_eq!(get(&client, "http://a.example/x").await.status(), 200);
}

/// Whole seconds until the server stops a refused body of which `piece` bytes come each `pause`.
async fn taken_for(pause: Duration, piece: usize) -> u64 {
    let link = link(Arc::new(State::in_directory("".as_ref())), &Shutdown::new(), Arc::new(()));
    let (near, far) = duplex(64 << 10);
    tokio::spawn(h2_server(far, None, link));
    let (client, _driver) = handshake(near).await;
    let mut ready = client.ready().await.unwrap();
    let (response, mut stream) = ready.send_request(put("http://a.example/refused"), false).unwrap();
    assert_eq!(response.await.unwrap().status(), 403);
    let begin = Instant::now();
    loop {
        if let Ok(reset) = timeout(pause, poll_fn(|cx| stream.poll_reset(cx))).await {
            assert_eq!(reset.unwrap(), Reason::NO_ERROR);
            return begin.elapsed().as_secs();
        }
        assert!(begin.elapsed() < Duration::from_secs(3600), "it is taken for ever");
        stream.send_data(vec![0; piece].into(), false).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_body_is_taken_for_as_long_as_it_comes() {
    const SECOND: Duration = Duration::from_secs(1);
    assert_eq!(taken_for(3600 * SECOND, 0).await, 5, "nothing comes");
    assert_eq!(taken_for(SECOND, 0).await, 5, "frames without bytes");
    assert!((30..35).contains(&taken_for(SECOND, 1000).await), "too few to wait for");
    assert!(taken_for(SECOND, 20_000).await > 3000, "its 64 MiB");
}

/// Sends this many bytes, or until the server resets the stream: with that reason.
async fn send_up_to(stream: &mut SendStream<Bytes>, mut bytes: usize) -> Option<Reason> {
    while bytes > 0 {
        stream.reserve_capacity(bytes.min(256 << 10));
        let room = poll_fn(|cx| match stream.poll_reset(cx) {
            Poll::Ready(reset) => Poll::Ready(Err(reset.ok())),
            Poll::Pending => stream.poll_capacity(cx).map(|room| room.and_then(Result::ok).ok_or(None)),
        });
        let room = match room.await {
            Ok(room) => room.min(bytes),
            Err(reset) => return reset,
        };
        stream.send_data(vec![0; room].into(), false).ok()?;
        bytes -= room;
    }
    None
}

#[tokio::test]
async fn an_unread_body_fills_one_window_and_no_more() {
    let server = TestServer::start().await;
    let (client, _driver) = connect(&server).await;
    let mut ready = client.clone().ready().await.unwrap();
    let waiting = Request::get("http://a.example/wait").body(()).unwrap();
    let (response, mut stream) = ready.send_request(waiting, false).unwrap();
    server.service.0.entered.notified().await;
    let mut sent = 0;
    stream.reserve_capacity(8 << 20);
    while let Ok(Some(Ok(room))) = timeout(Duration::from_millis(500), poll_fn(|cx| stream.poll_capacity(cx))).await {
        stream.send_data(vec![0; room].into(), false).unwrap();
        sent += room;
    }
    assert_eq!(sent, 65_535, "what every connection has");
    server.service.0.release.notify_waiters();
    assert_eq!(response.await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_reader_that_stalls_loses_its_stream_alone() {
    let stall = StallLimits { idle: Duration::from_millis(300), min_rate: 0, window: Duration::from_secs(60) };
    let server = TestServer::with(|config| config.stall = stall).await;
    server.store(&noise(1_000_000));
    let (client, _driver) = connect(&server).await;
    let stuck = get(&client, "http://a.example/file").await;
    server.seen.stalled.reaches(1).await;
    assert_eq!(get(&client, "http://a.example/x").await.status(), 200);
    assert!(body(stuck).await.is_err());
    assert!(!server.ending(0).await.complete);
}

#[tokio::test]
async fn a_flood_of_resets_ends_the_connection() {
    let server = TestServer::start().await;
    let (client, driver) = connect(&server).await;
    for _ in 0..10_000 {
        let Ok(mut ready) = client.clone().ready().await else { break };
        let request = Request::get("http://a.example/wait").body(()).unwrap();
        let Ok((_, mut stream)) = ready.send_request(request, false) else { break };
        stream.send_reset(Reason::CANCEL);
        tokio::task::yield_now().await;
    }
    drop(client);
    // GOAWAY says why, but a client that goes on writing may see the closed connection first.
    assert!(driver.await.unwrap().is_err());
    assert!(server.service.0.waiting.value() <= 200);
    let (client, _driver) = connect(&server).await;
    assert_eq!(get(&client, "http://a.example/x").await.status(), 200);
}

#[tokio::test]
async fn an_idle_connection_is_told_and_closed() {
    let server = TestServer::with(|config| config.idle_timeout = Duration::from_millis(200)).await;
    let (client, driver) = connect(&server).await;
    assert_eq!(get(&client, "http://a.example/x").await.status(), 200);
    driver.await.unwrap().unwrap();
    server.seen.closed.reaches(1).await;
}

#[tokio::test]
async fn a_drain_finishes_the_streams_that_run() {
    let server = TestServer::start().await;
    let (client, driver) = connect(&server).await;
    let waiting = send(&client, Request::get("http://a.example/wait").body(()).unwrap(), None).await;
    server.service.0.entered.notified().await;
    server.shutdown.begin();
    // Once GOAWAY is there, the client opens no more streams.
    while let Ok(mut ready) = client.clone().ready().await {
        if ready.send_request(Request::get("http://a.example/x").body(()).unwrap(), true).is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    server.service.0.release.notify_waiters();
    assert_eq!(body(waiting.await.unwrap()).await.unwrap(), b"waited");
    driver.await.unwrap().unwrap();
    server.running.await.unwrap();
}

/// A batch whose reader takes nothing yet, and that reader.
async fn full_batch(frame: &[u8]) -> (Batch, impl AsyncRead + Unpin, usize) {
    let keys = tempfile::tempdir().unwrap();
    let [listening, connecting] = [8 << 10, 16 << 10].map(|buffer| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(buffer).unwrap();
        socket.set_recv_buffer_size(buffer).unwrap();
        socket
    });
    listening.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = listening.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::load(&test_tls(keys.path(), "")).unwrap();
    let accept = async { acceptor.accept(listener.accept().await.unwrap().0.into()).await.unwrap() };
    let connect = async { connect_tls(connecting.connect(address).await.unwrap(), "", &["h2"], b"").await };
    let (server, client) = tokio::join!(accept, connect);
    let (mut batch, client) = (Batch::from(server), client.into_inner().0);
    batch.widen(1 << 20);
    let mut taken = 0;
    while let Ok(written) = timeout(Duration::from_secs(1), batch.write(frame)).await {
        taken += written.unwrap();
    }
    (batch, client, taken)
}

/// What is taken is how a response sees its reader move: in steps of a whole batch, one that reads 2 KB/s seemed to stand
/// still for a minute.
#[tokio::test]
async fn a_batch_takes_more_as_soon_as_its_reader_took_some() {
    const FRAME: &[u8] = &[7; 16 << 10];
    let (mut batch, mut client, taken) = full_batch(FRAME).await;
    assert!(taken >= 128 << 10, "{taken}");
    let (mut read, mut piece) = (0, [0; 4 << 10]);
    loop {
        tokio::select! {
            biased;
            written = batch.write(FRAME) => break assert!(written.unwrap() > 0),
            count = client.read(&mut piece) => read += count.unwrap(),
        }
    }
    assert!(read <= 64 << 10, "nothing was taken until {read} of {taken} bytes had left");
}

/// What has left is counted encrypted, a fifth more than was taken of frames of 100 bytes.
#[tokio::test]
async fn a_batch_that_is_never_empty_takes_something_for_ever() {
    const FRAME: &[u8] = &[7; 100];
    let (mut batch, mut client, mut taken) = full_batch(FRAME).await;
    let mut piece = [0; 4 << 10];
    while taken < 2 << 20 {
        tokio::select! {
            biased;
            written = batch.write(FRAME) => {
                let written = written.unwrap();
                assert!(written > 0, "after {taken} bytes");
                taken += written;
            }
            count = client.read(&mut piece) => assert!(count.unwrap() > 0),
        }
    }
}
