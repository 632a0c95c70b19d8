-- The first schema. One row per slot that was ever filled: in blob while it is served, in gone for ever after.
-- WITHOUT ROWID: the slot is the key of every write and of every GET, so rows lie in its tree and not beside it.

CREATE TABLE blob (
    slot       TEXT    NOT NULL PRIMARY KEY, -- decoded path; BINARY collation, so pages come in byte order
    id         BLOB    NOT NULL UNIQUE CHECK (length(id) = 16),
    place      TEXT    NOT NULL,             -- where the bytes lie, relative to the storage root
    size       INTEGER NOT NULL CHECK (size >= 0),
    media_type TEXT    NOT NULL,
    owner_kind TEXT    CHECK (owner_kind IN ('jid', 'jid-sha1')),
    owner      TEXT    CHECK ((owner IS NULL) = (owner_kind IS NULL)),
    stored_at  INTEGER NOT NULL,             -- seconds since 1970, as every time here
    expires    INTEGER,
    integrity  TEXT    NOT NULL CHECK (integrity IN ('written', 'unknown')),
    proof      TEXT                          -- NULL for an adopted file
) STRICT, WITHOUT ROWID;

CREATE INDEX blob_expires ON blob (expires) WHERE expires IS NOT NULL;
CREATE INDEX blob_owner ON blob (owner) WHERE owner IS NOT NULL;

CREATE TABLE gone (
    slot   TEXT    NOT NULL PRIMARY KEY,
    at     INTEGER NOT NULL,
    reason TEXT    NOT NULL CHECK (reason IN ('expired', 'deleted'))
) STRICT, WITHOUT ROWID;

CREATE TABLE note (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
