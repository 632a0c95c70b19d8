//! Which arm a flow takes.
//!
//! Precedence (the configuration wins at once): `adaptive_buffers = false`, a route that demands an arm,
//! `fully_adaptive`, `testing_mode` (an even split), then adaptive for whatever direction it is on for.

use hfs_core::pace::{Arm, Direction};
use hfs_core::profile::ProfileKey;

use super::PaceConfig;

/// The arm of a new flow. The same client gets the same arm for as long as the configuration says the same.
pub(super) fn assign(config: &PaceConfig, direction: Direction, key: &ProfileKey, forced: Option<Arm>) -> Arm {
    if !config.enabled {
        return Arm::Standard;
    }
    if let Some(arm) = forced {
        return arm;
    }
    let is_on = match direction {
        Direction::Upload => config.uploads,
        Direction::Download => config.downloads,
    };
    match (is_on, config.testing && !config.fully) {
        (false, _) => Arm::Standard,
        (true, true) => half(key),
        (true, false) => Arm::Adaptive,
    }
}

/// Half of the clients, always the same ones, also after a restart: a client that changed arms would compare itself
/// with itself.
pub(super) fn half(key: &ProfileKey) -> Arm {
    if key.lot("testing_mode") < 0.5 { Arm::Standard } else { Arm::Adaptive }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> ProfileKey {
        ProfileKey::new(None, Some(std::net::Ipv4Addr::from(n << 8).into()))
    }

    #[test]
    fn the_configuration_wins_over_the_route() {
        let off = PaceConfig { enabled: false, ..PaceConfig::default() };
        assert_eq!(assign(&off, Direction::Upload, &key(1), Some(Arm::Adaptive)), Arm::Standard);
        let on = PaceConfig::default();
        assert_eq!(assign(&on, Direction::Upload, &key(1), Some(Arm::Standard)), Arm::Standard);
        assert_eq!(assign(&on, Direction::Upload, &key(1), None), Arm::Adaptive);
        let one_way = PaceConfig { uploads: false, ..PaceConfig::default() };
        assert_eq!(assign(&one_way, Direction::Upload, &key(1), None), Arm::Standard);
        assert_eq!(assign(&one_way, Direction::Download, &key(1), None), Arm::Adaptive);
    }

    #[test]
    fn a_test_splits_clients_evenly_and_for_good() {
        let testing = PaceConfig { testing: true, ..PaceConfig::default() };
        let arm = |n| assign(&testing, Direction::Download, &key(n), None);
        let adaptive = (0..1000).filter(|&n| arm(n) == Arm::Adaptive).count();
        assert!((400..600).contains(&adaptive), "{adaptive} of 1000");
        assert!((0..1000).all(|n| arm(n) == arm(n)));
        let fully = PaceConfig { fully: true, ..testing.clone() };
        assert!((0..100).all(|n| assign(&fully, Direction::Upload, &key(n), None) == Arm::Adaptive));
        let owner = |prefix| ProfileKey { owner: Some("a@example".to_owned()), ..key(prefix) };
        assert_eq!(half(&owner(1)), half(&owner(2)), "who is known keeps the arm across networks");
    }
}
