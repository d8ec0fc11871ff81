//! Goal: a salvage gives exactly the events before the damage, says what stopped it, and changes nothing. Method:
//! damage one session of a closed store in each way, and compare; read a live store, too.

use std::path::PathBuf;

use foldlog::{ErrorKind, Salvaged, Store};

use crate::common::*;
use crate::{Plain, Prepared, plain};

fn events(salvaged: &Salvaged<Tally>) -> Vec<Plain> {
    of_model(salvaged.events.clone()).map(|event| plain(&event)).collect()
}

fn names(files: &[(PathBuf, Vec<u8>)]) -> Vec<&PathBuf> {
    files.iter().map(|(path, _)| path).collect()
}

#[actix::test]
async fn an_undamaged_store_is_salvaged_whole_and_left_as_it_is() {
    let prepared = Prepared::new(700).await;
    let mut salvage = Store::<Tally>::salvage_model(prepared.directory.path()).unwrap();
    let (sessions, stopped_by) = salvage.sessions();
    assert!(stopped_by.is_none());
    assert_eq!(sessions.len(), prepared.sessions.len());
    for original in &prepared.sessions {
        let salvaged = salvage.session(&original.name).unwrap();
        assert!(salvaged.stopped_by.is_none(), "{:?}", salvaged.stopped_by);
        assert_eq!((&salvaged.view, &events(&salvaged)), (&original.view, &original.events));
    }
    assert_refused!(salvage.session("absent"), ErrorKind::UnknownSession { .. });
    drop(salvage);
    let left: Vec<_> = files_below(prepared.directory.path());
    assert_eq!(left.iter().collect::<Vec<_>>(), names(&prepared.files), "no file was made or removed");
    assert!(prepared.files.iter().all(|(path, bytes)| std::fs::read(path).unwrap() == *bytes));
}

/// Each damages session `few`, of seven events, so that this many are left.
#[actix::test]
async fn exactly_the_events_before_the_damage_are_salvaged() {
    let few = "log_key = (SELECT log_key FROM sessions WHERE session_id = 'few')";
    let prepared = Prepared::new(20).await;
    for (damage, left) in [
        ("UPDATE events SET record = CAST(record || x'00' AS BLOB) WHERE event_id = 4", 3),
        ("UPDATE events SET chain = zeroblob(32) WHERE event_id = 1", 0),
        ("UPDATE events SET chain = x'00' WHERE event_id = 6", 5),
        ("UPDATE events SET event_at = event_at + 1 WHERE event_id = 7", 6),
        ("UPDATE events SET event_id = 99 WHERE event_id = 5", 4),
        ("DELETE FROM events WHERE event_id = 3", 2),
        ("DELETE FROM events WHERE event_id > 5", 5),
        ("DELETE FROM events WHERE event_id = 1", 0),
    ] {
        prepared.restore();
        prepared.sql(&format!("{damage} AND {few}"));
        let mut salvage = Store::<Tally>::salvage_model(prepared.directory.path()).unwrap();
        for original in &prepared.sessions {
            let salvaged = salvage.session(&original.name).unwrap();
            let left = if original.name == "few" { left } else { original.events.len() };
            assert_eq!(events(&salvaged), original.events[..left], "{damage}: {}", original.name);
            assert_eq!(salvaged.view.head(), at(left as u64));
            match salvaged.stopped_by.as_ref().map(foldlog::Error::kind) {
                None => assert_ne!(original.name, "few", "{damage}"),
                Some(
                    ErrorKind::CorruptEvent { session, event, .. } | ErrorKind::NewerRecord { session, event, .. },
                ) => {
                    assert_eq!((session.as_str(), *event), ("few", at(left as u64 + 1)), "{damage}");
                }
                Some(other) => panic!("{damage}: {other:?}"),
            }
        }
    }
}

/// Events that the index does not lead to are found in the table.
#[actix::test]
async fn a_damaged_index_loses_no_event() {
    let prepared = Prepared::new(700).await;
    let connection = rusqlite::Connection::open(prepared.db()).unwrap();
    let root: u32 = connection
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'event_index'", [], |row| row.get(0))
        .unwrap();
    connection.close().unwrap();
    for damage in [|page: &mut [u8]| page.fill(0), |page: &mut [u8]| page[3] = 0, |page: &mut [u8]| page[4] ^= 1] {
        let mut bytes = prepared.bytes(&prepared.db());
        damage(&mut bytes[(root as usize - 1) * 4096..root as usize * 4096]);
        std::fs::write(prepared.db(), bytes).unwrap();
        let mut salvage = Store::<Tally>::salvage_model(prepared.directory.path()).unwrap();
        for original in &prepared.sessions {
            assert_eq!(events(&salvage.session(&original.name).unwrap()), original.events, "{}", original.name);
        }
    }
}

/// Some pages of the table are gone: what the others hold of each session, up to its first hole, is there.
#[actix::test]
async fn pages_of_other_events_that_are_gone_take_nothing_along() {
    let prepared = Prepared::new(700).await;
    let bytes = prepared.bytes(&prepared.db());
    let mut salvaged_events = 0;
    for page in 1..bytes.len() / 4096 {
        let mut bytes = bytes.clone();
        bytes[page * 4096..(page + 1) * 4096].fill(0);
        std::fs::write(prepared.db(), bytes).unwrap();
        let Ok(mut salvage) = Store::<Tally>::salvage_model(prepared.directory.path()) else { continue };
        for original in &prepared.sessions {
            let Ok(salvaged) = salvage.session(&original.name) else { continue };
            let events = events(&salvaged);
            assert!(original.events.starts_with(&events), "page {}: {}", page + 1, original.name);
            assert_eq!(salvaged.view.head(), at(events.len() as u64));
            salvaged_events += events.len();
        }
    }
    println!("{salvaged_events} events salvaged");
    assert!(salvaged_events > 700 * bytes.len() / 4096 / 2);
}

/// Without the index a session is searched for in the table, and one that begins behind a page that is gone is found
/// whole.
#[actix::test]
async fn a_page_that_cannot_be_read_hides_nothing_behind_it() {
    let prepared = Prepared::new(700).await;
    let connection = rusqlite::Connection::open(prepared.db()).unwrap();
    let root: u32 = connection
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'event_index'", [], |row| row.get(0))
        .unwrap();
    connection.close().unwrap();
    let mut without_index = prepared.bytes(&prepared.db());
    without_index[(root as usize - 1) * 4096..root as usize * 4096].fill(0);
    let mut stepped_over = 0;
    for page in 1..without_index.len() / 4096 {
        let mut bytes = without_index.clone();
        bytes[page * 4096..(page + 1) * 4096].fill(0);
        std::fs::write(prepared.db(), bytes).unwrap();
        let Ok(mut salvage) = Store::<Tally>::salvage_model(prepared.directory.path()) else { continue };
        let Ok(many) = salvage.session("many") else { continue };
        let Ok(last) = salvage.session("one") else { continue };
        // The page held a part of the session `many`, and the session after it was appended later.
        let is_cut = !many.events.is_empty() && many.events.len() < 700;
        stepped_over += usize::from(is_cut && last.events.len() == 1);
    }
    println!("{stepped_over} pages were stepped over");
    assert!(stepped_over > 1);
}

#[actix::test]
async fn a_live_store_is_salvaged_and_not_disturbed() {
    let prepared = Prepared::new(20).await;
    let store = open(&prepared.config()).await;
    let session = soon(store.open_session("few")).await.unwrap();
    for _ in 0..5 {
        let appended = append(&session, TallyBody::Added(1)).await.unwrap();
        let mut salvage = Store::<Tally>::salvage_model(prepared.directory.path()).unwrap();
        let salvaged = salvage.session("few").unwrap();
        assert_eq!(salvaged.view.head(), appended.head);
        assert_eq!(salvaged.view, *session.view().unwrap());
    }
    soon(store.close()).await.unwrap();
}

/// So many appends follow that the first of them are moved to the other table of the index.
#[actix::test]
async fn a_salvage_ends_where_the_store_ended_when_it_was_opened() {
    let prepared = Prepared::new(20).await;
    let store = open(&prepared.config()).await;
    let session = soon(store.open_session("few")).await.unwrap();
    for n in 0..5 {
        append(&session, TallyBody::Added(n)).await.unwrap();
    }
    let head = session.view().unwrap().head();
    let mut salvage = Store::<Tally>::salvage_model(prepared.directory.path()).unwrap();
    for n in 0..6 {
        let batch = (0..4000).map(|m| TallyBody::Added(n + m)).collect();
        soon(session.append_batch(batch).unwrap()).await.unwrap();
        append(&session, TallyBody::Added(1)).await.unwrap();
    }
    let salvaged = salvage.session("few").unwrap();
    assert!(salvaged.stopped_by.is_none(), "{:?}", salvaged.stopped_by);
    assert_eq!(salvaged.view.head(), head);
    drop(salvage);
    soon(store.close()).await.unwrap();
}

#[actix::test]
async fn a_directory_of_another_model_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    soon(soon(Store::open(foldlog::StoreConfig::directory(directory.path()))).await.unwrap().close()).await.unwrap();
    assert_refused!(Store::<Tally>::salvage_model(directory.path()), ErrorKind::WrongModel { .. });
    // Where the name of the model cannot be read, what is left can be.
    let prepared = Prepared::new(20).await;
    prepared.sql("DELETE FROM meta");
    let mut salvage = Store::<Tally>::salvage_model(prepared.directory.path()).unwrap();
    assert_eq!(events(&salvage.session("few").unwrap()).len(), 7);
}
