//! docs/operating.md: its commands, run below a folder of the test's own.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use crate::rig::document::block;
use crate::rig::place;
use crate::rig::server::{SECRET, TestServer};

const MANUAL: &str = "docs/operating.md";

#[test]
fn the_installed_files_pass_the_check() {
    let root = Root::new();
    let output = root.run("install", &place::checkout());
    assert!(output.status.success(), "{output:?}");
    let installed = root.path("/usr/local/bin/hmac-file-server");
    assert_eq!(fs::read(installed).expect("binary").len(), fs::read(place::binary()).expect("binary").len());

    // The folder that the service's StateDirectory= makes.
    fs::create_dir_all(root.path("/var/lib/hmac-file-server")).expect("folder");
    let config = root.path("/etc/hmac-file-server/config.toml");
    let text = fs::read_to_string(&config).expect("configuration");
    let text = text.replace("/var/lib/", &format!("{}/var/lib/", root.home()));
    fs::write(&config, text).expect("configuration");
    let output = root.run("check", &place::checkout());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("0 errors, 0 warnings"), "{said}");
}

#[test]
fn a_backup_of_a_running_server_restores_what_it_promised() {
    let root = Root::new();
    let store = root.path("/var/lib/hmac-file-server");
    let server = TestServer::builder().storage(Path::new(&store)).start();
    fs::create_dir_all(root.path("/etc/hmac-file-server")).expect("folder");
    fs::copy(server.config(), root.path("/etc/hmac-file-server/config.toml")).expect("configuration");
    let long = format!("a/{}.txt", "x".repeat(300));
    for slot in ["a/one.txt", "a/two.txt", &long] {
        assert_eq!(server.put(slot, slot.as_bytes()).status, 201);
    }
    assert_whole(&root);

    // One more upload ends between the rows and the files.
    let script = block(MANUAL, "backup").with("\nrsync", "\nread _ < \"$between\"\nrsync");
    let fifo = root.path("/between");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    let script = format!("between={fifo}\n{}", root.filled(&script.text));
    let mut backup = Command::new("sh").args(["-ec", &script]).spawn().expect("sh");
    // Opening it waits for the script to get there.
    let mut between = fs::OpenOptions::new().write(true).open(&fifo).expect("fifo");
    assert_eq!(server.put("a/late.txt", b"late").status, 201);
    let long_ago = SystemTime::now() - Duration::from_secs(600);
    let late = fs::OpenOptions::new().write(true).open(format!("{store}/a/late.txt")).expect("file");
    late.set_modified(long_ago).expect("time");
    std::io::Write::write_all(&mut between, b"\n").expect("fifo");
    assert!(backup.wait().expect("backup").success());
    drop(server);

    fs::remove_dir_all(&store).expect("the disk is lost");
    let output = root.run("restore", &place::checkout());
    assert!(output.status.success(), "{output:?}");
    let output = root.run("adopt", &place::checkout());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 files adopted"), "{output:?}");
    assert_whole(&root);
    let server = TestServer::builder().storage(Path::new(&store)).start();
    for slot in ["a/one.txt", "a/two.txt", &long] {
        assert_eq!(server.get(slot).body, slot.as_bytes());
    }
    assert_eq!(server.get("a/late.txt").body, b"late");
}

/// What docs/operating.md says of files that somebody removed or added by hand.
#[test]
fn files_changed_by_hand_are_found() {
    let root = Root::new();
    let store = root.path("/var/lib/hmac-file-server");
    let server = TestServer::builder().storage(Path::new(&store)).start();
    fs::create_dir_all(root.path("/etc/hmac-file-server")).expect("folder");
    fs::copy(server.config(), root.path("/etc/hmac-file-server/config.toml")).expect("configuration");
    assert_eq!(server.put("a/one.txt", b"one").status, 201);
    fs::remove_file(format!("{store}/a/one.txt")).expect("file");
    fs::write(format!("{store}/a/two.txt"), "two").expect("file");
    assert_eq!(server.get("a/one.txt").status, 500);
    assert_eq!(server.get("a/two.txt").status, 404);
    let output = root.run("check-storage", &place::checkout());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

fn assert_whole(root: &Root) {
    let output = root.run("check-storage", &place::checkout());
    assert!(output.status.success(), "{output:?}");
}

/// A folder that stands for `/`.
struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("folder"))
    }

    fn home(&self) -> String {
        self.0.path().display().to_string()
    }

    fn path(&self, path: &str) -> String {
        format!("{}{path}", self.home())
    }

    fn filled(&self, script: &str) -> String {
        let mut script = script.replace("target/release/hmac-file-server", "$BINARY");
        for folder in ["/usr/local/", "/etc/", "/var/"] {
            script = script.replace(folder, &self.path(folder));
        }
        script
    }

    /// Runs a block of the manual.
    fn run(&self, name: &str, folder: &Path) -> Output {
        let script = self.filled(&block(MANUAL, name).text);
        let binary = place::binary();
        let path = std::env::var("PATH").expect("PATH");
        let path = format!("{}:{path}", binary.parent().expect("a folder").display());
        let mut shell = Command::new("sh");
        shell.args(["-ec", &script]).current_dir(folder).env("PATH", path).env("BINARY", binary);
        shell.env("HMAC_FILE_SERVER__SECURITY__SECRET", SECRET);
        if ["install", "check"].contains(&name) {
            shell.env_remove("HMAC_FILE_SERVER__SECURITY__SECRET");
        }
        shell.output().expect("sh")
    }
}
