//! What only the administrator may ask: benchmarks of the two data paths.
//!
//! Every page wants the token of `[admin]` as bearer; pages are on the listener of `[admin]`, and on the main one while
//! there is a token. Knows nothing of statuses: `http::respond` maps [`AdminError`] and [`Answer`].

mod benchmark;
mod blank;
mod report;

use std::net::SocketAddr;
use std::sync::Arc;

use hfs_core::ByteSize;
use hfs_core::auth::{self, Administrator, NotAdministrator, Secret};
use hfs_core::pace::Arm;
use http::{HeaderMap, Method, Request, header};
use tracing::warn;

pub use benchmark::{Bench, Download};
pub use report::Report;

use crate::app::App;
use crate::http::context::Context;
use crate::http::exchange::Incoming;
use crate::http::tally;
use crate::upload::PutError;

/// `[admin]`.
#[derive(Clone, Debug, Default)]
pub struct AdminConfig {
    /// A listener of its own.
    pub listen: Option<SocketAddr>,
    /// The token; `None` lets nobody in.
    pub token: Option<Secret>,
}

/// A page of the administrator.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Page {
    /// `POST /benchmark/upload/{original,adaptive}`.
    BenchmarkUpload(Arm),
    /// `GET /benchmark/download/{original,adaptive}?size=`.
    BenchmarkDownload(Arm),
    /// `GET /benchmark/results`.
    BenchmarkResults,
}

/// The page at `path`, when `method` is what it takes, or HEAD where that is GET.
#[must_use]
pub fn page(method: &Method, path: &str) -> Option<Page> {
    let arm = |name: &str| match name {
        "original" => Some(Arm::Standard),
        "adaptive" => Some(Arm::Adaptive),
        _ => None,
    };
    match (method, path.strip_prefix("/benchmark/")?) {
        (&Method::POST, rest) => rest.strip_prefix("upload/").and_then(arm).map(Page::BenchmarkUpload),
        (&Method::GET | &Method::HEAD, "results") => Some(Page::BenchmarkResults),
        (&Method::GET | &Method::HEAD, rest) => {
            rest.strip_prefix("download/").and_then(arm).map(Page::BenchmarkDownload)
        }
        _ => None,
    }
}

/// The method of the page at `path`, whatever asks for it.
#[must_use]
pub fn method_of(path: &str) -> Option<Method> {
    [Method::GET, Method::POST].into_iter().find(|method| page(method, path).is_some())
}

/// Whether a request comes with the administrator's token, which is no proof for anything but a page.
#[must_use]
pub fn is_administrator(config: &AdminConfig, headers: &HeaderMap) -> bool {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    config.token.as_ref().is_some_and(|token| auth::authorize_admin(authorization, token).is_ok())
}

/// Counts the token of a request that is not of a page's own method: with it, it was not taken for a slot's.
pub fn note_other_method(app: &App, headers: &HeaderMap) {
    if is_administrator(&app.config().admin, headers) {
        tally::administrator(app.metrics(), Ok(()));
    }
}

/// What a page answers.
#[derive(Debug)]
pub enum Answer {
    /// How a benchmark went.
    Report(Report),
    /// How the last ones went, newest last.
    Reports(Vec<Report>),
    /// Bytes that mean nothing.
    Download(Download),
    /// As many would be sent: to HEAD, which measures nothing.
    Size(ByteSize),
}

/// Why a page answers nothing.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// No token, or another one.
    #[error(transparent)]
    Denied(#[from] NotAdministrator),
    /// Others run already: they would measure each other.
    #[error("too many benchmarks run at once")]
    Crowded,
    /// `?size=` is no size, or too large.
    #[error("the size must be between 1 and {most} bytes")]
    Size {
        /// The limit.
        most: u64,
    },
    /// The upload failed.
    #[error(transparent)]
    Upload(#[from] PutError),
    /// There is no memory for a file of nothing.
    #[error("no file of zeros could be made")]
    Blank(#[from] std::io::Error),
}

/// Answers a request for `page`.
///
/// # Errors
/// See [`AdminError`]; without the token nothing is looked at.
pub async fn answer(
    app: &Arc<App>,
    context: &mut Context,
    page: Page,
    request: Request<Incoming>,
) -> Result<Answer, AdminError> {
    let administrator = authorize(app, context, &request)?;
    match page {
        Page::BenchmarkUpload(arm) => {
            context.note_benchmark(arm);
            benchmark::upload(app, context, &administrator, request).await.map(Answer::Report)
        }
        Page::BenchmarkDownload(_) if request.method() == Method::HEAD => {
            Ok(benchmark::size(request.uri().query()).map(Answer::Size)?)
        }
        Page::BenchmarkDownload(arm) => {
            context.note_benchmark(arm);
            benchmark::download(app, context, request.uri().query()).await.map(Answer::Download)
        }
        Page::BenchmarkResults => Ok(Answer::Reports(app.bench().results())),
    }
}

fn authorize(app: &App, context: &Context, request: &Request<Incoming>) -> Result<Administrator, NotAdministrator> {
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let outcome = match &app.config().admin.token {
        Some(token) => auth::authorize_admin(authorization, token),
        None => Err(NotAdministrator::Missing),
    };
    tally::administrator(app.metrics(), outcome.as_ref().map(|_| ()).map_err(|denied| *denied));
    if let Err(denied) = &outcome
        && app.may_explain()
    {
        let path = request.uri().path();
        warn!(request = %context.id(), client = %context.client(), path, reason = %denied, "Not the administrator");
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_one_method_each() {
        let get = |path| page(&Method::GET, path);
        let post = |path| page(&Method::POST, path);
        assert_eq!(post("/benchmark/upload/original"), Some(Page::BenchmarkUpload(Arm::Standard)));
        assert_eq!(post("/benchmark/upload/adaptive"), Some(Page::BenchmarkUpload(Arm::Adaptive)));
        assert_eq!(get("/benchmark/download/original"), Some(Page::BenchmarkDownload(Arm::Standard)));
        assert_eq!(get("/benchmark/download/adaptive"), Some(Page::BenchmarkDownload(Arm::Adaptive)));
        assert_eq!(get("/benchmark/results"), Some(Page::BenchmarkResults));
        for other in ["/benchmark/upload/original", "/benchmark/download/", "/benchmark/", "/benchmark", "/a/b"] {
            assert_eq!(get(other), None, "{other}");
        }
        assert_eq!(post("/benchmark/results"), None);
        let head = |path| page(&Method::HEAD, path);
        assert_eq!(head("/benchmark/results"), Some(Page::BenchmarkResults));
        assert_eq!(head("/benchmark/download/original"), Some(Page::BenchmarkDownload(Arm::Standard)));
        assert_eq!(head("/benchmark/upload/original"), None);
        assert_eq!(page(&Method::PUT, "/benchmark/upload/original"), None);
        assert_eq!(method_of("/benchmark/upload/original"), Some(Method::POST));
        assert_eq!(method_of("/benchmark/results"), Some(Method::GET));
        assert_eq!(method_of("/benchmark/upload/other"), None);
    }
}
