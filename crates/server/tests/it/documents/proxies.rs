//! docs/proxy.md: every proxy's block, run by that proxy.

use std::fs;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use crate::rig::document::block;
use crate::rig::front::{assert_transparent, curl};
use crate::rig::process::Process;
use crate::rig::server::TestServer;
use crate::rig::{free_port, place, wait_until};

const MANUAL: &str = "docs/proxy.md";
const CERTIFICATE: &str = "/etc/ssl/files.example.org/fullchain.pem";
const KEY: &str = "/etc/ssl/files.example.org/privkey.pem";

#[test]
fn the_nginx_block_works() {
    let (server, port) = behind("https", "[\"127.0.0.1\", \"::1\"]", false);
    let home = server.home().join("nginx");
    fs::create_dir_all(&home).expect("folder");
    let (certificate, key) = tls();
    let site = block(MANUAL, "nginx")
        .with("127.0.0.1:8080", &server.address().to_string())
        .with("listen 443", &format!("listen 127.0.0.1:{port}"))
        .with(CERTIFICATE, &certificate)
        .with(KEY, &key)
        .text;
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let home = home.display();
    let text = format!(
        "{user}\ndaemon off;\npid {home}/pid;\nevents {{}}\nhttp {{\ntypes {{}}\ngzip on; gzip_types *; gzip_proxied any;\n\
         access_log off;\nclient_body_temp_path {home}/b;\nproxy_temp_path {home}/p;\nfastcgi_temp_path {home}/f;\n\
         uwsgi_temp_path {home}/u;\nscgi_temp_path {home}/s;\n{site}}}\n"
    );
    let mut command = Command::new("nginx");
    command.args(["-e", &format!("{home}/error.log"), "-c"]).arg(written(&server, "nginx.conf", &text));
    let _nginx = start(&server, &command, port);
    assert_transparent(&server, &format!("https://127.0.0.1:{port}"));
    assert_http2(port);
}

#[test]
fn the_haproxy_block_works() {
    let (server, port) = behind("https", "[\"127.0.0.2\"]", true);
    let (certificate, key) = tls();
    let pair = [certificate, key].map(|file| fs::read_to_string(file).expect("PEM")).concat();
    let pair = written(&server, "pair.pem", &pair);
    let text = block(MANUAL, "haproxy")
        .with("bind :443", &format!("bind 127.0.0.1:{port}"))
        .with("/etc/haproxy/files.example.org.pem", &pair)
        .with("127.0.0.1:8080", &server.address().to_string())
        // The test itself comes from 127.0.0.1 to see whether the server is up, and speaks no PROXY protocol.
        .with("send-proxy-v2", "send-proxy-v2 source 127.0.0.2")
        .text;
    let mut command = Command::new("haproxy");
    command.args(["-db", "-f"]).arg(written(&server, "haproxy.cfg", &text));
    let _haproxy = start(&server, &command, port);
    assert_transparent(&server, &format!("https://127.0.0.1:{port}"));
    assert_http2(port);
}

#[test]
fn the_caddy_block_works() {
    let (server, port) = behind("http", "[\"127.0.0.1\", \"::1\"]", false);
    // An address with http and a port keeps Caddy from asking an authority for a certificate.
    let site = block(MANUAL, "caddy")
        .with("files.example.org", &format!("http://127.0.0.1:{port}"))
        .with("127.0.0.1:8080", &server.address().to_string())
        .text;
    let text = format!("{{\n\tadmin off\n\tauto_https off\n}}\n{site}");
    let mut command = Command::new("caddy");
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(written(&server, "Caddyfile", &text));
    command.env("HOME", server.home()).env_remove("XDG_CONFIG_HOME").env_remove("XDG_DATA_HOME");
    let _caddy = start(&server, &command, port);
    assert_transparent(&server, &format!("http://127.0.0.1:{port}"));
}

#[test]
fn the_apache_block_works() {
    let (server, port) = behind("https", "[\"127.0.0.1\", \"::1\"]", false);
    let (certificate, key) = tls();
    let site = block(MANUAL, "apache")
        .with("*:443", &format!("127.0.0.1:{port}"))
        .with(CERTIFICATE, &certificate)
        .with(KEY, &key)
        .with("http://127.0.0.1:8080", &format!("http://{}", server.address()))
        .text;
    let modules = "mpm_event authz_core filter deflate reqtimeout env ssl socache_shmcb http2 proxy proxy_http";
    let modules =
        modules.split(' ').map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"));
    let user = if rustix::process::geteuid().is_root() { "User www-data\nGroup www-data\n" } else { "" };
    let home = server.home().display();
    // With Debian's compression of texts.
    let text = format!(
        "ServerRoot {home}\nServerName localhost\nPidFile {home}/apache.pid\nErrorLog {home}/apache-error.log\n\
         DefaultRuntimeDir {home}\nMutex sem\n{}{user}Listen 127.0.0.1:{port}\n\
         AddOutputFilterByType DEFLATE text/html text/plain text/xml\n{site}",
        modules.collect::<String>()
    );
    let mut command = Command::new("apache2");
    command.args(["-D", "FOREGROUND", "-f"]).arg(written(&server, "apache.conf", &text));
    let _apache = start(&server, &command, port);
    assert_transparent(&server, &format!("https://127.0.0.1:{port}"));
    assert_http2(port);
}

/// A server, and the port of the proxy that it knows of.
fn behind(scheme: &str, trusted: &str, proxy_protocol: bool) -> (TestServer, u16) {
    let port = free_port();
    let server = TestServer::builder()
        .set("server.public_url", &format!("\"{scheme}://127.0.0.1:{port}/\""))
        .set("server.trusted_proxies", trusted);
    let server = if proxy_protocol { server.set("server.proxy_protocol", "true") } else { server };
    (server.start(), port)
}

fn tls() -> (String, String) {
    let file = |name: &str| place::checkout().join("testdata/tls").join(name).display().to_string();
    (file("cert.pem"), file("key.pem"))
}

fn written(server: &TestServer, name: &str, text: &str) -> String {
    let path = server.home().join(name);
    fs::write(&path, text).expect("file");
    path.display().to_string()
}

/// Starts the proxy and waits until it listens.
fn start(server: &TestServer, command: &Command, port: u16) -> Process {
    let mut process = Process::start(command, &server.home().join("proxy.log"));
    wait_until("answer from the proxy", Duration::from_secs(20), || {
        assert!(process.exited().is_none(), "the proxy ended: {}", process.log());
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    process
}

fn assert_http2(port: u16) {
    let version = curl(&["-o", "/dev/null", "-w", "%{http_version} ", &format!("https://127.0.0.1:{port}/health")]);
    assert!(version.starts_with('2'), "{version}");
}
