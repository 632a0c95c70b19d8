//! The log: where lines go, in which shape, and from which level on.
//!
//! Text on a terminal (coloured only there), journald fields when systemd connected our standard error to the journal,
//! JSON by choice, or a file of our own with rotation. Lines of other crates count only from `warn` on, whatever the
//! level: at `debug` and `trace` some of them print request heads, proofs included.
//!
//! Whatever the destination, those who log never wait for it: lines go through a [`Queue`].

#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::PathBuf;

use prometheus_client::metrics::counter::Counter;
use tracing::{Level, Subscriber};
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Registry, fmt, reload};

use super::journal::{self, Journal};
use super::queue::{Queue, Sink};
use super::rotate::LogFile;
use super::stderr::Stderr;
use super::{LogConfig, LogFormat};

/// Our own crates, whose lines follow the configured level.
const OWN: [&str; 3] = ["hmac_file_server", "hfs_core", "hfs_sock"];

/// Why the log could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The log file cannot be used.
    #[error("cannot write the log file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The thread that writes cannot be started.
    #[error("cannot start the thread that writes the log")]
    Thread(#[source] io::Error),
    /// There is one log per process.
    #[error("the log was started before")]
    Started,
}

/// Holds the log; changes it while it runs. Dropping it writes out what is left.
#[derive(Debug)]
pub struct LogHandle {
    filter: reload::Handle<Targets, Registry>,
    queue: Queue,
    file: Option<PathBuf>,
}

/// Starts the process-wide log.
///
/// # Errors
/// The log file cannot be opened, or the log runs already.
pub fn start(config: &LogConfig) -> Result<LogHandle, LogError> {
    let (subscriber, handle) = build(config)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Started)?;
    Ok(handle)
}

impl LogHandle {
    /// Changes the level from now on, as at a reload of the configuration. Shape and destination need a restart.
    pub fn set_level(&self, level: Level) {
        // Fails only when the subscriber is gone, and then nobody logs.
        let _ = self.filter.reload(targets(level));
    }

    /// Opens the log file anew (SIGHUP after an external rotation); nothing to do for other destinations. Blocks.
    ///
    /// # Errors
    /// The file cannot be opened; the old one stays in use.
    pub fn reopen(&self) -> Result<(), LogError> {
        match &self.file {
            Some(path) => self.queue.reopen().map_err(|source| LogError::File { path: path.clone(), source }),
            None => Ok(()),
        }
    }

    /// Counts in `total` the lines that are lost while their destination hangs.
    pub fn count_lost(&self, total: Counter) {
        self.queue.count_in(total);
    }

    /// Waits, for a moment at most, until every line so far is written.
    pub fn flush(&self) {
        self.queue.flush();
    }
}

impl Drop for LogHandle {
    fn drop(&mut self) {
        self.flush();
    }
}

fn build(config: &LogConfig) -> Result<(impl Subscriber + Send + Sync + use<>, LogHandle), LogError> {
    let (filter, handle) = reload::Layer::new(targets(config.level));
    let (output, queue) = output(config)?;
    // The filter comes first, as a layer for everything: a line below the level costs one comparison.
    let subscriber = Registry::default().with(filter).with(output);
    Ok((subscriber, LogHandle { filter: handle, queue, file: config.file.clone() }))
}

type Filtered = tracing_subscriber::layer::Layered<reload::Layer<Targets, Registry>, Registry>;
type Output = Box<dyn Layer<Filtered> + Send + Sync>;

fn output(config: &LogConfig) -> Result<(Output, Queue), LogError> {
    if let Some(path) = &config.file {
        let opened = LogFile::open(path, config);
        let queue = start_queue(opened.map_err(|source| LogError::File { path: path.clone(), source })?)?;
        return Ok((lines(config.format, false, queue.clone()), queue));
    }
    if config.format == LogFormat::Auto
        && stderr_is_journal()
        && let Ok(journal) = Journal::connect()
    {
        let queue = start_queue(journal)?;
        return Ok((journal::layer(queue.clone()).boxed(), queue));
    }
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let queue = start_queue(Stderr(config.format))?;
    Ok((lines(config.format, colour, queue.clone()), queue))
}

fn start_queue(sink: impl Sink) -> Result<Queue, LogError> {
    Queue::start(sink).map_err(LogError::Thread)
}

fn lines<W>(format: LogFormat, colour: bool, writer: W) -> Output
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    match format {
        LogFormat::Json => json(writer).boxed(),
        LogFormat::Auto | LogFormat::Text => {
            fmt::layer().fmt_fields(fields()).with_ansi(colour).with_target(false).with_writer(writer).boxed()
        }
    }
}

fn json<S, W>(writer: W) -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    fmt::layer().json().flatten_event(true).with_span_list(false).with_writer(writer)
}

fn targets(level: Level) -> Targets {
    let others = LevelFilter::from_level(level).min(LevelFilter::WARN);
    Targets::new().with_default(others).with_targets(OWN.map(|own| (own, level)))
}

/// Whether standard error is the journal's own stream, as systemd says it: `JOURNAL_STREAM=device:inode`. The variable
/// is inherited by children whose standard error leads elsewhere, so both numbers must be those of ours.
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    names_stream(&stream, io::stderr().as_fd())
}

fn names_stream(stream: &str, fd: std::os::fd::BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// Fields as text, with everything escaped that a terminal or a reader of lines would obey: file names may hold line
/// breaks, colours, and marks that turn the direction of writing. JSON and the journal quote them themselves.
fn fields() -> impl for<'writer> fmt::FormatFields<'writer> + Send + Sync + 'static {
    let each = fmt::format::debug_fn(|writer: &mut fmt::format::Writer<'_>, field, value| {
        if field.name() != "message" {
            write!(writer, "{}=", field.name())?;
        }
        format!("{value:?}").chars().try_for_each(|c| {
            if is_hostile(c) { write!(writer, "{}", c.escape_default()) } else { writer.write_char(c) }
        })
    });
    each.delimited(" ")
}

fn is_hostile(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
