//! Generates request streams: mostly valid, with every oddity that readers are known to disagree on.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// One to three pipelined requests, then perhaps some damage.
pub(crate) fn stream() -> impl Strategy<Value = Vec<u8>> {
    let intact = vec(request(), 1..4).prop_map(|requests| requests.concat());
    let damage = prop_oneof![3 => Just(Vec::new()), 1 => vec(damage(), 1..4)];
    (intact, damage).prop_map(|(mut bytes, damages)| {
        for damage in damages {
            damage.apply(&mut bytes);
        }
        bytes
    })
}

/// One byte-level change.
#[derive(Clone, Debug)]
struct Damage {
    at: Index,
    removed: usize,
    inserted: &'static str,
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let at = self.at.index(bytes.len() + 1);
        let end = (at + self.removed).min(bytes.len());
        bytes.splice(at..end, self.inserted.bytes());
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    const PIECES: [&str; 26] = [
        "",
        "",
        "",
        "\n",
        "\r",
        "\r\n",
        "\r\n\r\n",
        " ",
        "\t",
        ":",
        ",",
        ";",
        "0",
        "5",
        "+",
        "-",
        "\0",
        "\x0b",
        "\x7f",
        "é",
        "chunked",
        "0\r\n\r\n",
        "\r\n ",
        "Host: b\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
    ];
    (any::<Index>(), 0_usize..4, select(PIECES.to_vec())).prop_map(|(at, removed, inserted)| Damage {
        at,
        removed,
        inserted,
    })
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    (rarely("\r\n", ""), request_line(), host(), vec(other_header(), 0..4), body())
        .prop_flat_map(|(before, line, host, mut headers, (framing, body))| {
            headers.extend(host);
            headers.extend(framing);
            (Just(before), Just(line), Just(headers).prop_shuffle(), Just(body))
        })
        .prop_map(|(before, line, headers, body)| {
            let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
            [format!("{before}{line}\r\n{headers}\r\n").into_bytes(), body].concat()
        })
}

fn rarely(odd: &'static str, usual: &'static str) -> impl Strategy<Value = &'static str> {
    prop_oneof![1 => Just(odd), 15 => Just(usual)]
}

fn request_line() -> impl Strategy<Value = String> {
    let method = select(vec!["GET", "PUT", "POST", "HEAD", "DELETE", "PATCH", "get", "M-SEARCH"]);
    let path = prop_oneof![
        8 => "/[a-z0-9._~%-]{0,12}",
        2 => "/[!-~]{0,12}",
        2 => "//?[a-z/.;=&]{0,8}\\?[a-z=&?/]{0,8}",
        1 => "http://a/[a-z]{0,3}",
        1 => "https?://[ab](:80)?[/?]?",
        1 => "/ü",
    ];
    let version = prop_oneof![16 => Just("HTTP/1.1"), 3 => Just("HTTP/1.0"), 1 => Just("HTTP/1.2")];
    let other =
        select(vec!["OPTIONS * HTTP/1.1", "CONNECT a:443 HTTP/1.1", "GET / HTTP/2.0", "GET /", "GET  / HTTP/1.1"]);
    let usual = (method, path, version).prop_map(|(method, path, version)| format!("{method} {path} {version}"));
    prop_oneof![20 => usual, 1 => other.prop_map(str::to_owned)]
}

fn host() -> impl Strategy<Value = Vec<String>> {
    let usual = select(vec!["Host: a", "host:a", "HOST:\t a ", "Host: a:80", "Host: [::1]:5281", "Host: a:443"]);
    prop_oneof![
        18 => usual.prop_map(|line| vec![line.to_owned()]),
        1 => Just(Vec::new()),
        1 => Just(vec!["Host: a".to_owned(), "Host: b".to_owned()]),
        1 => Just(vec!["Host : a".to_owned()]),
    ]
}

fn other_header() -> impl Strategy<Value = String> {
    let usual = select(vec![
        "Content-Type: text/plain",
        "Accept: */*",
        "accept: a\r\nACCEPT: b",
        "X-Empty:",
        "X-Spaces:   a  b\t ",
        "X-High: é",
        "Connection: close",
        "Connection: keep-alive",
        "connection: TE , Keep-Alive",
        "Connection: x, close",
        "TE: trailers",
        "Expect: 100-continue",
        "Cookie: a=b; c=\"d\"",
        "Content_Length: 3",
        "X-Content-Length: 3",
        "Trailer: X-Sum",
    ]);
    let odd = select(vec![
        "Expect: bogus",
        "X: a\r\n folded",
        "X Y: z",
        ": z",
        "Upgrade: h2c",
        "Content-Length: 3",
        "NoColon",
    ]);
    let any = "[A-Za-z0-9_-]{1,8}:[ \t]{0,2}[!-~ \t]{0,12}";
    prop_oneof![12 => usual.prop_map(str::to_owned), 1 => odd.prop_map(str::to_owned), 3 => any]
}

/// Header lines and the bytes that they announce, or nearly.
fn body() -> impl Strategy<Value = (Vec<String>, Vec<u8>)> {
    let bytes = || vec(any::<u8>(), 0..40);
    let known = (bytes(), select(vec!["Content-Length: ", "content-length:", "CONTENT-LENGTH:\t0"]))
        .prop_map(|(bytes, name)| (vec![format!("{name}{}", bytes.len())], bytes));
    let coded = (chunks(), select(vec!["Transfer-Encoding: chunked", "transfer-encoding:Chunked "]))
        .prop_map(|(bytes, line)| (vec![line.to_owned()], bytes));
    let odd_length = (select(vec!["+5", "5, 5", "5 5", "-1", "", "0x5", "5,", "99999999999999999999"]), bytes())
        .prop_map(|(value, bytes)| (vec![format!("Content-Length: {value}")], bytes));
    let odd_coding =
        (select(vec!["gzip, chunked", "identity", "chunked, chunked", "xchunked", "", ",chunked"]), chunks())
            .prop_map(|(value, bytes)| (vec![format!("Transfer-Encoding: {value}")], bytes));
    let both = (chunks(), 0_usize..40).prop_map(|(bytes, length)| {
        (vec!["Transfer-Encoding: chunked".to_owned(), format!("Content-Length: {length}")], bytes)
    });
    prop_oneof![
        8 => Just((Vec::new(), Vec::new())),
        8 => known,
        8 => coded,
        1 => odd_length,
        1 => odd_coding,
        1 => both,
    ]
}

/// A chunked body: any split, either case, leading zeros, extensions, trailers.
fn chunks() -> impl Strategy<Value = Vec<u8>> {
    let extension =
        prop_oneof![8 => Just(""), 1 => Just(";a"), 1 => Just("; a=\"b;c\""), 1 => Just(" "), 1 => Just(" ;a=b")];
    let size = |len: usize, form: usize| match form {
        0 => format!("{len:X}"),
        1 => format!("{len:04x}"),
        _ => format!("{len:x}"),
    };
    let chunk = (vec(any::<u8>(), 1..30), 0_usize..6, extension).prop_map(move |(data, form, extension)| {
        [size(data.len(), form).as_bytes(), extension.as_bytes(), b"\r\n", &data, b"\r\n"].concat()
    });
    let last = select(vec!["0", "0", "0", "000", "0;a"]);
    let trailers =
        prop_oneof![6 => Just(""), 1 => Just("X-Sum: 1\r\n"), 1 => Just("A: b\r\nC:\r\n"), 1 => Just("bad\r\n")];
    (vec(chunk, 0..4), last, trailers).prop_map(|(chunks, last, trailers)| {
        [chunks.concat(), format!("{last}\r\n{trailers}\r\n").into_bytes()].concat()
    })
}
