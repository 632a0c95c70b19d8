//! Both arms answer alike: the same statuses, headers and bytes to whatever is asked, also while they are switched.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;

use crate::rig::carrier::{Carrier, Client};
use crate::rig::http::{Connection, Response};
use crate::rig::load::{Upload, Writers, broken_promises};
use crate::rig::post::{self, content_type, file, post, taking_tokens, token};
use crate::rig::server::{Builder, SECRET, TestServer};
use crate::rig::tls::{self, Certificate};
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
    Put {
        slot: usize,
        size: u64,
        proof: Proof,
    },
    /// What follows about this slot is about the one that the server invents.
    Post {
        slot: usize,
        size: u64,
        route: &'static str,
        is_form: bool,
        is_allowed: bool,
    },
    Read {
        method: &'static str,
        slot: usize,
        range: Option<String>,
        condition: Option<Condition>,
    },
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
    let route = select(&["/upload", "/upload/adaptive", "/upload/auto"][..]);
    let post = (0..SLOTS, select(&SIZES[..]), route, any::<bool>(), prop::bool::weighted(0.9));
    let post =
        post.prop_map(|(slot, size, route, is_form, is_allowed)| Step::Post { slot, size, route, is_form, is_allowed });
    let method = prop_oneof![4 => Just("GET"), 1 => Just("HEAD"), 1 => Just("OPTIONS")];
    let read = (method, 0..SLOTS, prop::option::of(range()), prop::option::weighted(0.3, condition()));
    let read = read.prop_map(|(method, slot, range, condition)| Step::Read { method, slot, range, condition });
    prop_oneof![2 => put, 1 => post, 4 => read]
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

/// A server of one arm, and where it speaks.
struct Served {
    server: TestServer,
    address: SocketAddr,
}

/// A client of a server, and what that last said about each slot.
struct Side {
    client: Client,
    script: String,
    validators: BTreeMap<usize, (String, String)>,
    /// Slots that the server has invented.
    invented: BTreeMap<usize, String>,
}

/// A request as it is sent.
struct Asked {
    slot: usize,
    method: &'static str,
    target: String,
    headers: Vec<(&'static str, String)>,
    body: Option<Vec<u8>>,
}

impl Side {
    fn of(served: &Served, carrier: Carrier, script: &str) -> Self {
        let client = Client::open(served.address, carrier).expect("connection");
        Self { client, script: script.to_owned(), validators: BTreeMap::new(), invented: BTreeMap::new() }
    }

    fn answer(&mut self, step: &Step) -> Response {
        let Asked { slot, method, target, headers, body } = self.asked(step);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = self.client.request(method, &target, &headers, body.as_deref()).expect("answer");
        // Whether a file is newer than another one, two servers may see in two seconds.
        if !matches!(step, Step::Read { .. }) {
            self.validators.remove(&slot);
        }
        match step {
            Step::Put { .. } => drop(self.invented.remove(&slot)),
            Step::Post { .. } if answer.status == 200 => {
                drop(self.invented.insert(slot, path_of(&post::said(&answer))))
            }
            Step::Post { .. } | Step::Read { .. } => {}
        }
        if let (Some(tag), Some(time)) = (answer.header("etag"), answer.header("last-modified")) {
            self.validators.insert(slot, (tag.to_owned(), time.to_owned()));
        }
        answer
    }

    fn asked(&self, step: &Step) -> Asked {
        let upload = |slot: &usize, size| Upload { slot: format!("{}/{slot}.bin", self.script), size };
        match step {
            Step::Put { slot, size, proof } => {
                let upload = upload(slot, *size);
                let signed = match proof {
                    Proof::Right => format!("?{}", sign::v1(SECRET, &upload.slot, *size)),
                    Proof::OtherSize => format!("?{}", sign::v1(SECRET, &upload.slot, size + 1)),
                    Proof::None => String::new(),
                };
                let (target, body) = (format!("/{}{signed}", upload.slot), Some(upload.body()));
                Asked { slot: *slot, method: "PUT", target, headers: Vec::new(), body }
            }
            Step::Post { slot, size, route, is_form, is_allowed } => {
                let bytes = upload(slot, *size).body();
                let (target, body, media_type) = match is_form {
                    true => ((*route).to_owned(), file("a.bin", &bytes), content_type()),
                    false => (format!("{route}?filename=a.txt"), bytes, "text/plain".to_owned()),
                };
                let authorization = if *is_allowed { token("a@b") } else { "Bearer x.y.z".to_owned() };
                let headers = vec![("Content-Type", media_type), ("Authorization", authorization)];
                Asked { slot: *slot, method: "POST", target, headers, body: Some(body) }
            }
            Step::Read { method, slot, range, condition } => {
                let range = range.iter().map(|range| ("Range", range.clone()));
                let headers = range.chain(condition.and_then(|condition| self.header(*slot, condition))).collect();
                let target = self.invented.get(slot).cloned().unwrap_or_else(|| upload(slot, 0).get_target());
                Asked { slot: *slot, method, target, headers, body: None }
            }
        }
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
}

/// The path of the URL in the answer to a POST.
fn path_of(said: &Value) -> String {
    let url = said["url"].as_str().expect("a URL");
    format!("/{}", url.splitn(4, '/').last().expect("a path"))
}

/// The headers and the body that both servers must send alike. A blob's tag is random, and two servers may store it
/// in two seconds; that they name both, the next conditions show. The same holds for the URL of an invented slot; and how
/// long a POST took is its own.
fn comparable(answer: &Response) -> (Vec<(String, String)>, Vec<u8>) {
    let is_json = answer.header("content-type") == Some("application/json");
    let shape = |name: &str, value: &str| match name {
        "etag" | "last-modified" | "location" => format!("{} bytes", value.len()),
        "content-length" if is_json => "as long as it is".to_owned(),
        _ => value.to_owned(),
    };
    let headers = answer.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value));
    let kept = headers.filter(|(name, _)| !OWN.contains(&name.as_str()));
    let headers = kept.map(|(name, value)| (name.clone(), shape(&name, value))).collect();
    // The answer to a HEAD has none.
    if !is_json || answer.body.is_empty() {
        return (headers, answer.body.clone());
    }
    let mut said = post::said(answer);
    for own in ["url", "duration"] {
        if let Some(value) = said.get_mut(own) {
            *value = Value::Null;
        }
    }
    (headers, said.to_string().into_bytes())
}

/// The standard arm and the adaptive one, over TLS where there is a certificate.
fn both(certificate: Option<&Certificate>) -> [Served; 2] {
    [("performance.adaptive_buffers", "false"), ("performance.fully_adaptive", "true")].map(|(key, value)| {
        let start = |builder: Builder| taking_tokens(builder).set(key, value).start();
        match certificate {
            Some(certificate) => {
                let (builder, port) = tls::builder(certificate);
                Served { server: start(builder), address: ([127, 0, 0, 1], port).into() }
            }
            None => {
                let server = start(TestServer::builder());
                Served { address: server.address(), server }
            }
        }
    })
}

#[test]
fn both_arms_answer_alike_to_whatever_is_asked() {
    let folder = tempfile::tempdir().expect("folder");
    let certificate = Certificate::copy(folder.path());
    let servers = [both(None), both(Some(&certificate))];
    let script = Cell::new(0);
    for carrier in Carrier::ALL {
        let both = &servers[usize::from(carrier.is_tls())];
        let cases = soak_or(6, 250);
        let config = Config { cases, failure_persistence: None, max_shrink_iters: 60, ..Config::default() };
        let outcome = TestRunner::new(config).run(&prop::collection::vec(step(), 1..14), |steps| {
            script.set(script.get() + 1);
            let mut sides = both.each_ref().map(|served| Side::of(served, carrier, &format!("s{}", script.get())));
            for (number, step) in steps.iter().enumerate() {
                let [standard, adaptive] = sides.each_mut().map(|side| side.answer(step));
                prop_assert_eq!(standard.status, adaptive.status, "step {}: {:?}", number, step);
                let [a, b] = [&standard, &adaptive].map(comparable);
                prop_assert_eq!(a.0, b.0, "step {}: {:?}", number, step);
                prop_assert!(a.1 == b.1, "step {number}: {step:?}: other bytes");
            }
            Ok(())
        });
        outcome.unwrap_or_else(|failure| panic!("{carrier:?}: {failure}"));
    }
    for [standard, adaptive] in &servers {
        for (served, [used, unused]) in [(standard, ["standard", "adaptive"]), (adaptive, ["adaptive", "standard"])] {
            assert!(served.server.transfers(used) > 20, "hardly anything took the {used} arm");
            assert_eq!(served.server.transfers(unused), 0, "the {unused} arm was taken");
            served.server.assert_whole();
        }
    }
}

/// Of one PUT, one GET, one POST to the original's route and twelve users' to `/upload/auto`: how many were adaptive.
fn adaptive(server: &TestServer, round: &str) -> [u64; 4] {
    let slot = format!("{round}/a.bin");
    let put = || assert_eq!(server.put(&slot, b"hello").status, 201);
    let get = || assert_eq!(server.get(&slot).body, b"hello");
    let posted = |target: &str, user: &str| {
        assert_eq!(post(server, target, &token(user), &file("a.txt", b"hello")).status, 200);
    };
    let users = || (0..12).for_each(|n| posted("/upload/auto", &format!("user{n}@example.org")));
    [
        adaptive_of(server, 1, put),
        adaptive_of(server, 1, get),
        adaptive_of(server, 1, || posted("/upload", "a@b")),
        adaptive_of(server, 12, users),
    ]
}

/// How many of these transfers were adaptive, once all of them have ended.
fn adaptive_of(server: &TestServer, count: u64, transfer: impl FnOnce()) -> u64 {
    let ended = || [server.transfers("standard"), server.transfers("adaptive")];
    let [standard, adaptive] = ended();
    transfer();
    let is_over = || ended().iter().sum::<u64>() == standard + adaptive + count;
    wait_until("end of the transfers", Duration::from_secs(20), is_over);
    server.transfers("adaptive") - adaptive
}

#[test]
fn each_flag_counts_for_what_begins_after_it_was_switched() {
    let usual = [
        ("adaptive_buffers", "true"),
        ("testing_mode", "false"),
        ("fully_adaptive", "false"),
        ("adaptive_uploads", "true"),
        ("adaptive_downloads", "true"),
    ];
    let builder = taking_tokens(TestServer::builder());
    let builder = usual.iter().fold(builder, |all, (key, value)| all.set(&format!("performance.{key}"), value));
    let server = builder.start();
    assert_eq!(adaptive(&server, "usual"), [1, 1, 0, 12]);
    for (key, from, to, expected) in [
        // The lots of this network and of the twelve users, which are the same for ever.
        ("testing_mode", "false", "true", [0, 0, 0, 5]),
        ("fully_adaptive", "false", "true", [1, 1, 1, 12]),
        ("adaptive_uploads", "true", "false", [0, 1, 0, 0]),
        ("adaptive_downloads", "true", "false", [1, 0, 0, 12]),
    ] {
        let running = Unfinished::begin(&server, &format!("{key}/running.bin"), &[7; 1_000_000]);
        let switch = |from: &str, to: &str| {
            server.reconfigure(&format!("{key} = {from}"), &format!("{key} = {to}"));
            server.reload_until("applied");
        };
        switch(from, to);
        assert_eq!(adaptive(&server, key), expected, "{key} = {to}");
        let finish = || assert_eq!(running.finish().expect("answer").status, 201);
        assert_eq!(adaptive_of(&server, 1, finish), 1, "what ran before {key} was switched keeps its arm");
        switch(to, from);
        assert_eq!(adaptive(&server, &format!("{key}-back")), [1, 1, 0, 12], "{key} = {from}");
    }
    server.assert_whole();
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
