//! Controllers on a simulated link.

mod bbr;
mod cubic;
mod drop_tail;
mod explained;
mod invariants;
mod levers;
pub(crate) mod link;
mod looks;
mod lossy;
mod patience;
mod shared;
mod steps;

use std::sync::Arc;

use super::{Arm, Carrier, Congestion, Controller, Decision, Direction, Expected, Settings, Start};

/// With settings of its own.
pub(crate) fn controller(arm: Arm, settings: &Settings, start: &Start) -> Box<dyn Controller> {
    super::controller(arm, &Arc::new(*settings), start)
}

pub(crate) fn settings() -> Settings {
    Settings { bbr: true, cubic: true, explain: true, ..Settings::default() }
}

pub(crate) fn download(size: u64) -> Start {
    Start {
        direction: Direction::Download,
        size: Some(size),
        carrier: Carrier::Plain,
        is_shared: false,
        inherited: Some(Congestion::Cubic),
        expected: Expected::default(),
    }
}

fn upload(size: u64) -> Start {
    Start { direction: Direction::Upload, ..download(size) }
}

/// Hands over what was decided about congestion control.
fn congestion_changes(controller: &mut dyn Controller) -> Vec<Decision> {
    let mut decisions = controller.decisions();
    decisions.retain(|decision| decision.lever == "congestion control");
    decisions
}
