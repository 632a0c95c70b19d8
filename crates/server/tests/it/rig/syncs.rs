//! [`Dropped`]: a server some of whose own syncs do nothing, while those of its database are real.
//!
//! `eatmydata` replaces functions of libc. SQLite calls those; the server makes its system calls itself, so that only a
//! seccomp filter reaches them.

use std::path::Path;
use std::process::Command;

/// The launcher and the library that it needs, in a folder of the test's.
pub(crate) struct Dropped {
    words: [String; 3],
}

impl Dropped {
    /// Makes these calls return 0 and do nothing, where the server itself makes them.
    #[track_caller]
    pub(crate) fn calls(names: &str, folder: &Path) -> Self {
        let launcher = compile(folder, "launch", include_str!("syncs/launch.c"), &[]);
        let library = compile(folder, "mark.so", include_str!("syncs/mark.c"), &["-shared", "-fPIC"]);
        Self { words: [launcher, names.to_owned(), library] }
    }

    /// What to put in front of the server's own words.
    pub(crate) fn wrapper(&self) -> [&str; 3] {
        self.words.each_ref().map(String::as_str)
    }
}

#[track_caller]
fn compile(folder: &Path, name: &str, text: &str, options: &[&str]) -> String {
    let (source, made) = (folder.join(format!("{name}.c")), folder.join(name).display().to_string());
    std::fs::write(&source, text).expect("source");
    let mut command = Command::new("cc");
    command.args(["-O1", "-Wall", "-Werror", "-DMARK=0x53594e43"]).args(options).args(["-o", &made]).arg(&source);
    let output = command.output().expect("cc runs");
    assert!(output.status.success(), "cc {name}: {}", String::from_utf8_lossy(&output.stderr));
    made
}
