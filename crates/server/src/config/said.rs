//! What the file, the environment and the flags say, key by key, before it is known what it means.
//!
//! Finds unknown keys, other spellings, double keys, and keys without an effect. Values of keys in use are read by
//! `resolve`.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Key, Status, normal};
use super::kind::{self, Kind, Node, Place};
use super::report::Finding;
use super::source::Notes;

/// Prefix of the environment variables that set keys: `HMAC_FILE_SERVER__SERVER__STORAGE_PATH`.
pub(super) const PREFIX: &str = "HMAC_FILE_SERVER__";

/// A key that is given at a higher rank (environment over file, flag over environment) takes these with it: to
/// override the secret means all of it, wherever the file has it.
const TOGETHER: [(&str, &[&str]); 6] = [
    ("server.listen_address", &["server.bind_ip", "server.unixsocket"]),
    ("security.secret", &["security.secrets", "security.secret_file"]),
    ("security.secrets", &["security.secret", "security.secret_file"]),
    ("security.secret_file", &["security.secret", "security.secrets"]),
    ("security.jwtsecret", &["security.jwtsecret_file"]),
    ("security.jwtsecret_file", &["security.jwtsecret"]),
];

/// One key and its value.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) key: &'static Key,
    /// As it was written.
    pub(super) written: String,
    /// Where the key stands (the value has its own place).
    pub(super) at: Place,
    pub(super) node: Node,
}

/// Everything that was said, by the key's path (by its own spelling where the path has a wildcard).
#[derive(Debug, Default)]
pub(super) struct Said {
    given: BTreeMap<String, Given>,
}

impl Said {
    /// What was said about `path`.
    pub(super) fn get(&self, path: &str) -> Option<&Given> {
        self.given.get(path).or_else(|| self.given.get(&normal(path)))
    }

    /// What was said about keys whose paths have names of the operator's own.
    pub(super) fn of_wildcards(&self) -> impl Iterator<Item = &Given> {
        self.given.values().filter(|given| given.key.path.contains('*'))
    }

    /// Takes in a parsed file.
    pub(super) fn add_file(&mut self, table: &DeTable<'_>, notes: &mut Notes<'_>) {
        let mut layer = Self::default();
        layer.walk("", table, notes);
        self.given = layer.given;
    }

    /// Takes in the environment; variables without the prefix are none of ours.
    pub(super) fn add_env(&mut self, env: &[(String, String)], notes: &mut Notes<'_>) {
        let mut layer = Self::default();
        for (name, value) in env {
            let Some(path) = name.strip_prefix(PREFIX) else { continue };
            let path = path.replace("__", ".").to_ascii_lowercase();
            let at = Place::Env(name.clone());
            match keys::find(&path) {
                Some(key) => {
                    layer.insert(Given { key, written: path, at: at.clone(), node: Node::given(value, at) }, notes)
                }
                None => {
                    let variable = |(section, name): (&str, &str)| {
                        let path = format!("{section}.{name}").trim_start_matches('.').replace('.', "__");
                        format!("did you mean `{PREFIX}{}`?", path.to_uppercase())
                    };
                    notes.error(&at, format!("there is no key `{path}`")).help = meant(&path).map(variable);
                }
            }
        }
        self.outrank(layer);
    }

    /// Takes in what a flag says about `path`.
    pub(super) fn add_flag(
        &mut self,
        path: &'static str,
        flag: &'static str,
        values: &[String],
        notes: &mut Notes<'_>,
    ) {
        let Some(key) = keys::find(path).filter(|_| !values.is_empty()) else { return };
        let at = Place::Flag(flag);
        let items = values.iter().map(|value| Node::given(value, at.clone())).collect();
        let mut layer = Self::default();
        let node = Node { value: kind::Value::List(items), at: at.clone() };
        let node = if let [one] = values { Node::given(one, at.clone()) } else { node };
        layer.insert(Given { key, written: path.to_owned(), at, node }, notes);
        self.outrank(layer);
    }

    /// Says what becomes of the keys that are not in use.
    pub(super) fn judge(&self, notes: &mut Notes<'_>) {
        let mut groups: BTreeMap<(&str, &str), Vec<&Given>> = BTreeMap::new();
        for given in self.given.values() {
            if given.key.is_other_spelling(&given.written) && matches!(given.at, Place::File(_)) {
                let message = format!("`{}` is an older spelling of `{}`", given.written, given.key.path);
                notes.warning(&given.at, message).help = Some(format!("write `{}`", in_section(given.key)));
            }
            if given.key.status != Status::Active
                && let Err(mismatch) = given.key.kind.check(&given.node)
            {
                notes.error(&mismatch.at, mismatch.message);
            } else if let Some(group) = judge_one(given, notes) {
                groups.entry(group).or_default().push(given);
            }
        }
        for ((section, why), group) in groups {
            report_group(section, why, &group, notes);
        }
    }

    fn walk(&mut self, prefix: &str, table: &DeTable<'_>, notes: &mut Notes<'_>) {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (name, value) in entries {
            let path = if prefix.is_empty() { name.to_string() } else { format!("{prefix}.{}", name.get_ref()) };
            let at = Place::File(name.span());
            match (keys::find(&path), value.get_ref()) {
                (Some(key), _) => {
                    if key.kind == Kind::Secret {
                        notes.source.mask(&value.span());
                    }
                    self.insert(Given { key, written: path, at, node: Node::from_toml(value) }, notes);
                }
                (None, DeValue::Table(inner)) if keys::is_section(&path) => self.walk(&path, inner, notes),
                (None, DeValue::Array(items))
                    if keys::is_section(&path) && items.iter().all(|i| i.get_ref().is_table()) =>
                {
                    notes.error(&at, format!("`[{path}]` is one section, not a list")).help =
                        Some(format!("write `[{path}]`"));
                }
                (None, _) => unknown(&path, &at, value, notes),
            }
        }
    }

    fn insert(&mut self, given: Given, notes: &mut Notes<'_>) {
        let slot = if given.key.path.contains('*') { normal(&given.written) } else { given.key.path.to_owned() };
        if let Some(first) = self.given.get(&slot) {
            let message = format!("`{}` is given twice: `{}` means the same", given.written, first.written);
            notes.error(&given.at, message).help = Some(format!("keep `{}`", in_section(given.key)));
            return;
        }
        self.given.insert(slot, given);
    }

    fn outrank(&mut self, layer: Self) {
        for (winner, losers) in TOGETHER {
            if layer.given.contains_key(winner) {
                losers.iter().for_each(|loser| drop(self.given.remove(*loser)));
            }
        }
        self.given.extend(layer.given);
    }
}

/// `[section] name`, as one would write it.
fn in_section(key: &Key) -> String {
    format!("[{}] {}", key.section(), key.name())
}

fn unknown(path: &str, at: &Place, value: &Spanned<DeValue<'_>>, notes: &mut Notes<'_>) {
    mask_leaves(value, notes);
    let is_section = value.get_ref().is_table();
    if is_section {
        let finding = notes.error(at, format!("there is no section `[{path}]`"));
        finding.help = keys::suggest_section(path).map(|section| format!("did you mean `[{section}]`?"));
        return;
    }
    let finding = notes.error(at, format!("there is no key `{path}`"));
    finding.help = meant(path).map(|(section, name)| format!("did you mean `[{section}] {name}`?"));
}

/// The section and the name of the key that was probably meant; where any name may stand, the one that was given.
fn meant(path: &str) -> Option<(&str, &'static str)> {
    let key = keys::suggest(path).and_then(keys::find)?;
    let section = if key.path.contains('*') { path.rsplit_once('.')?.0 } else { key.section() };
    Some((section, key.name()))
}

/// What stands at an unknown key may be a misspelt secret.
fn mask_leaves(value: &Spanned<DeValue<'_>>, notes: &mut Notes<'_>) {
    match value.get_ref() {
        DeValue::Table(table) => table.iter().for_each(|(_, inner)| mask_leaves(inner, notes)),
        DeValue::Array(list) if list.iter().any(|item| item.get_ref().is_table()) => {
            list.iter().for_each(|inner| mask_leaves(inner, notes));
        }
        _ => notes.source.mask(&value.span()),
    }
}

const NOT_BUILT: &str = "not built yet";

/// Reports what stands alone; returns the group of what is reported together.
fn judge_one(given: &Given, notes: &mut Notes<'_>) -> Option<(&'static str, &'static str)> {
    let (key, off) = (given.key, given.node.is_off());
    match key.status {
        Status::NotBuilt if !off => Some((key.section(), NOT_BUILT)),
        Status::Meaningless if !off => Some((key.section(), key.doc)),
        Status::Refused if !off => {
            let message = format!("`{}` is not built yet, and you would rely on it", key.path);
            let help = "set it to false to start without it".to_owned();
            notes.error(&given.at, message).help = Some(help);
            None
        }
        Status::Always if off => {
            let message = format!("`{}` cannot be switched off", key.path);
            notes.warning(&given.at, message).help = Some(key.doc.to_owned());
            None
        }
        _ => None,
    }
}

fn report_group(section: &str, why: &str, group: &[&Given], notes: &mut Notes<'_>) {
    let place = |given: &&&Given| match &given.at {
        Place::File(bytes) => bytes.start,
        _ => usize::MAX,
    };
    let Some(first) = group.iter().min_by_key(place) else { return };
    let mut ordered = group.to_vec();
    ordered.sort_by_key(|given| place(&given));
    let mut names: Vec<String> = Vec::new();
    for given in ordered {
        let name = format!("`{}`", given.written.rsplit('.').next().unwrap_or(&given.written));
        // A wildcard's section has the same names again and again.
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let names = names.join(", ");
    if why == NOT_BUILT {
        notes.warning(&first.at, format!("not built yet, has no effect: {names} in [{section}]"));
    } else {
        let finding: &mut Finding = notes.warning(&first.at, format!("has no effect: {names} in [{section}]"));
        finding.help = Some(why.to_owned());
    }
}
