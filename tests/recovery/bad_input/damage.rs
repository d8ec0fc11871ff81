//! Goal: damage is named where it is, and the rest is served. Method: change rows and blobs of a closed store.

use std::path::Path;

use foldlog::{Digest, ErrorKind, EventId, SessionId, StoreConfig};
use rusqlite::Connection;

use super::{db, sql, with_sessions};
use crate::common::*;

/// Damages event 3 of each session, and tells which event must be named.
const DAMAGES: &[(&str, &str, u64)] = &[
    ("record-empty", "UPDATE events SET record = x''", 3),
    ("record-cut", "UPDATE events SET record = substr(record, 1, length(record) - 1)", 3),
    ("record-longer", "UPDATE events SET record = CAST(record || x'00' AS BLOB)", 3),
    ("record-first-byte", "UPDATE events SET record = CAST(x'ff' || substr(record, 2) AS BLOB)", 3),
    (
        "record-last-byte",
        "UPDATE events SET record = CAST(substr(record, 1, length(record) - 1)
                                    || CASE substr(record, -1) WHEN x'00' THEN x'01' ELSE x'00' END AS BLOB)",
        3,
    ),
    ("record-garbage", "UPDATE events SET record = randomblob(100)", 3),
    (
        "record-swapped",
        "UPDATE events SET record = (SELECT record FROM events AS other
                                     WHERE other.log_key = events.log_key AND event_id = 2)",
        3,
    ),
    ("time", "UPDATE events SET event_at = event_at + 1", 3),
    ("time-negative", "UPDATE events SET event_at = -1", 3),
    ("chain", "UPDATE events SET chain = zeroblob(32)", 3),
    ("hole", "DELETE FROM events", 3),
    ("type-of-another", "UPDATE events SET event_type = 'added'", 3),
];

#[actix::test]
async fn a_damaged_event_is_named_and_other_sessions_open() {
    let directory = tempfile::tempdir().unwrap();
    let mut names: Vec<_> = DAMAGES.iter().map(|(name, ..)| *name).collect();
    names.push("whole");
    let config = with_sessions(directory.path(), &names).await;
    for (name, damage, _) in DAMAGES {
        let log = format!("SELECT log_key FROM sessions WHERE session_id = '{name}'");
        sql(directory.path(), &format!("{damage} WHERE event_id = 3 AND log_key = ({log})"));
    }
    let rows = rows_of(directory.path());

    let store = open(&config).await;
    for (name, _, wanted) in DAMAGES {
        for _ in 0..2 {
            let named = |session: &SessionId, event: &EventId| session.as_str() == *name && event.get() == *wanted;
            assert_refused!(
                soon(store.open_session(name)).await,
                ErrorKind::CorruptEvent { session, event, .. } if named(session, event)
            );
            assert_refused!(
                soon(store.resume_session(name)).await,
                ErrorKind::CorruptEvent { session, event, .. } if named(session, event)
            );
            assert_refused!(
                soon(store.read_state(name)).await,
                ErrorKind::CorruptEvent { session, event, .. } if named(session, event)
            );
        }
    }
    let problems = soon(store.verify()).await.unwrap().problems;
    for (name, _, event) in DAMAGES {
        let first = problems.iter().find(|problem| problem.session.as_ref().is_some_and(|id| id.as_str() == *name));
        assert_eq!(first.unwrap().event, Some(EventId::new(*event)), "{name}");
    }
    assert!(problems.iter().all(|problem| problem.session.as_ref().is_none_or(|id| id.as_str() != "whole")));
    assert_eq!(soon(store.list_sessions(None, 100)).await.unwrap().len(), names.len());
    assert_eq!(rows_of(directory.path()), rows, "nothing was skipped, repaired or written");
    usable(&store, "whole").await;
    usable(&store, "new").await;
    soon(store.close()).await.unwrap();
}

fn rows_of(directory: &Path) -> Vec<(i64, i64, Vec<u8>, Vec<u8>)> {
    let connection = Connection::open(db(directory)).unwrap();
    let mut statement =
        connection.prepare("SELECT log_key, event_id, chain, record FROM events ORDER BY position").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[actix::test]
async fn a_row_that_foldlog_never_wrote_is_an_error_and_no_panic() {
    for damage in [
        "UPDATE events SET chain = x'00' WHERE event_id = 3",
        "UPDATE events SET event_id = -3 WHERE event_id = 3",
        "UPDATE events SET event_id = 9223372036854775807 WHERE event_id = 5",
        "UPDATE events SET append_key = zeroblob(65) WHERE event_id = 3",
        "UPDATE logs SET log_id = x'00'",
        "DELETE FROM events WHERE event_id = 1",
        "UPDATE logs SET log_id = randomblob(16)",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let config = with_sessions(directory.path(), &["s"]).await;
        sql(directory.path(), damage);
        let store = open(&config).await;
        let opened = soon(store.open_session("s")).await;
        assert_refused!(opened, ErrorKind::CorruptEvent { .. } | ErrorKind::CorruptStore { .. });
        // A list of sessions may fail over such a row. The session next to it opens.
        let new = soon(store.open_session("new")).await.unwrap();
        append(&new, TallyBody::Added(1)).await.unwrap();
        assert_eq!(soon(store.read_state("new")).await.unwrap().view, *new.view().unwrap());
        soon(store.close()).await.unwrap();
    }
}

/// A tail that was cut off at a commit cannot be told from a shorter log: nothing else says how long it was.
#[actix::test]
async fn a_log_that_lost_its_last_events_is_a_shorter_log() {
    let directory = tempfile::tempdir().unwrap();
    let config = with_sessions(directory.path(), &["s"]).await;
    sql(directory.path(), "DELETE FROM events WHERE event_id > 3; DELETE FROM recent_index WHERE first_position > 3");
    let store = open(&config).await;
    let session = soon(store.open_session("s")).await.unwrap();
    assert_eq!(session.view().unwrap().head(), EventId::new(3));
    assert_eq!(ids_of(&append(&session, TallyBody::Added(1)).await.unwrap()), [4]);
    assert_eq!(whole_log(&session).await.len(), 4);
    soon(store.close()).await.unwrap();
}

/// The record holds the key, too, and there the chain covers it.
#[actix::test]
async fn a_changed_append_key_column_lets_nothing_be_written_twice() {
    let directory = tempfile::tempdir().unwrap();
    let config = with_sessions(directory.path(), &["moved", "removed"]).await;
    for (name, key) in [("moved", "CAST('else' AS BLOB)"), ("removed", "NULL")] {
        let log = format!("SELECT log_key FROM sessions WHERE session_id = '{name}'");
        sql(
            directory.path(),
            &format!("UPDATE events SET append_key = {key} WHERE event_id = 3 AND log_key = ({log})"),
        );
    }
    let store = open(&config).await;
    for name in ["moved", "removed"] {
        let session = soon(store.open_session(name)).await.unwrap();
        let before = look(&store, name).await;
        let retry = keyed(TallyBody::Noted(format!("note of {name}")), "key");
        let repeated = soon(session.append_with(retry).unwrap()).await.unwrap();
        assert!(repeated.repeated);
        assert_eq!(ids_of(&repeated), [3]);
        assert_eq!(look(&store, name).await, before);
    }
    usable(&store, "moved").await;
    soon(store.close()).await.unwrap();
}

#[actix::test]
async fn a_damaged_blob_is_named_not_served_and_healed_by_the_next_put() {
    for damage in [
        (|bytes: &mut Vec<u8>| bytes[5] ^= 1) as fn(&mut Vec<u8>),
        |bytes| bytes.truncate(10),
        |bytes| bytes.clear(),
        |bytes| bytes.push(0),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let config = StoreConfig::directory(directory.path());
        let content = b"some bytes that matter".to_vec();
        let store = open(&config).await;
        let session = soon(store.open_session("s")).await.unwrap();
        let blob = soon(store.put_bytes(content.clone())).await.unwrap();
        append(&session, TallyBody::Attached(blob)).await.unwrap();
        let file = files_below(&directory.path().join("blobs")).pop().unwrap();
        let mut damaged = content.clone();
        damage(&mut damaged);
        soon(store.close()).await.unwrap();
        std::fs::write(&file, &damaged).unwrap();

        let store = open(&config).await;
        let session = soon(store.open_session("s")).await.unwrap();
        let is_it = |digest: &Digest| *digest == blob.digest;
        assert_refused!(soon(store.get_bytes(blob.digest)).await, ErrorKind::CorruptBlob { digest } if is_it(digest));
        let broken = soon(store.verify()).await.unwrap().problems;
        assert_eq!(broken.len(), 1);
        assert_eq!(broken[0].session.as_ref().unwrap().as_str(), "s");
        assert_eq!((broken[0].event, broken[0].digest), (Some(EventId::new(1)), Some(blob.digest)));
        assert!(matches!(broken[0].error.kind(), ErrorKind::CorruptBlob { .. }));
        let before = look(&store, "s").await;
        assert_refused!(
            append(&session, TallyBody::Attached(blob)).await,
            ErrorKind::CorruptBlob { digest } if is_it(digest)
        );
        assert_eq!(look(&store, "s").await, before);

        assert_eq!(soon(store.put_bytes(content.clone())).await.unwrap(), blob);
        assert_eq!(soon(store.get_bytes(blob.digest)).await.unwrap(), content);
        append(&session, TallyBody::Attached(blob)).await.unwrap();
        assert!(soon(store.verify()).await.unwrap().is_sound());
        soon(store.close()).await.unwrap();
    }
}

#[actix::test]
async fn a_blob_that_is_gone_is_reported_where_it_is_referenced() {
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig::directory(directory.path());
    let store = open(&config).await;
    let session = soon(store.open_session("s")).await.unwrap();
    let blob = soon(store.put_bytes(b"gone".to_vec())).await.unwrap();
    append(&session, TallyBody::Attached(blob)).await.unwrap();
    soon(store.close()).await.unwrap();
    std::fs::remove_file(files_below(&directory.path().join("blobs")).pop().unwrap()).unwrap();

    let store = open(&config).await;
    let session = soon(store.open_session("s")).await.unwrap();
    assert_refused!(soon(store.get_bytes(blob.digest)).await, ErrorKind::UnknownBlob { .. });
    assert_refused!(append(&session, TallyBody::Attached(blob)).await, ErrorKind::DanglingRef { .. });
    let broken = soon(store.verify()).await.unwrap().problems;
    assert!(matches!(broken[0].error.kind(), ErrorKind::UnknownBlob { .. }));
    assert_eq!(look(&store, "s").await.1, EventId::new(1));
    usable(&store, "s").await;
    soon(store.close()).await.unwrap();
}
