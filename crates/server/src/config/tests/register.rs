//! The register of keys against the files, manuals and code that it has to cover.

use std::collections::BTreeSet;

use super::super::keys::Status;
use super::*;

/// Every key of the original server's structures, and those of its manuals' snippets.
const ORIGINAL: &str = "
server: listen_address bind_ip storage_path metricsenabled metricsport metrics_path pidfilepath pid_file clean_upon_exit
 max_upload_size max_header_bytes filettlenabled filettl max_file_age cleanup_interval pre_cache pre_cache_workers
 pre_cache_interval precaching global_extensions deduplication_enabled min_free_bytes file_naming force_protocol
 enable_dynamic_workers worker_scale_up_thresh worker_scale_down_thresh autoadjustworkers networkevents unixsocket
 listenport port bindip storagepath upload_path metrics_enabled metrics_port cleanuponexit maxuploadsize file_ttl
 file_ttl_enabled filettl_enabled deduplicationenabled dedupenabled forceprotocol auto_adjust_workers unix_socket
uploads: allowed_extensions chunk_size chunked_uploads_enabled resumable_uploads_enabled sessiontimeout maxretries ttl
 allowedextensions chunksize chunkeduploadsenabled resumableuploadsenabled maxfilesize max_file_size max_upload_size
downloads: allowed_extensions chunked_downloads_enabled chunk_size resumable_downloads_enabled
security: secret enablejwt jwtsecret jwtalgorithm jwtexpiration enhanced_security challenge_on_network_change
 reauth_on_long_standby standby_threshold_minutes long_standby_threshold_hours
session_store: enabled redis_url backend max_sessions
sessionstore: enabled
logging: level file max_size max_backups max_age compress
timeouts: readtimeout writetimeout idletimeout shutdown read_timeout
deduplication: enabled directory maxsize
iso: enabled mountpoint size charset containerfile mount_point
versioning: enableversioning backend maxversions
clamav: clamavenabled clamavsocket scanfileextensions maxscansize numscanworkers enabled
redis: redisenabled redisaddr redispassword redisdbindex redishealthcheckinterval enabled address db
workers: numworkers uploadqueuesize
network_resilience: fast_detection quality_monitoring predictive_switching mobile_optimizations detection_interval
 quality_check_interval max_detection_interval multi_interface_enabled interface_priority auto_switch_enabled
 switch_threshold_latency switch_threshold_packet_loss quality_degradation_threshold max_switch_attempts
 switch_detection_interval
client_network_support: session_based_tracking allow_ip_changes session_migration_timeout max_ip_changes_per_session
 client_connection_detection adapt_to_client_network
client_network: allow_ip_changes
audit: enabled output path format events max_size max_age
validation: check_magic_bytes allowed_types blocked_types strict_mode max_file_size max_peek_size
quotas: enabled default tracking custom
admin: enabled path_prefix bind
admin.auth: type token username password
rate_limit: enabled requests_per_minute burst_size cleanup_interval by_ip by_jid whitelisted_ips whitelisted_jids
key_rotation: enabled rotation_interval grace_period key_storage
metadata: enabled db_path purge_age
compression: enabled algorithm level threshold adaptive_compression compression_negotiation
build: version
performance: fully_adaptive adaptive_uploads adaptive_downloads testing_mode detailed_logging optimization_logging
 client_profile_logging
";

#[test]
fn the_missions_files_load_once_secret_and_path_are_set() {
    let adaptive = include_str!("../../../../../testdata/mission/config-adaptive.toml");
    let simple = include_str!("../../../../../testdata/mission/test-simple-config.toml");
    let env = [("HMAC_FILE_SERVER__SECURITY__SECRET", SECRET), ("HMAC_FILE_SERVER__SERVER__STORAGE_PATH", "/srv/x")];
    for text in [adaptive, simple] {
        let loaded = with_env(text, &env).unwrap_or_else(|report| panic!("{report}"));
        assert_eq!(loaded.config.storage.path, Path::new("/srv/x"));
        assert_eq!(loaded.config.limits.max_size, Some(ByteSize::gib(10)));
        assert!(loaded.config.limits.extensions.contains(&"jpeg".to_owned()));
        assert!(said(&loaded).contains("not built yet"));
        let refused = with_env(text, &[]).unwrap_err();
        assert_eq!(refused.errors(), 1, "{refused}");
        assert!(refused.to_string().contains("stands in a published example"));
    }
    let loaded = with_env(adaptive, &env).unwrap();
    let named = said(&loaded);
    for key in
        ["circuit_breaker", "chunked_uploads_enabled", "compression_negotiation", "`chunk_size`", "gc_optimization"]
    {
        assert!(named.contains(key), "{key} is not named");
    }
    let simple = with_env(simple, &env).unwrap().config;
    assert_eq!(simple.log.format, crate::telemetry::LogFormat::Json);
}

#[test]
fn every_key_of_the_original_is_known() {
    let mut section = "";
    for word in ORIGINAL.split_whitespace() {
        match word.strip_suffix(':') {
            Some(name) => section = name,
            None => assert!(keys::find(&format!("{section}.{word}")).is_some(), "{section}.{word}"),
        }
    }
}

#[test]
fn an_enabled_protection_that_is_not_built_refuses_to_start() {
    for key in keys::all().filter(|key| key.status == Status::Refused) {
        let text = |value: &str| format!("{} = {value}", key.path);
        assert!(report(&text("true")).contains("not built yet"), "{}", key.path);
        assert!(report(&text("\"true\"")).contains("not built yet"), "{}", key.path);
        assert!(good(&text("false")).is_ok(), "{}", key.path);
    }
    let refused: Vec<_> = keys::all().filter(|key| key.status == Status::Refused).map(|key| key.path).collect();
    for path in
        ["clamav.clamavenabled", "quotas.enabled", "rate_limit.enabled", "server.filettlenabled", "audit.enabled"]
    {
        assert!(refused.contains(&path), "{path}");
    }
}

#[test]
fn every_key_in_use_is_read_and_no_other() {
    let text = "";
    let mut notes = Notes::new(Source::new("f", text));
    let mut said = Said::default();
    let env: Vec<(String, String)> = keys::all()
        .filter(|key| key.status == Status::Active && key.path != "server.unixsocket")
        .map(|key| (format!("HMAC_FILE_SERVER__{}", key.path.replace('.', "__").to_uppercase()), "true".to_owned()))
        .collect();
    said.add_env(&env, &mut notes);
    let mut resolver = Resolver {
        said: &said,
        notes: &mut notes,
        files: &no_files,
        credentials: None,
        asked: BTreeSet::new(),
        unreadable: BTreeSet::new(),
    };
    resolver.config(None);
    let asked = resolver.asked;
    let active: BTreeSet<&str> = keys::all().filter(|key| key.status == Status::Active).map(|key| key.path).collect();
    assert_eq!(asked, active);
}

#[test]
fn the_example_loads_and_names_every_key_in_use() {
    let files = |_: &Path| Ok(SECRET.to_owned());
    let loaded = parse(EXAMPLE, None, [], &Overrides::default(), &files).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(loaded.findings, [], "the example is beyond reproach");
    let mut section = String::new();
    let mut named = BTreeSet::new();
    for line in EXAMPLE.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if let Some((key, _)) = line.trim_start_matches("# ").split_once(" = ") {
            named.insert(format!("{section}.{key}"));
        }
    }
    for key in keys::all().filter(|key| key.status == Status::Active) {
        let is_named = |path: &String| keys::find(path).is_some_and(|known| known.path == key.path);
        assert!(named.iter().any(is_named), "{} is not in the example", key.path);
    }
}

#[test]
fn configuration_manual_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, reference()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == reference(), "docs/configuration.md is stale: run this test with UPDATE_DOCS=1");
}
