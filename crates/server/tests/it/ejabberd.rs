//! A real ejabberd signs the slots (`external_secret`), slixmpp uploads into them, anyone downloads.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::rig::process::Process;
use crate::rig::server::{SECRET, TestServer};
use crate::rig::xmpp::{self, Wish};
use crate::rig::{document, free_port, wait_until};

/// SHA-1 of `alice@localhost`: what ejabberd puts first into the path.
const OWNER: &str = "9637f279e87dc3aba7eb582ceceaa621fa695865";

#[test]
fn twelve_awkward_names_travel_through_ejabberd_slots() {
    let server = TestServer::builder().base_path("/upload").start();
    let ejabberd = Ejabberd::start(&server);
    let outcomes = xmpp::upload(ejabberd.port, "upload.localhost", &xmpp::awkward());
    for outcome in &outcomes {
        if outcome.size == 0 {
            // ejabberd gives no slot for nothing.
            let error = outcome.error.as_deref().unwrap_or("a slot");
            assert!(error.starts_with("not-acceptable") || error.starts_with("bad-request"), "{error}");
            continue;
        }
        xmpp::assert_served(&server, outcome);
        let target = xmpp::target(&server, outcome.get.as_deref().expect("uploaded"));
        assert_eq!(target.split('/').nth(2), Some(OWNER), "{target}");
    }
}

#[test]
fn dot_slots_that_ejabberd_signs_are_refused_and_change_nothing() {
    let server = TestServer::builder().base_path("/upload").start();
    let ejabberd = Ejabberd::start(&server);
    let before = server.stored();
    let wishes = [".", ".."].map(|name| Wish { name: name.to_owned(), size: 4 });
    let slots = xmpp::slots(ejabberd.port, "upload.localhost", &wishes);
    let signed: Vec<_> = slots.iter().filter_map(|slot| slot.put.as_deref()).collect();
    assert!(!signed.is_empty(), "ejabberd signed no dot slot: nothing was tested: {slots:?}");
    for url in signed {
        let answer = server.request("PUT", xmpp::target(&server, url), &[], Some(b"evil"));
        assert!((400..500).contains(&answer.status), "{url}: {} {}", answer.status, answer.text());
        assert_eq!(server.stored(), before, "{url}");
    }
}

/// ejabberd on loopback, where any name and password is an account.
///
/// Started by `erl` and not by `ejabberdctl`: that wants root or the packaged user, and leaves a port mapper daemon
/// behind.
struct Ejabberd {
    port: u16,
    process: Process,
}

impl Ejabberd {
    fn start(server: &TestServer) -> Self {
        let home = server.home().join("ejabberd");
        fs::create_dir_all(&home).expect("folder");
        let port = free_port();
        let config = home.join("ejabberd.yml");
        fs::write(&config, configuration(port, &server.public_url())).expect("configuration");
        let mut command = Command::new("erl");
        command
            .args(["-noinput", "-mnesia", "dir", &format!("{:?}", home.join("spool").display().to_string())])
            .args(["-s", "ejabberd"])
            .current_dir(&home)
            .env("HOME", &home)
            .env("ERL_LIBS", libraries())
            .env("ERL_CRASH_DUMP", home.join("crash.dump"))
            .env("EJABBERD_CONFIG_PATH", &config)
            .env("EJABBERD_LOG_PATH", home.join("ejabberd.log"));
        let process = Process::start(&command, &home.join("output.log"));
        let mut ejabberd = Self { port, process };
        wait_until("answer from ejabberd", Duration::from_secs(60), || {
            let ended = ejabberd.process.exited();
            assert!(ended.is_none(), "ejabberd ended: {ended:?}");
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        ejabberd
    }
}

/// The folder that holds ejabberd among the other Erlang libraries: `/usr/lib/<machine>`.
fn libraries() -> PathBuf {
    let holds = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("ejabberd-"))
    };
    let folders = fs::read_dir("/usr/lib").expect("/usr/lib").flatten().map(|entry| entry.path());
    folders.into_iter().find(|folder| holds(folder)).expect("ejabberd is not installed: run `cargo xtask test`")
}

fn configuration(port: u16, public_url: &str) -> String {
    // As the manual tells operators to write it.
    let modules = document::block("docs/xmpp-servers.md", "ejabberd")
        .with("https://files.example.org", public_url)
        .with("paste-the-secret-here", SECRET)
        .text;
    format!(
        r#"
hosts: [localhost]
loglevel: info
auth_method: [anonymous]
anonymous_protocol: login_anon
allow_multiple_connections: true
acl:
  local:
    user_regexp: ""
access_rules:
  local:
    allow: local
listen:
  - port: {port}
    ip: "127.0.0.1"
    module: ejabberd_c2s
    starttls: false
    starttls_required: false
{modules}  mod_disco: {{}}
"#
    )
}
