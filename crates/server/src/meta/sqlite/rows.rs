//! The statements, and rows as values. Every SQL text of the running server stands here, but for those of profiles.
//!
//! Names in rows (`proof`, `reason`, ...) are part of the schema: a new one needs a new schema version, since an older
//! server refuses a row that it cannot read.

use std::error::Error;

use hfs_core::auth::{Owner, Proof};
use hfs_core::{BlobId, ByteSize, Digest, SlotPath, Timestamp};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Result, Row, named_params};

use crate::meta::{Entry, Farewell, Integrity, Record, Recorded, Tombstone};
use crate::storage::Place;

/// All that a row may be written with: nothing of the administrator's is kept.
const PROOFS: [Proof; 7] =
    [Proof::V1, Proof::V2, Proof::Token, Proof::V3, Proof::FileShare, Proof::Jwt, Proof::XSignature];

macro_rules! columns {
    () => {
        "slot, id, place, size, media_type, owner_kind, owner, stored_at, expires, integrity, digest, proof"
    };
}

macro_rules! select_blob {
    ($rest:literal) => {
        concat!("SELECT ", columns!(), " FROM blob ", $rest)
    };
}

/// What is known of a slot. One statement, so that it is true of one moment: a row moves from `blob` to `gone`.
pub(super) fn entry(connection: &Connection, slot: &str) -> Result<Option<Entry>> {
    let mut statement = connection.prepare_cached(concat!(
        "SELECT ",
        columns!(),
        ", NULL AS at, NULL AS reason FROM blob WHERE slot = ?1 UNION ALL ",
        "SELECT slot, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, at, reason ",
        "FROM gone WHERE slot = ?1"
    ))?;
    let entry = |row: &Row<'_>| match row.get::<_, Option<String>>("reason")? {
        None => record(row).map(Entry::Live),
        Some(reason) => tombstone(row, &reason).map(Entry::Gone),
    };
    statement.query_row([slot], entry).optional()
}

/// Whether nothing is known of a slot.
pub(super) fn is_vacant(connection: &Connection, slot: &str) -> Result<bool> {
    let mut statement = connection.prepare_cached(
        "SELECT NOT EXISTS (SELECT 1 FROM blob WHERE slot = ?1) AND NOT EXISTS (SELECT 1 FROM gone WHERE slot = ?1)",
    )?;
    statement.query_row([slot], |row| row.get(0))
}

pub(super) fn find(connection: &Connection, id: BlobId) -> Result<Option<Record>> {
    let mut statement = connection.prepare_cached(select_blob!("WHERE id = ?1"))?;
    statement.query_row([id.as_bytes()], record).optional()
}

pub(super) fn expired(connection: &Connection, now: Timestamp, limit: usize) -> Result<Vec<Record>> {
    let mut statement =
        connection.prepare_cached(select_blob!("WHERE expires <= ?1 ORDER BY expires, slot LIMIT ?2"))?;
    statement.query_map((now.as_unix(), count(limit)), record)?.collect()
}

pub(super) fn page(connection: &Connection, after: Option<&str>, limit: usize) -> Result<Vec<Record>> {
    let mut statement = connection.prepare_cached(select_blob!("WHERE slot > ?1 ORDER BY slot LIMIT ?2"))?;
    // No slot is empty, so the empty text comes before all of them.
    statement.query_map((after.unwrap_or_default(), count(limit)), record)?.collect()
}

pub(super) fn note(connection: &Connection, key: &str) -> Result<Option<String>> {
    connection.prepare_cached("SELECT value FROM note WHERE key = ?1")?.query_row([key], |row| row.get(0)).optional()
}

/// Findings of SQLite's own check, and slots that are live and gone at once; empty when whole.
pub(super) fn defects(connection: &Connection) -> Result<Vec<String>> {
    let mut statement = connection.prepare("PRAGMA integrity_check")?;
    let mut found: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_>>()?;
    found.retain(|line| line != "ok");
    let mut statement = connection.prepare("SELECT slot FROM blob JOIN gone USING (slot)")?;
    for slot in statement.query_map([], |row| row.get::<_, String>(0))? {
        found.push(format!("{} is both live and gone", slot?));
    }
    Ok(found)
}

/// Inserts the row unless the slot has an entry. Runs inside the writer's transaction, which holds the write lock among
/// all processes: what it reads is still true when it writes.
pub(super) fn insert(connection: &Connection, record: &Record) -> Result<Recorded> {
    if let Some(entry) = entry(connection, record.slot.as_str())? {
        return Ok(Recorded::Taken(entry));
    }
    insert_new(connection, record)
}

/// Puts the row in the place of that of `old`, if the slot still has that. Runs inside the writer's transaction.
pub(super) fn replace(connection: &Connection, old: BlobId, record: &Record) -> Result<Recorded> {
    let slot = record.slot.as_str();
    match entry(connection, slot)? {
        Some(Entry::Live(live)) if live.id == old => {}
        Some(entry) => return Ok(Recorded::Taken(entry)),
        None => return Err(rusqlite::Error::QueryReturnedNoRows),
    }
    connection.prepare_cached("DELETE FROM blob WHERE slot = ?1")?.execute([slot])?;
    insert_new(connection, record)
}

fn insert_new(connection: &Connection, record: &Record) -> Result<Recorded> {
    let (owner_kind, owner) = match &record.owner {
        None => (None, None),
        Some(Owner::Jid(jid)) => (Some("jid"), Some(jid)),
        Some(Owner::JidSha1(hash)) => (Some("jid-sha1"), Some(hash)),
    };
    let size =
        i64::try_from(record.size.as_u64()).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let (integrity, digest) = integrity_columns(&record.integrity);
    let mut statement = connection.prepare_cached(
        "INSERT INTO blob
         (slot, id, place, size, media_type, owner_kind, owner, stored_at, expires, integrity, digest, proof)
         VALUES
         (:slot, :id, :place, :size, :media_type, :owner_kind, :owner, :stored_at, :expires, :integrity, :digest, :proof)",
    )?;
    statement.execute(named_params! {
        ":slot": record.slot.as_str(),
        ":id": record.id.as_bytes(),
        ":place": record.place.as_str(),
        ":size": size,
        ":media_type": record.media_type,
        ":owner_kind": owner_kind,
        ":owner": owner,
        ":stored_at": record.stored_at.as_unix(),
        ":expires": record.expires.map(Timestamp::as_unix),
        ":integrity": integrity,
        ":digest": digest,
        ":proof": record.proof.map(Proof::as_str),
    })?;
    Ok(Recorded::Inserted)
}

/// Moves the row from `blob` to `gone`; false when it is not that blob's. Runs inside the writer's transaction.
pub(super) fn bury(connection: &Connection, slot: &str, only: BlobId, tombstone: &Tombstone) -> Result<bool> {
    let mut delete = connection.prepare_cached("DELETE FROM blob WHERE slot = ?1 AND id = ?2")?;
    if delete.execute((slot, only.as_bytes()))? == 0 {
        return Ok(false);
    }
    connection.prepare_cached("INSERT INTO gone (slot, at, reason) VALUES (?1, ?2, ?3)")?.execute((
        slot,
        tombstone.at.as_unix(),
        farewell_name(tombstone.reason),
    ))?;
    Ok(true)
}

pub(super) fn set_note(connection: &Connection, key: &str, value: &str) -> Result<()> {
    connection
        .prepare_cached("INSERT INTO note (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2")?
        .execute([key, value])?;
    Ok(())
}

/// Counts, durably with the transaction, that the writer had to reopen the database.
pub(super) fn count_reopening(connection: &Connection) -> Result<()> {
    connection.execute_batch(
        "INSERT INTO note (key, value) VALUES ('meta.reopened', '1')
         ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)",
    )
}

fn record(row: &Row<'_>) -> Result<Record> {
    let text = |column| row.get::<_, String>(column);
    let size = row.get::<_, i64>("size")?;
    let owner = match row.get::<_, Option<String>>("owner_kind")?.as_deref() {
        None => None,
        Some("jid") => Some(Owner::Jid(text("owner")?)),
        Some("jid-sha1") => Some(Owner::JidSha1(text("owner")?)),
        Some(other) => return Err(unreadable("owner_kind", other)),
    };
    let integrity = match (text("integrity")?.as_str(), row.get("digest")?) {
        ("written", Some(digest)) => Integrity::Digested(Digest::from_bytes(digest)),
        ("written", None) => Integrity::Written,
        ("unknown", None) => Integrity::Unknown,
        (other, _) => return Err(unreadable("integrity", other)),
    };
    let proof = row
        .get::<_, Option<String>>("proof")?
        .map(|name| PROOFS.into_iter().find(|proof| proof.as_str() == name).ok_or_else(|| unreadable("proof", &name)));
    Ok(Record {
        id: BlobId::from_random(row.get("id")?),
        slot: SlotPath::parse(&text("slot")?).map_err(|error| unreadable("slot", error))?,
        place: Place::new(text("place")?),
        size: ByteSize::bytes(u64::try_from(size).map_err(|error| unreadable("size", error))?),
        media_type: text("media_type")?,
        owner,
        stored_at: Timestamp::from_unix(row.get("stored_at")?),
        expires: row.get::<_, Option<i64>>("expires")?.map(Timestamp::from_unix),
        integrity,
        proof: proof.transpose()?,
    })
}

fn tombstone(row: &Row<'_>, reason: &str) -> Result<Tombstone> {
    let reason = match reason {
        "expired" => Farewell::Expired,
        "deleted" => Farewell::Deleted,
        other => return Err(unreadable("reason", other)),
    };
    Ok(Tombstone { at: Timestamp::from_unix(row.get("at")?), reason })
}

fn integrity_columns(integrity: &Integrity) -> (&'static str, Option<&[u8]>) {
    match integrity {
        Integrity::Written => ("written", None),
        Integrity::Digested(digest) => ("written", Some(digest.as_bytes())),
        Integrity::Unknown => ("unknown", None),
    }
}

fn farewell_name(reason: Farewell) -> &'static str {
    match reason {
        Farewell::Expired => "expired",
        Farewell::Deleted => "deleted",
    }
}

pub(super) fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

pub(super) fn unreadable(column: &str, what: impl std::fmt::Display) -> rusqlite::Error {
    let source: Box<dyn Error + Send + Sync> = format!("column {column} of a row is unreadable: {what}").into();
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, source)
}
