//! The register of every key that a configuration file may hold: its name, older spellings, kind, and what becomes of
//! it. The register is the reference manual (`docs/configuration.md` is rendered from it) and the only list of names;
//! reading values is `resolve`'s business.

mod adaptive;
mod operation;
mod security;
mod server;

use std::collections::{BTreeSet, HashMap};
use std::sync::OnceLock;

use super::kind::Kind;

/// One key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// `section.name`; a `*` element stands for any name.
    pub(super) path: &'static str,
    /// What values look like.
    pub(super) kind: Kind,
    /// What becomes of it.
    pub(super) status: Status,
    /// The default, as it would be written; empty when there is none.
    pub(super) default: &'static str,
    /// The manual.
    pub(super) doc: &'static str,
    /// Spellings that are as good as `path`, because files in use have both.
    pub(super) same: &'static [&'static str],
    /// Spellings that work with a warning, beyond those that differ in underscores only.
    pub(super) older: &'static [&'static str],
}

/// What becomes of a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Status {
    /// In use.
    Active,
    /// Its feature is not built yet. Named in a warning.
    NotBuilt,
    /// Its feature is not built yet, and to start without it would leave out what the operator relies on: switching
    /// it on refuses to start.
    Refused,
    /// What it switches on always happens: `true` is silent, `false` warns.
    Always,
    /// It means nothing here; `doc` says why.
    Meaningless,
}

impl Key {
    const fn new(path: &'static str, kind: Kind, status: Status, default: &'static str, doc: &'static str) -> Self {
        Self { path, kind, status, default, doc, same: &[], older: &[] }
    }

    const fn active(path: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Self {
        Self::new(path, kind, Status::Active, default, doc)
    }

    const fn later(path: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self::new(path, kind, Status::NotBuilt, "", doc)
    }

    const fn refused(path: &'static str, doc: &'static str) -> Self {
        Self::new(path, Kind::Bool, Status::Refused, "false", doc)
    }

    const fn always(path: &'static str, doc: &'static str) -> Self {
        Self::new(path, Kind::Bool, Status::Always, "true", doc)
    }

    const fn void(path: &'static str, doc: &'static str) -> Self {
        Self::new(path, Kind::Any, Status::Meaningless, "", doc)
    }

    const fn same(self, same: &'static [&'static str]) -> Self {
        Self { same, ..self }
    }

    const fn older(self, older: &'static [&'static str]) -> Self {
        Self { older, ..self }
    }

    /// The part before the last dot.
    pub(super) fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// The part after the last dot.
    pub(super) fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }

    /// Whether `path`, as it was written, needs a word about its spelling. Case never does: the original server
    /// ignores it too.
    pub(super) fn is_other_spelling(&self, path: &str) -> bool {
        let lower = path.to_ascii_lowercase();
        !self.path.contains('*') && lower != self.path && !self.same.contains(&lower.as_str())
    }
}

/// Every key, in the order of the manual.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    [server::KEYS, security::KEYS, operation::KEYS, adaptive::KEYS].into_iter().flatten()
}

/// The key that `path` names, in any case, with or without underscores, by an older spelling or a wildcard.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    let wanted = normal(path);
    index().exact.get(&wanted).copied().or_else(|| {
        let wanted: Vec<&str> = wanted.split('.').collect();
        index().wild.iter().find(|(elements, _)| matches(elements, &wanted)).map(|(_, key)| *key)
    })
}

/// Whether keys lie below `path`.
pub(super) fn is_section(path: &str) -> bool {
    let wanted = normal(path);
    let wanted: Vec<&str> = wanted.split('.').collect();
    index().sections.iter().any(|section| matches(section, &wanted))
}

/// The key or section that someone who wrote `path` probably meant.
pub(super) fn suggest(path: &str) -> Option<&'static str> {
    let wanted = normal(path);
    let (section, name) = wanted.rsplit_once('.').unwrap_or(("", &wanted));
    let distance = |key: &Key| strsim::damerau_levenshtein(&normal(key.name()), name);
    let is_close = |key: &&'static Key| distance(key) <= name.len() / 3;
    let score = |key: &&'static Key| {
        let own_section = normal(key.section());
        let away = if own_section == section { 0 } else { 1 + strsim::damerau_levenshtein(&own_section, section) };
        // The right name in the wrong section is a better guess than another name in the right one.
        2 * distance(key) + away.min(3)
    };
    let below_any_name = of_wildcard(section).filter(is_close).min_by_key(|key| distance(key));
    let named = all().filter(|key| !key.path.contains('*')).filter(is_close);
    below_any_name.or_else(|| named.min_by_key(score)).map(|key| key.path)
}

/// The keys that a section has by a wildcard.
fn of_wildcard(section: &str) -> impl Iterator<Item = &'static Key> {
    let elements: Vec<&str> = section.split('.').collect();
    let has = move |pattern: &[String]| pattern.split_last().is_some_and(|(_, section)| matches(section, &elements));
    index().wild.iter().filter(move |(pattern, _)| has(pattern)).map(|(_, key)| *key)
}

/// The section that someone who wrote `[path]` probably meant.
pub(super) fn suggest_section(path: &str) -> Option<&'static str> {
    let wanted = normal(path);
    let sections: BTreeSet<&'static str> = all().map(Key::section).filter(|s| !s.contains('*')).collect();
    sections
        .into_iter()
        .map(|section| (strsim::damerau_levenshtein(&normal(section), &wanted), section))
        .filter(|(distance, _)| *distance <= wanted.len().div_ceil(3))
        .min()
        .map(|(_, section)| section)
}

/// Lower case, no underscores: what two spellings of one key have in common.
pub(super) fn normal(path: &str) -> String {
    path.chars().filter(|c| *c != '_').map(|c| c.to_ascii_lowercase()).collect()
}

struct Index {
    exact: HashMap<String, &'static Key>,
    wild: Vec<(Vec<String>, &'static Key)>,
    sections: BTreeSet<Vec<String>>,
}

fn index() -> &'static Index {
    static INDEX: OnceLock<Index> = OnceLock::new();
    INDEX.get_or_init(|| {
        let mut index = Index { exact: HashMap::new(), wild: Vec::new(), sections: BTreeSet::new() };
        for key in all() {
            for spelling in [key.path].iter().chain(key.same).chain(key.older) {
                let elements: Vec<String> = normal(spelling).split('.').map(str::to_owned).collect();
                for depth in 1..elements.len() {
                    index.sections.insert(elements[..depth].to_vec());
                }
                if spelling.contains('*') {
                    index.wild.push((elements, key));
                } else {
                    index.exact.insert(normal(spelling), key);
                }
            }
        }
        index
    })
}

fn matches(pattern: &[String], path: &[&str]) -> bool {
    pattern.len() == path.len() && pattern.iter().zip(path).all(|(p, e)| p == "*" || p == e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_keys_share_a_spelling() {
        let mut seen: HashMap<String, &str> = HashMap::new();
        for key in all() {
            // `metrics_port` and `metricsport` of one key are one spelling; of two keys they would be a trap.
            let spellings: BTreeSet<String> =
                [key.path].iter().chain(key.same).chain(key.older).map(|s| normal(s)).collect();
            for spelling in spellings {
                assert_eq!(seen.insert(spelling.clone(), key.path), None, "{spelling}");
            }
        }
    }

    #[test]
    fn underscores_and_case_do_not_matter() {
        for spelling in ["server.storage_path", "server.storagepath", "Server.StoragePath", "server.STORAGE_PATH"] {
            assert_eq!(find(spelling).unwrap().path, "server.storage_path", "{spelling}");
        }
        assert_eq!(find("server.listenport").unwrap().path, "server.listen_address");
        assert_eq!(find("network_interfaces.dsl.buffer_size").unwrap().section(), "network_interfaces.*");
        assert!(find("server.nonsense").is_none());
        assert!(is_section("client_optimization.strategy_mobile") && !is_section("sever"));
    }

    #[test]
    fn guesses_prefer_the_right_name_over_the_right_section() {
        assert_eq!(suggest("server.storage_pth"), Some("server.storage_path"));
        assert_eq!(suggest("server.readtimeout"), Some("timeouts.readtimeout"));
        assert_eq!(suggest("listen_address"), Some("server.listen_address"));
        assert_eq!(suggest("security.secert"), Some("security.secret"));
        assert_eq!(suggest("server.zebra"), None);
        assert_eq!(suggest_section("sever"), Some("server"));
        assert_eq!(suggest_section("bananas"), None);
    }
}
