//! Opening the database: its file, its settings, its schema version.
//!
//! Called by [`SqliteMeta::open`](super::SqliteMeta::open), by the writer when it must reopen, and by the readers.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

/// "HFS1": says that a database is ours, whatever its file is called.
const APPLICATION_ID: i32 = 0x4846_5331;

/// Schema version n is reached by the nth migration; they are never edited once released.
const MIGRATIONS: [&str; 4] = [
    include_str!("../migrations/0001.sql"),
    include_str!("../migrations/0002.sql"),
    include_str!("../migrations/0003.sql"),
    include_str!("../migrations/0004.sql"),
];

/// A second process (restart overlap) holds the write lock only for one batch; longer than this means trouble.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// After a burst the write-ahead log shrinks back to this.
const WAL_SIZE_LIMIT: i64 = 64 << 20;

/// Why the metadata cannot be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file or its directory cannot be made, read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A later version of the server wrote it.
    #[error("{} has schema version {found}, this server knows up to {known}: run the newer server", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Our latest.
        known: i64,
    },
    /// An SQLite database, of another program.
    #[error("{} is a database of another program", path.display())]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// No SQLite database, or a damaged one.
    #[error("{} is damaged or no database: restore it from a backup, or move it away to begin without rows", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// The engine's error.
        #[source]
        source: rusqlite::Error,
    },
    /// The file system has no shared memory maps: most network file systems.
    #[error("{} lies on a file system that cannot hold a write-ahead log (a network file system?)", path.display())]
    NoWal {
        /// The database.
        path: PathBuf,
    },
    /// Anything else.
    #[error("cannot open the database {}", path.display())]
    Engine {
        /// The database.
        path: PathBuf,
        /// The engine's error.
        #[source]
        source: rusqlite::Error,
    },
    /// The writer's thread could not be started.
    #[error("cannot start the thread that writes metadata")]
    Thread(#[source] io::Error),
}

/// Opens for writing, creates and migrates where needed. Safe when two processes do it at once.
pub(super) fn open_writer(path: &Path) -> Result<Connection, OpenError> {
    create_file(path)?;
    let engine = |source| engine_error(path, source);
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Before anything is changed, so that a database that is not ours, or not of our time, stays as it is.
    refuse_unknown(&mut connection, path)?;
    enable_wal(&connection, path)?;
    connection.pragma_update(None, "journal_size_limit", WAL_SIZE_LIMIT).map_err(engine)?;
    migrate(&mut connection, path)?;
    sync_directory(path)?;
    Ok(connection)
}

/// Opens for reading what [`open_writer`] has opened.
pub(super) fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection, OpenError> {
    let engine = |source| engine_error(path, source);
    // No mutex of SQLite's own: a connection is used by one thread at a time. No URI: a path is a path.
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(engine)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(engine)?;
    connection.pragma_update(None, "foreign_keys", true).map_err(engine)?;
    // NORMAL loses whole transactions at a power cut in WAL mode; FULL syncs the log at every commit.
    connection.pragma_update(None, "synchronous", "FULL").map_err(engine)?;
    Ok(connection)
}

/// Makes an empty file of mode 0600 where there is none: SQLite's own would follow the umask, and the log and the
/// shared memory that it adds take the mode of the database.
fn create_file(path: &Path) -> Result<(), OpenError> {
    let failed = |action| move |source| OpenError::Io { action, path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed("create the folder of"))?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file.sync_all().map_err(failed("sync"))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => tighten(path).map_err(failed("restrict"))?,
        Err(error) => return Err(failed("create")(error)),
    }
    sync_directory(path)
}

fn tighten(path: &Path) -> io::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o700))
}

/// The names of the database and its log must survive a power cut as their bytes do.
fn sync_directory(path: &Path) -> Result<(), OpenError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(parent).and_then(|directory| directory.sync_all()).map_err(|source| OpenError::Io {
        action: "sync the folder",
        path: parent.to_owned(),
        source,
    })
}

fn refuse_unknown(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let (application, version, objects) = identity(connection).map_err(|source| engine_error(path, source))?;
    let ours = application == i64::from(APPLICATION_ID);
    let empty = application == 0 && version == 0 && objects == 0;
    if !ours && !empty {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    let known = MIGRATIONS.len() as i64;
    if version > known {
        return Err(OpenError::Newer { path: path.to_owned(), found: version, known });
    }
    Ok(())
}

/// Application, version and number of tables, of one moment: read apart, the migration of a process that starts at the
/// same time falls between them, and the database looks like another program's.
fn identity(connection: &mut Connection) -> rusqlite::Result<(i64, i64, i64)> {
    let snapshot = connection.transaction()?;
    let objects = snapshot.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok((pragma(&snapshot, "application_id")?, pragma(&snapshot, "user_version")?, objects))
}

/// Switches a new database to write-ahead logging. SQLite does not wait for a rival's lock here, so we do.
fn enable_wal(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        let mode = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0));
        match mode {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(_) => return Err(OpenError::NoWal { path: path.to_owned() }),
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(engine_error(path, error)),
        }
    }
}

/// Runs the missing migrations in one transaction: all or none.
fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let engine = |source| engine_error(path, source);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(engine)?;
    // Read under the lock: another process may have migrated meanwhile, even past us.
    let version = pragma(&transaction, "user_version").map_err(engine)?;
    let known = MIGRATIONS.len() as i64;
    if version > known {
        return Err(OpenError::Newer { path: path.to_owned(), found: version, known });
    }
    if version == known {
        return Ok(());
    }
    for migration in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or_default()) {
        transaction.execute_batch(migration).map_err(engine)?;
    }
    transaction.pragma_update(None, "user_version", known).map_err(engine)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(engine)?;
    transaction.commit().map_err(engine)
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

fn engine_error(path: &Path, source: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => OpenError::Damaged { path, source },
        _ => OpenError::Engine { path, source },
    }
}
