//! A server that plays a script, one connection per answer: for tests of the client commands.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread::JoinHandle;

/// A request's head and body.
pub(crate) type Request = (String, Vec<u8>);

/// What to answer to one request.
pub(crate) struct Answer {
    status: String,
    headers: Vec<String>,
    body: Vec<u8>,
    sent: usize,
    before_the_body: bool,
}

impl Answer {
    pub(crate) fn status(status: &str, body: &str) -> Self {
        let body = body.as_bytes().to_vec();
        Self { status: status.to_owned(), headers: vec![], sent: body.len(), body, before_the_body: false }
    }

    pub(crate) fn header(mut self, line: &str) -> Self {
        self.headers.push(line.to_owned());
        self
    }

    pub(crate) fn replace_header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|line| !line.starts_with(name));
        self.header(&format!("{name}: {value}"))
    }

    /// Announces the whole body, but closes after so many bytes of it.
    pub(crate) fn cut_after(mut self, bytes: usize) -> Self {
        self.sent = bytes;
        self
    }

    /// Does not wait for the request's body, nor agree to it.
    pub(crate) fn before_the_body(mut self) -> Self {
        self.before_the_body = true;
        self
    }

    fn play(&self, mut stream: TcpStream) -> Request {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(reader.read_line(&mut head).unwrap(), 0, "the request ended in its head: {head}");
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map(|n| n.parse().unwrap());
        let mut body = Vec::new();
        if !self.before_the_body {
            if head.contains("expect: 100-continue") {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
            }
            reader.by_ref().take(length.unwrap_or(0)).read_to_end(&mut body).unwrap();
        }
        let announced = self.body.len();
        let mut answer = format!("HTTP/1.1 {}\r\nConnection: close\r\nContent-Length: {announced}\r\n", self.status);
        for line in &self.headers {
            answer.push_str(&format!("{line}\r\n"));
        }
        answer.push_str("\r\n");
        stream.write_all(&[answer.as_bytes(), &self.body[..self.sent]].concat()).unwrap();
        // Fails where the client has already left.
        let _ = stream.shutdown(Shutdown::Write);
        // Whatever still comes counts as body, and the client closes first: no reset overtakes the answer.
        reader.read_to_end(&mut body).unwrap_or_default();
        (head, body)
    }
}

/// The running script.
pub(crate) struct Scripted {
    address: std::net::SocketAddr,
    requests: JoinHandle<Vec<Request>>,
}

impl Scripted {
    /// Listens on loopback.
    pub(crate) fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let play = move || answers.iter().map(|answer| answer.play(listener.accept().unwrap().0)).collect();
        Self { address, requests: std::thread::spawn(play) }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What was asked, once the whole script is played.
    pub(crate) fn requests(self) -> Vec<Request> {
        self.requests.join().unwrap()
    }
}
