//! [`Asked`]: the command line.

use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::load::Load;
use crate::peers::NAMES;
use crate::{links, load};

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) bench: Bench,
    /// Where the report goes, without its extension.
    pub(crate) out: Option<PathBuf>,
}

/// Which of the two measurements.
#[derive(Debug)]
pub(crate) enum Bench {
    /// `--links`.
    Links(links::Asked),
    /// Servers side by side on this machine.
    Servers(load::Asked),
}

impl Asked {
    pub(crate) fn understand(words: &[String]) -> Result<Self> {
        let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let mut is_links = false;
        // More links at a time than cores starve the emulators of each other.
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let (mut rounds, mut jobs, mut span) = (None, cores, Duration::from_secs(30));
        let (mut only, mut peers, mut pairs, mut out, mut part) = (Vec::new(), Vec::new(), Vec::new(), None, 1);
        let mut words = words.iter();
        while let Some(flag) = words.next() {
            if flag == "--links" {
                is_links = true;
                continue;
            }
            let value = words.next().with_context(|| format!("{flag} needs a value\n\n{}", help()))?;
            let number = || value.parse::<u32>().with_context(|| format!("{flag} wants a number"));
            match flag.as_str() {
                "--rounds" => rounds = Some(number()? as usize),
                "--seconds" => span = Duration::from_secs(number()?.into()),
                "--jobs" => jobs = number()? as usize,
                "--only" => only = list(value),
                "--peers" => peers = list(value),
                "--pairs" => pairs = list(value).iter().map(|pair| in_two(pair)).collect::<Result<_>>()?,
                "--part" => part = number()?.into(),
                "--out" => out = Some(PathBuf::from(value)),
                _ => bail!("unknown option {flag}\n\n{}", help()),
            }
        }
        let is_something = (rounds != Some(0) || !is_links) && jobs > 0 && !span.is_zero() && part > 0;
        ensure!(is_something, "at least one round, one job and one second, and no part of nothing");
        // The published report is one of everything.
        let is_whole = only.is_empty() && peers.is_empty() && pairs.is_empty() && part == 1 && rounds != Some(0);
        let name = if is_links { "docs/benchmarks/links" } else { "docs/benchmarks/servers" };
        let out = out.or_else(|| is_whole.then(|| name.into()));
        let bench = if is_links {
            Bench::Links(links::Asked { rounds: rounds.unwrap_or(5), span, jobs, only })
        } else {
            let rounds = rounds.unwrap_or(if pairs.is_empty() { 5 } else { 0 });
            Bench::Servers(load::Asked { rounds, only, peers, pairs, part })
        };
        Ok(Self { bench, out })
    }
}

fn in_two(pair: &str) -> Result<(String, String)> {
    let (of, over) = pair.split_once('/').with_context(|| format!("{pair} is no pair such as adaptive/nginx"))?;
    Ok((of.to_owned(), over.to_owned()))
}

pub(crate) fn help() -> String {
    format!(
        "cargo xtask bench [--rounds 5] [--only {}] [--peers {NAMES}] [--out FILE]\n\
         \x20   [--pairs standard/standard,adaptive/nginx]: compares these closely, and nobody else\n\
         \x20   [--part 1]: divides every load, to try the bench\n\
         cargo xtask bench --links [--rounds 5] [--seconds 30] [--jobs CORES] [--only {}] [--out FILE]\n\
         A run that leaves nothing out is written to docs/benchmarks.",
        Load::ids(),
        links::ids()
    )
}
