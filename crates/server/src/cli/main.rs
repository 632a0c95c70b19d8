//! [`main`]: runs what the command line says, and turns the outcome into an exit status.
//!
//! 0 done, 1 failed, 2 usage, 78 configuration. Only this file prints to the real terminal.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use super::start::{self, Start, StartError, Surroundings};
use super::{Command, GetArgs, PutArgs, Settings, SignCommand, check, get, put, sign, trial};
use crate::app::offline;
use crate::config::{self, Config, Loaded};
use crate::net::ListenAddress;
use crate::net::tls::TlsError;
use crate::run::Hangup;
use crate::storage::audit::Depth;
use crate::{clock, random, run, telemetry};

/// Runs the program; `args` starts with its name.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let cli = match super::parse(args) {
        Ok(cli) => cli,
        Err(usage) => {
            // Help and version go to standard output with status 0, mistakes to standard error with 2.
            let _ = usage.print();
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
        }
    };
    match command(cli.command.unwrap_or(Command::Serve), &cli.settings) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            let status = match failure.downcast_ref::<StartError>() {
                Some(failure) => failure.status(),
                // A key that others can read and the like: `check` says 78 too, and trying again would not help.
                None if failure.is::<TlsError>() => config::EXIT_CONFIG,
                None => 1,
            };
            match failure.downcast_ref::<StartError>() {
                // A report has lines and excerpts of its own.
                Some(StartError::Report(report)) => eprintln!("{report}"),
                _ => eprintln!("error: {failure:#}"),
            }
            ExitCode::from(status)
        }
    }
}

fn command(command: Command, settings: &Settings) -> anyhow::Result<u8> {
    let around = Surroundings::here().context("cannot see the current folder")?;
    let mut out = io::stdout().lock();
    match command {
        Command::Serve => {
            drop(out);
            serve(settings, around)
        }
        Command::Check(args) => Ok(check::check(settings, args, &around, &audit, &mut out)?),
        Command::Sign(command) => sign(&command, settings, &around, &mut out),
        Command::Put(args) => put(args, settings, &around, &mut out),
        Command::Get(args) => get(args, &mut out),
        Command::Adopt => adopt(settings, &around, &mut out),
        Command::Config(args) => {
            args.what.run(&mut out)?;
            Ok(0)
        }
    }
}

fn serve(settings: &Settings, around: Surroundings) -> anyhow::Result<u8> {
    let (start, loaded) = start::load(settings, &around)?;
    let Loaded { config, findings } = loaded;
    let log = telemetry::log::start(&config.log).context("cannot start the log")?;
    for finding in &findings {
        tracing::warn!("Configuration: {}", finding.line());
    }
    let overrides = settings.overrides();
    let hangup = match start {
        Start::Trial(_) if trial::outlives_its_terminal() => Hangup::Ignore,
        Start::Trial(_) => Hangup::Stop,
        _ => Hangup::Reload(Box::new(move |running| config::reload(running, around.env.iter().cloned(), &overrides))),
    };
    let outlives_terminal = matches!(hangup, Hangup::Ignore);
    let trial = matches!(start, Start::Trial(_)).then(|| config.clone());
    let ready = Box::new(move |addresses: &[ListenAddress]| {
        if let Some(config) = trial {
            // Nobody reads it, or the terminal is gone: no reason to stop serving.
            let _ = super::greet(&config, &base_url(&config, addresses), outlives_terminal, &mut io::stdout());
        }
    });
    let runtime = runtime()?;
    let log = Arc::new(log);
    let outcome = runtime.block_on(run::run(run::Start { config, hangup, log: Arc::clone(&log), ready }));
    // A thread that hangs in the kernel must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(5));
    // Flushed only now: what the runtime dropped had its last lines to write.
    drop(log);
    outcome.map(|()| 0)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().build().context("cannot start the runtime")
}

fn sign(command: &SignCommand, settings: &Settings, around: &Surroundings, out: &mut dyn Write) -> anyhow::Result<u8> {
    let config = start::load(settings, around)?.1.config;
    let url = command.url.clone().unwrap_or_else(|| base_url(&config, &config.net.listen));
    let signed = sign::run(&command.sign, &config.keys, &url, clock::now())?;
    write!(out, "{signed}")?;
    Ok(0)
}

fn put(args: PutArgs, settings: &Settings, around: &Surroundings, out: &mut dyn Write) -> anyhow::Result<u8> {
    let slot = match &args.to {
        Some(url) => put::Slot::from_put_url(url),
        None => signed_slot(&args, settings, around)?,
    };
    let options = put::PutOptions { media_type: args.media_type, client: args.client.into() };
    put::put(&args.file, &slot, &options, out)?;
    Ok(0)
}

/// Does for `put` what an XMPP server does for its user.
fn signed_slot(args: &PutArgs, settings: &Settings, around: &Surroundings) -> anyhow::Result<put::Slot> {
    let config = start::load(settings, around)?.1.config;
    let size = std::fs::metadata(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?.len();
    let name = args.file.file_name().and_then(|name| name.to_str()).context("the file's name is not UTF-8")?;
    let request = sign::SignArgs {
        path: args.slot.clone().unwrap_or_else(|| format!("{:032x}/{name}", u128::from_be_bytes(random::random()))),
        size: hfs_core::ByteSize::bytes(size),
        dialect: args.dialect,
        media_type: args.media_type.clone(),
        user: None,
        valid_for: 300,
        delete_after: None,
    };
    let url = args.url.clone().unwrap_or_else(|| base_url(&config, &config.net.listen));
    let signed = sign::run(&request, &config.keys, &url, clock::now())?;
    Ok(put::Slot { put_url: signed.put_url, get_url: signed.get_url, headers: signed.headers })
}

fn get(args: GetArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let options = get::GetOptions { output: args.output, force: args.force, client: args.client.into() };
    get::get(&args.url, &options, out)?;
    Ok(0)
}

fn adopt(settings: &Settings, around: &Surroundings, out: &mut dyn Write) -> anyhow::Result<u8> {
    let config = start::load(settings, around)?.1.config;
    runtime()?.block_on(offline::adopt(&config, out))?;
    Ok(0)
}

fn audit(config: &Config, depth: Depth, out: &mut dyn Write) -> anyhow::Result<bool> {
    runtime()?.block_on(offline::audit(config, depth, out))
}

/// Where clients see the server: the public URL, else the first TCP listener by an address that a client can use.
fn base_url(config: &Config, addresses: &[ListenAddress]) -> String {
    if let Some(url) = &config.http.public_url {
        return url.clone();
    }
    let scheme = if config.net.tls.is_some() { "https" } else { "http" };
    let tcp = addresses.iter().find_map(|address| match address {
        ListenAddress::Tcp(address) => Some(*address),
        ListenAddress::Unix(_) => None,
    });
    let Some(mut address) = tcp else { return format!("{scheme}://localhost") };
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    format!("{scheme}://{address}")
}
