//! A client that says exactly what a test wants it to say.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub(super) struct Client {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// Lower case.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn closes(&self) -> bool {
        self.head.contains("connection: close\r\n")
    }

    pub(super) fn length(&self) -> Option<usize> {
        let (_, rest) = self.head.split_once("content-length: ")?;
        Some(rest.split_once('\r').unwrap().0.parse().unwrap())
    }
}

impl Client {
    pub(super) async fn tcp(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    pub(super) async fn unix(path: &Path) -> Self {
        Self::over(UnixStream::connect(path).await.unwrap())
    }

    pub(super) fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), buffer: Vec::new() }
    }

    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        timeout(PATIENCE, self.stream.write_all(bytes.as_ref())).await.expect("the server reads").unwrap();
        self.stream.flush().await.unwrap();
    }

    /// A write that the server may break off.
    pub(super) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = timeout(PATIENCE, self.stream.write_all(bytes.as_ref())).await.expect("the server reads");
    }

    pub(super) async fn half_close(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    pub(super) async fn get(&mut self, path: &str) -> Reply {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n")).await;
        self.reply().await
    }

    pub(super) async fn put(&mut self, path: &str, body: &[u8]) -> Reply {
        self.send(put_head(path, body.len(), "")).await;
        self.send(body).await;
        self.reply().await
    }

    /// The next response, with its body.
    pub(super) async fn reply(&mut self) -> Reply {
        let mut reply = self.head().await.expect("a response");
        let length = if reply.status < 200 { 0 } else { reply.length().unwrap_or(0) };
        while self.buffer.len() < length {
            assert!(self.more().await, "the body ends after {} of {length} bytes", self.buffer.len());
        }
        reply.body = self.buffer.drain(..length).collect();
        reply
    }

    /// The head of the next response; `None` when the connection ends first.
    pub(super) async fn head(&mut self) -> Option<Reply> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
                let status = head.strip_prefix("http/1.1 ").and_then(|rest| rest.get(..3)).unwrap().parse().unwrap();
                return Some(Reply { status, head, body: Vec::new() });
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// Everything until the connection ends, in whatever way.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.buffer)
    }

    pub(super) async fn more(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await.expect("no hang");
        read.unwrap_or(0) > 0
    }
}

pub(super) fn put_head(path: &str, length: usize, extra: &str) -> String {
    format!("PUT {path} HTTP/1.1\r\nHost: a.example\r\nContent-Length: {length}\r\n{extra}\r\n")
}
