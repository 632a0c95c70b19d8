//! File systems of a test's own: small ones that fill up, and one whose power can be cut.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use rustix::fs::{Advice, fadvise};
use rustix::process::{Signal, geteuid};
use tempfile::TempDir;

use super::process::Process;
use super::wait_until;

/// A frozen disk makes whoever mounts or unmounts something else wait for it: while one can be frozen, no other is used.
static DISKS: RwLock<()> = RwLock::new(());

/// Fails the test, with the reason, where it may not mount.
#[track_caller]
fn require_root() {
    assert!(geteuid().is_root(), "this test mounts a file system, which needs root");
}

/// Runs to the end and returns standard output.
#[track_caller]
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of our own")
}

/// A mounted file system in a folder of its own. Dropping unmounts it; drop what uses it first.
pub(crate) struct Mounted {
    folder: PathBuf,
    _home: Option<TempDir>,
    _shared: Option<RwLockReadGuard<'static, ()>>,
}

impl Mounted {
    /// An ext4 of this size on a loop device.
    #[track_caller]
    pub(crate) fn ext4(mebibytes: u64) -> Self {
        Self::made(|image| make_ext4(image, mebibytes, JOURNAL))
    }

    /// A btrfs on which this is all that may be stored, by anybody: its own quota. Those of ext4 and XFS are options that
    /// kernels may lack, and root is exempt from some of them.
    #[track_caller]
    pub(crate) fn with_quota(mebibytes: u64) -> Self {
        let mounted = Self::made(|image| {
            make_image(image, 1024);
            run("unshare", &["--mount", "sh", "-c", WITHOUT_LOOPS, "sh", "mkfs.btrfs", "-q", text(image)]);
        });
        let folder = text(&mounted.folder);
        run("btrfs", &["quota", "enable", folder]);
        run("btrfs", &["qgroup", "limit", &format!("{mebibytes}M"), folder]);
        mounted
    }

    /// What `make` makes of an image, on a loop device.
    #[track_caller]
    fn made(make: impl FnOnce(&Path)) -> Self {
        require_root();
        let home = tempfile::tempdir().expect("temporary folder");
        let image = home.path().join("disk.img");
        make(&image);
        let folder = home.path().join("mounted");
        let shared = Some(DISKS.read().unwrap_or_else(PoisonError::into_inner));
        let mut mounted = Self::image(&image, &folder);
        mounted._home = Some(home);
        mounted._shared = shared;
        mounted
    }

    /// An ext4 that promises more than the device below it holds: writing it back fails with EIO.
    #[track_caller]
    pub(crate) fn thin(promised_mebibytes: u64, real_mebibytes: u64) -> (Self, Self) {
        let below = Self::tmpfs(&format!("size={real_mebibytes}m"));
        let image = below.path().join("disk.img");
        make_ext4(&image, promised_mebibytes, JOURNAL);
        let folder = below._home.as_ref().expect("made above").path().join("thin");
        (Self::image(&image, &folder), below)
    }

    /// A tmpfs with these mount options.
    #[track_caller]
    pub(crate) fn tmpfs(options: &str) -> Self {
        require_root();
        let home = tempfile::tempdir().expect("temporary folder");
        let folder = home.path().join("mounted");
        fs::create_dir(&folder).expect("folder");
        let shared = Some(DISKS.read().unwrap_or_else(PoisonError::into_inner));
        run("mount", &["-t", "tmpfs", "-o", options, "tmpfs", text(&folder)]);
        Self { folder, _home: Some(home), _shared: shared }
    }

    /// By `losetup` and not by `mount -o loop`: that one looks at the file behind every loop device of the machine
    /// first, and waits for ever where one of them is on a disk that some test has frozen.
    fn image(image: &Path, folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("folder");
        let device = run("losetup", &["--find", "--show", text(image)]);
        let mounted = Command::new("mount").args([device.trim(), text(folder)]).output().expect("mount runs");
        // The device goes with its last user; without this it would stay after the unmount.
        run("losetup", &["--detach", device.trim()]);
        assert!(mounted.status.success(), "mount {}: {}", image.display(), String::from_utf8_lossy(&mounted.stderr));
        Self { folder: folder.to_owned(), _home: None, _shared: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }

    /// Takes every block that is left, as another program would: the file that holds them.
    #[track_caller]
    pub(crate) fn fill(&self) -> PathBuf {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let path = self.folder.join(format!("filler-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        let mut filler = fs::File::create(&path).expect("filler");
        for step in [1 << 20, 4 << 10, 1 << 10] {
            // Synced each time: what is only promised to the file can still be refused to it.
            while filler.write_all(&vec![1; step]).and_then(|()| filler.sync_all()).is_ok() {}
        }
        path
    }

    /// Takes every file name that is left, in a folder of their own.
    #[track_caller]
    pub(crate) fn fill_inodes(&self) -> PathBuf {
        let folder = self.folder.join("fillers");
        fs::create_dir(&folder).expect("folder");
        let _ = (0..).try_for_each(|number| fs::File::create(folder.join(number.to_string())).map(drop));
        folder
    }

    /// Aborts the journal of an ext4, as an error of the disk does: from then on nothing can be written.
    #[track_caller]
    pub(crate) fn turn_read_only(&self) {
        run("mount", &["-o", "remount,abort", text(&self.folder)]);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a process that still dies must not keep a test from ending.
        let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}

/// `mkfs.btrfs` looks at the file behind every loop device that is mounted: it fails where one of them is on a disk that a
/// test which was killed has left behind.
const WITHOUT_LOOPS: &str = "for mounted in $(sed -n 's|^/dev/loop[^ ]* \\([^ ]*\\) .*|\\1|p' /proc/self/mounts)
    do umount -l \"$mounted\"; done; exec \"$@\"";

const JOURNAL: [&str; 4] = ["-E", "lazy_itable_init=1,lazy_journal_init=1", "-J", "size=4"];
const NO_JOURNAL: [&str; 4] = ["-E", "lazy_itable_init=1", "-O", "^has_journal"];

fn make_image(image: &Path, mebibytes: u64) {
    fs::File::create(image).and_then(|file| file.set_len(mebibytes << 20)).expect("image");
}

fn make_ext4(image: &Path, mebibytes: u64, options: [&str; 4]) {
    make_image(image, mebibytes);
    run("mkfs.ext4", &[&["-q", "-F", "-m", "0"], &options[..], &[text(image)]].concat());
}

/// An ext4 on a disk that another process emulates, so that it can stop as if the power was cut: whatever the kernel
/// had not sent to the disk by then is gone.
pub(crate) struct PowerCutDisk {
    // Dropped in this order: killing the emulator first, so that unmounting has nothing to wait for.
    emulator: Process,
    _mounted: Mounted,
    _export: Export,
    home: TempDir,
    has_journal: bool,
    _alone: RwLockWriteGuard<'static, ()>,
}

/// The file that is the disk. Its mount outlives the emulator, so it is unmounted after it.
struct Export(PathBuf);

impl Drop for Export {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

impl PowerCutDisk {
    #[track_caller]
    pub(crate) fn new(mebibytes: u64) -> Self {
        Self::of(mebibytes, "", JOURNAL)
    }

    /// One on which nothing but a sync brings a name to the disk: a journal takes along what others have synced.
    #[track_caller]
    pub(crate) fn without_journal(mebibytes: u64) -> Self {
        Self::of(mebibytes, "", NO_JOURNAL)
    }

    /// A disk with limits, as `qemu-storage-daemon` spells them: `x-bps-write=2000000,x-iops-write=50`.
    #[track_caller]
    pub(crate) fn throttled(mebibytes: u64, limits: &str) -> Self {
        Self::of(mebibytes, limits, JOURNAL)
    }

    #[track_caller]
    fn of(mebibytes: u64, limits: &str, options: [&str; 4]) -> Self {
        require_root();
        let alone = DISKS.write().unwrap_or_else(PoisonError::into_inner);
        let home = tempfile::tempdir().expect("temporary folder");
        let image = home.path().join("disk.img");
        make_ext4(&image, mebibytes, options);
        let export = home.path().join("export.img");
        fs::File::create(&export).expect("export");
        let mut command = Command::new("qemu-storage-daemon");
        command
            .args(["--object", format!("throttle-group,id=limits,{limits}").trim_end_matches(',')])
            .args(["--blockdev", &format!("driver=file,node-name=image,filename={}", image.display())])
            .args(["--blockdev", "driver=throttle,node-name=disk,throttle-group=limits,file=image"])
            .args([
                "--export",
                &format!("type=fuse,id=disk,node-name=disk,writable=on,mountpoint={}", export.display()),
            ]);
        let mut emulator = Process::start(&command, &home.path().join("emulator.log"));
        wait_until("exported disk", Duration::from_secs(10), || {
            assert!(emulator.exited().is_none(), "qemu-storage-daemon ended: {}", emulator.log());
            fs::metadata(&export).is_ok_and(|file| file.len() == mebibytes << 20)
        });
        let mounted = Mounted::image(&export, &home.path().join("mounted"));
        let has_journal = options == JOURNAL;
        Self { emulator, _mounted: mounted, _export: Export(export), home, has_journal, _alone: alone }
    }

    pub(crate) fn path(&self) -> &Path {
        &self._mounted.folder
    }

    /// Drops what memory holds of a file that is written back, so that its next reader waits for the disk.
    #[track_caller]
    pub(crate) fn forget(&self, path: &Path) {
        let file = fs::File::open(path).expect("a file on the disk");
        fadvise(&file, 0, None, Advice::DontNeed).expect("its pages are given up");
        self.forget_itself();
    }

    /// Drops what memory holds of the disk, which is a file, too, and of no file on it.
    #[track_caller]
    pub(crate) fn forget_itself(&self) {
        let disk = fs::File::open(&self._export.0).expect("the disk");
        fadvise(&disk, 0, None, Advice::DontNeed).expect("its pages are given up");
    }

    /// Stops the disk in the middle of whatever it does. It runs again, for clean-up, when the value is dropped.
    pub(crate) fn cut(&self) -> Cut<'_> {
        self.emulator.signal(Signal::STOP);
        let status = format!("/proc/{}/stat", self.emulator.pid());
        wait_until("frozen disk", Duration::from_secs(5), || {
            // The state follows the name in parentheses.
            let stat = fs::read_to_string(&status).unwrap_or_default();
            stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
        });
        Cut { disk: self }
    }
}

/// A disk without power.
pub(crate) struct Cut<'a> {
    disk: &'a PowerCutDisk,
}

impl Cut<'_> {
    /// The file system as the next boot finds it, from what the disk really holds. The disk goes on once it is copied.
    #[track_caller]
    pub(crate) fn after_reboot(&self) -> Mounted {
        let home = self.disk.home.path();
        let copy = home.join("after.img");
        run("timeout", &["60", "cp", "--sparse=always", text(&home.join("disk.img")), text(&copy)]);
        self.disk.emulator.signal(Signal::CONT);
        if !self.disk.has_journal {
            // As every boot does before it mounts such a file system. Status 1: it had something to mend.
            let check = Command::new("e2fsck").args(["-f", "-y", text(&copy)]).output().expect("e2fsck runs");
            assert!(check.status.code().is_some_and(|code| code <= 1), "e2fsck: {check:?}");
        }
        Mounted::image(&copy, &home.join("after"))
    }
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        self.disk.emulator.signal(Signal::CONT);
    }
}
