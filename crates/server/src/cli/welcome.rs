//! What a trial says to the person who started it: commands to try it, and what to write into the XMPP server.

use std::io::{self, IsTerminal, Write};

use aws_lc_rs::hmac;

use super::trial::hex;
use crate::config::Config;

/// What the printed command uploads.
const BODY: &str = "Hello from hmac-file-server";

/// Welcomes on `out` when a person reads it. The text has the secret in it: anything but a terminal (a pipe, a file, a
/// journal) would keep it, and gets nothing.
///
/// # Errors
/// The terminal cannot be written, or there is no randomness.
pub fn greet(
    config: &Config,
    base_url: &str,
    outlives_terminal: bool,
    out: &mut (impl Write + IsTerminal),
) -> io::Result<()> {
    if out.is_terminal() { welcome(config, base_url, outlives_terminal, out) } else { Ok(()) }
}

/// Writes two `curl` commands that work as they stand, and the snippets for Prosody and ejabberd, all at once: the log has
/// the same terminal, and no line of it may come between those that are to be copied. `base_url` is where the server
/// answers, such as `http://127.0.0.1:8080`; the configured public URL outranks it in the snippets. `outlives_terminal`: only
/// Ctrl-C is said to end the trial.
///
/// # Errors
/// `out` cannot be written, or there is no randomness.
pub fn welcome(config: &Config, base_url: &str, outlives_terminal: bool, out: &mut dyn Write) -> io::Result<()> {
    let mut text = Vec::new();
    compose(config, base_url, outlives_terminal, &mut text)?;
    out.write_all(&text)
}

fn compose(config: &Config, base_url: &str, outlives_terminal: bool, out: &mut Vec<u8>) -> io::Result<()> {
    let Some(secret) = config.keys.secrets.first() else { return Ok(()) };
    let base = base_url.trim_end_matches('/');
    let slot = demo_slot()?;
    let message = format!("{slot} {}", BODY.len());
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
    let mac = hex(hmac::sign(&key, message.as_bytes()).as_ref());
    let base = match config.http.base_path.as_str() {
        path if base.ends_with(path) => base.to_owned(),
        path => format!("{base}{path}"),
    };
    writeln!(out, "\nhmac-file-server runs for trial on {base}, with files in {}.", config.storage.path.display())?;
    writeln!(out, "\nUpload a file, then download it:\n")?;
    writeln!(
        out,
        "curl -sS -X PUT -H 'Content-Type: text/plain' --data-binary '{BODY}' -w '%{{http_code}}\\n' '{base}/{slot}?v={mac}'"
    )?;
    writeln!(out, "curl -sS '{base}/{slot}'")?;
    let public = config.http.public_url.as_deref().unwrap_or(&base);
    let secret = String::from_utf8_lossy(secret.expose());
    snippets(public, &secret, config, out)?;
    let end = if outlives_terminal { "Ctrl-C ends" } else { "Ctrl-C or closing the terminal ends" };
    writeln!(out, "\nThe secret above lets anyone upload: keep it. {end} the trial; its files stay.")
}

fn snippets(base: &str, secret: &str, config: &Config, out: &mut Vec<u8>) -> io::Result<()> {
    let (base, secret) = (quoted(base), quoted(secret));
    let limit = config.limits.max_size.map_or(100 << 20, hfs_core::ByteSize::as_u64);
    write!(
        out,
        "
Prosody, with the community module mod_http_upload_external:

Component \"upload.example.org\" \"http_upload_external\"
    http_upload_external_base_url = \"{base}/\"
    http_upload_external_secret = \"{secret}\"
    http_upload_external_protocol = \"v2\"
    http_upload_external_file_size_limit = {limit}

or with the built-in mod_http_file_share (Prosody 0.12 and later):

Component \"upload.example.org\" \"http_file_share\"
    http_file_share_base_url = \"{base}/\"
    http_file_share_secret = \"{secret}\"
    http_file_share_size_limit = {limit}

ejabberd:

modules:
  mod_http_upload:
    put_url: \"{base}\"
    get_url: \"{base}\"
    external_secret: \"{secret}\"
    max_size: {limit}
"
    )
}

/// For a string in double quotes; Lua and YAML agree on these two.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

fn demo_slot() -> io::Result<String> {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(format!("trial-{}/hello.txt", hex(&random)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::trial::trial_config;
    use crate::config::Overrides;

    fn printed(public_url: Option<&str>) -> (String, String) {
        let folder = tempfile::tempdir().unwrap();
        let overrides = Overrides { public_url: public_url.map(str::to_owned), ..Overrides::default() };
        let config = trial_config(folder.path(), &overrides).unwrap();
        let mut out = Vec::new();
        welcome(&config, "http://127.0.0.1:8080", false, &mut out).unwrap();
        (String::from_utf8(out).unwrap(), String::from_utf8(config.keys.secrets[0].expose().to_vec()).unwrap())
    }

    #[test]
    fn the_printed_upload_is_signed_over_path_and_length() {
        let (text, secret) = printed(None);
        let put = text.lines().find(|line| line.starts_with("curl") && line.contains("PUT")).unwrap();
        let url = put.rsplit('\'').nth(1).unwrap().strip_prefix("http://127.0.0.1:8080/").unwrap();
        let (slot, mac) = url.split_once("?v=").unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let message = format!("{slot} {}", BODY.len());
        assert_eq!(mac, hex(hmac::sign(&key, message.as_bytes()).as_ref()));
        assert!(text.contains(&format!("curl -sS 'http://127.0.0.1:8080/{slot}'")));
        assert_ne!(printed(None).0, text, "each trial has a slot of its own");
    }

    #[test]
    fn the_snippets_have_the_real_secret_and_url() {
        let (text, secret) = printed(Some("https://f.example.org/up/"));
        assert_eq!(text.matches(&secret).count(), 3);
        assert!(text.contains("http_upload_external_base_url = \"https://f.example.org/up/\"\n"));
        assert!(text.contains("http_file_share_base_url = \"https://f.example.org/up/\"\n"));
        assert!(text.contains("put_url: \"https://f.example.org/up\"\n"));
        // The command goes to the server itself, which still strips the base path.
        assert!(text.contains("'http://127.0.0.1:8080/up/trial-"), "{text}");
    }

    #[test]
    fn closing_the_terminal_is_said_to_end_the_trial_only_where_it_does() {
        let folder = tempfile::tempdir().unwrap();
        let config = trial_config(folder.path(), &Overrides::default()).unwrap();
        for outlives_terminal in [false, true] {
            let mut out = Vec::new();
            welcome(&config, "http://127.0.0.1:8080", outlives_terminal, &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text.contains("closing the terminal"), !outlives_terminal, "{text}");
            assert!(text.contains("Ctrl-C"), "{text}");
        }
    }

    #[test]
    fn all_of_it_comes_at_once() {
        struct Counting(u32);
        impl Write for Counting {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 += 1;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let config = trial_config(folder.path(), &Overrides::default()).unwrap();
        let mut out = Counting(0);
        welcome(&config, "http://127.0.0.1:8080", false, &mut out).unwrap();
        assert_eq!(out.0, 1);
    }

    #[test]
    fn a_pipe_learns_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let config = trial_config(folder.path(), &Overrides::default()).unwrap();
        let path = folder.path().join("out");
        let mut file = std::fs::File::create(&path).unwrap();
        greet(&config, "http://127.0.0.1:8080", false, &mut file).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
    }
}
