//! [`Journaled`]: a file system as installers make it, wherever the bench runs.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::http::BYTES;

/// Takes the rounds of all servers, and what one close comparison stores.
const SIZE: u64 = 8 << 30;
/// Smaller ones are made with smaller blocks.
const LEAST: u64 = 1 << 30;
const MOUNTED: &str = "journaled";
const IMAGE: &str = "journaled.img";

/// An ext4 with a journal in a file, mounted. Unmounted when dropped.
#[derive(Debug)]
pub(crate) struct Journaled(PathBuf);

impl Journaled {
    /// Makes it in `folder`, for so small a part of the loads. Needs root.
    pub(crate) fn mount(folder: &Path, part: u64) -> Result<Self> {
        let (image, mounted) = (folder.join(IMAGE), folder.join(MOUNTED));
        fs::create_dir(&mounted)?;
        write_out(&image, (SIZE / part).max(LEAST))?;
        // An installed system has long filled its inode tables. Discarding would undo what was written.
        let extended = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-O", "has_journal", "-E", extended]).arg(&image))?;
        // By losetup: `mount -o loop` first looks at every loop device, also at one whose disk hangs. Past the page cache:
        // else all is copied twice, and a sync of anything waits for whatever else the file below has not yet written.
        let device = run(Command::new("losetup").args(["--find", "--show", "--direct-io=on"]).arg(&image))?;
        let mount = &mut Command::new("mount");
        let outcome = run(mount.args(["-o", "errors=remount-ro", device.trim()]).arg(&mounted)).map(|_| Self(mounted));
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

/// Makes the file with all its blocks written: those of a sparse one are found, and marked as written, while servers are
/// measured.
fn write_out(image: &Path, size: u64) -> Result<()> {
    let mut file = File::create(image)?;
    for _ in 0..size / BYTES.len() as u64 {
        file.write_all(&BYTES)?;
    }
    Ok(file.sync_all()?)
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
