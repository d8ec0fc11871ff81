//! The tables of the database, as each format has added them.

use super::schema::FORMAT;

/// What each format has added, in their order: a database is of format n once the first n of these are in it. So a new
/// database has the same tables as one that was migrated. A later format adds tables and changes none that are there: such
/// a migration is as fast in a large database as in an empty one, and meets no damaged row.
pub(super) const FORMATS: [&str; FORMAT as usize] = [FORMAT_1, FORMAT_2];

const FORMAT_1: &str = "
CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- A log is a history. Its key is never used again.
CREATE TABLE logs(
    log_key       INTEGER PRIMARY KEY AUTOINCREMENT,
    log_id        BLOB NOT NULL UNIQUE,
    parent_log    INTEGER REFERENCES logs(log_key),
    fork_event_id INTEGER,
    fork_chain    BLOB,
    owner         TEXT,
    epoch         INTEGER NOT NULL DEFAULT 0
) STRICT;

-- A session is a name.
CREATE TABLE sessions(
    session_id TEXT PRIMARY KEY,
    log_key    INTEGER NOT NULL REFERENCES logs(log_key),
    created    INTEGER NOT NULL,
    title      TEXT NOT NULL DEFAULT '',
    labels     TEXT NOT NULL DEFAULT '{}'
) STRICT, WITHOUT ROWID;

-- In the order of the commits, so that a group fills few pages whatever sessions it is of. Where the events of one log
-- are is in event_index, and for the last commits in recent_index: together they are one index, see index.rs.
CREATE TABLE events(
    position   INTEGER PRIMARY KEY,
    log_key    INTEGER NOT NULL,
    event_id   INTEGER NOT NULL,
    event_type TEXT NOT NULL,
    event_at   INTEGER NOT NULL,
    append_key BLOB,
    chain      BLOB NOT NULL,
    record     BLOB NOT NULL
) STRICT;
CREATE TABLE event_index(
    log_key     INTEGER NOT NULL,
    first_event INTEGER NOT NULL,
    runs        BLOB NOT NULL,
    PRIMARY KEY(log_key, first_event)
) STRICT, WITHOUT ROWID;
CREATE TABLE recent_index(
    first_position INTEGER PRIMARY KEY,
    runs           BLOB NOT NULL
) STRICT;

-- The newest stored view of a log, a cache: a log without one is folded from its first event.
CREATE TABLE snapshots(
    log_key     INTEGER PRIMARY KEY,
    event_id    INTEGER NOT NULL,
    chain       BLOB NOT NULL,
    digest      BLOB NOT NULL,
    bytes       INTEGER NOT NULL,
    view_schema INTEGER NOT NULL,
    schema      INTEGER NOT NULL
) STRICT;

-- For people.
CREATE VIEW event_log AS
    SELECT session_id, event_id, event_type,
           strftime('%Y-%m-%dT%H:%M:%S', event_at / 1000000, 'unixepoch') || printf('.%06dZ', event_at % 1000000)
               AS event_at
    FROM sessions JOIN events USING (log_key);
";

/// Room for deletion, redaction and sweep. `meta` may have two more rows from now on: `wal_number`, see
/// [`parts`](super::parts), and `highest_position`, see [`position_behind_deleted`](super::row::position_behind_deleted).
const FORMAT_2: &str = "
-- How often events of a log were redacted: what was read or folded before is of other bytes.
CREATE TABLE redactions(
    log_key INTEGER PRIMARY KEY,
    count   INTEGER NOT NULL
) STRICT;

-- Logs whose session was deleted, and whose events go in steps.
CREATE TABLE deleted_logs(
    log_key    INTEGER PRIMARY KEY,
    deleted_at INTEGER NOT NULL
) STRICT;

-- Blobs that were swept: what a store remembers of them from before is wrong.
CREATE TABLE swept_blobs(
    digest   BLOB PRIMARY KEY,
    swept_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";
