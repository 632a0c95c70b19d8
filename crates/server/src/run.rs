//! The life of the serving process: start, ready, reload, drain, end.
//!
//! Called by `cli`. Speaks to the service manager (`sd_notify`) where there is one; inherited sockets are served
//! before configured ones are bound, so that a second process can take over without a refused connection.

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use crate::app::App;
use crate::config::{Config, Loaded, Report};
use crate::http::router::{Router, Surface};
use crate::janitor;
use crate::keeper::Keeper;
use crate::net::{self, Inherited, ListenAddress, Listeners, NetConfig, Server, Shutdown, TlsAcceptor};
use crate::telemetry::labels::ReloadOutcome;
use crate::telemetry::log::LogHandle;
use crate::telemetry::metrics::Metrics;

/// How long an orderly exit waits for what uploads left to do on disk.
const QUIESCE: Duration = Duration::from_secs(10);

/// Reads the configuration again, given the running one.
pub type Load = Box<dyn Fn(&Config) -> Result<Loaded, Report> + Send + Sync>;

/// What SIGHUP means.
pub enum Hangup {
    /// The configuration has changed.
    Reload(Load),
    /// The terminal of a trial was closed, and with it the trial ends.
    Stop,
    /// Nothing: a trial that is to outlive its terminal.
    Ignore,
}

impl std::fmt::Debug for Hangup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Reload(_) => "Reload",
            Self::Stop => "Stop",
            Self::Ignore => "Ignore",
        })
    }
}

/// Told the bound addresses.
pub type Ready = Box<dyn FnOnce(&[ListenAddress]) + Send>;

/// What a start needs besides the configuration.
pub struct Start {
    /// The configuration, checked.
    pub config: Config,
    /// What SIGHUP means.
    pub hangup: Hangup,
    /// The running log.
    pub log: Arc<LogHandle>,
    /// Called once with the bound addresses, when requests are answered.
    pub ready: Ready,
}

impl std::fmt::Debug for Start {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Start").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Serves until SIGTERM or SIGINT, or the end of a trial's terminal, then drains.
///
/// # Errors
/// The server could not start; nothing was served.
pub async fn run(start: Start) -> anyhow::Result<()> {
    raise_descriptor_limit();
    let Start { config, hangup, log, ready } = start;
    // First of all: a signal that comes while files are adopted, or right after READY=1, must not just kill.
    let mut signals = Signals::listen(&hangup)?;
    let metrics = Arc::new(Metrics::new());
    log.count_lost(metrics.log_lines_lost.clone());
    let mut inherited = Inherited::from_env()?;
    let metrics_listener = bind_own(config.metrics.listen.filter(|_| config.metrics.enabled), &mut inherited)?;
    let admin_address = config.admin.listen;
    let admin_listener = bind_own(admin_address, &mut inherited)?;
    let listeners = Listeners::bind(&config.net.listen, inherited)?;
    let tls = config.net.tls.as_ref().map(TlsAcceptor::load).transpose()?.map(Arc::new);
    let app = Arc::new(App::open(config, Arc::clone(&metrics))?);
    tokio::select! {
        prepared = prepare(&app) => prepared?,
        // Both parts are safe to break off: the next start goes on.
        () = signals.stop() => {
            info!("Stopped before it served");
            return Ok(());
        }
    }

    let keeper = Arc::new(Keeper::new(Arc::clone(&app)));
    keeper.load().await;
    app.engine().introduce();
    let addresses = listeners.addresses();
    let shutdown = Shutdown::new();
    let net = Arc::new(ArcSwap::from_pointee(app.config().net.clone()));
    let public = Server {
        config: Arc::clone(&net),
        tls: tls.clone(),
        service: Router::new(Arc::clone(&app), Surface::Public),
        shutdown: shutdown.clone(),
        events: metrics,
    };
    let mut serving = tokio::task::JoinSet::new();
    // Beyond this machine the administrator's token must not be in clear.
    let admin_tls = tls.clone().filter(|_| !admin_address.is_some_and(|address| address.ip().is_loopback()));
    for (listener, surface, tls) in
        [(metrics_listener, Surface::Metrics, None), (admin_listener, Surface::Admin, admin_tls)]
    {
        let Some(listener) = listener else { continue };
        let service = Router::new(Arc::clone(&app), surface);
        // Who scrapes or looks comes directly, not through the proxy of the public listeners.
        let direct = NetConfig { proxy_protocol: false, ..app.config().net.clone() };
        let config = Arc::new(ArcSwap::from_pointee(direct));
        serving.spawn(net::serve(listener, Server { config, tls, service, ..public.clone() }));
    }
    serving.spawn(net::serve(listeners, public));
    let janitor = tokio::spawn(janitor::run(Arc::clone(&app)));
    let keeping = tokio::spawn({
        let keeper = Arc::clone(&keeper);
        async move { keeper.run().await }
    });
    let watchdog = tokio::spawn(watchdog());

    ready(&addresses);
    notify(&[NotifyState::Ready]);

    let reload = match hangup {
        Hangup::Reload(load) => {
            let (begun, in_force) = (AtomicU64::new(0), Mutex::default());
            Some(Arc::new(Reload { load, app: Arc::clone(&app), net, tls, log, begun, in_force }))
        }
        Hangup::Stop | Hangup::Ignore => None,
    };
    let outcome = until_stopped(signals, reload, &shutdown, &mut serving).await;
    // Not for ever: the disk may be what is wrong. What is left then is for the next start's sweep.
    let _ = tokio::time::timeout(QUIESCE, app.quiesce()).await;
    keeping.abort();
    let keep = async {
        keeper.write().await;
        keeper.write_tuning().await;
    };
    let _ = tokio::time::timeout(QUIESCE, keep).await;
    janitor.abort();
    watchdog.abort();
    info!("Stopped");
    outcome
}

/// The listener of one surface alone.
fn bind_own(address: Option<SocketAddr>, inherited: &mut Inherited) -> anyhow::Result<Option<Listeners>> {
    let Some(address) = address.map(ListenAddress::Tcp) else { return Ok(None) };
    let passed = inherited.take(&address);
    Ok(Some(Listeners::bind_shared(&[address], passed)?))
}

/// Every upload holds two descriptors; the usual soft limit of 1,024 is for programs that use `select`.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        warn!(%error, "The limit of open files stays as it is");
    }
}

/// Puts the store in order, as far as nothing can be served before.
async fn prepare(app: &App) -> anyhow::Result<()> {
    // What may take a walk over the whole tree is the janitor's, beside what is served.
    app.sweep_at_start().await;
    app.adopt().await.context("Could not adopt the existing files")?;
    app.take_reserve().await;
    Ok(())
}

/// The signals that mean something. Each is kept until somebody asks for it.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// The two meanings of SIGHUP.
    reload: Option<Signal>,
    closed: Option<Signal>,
}

impl Signals {
    fn listen(hangup: &Hangup) -> std::io::Result<Self> {
        let listen = |is_meant: bool| is_meant.then(|| signal(SignalKind::hangup())).transpose();
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: listen(matches!(hangup, Hangup::Reload(_)))?,
            closed: listen(matches!(hangup, Hangup::Stop))?,
        })
    }

    /// Waits for one that ends the server.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = heard(&mut self.closed) => {}
        }
    }
}

/// Waits for a signal that may have no meaning, for ever then.
async fn heard(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Handles signals until every listener has drained.
async fn until_stopped(
    mut signals: Signals,
    reload: Option<Arc<Reload>>,
    shutdown: &Shutdown,
    serving: &mut tokio::task::JoinSet<()>,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => stop(shutdown),
            _ = signals.interrupt.recv() => stop(shutdown),
            // The kernel says so and the shell repeats it: a second time is no impatience.
            () = heard(&mut signals.closed) => if !shutdown.has_begun() { stop(shutdown) },
            // Off this task: a hung disk must not make the server deaf to the next signal.
            () = heard(&mut signals.reload) => if let Some(reload) = reload.clone() {
                tokio::task::spawn_blocking(move || reload.run());
            },
            ended = serving.join_next() => match ended {
                Some(Ok(())) if !shutdown.has_begun() => anyhow::bail!("a listener ended by itself"),
                Some(Ok(())) => {}
                Some(Err(death)) => return Err(death).context("a listener died"),
                None => return Ok(()),
            },
        }
    }
}

fn stop(shutdown: &Shutdown) {
    if shutdown.has_begun() {
        warn!("Second signal: dropping what still runs");
        shutdown.cut();
        return;
    }
    info!("Draining: no new connections, running transfers are finished");
    notify(&[NotifyState::Stopping]);
    shutdown.begin();
}

/// Everything that SIGHUP reads again.
struct Reload {
    load: Load,
    app: Arc<App>,
    net: Arc<ArcSwap<NetConfig>>,
    tls: Option<Arc<TlsAcceptor>>,
    log: Arc<LogHandle>,
    /// Reloads that have begun, and the last one whose file is in force: what was read first must not come last. A disk that
    /// keeps one from its file must not keep a later one from its own.
    begun: AtomicU64,
    in_force: Mutex<u64>,
}

impl Reload {
    /// Checks first, then swaps; a bad file leaves the running configuration in force.
    fn run(&self) {
        notify_reloading();
        let outcome = self.swap(self.begun.fetch_add(1, Relaxed));
        let counted = if outcome.is_ok() { ReloadOutcome::Applied } else { ReloadOutcome::Refused };
        self.app.metrics().config_reloaded(counted);
        match outcome {
            Ok(true) => info!("Configuration reloaded"),
            Ok(false) => info!("Configuration read, but a later reload is in force already"),
            Err(failure) => error!("Configuration not reloaded, the running one stays: {failure:#}"),
        }
        notify(&[NotifyState::Ready]);
    }

    /// False: a later one was quicker.
    fn swap(&self, number: u64) -> anyhow::Result<bool> {
        let loaded = (self.load)(&self.app.config()).map_err(|report| anyhow::anyhow!(report.line()))?;
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        if *in_force > number {
            return Ok(false);
        }
        // What can fail comes before what changes anything.
        self.log.reopen()?;
        if let (Some(acceptor), Some(files)) = (&self.tls, &loaded.config.net.tls) {
            acceptor.reload(files)?;
        }
        self.log.set_level(loaded.config.log.level);
        for finding in &loaded.findings {
            warn!("Configuration: {}", finding.line());
        }
        self.net.store(Arc::new(loaded.config.net.clone()));
        self.app.swap_config(loaded.config);
        *in_force = number;
        Ok(true)
    }
}

fn notify(states: &[NotifyState<'_>]) {
    // Without a service manager this does nothing; a manager that went away is not our failure.
    let _ = sd_notify::notify(states);
}

/// RELOADING=1 with the monotonic time that systemd wants beside it.
fn notify_reloading() {
    if let Ok(time) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, time]);
    }
}

/// Tells the service manager that the runtime still turns, twice as often as it asks.
async fn watchdog() {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = tokio::time::interval((period / 2).max(Duration::from_millis(10)));
    loop {
        ticks.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}
