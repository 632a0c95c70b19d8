//! The guess at a link, judged by samples of emulated links (`testdata/links.jsonl`, recorded by `cargo xtask netlab
//! record`). The table in `core::profile` was made from one half of the links; the published matrix counts the other.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use hfs_core::pace::{Arm, Congestion, Direction, Observation, Settings, Snapshot, Start, controller};
use hfs_core::profile::{Evidence, Hints, Link, guess};
use hfs_sock::TcpInfo;
use serde_json::Value;

use super::testing::stranger;
use super::wire::of_kernel;

const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/links.jsonl");
const PUBLISHED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/benchmarks/guesses.md");

/// One recorded transfer.
struct Recorded {
    link: Link,
    /// Whether the table was made from it.
    is_for_making: bool,
    direction: Direction,
    samples: Vec<(Duration, u64, TcpInfo)>,
}

fn recorded() -> Vec<Recorded> {
    let text = std::fs::read_to_string(SAMPLES).expect("recorded samples");
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let header = lines.next().expect("a header");
    let columns: Vec<&str> = header["columns"].as_str().expect("columns").split(',').collect();
    lines.map(|line| transfer(&columns, &line)).collect()
}

fn transfer(columns: &[&str], line: &Value) -> Recorded {
    let samples = line["samples"].as_array().expect("samples").iter().map(|row| {
        let figure = |name: &str| row[columns.iter().position(|column| *column == name).expect(name)].as_u64();
        let number = |name| figure(name).expect(name);
        let word = |name| u32::try_from(number(name)).expect(name);
        let short = |name| figure(name).map(|figure| u32::try_from(figure).expect(name));
        let info = TcpInfo {
            rtt: word("rtt"),
            rttvar: word("rttvar"),
            rcv_rtt: word("rcv_rtt"),
            snd_mss: word("snd_mss"),
            rcv_mss: word("rcv_mss"),
            snd_cwnd: word("snd_cwnd"),
            total_retrans: word("total_retrans"),
            min_rtt: short("min_rtt"),
            data_segs_in: short("data_segs_in"),
            data_segs_out: short("data_segs_out"),
            delivery_rate: figure("delivery_rate"),
            delivery_rate_app_limited: number("app_limited") == 1,
            bytes_sent: figure("bytes_sent"),
            bytes_retrans: figure("bytes_retrans"),
            dsack_dups: short("dsack_dups"),
            reord_seen: short("reord_seen"),
            rcv_ooopack: short("rcv_ooopack"),
            ..TcpInfo::default()
        };
        (Duration::from_millis(number("at_ms")), number("moved"), info)
    });
    Recorded {
        link: Link::from_name(line["link"].as_str().expect("a name")).expect("a link"),
        is_for_making: line["half"] == "making",
        direction: if line["way"] == "down" { Direction::Download } else { Direction::Upload },
        samples: samples.collect(),
    }
}

impl Recorded {
    /// What the adaptive arm knows at the end of the transfer.
    fn snapshot(&self) -> Snapshot {
        let start = Start { direction: self.direction, inherited: Some(Congestion::Cubic), ..stranger() };
        let mut controller = controller(Arm::Adaptive, &Settings::default().into(), &start);
        for (now, moved, info) in &self.samples {
            let path = Some(of_kernel(info, Some(Congestion::Cubic)));
            controller.observe(&Observation { now: *now, moved: *moved, filled: None, is_app_limited: false, path });
        }
        controller.snapshot()
    }

    fn guess(&self) -> Link {
        guess(&self.snapshot(), &Hints { agent: None, fingerprints: true }).link
    }
}

/// How often each guess was made for each link, over one half.
fn matrix(all: &[Recorded], is_for_making: bool) -> BTreeMap<(Link, Link), u32> {
    let mut counts = BTreeMap::new();
    for one in all.iter().filter(|one| one.is_for_making == is_for_making) {
        *counts.entry((one.link, one.guess())).or_default() += 1;
    }
    counts
}

/// Right ones, wrong ones, and those that were not named.
fn tally(counts: &BTreeMap<(Link, Link), u32>) -> [u32; 3] {
    let sum = |wanted: &dyn Fn(Link, Link) -> bool| {
        counts.iter().filter(|((link, guess), _)| wanted(*link, *guess)).map(|(_, count)| count).sum()
    };
    let unknown = |_, guess| guess == Link::Unknown;
    [sum(&|link, guess| link == guess), sum(&|link, guess| link != guess && guess != Link::Unknown), sum(&unknown)]
}

fn report(all: &[Recorded]) -> String {
    let guesses: Vec<Link> = Link::KNOWN.into_iter().chain([Link::Unknown]).collect();
    let names = guesses.iter().map(|link| link.as_str()).collect::<Vec<_>>().join(" | ");
    let mut text = String::from(
        "# How often the guess at a link is right\n\n\
         Written by `UPDATE_DOCS=1 cargo test -p hmac-file-server --lib recorded`, from `testdata/links.jsonl`: downloads and\n\
         uploads of 5 s over emulated links (`cargo xtask netlab record`). For each kind of link the figures are drawn from\n\
         ranges that are usual for it; the table behind the guess was made from one half of the links, and this counts the\n\
         other half. No radio, no other users, no User-Agent: how often the guess is right on real networks, nobody knows.\n\n",
    );
    let counts = matrix(all, false);
    let [right, wrong, unknown] = tally(&counts);
    writeln!(text, "{right} right, {wrong} wrong, {unknown} not named.").expect("text");
    let [right, wrong, unknown] = tally(&matrix(all, true));
    writeln!(text, "Of the half that the table was made from: {right} right, {wrong} wrong, {unknown} not named.\n")
        .expect("text");
    writeln!(text, "| link, and the guess | {names} |\n|---|{}", "---|".repeat(guesses.len())).expect("text");
    for link in Link::KNOWN {
        let row = guesses.iter().map(|guess| counts.get(&(link, *guess)).copied().unwrap_or(0).to_string());
        writeln!(text, "| {} | {} |", link.as_str(), row.collect::<Vec<_>>().join(" | ")).expect("text");
    }
    writeln!(text, "\n## Evidence\n\nShare of all recorded transfers that show it.\n").expect("text");
    let shown = ["lossy-not-congested", "buffer-bloated", "jittery", "tunnelled"];
    writeln!(text, "| link | {} |\n|---|{}", shown.join(" | "), "---|".repeat(shown.len())).expect("text");
    for link in Link::KNOWN {
        let ones: Vec<&Recorded> = all.iter().filter(|one| one.link == link).collect();
        let share = |name: &str| {
            let shows = |one: &&&Recorded| Evidence::of(&one.snapshot()).names().any(|shown| shown == name);
            format!("{:.0} %", 100.0 * ones.iter().filter(shows).count() as f64 / ones.len() as f64)
        };
        writeln!(text, "| {} | {} |", link.as_str(), shown.map(share).join(" | ")).expect("text");
    }
    text
}

#[test]
fn the_published_matrix_is_what_the_recorded_links_show() {
    let text = report(&recorded());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(PUBLISHED, &text).expect("docs/benchmarks");
    }
    let published = std::fs::read_to_string(PUBLISHED).unwrap_or_default();
    assert!(published == text, "docs/benchmarks/guesses.md is stale: run this test with UPDATE_DOCS=1\n{text}");
}

#[test]
fn a_name_is_given_only_where_it_is_mostly_right() {
    let [right, wrong, _] = tally(&matrix(&recorded(), false));
    assert!(right >= 3 * wrong.max(1), "{right} right, {wrong} wrong");
}

#[test]
fn what_a_wire_loses_by_being_full_is_not_called_radio_loss() {
    let wires: Vec<Recorded> = recorded().into_iter().filter(|one| one.link == Link::Ethernet).collect();
    let lossy = wires.iter().filter(|one| Evidence::of(&one.snapshot()).lossy).count();
    assert_eq!((wires.is_empty(), lossy), (false, 0));
}
