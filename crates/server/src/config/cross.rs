//! What only shows when several settings are seen together. Pure; what needs the machine is `cli::check`'s business.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hfs_core::ByteSize;
use hfs_core::auth::JwtAlgorithm;

use super::Config;
use super::kind::{self, Place};
use super::resolve::Resolver;
use crate::net::ListenAddress;

pub(super) fn check(r: &mut Resolver<'_, '_>, config: &Config) {
    trust(r, config);
    proxy_without_trust(r, config);
    metrics(r, config);
    admin(r, config);
    metrics_behind_a_proxy(r, config);
    file_share(r, config);
    idle_switches(r, config);
    bounds_out_of_reach(r, config);
}

/// Who trusts everyone trusts the address that everyone claims to have.
fn trust(r: &mut Resolver<'_, '_>, config: &Config) {
    let everyone = config.net.trusted_proxies.iter().any(|net| net.prefix_len() == 0);
    let public = config.net.listen.iter().any(|listen| !is_local(listen));
    if everyone && public {
        let at = r.place("server.trusted_proxies");
        let message =
            "everyone is a trusted proxy, and the server listens for everyone: any client could claim any address";
        r.notes.error(&at, message).help =
            Some("list the addresses of your proxies, or listen on 127.0.0.1".to_owned());
    }
    if config.net.proxy_protocol && config.net.trusted_proxies.is_empty() && !config.net.trust_unix {
        let at = r.place("server.proxy_protocol");
        r.notes.error(&at, "`proxy_protocol` needs `trusted_proxies`: no peer may send the header");
    }
    if config.net.trust_unix && config.net.listen.iter().all(|listen| matches!(listen, ListenAddress::Tcp(_))) {
        let at = r.place("server.trusted_proxies");
        r.notes.warning(&at, "`unix` is trusted, but no listener is a Unix socket");
    }
}

/// https at a server that speaks cleartext on loopback only can come from nothing but a proxy.
fn proxy_without_trust(r: &mut Resolver<'_, '_>, config: &Config) {
    let secure = config.http.public_url.as_ref().is_some_and(|url| url.starts_with("https:"));
    let behind = secure && config.net.tls.is_none();
    if behind
        && config.net.listen.iter().all(is_local)
        && config.net.trusted_proxies.is_empty()
        && !config.net.trust_unix
    {
        let at = r.place("server.public_url");
        let message = "behind a proxy that is not trusted: the log will show its address for every client";
        let help = if config.net.listen.iter().any(|listen| matches!(listen, ListenAddress::Unix(_))) {
            "set `[server] trusted_proxies = [\"unix\"]`"
        } else {
            "set `[server] trusted_proxies = [\"127.0.0.1\", \"::1\"]`"
        };
        r.notes.notice(&at, message).help = Some(help.to_owned());
    } else if behind && config.net.listen.iter().any(|listen| !is_local(listen)) {
        let at = r.place("server.listen_address");
        let message = "clients are sent to https, but anyone can also reach the cleartext listener";
        let help = "listen on 127.0.0.1 if the proxy runs on this machine, or set `[tls]`".to_owned();
        r.notes.notice(&at, message).help = Some(help);
    }
}

fn metrics(r: &mut Resolver<'_, '_>, config: &Config) {
    let Some(own) = config.metrics.listen else { return };
    let clash =
        config.net.listen.iter().any(|listen| matches!(listen, ListenAddress::Tcp(main) if overlaps(*main, own)));
    let at: Place = r.place("server.metricsport");
    if !config.metrics.enabled {
        r.notes.notice(&at, "not used while `metricsenabled` is false");
    } else if clash {
        r.notes.error(&at, "the main service listens there already").help =
            Some("choose another port, or leave it out: metrics are then on the main listener".to_owned());
    } else if !own.ip().is_loopback() {
        r.notes.notice(&at, "metrics are open to everyone who reaches this address");
    }
}

fn admin(r: &mut Resolver<'_, '_>, config: &Config) {
    let admin = &config.admin;
    if admin.token.is_none() && r.said.get("admin.enabled").is_some_and(|given| !given.node.is_off()) {
        let at = r.place("admin.enabled");
        r.notes.warning(&at, "there is no administrator: `token_file` is missing").help =
            Some("make a token with `openssl rand -hex 32`".to_owned());
    }
    if admin.token.is_some() && config.net.tls.is_none() && config.net.listen.iter().any(|listen| !is_local(listen)) {
        let given = ["admin.token", "admin.token_file"].into_iter().find(|key| r.said.get(key).is_some());
        let at = r.place(given.unwrap_or("admin.token"));
        let message = "the main listener takes the administrator's token too, and it would cross the network in clear";
        let help = "set `[tls]`, or listen on loopback behind a proxy that speaks TLS";
        r.notes.warning(&at, message).help = Some(help.to_owned());
    }
    let Some(own) = admin.listen else { return };
    let at = r.place("admin.listen");
    let is_main = |listen: &ListenAddress| matches!(listen, ListenAddress::Tcp(main) if overlaps(*main, own));
    if admin.token.is_none() {
        r.notes.error(&at, "`listen` needs `token` or `token_file`: nobody could ask there");
    } else if config.net.listen.iter().any(is_main) || config.metrics.listen.is_some_and(|it| overlaps(it, own)) {
        r.notes.error(&at, "another service listens there already").help =
            Some("choose another port, or leave it out: with the token, the main listener answers too".to_owned());
    } else if !own.ip().is_loopback() && config.net.tls.is_none() {
        r.notes.warning(&at, "the token would cross the network in clear: listen on loopback, or set `[tls]`");
    }
}

/// Metrics on the main listener answer loopback peers that no header shows to be a proxy. A proxy on this machine is
/// such a peer too, and then everybody who reaches it reads them.
fn metrics_behind_a_proxy(r: &mut Resolver<'_, '_>, config: &Config) {
    let net = &config.net;
    if !config.metrics.enabled || config.metrics.listen.is_some() || !net.listen.iter().any(reached_by_loopback) {
        return;
    }
    let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let trusted = net.trusted_proxies.iter().any(|proxy| loopback.iter().any(|address| proxy.contains(address)));
    let secure = config.http.public_url.as_ref().is_some_and(|url| url.starts_with("https:"));
    let silent = secure && net.tls.is_none() && net.trusted_proxies.is_empty() && !net.trust_unix;
    // Whoever speaks the PROXY protocol is known as a proxy by it.
    if (trusted && !net.proxy_protocol) || silent {
        let at = r.place(if trusted { "server.trusted_proxies" } else { "server.public_url" });
        let message = format!(
            "everyone can read `{}` through a proxy on this machine that adds neither `X-Forwarded-For` nor `Forwarded`",
            config.metrics.path
        );
        let help = "let the proxy add one of them (docs/proxy.md), or set `[server] metricsport`";
        r.notes.notice(&at, message).help = Some(help.to_owned());
    }
}

/// Switches of the two data paths to which others leave nothing. No mistake: the way back is one key, beside whatever else
/// is set.
fn idle_switches(r: &mut Resolver<'_, '_>, config: &Config) {
    let pace = &config.pace;
    let mut idle = Vec::new();
    let why = if !pace.enabled {
        Some("`adaptive_buffers` is off: every transfer takes the standard path")
    } else if !pace.uploads && !pace.downloads {
        Some("`adaptive_uploads` and `adaptive_downloads` are off")
    } else {
        None
    };
    if let Some(why) = why {
        idle.extend(pace.fully.then_some(("performance.fully_adaptive", why)));
        idle.extend(pace.testing.then_some(("performance.testing_mode", why)));
    } else if pace.fully && pace.testing {
        idle.push(("performance.testing_mode", "`fully_adaptive` is on: nobody takes the standard path"));
    }
    let usual = pace.settings.stall.idle;
    if pace.settings.longest_stall.is_some_and(|longest| longest <= usual) && r.has("timeouts.max_timeout") {
        let at = r.place("timeouts.max_timeout");
        let message =
            format!("not longer than the usual limit of silence, {usual:?}: adaptive limits lengthen nothing");
        r.notes.notice(&at, message);
    }
    if pace.settings.longest_stall.is_none() {
        let given = ["timeouts.min_timeout", "timeouts.max_timeout", "timeouts.timeout_adaptation_factor"];
        idle.extend(given.into_iter().filter(|path| r.has(path)).map(|path| (path, "`adaptive_timeouts` is off")));
    }
    for (path, why) in idle {
        let at = r.place(path);
        r.notes.notice(&at, format!("no effect while {why}"));
    }
}

/// Steps of links and strategies that `min_buffer_size` or `max_buffer_size` do not let be.
fn bounds_out_of_reach(r: &mut Resolver<'_, '_>, config: &Config) {
    let pace = &config.pace.settings;
    let said = r.said;
    for given in said.of_wildcards().filter(|given| given.key.path.ends_with(".buffer_size")) {
        let Ok(size) = kind::size(&given.node) else { continue };
        let bytes = usize::try_from(size.as_u64()).unwrap_or(usize::MAX);
        let [min, max] = [pace.min_step, pace.max_step].map(|step| ByteSize::bytes(step as u64));
        if bytes < pace.min_step {
            r.notes.notice(&given.node.at, format!("{size} is below `[performance] min_buffer_size`: it is {min}"));
        } else if bytes > pace.max_step {
            r.notes.notice(&given.node.at, format!("{size} is above `[performance] max_buffer_size`: it is {max}"));
        }
    }
}

/// Prosody's file share signs HS256 and cannot be told otherwise; with another algorithm pinned, nobody uploads there.
fn file_share(r: &mut Resolver<'_, '_>, config: &Config) {
    if config.keys.jwt_algorithm != JwtAlgorithm::Hs256 && !config.keys.secrets.is_empty() {
        let at = r.place("security.jwtalgorithm");
        let message = format!(
            "Prosody's built-in file share signs HS256 only: with {} its uploads are refused",
            config.keys.jwt_algorithm.as_str()
        );
        let help = "leave `jwtalgorithm` out, unless every token comes from a server that signs so";
        r.notes.warning(&at, message).help = Some(help.to_owned());
    }
}

fn reached_by_loopback(listen: &ListenAddress) -> bool {
    matches!(listen, ListenAddress::Tcp(address) if address.ip().is_loopback() || address.ip().is_unspecified())
}

fn overlaps(one: SocketAddr, other: SocketAddr) -> bool {
    let any = |ip: IpAddr| ip.is_unspecified();
    one.port() != 0 && one.port() == other.port() && (one.ip() == other.ip() || any(one.ip()) || any(other.ip()))
}

fn is_local(listen: &ListenAddress) -> bool {
    match listen {
        ListenAddress::Unix(_) => true,
        ListenAddress::Tcp(address) => address.ip().is_loopback(),
    }
}
