//! [`Journaled`]: a file system as installers make it, wherever the bench runs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// Sparse: takes what the servers store.
const SIZE: u64 = 16 << 30;
const MOUNTED: &str = "journaled";
const IMAGE: &str = "journaled.img";

/// An ext4 with a journal in a file, mounted. Unmounted when dropped.
#[derive(Debug)]
pub(crate) struct Journaled(PathBuf);

impl Journaled {
    /// Makes it in `folder`. Needs root.
    pub(crate) fn mount(folder: &Path) -> Result<Self> {
        let (image, mounted) = (folder.join(IMAGE), folder.join(MOUNTED));
        fs::create_dir(&mounted)?;
        File::create(&image)?.set_len(SIZE)?;
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-O", "has_journal"]).arg(&image))?;
        // By losetup: `mount -o loop` first looks at every loop device, also at one whose disk hangs.
        let device = run(Command::new("losetup").args(["--find", "--show"]).arg(&image))?;
        // An installed system has long filled its inode tables, which would make much dirty meanwhile.
        let mount = &mut Command::new("mount");
        let outcome = run(mount.args(["-o", "noinit_itable", device.trim()]).arg(&mounted)).map(|_| Self(mounted));
        // The device goes with its last user.
        run(Command::new("losetup").args(["--detach", device.trim()]))?;
        outcome
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Journaled {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

/// Unmounts what a run that was killed has left in its folder.
pub(crate) fn unmount_in(folder: &Path) {
    let mounted = folder.join(MOUNTED);
    if !mounted.exists() {
        return;
    }
    unmount(&mounted);
    // Killed before it was mounted.
    let devices =
        run(Command::new("losetup").args(["--noheadings", "--output", "NAME", "--associated"]).arg(folder.join(IMAGE)));
    for device in devices.iter().flat_map(|names| names.split_whitespace()) {
        let _ = run(Command::new("losetup").args(["--detach", device]));
    }
}

/// Lazily: servers may still be dying.
fn unmount(mounted: &Path) {
    let _ = Command::new("umount").arg("--lazy").arg(mounted).output();
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
