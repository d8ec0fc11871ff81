//! Goal: a directory of every format that has landed opens, keeps what it has, and goes on. Method: directories that
//! builds of these formats have made, in `tests/data`, are copied and opened.

use std::path::Path;
use std::time::Duration;

use foldlog::agent::{Agent, AgentBody, Message};
use foldlog::{Append, AppendKey, ErrorKind, Session, Store, StoreConfig, Sweep};
use rusqlite::{Connection, OpenFlags};

use crate::common::*;

/// Closed in order, and killed with all of its events in the write-ahead log.
const OF_FORMAT_1: [&str; 2] = ["format-1/closed", "format-1/killed"];

/// A copy of a directory of the test data.
pub(crate) fn copy_of(name: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    copy_directory(&data, copy.path());
    copy
}

/// Every row of the events, from another connection of a store that is closed.
pub(crate) fn rows(directory: &Path) -> Vec<(i64, String, Vec<u8>, Vec<u8>)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(directory.join("events.db"), flags).unwrap();
    let mut rows =
        connection.prepare("SELECT position, event_type, chain, record FROM events ORDER BY position").unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

fn text(n: u64) -> String {
    format!("message {n} of a directory of format 1")
}

pub(crate) async fn texts(store: &Store, session: &Session) -> Vec<String> {
    let mut texts = Vec::new();
    for message in session.view().unwrap().messages.iter() {
        let [part] = &message.parts[..] else { panic!("one part") };
        texts.push(soon(store.read_content(part.as_text().unwrap())).await.unwrap());
    }
    texts
}

fn batch(n: u64) -> Append<Agent> {
    let bodies = (0..3).map(|m| AgentBody::MessageAppended(Message::user(text(10 * n + m)))).collect();
    Append::batch(bodies).key(AppendKey::new(format!("key-{n}")).unwrap())
}

#[actix::test]
async fn a_directory_of_format_1_opens_keeps_what_it_has_and_goes_on() {
    for name in OF_FORMAT_1 {
        let directory = copy_of(name);
        let before = rows(directory.path());
        let config = StoreConfig::directory(directory.path());
        for opening in 0..2 {
            let store = soon(Store::open(config.clone())).await.unwrap();
            assert!(soon(store.verify()).await.unwrap().problems.is_empty(), "{name}");
            let plain = soon(store.resume_session("plain")).await.unwrap();
            assert_eq!(texts(&store, &plain).await, (0..5).map(text).collect::<Vec<_>>());
            assert_eq!((plain.view().unwrap().turns.len(), plain.view().unwrap().steps.len()), (1, 1));
            let keys = soon(store.resume_session("keys")).await.unwrap();
            assert_eq!(keys.view().unwrap().head(), at(9));
            let repeated = soon(keys.append_with(batch(1)).unwrap()).await.unwrap();
            assert!(repeated.repeated, "the key of an append of format 1 is known");
            let blobs = soon(store.resume_session("blobs")).await.unwrap();
            assert_eq!(texts(&store, &blobs).await, [text(0).repeat(40), text(1).repeat(40)]);
            let view = blobs.view().unwrap();
            assert!(view.messages[0].parts[0].as_text().unwrap().as_blob().is_some());
            let viewed = soon(store.resume_session("viewed")).await.unwrap();
            let written =
                before.iter().filter(|(_, event_type, ..)| event_type == "message_appended").count() as u64 - 16;
            let folded = soon(viewed.recovery()).await.unwrap().events;
            assert_eq!(folded, written + opening, "its stored view is of schema 1, and is not used");
            let (all, more) = (texts(&store, &viewed).await, opening);
            assert_eq!(all, (0..written).chain(1000..1000 + more).map(text).collect::<Vec<_>>());

            let next = AgentBody::MessageAppended(Message::assistant(text(1000 + opening)));
            soon(viewed.append(next).unwrap()).await.unwrap();
            soon(store.close()).await.unwrap();
        }
        let after = rows(directory.path());
        assert!(after[..before.len()] == before, "no stored event is changed");
        assert!(before.iter().all(|(_, _, _, record)| record[0] == 1));
        assert!(
            after[before.len()..].iter().all(|(_, _, _, record)| record[0] == 2) && after.len() == before.len() + 2
        );
    }
}

/// The type of a record of format 1 is not under its chain. A type that nobody knows may be of a newer build, but then
/// the body is, too. The migration makes tables, and moves pages for them.
#[actix::test]
async fn nothing_of_sessions_of_format_1_stays_once_they_are_deleted() {
    for name in OF_FORMAT_1 {
        let directory = copy_of(name);
        let said = b"of a directory of format 1";
        let places = || -> Vec<_> {
            let has = |path: &std::path::PathBuf| std::fs::read(path).unwrap().windows(said.len()).any(|it| it == said);
            files_below(directory.path()).into_iter().filter(has).collect()
        };
        assert!(!places().is_empty());
        let store = soon(Store::open(StoreConfig::directory(directory.path()))).await.unwrap();
        for session in soon(store.list_sessions(None, 100)).await.unwrap() {
            soon(store.delete_session(session.id)).await.unwrap();
        }
        assert!(soon(store.erase_deleted()).await.unwrap().is_complete());
        soon(store.sweep(Sweep::default().grace(Duration::ZERO))).await.unwrap();
        soon(store.close()).await.unwrap();
        assert_eq!(places(), Vec::<std::path::PathBuf>::new(), "{name}");
    }
}

#[actix::test]
async fn a_changed_type_of_format_1_is_damage_where_the_body_tells() {
    let of_plain = "event_id = 3 AND log_key = (SELECT log_key FROM sessions WHERE session_id = 'plain')";
    for event_type in ["message_appendee", "foldlog.later", "turn_put"] {
        let directory = copy_of("format-1/closed");
        let connection = Connection::open(directory.path().join("events.db")).unwrap();
        connection.execute(&format!("UPDATE events SET event_type = ?1 WHERE {of_plain}"), [event_type]).unwrap();
        // A stored view would spare reading the event.
        connection.execute("DELETE FROM snapshots", []).unwrap();
        connection.close().unwrap();
        let store = soon(Store::open(StoreConfig::directory(directory.path()))).await.unwrap();
        let found = soon(store.verify()).await.unwrap();
        assert!(!found.is_sound(), "{event_type}");
        let [problem] = &found.problems[..] else { panic!("{event_type}: {:?}", found.problems) };
        assert!(matches!(problem.error.kind(), ErrorKind::CorruptEvent { event, .. } if *event == at(3)), "{problem}");
        assert!(matches!(soon(store.open_session("plain")).await.unwrap_err().kind(), ErrorKind::CorruptEvent { .. }));
        soon(store.open_session("keys")).await.unwrap();
        soon(store.close()).await.unwrap();
    }
}

/// A new directory and one that was brought to this format have the same tables.
#[actix::test]
async fn a_new_directory_has_the_tables_of_one_that_was_migrated() {
    let tables = |directory: &Path| -> Vec<(String, Option<String>)> {
        let connection = Connection::open(directory.join("events.db")).unwrap();
        let mut tables = connection.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name").unwrap();
        let tables = tables.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        tables.map(Result::unwrap).collect()
    };
    let (migrated, new) = (copy_of("format-1/closed"), tempfile::tempdir().unwrap());
    for directory in [&migrated, &new] {
        soon(soon(Store::open(StoreConfig::directory(directory.path()))).await.unwrap().close()).await.unwrap();
    }
    assert_eq!(tables(migrated.path()), tables(new.path()));
    assert!(tables(new.path()).iter().any(|(name, _)| name == "swept_blobs"));
}

/// One bad page of one log does not keep the others from a newer build.
#[actix::test]
async fn a_damaged_page_does_not_stop_a_migration() {
    let directory = copy_of("format-1/closed");
    let path = directory.path().join("events.db");
    let connection = Connection::open(&path).unwrap();
    let page: u32 =
        connection.query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'logs'", [], |row| row.get(0)).unwrap();
    connection.close().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let page = page as usize;
    bytes[4096 * (page - 1)..4096 * page].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let store = soon(Store::open(StoreConfig::directory(directory.path()))).await.unwrap();
    assert!(!soon(store.verify()).await.unwrap().is_sound());
    soon(store.close()).await.unwrap();
}
