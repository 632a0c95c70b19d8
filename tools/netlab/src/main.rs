//! `cargo xtask netlab`: a link to try things on.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command for people")]

mod record;

use std::io::stdin;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use netlab::{Lab, PROFILES, SERVER, Setup, Shape, Way};

const HELP: &str = "\
A link between two network namespaces, for as long as this program runs

  cargo xtask netlab SHAPE... [--congestion NAME] [-- COMMAND...]
  cargo xtask netlab record FILE

SHAPE is a profile, or figures that change the one before:
  rate=20mbit delay=30ms jitter=5ms loss=1% queue=300ms mtu=1420   (delay, jitter, loss: one way)
COMMAND runs on the client's side; $NETLAB_SERVER and $NETLAB_CLIENT are the words that run a program on either side.
Without one, lines of standard input change the link: figures, `down`, `up`, `stat`; the end of input ends it.
`record` writes what TCP knows of links of every kind, for the table by which the server guesses.

Profiles:";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    laboratory(&words).unwrap_or_else(|error| {
        eprintln!("netlab: {error:#}");
        ExitCode::FAILURE
    })
}

fn laboratory(words: &[String]) -> Result<ExitCode> {
    if words.iter().any(|word| word == "--help") || words.is_empty() {
        println!("{HELP}");
        PROFILES.iter().for_each(|(name, figures)| println!("  {name:10} {figures}"));
        return Ok(ExitCode::SUCCESS);
    }
    become_root(words)?;
    if let [chore, file] = words
        && chore == "record"
    {
        record::record(file)?;
        return Ok(ExitCode::SUCCESS);
    }
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let lab = Lab::build(&understand(&words[..end])?)?;
    let (server, client) = (lab.server.wrapper().join(" "), lab.client.wrapper().join(" "));
    let code = match words.get(end + 1..).and_then(<[String]>::split_first) {
        Some((program, arguments)) => {
            let mut command = lab.client.command(program);
            command.args(arguments).env("NETLAB_SERVER", server).env("NETLAB_CLIENT", client);
            command.status().with_context(|| format!("cannot run {program}"))?.code().unwrap_or(1)
        }
        None => {
            println!("server {SERVER}: {server} PROGRAM\nclient: {client} PROGRAM");
            obey(&lab)?;
            0
        }
    };
    tell(&lab);
    Ok(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from))
}

fn understand(words: &[String]) -> Result<Setup> {
    let mut setup = Setup::default();
    let mut shape = String::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--congestion" => setup.congestion = Some(words.next().context("--congestion needs a name")?.clone()),
            flag if flag.starts_with('-') => bail!("unknown option {flag}\n\n{HELP}"),
            word => shape.extend([word, " "]),
        }
    }
    setup.shape = Shape::parse(&shape)?;
    Ok(setup)
}

/// Whoever is not root is root of a user namespace of its own, where the system lets it.
fn become_root(words: &[String]) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let own = std::env::current_exe()?;
    let error = Command::new("unshare").args(["--user", "--map-root-user", "--net"]).arg(own).args(words).exec();
    Err(error).context("only root can make networks, and `unshare` (util-linux) cannot be started")
}

/// Changes the link as the lines say.
fn obey(lab: &Lab) -> Result<()> {
    for line in stdin().lines() {
        let line = line?;
        match line.trim() {
            "down" => lab.link.down(),
            "up" => lab.link.up(),
            "stat" => tell(lab),
            words => {
                let mut shape = lab.link.shape();
                match words.split_whitespace().try_for_each(|word| shape.change(word)) {
                    Ok(()) => lab.link.set(shape),
                    Err(error) => eprintln!("{error:#}"),
                }
            }
        }
    }
    Ok(())
}

fn tell(lab: &Lab) {
    for way in [Way::Up, Way::Down] {
        let seen = lab.link.counters(way);
        eprintln!(
            "{way:?}: {} packets, {} bytes; {} lost, {} full, {} in an outage; late {:?} on average, {:?} at most",
            seen.delivered,
            seen.bytes,
            seen.lost,
            seen.full,
            seen.down,
            seen.mean_lateness(),
            seen.latest
        );
    }
}
