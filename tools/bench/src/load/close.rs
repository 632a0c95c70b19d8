//! Servers compared closely: which, and how they start for it.

use std::fs;
use std::time::Duration;

use anyhow::Result;

use super::{Load, Site, pin_to};
use crate::goal::Goal;
use crate::paired::{Effort, Paired, Side};
use crate::peers::Peer;
use crate::report::Row;

/// How much one comparison takes. There are about 26 of them, and the whole is to stay near a quarter of an hour.
pub(crate) const EFFORT: Effort = Effort { starts: 9, span: Duration::from_secs(16) };
/// Where it matters only that the bench works.
const LEAST: Effort = Effort { starts: 6, span: Duration::ZERO };

impl Load {
    /// Whom goals compare, then a server with itself, then the barest programs where a goal is missed. Instead of all
    /// these, whoever is asked for.
    pub(super) fn compare_closely(&self, site: &Site<'_>, row: &mut Row) -> Result<()> {
        let asked = site.asked;
        if !asked.pairs.is_empty() {
            return asked
                .pairs
                .iter()
                .try_for_each(|(of, over)| self.compare_pair((of.as_str(), over.as_str()), site, row));
        }
        let takes_part = |name: &str| asked.peers.is_empty() || asked.peers.iter().any(|wanted| wanted == name);
        let both = |(of, over): &(&str, &str)| takes_part(of) && takes_part(over);
        let goals = self.goals.iter().filter_map(Goal::pair);
        for pair in goals.chain(self.itself.map(|name| (name, name))).filter(both) {
            self.compare_pair(pair, site, row)?;
        }
        let least: Vec<_> = row.missed().filter_map(|goal| goal.least).filter(both).collect();
        least.into_iter().try_for_each(|pair| self.compare_pair(pair, site, row))
    }

    /// Unless two goals are about the same pair.
    fn compare_pair(&self, pair: (&str, &str), site: &Site<'_>, row: &mut Row) -> Result<()> {
        if row.compared(pair).is_some() {
            return Ok(());
        }
        let folder = site.folder.join(format!("{}-{}-{}", self.id, pair.0, pair.1));
        let (slice, mut started, mut measured) = (self.slice(), 0, 0);
        let start = |side| -> Result<Peer> {
            let name = if side == Side::Of { pair.0 } else { pair.1 };
            // Where a folder lies on the disk is part of a start's luck.
            let folder = folder.join(started.to_string());
            started += 1;
            self.start(name, site, &folder, &folder.join("files"))
        };
        let effort = if site.asked.part == 1 { EFFORT } else { LEAST };
        pin_to(slice.core())?;
        let paired = Paired::measure(pair, effort, start, |peer: &Peer| {
            measured += 1;
            slice.run(peer, measured)
        })?;
        pin_to(self.core())?;
        if self.is_journaled {
            // Room in a small file system, which makes files as fast after that, unlike one without a journal.
            fs::remove_dir_all(&folder)?;
        }
        row.push_paired(paired);
        Ok(())
    }

    /// A slice of its round. Downloads keep their size: they fetch what is there.
    fn slice(&self) -> Self {
        let (size, requests) = if self.requests < self.slices {
            (self.size / self.slices, 1)
        } else {
            (self.size, self.requests / self.slices)
        };
        Self { size, requests, is_slice: true, ..*self }
    }
}
