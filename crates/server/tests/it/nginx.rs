//! nginx in front, as most operators run us: over TCP and a Unix socket, with and without request buffering, below a
//! prefix. And the PROXY protocol, which other front ends speak.

use std::fs;
use std::net::{IpAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::rig::front::{assert_logged, curl};
use crate::rig::http::{Connection, exchange};
use crate::rig::process::Process;
use crate::rig::server::{SECRET, TestServer};
use crate::rig::{document, free_port, sign, wait_until};

#[test]
fn uploads_pass_through_nginx_over_tcp() {
    pass_through(false, true);
    pass_through(false, false);
}

#[test]
fn uploads_pass_through_nginx_over_a_unix_socket() {
    pass_through(true, true);
    pass_through(true, false);
}

#[test]
fn the_proxy_protocol_names_the_client() {
    let server = TestServer::builder()
        .set("server.proxy_protocol", "true")
        .set("server.trusted_proxies", "[\"127.0.0.2\"]")
        .start();
    let mut version_2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    version_2.extend([192, 0, 2, 22, 127, 0, 0, 1, 0x30, 0x39, 0x1f, 0x90]);
    let headers: [(&[u8], &str); 2] =
        [(b"PROXY TCP4 192.0.2.11 127.0.0.1 12345 8080\r\n", "192.0.2.11"), (&version_2, "192.0.2.22")];
    for (header, client) in headers {
        let slot = format!("proxied/{client}.txt");
        let target = format!("{}?{}", server.target(&slot), sign::v1(SECRET, &slot, 5));
        let mut connection = Connection::open_from(IpAddr::from([127, 0, 0, 2]), server.address()).expect("connection");
        connection.send(header).expect("PROXY header");
        assert_eq!(connection.request("PUT", &target, &[], Some(b"hello")).expect("answer").status, 201);
        assert_logged(&server, &slot, client);
    }

    // A stranger's header is no header: it is a malformed request.
    let mut stranger = Connection::open_from(IpAddr::from([127, 0, 0, 3]), server.address()).expect("connection");
    stranger.send(headers[0].0).expect("PROXY header");
    let answer = stranger.request("GET", "/health", &[], None);
    assert!(answer.as_ref().map_or(true, |answer| answer.status == 400), "{answer:?}");
}

fn pass_through(unix: bool, buffering: bool) {
    let port = free_port();
    let public_url = format!("http://127.0.0.1:{port}/files");
    let socket_folder = tempfile::tempdir().expect("folder");
    let socket = socket_folder.path().join("http.sock");
    let own_port = free_port();
    let server = TestServer::builder()
        .base_path("/files")
        .set("server.listen_address", &format!("[\"127.0.0.1:{own_port}\", \"unix:{}\"]", socket.display()))
        .set("server.public_url", &format!("\"{public_url}\""))
        .set("server.trusted_proxies", "[\"127.0.0.1\", \"unix\"]")
        .port(own_port)
        .start();
    let upstream = if unix { format!("unix:{}", socket.display()) } else { server.address().to_string() };
    let _nginx = start_nginx(&server, port, &upstream, buffering);

    let slot = format!("{unix}-{buffering}/Grüße & co%.bin");
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let file = server.home().join("body.bin");
    fs::write(&file, &body).expect("file");
    let url = format!("{public_url}/{}", sign::encode(&slot));
    let signed = format!("{url}?{}", sign::v1(SECRET, &slot, body.len() as u64));
    // Its own source address makes the client another one than nginx.
    let upload = ["-T", file.to_str().expect("path"), "--interface", "127.0.0.5", "-H", "Expect:", &signed];
    assert_eq!(curl(&upload), "201");
    assert_logged(&server, &slot, "127.0.0.5");

    let target = format!("/files/{}", sign::encode(&slot));
    let front = ([127, 0, 0, 1], port).into();
    let got = exchange(front, "GET", &target, &[], None).expect("answer");
    assert!(got.status == 200 && got.body == body, "{}: {} bytes", got.status, got.body.len());
    let head = exchange(front, "HEAD", &target, &[], None).expect("answer");
    assert_eq!(head.header("content-length"), Some("3000000"));
    let part = exchange(front, "GET", &target, &[("Range", "bytes=-10")], None).expect("answer");
    assert!(part.status == 206 && part.body == body[body.len() - 10..], "{}", part.status);
    // A forged address from the client itself is not believed: nginx appends, and the right-most counts.
    let forged = ["-o", "/dev/null", "--interface", "127.0.0.6", "-H", "X-Forwarded-For: 6.6.6.6", &url];
    assert_eq!(curl(&forged), "200");
    wait_until("log line of the download", Duration::from_secs(5), || server.log().contains("client=127.0.0.6"));
    let log = server.log();
    assert!(!log.contains("client=6.6.6.6"));
    let mut ends = log.lines().filter(|line| line.contains(" finished\"") || line.contains(" finished "));
    assert!(ends.all(|line| line.contains("measured_at=\"proxy\"")), "{log}");
}

/// nginx with the configuration that the manual tells operators to write.
fn start_nginx(server: &TestServer, port: u16, upstream: &str, buffering: bool) -> Process {
    let home = server.home().join("nginx");
    fs::create_dir_all(&home).expect("folder");
    let config = home.join("nginx.conf");
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let (name, said) = match upstream.strip_prefix("unix:") {
        Some(_) => ("nginx-unix", "unix:/run/hmac-file-server/http.sock"),
        None => ("nginx", "127.0.0.1:8080"),
    };
    let upstream = document::block("docs/proxy.md", name).with(said, upstream).text;
    let (upstream, _) = upstream.split_once("\n}\n").expect("the upstream comes first");
    let mut location = document::block("docs/proxy.md", "nginx-prefix");
    if buffering {
        location = location.with("proxy_request_buffering off", "proxy_request_buffering on");
    }
    let location = location.text;
    let home = home.display();
    let text = format!(
        r#"
{user}
daemon off;
worker_processes 1;
pid {home}/nginx.pid;
error_log {home}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    {upstream}
    }}
    server {{
        listen 127.0.0.1:{port};
        {location}
    }}
}}
"#
    );
    fs::write(&config, text).expect("configuration");
    let mut command = Command::new("nginx");
    command.arg("-c").arg(&config).arg("-e").arg(format!("{home}/error.log"));
    let nginx = Process::start(&command, &server.home().join("nginx.log"));
    wait_until("answer from nginx", Duration::from_secs(10), || TcpStream::connect(("127.0.0.1", port)).is_ok());
    nginx
}
