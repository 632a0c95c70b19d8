//! A few read-only connections, used on the runtime's blocking threads.
//!
//! Readers never wait for the writer (write-ahead log). No lock is held across an await: a connection is taken out of
//! the pool, used by one blocking call, and put back.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::time::timeout;

use super::failure::Failure;
use super::schema::open_reader;
use crate::crew::Crew;
use crate::meta::MetaError;

/// Reads at once: enough that one slow disk access does not hold up the rest, few enough to cost nothing.
const READERS: usize = 4;
/// A row takes some microseconds to read: a thread that is awake reads a few more sooner than another wakes.
const PATIENCE: usize = 8;
/// Longer than this no look-up waits for a thread that may be stuck.
const SOON: Duration = Duration::from_millis(5);

/// A hung disk must not pile up requests that wait for rows.
const DEADLINE: Duration = Duration::from_secs(15);

/// The pool. Connections open when first needed.
#[derive(Debug)]
pub(super) struct Readers {
    crew: Crew,
    idle: Arc<Idle>,
}

#[derive(Debug)]
struct Idle {
    path: PathBuf,
    connections: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(path: &Path) -> Self {
        let idle = Idle { path: path.to_owned(), connections: Mutex::default() };
        Self { crew: Crew::patient(READERS, PATIENCE, SOON), idle: Arc::new(idle) }
    }

    /// Runs `query` on a connection of its own for that time; [`MetaError::Busy`] when the disk does not answer.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        action: &'static str,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, MetaError> {
        let idle = Arc::clone(&self.idle);
        match timeout(DEADLINE, self.crew.run(move || idle.query(action, query))).await {
            Ok(answer) => answer.unwrap_or_else(|given_up| Err(MetaError::Backend { action, source: given_up.into() })),
            Err(_) => Err(MetaError::Busy),
        }
    }

    /// Runs `query` on this thread, which may wait for the disk. `None` where no connection is at hand, or it fails.
    pub(super) fn at_once<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Option<T> {
        let connection = self.idle.pool().pop()?;
        let answer = query(&connection).ok()?;
        self.idle.put_back(connection);
        Some(answer)
    }

    /// The same for what reads the whole database: on a thread of its own, for as long as it takes.
    pub(super) async fn unbounded<T: Send + 'static>(
        &self,
        action: &'static str,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, MetaError> {
        let idle = Arc::clone(&self.idle);
        let answer = tokio::task::spawn_blocking(move || idle.query(action, query));
        answer.await.map_err(|error| MetaError::Backend { action, source: error.into() })?
    }

    /// Closes the idle connections, so that the writer's is the last one and tidies up.
    pub(super) fn close(&self) {
        self.idle.pool().clear();
    }
}

impl Idle {
    fn query<T>(
        &self,
        action: &'static str,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, MetaError> {
        let taken = self.pool().pop();
        let connection = match taken {
            Some(connection) => connection,
            None => open_reader(&self.path).map_err(|error| MetaError::Backend { action, source: error.into() })?,
        };
        // After an error the connection is closed: the next reader begins with a fresh one.
        let answer = query(&connection).map_err(|error| Failure::of(error).told(action))?;
        self.put_back(connection);
        Ok(answer)
    }

    /// Beyond what the crew can use at once it is closed: whoever found the pool empty opened one more.
    fn put_back(&self, connection: Connection) {
        let mut pool = self.pool();
        if pool.len() < READERS {
            pool.push(connection);
        } else {
            // It takes a while to close.
            drop(pool);
            drop(connection);
        }
    }

    fn pool(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema::open_writer;
    use super::*;

    const CROWD: usize = 3 * READERS;

    /// Looks up on `depth` connections at once.
    fn look_up(idle: &Idle, depth: usize) {
        let deeper = |_: &_| {
            if depth > 1 {
                look_up(idle, depth - 1);
            }
            Ok(())
        };
        idle.query("look up", deeper).unwrap();
    }

    /// Holds what is idle, as uploads that look up at once do, and looks up beside them.
    fn look_up_beside(readers: &Readers) {
        let deeper = |_: &_| {
            look_up_beside(readers);
            Ok(())
        };
        if readers.at_once(deeper).is_none() {
            look_up(&readers.idle, CROWD);
        }
    }

    #[test]
    fn no_more_connections_stay_open_than_the_crew_can_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("meta.sqlite");
        let _writer = open_writer(&path).unwrap();
        let readers = Readers::new(&path);
        look_up(&readers.idle, CROWD);
        assert_eq!(readers.idle.pool().len(), READERS);
        look_up_beside(&readers);
        assert_eq!(readers.idle.pool().len(), READERS);
    }
}
