//! A real Prosody 0.12 signs the slots, slixmpp uploads into them, anyone downloads.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::rig::process::Process;
use crate::rig::server::{SECRET, TestServer};
use crate::rig::xmpp::{self, PASSWORD, Wish};
use crate::rig::{document, free_port, wait_until};

#[test]
fn twelve_awkward_names_travel_through_v1_slots() {
    travel_through("v1.localhost");
}

#[test]
fn twelve_awkward_names_travel_through_v2_slots() {
    travel_through("v2.localhost");
}

#[test]
fn twelve_awkward_names_travel_through_file_share_tokens() {
    travel_through("jwt.localhost");
}

#[test]
fn dot_slots_that_prosody_signs_are_refused_and_change_nothing() {
    let server = TestServer::builder().base_path("/upload").start();
    let prosody = Prosody::start(&server);
    let before = server.stored();
    let mut signed = 0;
    for service in ["v1.localhost", "v2.localhost", "jwt.localhost"] {
        let wishes = [".", ".."].map(|name| Wish { name: name.to_owned(), size: 4 });
        for slot in xmpp::slots(prosody.port, service, &wishes) {
            let Some(url) = slot.put.as_deref() else { continue };
            signed += 1;
            let mut headers = vec![("Content-Type", slot.media_type.as_str())];
            headers.extend(slot.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            let answer = server.request("PUT", xmpp::target(&server, url), &headers, Some(b"evil"));
            assert!((400..500).contains(&answer.status), "{service} {url}: {} {}", answer.status, answer.text());
            assert_eq!(server.stored(), before, "{service} {url}");
        }
    }
    assert!(signed > 0, "Prosody signed no dot slot: nothing was tested");
}

fn travel_through(service: &str) {
    let server = TestServer::builder().base_path("/upload").start();
    let prosody = Prosody::start(&server);
    let outcomes = xmpp::upload(prosody.port, service, &xmpp::awkward());
    for outcome in &outcomes {
        xmpp::assert_served(&server, outcome);
    }
}

/// Prosody on loopback with one upload component per kind of proof, and one account.
struct Prosody {
    port: u16,
    process: Process,
}

impl Prosody {
    fn start(server: &TestServer) -> Self {
        let home = server.home().join("prosody");
        fs::create_dir_all(home.join("data")).expect("folder");
        let port = free_port();
        let config = home.join("prosody.cfg.lua");
        fs::write(&config, configuration(&home, port, &server.public_url())).expect("configuration");
        register(&config);
        let mut command = Command::new("prosody");
        command.args(["-F", "--config"]).arg(&config);
        let process = Process::start(&command, &home.join("output.log"));
        let mut prosody = Self { port, process };
        wait_until("answer from Prosody", Duration::from_secs(20), || {
            let ended = prosody.process.exited();
            assert!(ended.is_none(), "Prosody ended: {ended:?}");
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        prosody
    }
}

fn register(config: &Path) {
    let output = Command::new("prosodyctl")
        .arg("--config")
        .arg(config)
        .args(["register", "alice", "localhost", PASSWORD])
        .output()
        .expect("prosodyctl runs");
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "prosodyctl: {said}");
}

fn configuration(home: &Path, port: u16, public_url: &str) -> String {
    let home = home.display();
    let http_port = free_port();
    let components =
        [("prosody-v1", "v1.localhost"), ("prosody-v2", "v2.localhost"), ("prosody-file-share", "jwt.localhost")]
            .map(|(name, host)| component(name, host, public_url))
            .join("\n");
    format!(
        r#"
run_as_root = true
pidfile = "{home}/prosody.pid"
data_path = "{home}/data"
plugin_paths = {{ "/usr/lib/prosody/modules" }}
log = {{ debug = "{home}/prosody.log"; warn = "*console" }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}
http_ports = {{ {http_port} }}
http_interfaces = {{ "127.0.0.1" }}
https_ports = {{ }}
modules_enabled = {{ "roster", "saslauth", "disco" }}
modules_disabled = {{ "s2s", "tls", "posix_unused" }}
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "internal_plain"

VirtualHost "localhost"

{components}"#
    )
}

/// The component as the manual tells operators to write it.
fn component(name: &str, host: &str, public_url: &str) -> String {
    let block = document::block("docs/xmpp-servers.md", name)
        .with("upload.example.org", host)
        .with("https://files.example.org/", &format!("{public_url}/"))
        .with("paste-the-secret-here", SECRET);
    block.text
}
