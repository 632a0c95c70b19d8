//! Every system call of one upload fails once: never a 2xx for a step that failed, and the next upload works. And what a
//! look at a client's path costs, and which levers move.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::rig::http::Connection;
use crate::rig::process::Process;
use crate::rig::server::{SECRET, TestServer};
use crate::rig::{sign, wait_until};

/// Calls that an upload may rest on. Others are advice (fallocate, sync_file_range), clean-up (unlink) or only look.
const ESSENTIAL: [&str; 17] = [
    "open",
    "openat",
    "openat2",
    "write",
    "writev",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "ftruncate",
    "fsync",
    "fdatasync",
    "link",
    "linkat",
    "rename",
    "renameat",
    "renameat2",
    "mkdirat",
];

/// More than any upload makes: a call that never stops being made would loop for ever.
const MOST: usize = 60;

#[test]
fn no_failed_step_of_an_upload_is_acknowledged() {
    let mut server = TestServer::start();
    // The first upload of a process does things that later ones do not.
    assert_eq!(server.put("warm/up.txt", b"hello").status, 201);

    let seen = Strace::attach(&server, &format!("trace={}", ESSENTIAL.join(",")), &[]);
    assert_eq!(server.put("seen/file.txt", b"hello").status, 201);
    let calls: BTreeSet<String> = seen.detach(&server).iter().filter_map(|line| name_of(line)).collect();
    println!("an upload makes {calls:?}");
    assert!(calls.iter().any(|call| call.ends_with("sync")), "nothing is synced: {calls:?}");

    let mut failures = 0;
    for call in &calls {
        for nth in 1.. {
            assert!(nth < MOST, "{call} is called without end");
            if !fails_honestly(&server, call, nth) {
                break;
            }
            failures += 1;
        }
    }
    println!("{failures} failures injected");
    assert!(failures > 5, "hardly anything was made to fail");
    // Where the fate of a row is unknown, its file stays until a sweep can tell.
    server.restart();
    wait_until("end of the temporaries", Duration::from_secs(20), || server.temporaries().is_empty());
    server.assert_whole();
}

/// SQLite calls it an I/O error.
#[test]
fn a_quota_that_is_used_up_is_a_full_disk() {
    const DELETE_SECRET: &str = "deletes-5d0c7be1f2a3948617f6e5d4c3b2a190";
    let server = TestServer::builder().set("security.delete_secret", &format!("{DELETE_SECRET:?}")).start();
    assert_eq!(server.put("old/file.txt", b"hello").status, 201);
    let deletion = format!("{}?{}", server.target("old/file.txt"), sign::delete(SECRET, DELETE_SECRET, "old/file.txt"));
    let delete = || server.request("DELETE", &deletion, &[], None).status;

    let used_up = Strace::attach(&server, "inject=pwrite64:error=EDQUOT", &[]);
    let upload = server.put("new/file.txt", b"hello");
    assert_eq!((upload.status, delete()), (507, 507), "{}", upload.text());
    assert_eq!(server.get("old/file.txt").body, b"hello");
    used_up.detach(&server);
    assert_eq!(server.stored().len(), 1, "{:?}", server.stored());

    assert_eq!((server.put("new/file.txt", b"hello").status, delete()), (201, 204));
    wait_until("end of the temporaries", Duration::from_secs(10), || server.temporaries().is_empty());
    server.assert_whole();
}

#[test]
fn a_look_at_the_path_is_one_system_call() {
    let server = TestServer::start();
    assert_eq!(server.put("a/file.bin", &vec![7; 64 << 10]).status, 201);
    let strace = Strace::attach(&server, "trace=getsockopt", &[]);
    let mut client = Connection::open(server.address()).expect("connection");
    // Small transfers that follow each other on one connection share looks.
    wait_until("looks at the path", Duration::from_secs(20), || {
        let answer = client.request("GET", &server.target("a/file.bin"), &[], None).expect("answer");
        assert_eq!(answer.status, 200);
        strace.seen().matches("TCP_INFO").count() >= 5
    });
    let seen = strace.detach(&server);
    // It also shows calls whose names it does not know.
    let asked = seen.iter().filter(|line| line.contains("getsockopt("));
    let others: Vec<_> = asked.filter(|line| !line.contains("TCP_INFO")).collect();
    assert!(others.len() <= 2, "asked more than once: {others:?}");
}

/// As in a sandbox that forbids it, or on a socket or a file system that has no way.
#[test]
fn where_nothing_can_be_spliced_uploads_go_through_memory() {
    let body: Vec<u8> = (0..24_u32 << 20).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    for error in ["EPERM", "ENOSYS", "EINVAL", "EINVAL:when=2+"] {
        let builder = TestServer::builder().set("performance.adaptive_buffers", "true");
        let server = builder.start();
        let strace = Strace::attach(&server, &format!("inject=splice:error={error}"), &[]);
        for slot in ["a/1.bin", "a/2.bin"] {
            let answer = server.put(slot, &body);
            assert_eq!(answer.status, 201, "{error}: {}", answer.text());
        }
        let refused = strace.detach(&server).iter().filter(|line| line.contains("(INJECTED)")).count();
        assert!(refused > 0, "{error}: nothing was spliced");
        for slot in ["a/1.bin", "a/2.bin"] {
            assert!(server.get(slot).body == body, "{error}: other bytes in {slot}");
        }
        let message = "Uploads cannot be spliced here";
        assert_eq!(server.log().matches(message).count(), 1, "{error}: it is found out once");
        server.assert_whole();
    }
}

/// What the kernel is asked for during a fast upload and a download, by lever.
const ASKED: [(&str, &str); 4] = [
    ("write_back", "fallocate("),
    ("write_back", "sync_file_range("),
    ("lane", "splice("),
    ("unsent", "TCP_NOTSENT_LOWAT"),
];

#[test]
fn a_lever_is_moved_where_it_is_named_and_no_other_is() {
    let body: Vec<u8> = (0..24_u32 << 20).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    for names in ["", "write_back", "lane", "unsent", "write_back lane unsent pacing"] {
        let named: Vec<&str> = names.split_whitespace().collect();
        let builder = TestServer::builder().set("performance.adaptive_buffers", "true");
        let server = builder.set("performance.levers", &format!("{named:?}")).start();
        let strace = Strace::attach(&server, "trace=fallocate,sync_file_range,splice,setsockopt", &[]);
        assert_eq!(server.put("a/file.bin", &body).status, 201);
        assert!(server.get("a/file.bin").body == body, "{named:?}: other bytes");
        let seen = strace.detach(&server).concat();
        for (lever, call) in ASKED {
            assert_eq!(seen.contains(call), named.contains(&lever), "{call} with {named:?}");
        }
        assert!(!seen.contains("SO_MAX_PACING_RATE"), "of no use on a short path");
    }
}

/// Lets the nth such call of each thread fail during one upload. False when there was no nth call any more.
fn fails_honestly(server: &TestServer, call: &str, nth: usize) -> bool {
    // `write` also wakes the runtime through an event descriptor, which never fails in real life: only files count.
    let paths = if call == "write" { own_files(server) } else { Vec::new() };
    let slot = format!("fail/{call}-{nth}/file.txt");
    let strace = Strace::attach(server, &format!("inject={call}:error=EIO:when={nth}"), &paths);
    let answer = server.try_put(&slot, b"hello");
    let injected: Vec<_> = strace.detach(server).into_iter().filter(|line| line.contains("(INJECTED)")).collect();
    let status = answer.as_ref().map(|answer| answer.status);
    if injected.is_empty() {
        assert_eq!(status.expect("answer"), 201, "{call} {nth}: nothing failed");
        return false;
    }
    assert!(status.is_ok_and(|status| status >= 500), "{call} {nth}: {answer:?} after {injected:?}");
    assert!(server.is_healthy(), "{call} {nth}: {injected:?}");
    let deadline = Duration::from_secs(20);
    wait_until(&format!("201 for the repeat after {injected:?}"), deadline, || {
        server.put(&slot, b"hello").status == 201
    });
    assert_eq!(server.get(&slot).body, b"hello", "{call} {nth}");
    true
}

/// The files that the server keeps open for itself: its database.
fn own_files(server: &TestServer) -> Vec<PathBuf> {
    let entries = fs::read_dir(server.storage().join(".hfs")).expect("the server's folder");
    entries.map(|entry| entry.expect("entry").path()).filter(|path| path.is_file()).collect()
}

/// The call's name, if the line is about a file of the server's storage.
fn name_of(line: &str) -> Option<String> {
    let (_, call) = line.split_once(' ')?;
    let (name, arguments) = call.trim_start().split_once('(')?;
    arguments.contains("/storage").then(|| name.to_owned())
}

/// strace on a running server.
struct Strace {
    process: Process,
    log: PathBuf,
}

impl Strace {
    fn attach(server: &TestServer, expression: &str, paths: &[PathBuf]) -> Self {
        let log = server.home().join("strace.log");
        let _ = fs::remove_file(&log);
        let pid = server.pid();
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-y", "-e", "signal=none", "-e", expression]).arg("-o").arg(&log);
        for path in paths {
            command.arg("-P").arg(path);
        }
        command.args(["-p", &pid.to_string()]);
        let mut process = Process::start(&command, &server.home().join("strace-output.log"));
        wait_until("strace on every thread", Duration::from_secs(20), || {
            assert!(process.exited().is_none(), "strace ended: {}", process.log());
            every_thread_is_traced(server)
        });
        Self { process, log }
    }

    /// What was traced so far.
    fn seen(&self) -> String {
        fs::read_to_string(&self.log).expect("trace")
    }

    /// Lets go of the server and returns what was traced.
    fn detach(mut self, server: &TestServer) -> Vec<String> {
        self.process.signal(Signal::INT);
        self.process.wait(Duration::from_secs(20));
        wait_until("a server without strace", Duration::from_secs(20), || {
            tracers(server).iter().all(|&tracer| tracer == 0)
        });
        self.seen().lines().map(str::to_owned).collect()
    }
}

fn every_thread_is_traced(server: &TestServer) -> bool {
    let tracers = tracers(server);
    !tracers.is_empty() && tracers.iter().all(|&tracer| tracer != 0)
}

fn tracers(server: &TestServer) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("the server runs");
    threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("status")).ok())
        .filter_map(|status| status.lines().find_map(|line| line.strip_prefix("TracerPid:")?.trim().parse().ok()))
        .collect()
}
