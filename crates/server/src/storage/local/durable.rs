//! [`Durable`]: the directories that are known to survive a power cut, as far as they are worth remembering.

use std::collections::HashSet;

/// Directories of one generation: about as many as users who upload in a while (ejabberd's slots share one for each).
const GENERATION: usize = 2048;

/// A bounded set of paths. What was not met for a generation or two is forgotten, and synced once more: Prosody's
/// slots make a directory each, and none of those comes again.
#[derive(Debug, Default)]
pub(super) struct Durable {
    young: HashSet<String>,
    old: HashSet<String>,
}

impl Durable {
    /// Whether it is known; one that is met again stays young.
    pub(super) fn contains(&mut self, path: &str) -> bool {
        if self.young.contains(path) {
            return true;
        }
        let known = self.old.take(path);
        known.map(|path| self.insert(path)).is_some()
    }

    pub(super) fn insert(&mut self, path: String) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(path);
    }

    pub(super) fn remove(&mut self, path: &str) {
        self.young.remove(path);
        self.old.remove(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_met_again_is_remembered_and_the_rest_forgotten() {
        let mut durable = Durable::default();
        durable.insert("hash".to_owned());
        for number in 0..20 * GENERATION {
            durable.insert(number.to_string());
            assert!(durable.contains("hash"), "after {number}");
        }
        assert!(!durable.contains("0"));
        assert!(durable.young.len() + durable.old.len() <= 2 * GENERATION);
        durable.remove("hash");
        assert!(!durable.contains("hash"));
    }
}
