//! A small HTTP/1.1 client on `std::net` that sends exactly what a test says, right or wrong.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// Value of the only header of this name; the test fails when there are two.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "two {name} headers: {:?}", self.headers);
        value
    }

    /// The body as text, for messages.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One request on a connection of its own.
pub(crate) fn exchange(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) -> io::Result<Response> {
    let mut connection = Connection::open(address)?;
    let headers: Vec<_> = headers.iter().copied().chain([("Connection", "close")]).collect();
    connection.request(method, target, &headers, body)
}

/// A connection that can be used again.
pub(crate) struct Connection {
    address: SocketAddr,
    reader: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        Self::over(address, TcpStream::connect_timeout(&address, Duration::from_secs(10))?)
    }

    /// From another loopback address, so that the server sees another client.
    pub(crate) fn open_from(source: IpAddr, address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
        socket.connect_timeout(&address.into(), Duration::from_secs(10))?;
        Self::over(address, socket.into())
    }

    fn over(address: SocketAddr, stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_write_timeout(Some(Duration::from_secs(60)))?;
        stream.set_nodelay(true)?;
        Ok(Self { address, reader: BufReader::new(stream) })
    }

    /// Sends a request and reads its answer. `Some` body sends a Content-Length, unless the headers frame it.
    pub(crate) fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> io::Result<Response> {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let named = |wanted: &str| headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
        if let Some(body) = body.filter(|_| !named("content-length") && !named("transfer-encoding")) {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        self.send(head.as_bytes())?;
        // A server may answer before it has read everything; its answer is worth more than our broken pipe.
        let sent = self.send(body.unwrap_or_default());
        self.receive(method == "HEAD").map_err(|error| sent.err().unwrap_or(error))
    }

    /// Sends raw bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// The same connection, for a thread that writes while this one reads.
    pub(crate) fn writer(&self) -> io::Result<TcpStream> {
        self.reader.get_ref().try_clone()
    }

    /// Ends the connection as a client that crashes does: with a reset.
    pub(crate) fn reset(self) {
        let linger = SockRef::from(self.reader.get_ref()).set_linger(Some(Duration::ZERO));
        linger.expect("a socket of our own");
    }

    /// Reads one final answer, stepping over interim ones.
    pub(crate) fn receive(&mut self, without_body: bool) -> io::Result<Response> {
        loop {
            let (status, headers) = self.head()?;
            if status < 200 {
                continue;
            }
            let mut response = Response { status, headers, body: Vec::new() };
            if !without_body && status != 204 && status != 304 {
                self.body(&mut response)?;
            }
            return Ok(response);
        }
    }

    fn head(&mut self) -> io::Result<(u16, Vec<(String, String)>)> {
        let line = self.line()?;
        let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| invalid(format!("no status line: {line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok((status, headers));
            }
            let (name, value) = line.split_once(':').ok_or_else(|| invalid(format!("no header: {line:?}")))?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    fn body(&mut self, response: &mut Response) -> io::Result<()> {
        if response.header("transfer-encoding").is_some() {
            return self.chunks(&mut response.body);
        }
        match response.header("content-length") {
            Some(length) => {
                let length: u64 = length.parse().map_err(|_| invalid(format!("length {length:?}")))?;
                (&mut self.reader).take(length).read_to_end(&mut response.body)?;
                if response.body.len() as u64 != length {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            None => drop(self.reader.read_to_end(&mut response.body)?),
        }
        Ok(())
    }

    fn chunks(&mut self, body: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let line = self.line()?;
            let size = u64::from_str_radix(&line, 16).map_err(|_| invalid(format!("chunk {line:?}")))?;
            let before = body.len() as u64;
            (&mut self.reader).take(size).read_to_end(body)?;
            if body.len() as u64 != before + size || !self.line()?.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if size == 0 {
                return Ok(());
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        (&mut self.reader).take(64 * 1024).read_until(b'\n', &mut line)?;
        let Some(line) = line.strip_suffix(b"\r\n") else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        String::from_utf8(line.to_vec()).map_err(|_| invalid("a head that is not UTF-8".into()))
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}
