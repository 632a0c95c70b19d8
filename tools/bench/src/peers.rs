//! The servers under measurement: started here, pinned to core 0, ended on drop.

mod others;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustls::ClientConfig;

use crate::http::{signed, token};
use crate::ours::{ADAPTIVE, HASHING, PINNED, STANDARD, Variant};
use crate::process::{Process, free_address};
use crate::tls::Certificate;
use crate::{FLOOR, UNSYNCED};

/// What [`Peer::start`] knows. `pinned` is the adaptive arm that moves no lever; `unsynced` one whose syncs do nothing;
/// `floor` the barest program ([`crate::floor`]).
pub(crate) const NAMES: &str = "adaptive,standard,pinned,hashing,unsynced,tls,nginx,nginx-default,nginx-tls,caddy,prosody,dufs,\
     floor,floor-hashing,floor-unsynced";

/// One running server.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    /// How to speak TLS with it; `None`: in the clear.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) proof: Proof,
    /// Root of its files.
    pub(crate) files: PathBuf,
    /// It gets this part of a load: some are so slow that the whole would take minutes.
    pub(crate) part: u64,
    process: Process,
}

/// What a PUT must show.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Proof {
    /// It takes uploads from everybody.
    Nothing,
    /// A signature in the query.
    Query,
    /// A token of Prosody's built-in file share, below its path.
    Token,
    /// It takes none.
    Impossible,
}

/// Where Prosody's file share begins.
const SHARE: &str = "/file_share/";

impl Proof {
    /// Target of a PUT, and the header lines that go with it.
    pub(crate) fn of(self, slot: &str, size: u64) -> Result<(String, String)> {
        match self {
            Self::Nothing => Ok((format!("/{slot}"), String::new())),
            Self::Query => Ok((signed(slot, size)?, String::new())),
            Self::Token => Ok((format!("{SHARE}{slot}"), format!("Authorization: {}\r\n", token(slot, size)?))),
            Self::Impossible => bail!("this server takes no uploads"),
        }
    }

    /// Target of a GET.
    pub(crate) fn path(self, slot: &str) -> String {
        let root = if self == Self::Token { SHARE } else { "/" };
        format!("{root}{slot}")
    }
}

impl Peer {
    /// Starts the server of that name: its configuration and its log go into `folder`, what it serves lies in `files`.
    pub(crate) fn start(name: &str, binary: &Path, folder: &Path, files: &Path) -> Result<Self> {
        [folder, files].into_iter().try_for_each(fs::create_dir_all)?;
        let site = Site { name, binary, folder, files, address: free_address()? };
        match name {
            "adaptive" => site.ours(&ADAPTIVE, &[], None),
            "standard" => site.ours(&STANDARD, &[], None),
            "pinned" => site.ours(&PINNED, &[], None),
            "hashing" => site.ours(&HASHING, &[], None),
            "unsynced" => site.ours(&ADAPTIVE, &[own()?.as_str(), UNSYNCED], None),
            "tls" => site.ours(&ADAPTIVE, &[], Some(&Certificate::make(folder, name, site.address.ip())?)),
            "nginx" => site.nginx("client_body_buffer_size 1m;", None),
            "nginx-default" => site.nginx("", None),
            "nginx-tls" => {
                site.nginx("client_body_buffer_size 1m;", Some(&Certificate::make(folder, name, site.address.ip())?))
            }
            "caddy" => site.caddy(),
            "prosody" => site.prosody(),
            "dufs" => site.dufs(),
            "floor" | "floor-hashing" | "floor-unsynced" => site.floor(),
            _ => bail!("there is no server `{name}`: {NAMES}"),
        }
        .with_context(|| format!("cannot start {name}"))
    }

    /// The name that it is asked by.
    pub(crate) fn host(&self) -> String {
        match self.proof {
            // A virtual host.
            Proof::Token => "share.localhost".to_owned(),
            _ => self.address.to_string(),
        }
    }

    /// CPU time that the server and its children have used so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let times = family(self.process.id())?.into_iter().map(hfs_sock::process_time);
        Ok(times.sum::<Result<Duration, _>>()?)
    }

    /// Memory that the server and its children hold, in bytes; what they share counts once.
    pub(crate) fn memory(&self) -> Result<u64> {
        let mut sum = 0;
        for process in family(self.process.id())? {
            let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss in smaps_rollup")?;
            sum += 1024 * line.trim().trim_end_matches(" kB").parse::<u64>()?;
        }
        Ok(sum)
    }
}

/// This program.
fn own() -> Result<String> {
    std::env::current_exe()?.into_os_string().into_string().ok().context("odd path")
}

fn family(parent: u32) -> Result<Vec<u32>> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
    Ok(std::iter::once(parent).chain(children.split_whitespace().filter_map(|pid| pid.parse().ok())).collect())
}

/// Where a server is about to start.
struct Site<'a> {
    name: &'a str,
    binary: &'a Path,
    folder: &'a Path,
    files: &'a Path,
    address: SocketAddr,
}

impl Site<'_> {
    fn ours(&self, variant: &Variant<'_>, wrapper: &[&str], certificate: Option<&Certificate>) -> Result<Peer> {
        let tls = certificate.map_or_else(String::new, Certificate::section);
        let variant = variant.named(self.name);
        let config = variant.prepare(self.folder, self.files, self.address, &tls)?;
        let mut words: Vec<_> = wrapper.iter().map(Into::into).collect();
        words.extend([self.binary.as_os_str().to_owned(), "--config".into(), config.into_os_string()]);
        let peer = self.start(&words, Proof::Query, self.files)?;
        Ok(Peer { tls: certificate.map(Certificate::client).transpose()?, ..peer })
    }

    fn floor(&self) -> Result<Peer> {
        let (address, files) = (self.address.to_string().into(), self.files.into());
        let words: [OsString; 5] = [own()?.into(), FLOOR.into(), address, files, self.name.into()];
        self.start(&words, Proof::Nothing, self.files)
    }

    /// Starts the words on core 0.
    fn start<W: AsRef<OsStr>>(&self, words: &[W], proof: Proof, files: &Path) -> Result<Peer> {
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).args(words);
        let log = self.folder.join(format!("{}.log", self.name));
        let mut process = Process::spawn(&command, &log)?;
        process.await_answer(self.address, &log)?;
        let (name, files) = (self.name.to_owned(), files.to_owned());
        Ok(Peer { name, address: self.address, tls: None, proof, files, part: 1, process })
    }
}
