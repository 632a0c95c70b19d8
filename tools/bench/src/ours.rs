//! Configurations of our own server: the arms, and what else is compared.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::http::SECRET;

/// One way to run it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant<'a> {
    pub(crate) name: &'a str,
    /// Lines of `[performance]`.
    performance: &'static str,
    /// Other sections.
    sections: &'static str,
}

pub(crate) const ADAPTIVE: Variant<'static> = Variant { name: "adaptive", performance: "", sections: "" };
pub(crate) const STANDARD: Variant<'static> =
    Variant { name: "standard", performance: "adaptive_buffers = false", sections: "" };
/// The adaptive arm that measures and moves no lever: what adapting costs.
pub(crate) const PINNED: Variant<'static> = Variant { name: "pinned", performance: "levers = []", sections: "" };
/// The adaptive arm that hashes uploads while they arrive.
pub(crate) const HASHING: Variant<'static> =
    Variant { name: "hashing", performance: "", sections: "[uploads]\ncontent_hash = true\n" };

impl Variant<'_> {
    /// The same under another name.
    pub(crate) fn named<'a>(&self, name: &'a str) -> Variant<'a> {
        Variant { name, performance: self.performance, sections: self.sections }
    }

    /// Writes its configuration into `folder`; returns its path. The server makes the folder of its files.
    pub(crate) fn prepare(&self, folder: &Path, files: &Path, address: SocketAddr, more: &str) -> Result<PathBuf> {
        let Self { name, performance, sections } = *self;
        let config = folder.join(format!("{name}.toml"));
        let text = format!(
            "[server]\nlisten_address = \"{address}\"\nstorage_path = \"{}\"\nmin_free_bytes = \"100MB\"\n\
             [security]\nsecret = \"{SECRET}\"\n[performance]\n{performance}\n[logging]\nlevel = \"warn\"\n{sections}{more}",
            files.display()
        );
        fs::write(&config, text)?;
        Ok(config)
    }
}
