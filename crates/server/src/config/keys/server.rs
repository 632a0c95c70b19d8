//! `[server]`, `[tls]`, `[uploads]`, `[downloads]`, `[timeouts]`: the keys of the main job.

use super::Key;
use crate::config::kind::Kind::{Bool, Choice, Duration, Int, List, Listen, Path, Size, SizeOrAdaptive, Text};

const NO_WORKERS: &str =
    "There is no pool of workers to size: each connection is a task, and disk work has its own bounded threads.";
const PAGE_CACHE: &str = "The kernel's page cache does this; a cache of our own would hold every byte twice.";
const NO_PID_FILE: &str =
    "No PID file is written: a service manager knows the process, and a stale file names another one.";

pub(super) const KEYS: &[Key] = &[
    Key::active("server.listen_address", Listen, "\"8080\"", "Where to listen: a port (`\"8080\"`, `\":8080\"`: all addresses, IPv6 and IPv4), `\"0.0.0.0:8080\"`, `\"[::]:8080\"`, `\"127.0.0.1:8080\"`, a Unix socket `\"unix:/run/hmac-file-server.sock\"`, or a list of these.")
        .older(&["server.listenport", "server.port"]),
    Key::active("server.bind_ip", Text, "", "Address for the entries of `listen_address` that are only a port."),
    Key::active("server.unixsocket", Bool, "false", "Listen on `/tmp/hmac-file-server.sock` instead of `listen_address`, as the original server did. Better: `listen_address = \"unix:/run/hmac-file-server/http.sock\"`, a folder that only the proxy can enter."),
    Key::active("server.public_url", Text, "", "Where clients see the server, such as `https://files.example.org/upload/`. Its path is the base path: it is stripped from requests before a signature is checked. Printed links and snippets use it, and the `url` in the answer to a POST, which else has the host that the client asked for, or none behind a proxy that shows itself."),
    Key::active("server.storage_path", Path, "\"./uploads\"", "Root of the stored files. Created when missing. An existing tree of the original server is adopted in place.")
        .older(&["server.upload_path"]),
    Key::active("server.max_upload_size", Size, "no limit", "Largest file. `0` or empty is no limit: the XMPP server's own limit is part of what it signs.")
        .older(&["uploads.max_file_size", "uploads.max_upload_size"]),
    Key::active("server.min_free_bytes", Size, "\"100MB\"", "Floor of free space on the store. An upload that would go below it is refused with 507; downloads go on."),
    Key::active("server.max_header_bytes", Size, "65536", "Largest request head, 4 KiB to 1 MiB."),
    Key::active("server.max_connections", Int, "20000", "Most connections at once; further ones wait in the kernel's queue."),
    Key::active(
        "server.max_connections_per_address",
        Int,
        "",
        "Most connections of one client, an IPv4 address or an IPv6 /64; further ones are closed at once. By default half of `max_connections`. Trusted proxies, loopback and Unix sockets stand for many clients and have no such limit.",
    ),
    Key::active("server.cleanup_interval", Duration, "\"1m\"", "How often files whose time is over are removed. They are hidden from the second they expire; this only gives their space back."),
    Key::active("server.io_deadline", Duration, "\"30s\"", "A disk that does not answer one operation within this is broken: the upload is answered 503."),
    Key::active("server.trusted_proxies", List, "[]", "Addresses or networks of reverse proxies (`\"127.0.0.1\"`, `\"10.0.0.0/8\"`), or `\"unix\"` for peers on a Unix socket. Only their `X-Forwarded-For`, `Forwarded` and PROXY headers count."),
    Key::active("server.proxy_protocol", Bool, "false", "Trusted proxies begin each connection with a PROXY protocol header (version 1 or 2)."),
    Key::active("server.metricsenabled", Bool, "true", "Serve metrics for Prometheus.").same(&["server.metrics_enabled"]),
    Key::active("server.metrics_path", Text, "\"/metrics\"", "Path of the metrics. On the main listener they answer loopback peers only."),
    Key::active("server.metricsport", Text, "", "A listener of its own for metrics: a port (on 127.0.0.1) or `\"0.0.0.0:9090\"`.").same(&["server.metrics_port"]),
    Key::active("server.file_naming", Choice(&["original", "none", "hmac"]), "\"original\"", "Files keep the path of their slot. `HMAC` is refused: the file would not be found under the URL that the XMPP server hands out."),
    Key::active("tls.cert", Path, "", "Certificate chain, PEM, leaf first. With `key`, every TCP listener speaks TLS.").same(&["tls.cert_file"]),
    Key::active("tls.key", Path, "", "Private key, PEM, readable by its owner only.").same(&["tls.key_file"]),
    Key::active("uploads.allowed_extensions", List, "[] (all)", "File-name extensions that may be uploaded, with or without the dot, in any case. Only the last extension of a name counts. Encrypted files of OMEMO clients often have none that you expect."),
    Key::active("uploads.content_hash", Bool, "false", "Hash every upload while it arrives (BLAKE3), so that `check --storage --digests` can tell when a file is no longer what was sent. Costs about 0.3 s of CPU per GiB; large cleartext uploads are then copied instead of spliced."),
    Key::active("downloads.allowed_extensions", List, "[] (all)", "File-name extensions that may be downloaded; others are 403."),
    Key::active("timeouts.readtimeout", Duration, "\"60s\"", "An upload that moves no byte for this long is cut. A stall limit, not a limit of the whole transfer; the larger of `readtimeout` and `writetimeout` holds for both directions. Below 60 s, phones that change network lose their upload."),
    Key::active("timeouts.writetimeout", Duration, "\"60s\"", "The same for downloads."),
    Key::active("timeouts.idletimeout", Duration, "\"60s\"", "A kept-alive connection without a request is closed after this."),
    Key::active("timeouts.header_timeout", Duration, "\"15s\"", "A request head must be complete within this."),
    Key::active("timeouts.min_rate", Size, "256", "A transfer slower than this many bytes per second over `min_rate_window` is cut. `0` switches it off."),
    Key::active("timeouts.min_rate_window", Duration, "\"120s\"", "See `min_rate`."),
    Key::active("timeouts.shutdown", Duration, "\"30s\"", "How long running transfers may go on after SIGTERM."),
    // Not built yet.
    Key::refused("server.filettlenabled", "Delete files after `filettl`.").older(&["server.file_ttl_enabled"]),
    Key::later("server.filettl", Duration, "Age at which files are deleted.").older(&["server.file_ttl", "uploads.ttl"]),
    Key::later("server.max_file_age", Duration, "Age at which files are deleted when `filettl` is not given."),
    Key::later("server.deduplication_enabled", Bool, "Store equal files once.").older(&["server.dedupenabled"]),
    Key::later("server.networkevents", Bool, "Watch the server's own interfaces."),
    Key::later("uploads.chunk_size", SizeOrAdaptive, "Size of the chunks that clients are told to send."),
    Key::later("uploads.min_chunk_size", Size, "Smallest chunk size."),
    Key::later("uploads.max_chunk_size", Size, "Largest chunk size."),
    Key::later("uploads.chunk_adaptation_algorithm", Text, "How the chunk size follows the network."),
    Key::later("uploads.chunked_uploads_enabled", Bool, "Uploads in chunks."),
    Key::later("uploads.resumable_uploads_enabled", Bool, "Uploads that continue after a break."),
    Key::later("uploads.sessiontimeout", Duration, "How long a broken upload can be continued."),
    Key::later("uploads.network_aware_chunking", Bool, "Chunk sizes that follow the network."),
    Key::later("uploads.upload_acceleration", Bool, "Larger steps on fast links."),
    Key::void(
        "downloads.chunk_size",
        "Steps of downloads follow the transfer, within `min_buffer_size` and `max_buffer_size` of `[performance]`.",
    ),
    Key::later("downloads.bandwidth_estimation", Bool, "Measure the rate of downloads."),
    Key::later("downloads.quality_adaptation", Bool, "Steps that follow the measured quality."),
    // Always so.
    Key::always("downloads.chunked_downloads_enabled", "Downloads are always sent in steps."),
    Key::always("downloads.resumable_downloads_enabled", "Ranges are always served."),
    Key::always("downloads.range_requests", "Ranges are always served."),
    Key::always("downloads.progressive_download", "Downloads always start at once."),
    Key::always("downloads.cache_control_headers", "Cache headers are always sent: a published file never changes."),
    Key::always("downloads.etag_support", "ETags are always sent."),
    Key::always("downloads.last_modified_support", "Last-Modified is always sent."),
    // Without a meaning here.
    Key::void("server.pidfilepath", NO_PID_FILE),
    Key::void("server.pid_file", NO_PID_FILE),
    Key::void("server.clean_upon_exit", NO_PID_FILE),
    Key::void("server.pre_cache", PAGE_CACHE),
    Key::void("server.pre_cache_workers", PAGE_CACHE),
    Key::void("server.pre_cache_interval", PAGE_CACHE),
    Key::void("server.precaching", PAGE_CACHE),
    Key::void("server.global_extensions", "The original server never used it; say `uploads.allowed_extensions` and `downloads.allowed_extensions`."),
    Key::void("server.force_protocol", "`listen_address` decides: `\"0.0.0.0:8080\"` is IPv4 only."),
    Key::void("server.enable_dynamic_workers", NO_WORKERS),
    Key::void("server.worker_scale_up_thresh", NO_WORKERS),
    Key::void("server.worker_scale_down_thresh", NO_WORKERS),
    Key::void("server.autoadjustworkers", NO_WORKERS),
    Key::void("workers.numworkers", NO_WORKERS),
    Key::void("workers.uploadqueuesize", NO_WORKERS),
    Key::void("uploads.maxretries", "Clients decide how often they try again."),
    Key::void("uploads.concurrent_chunk_uploads", "Clients decide how many chunks they send at once."),
    Key::void("downloads.connection_multiplexing", "HTTP/2 does this where the client speaks it."),
    Key::void("downloads.cache_enabled", PAGE_CACHE),
    Key::void("downloads.cache_max_size", PAGE_CACHE),
    Key::void("downloads.cache_max_age", "Published files never change: clients may keep them for ever."),
];
