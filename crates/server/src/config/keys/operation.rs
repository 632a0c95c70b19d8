//! `[logging]`, `[monitoring]`, storage extras, and the sections that no program ever read.

use super::Key;
use crate::config::kind::Kind::{Bool, Choice, Duration, Int, List, Path, Size, Text};

const NEVER_READ: &str = "The original server never read this section.";
const IMMUTABLE: &str = "A published file never changes, so it has no versions.";
const ISO_PART: &str = "Belongs to `iso.enabled`.";

pub(super) const KEYS: &[Key] = &[
    Key::active(
        "logging.level",
        Choice(&["error", "warn", "warning", "info", "debug", "trace", "fatal", "panic"]),
        "\"info\"",
        "Most detailed level that is written.",
    ),
    Key::active(
        "logging.file",
        Path,
        "",
        "Write to this file instead of standard error (under systemd: the journal). Its folder must exist.",
    ),
    Key::active(
        "logging.format",
        Choice(&["auto", "text", "json"]),
        "\"auto\"",
        "Shape of a line. `auto`: journal fields under systemd, text elsewhere.",
    ),
    Key::active(
        "logging.output",
        Choice(&["console", "stderr", "stdout", "journald", "file"]),
        "",
        "`file` needs `logging.file`; everything else means no file.",
    ),
    Key::active("logging.max_size", Int, "100", "MB at which the log file is rotated; 0 counts as 1."),
    Key::active("logging.max_backups", Int, "7", "How many rotated files are kept."),
    Key::later("logging.max_age", Int, "Days for which rotated files are kept."),
    Key::later("logging.compress", Bool, "Compress rotated files."),
    Key::later("monitoring.detailed_metrics", Bool, "Metrics per class of client."),
    Key::later("monitoring.performance_tracking", Bool, "Keep a history of performance."),
    Key::later("monitoring.client_analytics", Bool, "Keep a history of clients."),
    Key::later("monitoring.realtime_interval", Duration, "Resolution of live figures."),
    Key::later("monitoring.aggregate_interval", Duration, "Resolution of recent figures."),
    Key::later("monitoring.summary_interval", Duration, "Resolution of old figures."),
    Key::later("monitoring.metrics_retention", Duration, "For how long figures are kept."),
    Key::later("monitoring.performance_history", Duration, "For how long performance is kept."),
    Key::later("monitoring.client_profile_retention", Duration, "For how long a client's profile is kept."),
    Key::later("deduplication.enabled", Bool, "Store equal files once."),
    Key::later("deduplication.directory", Path, "Where shared bytes lie."),
    Key::later("deduplication.maxsize", Size, "Largest file that is compared."),
    Key::later("deduplication.algorithm", Text, "Digest that compares."),
    Key::later("deduplication.cleanup_interval", Duration, "How often unused bytes are removed."),
    Key::refused("iso.enabled", "Store files in an ISO container. Starting without it would put them elsewhere."),
    Key::void("iso.mountpoint", ISO_PART),
    Key::void("iso.size", ISO_PART),
    Key::void("iso.charset", ISO_PART),
    Key::void("iso.containerfile", ISO_PART),
    Key::void("versioning.enableversioning", IMMUTABLE),
    Key::void("versioning.backend", IMMUTABLE),
    Key::void("versioning.maxversions", IMMUTABLE),
    Key::always("metadata.enabled", "A row is always kept for each file: it is what makes the file visible."),
    Key::void("metadata.db_path", "The database lies in `.hfs` below the storage folder, next to what it describes."),
    Key::later("metadata.purge_age", Duration, "For how long rows of deleted files are kept."),
    Key::later("compression.enabled", Bool, "Compress downloads."),
    Key::later("compression.algorithm", Text, "With what."),
    Key::later("compression.level", Int, "How hard."),
    Key::later("compression.threshold", Size, "From which size."),
    Key::later("compression.adaptive_compression", Bool, "Only where it is worth it."),
    Key::later("compression.compression_negotiation", Bool, "What the client accepts."),
    Key::void("build.version", "The program knows its version."),
    Key::void("file.*", NEVER_READ),
    Key::void("auth.*", NEVER_READ),
    Key::void("storage.*", NEVER_READ),
    Key::void("metrics.*", NEVER_READ),
    Key::void("ejabberd.*", NEVER_READ),
    Key::void("ejabberd_integration.*", NEVER_READ),
    Key::active(
        "network_resilience.enabled",
        Bool,
        "true",
        "`false` is as if nothing were said about detection, prediction, phones and thresholds in this section.",
    ),
    Key::later("network_resilience.interface_priority", List, "Order of the server's interfaces."),
];
