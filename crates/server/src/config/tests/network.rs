//! Sections about networks and clients.

use hfs_core::profile::{Guess, Link, Quality};

use super::*;

#[test]
fn the_missions_links_and_strategies_bound_their_clients() {
    let adaptive = include_str!("../../../../../testdata/mission/config-adaptive.toml");
    let env = [("HMAC_FILE_SERVER__SECURITY__SECRET", SECRET), ("HMAC_FILE_SERVER__SERVER__STORAGE_PATH", "/srv/x")];
    let pace = with_env(adaptive, &env).unwrap_or_else(|report| panic!("{report}")).config.pace;
    let bounds = |link, confidence, quality| {
        let bounds = pace.strategies.bounds(Guess { link, confidence }, quality);
        (bounds.ceiling.unwrap() >> 10, bounds.patience.unwrap())
    };
    assert_eq!(bounds(Link::Lte, 0.9, Quality::Good), (256, 2.0));
    assert_eq!(bounds(Link::Cellular, 0.9, Quality::Good), (128, 3.0));
    assert_eq!(bounds(Link::Satellite, 0.9, Quality::Good), (32, 2.0), "it has no entry: it is mobile");
    assert_eq!(bounds(Link::Lte, 0.5, Quality::Good), (128, 1.0), "not sure: a desktop by its quality");
    assert_eq!(bounds(Link::Unknown, 0.0, Quality::Excellent), (512, 0.5));
    let priority = |link, confidence| pace.strategies.priority(Guess { link, confidence });
    assert_eq!([priority(Link::Ethernet, 0.9), priority(Link::Lte, 0.9), priority(Link::Unknown, 0.9)], [10, 30, 50]);
    let (warning, critical) = (pace.alarms.warning, pace.alarms.critical);
    assert_eq!((warning.rtt, warning.loss), (Some(Duration::from_millis(200)), Some(0.02)));
    assert_eq!((critical.rtt, critical.loss), (Some(Duration::from_secs(1)), Some(0.1)));
    assert_eq!(pace.alarms.stability, Some(0.8));
    let detection = pace.settings.detection.unwrap();
    assert_eq!((detection.fast.as_secs(), detection.slow.as_secs()), (1, 10));
}

#[test]
fn phones_are_granted_what_their_strategy_leaves_open() {
    let text = "[network_resilience]\nmobile_buffer_size = \"64KB\"\nmobile_timeout_multiplier = 3.0\nmobile_retry_multiplier = 1.5\n\
                [client_optimization.strategy_mobile]\nbuffer_size = \"32KB\"\n";
    let phone = |text: &str| config(text).pace.strategies.mobile;
    assert_eq!((phone(text).ceiling, phone(text).patience), (Some(32 << 10), Some(3.0)));
    let said = format!("{text}retry_multiplier = 2.5\n");
    assert_eq!((phone(text).retry, phone(&said).retry), (Some(1.5), Some(2.5)));
    let off = format!("{text}[client_network_support]\nadapt_to_client_network = false\n");
    assert_eq!(phone(&off).ceiling, None);
    let off = text.replace("[network_resilience]\n", "[network_resilience]\nmobile_optimizations = false\n");
    assert_eq!((phone(&off).ceiling, phone(&off).patience), (Some(32 << 10), None));
}

#[test]
fn each_switch_does_what_it_says() {
    let pace = |text: &str| config(text).pace;
    assert!(!pace("[streaming]\nnetwork_condition_monitoring = false").settings.watches);
    assert!(!pace("[network_resilience]\nquality_monitoring = false").settings.watches);
    assert!(!pace("[network_resilience]\npredictive_switching = false").settings.foresees);
    assert_eq!(pace("[network_resilience]\nfast_detection = false").settings.detection, None);
    assert!(!pace("[streaming]\nadaptive_streaming = false").settings.follows);
    let for_rate = pace("[streaming]\nthroughput_optimization = false").settings.levers;
    assert!(!for_rate.congestion && !for_rate.pacing);
    assert!(!pace("[streaming]\nlatency_optimization = false").settings.levers.unsent);
    let through_memory = pace("[experimental]\nzero_copy_optimization = false").settings;
    assert!(!through_memory.zero_copy && through_memory.levers.lane);
    assert!(!pace("[client_network_support]\nclient_connection_detection = false").guessing);
    assert!(!pace("[client_optimization]\nperformance_classification = false").strategies.by_quality);
    let off =
        pace("[network_resilience]\nenabled = false\nrtt_warning_threshold = \"1s\"\npredictive_switching = false");
    assert_eq!((off.alarms.warning.rtt, off.settings.foresees), (None, true));
}

#[test]
fn bounds_that_contradict_each_other_are_refused() {
    for (text, said) in [
        ("rtt_warning_threshold = \"2s\"\nrtt_critical_threshold = \"1s\"", "is above `rtt_critical_threshold`"),
        ("packet_loss_warning = 20\npacket_loss_critical = 10", "is above `packet_loss_critical`"),
        ("packet_loss_warning = 101", "a number from 0 to 100, got `101`"),
        ("stability_minimum = 2", "a number from 0 to 1, got `2`"),
        ("detection_interval = \"20s\"", "is longer than `max_detection_interval`"),
        ("mobile_timeout_multiplier = 0", "a number from 0.1 to 100, got `0`"),
        ("mobile_buffer_size = 0", "must be more than nothing"),
    ] {
        let report = report(&format!("[network_resilience]\n{text}\n"));
        assert!(report.contains(said), "{report}");
    }
}

#[test]
fn a_key_that_stands_below_any_name_is_suggested_there() {
    for (text, meant) in [
        ("client_optimization.strategy_mobile.bufer_size = 1", "`[client_optimization.strategy_mobile] buffer_size`"),
        ("network_interfaces.lte.timeout_multiplyer = 1", "`[network_interfaces.lte] timeout_multiplier`"),
        ("network_interfaces.lte.readtimeuot = 1", "`[timeouts] readtimeout`"),
    ] {
        let report = report(text);
        assert!(report.contains(&format!("did you mean {meant}?")), "{report}");
    }
}

#[test]
fn what_a_threshold_lacks_is_named() {
    let thresholds = "[streaming]\nquality_thresholds = [{ name = \"good\", min_throughput = \"1MB/s\" }]\n";
    let report = report(thresholds);
    assert!(report.contains("`max_latency` is missing"), "{report}");
}

#[test]
fn thresholds_say_each_thing_once_and_nothing_else() {
    let all = [("excellent", 10, 50), ("good", 5, 150), ("fair", 2, 500), ("poor", 1, 2000)];
    let each = all.map(|(name, rate, rtt)| {
        format!("{{ name = \"{name}\", min_throughput = \"{rate}MB/s\", max_latency = \"{rtt}ms\" }}")
    });
    let with = |more: &str| format!("[streaming]\nquality_thresholds = [{}{more}]", each.join(", "));
    assert_eq!(good(&with("")).unwrap().findings, []);
    let twice = report(&with(&format!(", {}", each[1])));
    assert!(twice.contains("`good` has two thresholds"), "{twice}");
    let misspelt = report(&with("").replacen("max_latency", "latency = 1, max_latency", 1));
    assert!(misspelt.contains("a threshold has no `latency`, but name, min_throughput, max_latency"), "{misspelt}");
}

#[test]
fn bounds_that_others_do_not_let_be_are_pointed_out() {
    let told = |text: &str| said(&good(text).unwrap_or_else(|report| panic!("{report}")));
    for section in ["network_interfaces.lte", "client_optimization.strategy_mobile"] {
        let with = |size: &str| told(&format!("[{section}]\nbuffer_size = \"{size}\""));
        assert!(
            with("8KB").contains("8 KiB is below `[performance] min_buffer_size`: it is 16 KiB"),
            "{}",
            with("8KB")
        );
        assert!(with("2MB").contains("2 MiB is above `[performance] max_buffer_size`: it is 1 MiB"), "{}", with("2MB"));
        assert_eq!((with("16KB"), with("1MB")), (String::new(), String::new()));
    }
    let longest = |limit: &str| told(&format!("[timeouts]\nmax_timeout = \"{limit}\""));
    assert!(longest("60s").contains("not longer than the usual limit of silence, 60s"), "{}", longest("60s"));
    assert_eq!(longest("61s"), "");
    let history = |samples: u32| told(&format!("performance.performance_history_samples = {samples}"));
    assert!(history(39).contains("so few decide nothing: 40 count"), "{}", history(39));
    assert_eq!(history(40), "");
}

#[test]
fn a_link_that_no_client_has_is_named() {
    let loaded = good("[network_interfaces.dsl]\nbuffer_size = \"1MB\"\n").unwrap();
    assert!(said(&loaded).contains("no client is ever found to be `dsl`"), "{}", said(&loaded));
    assert!(said(&loaded).contains("there are ethernet, wifi, lte, cellular, satellite, vpn"), "{}", said(&loaded));
    let loaded = good("[client_optimization.strategy_laptop]\nbuffer_size = \"1MB\"\n").unwrap();
    assert!(said(&loaded).contains("there are strategy_mobile, strategy_desktop"), "{}", said(&loaded));
    assert!(said(&loaded).contains("found to be `strategy_laptop`"), "as it is written: {}", said(&loaded));
    let known = good("[network_interfaces]\nlte = { buffer_size = \"1MB\" }\n").unwrap();
    assert_eq!(known.findings, []);
}

#[test]
fn an_administrators_token_in_clear_is_pointed_out() {
    let said = |text: &str| said(&good(text).unwrap_or_else(|report| panic!("{report}")));
    let token = "[admin]\ntoken = \"0b7d1c93e5f24a6880cf9e2d4b6a8c1e\"";
    let warning = "would cross the network in clear";
    for listen in ["server.listen_address = \"8080\"", "server.listen_address = [\"127.0.0.1:8080\", \"192.0.2.1:80\"]"]
    {
        let told = said(&format!("{listen}\n{token}"));
        assert!(told.contains(warning) && told.contains("set `[tls]`"), "{told}");
        assert!(!said(listen).contains(warning), "without a token: {listen}");
        assert!(!said(&format!("{listen}\n{token}\nenabled = false")).contains(warning), "{listen}");
        assert!(!said(&format!("{listen}\n{token}\n[tls]\ncert = \"c\"\nkey = \"k\"")).contains(warning), "{listen}");
    }
    for listen in ["server.listen_address = \"127.0.0.1:8080\"", "server.listen_address = \"unix:/run/h.sock\""] {
        assert!(!said(&format!("{listen}\n{token}")).contains(warning), "{listen}");
    }
    let own = said(&format!("server.listen_address = \"127.0.0.1:8080\"\n{token}\nlisten = \"192.0.2.1:8090\""));
    assert!(own.contains(warning), "{own}");
}
