//! `sign`: makes a slot as an XMPP server would, for trying the server out and for scripts.
//!
//! It only computes: nothing is sent. Keys come from the configuration, never from arguments, which others on the
//! machine can read. Called by the command line.

use std::fmt;

use clap::{Args, ValueEnum};
use hfs_core::auth::{self, CannotSign, Dialect, Keyring, SlotRequest};
use hfs_core::{ByteSize, InvalidSlotPath, SlotPath, Timestamp, media};

/// Longest life of a slot: a year. Longer is a typing mistake.
const MAX_LIFE_SECONDS: u32 = 366 * 24 * 60 * 60;

/// Arguments of `sign`.
#[derive(Args, Clone, Debug)]
pub struct SignArgs {
    /// Path below the base URL, not percent-encoded: "some-id/holiday.jpg"
    pub path: String,

    /// Exact size of the file in bytes, or with a unit: 1048576, 1MiB
    #[arg(long)]
    pub size: ByteSize,

    /// Which server's way of signing
    #[arg(long, value_enum, default_value_t = DialectArg::V2)]
    pub dialect: DialectArg,

    /// Media type of the file [default: what its name says]
    #[arg(long = "type", value_name = "TYPE")]
    pub media_type: Option<String>,

    /// Bare JID of the owner, for file-share and jwt
    #[arg(long, value_name = "JID")]
    pub user: Option<String>,

    /// Seconds until the slot expires, for v3, file-share and jwt
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_LIFE_SECONDS)))]
    pub valid_for: u32,

    /// Seconds until the file is deleted, for file-share [default: never]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub delete_after: Option<u32>,
}

/// [`Dialect`] on the command line.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum DialectArg {
    /// ejabberd, and Prosody's mod_http_upload_external by default
    V1,
    /// Prosody's mod_http_upload_external with protocol "v2"
    V2,
    /// Metronome's mod_http_upload_external
    Token,
    /// The v3 URLs of the original hmac-file-server
    V3,
    /// Prosody's built-in mod_http_file_share
    FileShare,
    /// The plain JWT of the original hmac-file-server
    Jwt,
    /// Metronome's DELETE
    Delete,
}

impl From<DialectArg> for Dialect {
    fn from(argument: DialectArg) -> Self {
        match argument {
            DialectArg::V1 => Self::V1,
            DialectArg::V2 => Self::V2,
            DialectArg::Token => Self::Token,
            DialectArg::V3 => Self::V3,
            DialectArg::FileShare => Self::FileShare,
            DialectArg::Jwt => Self::Jwt,
            DialectArg::Delete => Self::Delete,
        }
    }
}

/// A slot, ready for a client. `Display` prints what a person types next.
#[derive(Clone)]
pub struct SignedSlot {
    /// Method of the signed request: `PUT`, or `DELETE` for Metronome's.
    pub method: &'static str,
    /// Where to send it.
    pub put_url: String,
    /// Where the file can be read.
    pub get_url: String,
    /// Headers to send with it.
    pub headers: Vec<(String, String)>,
}

// The URL and the headers grant writing: they are printed on request only.
impl fmt::Debug for SignedSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedSlot")
            .field("method", &self.method)
            .field("get_url", &self.get_url)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for SignedSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.method, self.put_url)?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {value}")?;
        }
        if self.method == "PUT" {
            writeln!(f, "GET {}", self.get_url)?;
        }
        Ok(())
    }
}

/// Why no slot was signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The path can be no slot.
    #[error("`{path}` can be no slot: {source}")]
    Path {
        /// As it was given.
        path: String,
        /// What is wrong with it.
        source: InvalidSlotPath,
    },
    /// The type fits no header.
    #[error("`{0}` is no media type: write something like image/jpeg")]
    MediaType(String),
    /// The key is missing, or the dialect cannot express the request.
    #[error(transparent)]
    Cannot(#[from] CannotSign),
}

/// Signs a slot below `base_url` (with or without its trailing slash).
///
/// # Errors
/// The path or the type is unfit, or the configuration has no key for the dialect.
pub fn run(args: &SignArgs, keys: &Keyring, base_url: &str, now: Timestamp) -> Result<SignedSlot, SignError> {
    let slot = SlotPath::parse(&args.path).map_err(|source| SignError::Path { path: args.path.clone(), source })?;
    let media_type = args.media_type.clone().unwrap_or_else(|| media::type_of_name(slot.file_name()).to_owned());
    if !media_type.contains('/') || !media_type.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(SignError::MediaType(media_type));
    }
    let request = SlotRequest {
        slot: &slot,
        size: args.size,
        media_type: Some(&media_type),
        owner: args.user.as_deref(),
        issued: now,
        valid_until: now.plus_seconds(args.valid_for.into()),
        delete_at: args.delete_after.map(|seconds| now.plus_seconds(seconds.into())),
    };
    let signed = auth::sign(args.dialect.into(), &request, keys)?;
    let get_url = format!("{}/{}", base_url.trim_end_matches('/'), signed.path);
    let put_url = signed.query.map_or_else(|| get_url.clone(), |query| format!("{get_url}?{query}"));
    let deletes = args.dialect == DialectArg::Delete;
    let content_type = (!deletes).then(|| ("Content-Type".to_owned(), media_type));
    let authorization = signed.authorization.map(|value| ("Authorization".to_owned(), value));
    Ok(SignedSlot {
        method: if deletes { "DELETE" } else { "PUT" },
        put_url,
        get_url,
        headers: content_type.into_iter().chain(authorization).collect(),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use hfs_core::auth::{BodyLength, Head, Proof, Secret, authorize, authorize_delete};

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix(1_795_376_000);

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: SignArgs,
    }

    fn args(line: &[&str]) -> Result<SignArgs, clap::Error> {
        Cli::try_parse_from([&["sign"], line].concat()).map(|cli| cli.args)
    }

    fn keys() -> Keyring {
        Keyring {
            secrets: vec![Secret::new("a shared secret")],
            delete_secret: Some(Secret::new("a delete secret")),
            jwt_secret: Some(Secret::new("a token secret")),
            ..Keyring::default()
        }
    }

    fn header<'a>(slot: &'a SignedSlot, name: &str) -> Option<&'a str> {
        slot.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn every_dialect_signs_what_the_server_accepts() {
        let path = SlotPath::parse("some-id/Grüße 1.txt").unwrap();
        let proofs = [
            ("v1", Some(Proof::V1)),
            ("v2", Some(Proof::V2)),
            ("token", Some(Proof::Token)),
            ("v3", Some(Proof::V3)),
            ("file-share", Some(Proof::FileShare)),
            ("jwt", Some(Proof::Jwt)),
            ("delete", None),
        ];
        for (dialect, proof) in proofs {
            let line = ["some-id/Grüße 1.txt", "--size", "1KiB", "--type", "text/plain", "--dialect", dialect];
            let signed = run(&args(&line).unwrap(), &keys(), "https://example.org/upload/", NOW).unwrap();
            assert_eq!(signed.get_url, "https://example.org/upload/some-id/Gr%c3%bc%c3%9fe%201.txt");
            let head = Head {
                slot: &path,
                query: signed.put_url.strip_prefix(&*signed.get_url).unwrap().strip_prefix('?'),
                authorization: header(&signed, "Authorization"),
                content_type: header(&signed, "Content-Type"),
                length: BodyLength::Known(ByteSize::kib(1)),
            };
            assert_eq!(authorize(&head, &keys(), NOW).ok().map(|grant| grant.proof()), proof, "{dialect}");
            assert_eq!(authorize_delete(&head, &keys()).is_ok(), proof.is_none(), "{dialect}");
            assert_eq!(signed.method, if proof.is_some() { "PUT" } else { "DELETE" });
        }
    }

    #[test]
    fn a_slot_prints_as_requests() {
        let line = ["a/b.txt", "--size", "5", "--type", "text/plain", "--dialect", "v1"];
        let signed = run(&args(&line).unwrap(), &keys(), "http://127.0.0.1:8080", NOW).unwrap();
        let text = signed.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("PUT http://127.0.0.1:8080/a/b.txt?v="), "{text}");
        assert_eq!(lines[1..], ["Content-Type: text/plain", "GET http://127.0.0.1:8080/a/b.txt"]);
        assert!(!format!("{signed:?}").contains("v="));
    }

    #[test]
    fn bad_arguments_are_explained() {
        for line in
            [&["a/b"][..], &["a/b", "--size", "-1"], &["--size", "5"], &["a/b", "--size", "5", "--valid-for", "0"]]
        {
            assert!(args(line).is_err(), "{line:?}");
        }
        let failed = |line: &[&str], keys: &Keyring| {
            run(&args(line).unwrap(), keys, "http://localhost", NOW).unwrap_err().to_string()
        };
        let dots = ["a/../b", "--size", "5", "--type", "text/plain"];
        assert_eq!(failed(&dots, &keys()), "`a/../b` can be no slot: the path has a `.` or `..` element");
        let no_type = ["a/b", "--size", "5", "--type", "text"];
        assert_eq!(failed(&no_type, &keys()), "`text` is no media type: write something like image/jpeg");
        let good = ["a/b", "--size", "5", "--type", "text/plain"];
        assert_eq!(failed(&good, &Keyring::default()), "no secret is configured");
    }
}
