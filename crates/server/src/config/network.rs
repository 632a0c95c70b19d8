//! What the sections about networks and clients mean for the adaptive path: `[network_resilience]`,
//! `[network_interfaces]`, the strategies of `[client_optimization]`, into parts of
//! [`PaceConfig`](crate::flow::PaceConfig).

use std::time::Duration;

use hfs_core::pace::{Detection, Settings};
use hfs_core::profile::{Alarm, Alarms, Bounds, Link, Strategies};

use super::kind::{self, Node};
use super::resolve::Resolver;

impl Resolver<'_, '_> {
    /// `[network_resilience] enabled`: false is as if nothing of the section had been said.
    fn is_resilient(&mut self) -> bool {
        self.or("network_resilience.enabled", kind::bool, true)
    }

    /// Sampling, and what is done before a path shows what it is like.
    pub(super) fn watching(&mut self, settings: &mut Settings) {
        let is_on = self.is_resilient();
        for path in ["streaming.network_condition_monitoring", "network_resilience.quality_monitoring"] {
            settings.watches &= self.or(path, kind::bool, true);
        }
        let foresees = self.or("network_resilience.predictive_switching", kind::bool, true);
        settings.foresees = foresees || !is_on;
        let Detection { fast, slow } =
            settings.detection.unwrap_or(Detection { fast: Duration::ZERO, slow: Duration::ZERO });
        let fast = self.span("network_resilience.detection_interval", fast.as_secs());
        let slow = self.span("network_resilience.max_detection_interval", slow.as_secs());
        if fast > slow {
            let message = format!("`detection_interval` ({fast:?}) is longer than `max_detection_interval` ({slow:?})");
            self.notes.error(&self.place("network_resilience.detection_interval"), message);
        }
        let is_fast = self.or("network_resilience.fast_detection", kind::bool, true);
        if is_on {
            settings.detection = is_fast.then_some(Detection { fast, slow });
        }
        settings.degraded =
            self.share("network_resilience.quality_degradation_threshold", 1.0).unwrap_or(settings.degraded);
    }

    pub(super) fn alarms(&mut self) -> Alarms {
        let is_on = self.is_resilient();
        let warning = Alarm {
            rtt: self.read("network_resilience.rtt_warning_threshold", kind::duration),
            loss: self.share("network_resilience.packet_loss_warning", 100.0),
        };
        let critical = Alarm {
            rtt: self.read("network_resilience.rtt_critical_threshold", kind::duration),
            loss: self.share("network_resilience.packet_loss_critical", 100.0),
        };
        let falls = |warning: Option<f64>, critical: Option<f64>| warning.zip(critical).is_some_and(|(w, c)| w > c);
        let rtts = [warning.rtt, critical.rtt].map(|rtt| rtt.map(|rtt| rtt.as_secs_f64()));
        if falls(rtts[0], rtts[1]) {
            let message = "`rtt_warning_threshold` is above `rtt_critical_threshold`";
            self.notes.error(&self.place("network_resilience.rtt_warning_threshold"), message);
        }
        if falls(warning.loss, critical.loss) {
            let message = "`packet_loss_warning` is above `packet_loss_critical`";
            self.notes.error(&self.place("network_resilience.packet_loss_warning"), message);
        }
        let alarms = Alarms { warning, critical, stability: self.share("network_resilience.stability_minimum", 1.0) };
        if is_on { alarms } else { Alarms::default() }
    }

    pub(super) fn strategies(&mut self) -> Strategies {
        let phones = self.phones();
        let priorities = Link::KNOWN.map(|link| self.priority(link));
        let links = Link::KNOWN.map(|link| self.bounds("network_interfaces", link.as_str()));
        let strategy = |resolver: &mut Self, name: &str| resolver.bounds("client_optimization", name);
        let mobile = strategy(self, "strategy_mobile");
        let strategies = Strategies {
            links,
            mobile: mobile.or(phones),
            desktop: strategy(self, "strategy_desktop"),
            server: strategy(self, "strategy_server"),
            priorities,
            by_quality: self.or("client_optimization.performance_classification", kind::bool, true),
        };
        self.name_strangers();
        let is_on = self.or("client_network_support.adapt_to_client_network", kind::bool, true);
        if is_on { strategies } else { Strategies::default() }
    }

    /// `mobile_*` of `[network_resilience]`: where `strategy_mobile` says nothing.
    fn phones(&mut self) -> Bounds {
        let is_on = self.or("network_resilience.mobile_optimizations", kind::bool, true) && self.is_resilient();
        let ceiling = self.ceiling("network_resilience.mobile_buffer_size", "network_resilience.mobile_buffer_size");
        let patience = "network_resilience.mobile_timeout_multiplier";
        let patience = self.factor(patience, patience);
        let retry = "network_resilience.mobile_retry_multiplier";
        let retry = self.factor(retry, retry);
        if is_on { Bounds { ceiling, patience, retry } } else { Bounds::default() }
    }

    /// `buffer_size`, `timeout_multiplier` and `retry_multiplier` of `[section.name]`. The last one only strategies have.
    fn bounds(&mut self, section: &str, name: &str) -> Bounds {
        let (size, multiplier) = match section {
            "network_interfaces" => ("network_interfaces.*.buffer_size", "network_interfaces.*.timeout_multiplier"),
            _ => ("client_optimization.*.buffer_size", "client_optimization.*.timeout_multiplier"),
        };
        let ceiling = self.ceiling(size, &size.replace('*', name));
        let patience = self.factor(multiplier, &multiplier.replace('*', name));
        let retry = "client_optimization.*.retry_multiplier";
        let is_strategy = section == "client_optimization";
        let retry = if is_strategy { self.factor(retry, &retry.replace('*', name)) } else { None };
        Bounds { ceiling, patience, retry }
    }

    fn ceiling(&mut self, key: &'static str, path: &str) -> Option<usize> {
        let size = self.read_as(key, path, kind::size)?;
        if size.as_u64() == 0 {
            self.notes.error(&self.place(path), format!("`{path}` must be more than nothing"));
        }
        usize::try_from(size.as_u64()).ok()
    }

    fn priority(&mut self, link: Link) -> Option<u32> {
        let path = format!("network_interfaces.{}.priority", link.as_str());
        let number = |node: &Node| kind::int_within(node, 0..=1000);
        u32::try_from(self.read_as("network_interfaces.*.priority", &path, number)?).ok()
    }

    fn factor(&mut self, key: &'static str, path: &str) -> Option<f64> {
        self.read_as(key, path, |node| kind::float_within(node, 0.1..=100.0))
    }

    /// A number from 0 to `whole`, as a share.
    fn share(&mut self, path: &'static str, whole: f64) -> Option<f64> {
        Some(self.read(path, |node| kind::float_within(node, 0.0..=whole))? / whole)
    }

    /// Links and strategies that no client will ever be found to have.
    fn name_strangers(&mut self) {
        let is_link = |name: &str| Link::from_name(name).is_some();
        let is_strategy = |name: &str| ["strategymobile", "strategydesktop", "strategyserver"].contains(&name);
        let said = self.said;
        for given in said.of_wildcards() {
            let mut elements = given.written.split('.');
            let (section, name) = (elements.next().unwrap_or_default(), elements.next().unwrap_or_default());
            let (section, plain) = (super::keys::normal(section), super::keys::normal(name));
            let is_known = if section == "networkinterfaces" { is_link(&plain) } else { is_strategy(&plain) };
            if !is_known {
                let message = format!("no client is ever found to be `{name}`: `{}` has no effect", given.written);
                let known = match section.as_str() {
                    "networkinterfaces" => Link::KNOWN.map(Link::as_str).join(", "),
                    _ => "strategy_mobile, strategy_desktop, strategy_server".to_owned(),
                };
                self.notes.warning(&given.at, message).help = Some(format!("there are {known}"));
            }
        }
    }
}
