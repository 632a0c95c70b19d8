//! The virtual environment of the Python clients. Called by `test`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::run::run;

/// Folder of an environment that holds exactly `tools/requirements.txt`, made when there is none yet.
pub(crate) fn ensure(checkout: &Path, cache: &Path) -> Result<PathBuf> {
    let requirements = checkout.join("tools/requirements.txt");
    let wanted =
        fs::read_to_string(&requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    let venv = cache.join("venv");
    // Written last, so an interrupted installation is made again. It names the interpreter too: after an upgrade of
    // the system's Python the old environment's compiled modules no longer load.
    let stamp = venv.join("installed.txt");
    let wanted = format!("{}{wanted}", interpreter()?);
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(venv);
    }
    println!("Installing the Python clients into {}", venv.display());
    if venv.exists() {
        fs::remove_dir_all(&venv).with_context(|| format!("cannot remove {}", venv.display()))?;
    }
    fs::create_dir_all(cache).with_context(|| format!("cannot create {}", cache.display()))?;
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    run(Command::new(venv.join("bin/python"))
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--requirement"])
        .arg(&requirements))
    .context("the Python packages of the tests cannot be installed")?;
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(venv)
}

fn interpreter() -> Result<String> {
    let version = crate::run::output(Command::new("python3").args(["-c", "import sys; print('#', sys.version)"]));
    version.context("python3 does not run")
}
