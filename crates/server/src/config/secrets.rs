//! The keys: from the file or from files of their own, refused when weak or published. Nothing here prints one.

use std::io;
use std::path::{Path, PathBuf};

use hfs_core::auth::{JwtAlgorithm, Keyring, Secret};

use super::kind::{self, Place};
use super::resolve::Resolver;

/// Shorter secrets can be guessed offline from one signed URL.
const MIN_BYTES: usize = 16;

/// Secrets that stand in published examples, templates and manuals, in lower case.
const PUBLISHED: [&str; 24] = [
    "your-secret-key-here",
    "changeme",
    "secret",
    "your-hmac-secret-key-here",
    "your-very-secret-hmac-key",
    "your-very-secret-hmac-key-here",
    "your-jwt-secret-here",
    "your-jwt-secret-key-here",
    "your-256-bit-secret",
    "test-secret-key-for-adaptive-testing",
    "default-secret-change-me",
    "your-secure-hmac-secret-here",
    "your-strong-secret-key-here",
    "your-super-secret-hmac-key-here",
    "your-production-secret-here",
    "your-shared-secret-here",
    "your-secret-here",
    "your-hmac-secret-here",
    "replace-with-a-strong-secret",
    "change-this-secret-in-production",
    "mysecretmysecret",
    "paste-the-secret-here",
    "paste-another-secret-here",
    "0123456789abcdef0123456789abcdef",
];

/// Everything in `[security]`.
pub(super) fn keyring(r: &mut Resolver<'_, '_>) -> Keyring {
    let mut keys = Keyring { jwt_algorithm: algorithm(r), ..Keyring::default() };
    keys.secrets = collect(r, &["security.secret", "security.secrets"], Some("security.secret_file"));
    keys.delete_secret = only(r, "security.delete_secret", "security.delete_secret_file");
    if r.or("security.enablejwt", kind::bool, false) {
        keys.jwt_secret = only(r, "security.jwtsecret", "security.jwtsecret_file");
        if keys.jwt_secret.is_none() && !r.has("security.jwtsecret") && !r.has("security.jwtsecret_file") {
            let at = r.place("security.enablejwt");
            r.notes.error(&at, "`enablejwt` needs `jwtsecret` or `jwtsecret_file`");
        }
    } else if r.has("security.jwtsecret") || r.has("security.jwtsecret_file") {
        let at = r.place(if r.has("security.jwtsecret") { "security.jwtsecret" } else { "security.jwtsecret_file" });
        r.notes.notice(&at, "not used while `enablejwt` is false");
    }
    keys.x_signature = r.or("compat.x_signature", kind::bool, false);
    let said = ["security.secret", "security.secrets", "security.secret_file", "security.enablejwt"];
    if keys.secrets.is_empty() && keys.jwt_secret.is_none() && !said.iter().any(|path| r.has(path)) {
        let finding = r.notes.error(&Place::Nowhere, "there is no secret: nobody could upload");
        finding.help =
            Some("set `[security] secret` or `secret_file`; make one with `openssl rand -hex 32`".to_owned());
    }
    keys
}

/// `[admin] token` and its file.
pub(super) fn admin_token(r: &mut Resolver<'_, '_>) -> Option<Secret> {
    only(r, "admin.token", "admin.token_file")
}

fn algorithm(r: &mut Resolver<'_, '_>) -> JwtAlgorithm {
    let words = |node: &kind::Node| kind::choice(node, &["HS256", "HS384", "HS512"]);
    match r.or("security.jwtalgorithm", words, "HS256") {
        "HS384" => JwtAlgorithm::Hs384,
        "HS512" => JwtAlgorithm::Hs512,
        _ => JwtAlgorithm::Hs256,
    }
}

fn only(r: &mut Resolver<'_, '_>, inline: &'static str, file: &'static str) -> Option<Secret> {
    let mut all = collect(r, &[inline], Some(file));
    if all.len() > 1 {
        let at = r.place(if r.has(inline) { inline } else { file });
        r.notes.error(&at, format!("`{inline}` takes one secret"));
    }
    all.pop()
}

fn collect(r: &mut Resolver<'_, '_>, inline: &[&'static str], file: Option<&'static str>) -> Vec<Secret> {
    let mut found = Vec::new();
    for path in inline {
        found.extend(r.read(path, kind::secrets).unwrap_or_default());
    }
    for (path, at) in file.and_then(|file| r.read(file, kind::list)).unwrap_or_default() {
        match from_file(r, &path) {
            Ok(secret) => found.push((secret, at)),
            Err(message) => {
                r.notes.error(&at, message);
            }
        }
    }
    let mut good = Vec::new();
    for (secret, at) in found {
        match fault(&secret) {
            None => good.push(Secret::new(secret)),
            Some(fault) => {
                let help = "make one with `openssl rand -hex 32`, and tell it to whoever needs it".to_owned();
                r.notes.error(&at, fault).help = Some(help);
            }
        }
    }
    good
}

/// What is wrong with a secret.
fn fault(secret: &str) -> Option<String> {
    let lower = secret.trim().to_ascii_lowercase();
    let distinct = secret.bytes().collect::<std::collections::BTreeSet<u8>>().len();
    if secret.is_empty() {
        Some("the secret is empty".to_owned())
    } else if PUBLISHED.contains(&lower.as_str()) {
        Some("this secret stands in a published example: everyone knows it".to_owned())
    } else if secret.len() < MIN_BYTES {
        Some(format!("the secret is too short: {} bytes of at least {MIN_BYTES}", secret.len()))
    } else if distinct < 5 {
        Some(format!("the secret is weak: only {distinct} different characters"))
    } else {
        None
    }
}

fn from_file(r: &Resolver<'_, '_>, path: &str) -> Result<String, String> {
    let mut tried = PathBuf::new();
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for candidate in candidates(path, r.credentials.as_deref()) {
        match (r.files)(&candidate) {
            Ok(text) => {
                return one_line(&text).ok_or_else(|| format!("{} has more than one line", candidate.display()));
            }
            Err(error) => (tried, last) = (candidate, error),
        }
        if last.kind() != io::ErrorKind::NotFound {
            break;
        }
    }
    Err(format!("cannot read {}: {last}", tried.display()))
}

/// Where a secret's file may lie: a bare name first among systemd's credentials.
fn candidates(path: &str, credentials: Option<&Path>) -> Vec<PathBuf> {
    let named = ["$CREDENTIALS_DIRECTORY/", "${CREDENTIALS_DIRECTORY}/"].iter().find_map(|p| path.strip_prefix(p));
    match (named, credentials) {
        (Some(rest), Some(folder)) => vec![folder.join(rest)],
        (None, Some(folder)) if !path.contains('/') => vec![folder.join(path), PathBuf::from(path)],
        _ => vec![PathBuf::from(path)],
    }
}

/// The text without the newline that editors add.
fn one_line(text: &str) -> Option<String> {
    let line = text.trim_end_matches(['\n', '\r']);
    (!line.contains('\n')).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_and_published_secrets_are_faults() {
        for bad in ["", "tiny", "Your-Secret-Key-Here", "your-hmac-secret-key-here", "aaaaaaaaaaaaaaaaaaaa"] {
            let fault = fault(bad).unwrap();
            assert!(bad.is_empty() || !fault.contains(bad), "{fault}");
        }
        assert_eq!(fault("4f1c9e0a77d2b35e"), None);
        assert!(PUBLISHED.iter().all(|secret| *secret == secret.to_ascii_lowercase()));
    }

    #[test]
    fn a_bare_name_is_a_credential_first() {
        let folder = Some(Path::new("/run/credentials/x"));
        assert_eq!(candidates("key", folder), [Path::new("/run/credentials/x/key"), Path::new("key")]);
        assert_eq!(candidates("${CREDENTIALS_DIRECTORY}/key", folder), [Path::new("/run/credentials/x/key")]);
        assert_eq!(candidates("/etc/key", folder), [Path::new("/etc/key")]);
        assert_eq!(candidates("key", None), [Path::new("key")]);
    }

    #[test]
    fn only_the_last_newline_is_not_the_secret() {
        assert_eq!(one_line("abc \r\n"), Some("abc ".to_owned()));
        assert_eq!(one_line("abc\ndef\n"), None);
    }
}
