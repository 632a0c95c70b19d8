//! Whole configurations: what loads, what does not, and what is said.

mod documents;
mod network;
mod pace;
mod register;
mod secrets;
mod texts;

use std::io;
use std::path::Path;
use std::time::Duration;

use hfs_core::ByteSize;

use super::*;
use crate::net::ListenAddress;

const SECRET: &str = "b1946ac92492d2347c6235b4d2611184";

fn no_files(_: &Path) -> io::Result<String> {
    Err(io::ErrorKind::NotFound.into())
}

fn with_env(text: &str, env: &[(&str, &str)]) -> Result<Loaded, Report> {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    parse(text, Some(Path::new("config.toml")), env, &Overrides::default(), &no_files)
}

/// `text` with a good secret.
fn good(text: &str) -> Result<Loaded, Report> {
    with_env(text, &[("HMAC_FILE_SERVER__SECURITY__SECRET", SECRET)])
}

fn config(text: &str) -> Config {
    good(text).unwrap_or_else(|report| panic!("{report}")).config
}

fn report(text: &str) -> String {
    good(text).unwrap_err().to_string()
}

fn said(loaded: &Loaded) -> String {
    loaded.findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn an_empty_file_has_only_defaults() {
    let loaded = good("").unwrap();
    assert_eq!(loaded.findings, []);
    assert_eq!(loaded.config.net.listen, [ListenAddress::Tcp("[::]:8080".parse().unwrap())]);
    assert_eq!(loaded.config.storage.path, Path::new("./uploads"));
    assert_eq!(loaded.config.limits.max_size, None);
    assert_eq!(loaded.config.limits.min_free, ByteSize::mib(100));
    assert_eq!(loaded.config.keys.secrets.len(), 1);
    assert_eq!(loaded.config.net.stall, Default::default());
}

#[test]
fn without_a_secret_nothing_starts() {
    insta::assert_snapshot!(with_env("", &[]).unwrap_err(), @r"
    error: there is no secret: nobody could upload
      = help: set `[security] secret` or `secret_file`; make one with `openssl rand -hex 32`

    1 error, 0 warnings
    ");
}

#[test]
fn all_errors_come_at_once_with_line_and_caret() {
    let text = "[sever]\nport = 1\n[server]\nstorage_pth = \"/data\"\nlisten_address = [\"8080\", \"nowhere\"]\n\
                max_upload_size = \"10 bananas\"\nreadtimeout = \"60s\"\nfile_naming = \"HMAC\"\n\
                [timeouts]\nshutdown = false\n";
    insta::assert_snapshot!(report(text), @r#"
    error: there is no section `[sever]`
     --> config.toml:1:2
      |
    1 | [sever]
      |  ^^^^^
      = help: did you mean `[server]`?

    error: there is no key `server.storage_pth`
     --> config.toml:4:1
      |
    4 | storage_pth = ***
      | ^^^^^^^^^^^
      = help: did you mean `[server] storage_path`?

    error: `nowhere` is not an address: write `8080`, `127.0.0.1:8080` or `[::1]:8080`
     --> config.toml:5:27
      |
    5 | listen_address = ["8080", "nowhere"]
      |                           ^^^^^^^^^

    error: `10 bananas` is not a size: write a number and a unit, such as "512KB", "10MB" or "1.5GB"
     --> config.toml:6:19
      |
    6 | max_upload_size = "10 bananas"
      |                   ^^^^^^^^^^^^

    error: there is no key `server.readtimeout`
     --> config.toml:7:1
      |
    7 | readtimeout = ***
      | ^^^^^^^^^^^
      = help: did you mean `[timeouts] readtimeout`?

    error: files named by their MAC would not be found under the URL that the XMPP server hands out
     --> config.toml:8:15
      |
    8 | file_naming = "HMAC"
      |               ^^^^^^
      = help: write "original": files keep the path of their slot

    error: expected a duration such as "30s", "1h30m" or "7d", got `false`
      --> config.toml:10:12
       |
    10 | shutdown = false
       |            ^^^^^

    7 errors, 0 warnings
    "#);
}

#[test]
fn other_spellings_work_with_a_warning() {
    let loaded = good("[server]\nlistenport = 9000\nStoragePath = \"/data\"\nmetrics_enabled = \"false\"\n").unwrap();
    assert_eq!(loaded.config.net.listen, [ListenAddress::Tcp("[::]:9000".parse().unwrap())]);
    assert_eq!(loaded.config.storage.path, Path::new("/data"));
    assert!(!loaded.config.metrics.enabled);
    insta::assert_snapshot!(said(&loaded), @r#"
    warning: `server.listenport` is an older spelling of `server.listen_address`
     --> config.toml:2:1
      |
    2 | listenport = 9000
      | ^^^^^^^^^^
      = help: write `[server] listen_address`

    warning: `server.StoragePath` is an older spelling of `server.storage_path`
     --> config.toml:3:1
      |
    3 | StoragePath = "/data"
      | ^^^^^^^^^^^
      = help: write `[server] storage_path`
    "#);
}

#[test]
fn one_key_twice_is_an_error() {
    let report = report("[server]\nlistenport = \"1\"\nlisten_address = \"2\"\n");
    assert!(report.contains("`server.listen_address` is given twice: `server.listenport` means the same"), "{report}");
}

#[test]
fn what_is_not_toml_is_reported_line_by_line() {
    insta::assert_snapshot!(report("[server]\nmetricsenabled = yes\nlisten_address = \"8080\n"), @r#"
    error: string values must be quoted, expected literal string
     --> config.toml:2:18
      |
    2 | metricsenabled = yes
      |                  ^^^

    error: invalid basic string, expected `"`
     --> config.toml:3:23
      |
    3 | listen_address = "8080
      |                       ^

    2 errors, 0 warnings
    "#);
}

#[test]
fn environment_outranks_the_file_and_flags_outrank_both() {
    let text = "[server]\nstorage_path = \"/file\"\nbind_ip = \"10.0.0.1\"\n[security]\nsecret = \"changeme\"\n";
    let env = [
        ("HMAC_FILE_SERVER__SERVER__STORAGE_PATH", "/env"),
        ("HMAC_FILE_SERVER__SERVER__LISTEN_ADDRESS", "127.0.0.1:1, [::1]:2"),
        ("HMAC_FILE_SERVER__UPLOADS__ALLOWED_EXTENSIONS", ".TXT,png"),
        ("HMAC_FILE_SERVER_CONFIG", "not a key"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let overrides = Overrides {
        listen: vec!["127.0.0.1:3".to_owned()],
        secret_file: vec!["/run/key".to_owned()],
        ..Overrides::default()
    };
    let files = |path: &Path| match path == Path::new("/run/key") {
        true => Ok(format!("{SECRET}\n")),
        false => no_files(path),
    };
    let config = parse(text, None, env, &overrides, &files).unwrap().config;
    assert_eq!(config.storage.path, Path::new("/env"));
    assert_eq!(config.net.listen, [ListenAddress::Tcp("127.0.0.1:3".parse().unwrap())]);
    assert_eq!(config.limits.extensions, ["txt", "png"]);
    assert_eq!(config.keys.secrets[0].expose(), SECRET.as_bytes());
    assert_eq!(config.keys.secrets.len(), 1, "the file's secret is replaced");
}

#[test]
fn a_misspelt_variable_of_any_name_is_answered_with_one_that_can_be_set() {
    let wrong = [("HMAC_FILE_SERVER__NETWORK_INTERFACES__LTE__BUFER_SIZE", "1MB")];
    let report = with_env(&format!("[security]\nsecret = \"{SECRET}\"\n"), &wrong).unwrap_err().to_string();
    assert!(report.contains("did you mean `HMAC_FILE_SERVER__NETWORK_INTERFACES__LTE__BUFFER_SIZE`?"), "{report}");
}

#[test]
fn an_unknown_variable_is_an_error() {
    insta::assert_snapshot!(with_env("", &[("HMAC_FILE_SERVER__SERVER__STORAGE_PTH", "x"), ("HMAC_FILE_SERVER__SECURITY__SECRET", SECRET)]).unwrap_err(), @r"
    error: there is no key `server.storage_pth`
     --> environment variable HMAC_FILE_SERVER__SERVER__STORAGE_PTH
      = help: did you mean `HMAC_FILE_SERVER__SERVER__STORAGE_PATH`?

    1 error, 0 warnings
    ");
}

#[test]
fn time_outs_are_limits_of_silence() {
    let loaded = good("[timeouts]\nreadtimeout = \"30s\"\nwritetimeout = \"90s\"\nidletimeout = 5\n").unwrap();
    assert_eq!(loaded.config.net.stall.idle, Duration::from_secs(90));
    assert_eq!(loaded.config.net.idle_timeout, Duration::from_secs(5));
    let said = said(&loaded);
    assert!(said.contains("moves nothing for 30s") && !said.contains("90s is cut"), "{said}");
    assert!(report("timeouts.header_timeout = 0").contains("longer than nothing"));
}

#[test]
fn extensions_lose_dot_and_case() {
    let loaded =
        good("uploads.allowed_extensions = [\".JPG\", \"jpg\", \".tar.gz\"]\ndownloads.allowed_extensions = \"\"")
            .unwrap();
    assert_eq!(loaded.config.limits.extensions, ["jpg", "gz"]);
    assert!(loaded.config.download_extensions.is_empty());
    assert!(said(&loaded).contains("`.tar.gz` allows `.gz`"));
    assert!(report("uploads.allowed_extensions = [\"*\"]").contains("is not an extension"));
}

#[test]
fn trusting_everyone_in_public_is_refused() {
    let everyone = "[server]\ntrusted_proxies = [\"0.0.0.0/0\"]\nlisten_address = ";
    assert!(report(&format!("{everyone}\"8080\"")).contains("any client could claim any address"));
    assert_eq!(config(&format!("{everyone}\"127.0.0.1:8080\"")).net.trusted_proxies.len(), 1);
    let hint =
        good("[server]\npublic_url = \"https://f.example.org/up/\"\nlisten_address = \"127.0.0.1:8080\"").unwrap();
    assert!(said(&hint).contains("trusted_proxies = [\"127.0.0.1\", \"::1\"]"));
    assert_eq!(hint.config.http.base_path, "/up");
    assert!(report("server.proxy_protocol = true").contains("needs `trusted_proxies`"));
}

#[test]
fn one_client_gets_half_of_the_connections_unless_told_otherwise() {
    let most = |text: &str| config(text).net.max_per_address;
    assert_eq!((most(""), most("server.max_connections = 7"), most("server.max_connections = 1")), (10_000, 3, 1));
    assert_eq!(most("server.max_connections_per_address = 40"), 40);
    assert!(report("server.max_connections_per_address = 0").contains("a whole number from 1 on, got `0`"));
}

#[test]
fn metrics_have_a_listener_of_their_own_or_none() {
    let own = |port: &str| config(&format!("server.metricsport = {port}")).metrics.listen.unwrap().to_string();
    assert_eq!(own("9090"), "127.0.0.1:9090");
    assert_eq!(own("\"0.0.0.0:9090\""), "0.0.0.0:9090");
    assert_eq!(config("server.metricsport = \"\"").metrics.listen, None);
    assert!(report("server.metricsport = 8080").contains("listens there already"));
    assert!(report("server.metrics_path = \"metrics\"").contains("is not a path"));
}

#[test]
fn metrics_that_a_proxy_could_show_to_everyone_are_pointed_out() {
    let said = |text: &str| said(&good(text).unwrap_or_else(|report| panic!("{report}")));
    let open = "can read `/metrics` through a proxy";
    for text in [
        "server.trusted_proxies = [\"127.0.0.1\"]",
        "server.trusted_proxies = [\"::1\", \"10.0.0.0/8\"]\nserver.listen_address = \"127.0.0.1:8080\"",
        "server.public_url = \"https://f.example.org/\"\nserver.listen_address = \"127.0.0.1:8080\"",
    ] {
        assert!(said(text).contains(open), "{text}: {}", said(text));
        assert!(!said(&format!("{text}\nserver.metricsport = 9090")).contains(open), "{text}");
        assert!(!said(&format!("{text}\nserver.metricsenabled = false")).contains(open), "{text}");
    }
    for text in [
        "",
        "server.trusted_proxies = [\"10.0.0.1\"]",
        "server.trusted_proxies = [\"127.0.0.1\"]\nserver.proxy_protocol = true",
        "server.trusted_proxies = [\"127.0.0.1\"]\nserver.listen_address = \"192.0.2.1:8080\"",
        "server.trusted_proxies = [\"unix\"]\nserver.listen_address = \"unix:/run/h.sock\"",
        "server.public_url = \"https://f.example.org/\"\n[tls]\ncert = \"c\"\nkey = \"k\"",
    ] {
        assert!(!said(text).contains(open), "{text}: {}", said(text));
    }
}

#[test]
fn an_algorithm_that_locks_prosody_out_warns() {
    let warned = |text: &str| said(&good(text).unwrap()).contains("Prosody's built-in file share signs HS256 only");
    assert!(warned("security.jwtalgorithm = \"HS512\"") && warned("security.jwtalgorithm = \"HS384\""));
    assert!(!warned("security.jwtalgorithm = \"HS256\"") && !warned(""));
    let text = format!("[security]\nenablejwt = true\njwtsecret = \"{SECRET}\"\njwtalgorithm = \"HS512\"");
    assert_eq!(said(&with_env(&text, &[]).unwrap()), "", "without a shared secret there is no file share");
}

#[test]
fn a_reload_keeps_what_cannot_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    let write = |text: &str| std::fs::write(&path, format!("{text}\n[security]\nsecret = \"{SECRET}\"\n")).unwrap();
    write("server.listen_address = \"127.0.0.1:1\"\nserver.max_upload_size = \"1MB\"");
    let running = load(&path, [], &Overrides::default()).unwrap().config;
    write("server.listen_address = \"127.0.0.1:2\"\nserver.max_upload_size = \"2MB\"");
    let new = reload(&running, [], &Overrides::default()).unwrap();
    assert_eq!(new.config.net.listen, running.net.listen);
    assert_eq!(new.config.limits.max_size, Some(ByteSize::mib(2)));
    assert!(said(&new).contains("`server.listen_address` has changed"));
    write("server.listen_address = \"nowhere\"");
    assert!(reload(&running, [], &Overrides::default()).is_err());
}

#[test]
fn a_reload_names_what_cannot_change_for_as_long_as_it_differs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    let write = |text: &str| std::fs::write(&path, format!("{text}\n[security]\nsecret = \"{SECRET}\"\n")).unwrap();
    write("");
    let running = load(&path, [], &Overrides::default()).unwrap().config;
    for (key, value) in [
        ("server.max_connections", "100"),
        ("server.io_deadline", "7"),
        ("logging.format", "\"json\""),
        ("logging.max_size", "7"),
        ("logging.max_backups", "99"),
    ] {
        write(&format!("{key} = {value}\nlogging.level = \"debug\""));
        let first = reload(&running, [], &Overrides::default()).unwrap();
        let second = reload(&first.config, [], &Overrides::default()).unwrap();
        for new in [first, second] {
            assert!(said(&new).contains(&format!("`{key}` has changed")), "{key}: {}", said(&new));
            assert_eq!(new.config.storage.io_deadline, running.storage.io_deadline);
            assert_eq!(new.config.log.level, tracing::Level::DEBUG, "this one can");
            let most = |config: &Config| (config.net.max_connections, config.net.max_per_address);
            assert_eq!(most(&new.config), most(&running));
        }
    }
    write("");
    assert!(!said(&reload(&running, [], &Overrides::default()).unwrap()).contains("has changed"));
    write("server.max_connections = 100\nserver.max_connections_per_address = 7");
    assert_eq!(reload(&running, [], &Overrides::default()).unwrap().config.net.max_per_address, 7);
}

#[test]
fn the_data_paths_are_read_as_the_mission_writes_them() {
    let text = r#"
        [performance]
        adaptive_buffers = true
        testing_mode = true
        min_buffer_size = "32KB"
        max_buffer_size = "256KB"
        levers = ["congestion", "write_back"]
        [client_optimization]
        adaptation_speed = "fast"
        learning_enabled = false
        [timeouts]
        adaptive_timeouts = false
        [streaming]
        quality_thresholds = [
            { name = "good", min_throughput = "2MB/s", max_latency = "100ms" },
            { name = "excellent", min_throughput = "20MB/s", max_latency = "10ms" },
            { name = "fair", min_throughput = "100KB/s", max_latency = "500ms" },
            { name = "poor", min_throughput = "10KB/s", max_latency = "2s" },
        ]
    "#;
    let pace = good(text).unwrap_or_else(|report| panic!("{report}")).config.pace;
    assert!(pace.enabled && pace.testing && !pace.fully && pace.profiling && !pace.learning);
    let settings = pace.settings;
    assert_eq!((settings.min_step, settings.first_step, settings.max_step), (32 << 10, 64 << 10, 256 << 10));
    assert_eq!((settings.gain, settings.longest_stall), (0.5, None));
    assert!(settings.levers.congestion && settings.levers.write_back && !settings.levers.lane);
    let quality = |rate, millis| pace.thresholds.quality(Some(rate), Some(Duration::from_millis(millis)));
    assert_eq!(quality(20 << 20, 10).as_str(), "excellent");
    assert_eq!(quality(3 << 20, 10).as_str(), "good");
}

#[test]
fn what_was_measured_and_not_built_says_so() {
    let loaded = good("performance.levers = [\"read_ahead\", \"lane\"]").unwrap_or_else(|report| panic!("{report}"));
    assert!(said(&loaded).contains("reading further ahead gained next to nothing"), "{}", said(&loaded));
    assert_eq!(
        loaded.config.pace.settings.levers,
        hfs_core::pace::Levers { lane: true, ..hfs_core::pace::Levers::NONE }
    );
}

#[test]
fn what_is_wrong_with_a_key_is_told_once() {
    for text in [
        "performance.detailed_logging = \"quick\"",
        "network_resilience.enabled = -1",
        "performance.initial_buffer_size = 0",
        "client_optimization.enabled = []",
        "network_interfaces.lte.priority = 1.5\nclient_optimization.strategy_mobile.buffer_size = []",
    ] {
        let report = report(text);
        let (errors, lines) = (report.matches("error: ").count(), text.lines().count());
        assert_eq!(errors, lines, "{text}: {report}");
    }
}

#[test]
fn bounds_that_contradict_each_other_are_refused() {
    for (text, said) in [
        ("performance.min_buffer_size = \"2MB\"\nperformance.max_buffer_size = \"1MB\"", "is above `max_buffer_size`"),
        ("performance.initial_buffer_size = \"2MB\"\nperformance.max_buffer_size = \"1MB\"", "is not between"),
        ("performance.min_buffer_size = \"1\"", "is not between 4 KiB and 16 MiB"),
        ("performance.max_memory_usage = \"1KB\"", "too little"),
        ("performance.levers = [\"congestoin\"]", "there is no lever `congestoin`"),
        ("timeouts.min_timeout = \"400s\"", "`min_timeout` (400s) is longer than `max_timeout` (300s)"),
        ("timeouts.timeout_adaptation_factor = 0.5", "expected a number from 1 to 100, got `0.5`"),
        ("network_interfaces.lte.priority = 1001", "a whole number from 0 to 1000, got `1001`"),
        ("server.max_connections = 0", "a whole number from 1 on, got `0`"),
        ("performance.performance_history_samples = 9", "got `9`"),
        ("performance.performance_history_samples = 100001", "got `100001`"),
        (
            "streaming.quality_thresholds = [{ name = \"good\", min_throughput = \"1MB/s\", max_latency = \"1s\" }]",
            "each of",
        ),
        ("streaming.quality_thresholds = [{ name = \"best\" }]", "min_throughput"),
    ] {
        let report = report(text);
        assert!(report.contains(said), "{text}: {report}");
    }
}
