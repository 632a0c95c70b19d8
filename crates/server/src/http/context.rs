//! [`Context`]: what is known of one request besides its head, and its one line in the log.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hfs_core::auth::{Owner, Proof};
use hfs_core::pace::{Arm, Direction};
use hfs_core::profile::{Quality, Vantage};
use hfs_core::{ByteSize, SlotPath};
use http::Request;
use http::header::USER_AGENT;
use tracing::{error, info, warn};

use super::client::{self, Client};
use super::exchange::{Incoming, Peer};
use crate::clock::Stopwatch;
use crate::config::{Config, HttpConfig};
use crate::flow::{self, Begin, Ending, Engine, Flow, Left, Whose, Wire};
use crate::telemetry::RequestId;

/// One request, from its head to its last byte.
#[derive(Clone, Debug)]
pub struct Context {
    id: RequestId,
    client: Client,
    local: bool,
    is_proxied: bool,
    wire: Option<Wire>,
    agent: Option<String>,
    forced: Option<Arm>,
    /// The arm that a route demands which the URL may name, where nobody could tell.
    likely: Option<Arm>,
    is_direct: bool,
    is_benchmark: bool,
    arm: Option<Arm>,
    watch: Stopwatch,
    proof: &'static str,
    owner: Option<Owner>,
    received: u64,
    quality: Quality,
}

impl Context {
    /// Starts the clock for `request`.
    #[must_use]
    pub fn of(request: &Request<Incoming>, config: &Config) -> Self {
        let peer = request.extensions().get::<Peer>().cloned().unwrap_or_default();
        Self {
            id: RequestId::new(),
            client: client::client_of(&peer, request.headers(), &config.net.trusted_proxies, config.net.trust_unix),
            local: client::is_local(&peer, request.headers()),
            is_proxied: client::is_proxied(&peer, &config.net.trusted_proxies, config.net.trust_unix),
            agent: request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok()).map(str::to_owned),
            forced: None,
            likely: None,
            is_direct: false,
            is_benchmark: false,
            arm: None,
            wire: peer.wire,
            watch: Stopwatch::start(),
            proof: "none",
            owner: None,
            received: 0,
            quality: Quality::Unknown,
        }
    }

    /// Where its client sees the slots: as configured, else where it has found this server. Behind a proxy, whose name and
    /// scheme nobody here knows, that is a path.
    #[must_use]
    pub fn public_base(&self, config: &HttpConfig, request: &Request<Incoming>) -> String {
        let peer = request.extensions().get::<Peer>().cloned().unwrap_or_default();
        config.public_url.clone().unwrap_or_else(|| {
            let origin = client::origin_of(&peer, request.headers(), self.is_proxied).unwrap_or_default();
            origin + &config.base_path
        })
    }

    /// Random name of the request: in the log and in the answer's `X-Request-Id`.
    #[must_use]
    pub fn id(&self) -> &RequestId {
        &self.id
    }

    /// Who asks.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client
    }

    /// Whether it comes straight from this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.local
    }

    /// Time since the head was complete.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.watch.elapsed()
    }

    /// Notes a route of the original server beside the slots: the arm that it demands, and that errors are JSON.
    pub fn note_direct(&mut self, forced: Option<Arm>) {
        self.forced = forced;
        self.is_direct = true;
    }

    /// Notes that one of those may be meant, and not a slot: when the transfer begins, it is a slot. Errors are as there.
    pub fn note_likely(&mut self, forced: Option<Arm>) {
        self.likely = forced;
        self.is_direct = true;
    }

    /// Notes that a slot was meant: its errors are text.
    pub fn note_slot(&mut self) {
        (self.likely, self.is_direct) = (None, false);
    }

    /// Notes a benchmark of the administrator's, which is like one of those and teaches nothing about anybody.
    pub fn note_benchmark(&mut self, arm: Arm) {
        self.note_direct(Some(arm));
        self.is_benchmark = true;
    }

    /// Whether it is a route of the original server beside the slots.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.is_direct
    }

    /// Who stores several files: the owner that a proof named, else the address.
    #[must_use]
    pub fn sender(&self) -> String {
        self.owner().map_or_else(|| self.client.to_string(), str::to_owned)
    }

    /// Begins the flow of this request's body.
    ///
    /// # Errors
    /// The client left while it waited.
    pub async fn begin_flow(
        &mut self,
        engine: &Arc<Engine>,
        direction: Direction,
        size: Option<u64>,
    ) -> Result<Flow, Left> {
        let begin = Begin {
            request: self.id,
            direction,
            size,
            wire: self.wire.clone(),
            whose: self.whose(),
            forced: self.forced,
            is_benchmark: self.is_benchmark,
        };
        let (mut beginning, mut leaving) = (pin!(engine.begin(begin)), None);
        let flow = poll_fn(|cx| {
            if let Poll::Ready(flow) = beginning.as_mut().poll(cx) {
                return Poll::Ready(Ok(flow));
            }
            let Some(wire) = &self.wire else { return Poll::Pending };
            // Boxed: who need not wait should hold no room for it.
            let leaving = leaving.get_or_insert_with(|| Box::pin(flow::left(wire.clone())));
            leaving.as_mut().poll(cx).map(|()| Err(Left))
        });
        let flow = flow.await?;
        self.arm = Some(flow.arm());
        Ok(flow)
    }

    /// How many times the usual wait its client is asked to wait before it tries again.
    #[must_use]
    pub fn retry_factor(&self, engine: &Engine) -> f64 {
        engine.retry_factor(self.whose())
    }

    fn whose(&self) -> Whose {
        Whose {
            owner: self.owner().map(str::to_owned),
            address: match self.client {
                Client::Address(address) => Some(address),
                Client::Local => None,
            },
            agent: self.agent.clone(),
            is_proxied: self.is_proxied,
        }
    }

    /// Notes the proof and the owner that it named.
    pub fn authorized(&mut self, proof: Proof, owner: Option<&Owner>) {
        self.proof = proof.as_str();
        self.owner = owner.cloned();
    }

    /// The arm of its transfer; of one that failed before it began, the arm that it would have taken.
    #[must_use]
    pub fn arm(&self, engine: &Engine, direction: Direction) -> Arm {
        self.arm.unwrap_or_else(|| engine.arm(direction, &self.whose(), self.forced.or(self.likely)))
    }

    /// Notes how much of the body came, and over how good a path.
    pub fn note_received(&mut self, bytes: ByteSize, quality: Quality) {
        self.received = bytes.as_u64();
        self.quality = quality;
    }

    /// Body bytes that came.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The log line of an upload that is stored.
    pub fn log_stored(&self, slot: &str, fresh: bool, status: u16) {
        info!(
            request = %self.id, slot, client = %self.client, proof = self.proof, owner = self.owner(),
            bytes = self.received,
            elapsed_ms = self.elapsed_ms(), outcome = if fresh { "stored" } else { "repeated" }, status,
            arm = self.arm.map(Arm::as_str), quality = self.quality.as_str(), measured_at = self.vantage(),
            "Upload finished"
        );
    }

    /// The log line of an upload that is not. One that was refused before its body was asked for took no path.
    pub fn log_refused(&self, slot: &str, status: u16, code: &str, reason: &(dyn std::error::Error + 'static)) {
        warn!(
            request = %self.id, slot, client = %self.client, proof = self.proof, owner = self.owner(),
            bytes = self.received, elapsed_ms = self.elapsed_ms(), outcome = code, status, reason = %Chain(reason),
            arm = self.arm.map(Arm::as_str), quality = self.arm.map(|_| self.quality.as_str()),
            measured_at = self.arm.map(|_| self.vantage()),
            "Upload refused"
        );
    }

    /// The log line of a download, when its last byte is out or its client is gone.
    pub fn log_delivered(&self, slot: &SlotPath, status: u16, ending: Ending, flow: &Flow) {
        info!(
            request = %self.id, %slot, client = %self.client, bytes = ending.bytes, elapsed_ms = self.elapsed_ms(),
            outcome = if ending.complete { "complete" } else { "aborted" }, status, arm = flow.arm().as_str(),
            quality = flow.quality().as_str(), measured_at = self.vantage(), "Download finished"
        );
    }

    /// The log line of a request that is given nothing. A missing file is everyday life; a failure of ours is not.
    pub fn log_unserved(&self, target: &str, status: u16, code: &str, reason: &(dyn std::error::Error + 'static)) {
        let (request, client, reason) = (self.id, self.client, Chain(reason));
        if status >= 500 {
            error!(%request, slot = target, %client, outcome = code, status, %reason, "Download failed");
        } else {
            info!(%request, slot = target, %client, outcome = code, status, %reason, "Not served");
        }
    }

    /// The log line of a benchmark that the server could not end, whichever way its bytes went.
    pub fn log_benchmark_failed(&self, status: u16, code: &str, reason: &(dyn std::error::Error + 'static)) {
        let (request, client, reason) = (self.id, self.client, Chain(reason));
        error!(%request, %client, outcome = code, status, %reason, "Benchmark failed");
    }

    /// The log line of a deletion.
    pub fn log_deleted(&self, slot: &SlotPath) {
        info!(request = %self.id, %slot, client = %self.client, outcome = "deleted", status = 204, "File deleted");
    }

    fn vantage(&self) -> &'static str {
        Vantage::of(self.is_proxied).as_str()
    }

    fn owner(&self) -> Option<&str> {
        self.owner.as_ref().map(|owner| match owner {
            Owner::Jid(jid) => jid.as_str(),
            Owner::JidSha1(hash) => hash.as_str(),
        })
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// An error and all its causes, on one line.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(next) = cause {
            write!(f, ": {next}")?;
            cause = next.source();
        }
        Ok(())
    }
}
