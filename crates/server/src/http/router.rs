//! The whole URL table, on one screen, and the one request path that every adapter calls.
//!
//! No routing crate: a few fixed paths and a catch-all need none, and boxed bodies would hide the file from zero-copy
//! delivery.

use std::convert::Infallible;
use std::fmt::Display;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use futures_core::future::BoxFuture;
use hfs_core::{InvalidSlotPath, SlotPath};
use http::header::ORIGIN;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use tower_service::Service;

use super::context::Context;
use super::direct::{self, Way};
use super::exchange::{Incoming, Outgoing};
use super::{cors, respond};
use crate::admin::{self, Page};
use crate::app::App;
use crate::config::Config;
use crate::download::{self, GetError};
use crate::upload::{self, PutError};

/// Which table a listener serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Surface {
    /// Slots, health, and metrics for this machine.
    Public,
    /// The metrics listener: health and metrics for whoever reaches it.
    Metrics,
    /// The administrator's listener: health, and the administrator's pages.
    Admin,
}

/// The service below every protocol adapter.
#[derive(Clone, Debug)]
pub struct Router {
    app: Arc<App>,
    surface: Surface,
}

impl Router {
    /// Serves `surface` of `app`.
    #[must_use]
    pub fn new(app: Arc<App>, surface: Surface) -> Self {
        Self { app, surface }
    }
}

impl Service<Request<Incoming>> for Router {
    type Response = Response<Outgoing>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Outgoing>, Infallible>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let Self { app, surface } = self.clone();
        // Each future on the way keeps room for what it hands on: thousands of uploads wait in theirs. For the same reason
        // `route` boxes what is large and rare.
        let request = Box::new(request);
        Box::pin(async move { Ok(answer(&app, surface, request).await) })
    }
}

async fn answer(app: &Arc<App>, surface: Surface, request: Box<Request<Incoming>>) -> Response<Outgoing> {
    let config = app.config();
    let mut context = Context::of(&request, &config);
    let method = request.method().clone();
    let _running = app.metrics().request_started();
    // All that CORS wants to know of the request, which `route` consumes.
    let origin = origin(request.headers());
    let mut response = route(app, &config, surface, &mut context, request).await;
    cors::apply(origin.as_deref().unwrap_or(&HeaderMap::new()), response.headers_mut());
    if let Ok(id) = HeaderValue::from_str(&context.id().to_string()) {
        response.headers_mut().insert("x-request-id", id);
    }
    app.metrics().request_answered(method.as_str().into(), response.status().as_u16().into());
    response
}

/// Its `Origin`, where there is one: what has none should hold no room for it.
fn origin(headers: &HeaderMap) -> Option<Box<HeaderMap>> {
    let origin: HeaderMap = headers.get_all(ORIGIN).into_iter().map(|value| (ORIGIN, value.clone())).collect();
    (!origin.is_empty()).then(|| Box::new(origin))
}

async fn route(
    app: &Arc<App>,
    config: &Config,
    surface: Surface,
    context: &mut Context,
    request: Box<Request<Incoming>>,
) -> Response<Outgoing> {
    let method = request.method().clone();
    let target = target(&request, config, surface, context);
    match (&method, target.or_slot(app, config, context).await) {
        (&Method::OPTIONS, _) => respond::preflight(request.headers()),
        (&Method::GET | &Method::HEAD, Target::Health) => respond::health(&method),
        (&Method::GET | &Method::HEAD, Target::Ready) => respond::ready(&method, app.is_ready()),
        (&Method::GET | &Method::HEAD, Target::Metrics) => {
            if let Some(free) = app.store().free().await {
                app.metrics().set_store_free(free);
            }
            app.metrics().set_memory_free(app.engine().free_memory());
            respond::metrics(&method, app.metrics().encode())
        }
        (&Method::GET | &Method::HEAD, Target::Slot(Ok(slot))) => {
            let found = download::get(app, context, &method, &slot, request.headers()).await;
            if !matches!(found, Err(GetError::NotFound | GetError::Extension { .. } | GetError::Meta(_))) {
                context.note_slot();
            }
            respond::get(app, context, &method, &slot, found)
        }
        (&Method::GET | &Method::HEAD, Target::Download { way, slot: Ok(slot), .. }) => {
            context.note_direct(way.forced(&config.pace));
            let found = download::get_direct(app, context, &method, &slot, request.uri(), request.headers());
            let found = Box::pin(found).await;
            respond::get(app, context, &method, &slot, found)
        }
        (&Method::POST, Target::Upload(way)) => {
            context.note_direct(way.forced(&config.pace));
            let path = request.uri().path().to_owned();
            let base = context.public_base(&config.http, &request);
            let posted = Box::pin(upload::post(app, context, *request)).await;
            respond::post(app, context, &config.http, &base, &path, posted)
        }
        (_, Target::OtherMethod { takes, is_page, may_be_slot, .. }) => {
            if is_page {
                admin::note_other_method(app, request.headers());
            }
            context.log_unserved(request.uri().path(), 405, "method", &Takes(takes.clone()));
            let allowed = match takes {
                Method::GET if may_be_slot => OF_SLOTS,
                Method::GET => OF_OTHERS,
                _ => "OPTIONS, POST",
            };
            respond::other_method(&method, &takes, allowed)
        }
        (_, Target::Page { page, .. }) => {
            let answer = Box::pin(admin::answer(app, context, page, *request)).await;
            respond::admin(context, &method, answer)
        }
        (&Method::PUT, Target::Slot(Ok(slot))) => {
            let stored = upload::put(app, context, &slot, request).await;
            respond::put(app, context, slot.as_str(), stored)
        }
        (&Method::DELETE, Target::Slot(Ok(slot))) => {
            let deleted = Box::pin(upload::delete(app, &slot, request.uri().query())).await;
            respond::delete(context, &slot, deleted)
        }
        (&Method::PUT, Target::Slot(Err(invalid))) => {
            respond::put(app, context, request.uri().path(), Err(invalid.into()))
        }
        (
            &Method::GET | &Method::HEAD | &Method::DELETE,
            target @ (Target::Slot(Err(_)) | Target::Download { .. } | Target::Nothing),
        ) => {
            if let Target::Download { way, .. } = target {
                context.note_direct(way.forced(&config.pace));
            }
            context.log_unserved(request.uri().path(), 404, "not-found", &GetError::NotFound);
            respond::not_found(context, &method)
        }
        (&Method::PUT, Target::Nothing) => {
            let outside = PutError::Outside { base_path: config.http.base_path.clone() };
            respond::put(app, context, request.uri().path(), Err(outside))
        }
        (_, target) => {
            let allowed = if matches!(target, Target::Slot(_)) { OF_SLOTS } else { OF_OTHERS };
            context.log_unserved(request.uri().path(), 405, "method", &Takes(allowed));
            respond::method_not_allowed(allowed)
        }
    }
}

/// Methods of slots, and of what is read only, as `Allow` has them.
const OF_SLOTS: &str = "OPTIONS, HEAD, GET, PUT, DELETE";
const OF_OTHERS: &str = "OPTIONS, HEAD, GET";

/// Why another method is not served.
#[derive(Debug, thiserror::Error)]
#[error("it takes {0}")]
struct Takes<T: Display>(T);

/// What a URL names.
enum Target {
    Health,
    Ready,
    Metrics,
    Slot(Result<SlotPath, InvalidSlotPath>),
    /// A POST of the original server's kind.
    Upload(Way),
    /// A download of the original server's kind of `slot`, unless the whole path `is_too` a slot.
    Download {
        way: Way,
        slot: Result<SlotPath, InvalidSlotPath>,
        is_too: Option<SlotPath>,
    },
    /// A page of the administrator, asked for by its method, unless it `is_too` a slot.
    Page {
        page: Page,
        is_too: Option<SlotPath>,
    },
    /// A page, or one of the original server's routes, asked for by another method than the one that it takes, unless it
    /// `is_too` a slot.
    OtherMethod {
        takes: Method,
        is_page: bool,
        /// Whether a slot that is called so would have its own methods here.
        may_be_slot: bool,
        is_too: Option<SlotPath>,
    },
    /// Outside the base path.
    Nothing,
}

impl Target {
    /// Anybody may read a slot that an XMPP server gave, whatever it called it: that one comes first. Also when its
    /// file is gone, and when nobody can tell.
    async fn or_slot(self, app: &App, config: &Config, context: &mut Context) -> Self {
        let (Self::Download { is_too: Some(slot), .. }
        | Self::Page { is_too: Some(slot), .. }
        | Self::OtherMethod { is_too: Some(slot), .. }) = &self
        else {
            return self;
        };
        let found = app.meta().lookup(slot).await;
        if found.is_err() {
            // If that goes on, what fails is told, and counted in the arm, as the route does, which is what such a URL mostly
            // means.
            context.note_likely(match &self {
                Self::Download { way, .. } => way.forced(&config.pace),
                _ => None,
            });
        }
        match found {
            Ok(None) => self,
            Ok(Some(_)) | Err(_) => Self::Slot(Ok(slot.clone())),
        }
    }
}

fn target(request: &Request<Incoming>, config: &Config, surface: Surface, context: &Context) -> Target {
    let path = request.uri().path();
    let metrics = &config.metrics;
    if path == "/health" {
        return Target::Health;
    }
    if path == "/ready" {
        return Target::Ready;
    }
    if metrics.enabled && path == metrics.path {
        match surface {
            Surface::Metrics => return Target::Metrics,
            Surface::Public if metrics.listen.is_none() && context.is_local() => return Target::Metrics,
            // Not there for the others, rather than forbidden.
            Surface::Public | Surface::Admin => return Target::Nothing,
        }
    }
    let page = admin::page(request.method(), path).filter(|_| config.admin.token.is_some());
    let other = admin::method_of(path).filter(|_| config.admin.token.is_some() && page.is_none());
    match (surface, page) {
        (Surface::Metrics, _) => return Target::Nothing,
        (Surface::Admin, None) => {
            return other.map_or(Target::Nothing, |takes| Target::OtherMethod {
                takes,
                is_page: true,
                may_be_slot: false,
                is_too: None,
            });
        }
        (Surface::Admin, Some(page)) => return Target::Page { page, is_too: None },
        (Surface::Public, _) => {}
    }
    let below = path.strip_prefix(config.http.base_path.as_str()).filter(|rest| rest.starts_with('/'));
    let method = request.method();
    // Only these methods: a slot can be called `upload` or `download/...` as well, and is PUT.
    if method == Method::POST
        && let Some(way) = below.and_then(direct::upload).or_else(|| direct::upload(path))
    {
        return Target::Upload(way);
    }
    let slot = below.map(|rest| SlotPath::from_url(&rest[1..]));
    if let Some(page) = page {
        let is_too = slot.and_then(Result::ok).filter(|_| method != Method::POST);
        return Target::Page { page, is_too };
    }
    // What only reads finds a slot there, if one is. What writes is the administrator's where it brings the token.
    let is_reading = matches!(*method, Method::GET | Method::HEAD);
    let is_page =
        |_: &Method| is_reading || *method == Method::POST || admin::is_administrator(&config.admin, request.headers());
    let post = below.and_then(direct::upload).or_else(|| direct::upload(path)).map(|_| Method::POST);
    let download = below.and_then(direct::download).or_else(|| direct::download(path));
    if is_reading
        && other.is_none()
        && post.is_none()
        && let Some((way, named)) = download
    {
        return Target::Download { way, slot: SlotPath::from_url(named), is_too: slot.and_then(Result::ok) };
    }
    let is_of_slots = matches!(*method, Method::PUT | Method::DELETE);
    let page = other.filter(is_page);
    let is_download = page.is_none() && post.is_none() && download.is_some();
    let of_route = || post.or_else(|| download.map(|_| Method::GET)).filter(|_| !is_of_slots);
    if let (is_page, Some(takes)) = (page.is_some(), page.or_else(of_route)) {
        let may_be_slot = is_download && matches!(slot, Some(Ok(_)));
        let is_too = slot.and_then(Result::ok).filter(|_| is_reading);
        return Target::OtherMethod { takes, is_page, may_be_slot, is_too };
    }
    slot.map_or(Target::Nothing, Target::Slot)
}
