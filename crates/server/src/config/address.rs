//! Reading addresses: what to listen on, where metrics go, the public URL, trusted proxies. Pure: no name is looked up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use super::HttpConfig;
use crate::net::ListenAddress;

/// `8080`, `:8080`, `0.0.0.0:8080`, `[::]:8080`, `localhost:8080`, `unix:/path`. A port alone listens on `bind`, or on
/// all addresses: `[::]` takes IPv4 as well, and the listener falls back to `0.0.0.0` where there is no IPv6.
pub(super) fn listen(text: &str, bind: Option<IpAddr>) -> Result<ListenAddress, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
        return match path.is_absolute() {
            true => Ok(ListenAddress::Unix(path)),
            false => Err(format!("`{text}` needs an absolute path: `unix:/run/hmac-file-server/http.sock`")),
        };
    }
    let any = bind.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    socket(text, any).map(ListenAddress::Tcp)
}

/// Like [`listen`], without Unix sockets; a port alone listens on `host`.
pub(super) fn socket(text: &str, host: IpAddr) -> Result<SocketAddr, String> {
    let alone = text.strip_prefix(':').unwrap_or(text);
    if !alone.is_empty() && alone.bytes().all(|b| b.is_ascii_digit()) {
        let port = alone.parse().map_err(|_| format!("`{alone}` is not a port: 0 to 65535"))?;
        return Ok(SocketAddr::new(host, port));
    }
    if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    text.parse().map_err(|_| match text.parse::<IpAddr>() {
        Ok(_) => format!("`{text}` has no port"),
        Err(_) => format!("`{text}` is not an address: write `8080`, `127.0.0.1:8080` or `[::1]:8080`"),
    })
}

/// A network, or one address, or `None` for `unix`.
pub(super) fn proxy(text: &str) -> Result<Option<IpNet>, String> {
    if text.eq_ignore_ascii_case("unix") {
        return Ok(None);
    }
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map(|net| Some(net.trunc()))
        .map_err(|_| format!("`{text}` is neither an address, nor a network such as `10.0.0.0/8`, nor `unix`"))
}

/// `http(s)://host[:port][/base]`, with or without a slash at the end.
pub(super) fn public_url(text: &str) -> Result<HttpConfig, String> {
    let example = "write something like `https://files.example.org/upload/`";
    let (scheme, rest) = text.split_once("://").ok_or_else(|| format!("`{text}` has no scheme: {example}"))?;
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "https" && scheme != "http" {
        return Err(format!("`{scheme}` is not http or https: {example}"));
    }
    if rest.contains(['?', '#']) {
        return Err(format!("a public URL has no query and no fragment: {example}"));
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let parsed: Result<http::uri::Authority, _> = authority.parse();
    if authority.contains('@') || parsed.is_err() || parsed.is_ok_and(|a| a.host().is_empty()) {
        return Err(format!("`{authority}` is not a host with an optional port: {example}"));
    }
    let base_path = path.trim_end_matches('/');
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    let good = |element: &str| !matches!(element, "" | "." | "..") && element.chars().all(plain);
    if !base_path.is_empty() && !base_path[1..].split('/').all(good) {
        return Err(format!("the path `{path}` may only have letters, digits, `-`, `.`, `_`, `~` between its slashes"));
    }
    let public_url = Some(format!("{scheme}://{}{base_path}", authority.to_ascii_lowercase()));
    Ok(HttpConfig { public_url, base_path: base_path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tcp(text: &str) -> String {
        match listen(text, None) {
            Ok(ListenAddress::Tcp(address)) => address.to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn every_spelling_of_a_listener_is_read() {
        assert_eq!(tcp("8080"), "[::]:8080");
        assert_eq!(tcp(":8080"), "[::]:8080");
        assert_eq!(tcp("0.0.0.0:8080"), "0.0.0.0:8080");
        assert_eq!(tcp("[::1]:0"), "[::1]:0");
        assert_eq!(tcp("localhost:80"), "127.0.0.1:80");
        let bind = Some("10.0.0.1".parse().unwrap());
        assert_eq!(listen("8080", bind), Ok(ListenAddress::Tcp("10.0.0.1:8080".parse().unwrap())));
        assert_eq!(listen("unix:/run/a.sock", bind), Ok(ListenAddress::Unix("/run/a.sock".into())));
        assert_eq!(listen("unix:///run/a.sock", bind), Ok(ListenAddress::Unix("/run/a.sock".into())));
    }

    #[test]
    fn what_is_no_listener_says_why() {
        for (text, why) in [
            ("70000", "is not a port"),
            ("127.0.0.1", "has no port"),
            ("::1", "has no port"),
            ("example.org:80", "is not an address"),
            ("unix:relative", "absolute"),
            ("", "is not an address"),
        ] {
            let error = listen(text, None).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn the_path_of_the_public_url_is_the_base_path() {
        let base = |text: &str| public_url(text).map(|http| (http.public_url.unwrap(), http.base_path));
        let both = |url: &str, path: &str| Ok((url.to_owned(), path.to_owned()));
        assert_eq!(base("https://f.example.org"), both("https://f.example.org", ""));
        assert_eq!(base("HTTPS://F.example.org:8443/"), both("https://f.example.org:8443", ""));
        assert_eq!(base("http://[::1]:80/a/b/"), both("http://[::1]:80/a/b", "/a/b"));
        for bad in
            ["f.example.org", "ftp://x", "https://", "https://u@x", "https://x/?a", "https://x/#a", "https://x/a//b"]
        {
            assert!(base(bad).is_err(), "{bad}");
        }
        assert!(base("https://x/../y").is_err() && base("https://x/%41").is_err());
    }

    #[test]
    fn proxies_are_addresses_or_networks() {
        assert_eq!(proxy("10.1.2.3/8").unwrap().unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(proxy("::1").unwrap().unwrap().to_string(), "::1/128");
        assert_eq!(proxy("unix"), Ok(None));
        assert!(proxy("nginx").is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = (listen(&text, None), proxy(&text), public_url(&text));
        }

        #[test]
        fn every_printed_listener_reads_back(address: SocketAddr) {
            if let SocketAddr::V6(v6) = address && v6.scope_id() != 0 { return Ok(()); }
            prop_assert_eq!(listen(&address.to_string(), None), Ok(ListenAddress::Tcp(address)));
        }
    }
}
