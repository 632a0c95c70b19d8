//! The Debian packages that tests need: one table, and their installation.
//!
//! A package counts as present when the thing that the tests use is there, whoever put it there; so other
//! distributions work when their packages are installed by hand. Called by `test`; the table is rendered by `docs`.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::place;
use crate::run::{output, run};

/// How to see that a package is there.
#[derive(Clone, Copy)]
pub(crate) enum Evidence {
    /// A program on the path.
    Program(&'static str),
    /// A file at a fixed place.
    File(&'static str),
    /// A module of the system's Python.
    PythonModule(&'static str),
}

/// One row of the table.
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) evidence: Evidence,
    /// Files of `crates/server/tests/it` that use it.
    pub(crate) tests: &'static str,
    pub(crate) purpose: &'static str,
}

const fn program(name: &'static str, program: &'static str, tests: &'static str, purpose: &'static str) -> Package {
    Package { name, evidence: Evidence::Program(program), tests, purpose }
}

/// Everything that any test needs.
pub(crate) const PACKAGES: &[Package] = &[
    program("apache2-bin", "apache2", "documents", "runs the manual's Apache block"),
    program("btrfs-progs", "mkfs.btrfs", "disk_full", "a file system with a quota"),
    program("caddy", "caddy", "documents, bench", "runs the manual's Caddy block"),
    program(
        "curl",
        "curl",
        "prosody, ejabberd, trial, nginx, http2, tls, reload, logs, commands, documents, disk_trouble",
        "an HTTP client that is not ours",
    ),
    program("e2fsprogs", "mkfs.ext4", "disk_full, powercut", "small file systems"),
    program("eatmydata", "eatmydata", "powercut", "shows that the test bites: fsync does nothing"),
    program("ejabberd", "ejabberdctl", "ejabberd", "signs slots"),
    program("faketime", "faketime", "clock", "a server whose clock jumps"),
    program("haproxy", "haproxy", "documents", "runs the manual's HAProxy block"),
    program("iproute2", "ip", "netlab, links, share, bench", "addresses in network namespaces"),
    program("lua5.4", "luac", "documents", "reads the manual's blocks for Prosody and Metronome"),
    program("mount", "mount", "disk_full, powercut", "loop and tmpfs mounts"),
    program("nginx", "nginx", "nginx, documents", "the reverse proxy in front"),
    program("openssl", "openssl", "prosody, ejabberd, tls, documents, bench", "certificates; secrets"),
    program("prosody", "prosodyctl", "prosody, bench", "signs slots"),
    Package {
        name: "prosody-modules",
        evidence: Evidence::File("/usr/lib/prosody/modules/mod_http_upload_external/mod_http_upload_external.lua"),
        tests: "prosody",
        purpose: "mod_http_upload_external",
    },
    Package {
        name: "python3-venv",
        evidence: Evidence::PythonModule("ensurepip"),
        tests: "prosody, ejabberd",
        purpose: "the environment of the Python clients",
    },
    program("qemu-system-common", "qemu-storage-daemon", "powercut", "a disk that can be frozen and copied"),
    program("rsync", "rsync", "documents", "the manual's backup"),
    program("slowhttptest", "slowhttptest", "slow", "10,000 slow connections"),
    program("sqlite3", "sqlite3", "direct, documents, profiles", "rows; the manual's backup; a table that is gone"),
    program("strace", "strace", "syscalls, documents, crash", "failed system calls, and seen ones"),
    program("systemd", "systemd-analyze", "documents, manager", "judges the units, passes a listening socket"),
    program("util-linux", "setpriv", "all", "children that die with the test"),
];

/// Sees to it that every package is there, or says which are not.
pub(crate) fn ensure() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if place::program("apt-get").is_none() {
        bail!("these packages are missing and there is no apt-get to install them: {names}");
    }
    if !is_root() {
        bail!("these packages are missing and only root may install them: apt-get install {names}");
    }
    println!("Installing: {names}");
    install(&missing)?;
    let still = self::missing();
    if !still.is_empty() {
        bail!("apt-get succeeded, yet these packages are not usable: {}", still.join(" "));
    }
    Ok(())
}

fn missing() -> Vec<&'static str> {
    PACKAGES.iter().filter(|package| !is_present(package.evidence)).map(|package| package.name).collect()
}

fn is_present(evidence: Evidence) -> bool {
    match evidence {
        Evidence::Program(name) => place::program(name).is_some(),
        Evidence::File(path) => Path::new(path).exists(),
        Evidence::PythonModule(name) => {
            output(Command::new("python3").args(["-c", &format!("import {name}")])).is_some()
        }
    }
}

fn is_root() -> bool {
    output(Command::new("id").arg("-u")).is_some_and(|uid| uid.trim() == "0")
}

/// Installs without starting a daemon.
///
/// A shell with a trap and not a drop guard: the policy file must go even when somebody presses Ctrl-C. One that was
/// there before us stays, and is not ours to judge.
fn install(names: &[&str]) -> Result<()> {
    const SCRIPT: &str = r#"
        set -eu
        policy=/usr/sbin/policy-rc.d
        if [ ! -e "$policy" ]; then
            trap 'rm -f "$policy"' EXIT
            trap 'exit 130' INT TERM HUP
            printf '#!/bin/sh\nexit 101\n' > "$policy"
            chmod 755 "$policy"
        fi
        apt-get -q -o Dpkg::Use-Pty=0 update
        apt-get -q -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends "$@"
    "#;
    run(Command::new("sh").args(["-c", SCRIPT, "install"]).args(names).env("DEBIAN_FRONTEND", "noninteractive"))
}
