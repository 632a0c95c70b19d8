//! docs/migration.md: a tree and a configuration of another server, taken over as they are.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::rig::document::block;
use crate::rig::http::{Response, exchange};
use crate::rig::process::Process;
use crate::rig::server::SECRET;
use crate::rig::{free_port, place, sign, wait_until};

const MANUAL: &str = "docs/migration.md";

#[test]
fn an_original_configuration_and_tree_go_on_working() {
    let home = TempDir::new().expect("folder");
    let files = [
        ("f00d/cat photo.jpg", "a cat"),
        ("flat.png", "from a v3 upload"),
        (".upload_sessions/sess_1/chunk_0", "a chunk"),
        (".metadata/files.db", "a database"),
    ];
    let server = Taken::over(&home, "original", &files, |text| {
        let port = free_port();
        let text = text.with("\"8080\"", &format!("\"{port}\"")).with("\"9090\"", &format!("\"{}\"", free_port()));
        (port, text.with("/srv/hmac-file-server/uploads", &home.path().join("tree").display().to_string()).text)
    });
    assert_eq!(server.get("/f00d/cat%20photo.jpg").body, b"a cat");
    assert_eq!(server.get("/flat.png").header("content-type"), Some("image/png"));
    for private in ["/.upload_sessions/sess_1/chunk_0", "/.metadata/files.db", "/.hfs/meta.sqlite"] {
        assert_eq!(server.get(private).status, 404, "{private}");
    }
    let slot = "f00d/new.jpg";
    assert_eq!(server.put(&format!("/{slot}?{}", sign::v1(SECRET, slot, 5))).status, 201);
    // What somebody linked to must not change.
    let slot = "f00d/cat photo.jpg";
    assert_eq!(server.put(&format!("/{}?{}", sign::encode(slot), sign::v1(SECRET, slot, 5))).status, 409);
}

#[test]
fn a_prosody_filer_tree_goes_on_working() {
    let home = TempDir::new().expect("folder");
    let server = Taken::over(&home, "filer", &[("0f1e/voice.ogg", "a voice")], |text| {
        let port = free_port();
        let text = text.with("127.0.0.1:5050", &format!("127.0.0.1:{port}"));
        (port, text.with("/srv/prosody-filer", &home.path().join("tree").display().to_string()).text)
    });
    assert_eq!(server.get("/upload/0f1e/voice.ogg").body, b"a voice");
    let slot = "0f1e/new.txt";
    assert_eq!(server.put(&format!("/upload/{slot}?{}", sign::v2(SECRET, slot, 5, "text/plain"))).status, 201);
}

/// A server on another one's configuration and files.
struct Taken {
    address: SocketAddr,
    _process: Process,
}

impl Taken {
    fn over(
        home: &TempDir,
        name: &str,
        files: &[(&str, &str)],
        fill: impl FnOnce(crate::rig::document::Block) -> (u16, String),
    ) -> Self {
        files.iter().for_each(|(path, text)| write_old(&home.path().join("tree").join(path), text));
        let (port, text) = fill(block(MANUAL, name).with("paste-the-secret-here", SECRET));
        let config = home.path().join("config.toml");
        fs::write(&config, text).expect("configuration");
        let mut command = Command::new(place::binary());
        command.arg("-config").arg(&config);
        let mut process = Process::start(&command, &home.path().join("server.log"));
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        wait_until("answer from /health", Duration::from_secs(20), || {
            assert!(process.exited().is_none(), "the server ended: {}", process.log());
            exchange(address, "GET", "/health", &[], None).is_ok_and(|answer| answer.status == 200)
        });
        Self { address, _process: process }
    }

    #[track_caller]
    fn get(&self, target: &str) -> Response {
        exchange(self.address, "GET", target, &[], None).expect("answer")
    }

    #[track_caller]
    fn put(&self, target: &str) -> Response {
        exchange(self.address, "PUT", target, &[("Content-Type", "text/plain")], Some(b"hello")).expect("answer")
    }
}

/// A file that nobody has touched for a while.
fn write_old(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
    fs::write(path, text).expect("file");
    let file = fs::File::options().write(true).open(path).expect("file");
    file.set_modified(SystemTime::now() - Duration::from_secs(3600)).expect("time");
}
