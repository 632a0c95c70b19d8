//! The one thread that writes: takes all waiting operations, applies them in one transaction, commits once, answers all.
//!
//! A sync costs about the same for one row as for a hundred, so concurrent uploads share it. Each operation runs in a
//! savepoint of its own, or is one statement, which SQLite undoes by itself: a bad one fails alone. An answer is only sent
//! after the COMMIT that holds it.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use prometheus_client::metrics::counter::Counter;
use rusqlite::ffi::SQLITE_IOERR_WRITE;
use rusqlite::{Connection, ErrorCode};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info};

use super::failure::Failure;
use super::schema::{OpenError, open_writer};
use super::{room, rows};
use crate::meta::MetaError;

/// Operations that may wait before callers do.
const QUEUE: usize = 1024;

/// Most operations that share a transaction: bounds how long the first of them waits, and the log's growth.
const MAX_BATCH: usize = 256;

/// The handle that callers hold. Dropping it lets the thread finish what was asked, then waits for it.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread; every successful COMMIT increments `commits`.
    pub(super) fn start(path: &Path, connection: Connection, commits: Counter) -> Result<Self, OpenError> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let mut worker = Worker { path: path.to_owned(), connection: Some(connection), jobs, commits };
        let thread = std::thread::Builder::new()
            .name("meta-writer".to_owned())
            .spawn(move || {
                while let Some(first) = worker.jobs.blocking_recv() {
                    worker.batch(first);
                }
            })
            .map_err(OpenError::Thread)?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Runs `change` inside the next transaction and returns its outcome once that is durable. Dropping the future does
    /// not take the change back.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        action: &'static str,
        change: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, MetaError> {
        self.ask(action, Steps::Many, change).await
    }

    /// [`Writer::run`] for a change that writes by one statement at most, after all that it reads: it needs no savepoint,
    /// for which SQLite copies each page that it touches.
    pub(super) async fn run_statement<T: Send + 'static>(
        &self,
        action: &'static str,
        change: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, MetaError> {
        self.ask(action, Steps::One, change).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        action: &'static str,
        steps: Steps,
        change: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, MetaError> {
        let stopped = || MetaError::Backend { action, source: "the thread that writes metadata has stopped".into() };
        let (answer, outcome) = oneshot::channel();
        let runtime = Handle::try_current().ok();
        let job = Box::new(Change { action, steps, runtime, change, outcome: None, answer });
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.send(job).await.map_err(|_| stopped())?;
        outcome.await.map_err(|_| stopped())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to finish; whoever waited for it was told.
            let _ = thread.join();
        }
    }
}

/// How many statements of a change write.
#[derive(Clone, Copy)]
enum Steps {
    One,
    Many,
}

/// One operation in the queue.
trait Job: std::fmt::Debug + Send {
    fn steps(&self) -> Steps;
    /// Where its caller waits, if that is a runtime.
    fn runtime(&self) -> Option<Handle>;
    /// Applies it and keeps the outcome.
    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<()>;
    /// Its transaction is durable: answers with the outcome.
    fn succeed(self: Box<Self>);
    /// Its transaction is not, as far as we know.
    fn fail(self: Box<Self>, failure: &Failure);
}

struct Change<F, T> {
    action: &'static str,
    steps: Steps,
    runtime: Option<Handle>,
    change: F,
    outcome: Option<T>,
    answer: oneshot::Sender<Result<T, MetaError>>,
}

impl<F, T> Job for Change<F, T>
where
    F: FnMut(&Connection) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn steps(&self) -> Steps {
        self.steps
    }

    fn runtime(&self) -> Option<Handle> {
        self.runtime.clone()
    }

    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.outcome = Some((self.change)(connection)?);
        Ok(())
    }

    fn succeed(self: Box<Self>) {
        if let Some(outcome) = self.outcome {
            // Nobody listens when the caller gave up: what it asked for is done all the same.
            let _ = self.answer.send(Ok(outcome));
        }
    }

    fn fail(self: Box<Self>, failure: &Failure) {
        let _ = self.answer.send(Err(failure.told(self.action)));
    }
}

impl<F, T> std::fmt::Debug for Change<F, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Change").field("action", &self.action).finish_non_exhaustive()
    }
}

struct Worker {
    path: PathBuf,
    /// `None` after an I/O error, until it could be reopened.
    connection: Option<Connection>,
    jobs: mpsc::Receiver<Box<dyn Job>>,
    commits: Counter,
}

impl Worker {
    fn batch(&mut self, first: Box<dyn Job>) {
        if self.connection.is_none() {
            self.reopen();
        }
        let Some(connection) = &self.connection else { return self.refuse_waiting(first, closed()) };
        if let Err(cause) = say(connection, "BEGIN IMMEDIATE") {
            return self.refuse_waiting(first, cause);
        }
        let mut applied = Vec::new();
        let mut next = Some(first);
        while let Some(mut job) = next {
            let applied_alone = match job.steps() {
                Steps::One => job.apply(connection),
                Steps::Many => in_savepoint(connection, job.as_mut()),
            };
            match applied_alone {
                Ok(()) => applied.push(job),
                // Some errors (disk full, I/O) end the whole transaction, and with it all that was applied.
                Err(cause) if connection.is_autocommit() || is_suspect(&cause) => {
                    applied.push(job);
                    return self.abandon(applied, cause);
                }
                Err(cause) => job.fail(&Failure::of(cause)),
            }
            // Operations that arrived while we waited for the lock or wrote share this commit.
            next = if applied.len() < MAX_BATCH { self.jobs.try_recv().ok() } else { None };
        }
        self.commit(applied);
    }

    fn commit(&mut self, applied: Vec<Box<dyn Job>>) {
        let Some(connection) = &self.connection else { return };
        match say(connection, "COMMIT") {
            Ok(()) => {
                self.commits.inc();
                tell_all(applied);
            }
            Err(cause) => self.abandon(applied, cause),
        }
    }

    /// Nothing of this transaction may be believed. The answers come last, so that a caller who then asks what is true
    /// is told after the connection was set right.
    fn abandon(&mut self, applied: Vec<Box<dyn Job>>, cause: rusqlite::Error) {
        error!(error = %cause, operations = applied.len(), "Metadata transaction failed");
        let rolled_back = self
            .connection
            .as_ref()
            .is_some_and(|connection| connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok());
        if !rolled_back || is_suspect(&cause) {
            self.reopen();
        } else if cause.sqlite_error_code() == Some(ErrorCode::DiskFull) {
            self.fold_log();
        }
        let is_write = cause.sqlite_error().is_some_and(|error| error.extended_code == SQLITE_IOERR_WRITE);
        let failure = if is_write && room::is_lacking(&self.path) { Failure::full(cause) } else { Failure::of(cause) };
        applied.into_iter().for_each(|job| job.fail(&failure));
    }

    /// Writes the log into the database, which is there already, so that the next transaction overwrites the log
    /// instead of adding to it: on a full disk, that is the only room there is. Best effort.
    fn fold_log(&self) {
        let fold = |connection: &Connection| connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        if let Some(Err(error)) = self.connection.as_ref().map(fold) {
            error!(%error, "Could not fold the metadata log on a full disk");
        }
    }

    /// The transaction could not begin: after five seconds of waiting for the lock, or at once because of an error.
    /// Those behind have waited as long, and are told with the first: nothing of theirs was written. Who comes when they
    /// are told is not one of them, since what was wrong may be mended by then.
    fn refuse_waiting(&mut self, first: Box<dyn Job>, cause: rusqlite::Error) {
        error!(error = %cause, "Metadata transaction could not begin");
        if is_suspect(&cause) {
            self.connection = None;
        }
        let failure = if room::is_lacking(&self.path) { Failure::full(cause) } else { Failure::not_begun(cause) };
        let behind: Vec<_> = (0..self.jobs.len()).map_while(|_| self.jobs.try_recv().ok()).collect();
        first.fail(&failure);
        behind.into_iter().for_each(|job| job.fail(&failure));
    }

    /// Replaces the connection after an error that leaves the state of its files in doubt.
    ///
    /// The kernel reports a failed fsync once and may then forget the pages: a second fsync through the same
    /// descriptor would succeed and prove nothing. And the frames of the lost transaction may still stand whole behind
    /// the end of the log, where a recovery after a crash would find and revive them, long after its callers cleaned up
    /// its files. So we open anew and commit a note at once: it overwrites them, and the question is settled. Until that
    /// works, every batch fails.
    fn reopen(&mut self) {
        self.connection = None;
        let settled = open_writer(&self.path).map_err(|error| error.to_string()).and_then(|connection| {
            let settle = connection
                .execute_batch("BEGIN IMMEDIATE")
                .and_then(|()| rows::count_reopening(&connection))
                .and_then(|()| connection.execute_batch("COMMIT"));
            settle.map(|()| connection).map_err(|error| error.to_string())
        });
        match settled {
            Ok(connection) => {
                info!(database = %self.path.display(), "Metadata database reopened");
                self.connection = Some(connection);
            }
            Err(error) => error!(database = %self.path.display(), error, "Cannot reopen the metadata database"),
        }
    }
}

/// Tells those whose changes are durable, from within their runtime. From here each would wake one of its threads and be
/// carried on with at once, before the next is told.
fn tell_all(applied: Vec<Box<dyn Job>>) {
    let tell = |applied: Vec<Box<dyn Job>>| applied.into_iter().for_each(|job| job.succeed());
    match applied.first().and_then(|first| first.runtime()) {
        Some(runtime) if applied.len() > 1 => drop(runtime.spawn(async move { tell(applied) })),
        _ => tell(applied),
    }
}

/// Applies the job, or leaves no trace of it.
fn in_savepoint(connection: &Connection, job: &mut dyn Job) -> rusqlite::Result<()> {
    let outcome = say(connection, "SAVEPOINT job")
        .and_then(|()| job.apply(connection))
        .and_then(|()| say(connection, "RELEASE job"));
    let undo = || connection.execute_batch("ROLLBACK TO job; RELEASE job");
    if outcome.is_err() && !connection.is_autocommit() && undo().is_err() {
        // What cannot be undone alone is undone with the rest; the caller sees it by the autocommit state.
        let _ = connection.execute_batch("ROLLBACK");
    }
    outcome
}

/// A statement that is said for each operation, and understood only once.
fn say(connection: &Connection, statement: &'static str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(drop)
}

/// Whether the files, or this connection's view of them, are in doubt after that error.
fn is_suspect(error: &rusqlite::Error) -> bool {
    use ErrorCode::{CannotOpen, DatabaseCorrupt, NotADatabase, SystemIoFailure};
    matches!(error.sqlite_error_code(), Some(SystemIoFailure | DatabaseCorrupt | NotADatabase | CannotOpen))
}

fn closed() -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
    rusqlite::Error::SqliteFailure(code, Some("the database was closed after an I/O error".to_owned()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::SeqCst;

    use super::*;

    /// A change whose caller asks again as soon as it is refused, and counts that.
    #[derive(Debug)]
    struct Insistent(mpsc::Sender<Box<dyn Job>>, Arc<AtomicUsize>);

    impl Job for Insistent {
        fn steps(&self) -> Steps {
            Steps::One
        }

        fn runtime(&self) -> Option<Handle> {
            None
        }

        fn apply(&mut self, _: &Connection) -> rusqlite::Result<()> {
            Ok(())
        }

        fn succeed(self: Box<Self>) {}

        fn fail(self: Box<Self>, _: &Failure) {
            self.1.fetch_add(1, SeqCst);
            self.0.clone().try_send(self).unwrap();
        }
    }

    #[test]
    fn what_is_asked_after_a_refusal_is_tried() {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let mut worker = Worker { path: PathBuf::new(), connection: None, jobs, commits: Counter::default() };
        let refusals = Arc::default();
        let insistent = || Box::new(Insistent(queue.clone(), Arc::clone(&refusals)));
        queue.try_send(insistent()).unwrap();
        worker.refuse_waiting(insistent(), closed());
        assert_eq!((refusals.load(SeqCst), worker.jobs.len()), (2, 2));
    }
}
