//! Ten thousand slow clients: memory stays bounded and everybody else is answered.

use std::fs;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::rig::process::Process;
use crate::rig::server::{SECRET, TestServer};
use crate::rig::sign;

const MEBIBYTE: u64 = 1 << 20;

/// The two attacks would share the machine's descriptors and its two cores.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn ten_thousand_slow_headers_stay_below_256_mebibytes() {
    attack(256 * MEBIBYTE, |_| vec!["-H".to_owned(), "-u".to_owned()], "/slow/headers.txt");
}

#[test]
fn ten_thousand_slow_bodies_stay_below_384_mebibytes() {
    // A slot that is really signed: every one of them is an upload on its way, and not an early refusal.
    let slot = "slow/body.bin";
    let target = format!("/{slot}?{}", sign::v1(SECRET, slot, 8192));
    let flags = ["-B", "-s", "8192", "-t", "PUT", "-f", "application/octet-stream", "-u"];
    attack(384 * MEBIBYTE, |_| flags.map(str::to_owned).into(), &target);
}

fn attack(most_memory: u64, flags: impl Fn(&TestServer) -> Vec<String>, target: &str) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    raise_descriptor_limit();
    // Longer than the attack: otherwise the first are cut (at 15 s) before the last have come.
    let server = TestServer::builder().set("timeouts.header_timeout", "\"60s\"").start();
    let mut command = Command::new("slowhttptest");
    command
        .args(["-c", "10000", "-r", "2000", "-i", "10", "-l", "20", "-p", "5"])
        .args(flags(&server))
        .arg(format!("http://{}{target}", server.address()));
    let mut attacker = Process::start(&command, &server.home().join("slowhttptest.log"));

    let begin = Instant::now();
    let (mut most_descriptors, mut slowest) = (0, Duration::ZERO);
    while attacker.exited().is_none() {
        let asked = Instant::now();
        assert!(server.is_healthy(), "no answer from /health {:?} into the attack", begin.elapsed());
        slowest = slowest.max(asked.elapsed());
        let open = fs::read_dir(format!("/proc/{}/fd", server.pid())).map_or(0, Iterator::count);
        most_descriptors = most_descriptors.max(open);
        assert!(begin.elapsed() < Duration::from_secs(90), "slowhttptest does not end");
        std::thread::sleep(Duration::from_millis(100));
    }
    let memory = server.peak_memory();
    println!("{most_descriptors} descriptors, {} MiB, slowest /health {slowest:?}", memory / MEBIBYTE);
    assert!(most_descriptors > 9_000, "the attack did not arrive: {most_descriptors} descriptors\n{}", attacker.log());
    assert!(memory < most_memory, "{} MiB", memory / MEBIBYTE);
    assert_eq!(server.put("after/it.txt", b"works").status, 201);
}

/// Lets this process and its children open what the hard limit allows.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    assert!(limit.maximum.is_none_or(|most| most >= 20_000), "10,000 uploads need `ulimit -Hn` of at least 20,000");
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("raising the soft limit");
}
