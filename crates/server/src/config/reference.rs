//! Renders the register of keys as `docs/configuration.md`.

use std::fmt::Write;

use super::keys::{self, Key, Status};

const INTRODUCTION: &str = "# Configuration

One TOML file, by default `./config.toml`; `--config FILE` or the variable `HMAC_FILE_SERVER_CONFIG` name another.
`hmac-file-server check --config FILE` judges it without starting anything; `hmac-file-server config example` prints a
commented one.

- Every key can also be set by the environment: `HMAC_FILE_SERVER__SERVER__STORAGE_PATH` is `[server] storage_path`.
  The environment outranks the file, and command-line flags outrank both.
- Names are compared without regard to case and underscores, and older spellings work with a warning. A name that does
  not exist is an error.
- Sizes: `512KB`, `10MB`, `1.5GB` (times 1024) or a number of bytes. Durations: `30s`, `1h30m`, `500ms`, `7d` or a
  number of seconds. A list may also be one string with commas.
- `SIGHUP` reads the file again. A bad file changes nothing. Addresses, the storage folder, the log file and whether
  there is TLS stay until the next start; a notice names what else does.
- A configuration that cannot be used ends the program with status 78.

This file is generated from the program's own register of keys: `UPDATE_DOCS=1 cargo test -p hmac-file-server --lib
configuration_manual` writes it.
";

/// The manual of every key, in Markdown.
#[must_use]
pub fn reference() -> String {
    let mut out = INTRODUCTION.to_owned();
    active(&mut out);
    let later = "## Not built yet\n\nAccepted and named in a warning, without an effect. Those marked **refused** guard \
                 something or decide where files lie:\nswitching them on refuses to start.\n";
    table(&mut out, later, |key| matches!(key.status, Status::NotBuilt | Status::Refused));
    let void = "## Without a meaning here\n\nAccepted with a warning, so that older files load.\n";
    table(&mut out, void, |key| matches!(key.status, Status::Meaningless | Status::Always));
    out
}

fn active(out: &mut String) {
    let mut section = "";
    let mut sections: Vec<&str> = Vec::new();
    for key in keys::all().filter(|key| key.status == Status::Active) {
        if !sections.contains(&key.section()) {
            sections.push(key.section());
        }
    }
    for wanted in sections {
        for key in keys::all().filter(|key| key.status == Status::Active && key.section() == wanted) {
            if section != wanted {
                let _ = write!(out, "\n## [{wanted}]\n");
                section = wanted;
            }
            entry(out, key);
        }
    }
}

fn entry(out: &mut String, key: &Key) {
    let _ = write!(out, "\n### `{}`\n\n{}\n\n- Value: {}\n", key.name(), key.doc, key.kind.name());
    if !key.default.is_empty() {
        let _ = writeln!(out, "- Default: `{}`", key.default);
    }
    let _ = writeln!(out, "- Environment: `HMAC_FILE_SERVER__{}`", key.path.replace('.', "__").to_uppercase());
    let list = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if !key.same.is_empty() {
        let _ = writeln!(out, "- Also written: {}", list(key.same));
    }
    if !key.older.is_empty() {
        let _ = writeln!(out, "- Older spellings: {}", list(key.older));
    }
}

fn table(out: &mut String, heading: &str, wanted: impl Fn(&Key) -> bool) {
    let _ = write!(out, "\n{heading}\n| Key | |\n|---|---|\n");
    for key in keys::all().filter(|key| wanted(key)) {
        let mark = if key.status == Status::Refused { " **refused**" } else { "" };
        let _ = writeln!(out, "| `{}` | {}{mark} |", key.path, key.doc);
    }
}
