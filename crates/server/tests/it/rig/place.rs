//! Where the tests find what `cargo xtask test` provides.

use std::env;
use std::path::{Path, PathBuf};

/// The server under test; `HFS_TEST_BINARY` names another one, for instance an installed package.
pub(crate) fn binary() -> PathBuf {
    env::var_os("HFS_TEST_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_hmac-file-server").into(), PathBuf::from)
}

/// Root of the checkout.
pub(crate) fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The Python interpreter that has the clients' packages.
pub(crate) fn python() -> PathBuf {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let venv = set("HFS_TEST_VENV").unwrap_or_else(|| {
        let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
        cache.expect("HOME is not set").join("hmac-file-server/venv")
    });
    let python = venv.join("bin/python");
    assert!(python.exists(), "{} is missing: `cargo xtask test` makes it", python.display());
    python
}
