//! `cargo xtask netlab record FILE`: what TCP knows of emulated links of every kind, as the server's samples would see it.
//!
//! Each kind of link has a range for each of its figures; a variant is one draw from them. The first half of the
//! variants is for making a table of how links look, the second for judging it.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use hfs_sock::TcpInfo;
use netlab::{Dice, Lab, SERVER, Setup, Shape, Way, connect};

/// Variants of each kind; even numbers are for making the table, odd ones for judging it.
const VARIANTS: u64 = 8;
/// Of one transfer.
const SPAN: Duration = Duration::from_secs(5);
/// Between two samples.
const EVERY: Duration = Duration::from_millis(500);
/// Links at a time.
const JOBS: usize = 6;

/// A kind of link: lowest and highest of each figure.
struct Kind {
    name: &'static str,
    rate_mbit: (f64, f64),
    delay_ms: (f64, f64),
    jitter: (f64, f64),
    loss_percent: (f64, f64),
    queue_ms: (f64, f64),
    mtu: &'static [u32],
}

/// One way; jitter as a share of the delay.
const KINDS: [Kind; 6] = [
    Kind {
        name: "ethernet",
        rate_mbit: (100.0, 300.0),
        delay_ms: (0.2, 8.0),
        jitter: (0.0, 0.05),
        loss_percent: (0.0, 0.01),
        queue_ms: (5.0, 50.0),
        mtu: &[1500],
    },
    Kind {
        name: "wifi",
        rate_mbit: (15.0, 120.0),
        delay_ms: (1.0, 12.0),
        jitter: (0.2, 0.5),
        loss_percent: (0.05, 1.0),
        queue_ms: (20.0, 150.0),
        mtu: &[1500],
    },
    Kind {
        name: "lte",
        rate_mbit: (5.0, 60.0),
        delay_ms: (18.0, 45.0),
        jitter: (0.1, 0.3),
        loss_percent: (0.0, 1.0),
        queue_ms: (100.0, 400.0),
        mtu: &[1500, 1430],
    },
    Kind {
        name: "cellular",
        rate_mbit: (0.3, 3.0),
        delay_ms: (60.0, 200.0),
        jitter: (0.1, 0.3),
        loss_percent: (0.5, 4.0),
        queue_ms: (300.0, 1000.0),
        mtu: &[1500, 1430],
    },
    Kind {
        name: "satellite",
        rate_mbit: (5.0, 50.0),
        delay_ms: (260.0, 330.0),
        jitter: (0.01, 0.05),
        loss_percent: (0.0, 1.0),
        queue_ms: (100.0, 400.0),
        mtu: &[1500],
    },
    Kind {
        name: "vpn",
        rate_mbit: (10.0, 100.0),
        delay_ms: (5.0, 40.0),
        jitter: (0.0, 0.2),
        loss_percent: (0.0, 0.5),
        queue_ms: (20.0, 150.0),
        mtu: &[1420, 1400, 1380],
    },
];

/// Names of the figures of a sample, in their order.
const COLUMNS: &str = "at_ms,moved,rtt,rttvar,min_rtt,rcv_rtt,delivery_rate,app_limited,snd_cwnd,snd_mss,rcv_mss,\
                       data_segs_out,data_segs_in,total_retrans,bytes_sent,bytes_retrans,rcv_ooopack,dsack_dups,reord_seen";

/// Records all kinds into the file: a line for each transfer.
pub(crate) fn record(file: &str) -> Result<()> {
    let jobs: Vec<(&Kind, u64)> = KINDS.iter().flat_map(|kind| (0..VARIANTS).map(move |n| (kind, n))).collect();
    let next = AtomicU64::new(0);
    let lines: Mutex<Vec<(u64, String)>> = Mutex::default();
    std::thread::scope(|scope| {
        let worker = || -> Result<()> {
            loop {
                let index = next.fetch_add(1, Relaxed);
                let Some((kind, variant)) = jobs.get(usize::try_from(index)?) else { return Ok(()) };
                let text = transfers(kind, *variant).with_context(|| format!("{} {variant}", kind.name))?;
                lines.lock().map_err(|_| anyhow::anyhow!("another link failed"))?.push((index, text));
            }
        };
        let workers: Vec<_> = (0..JOBS).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| bail!("a link panicked")))
    })?;
    let mut lines = lines.into_inner().unwrap_or_default();
    lines.sort();
    let header = format!("{{\"columns\":\"{COLUMNS}\"}}\n");
    let text = lines.into_iter().fold(header, |text, (_, lines)| text + &lines);
    std::fs::write(file, text).with_context(|| format!("cannot write {file}"))
}

/// A download and an upload over one variant.
fn transfers(kind: &Kind, variant: u64) -> Result<String> {
    let words = draw(kind, variant);
    let setup = Setup { shape: Shape::parse(&words)?, congestion: Some("cubic".to_owned()), seed: variant };
    let lab = Lab::build(&setup)?;
    let mut lines = String::new();
    let half = if variant.is_multiple_of(2) { "making" } else { "judging" };
    for way in [Way::Down, Way::Up] {
        let samples = transfer(&lab, way)?;
        let (name, way) = (kind.name, format!("{way:?}").to_lowercase());
        writeln!(
            lines,
            "{{\"link\":\"{name}\",\"half\":\"{half}\",\"way\":\"{way}\",\"shape\":\"{words}\",\"samples\":[{}]}}",
            samples.join(",")
        )?;
    }
    Ok(lines)
}

fn draw(kind: &Kind, variant: u64) -> String {
    let mut dice = Dice::new(1000 * kind.name.len() as u64 + u64::from(kind.name.as_bytes()[0]) + 7919 * variant);
    // Figures span decades: even on the logarithm, where there is one.
    let mut between = |(low, high): (f64, f64)| {
        let share = dice.share();
        if low > 0.0 { low * (high / low).powf(share) } else { low + share * (high - low) }
    };
    let (rate, delay) = (between(kind.rate_mbit), between(kind.delay_ms));
    let (jitter, loss, queue) = (delay * between(kind.jitter), between(kind.loss_percent), between(kind.queue_ms));
    let mtu = kind.mtu[usize::try_from(variant / 2).unwrap_or(0) % kind.mtu.len()];
    format!("rate={rate:.2}mbit delay={delay:.2}ms jitter={jitter:.2}ms loss={loss:.3}% queue={queue:.0}ms mtu={mtu}")
}

/// Moves bytes for a while and samples the server's socket; each sample is a list of figures.
fn transfer(lab: &Lab, way: Way) -> Result<Vec<String>> {
    let listener = lab.server.run(|| Ok(TcpListener::bind((SERVER, 0))?))?;
    let address = SocketAddr::from((SERVER, listener.local_addr()?.port()));
    let client = lab.client.run(|| Ok(connect(Lab::client_address(1), address)?))?;
    let (server, _) = listener.accept()?;
    let (moved, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let (sender, receiver) = if way == Way::Down { (&server, &client) } else { (&client, &server) };
    for end in [sender, receiver] {
        end.set_read_timeout(Some(EVERY / 5))?;
        end.set_write_timeout(Some(EVERY / 5))?;
    }
    let begin = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| push(sender, way, &moved, &stop));
        scope.spawn(|| pull(receiver, way, &moved, &stop));
        let mut samples = Vec::new();
        let mut last = 0;
        while begin.elapsed() < SPAN {
            std::thread::sleep(EVERY);
            let now = moved.load(Relaxed);
            let info = hfs_sock::tcp_info(server.as_fd())?;
            samples.push(sample(begin.elapsed(), now - last, &info));
            last = now;
        }
        stop.store(true, Relaxed);
        Ok(samples)
    })
}

/// A time-out is a look at the clock; whatever else happens shows in the samples.
fn push(mut to: &TcpStream, way: Way, moved: &AtomicU64, stop: &AtomicBool) {
    let piece = [b'x'; 1 << 16];
    while !stop.load(Relaxed) {
        let count = to.write(&piece).unwrap_or(0) as u64;
        if way == Way::Down {
            moved.fetch_add(count, Relaxed);
        }
    }
}

fn pull(mut from: &TcpStream, way: Way, moved: &AtomicU64, stop: &AtomicBool) {
    let mut piece = vec![0; 1 << 16];
    while !stop.load(Relaxed) {
        let count = from.read(&mut piece).unwrap_or(0) as u64;
        if way == Way::Up {
            moved.fetch_add(count, Relaxed);
        }
    }
}

/// In the order of [`COLUMNS`].
fn sample(at: Duration, moved: u64, info: &TcpInfo) -> String {
    let known = [Some(at.as_millis() as u64), Some(moved), Some(info.rtt.into()), Some(info.rttvar.into())];
    let long = |value: Option<u32>| value.map(u64::from);
    let rest = [
        long(info.min_rtt),
        Some(info.rcv_rtt.into()),
        info.delivery_rate,
        Some(info.delivery_rate_app_limited.into()),
        Some(info.snd_cwnd.into()),
        Some(info.snd_mss.into()),
        Some(info.rcv_mss.into()),
        long(info.data_segs_out),
        long(info.data_segs_in),
        Some(info.total_retrans.into()),
        info.bytes_sent,
        info.bytes_retrans,
        long(info.rcv_ooopack),
        long(info.dsack_dups),
        long(info.reord_seen),
    ];
    let figures = known.into_iter().chain(rest);
    let figures = figures.map(|figure| figure.map_or("null".to_owned(), |figure| figure.to_string()));
    format!("[{}]", figures.collect::<Vec<_>>().join(","))
}
