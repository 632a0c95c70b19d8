//! docs/xmpp-servers.md, as far as the tests of Prosody and ejabberd do not already run it.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::rig::document::{block, blocks};
use crate::rig::server::{SECRET, TestServer};
use crate::rig::{place, sign, wait_until};

const MANUAL: &str = "docs/xmpp-servers.md";

#[test]
fn every_lua_block_is_lua() {
    let all = blocks(MANUAL).into_iter().chain(blocks("README.md"));
    for block in all.filter(|block| block.language == "lua") {
        let mut luac = Command::new("luac")
            .args(["-p", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("luac: `cargo xtask test` installs lua5.4");
        luac.stdin.take().expect("stdin").write_all(block.text.as_bytes()).expect("luac reads");
        let output = luac.wait_with_output().expect("luac ends");
        assert!(output.status.success(), "{block:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_readme_has_the_beginning_of_the_manuals_block() {
    let short = block("README.md", "readme-prosody").text;
    let whole = block(MANUAL, "prosody-file-share").text;
    assert!(whole.starts_with(&short), "{short}");
}

#[test]
fn the_metronome_block_names_its_options() {
    let text = block(MANUAL, "metronome").text;
    for option in
        ["http_file_external_url", "http_file_secret", "http_file_external_delete_url", "http_file_delete_secret"]
    {
        assert!(text.contains(&format!("    {option} = \"")), "{option}");
    }
}

#[test]
fn a_secret_that_was_pasted_from_the_manual_is_refused() {
    let home = tempfile::tempdir().expect("folder");
    for secret in ["paste-the-secret-here", "paste-another-secret-here"] {
        let config = home.path().join("config.toml");
        fs::write(&config, format!("[security]\nsecret = \"{secret}\"\n")).expect("configuration");
        let output = Command::new(place::binary()).arg("check").arg("--config").arg(&config).output().expect("check");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.code() == Some(78) && said.contains("published example"), "{said}");
    }
}

#[test]
fn the_log_explains_as_the_manual_says() {
    let server = TestServer::start();
    let wrong = [
        ("/files/f00d/cat.jpg", sign::v1(SECRET, "f00d/cat.jpg", 5), 5),
        // What OMEMO adds.
        ("/f00d/cat.jpg", sign::v1(SECRET, "f00d/cat.jpg", 1024), 1024 + 16),
    ];
    let lines = block(MANUAL, "explanations").text;
    assert_eq!(lines.lines().count(), wrong.len());
    for (line, (target, mac, size)) in lines.lines().zip(wrong) {
        // Again and again: explanations are rationed.
        wait_until(line, Duration::from_secs(5), || {
            let answer = server.request("PUT", &format!("{target}?{mac}"), &[], Some(&vec![7; size]));
            assert_eq!(answer.status, 403, "{}", answer.text());
            server.log().contains(line)
        });
    }
}

#[test]
fn the_upload_by_hand_works() {
    let server = TestServer::builder().base_path("/files").set("security.secret_file", "\"secret\"");
    // As below the packaged unit: the secret is a credential.
    let credentials = tempfile::tempdir().expect("folder");
    fs::write(credentials.path().join("secret"), SECRET).expect("secret");
    let server = server.credentials(credentials.path()).start();
    let script = block(MANUAL, "put")
        .with(
            "CREDENTIALS_DIRECTORY=/etc/hmac-file-server",
            &format!("CREDENTIALS_DIRECTORY={}", credentials.path().display()),
        )
        .with("/etc/hmac-file-server/config.toml", &server.config().display().to_string())
        .with("/tmp/hello.txt", &server.home().join("hello.txt").display().to_string())
        .with("hmac-file-server put", &format!("{} put", place::binary().display()));
    let output = Command::new("sh").args(["-ec", &script.text]).output().expect("sh");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let url = said.split_whitespace().find(|word| word.starts_with("http://") && word.ends_with("/hello.txt"));
    let url = url.unwrap_or_else(|| panic!("no URL: {said}"));
    let target = url.strip_prefix(&format!("http://{}", server.address())).expect("our URL");
    assert_eq!(server.request("GET", target, &[], None).body, b"hello\n");
}
