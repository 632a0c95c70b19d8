//! The original server's routes beside the slots: `/upload`, `/upload/adaptive`, `/upload/auto`, `/download/...` and
//! `/download/adaptive/...`, as paths and as proofs.
//!
//! They are found below the base path and, as in the original, at the root. Which method asks is the router's business.

use std::borrow::Cow;

use hfs_core::auth::{Denied, DirectHead, Proof};
use hfs_core::pace::Arm;
use http::{HeaderMap, header};
use percent_encoding::percent_decode_str;
use tracing::warn;

use super::context::Context;
use super::tally;
use crate::app::App;
use crate::flow::PaceConfig;

/// Which arm a route asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Way {
    /// The original's own routes: standard, unless `fully_adaptive`.
    Standard,
    /// `/adaptive`.
    Adaptive,
    /// `/auto`: the arm that the client is assigned to.
    Auto,
}

impl Way {
    /// The arm that is forced. `adaptive_buffers = false` wins over it.
    pub(super) fn forced(self, pace: &PaceConfig) -> Option<Arm> {
        match self {
            Self::Standard if pace.fully => None,
            Self::Standard => Some(Arm::Standard),
            Self::Adaptive => Some(Arm::Adaptive),
            Self::Auto => None,
        }
    }
}

/// The way that a POST to `path` takes, if it is one of these routes.
pub(super) fn upload(path: &str) -> Option<Way> {
    match path.strip_prefix("/upload")? {
        "" => Some(Way::Standard),
        "/adaptive" => Some(Way::Adaptive),
        "/auto" => Some(Way::Auto),
        _ => None,
    }
}

/// The way of a download and the encoded path of the slot that it names.
pub(super) fn download(path: &str) -> Option<(Way, &str)> {
    let named = path.strip_prefix("/download/")?;
    let adaptive = named.strip_prefix("adaptive/");
    Some(adaptive.map_or((Way::Standard, named), |named| (Way::Adaptive, named)))
}

/// What a URL's path says, without its percent signs.
pub(crate) fn decoded(path: &str) -> Cow<'_, str> {
    percent_decode_str(path).decode_utf8_lossy()
}

/// The parts of a head that a proof rests on.
pub(crate) fn head<'a>(path: &'a str, query: Option<&'a str>, headers: &'a HeaderMap) -> DirectHead<'a> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    DirectHead { path, query, authorization: text(header::AUTHORIZATION.as_str()), signature: text("x-signature") }
}

/// Counts a checked proof, and warns of the one that whoever has seen it once has for ever.
pub(crate) fn note_proof(app: &App, context: &Context, head: &DirectHead<'_>, outcome: Result<Proof, Denied>) {
    tally::proof(app.metrics(), outcome);
    let (request, client, path) = (context.id(), context.client(), head.path);
    match outcome {
        Ok(Proof::XSignature) => {
            warn!(%request, %client, path, "X-Signature was accepted, which never expires: `[compat] x_signature`");
        }
        Err(Denied::BadSignature(Proof::XSignature)) if !app.config().keys.x_signature && app.may_explain() => {
            warn!(%request, %client, path, "X-Signature is refused unless `[compat] x_signature` is on");
        }
        Ok(_) | Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_routes_of_the_guide_name_their_arms() {
        let fully = PaceConfig { fully: true, ..PaceConfig::default() };
        for (path, way, forced, forced_when_fully) in [
            ("/upload", Way::Standard, Some(Arm::Standard), None),
            ("/upload/adaptive", Way::Adaptive, Some(Arm::Adaptive), Some(Arm::Adaptive)),
            ("/upload/auto", Way::Auto, None, None),
        ] {
            assert_eq!(upload(path), Some(way), "{path}");
            assert_eq!(way.forced(&PaceConfig::default()), forced, "{path}");
            assert_eq!(way.forced(&fully), forced_when_fully, "{path}");
        }
        for other in ["/", "/uploads", "/upload/", "/upload/a/b", "/download"] {
            assert_eq!(upload(other), None, "{other}");
        }
        assert_eq!(download("/download/a/b.txt"), Some((Way::Standard, "a/b.txt")));
        assert_eq!(download("/download/adaptive/a/b.txt"), Some((Way::Adaptive, "a/b.txt")));
        assert_eq!(download("/download/adaptive"), Some((Way::Standard, "adaptive")));
        assert_eq!(download("/downloads/a"), None);
    }
}
