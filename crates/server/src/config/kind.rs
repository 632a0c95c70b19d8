//! What a value looks like, and reading it as weakly as the original server did: a number may be a string, a list may
//! be one string with commas.
//!
//! Knows nothing of keys. A message never repeats the value of a secret: those are read by [`secrets`] alone.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use hfs_core::ByteSize;
use toml::de::DeValue;
use toml::{Spanned, de};

use super::duration;

/// The kinds of values.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Bool,
    Int,
    Float,
    Text,
    /// One of these words, in any case.
    Choice(&'static [&'static str]),
    Size,
    /// A size, or the word `adaptive`.
    SizeOrAdaptive,
    Duration,
    List,
    /// Addresses to listen on: like a list, but a string is one address.
    Listen,
    Path,
    /// A string or a list of strings that is never shown.
    Secret,
    /// Whatever TOML can say.
    Any,
}

impl Kind {
    /// How the manual names it.
    pub(super) fn name(self) -> String {
        match self {
            Self::Bool => "true or false".to_owned(),
            Self::Int => "whole number".to_owned(),
            Self::Float => "number".to_owned(),
            Self::Text => "string".to_owned(),
            Self::Choice(words) => words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", "),
            Self::Size => "size (`10MB`, or bytes)".to_owned(),
            Self::SizeOrAdaptive => "size, or `adaptive`".to_owned(),
            Self::Duration => "duration (`1h30m`, or seconds)".to_owned(),
            Self::List => "list of strings".to_owned(),
            Self::Listen => "port, address, or list of these".to_owned(),
            Self::Path => "path".to_owned(),
            Self::Secret => "string or list of strings; never shown".to_owned(),
            Self::Any => "anything".to_owned(),
        }
    }

    /// Whether `node` is of this kind.
    pub(super) fn check(self, node: &Node) -> Result<(), Mismatch> {
        match self {
            Self::Bool => bool(node).map(drop),
            Self::Int => int(node).map(drop),
            Self::Float => float(node).map(drop),
            Self::Text => text(node).map(drop),
            Self::Path | Self::List | Self::Listen => list(node).map(drop),
            Self::Choice(words) => choice(node, words).map(drop),
            Self::Size => size(node).map(drop),
            Self::SizeOrAdaptive => match text(node) {
                Ok(word) if word.eq_ignore_ascii_case("adaptive") => Ok(()),
                _ => size(node).map(drop),
            },
            Self::Duration => duration(node).map(drop),
            Self::Secret => secrets(node).map(drop),
            Self::Any => Ok(()),
        }
    }
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) at: Place,
}

/// The value itself.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// An inline table inside a list.
    Table(Vec<(String, Node)>),
    /// A date, or a number beyond all numbers: nothing here reads them.
    Other(&'static str),
}

/// Where something was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// Bytes of the file.
    File(Range<usize>),
    /// An environment variable.
    Env(String),
    /// A command-line flag.
    Flag(&'static str),
    /// Nowhere: something is missing.
    Nowhere,
}

/// A value of another kind than its key wants.
#[derive(Clone, Debug)]
pub(super) struct Mismatch {
    pub(super) at: Place,
    pub(super) message: String,
}

impl Node {
    /// A string that did not come from the file.
    pub(super) fn given(text: impl Into<String>, at: Place) -> Self {
        Self { value: Value::Text(text.into()), at }
    }

    /// Copies a parsed TOML value.
    pub(super) fn from_toml(value: &Spanned<DeValue<'_>>) -> Self {
        Self { value: Value::from_toml(value.get_ref()), at: Place::File(value.span()) }
    }

    /// Whether it switches nothing on: `false`, `0`, empty.
    pub(super) fn is_off(&self) -> bool {
        match &self.value {
            Value::Bool(on) => !on,
            Value::Int(n) => *n == 0,
            Value::Float(n) => *n == 0.0,
            Value::Text(text) => matches!(text.to_ascii_lowercase().as_str(), "" | "false" | "f" | "0"),
            Value::List(list) => list.is_empty(),
            Value::Table(table) => table.is_empty(),
            Value::Other(_) => false,
        }
    }

    pub(super) fn mismatch(&self, message: impl Into<String>) -> Mismatch {
        Mismatch { at: self.at.clone(), message: message.into() }
    }

    pub(super) fn wants(&self, wanted: &str) -> Mismatch {
        let got = match &self.value {
            Value::Bool(on) => format!("`{on}`"),
            Value::Int(n) => format!("`{n}`"),
            // With its point: `5.0` is refused where `5` is not.
            Value::Float(n) => format!("`{n:?}`"),
            Value::Text(text) => format!("`{text}`"),
            Value::List(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
            Value::Other(what) => (*what).to_owned(),
        };
        self.mismatch(format!("expected {wanted}, got {got}"))
    }
}

impl Value {
    fn from_toml(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.clone().into_owned()),
            DeValue::Boolean(on) => Self::Bool(*on),
            DeValue::Integer(n) => whole(n).map_or(Self::Other("a number beyond all numbers"), Self::Int),
            DeValue::Float(n) => n.as_str().parse().map_or(Self::Other("a number beyond all numbers"), Self::Float),
            DeValue::Array(list) => Self::List(list.iter().map(Node::from_toml).collect()),
            DeValue::Table(table) => Self::Table(
                table.iter().map(|(name, value)| (name.get_ref().to_string(), Node::from_toml(value))).collect(),
            ),
            DeValue::Datetime(_) => Self::Other("a date"),
        }
    }
}

fn whole(n: &de::DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(n.as_str(), n.radix()).ok()
}

/// `true`, `"true"`, `1`, ...
pub(super) fn bool(node: &Node) -> Result<bool, Mismatch> {
    let on = match &node.value {
        Value::Bool(on) => Some(*on),
        Value::Int(n @ (0 | 1)) => Some(*n == 1),
        Value::Text(text) => match text.to_ascii_lowercase().as_str() {
            "1" | "t" | "true" => Some(true),
            "0" | "f" | "false" => Some(false),
            _ => None,
        },
        _ => None,
    };
    on.ok_or_else(|| node.wants("`true` or `false`"))
}

/// A number that is not negative.
pub(super) fn int(node: &Node) -> Result<u64, Mismatch> {
    natural(node).ok_or_else(|| node.wants("a whole number, not negative"))
}

/// A whole number of `range`; of one that ends at [`u64::MAX`] no end is told, for nobody means more.
pub(super) fn int_within(node: &Node, range: RangeInclusive<u64>) -> Result<u64, Mismatch> {
    let (least, most) = range.into_inner();
    natural(node).filter(|n| (least..=most).contains(n)).ok_or_else(|| {
        let to = if most == u64::MAX { "on".to_owned() } else { format!("to {most}") };
        node.wants(&format!("a whole number from {least} {to}"))
    })
}

fn natural(node: &Node) -> Option<u64> {
    match &node.value {
        Value::Int(n) => u64::try_from(*n).ok(),
        Value::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

pub(super) fn float(node: &Node) -> Result<f64, Mismatch> {
    finite(node).ok_or_else(|| node.wants("a number"))
}

/// A number of `range`.
pub(super) fn float_within(node: &Node, range: RangeInclusive<f64>) -> Result<f64, Mismatch> {
    let (least, most) = range.into_inner();
    let n = finite(node).filter(|n| (least..=most).contains(n));
    n.ok_or_else(|| node.wants(&format!("a number from {least} to {most}")))
}

fn finite(node: &Node) -> Option<f64> {
    let n = match &node.value {
        Value::Int(n) => Some(*n as f64),
        Value::Float(n) => Some(*n),
        Value::Text(text) => text.trim().parse().ok(),
        _ => None,
    };
    n.filter(|n: &f64| n.is_finite())
}

/// A string, or anything that is plainly written as one.
pub(super) fn text(node: &Node) -> Result<String, Mismatch> {
    match &node.value {
        Value::Text(text) => Ok(text.trim().to_owned()),
        Value::Int(n) => Ok(n.to_string()),
        Value::Bool(on) => Ok(on.to_string()),
        _ => Err(node.wants("a string")),
    }
}

/// One of `words`, in any case; the spelling of `words` is returned.
pub(super) fn choice(node: &Node, words: &'static [&'static str]) -> Result<&'static str, Mismatch> {
    let given = text(node)?;
    words.iter().copied().find(|w| w.eq_ignore_ascii_case(&given)).ok_or_else(|| {
        let list = words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ");
        node.wants(&format!("one of {list}"))
    })
}

/// Bytes, or a number with a unit.
pub(super) fn size(node: &Node) -> Result<ByteSize, Mismatch> {
    match &node.value {
        Value::Int(n) => u64::try_from(*n).map(ByteSize::bytes).map_err(|_| node.wants("a size, not negative")),
        Value::Text(text) => text.parse().map_err(|e: hfs_core::InvalidByteSize| node.mismatch(e.to_string())),
        _ => Err(node.wants("a size such as \"10MB\"")),
    }
}

/// Bytes per second: a size, with or without `/s`.
pub(super) fn rate(node: &Node) -> Result<ByteSize, Mismatch> {
    match &node.value {
        Value::Text(text) => {
            let bare = text.trim().strip_suffix("/s").unwrap_or(text).trim();
            bare.parse().map_err(|e: hfs_core::InvalidByteSize| node.mismatch(e.to_string()))
        }
        _ => size(node),
    }
}

/// Seconds, or numbers with units.
pub(super) fn duration(node: &Node) -> Result<Duration, Mismatch> {
    let span = match &node.value {
        Value::Int(n) => u64::try_from(*n).ok().map(Duration::from_secs),
        Value::Float(n) => Duration::try_from_secs_f64(*n).ok(),
        Value::Text(text) => duration::parse(text),
        _ => None,
    };
    match span.ok_or("a duration such as \"30s\", \"1h30m\" or \"7d\"") {
        Ok(span) if span > LONGEST => Err(node.wants("a duration of at most 290 years")),
        Ok(span) => Ok(span),
        Err(wanted) => Err(node.wants(wanted)),
    }
}

/// Go's durations end at 292 years. Beyond, sums with the time of day would overflow somewhere.
const LONGEST: Duration = Duration::from_secs(290 * 365 * 24 * 60 * 60);

/// Strings with the place of each; one string is split at its commas.
pub(super) fn list(node: &Node) -> Result<Vec<(String, Place)>, Mismatch> {
    match &node.value {
        Value::List(list) => list.iter().map(|item| Ok((text(item)?, item.at.clone()))).collect(),
        _ => {
            let joined = text(node)?;
            let items = joined.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(items.map(|item| (item.to_owned(), node.at.clone())).collect())
        }
    }
}

/// Secrets with the place of each, exactly as written; the message never shows them.
pub(super) fn secrets(node: &Node) -> Result<Vec<(String, Place)>, Mismatch> {
    let one = |item: &Node| match &item.value {
        Value::Text(text) => Ok((text.clone(), item.at.clone())),
        Value::Int(n) => Ok((n.to_string(), item.at.clone())),
        _ => Err(item.mismatch("expected a string or a list of strings")),
    };
    match &node.value {
        Value::List(list) => list.iter().map(one).collect(),
        _ => one(node).map(|secret| vec![secret]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(text: &str) -> Node {
        Node::given(text, Place::Nowhere)
    }

    #[test]
    fn no_duration_is_longer_than_a_clock_can_count() {
        let years = |years: &str| duration(&written(years));
        assert_eq!(years("290y").unwrap(), LONGEST);
        for value in [Value::Text("291y".into()), Value::Int(i64::MAX), Value::Float(1e18)] {
            let refused = duration(&Node { value, at: Place::Nowhere }).unwrap_err();
            assert!(refused.message.contains("at most 290 years"), "{}", refused.message);
        }
    }

    #[test]
    fn values_are_read_as_weakly_as_before() {
        assert!(bool(&written("TRUE")).unwrap());
        assert!(!bool(&Node { value: Value::Int(0), at: Place::Nowhere }).unwrap());
        assert_eq!(int(&written(" 42 ")).unwrap(), 42);
        let items: Vec<String> = list(&written(".txt, .png,")).unwrap().into_iter().map(|(item, _)| item).collect();
        assert_eq!(items, [".txt", ".png"]);
        assert_eq!(size(&Node { value: Value::Int(1_048_576), at: Place::Nowhere }).unwrap(), ByteSize::mib(1));
    }

    #[test]
    fn a_number_that_is_none_or_too_large_is_told_what_it_may_be() {
        let node = |value| Node { value, at: Place::Nowhere };
        let told = |value| int_within(&node(value), 0..=1000).map_err(|refused| refused.message);
        let range = "expected a whole number from 0 to 1000";
        assert_eq!(told(Value::Text("1000".into())), Ok(1000));
        assert_eq!(told(Value::Int(1001)), Err(format!("{range}, got `1001`")));
        assert_eq!(told(Value::Int(-1)), Err(format!("{range}, got `-1`")));
        assert_eq!(told(Value::Float(1.5)), Err(format!("{range}, got `1.5`")));
        assert_eq!(told(Value::Float(5.0)), Err(format!("{range}, got `5.0`")));
        let told = |value| int_within(&node(value), 1..=u64::MAX).map_err(|refused| refused.message);
        assert_eq!(told(Value::Int(0)), Err("expected a whole number from 1 on, got `0`".to_owned()));
        let told = |value| float_within(&node(value), 0.1..=100.0).map_err(|refused| refused.message);
        assert_eq!(told(Value::Int(100)), Ok(100.0));
        assert_eq!(told(Value::Bool(true)), Err("expected a number from 0.1 to 100, got `true`".to_owned()));
        assert_eq!(told(Value::Float(0.05)), Err("expected a number from 0.1 to 100, got `0.05`".to_owned()));
    }

    #[test]
    fn a_secret_is_not_in_its_message() {
        let inner = Node { value: Value::List(vec![]), at: Place::Nowhere };
        let list = Node { value: Value::List(vec![written("hunter2"), inner]), at: Place::Nowhere };
        assert!(!secrets(&list).unwrap_err().message.contains("hunter2"));
        assert_eq!(secrets(&written(" spaces stay ")).unwrap()[0].0, " spaces stay ");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let node = written(&text);
            for kind in [Kind::Bool, Kind::Int, Kind::Float, Kind::Size, Kind::Duration, Kind::List, Kind::Secret] {
                let _ = kind.check(&node);
            }
        }
    }
}
