//! What the engine learns from flows that have ended, and what is kept of that.

use hfs_core::Timestamp;
use hfs_core::pace::Arm;
use hfs_core::profile::{Lesson, Profile, ProfileKey, TELLING_BYTES, Vantage};
use tracing::info;

use super::{Engine, oldest};
use crate::clock;
use crate::flow::config::PaceConfig;
use crate::flow::tuning::told;
use crate::flow::{Flow, explain};

impl Engine {
    /// Counts a flow that has ended.
    pub(in crate::flow) fn count(&self, flow: &Flow) {
        if flow.total >= TELLING_BYTES {
            self.metrics.flow_ended(flow.direction, flow.arm, flow.quality(), flow.vantage, flow.total);
        }
    }

    /// Learns from a flow that has ended.
    pub(in crate::flow) fn learn(&self, flow: &Flow, lesson: &Lesson) {
        let config = self.config.load();
        // What a proxy takes compares nothing but proxies.
        if lesson.vantage == Vantage::Client {
            self.compare(&config, flow, lesson);
        }
        if flow.arm == Arm::Standard || !config.profiling || !config.learning {
            return;
        }
        self.profiles().learn(&flow.key, lesson, config.settings.gain, clock::now());
        if config.log_profiles {
            let quality = self.quality(&lesson.snapshot, lesson.rate().is_some());
            let known = self.profile(&config, flow.arm, &flow.key);
            explain::learnt(flow.request, flow.key.prefix, quality, lesson, known.as_ref());
        }
    }

    /// Compares an adaptive transfer with the standard path's, and what it tried with what others did.
    fn compare(&self, config: &PaceConfig, flow: &Flow, lesson: &Lesson) {
        let quality = config.thresholds.quality(None, lesson.snapshot.min_rtt);
        if flow.arm == Arm::Standard {
            return self.tuning.note_standard(quality, lesson, config.history);
        }
        if let Some(gain) = self.tuning.gain(quality, lesson) {
            self.metrics.adaptive_gains.observe(gain);
        }
        if !config.learning {
            return;
        }
        let every = config.settings.reconsider_every;
        for adoption in self.tuning.learn(flow.trial, lesson, config.history, every) {
            self.note_optimization();
            if config.settings.explain {
                let ([from, to], kind) = (told(&adoption, &config.settings), adoption.kind);
                info!(
                    lever = adoption.question,
                    from,
                    to,
                    gain = adoption.gain,
                    direction = kind.direction.as_str(),
                    quality = kind.quality.as_str(),
                    link = kind.link.as_str(),
                    "Transfers begin otherwise now"
                );
            }
        }
    }

    /// Whether anything is learnt about clients.
    #[must_use]
    pub fn remembers(&self) -> bool {
        self.config.load().profiling
    }

    /// What was learnt before this is as good as not learnt.
    #[must_use]
    pub fn oldest(&self) -> Timestamp {
        oldest(&self.config.load())
    }

    /// Takes in what earlier processes learnt; returns how many clients are known then.
    pub fn recall(&self, kept: Vec<(ProfileKey, Profile)>) -> usize {
        self.profiles().recall(kept, self.oldest())
    }

    /// Hands over what was learnt since the last call, at most `limit` clients.
    #[must_use]
    pub fn changed(&self, limit: usize) -> Vec<(ProfileKey, Profile)> {
        self.profiles().changed(limit)
    }

    /// What was handed over could not be kept: it comes again.
    pub fn keep_later(&self, clients: Vec<ProfileKey>) {
        self.profiles().keep_later(clients);
    }

    /// What transfers begin with, and what that rests on, to be kept.
    #[must_use]
    pub fn tuning(&self) -> String {
        self.tuning.to_text()
    }

    /// Takes in what an earlier process kept of that.
    pub fn recall_tuning(&self, text: &str) {
        self.tuning.recall(text);
    }
}
