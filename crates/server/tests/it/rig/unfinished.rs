//! [`Unfinished`]: an upload that stops in the middle until the test goes on with it.

use std::io;
use std::time::Duration;

use super::http::{Connection, Response};
use super::server::{SECRET, TestServer};
use super::{sign, wait_until};

/// An upload of which the first half was sent and, for all that can be seen, received.
pub(crate) struct Unfinished {
    connection: Connection,
    rest: Vec<u8>,
}

impl Unfinished {
    /// Sends the head and half of the body, and waits until the server keeps a temporary for it.
    #[track_caller]
    pub(crate) fn begin(server: &TestServer, slot: &str, body: &[u8]) -> Self {
        // Those of uploads that were answered a moment ago may still go.
        let before = server.temporaries();
        let unfinished = Self::send(server, slot, body).expect("half an upload");
        wait_until("temporary of the upload", Duration::from_secs(10), || {
            server.temporaries().iter().any(|temporary| !before.contains(temporary))
        });
        unfinished
    }

    fn send(server: &TestServer, slot: &str, body: &[u8]) -> io::Result<Self> {
        let mut connection = Connection::open(server.address())?;
        let target = format!("{}?{}", server.target(slot), sign::v1(SECRET, slot, body.len() as u64));
        let (address, length) = (server.address(), body.len());
        let head = format!(
            "PUT {target} HTTP/1.1\r\nHost: {address}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n"
        );
        let (first, rest) = body.split_at(length / 2);
        connection.send(head.as_bytes())?;
        connection.send(first)?;
        Ok(Self { connection, rest: rest.to_vec() })
    }

    /// Sends the rest and reads the answer.
    pub(crate) fn finish(mut self) -> io::Result<Response> {
        self.connection.send(&self.rest)?;
        self.connection.receive(false)
    }

    /// Reads an answer that comes although nothing more is sent.
    pub(crate) fn answer(&mut self) -> io::Result<Response> {
        self.connection.receive(false)
    }

    /// The client's process dies.
    pub(crate) fn reset(self) {
        self.connection.reset();
    }
}
