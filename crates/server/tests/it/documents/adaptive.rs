//! docs/adaptive.md: its commands, against a server of the test's own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use crate::rig::document::block;
use crate::rig::server::{Builder, TestServer};
use crate::rig::unfinished::Unfinished;
use crate::rig::{place, wait_until};

const MANUAL: &str = "docs/adaptive.md";
const ADMIN_TOKEN: &str = "0b7d1c93e5f24a6880cf9e2d4b6a8c1e";

/// A server as the manual configures it, and what its commands need beside them.
struct Trial {
    server: TestServer,
    home: tempfile::TempDir,
}

impl Trial {
    fn start(change: impl FnOnce(Builder) -> Builder) -> Self {
        let home = tempfile::tempdir().expect("folder");
        let file = home.path().join("admin-token");
        fs::write(&file, ADMIN_TOKEN).expect("token");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("mode");
        let builder = TestServer::builder()
            .set("security.enablejwt", "true")
            .set("security.jwtsecret", "\"f3c0a9d17b5e42688e0d3c7a91b24f56\"")
            .set("admin.token_file", &format!("{:?}", file.display().to_string()));
        let server = change(builder).start();
        fs::copy(server.config(), home.path().join("config.toml")).expect("configuration");
        Self { server, home }
    }

    /// What a block of the manual prints.
    #[track_caller]
    fn run(&self, name: &str) -> String {
        let script = block(MANUAL, name).with("http://127.0.0.1:8080", &self.server.public_url());
        let script = script.text.replace("/etc/hmac-file-server", &self.home.path().display().to_string());
        let binary = place::binary();
        let path = std::env::var("PATH").expect("PATH");
        let path = format!("{}:{path}", binary.parent().expect("a folder").display());
        let output = Command::new("sh").args(["-ec", &script]).current_dir(self.home.path()).env("PATH", path).output();
        let output = output.expect("sh");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }
}

#[test]
fn the_routes_work_wherever_clients_see_the_server() {
    let behind_a_proxy =
        Trial::start(|server| server.without_public_url().set("server.trusted_proxies", "\"127.0.0.1\""));
    let elsewhere = Trial::start(|server| server.set("server.public_url", "\"https://files.example.org\""));
    for (trial, url) in [(behind_a_proxy, "/"), (elsewhere, "https://files.example.org/")] {
        let said = trial.run("routes");
        assert_eq!(said.matches(&format!("\"url\":\"{url}")).count(), 3, "{said}");
    }
}

#[test]
fn the_steps_work_as_they_are_written() {
    let trial = Trial::start(Builder::without_public_url);
    let (server, run) = (&trial.server, |name| trial.run(name));
    let said = run("routes");
    assert_eq!(said.matches("\"success\":true").count(), 3);
    assert_eq!(said.matches(&format!("\"url\":\"{}/", server.public_url())).count(), 3, "{said}");
    let log = server.log();
    for (arm, transfers) in [("standard", 2), ("adaptive", 5)] {
        let seen = log.lines().filter(|line| line.contains("finished") && line.contains(&format!("arm=\"{arm}\"")));
        assert_eq!(seen.count(), transfers, "{arm}: {log}");
    }
    let reports = run("benchmarks");
    let results = reports.lines().last().expect("results");
    let results: serde_json::Value = serde_json::from_str(results).expect("JSON");
    assert_eq!(results["results"].as_array().expect("a list").len(), 8);
    let compared = run("compare");
    for name in
        ["upload_duration_seconds_sum", "adaptive_upload_duration_seconds_count", "adaptive_download_errors_total"]
    {
        assert!(compared.lines().any(|line| line.starts_with(&format!("{name} "))), "no {name} in {compared}");
    }
    let forged = format!("{}?v=00", server.target("s/forged.bin"));
    assert_eq!(server.request("PUT", &forged, &[], Some(b"refused")).status, 403);
    Unfinished::begin(server, "s/cut.bin", &[7; 300_000]).reset();
    let line = |slot: &str| {
        let log = server.log();
        log.lines().find(|line| line.contains("Upload refused") && line.contains(slot)).map(str::to_owned)
    };
    wait_until("line of the upload that was cut", Duration::from_secs(10), || line("s/cut.bin").is_some());
    let cut = line("s/cut.bin").expect("a line");
    assert!(cut.contains("arm=\"adaptive\"") && cut.contains("quality="), "{cut}");
    let refused = line("s/forged.bin").expect("a line");
    assert!(!refused.contains("arm="), "it took no path: {refused}");
    let errors = run("errors");
    let expected =
        "download adaptive: 0 of 2\ndownload standard: 0 of 1\nupload adaptive: 1 of 4\nupload standard: 0 of 1\n";
    assert_eq!(errors, expected, "what was refused is no path's error");
    server.assert_whole();
}
