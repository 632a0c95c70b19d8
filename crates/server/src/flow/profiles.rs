//! [`Profiles`]: what was learnt about clients, in memory and bounded.
//!
//! A profile names an owner (as the slot's proof does) and a network, never a single address; it is forgotten after
//! `[performance] profile_persistence_duration`.

use std::collections::{HashMap, HashSet};

use hfs_core::Timestamp;
use hfs_core::profile::{Lesson, Profile, ProfileKey};

/// Clients remembered: about 3 MiB.
pub const MOST: usize = 10_000;
/// How many of the oldest go at once when there are too many.
const BATCH: usize = MOST / 10;

/// All profiles of a server.
#[derive(Debug, Default)]
pub(super) struct Profiles {
    known: HashMap<ProfileKey, Profile>,
    /// Those that have learnt something since they were last kept.
    changed: HashSet<ProfileKey>,
}

impl Profiles {
    /// What is known of `key`, else of everybody on its network. A profile from before `oldest` is as good as none.
    pub(super) fn of(&self, key: &ProfileKey, oldest: Timestamp) -> Option<&Profile> {
        let network = ProfileKey { owner: None, prefix: key.prefix };
        let known = |key: &ProfileKey| self.known.get(key).filter(|profile| profile.at >= oldest);
        known(key).or_else(|| known(&network))
    }

    /// Learns from a transfer: about the client, and about its network.
    pub(super) fn learn(&mut self, key: &ProfileKey, lesson: &Lesson, gain: f64, now: Timestamp) {
        if key.prefix.is_none() {
            return;
        }
        let network = ProfileKey { owner: None, prefix: key.prefix };
        for key in [Some(&network), Some(key).filter(|key| key.owner.is_some())].into_iter().flatten() {
            self.known.entry(key.clone()).or_default().learn(lesson, gain, now);
            self.changed.insert(key.clone());
        }
        if self.known.len() > MOST {
            self.forget_oldest();
        }
    }

    /// Takes in what was kept, where nothing newer is known; returns how many are known then.
    pub(super) fn recall(&mut self, kept: Vec<(ProfileKey, Profile)>, oldest: Timestamp) -> usize {
        for (key, profile) in kept {
            if profile.at >= oldest && self.known.len() < MOST {
                self.known.entry(key).or_insert(profile);
            }
        }
        self.known.len()
    }

    /// Hands over what has changed since it was last asked for, at most `limit`.
    pub(super) fn changed(&mut self, limit: usize) -> Vec<(ProfileKey, Profile)> {
        let keys: Vec<_> = self.changed.iter().take(limit).cloned().collect();
        for key in &keys {
            self.changed.remove(key);
        }
        // One that was forgotten meanwhile has nothing to keep.
        keys.into_iter().filter_map(|key| self.known.get(&key).map(|profile| (key.clone(), *profile))).collect()
    }

    /// What was handed over could not be kept.
    pub(super) fn keep_later(&mut self, keys: Vec<ProfileKey>) {
        self.changed.extend(keys);
    }

    fn forget_oldest(&mut self) {
        let mut ages: Vec<Timestamp> = self.known.values().map(|profile| profile.at).collect();
        ages.sort_unstable();
        let (limit, mut left) = (ages[BATCH], BATCH);
        self.known.retain(|_, profile| {
            let goes = profile.at <= limit && left > 0;
            left -= usize::from(goes);
            !goes
        });
        self.changed.retain(|key| self.known.contains_key(key));
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hfs_core::pace::Direction;

    use super::*;
    use crate::flow::testing::lesson;

    fn key(owner: Option<&str>, n: u32) -> ProfileKey {
        ProfileKey::new(owner.map(str::to_owned), Some(Ipv4Addr::from(n << 8).into()))
    }

    fn rate(profiles: &Profiles, key: &ProfileKey, oldest: Timestamp) -> Option<u64> {
        profiles.of(key, oldest).and_then(|profile| profile.expected(Direction::Download).rate)
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(seconds)
    }

    #[test]
    fn a_stranger_on_a_known_network_is_expected_to_be_like_the_others() {
        let mut profiles = Profiles::default();
        profiles.learn(&key(Some("a@example"), 1), &lesson(100_000), 0.2, at(10));
        profiles.learn(&key(Some("b@example"), 1), &lesson(200_000), 0.2, at(10));
        let rate = |owner: Option<&str>, n| rate(&profiles, &key(owner, n), at(0));
        assert_eq!(rate(Some("a@example"), 1), Some(100_000));
        assert_eq!(rate(Some("c@example"), 1), Some(120_000));
        assert_eq!(rate(None, 1), Some(120_000));
        assert_eq!(rate(Some("a@example"), 2), None, "another network is another path");
        assert_eq!(self::rate(&profiles, &key(None, 1), at(11)), None, "too old");
        profiles.learn(&ProfileKey::default(), &lesson(5), 0.2, at(10));
        assert_eq!(profiles.known.len(), 3, "nobody from nowhere is not a client");
    }

    #[test]
    fn what_changed_is_handed_over_once_and_what_is_newer_stays() {
        let mut profiles = Profiles::default();
        profiles.learn(&key(Some("a@example"), 1), &lesson(100_000), 0.2, at(10));
        assert_eq!(profiles.changed(1).len(), 1);
        let kept = profiles.changed(9);
        assert_eq!((kept.len(), profiles.changed(9).len()), (1, 0));
        profiles.keep_later(kept.iter().map(|(key, _)| key.clone()).collect());
        assert_eq!(profiles.changed(9), kept);
        let old = Profile { at: at(5), ..Profile::default() };
        let recalled = vec![(key(None, 1), old), (key(None, 2), old), (key(None, 3), Profile { at: at(1), ..old })];
        assert_eq!(profiles.recall(recalled, at(5)), 3, "one is known better, one is too old");
        assert_eq!(rate(&profiles, &key(None, 1), at(0)), Some(100_000));
    }

    #[test]
    fn the_oldest_are_forgotten_when_there_are_too_many() {
        let mut profiles = Profiles::default();
        for n in 0..=MOST as u32 {
            profiles.learn(&key(None, n), &lesson(100_000), 0.2, at(n.into()));
            assert!(profiles.known.len() <= MOST);
        }
        assert_eq!(profiles.known.len(), MOST + 1 - BATCH);
        assert_eq!(rate(&profiles, &key(None, 3), at(0)), None);
        assert_eq!(rate(&profiles, &key(None, MOST as u32), at(0)), Some(100_000));
    }
}
