//! Both arms answer alike: the same statuses, headers and bytes to whatever is asked, also while they are switched.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

use crate::rig::http::{Connection, Response};
use crate::rig::load::{Upload, Writers, broken_promises};
use crate::rig::server::{SECRET, TestServer};
use crate::rig::unfinished::Unfinished;
use crate::rig::{sign, soak_or, wait_until};

/// Around the limits of both arms: nothing, one step, a gathered step, what gets a thread of its own.
const SIZES: [u64; 8] = [0, 1, 4095, 16_384, 65_537, 262_144, 1_048_577, 3_000_000];
/// Slots of one script: few, so that requests meet what others have left.
const SLOTS: usize = 3;
/// Headers that cannot be the same on two servers.
const OWN: [&str; 2] = ["date", "x-request-id"];

/// One request of a script.
#[derive(Clone, Debug)]
enum Step {
    Put { slot: usize, size: u64, proof: Proof },
    Read { method: &'static str, slot: usize, range: Option<String>, condition: Option<Condition> },
}

#[derive(Clone, Copy, Debug)]
enum Proof {
    Right,
    OtherSize,
    None,
}

/// A condition on what the last answer about this slot said of it.
#[derive(Clone, Copy, Debug)]
enum Condition {
    NoneMatch,
    Match,
    OtherNoneMatch,
    ModifiedSince,
    IfRange,
    OtherIfRange,
}

fn step() -> impl Strategy<Value = Step> {
    let proof = prop_oneof![8 => Just(Proof::Right), 1 => Just(Proof::OtherSize), 1 => Just(Proof::None)];
    let put = (0..SLOTS, select(&SIZES[..]), proof).prop_map(|(slot, size, proof)| Step::Put { slot, size, proof });
    let method = prop_oneof![4 => Just("GET"), 1 => Just("HEAD"), 1 => Just("OPTIONS")];
    let read = (method, 0..SLOTS, prop::option::of(range()), prop::option::weighted(0.3, condition()));
    let read = read.prop_map(|(method, slot, range, condition)| Step::Read { method, slot, range, condition });
    prop_oneof![2 => put, 3 => read]
}

fn range() -> impl Strategy<Value = String> {
    let offset = || (select(&SIZES[..]), 0..3_u64).prop_map(|(size, more)| (size + more).saturating_sub(1));
    prop_oneof![
        (offset(), offset()).prop_map(|(from, to)| format!("bytes={from}-{to}")),
        offset().prop_map(|from| format!("bytes={from}-")),
        offset().prop_map(|last| format!("bytes=-{last}")),
        (offset(), offset()).prop_map(|(a, b)| format!("bytes=0-{a}, {b}-, -1")),
        "bytes=[0-9,-]{0,6}",
    ]
}

fn condition() -> impl Strategy<Value = Condition> {
    use Condition::{IfRange, Match, ModifiedSince, NoneMatch, OtherIfRange, OtherNoneMatch};
    select(&[NoneMatch, Match, OtherNoneMatch, ModifiedSince, IfRange, OtherIfRange][..])
}

/// A server, a connection to it, and what it last said about each slot.
struct Side<'a> {
    server: &'a TestServer,
    connection: Option<Connection>,
    validators: BTreeMap<usize, (String, String)>,
}

impl<'a> Side<'a> {
    fn of(server: &'a TestServer) -> Self {
        Self { server, connection: None, validators: BTreeMap::new() }
    }

    fn answer(&mut self, script: &str, step: &Step) -> Response {
        let (slot, method, target, headers, body) = match step {
            Step::Put { slot, size, proof } => {
                let upload = Upload { slot: format!("{script}/{slot}.bin"), size: *size };
                let signed = match proof {
                    Proof::Right => format!("?{}", sign::v1(SECRET, &upload.slot, *size)),
                    Proof::OtherSize => format!("?{}", sign::v1(SECRET, &upload.slot, size + 1)),
                    Proof::None => String::new(),
                };
                (*slot, "PUT", format!("/{}{signed}", upload.slot), Vec::new(), Some(upload.body()))
            }
            Step::Read { method, slot, range, condition } => {
                let range = range.iter().map(|range| ("Range", range.clone()));
                let headers = range.chain(condition.and_then(|condition| self.header(*slot, condition))).collect();
                (*slot, *method, format!("/{script}/{slot}.bin"), headers, None)
            }
        };
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(self.server.address()).expect("connection"),
        };
        let answer = connection.request(method, &target, &headers, body.as_deref()).expect("answer");
        if answer.header("connection") != Some("close") {
            self.connection = Some(connection);
        }
        if let (Some(tag), Some(time)) = (answer.header("etag"), answer.header("last-modified")) {
            self.validators.insert(slot, (tag.to_owned(), time.to_owned()));
        }
        answer
    }

    fn header(&self, slot: usize, condition: Condition) -> Option<(&'static str, String)> {
        let (tag, time) = self.validators.get(&slot)?.clone();
        Some(match condition {
            Condition::NoneMatch => ("If-None-Match", tag),
            Condition::Match => ("If-Match", tag),
            Condition::OtherNoneMatch => ("If-None-Match", "\"other\"".to_owned()),
            Condition::ModifiedSince => ("If-Modified-Since", time),
            Condition::IfRange => ("If-Range", tag),
            Condition::OtherIfRange => ("If-Range", "\"other\"".to_owned()),
        })
    }

    /// The headers that both servers must send alike. A blob's tag is its random id, and two servers may store it in two
    /// seconds; that they name both, the next conditions show.
    fn comparable(answer: &Response) -> Vec<(String, String)> {
        let shape = |name: &str, value: &str| match name {
            "etag" | "last-modified" => format!("{} bytes", value.len()),
            _ => value.to_owned(),
        };
        let headers = answer.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value));
        let kept = headers.filter(|(name, _)| !OWN.contains(&name.as_str()));
        kept.map(|(name, value)| (name.clone(), shape(&name, value))).collect()
    }
}

#[test]
fn both_arms_answer_alike_to_whatever_is_asked() {
    let start = |key: &str, value: &str| TestServer::builder().set(key, value).start();
    let servers = [start("performance.adaptive_buffers", "false"), start("performance.fully_adaptive", "true")];
    let script = Cell::new(0);
    let cases = soak_or(24, 500);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 60, ..Config::default() };
    let outcome = TestRunner::new(config).run(&prop::collection::vec(step(), 1..14), |steps| {
        script.set(script.get() + 1);
        let script = format!("s{}", script.get());
        let mut sides = servers.each_ref().map(Side::of);
        for (number, step) in steps.iter().enumerate() {
            let [standard, adaptive] = sides.each_mut().map(|side| side.answer(&script, step));
            prop_assert_eq!(standard.status, adaptive.status, "step {}: {:?}", number, step);
            let [a, b] = [&standard, &adaptive].map(Side::comparable);
            prop_assert_eq!(a, b, "step {}: {:?}", number, step);
            prop_assert!(standard.body == adaptive.body, "step {number}: {step:?}: other bytes");
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    for (server, [used, unused]) in servers.iter().zip([["standard", "adaptive"], ["adaptive", "standard"]]) {
        assert!(server.transfers(used) > 20, "hardly anything took the {used} arm");
        assert_eq!(server.transfers(unused), 0, "the {unused} arm was taken");
        server.assert_whole();
    }
}

#[test]
fn switching_the_arms_while_transfers_run_disturbs_none() {
    let mut server = TestServer::builder().set("performance.adaptive_buffers", "true").start();
    let file = Upload { slot: "switch/read.bin".to_owned(), size: 20_000_000 };
    assert_eq!(server.put(&file.slot, &file.body()).status, 201);
    let writers = Writers::start(server.address(), 4, 2_000_000);
    let mut value = true;
    for switch in 0..soak_or(6, 200) {
        let upload = Upload { slot: format!("switch/{switch}.bin"), size: 1_000_000 };
        let unfinished = Unfinished::begin(&server, &upload.slot, &upload.body());
        let mut reading = Connection::open(server.address()).expect("connection");
        let head = format!("GET {} HTTP/1.1\r\nHost: files.example.org\r\n\r\n", file.get_target());
        reading.send(head.as_bytes()).expect("sent");
        let before = writers.acknowledged();
        server.reconfigure(&format!("adaptive_buffers = {value}"), &format!("adaptive_buffers = {}", !value));
        value = !value;
        server.reload_until("applied");
        assert_eq!(unfinished.finish().expect("answer").status, 201, "switch {switch}");
        assert!(reading.receive(false).expect("answer").body == file.body(), "switch {switch}: other bytes");
        assert!(server.get(&upload.slot).body == upload.body(), "switch {switch}: other bytes");
        wait_until("uploads after the switch", Duration::from_secs(30), || writers.acknowledged() > before + 5);
    }
    let ledger = writers.stop();
    assert_eq!(ledger.odd, Vec::<String>::new());
    assert_eq!(broken_promises(server.address(), &ledger), Vec::<String>::new());
    assert!(server.transfers("standard") > 0 && server.transfers("adaptive") > 0, "only one arm was taken");
    server.terminate();
    server.assert_whole();
}
