//! Goal: one page of `events.db` that cannot be read takes down nothing but what stands in it: every other session
//! opens, shows what it held and takes appends, and a verification names the damage. Method: damage each page of a
//! store with many sessions in each of several ways, by what the page is of, and look at every session.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use foldlog::{ErrorKind, SnapshotPolicy, Store, StoreConfig};
use futures::future::join_all;

use crate::common::*;
use crate::flips::{Shows, shows};
use crate::{Prepared, look_at_all, note};

const PAGE: usize = 4096;

/// What a page is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    table: String,
    part: String,
}

/// What each page of a database is of, by SQLite's own count. Pages of no table are free ones and maps of pointers.
fn kinds(db: &Path) -> BTreeMap<usize, Kind> {
    let connection = rusqlite::Connection::open(db).unwrap();
    let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    let none = Kind { table: "none".to_owned(), part: "free".to_owned() };
    let mut kinds: BTreeMap<usize, Kind> = (1..=pages as usize).map(|page| (page, none.clone())).collect();
    let mut statement = connection.prepare("SELECT pageno, name, pagetype FROM dbstat").unwrap();
    let rows = statement
        .query_map([], |row| Ok((row.get::<_, i64>(0)? as usize, Kind { table: row.get(1)?, part: row.get(2)? })));
    kinds.extend(rows.unwrap().map(Result::unwrap));
    drop(statement);
    connection.close().unwrap();
    kinds
}

/// Changes the bytes of a page.
type Damage = fn(&mut [u8]);

/// Each way to damage a page, so that SQLite finds that it is none.
const DAMAGES: [(&str, Damage); 2] = [("zeroed", |page| page.fill(0)), ("of another type", |page| page[0] ^= 0x40)];

impl Prepared {
    /// As [`Prepared::new`], and so many sessions more that their names fill several pages; and free pages.
    pub(crate) async fn wide() -> Self {
        let mut prepared = Self::new(700).await;
        let store = open(&prepared.config()).await;
        let names: Vec<String> = (0..150).map(|n| format!("{n:03}-{}", "wide".repeat(15))).collect();
        for round in 0..2 {
            let sessions = join_all(names.iter().map(|name| store.open_session(name))).await;
            let appended = sessions.iter().map(|session| {
                session.as_ref().unwrap().append_batch(vec![TallyBody::Added(round), note(20)]).unwrap()
            });
            assert!(join_all(appended).await.iter().all(Result::is_ok));
        }
        prepared.sessions = look_at_all(&store).await;
        soon(store.close()).await.unwrap();
        prepared.sql("CREATE TABLE gone(x); INSERT INTO gone VALUES (zeroblob(50000)); DROP TABLE gone;");
        let read = |path: std::path::PathBuf| (path.clone(), std::fs::read(path).unwrap());
        let files = files_below(prepared.directory.path());
        prepared.files = files.into_iter().map(read).collect();
        prepared
    }

    pub(crate) fn damage_page(&self, page: usize, damage: Damage) {
        let mut bytes = self.bytes(&self.db());
        damage(&mut bytes[(page - 1) * PAGE..page * PAGE]);
        std::fs::write(self.db(), bytes).unwrap();
    }

    /// The sessions with an event in a page of the table of events.
    fn sessions_in(&self, page: usize) -> BTreeSet<String> {
        let bytes = self.bytes(&self.db());
        let page = &bytes[(page - 1) * PAGE..page * PAGE];
        let cells = usize::from(page[3]) << 8 | usize::from(page[4]);
        let varint = |mut at: usize| {
            let mut value = 0_i64;
            loop {
                value = value << 7 | i64::from(page[at] & 0x7f);
                at += 1;
                if page[at - 1] & 0x80 == 0 {
                    return (value, at);
                }
            }
        };
        let positions = (0..cells).map(|cell| {
            let at = usize::from(page[8 + 2 * cell]) << 8 | usize::from(page[9 + 2 * cell]);
            varint(varint(at).1).0
        });
        self.restore();
        let connection = rusqlite::Connection::open(self.db()).unwrap();
        let name = |position: i64| {
            connection
                .query_row(
                    "SELECT session_id FROM sessions JOIN events USING (log_key) WHERE position = ?1",
                    [position],
                    |row| row.get(0),
                )
                .unwrap()
        };
        let names = positions.map(name).collect();
        connection.close().unwrap();
        names
    }
}

/// A store on damaged pages: what each session shows, and whether appends go on, in this store and in the next.
struct Seen {
    listed: bool,
    /// The sessions that do not show all that they held.
    hurt: BTreeSet<String>,
    /// Of those that do, the first few: how many take appends.
    appends: usize,
}

/// How many sessions are appended to.
const APPENDS: usize = 4;

async fn look(prepared: &Prepared, what: &str) -> Seen {
    let mut seen = Seen { listed: true, hurt: BTreeSet::new(), appends: 0 };
    let mut appended = Vec::new();
    for life in 0..2 {
        let store = soon(Store::<Tally>::open_model(prepared.config())).await;
        let store = store.unwrap_or_else(|error| panic!("{what}: the store does not open: {error:?}"));
        if life == 0 {
            match soon(store.list_sessions(None, 1000)).await {
                Ok(listed) => {
                    let heads: Vec<_> = listed.iter().map(|row| (row.id.as_str(), row.head)).collect();
                    assert_eq!(heads.len(), prepared.sessions.len(), "{what}");
                }
                Err(_) => seen.listed = false,
            }
            let verification = soon(store.verify()).await.unwrap();
            assert!(!verification.is_sound(), "{what}: not found");
        }
        for original in &prepared.sessions {
            if appended.contains(&original.name) {
                let session = soon(store.resume_session(&original.name)).await.unwrap();
                let head = session.view().unwrap().head();
                assert_eq!(head, original.view.head().next(), "{what}: what {} was told is there", original.name);
                continue;
            }
            match shows(&store, original).await {
                Shows::Original if life == 0 && appended.len() < APPENDS => {
                    let session = soon(store.resume_session(&original.name)).await.unwrap();
                    match soon(session.append(TallyBody::Added(1)).unwrap()).await {
                        Ok(_) => appended.push(original.name.clone()),
                        Err(error) => {
                            assert!(matches!(error.kind(), ErrorKind::CorruptStore { .. }), "{what}: {error:?}");
                        }
                    }
                }
                Shows::Original => {}
                Shows::Error(error) => {
                    assert!(error.contains(&original.name), "{what}: {error}");
                    seen.hurt.insert(original.name.clone());
                }
                other => panic!("{what}: {} shows {other:?}", original.name),
            }
        }
        soon(store.close()).await.unwrap();
    }
    seen.appends = appended.len();
    seen
}

/// Pages of a kind, each damaged in each way but for those that leave a page that can be read.
async fn each_page(
    prepared: &Prepared,
    of: &[(&str, &str)],
    pages_max: usize,
    mut check: impl FnMut(&str, usize, Seen),
) {
    prepared.restore();
    let kinds = kinds(&prepared.db());
    let mut looked = 0;
    for (table, part) in of {
        let pages: Vec<_> = kinds
            .iter()
            .filter(|(_, kind)| kind.table == *table && kind.part == *part)
            .map(|(page, _)| *page)
            .collect();
        assert!(!pages.is_empty(), "there are pages of {table}, {part}");
        // The first ones and the last one.
        let few = pages.iter().enumerate().filter(|(at, _)| at + 1 < pages_max || at + 1 == pages.len());
        for (_, page) in few {
            for (way, damage) in DAMAGES {
                prepared.restore();
                prepared.damage_page(*page, damage);
                let what = format!("page {page} of {table}, {part}, {way}");
                check(&what, *page, look(prepared, &what).await);
                looked += 1;
            }
        }
    }
    println!("{looked} damages");
}

#[actix::test]
async fn a_damaged_page_of_the_recent_index_costs_no_session_anything() {
    let prepared = Prepared::wide().await;
    each_page(&prepared, &[("recent_index", "leaf")], 2, |what, _, seen| {
        assert!(seen.listed && seen.hurt.is_empty(), "{what}: {:?}", seen.hurt);
        assert_eq!(seen.appends, APPENDS, "{what}");
    })
    .await;
}

#[actix::test]
async fn a_damaged_page_of_the_index_of_events_costs_no_session_anything() {
    let prepared = Prepared::wide().await;
    each_page(&prepared, &[("event_index", "leaf")], 2, |what, _, seen| {
        assert!(seen.listed && seen.hurt.is_empty(), "{what}: {:?}", seen.hurt);
        assert_eq!(seen.appends, APPENDS, "{what}");
    })
    .await;
}

#[actix::test]
async fn a_damaged_leaf_of_the_events_costs_the_sessions_in_it_and_no_other() {
    let prepared = Prepared::wide().await;
    prepared.restore();
    each_page(&prepared, &[("events", "leaf")], 2, |what, page, seen| {
        let in_it = prepared.sessions_in(page);
        assert!(seen.listed && !in_it.is_empty() && seen.hurt == in_it, "{what}: {:?}, and not {in_it:?}", seen.hurt);
    })
    .await;
}

#[actix::test]
async fn a_damaged_page_of_names_or_logs_costs_the_sessions_in_it_and_no_other() {
    let prepared = Prepared::wide().await;
    each_page(&prepared, &[("sessions", "leaf"), ("logs", "leaf")], 2, |what, _, seen| {
        assert!(!seen.hurt.is_empty() && seen.hurt.len() < 120, "{what}: {} of 156", seen.hurt.len());
        assert!(seen.listed || what.contains("sessions"), "{what}");
        assert_eq!(seen.appends, APPENDS, "{what}");
    })
    .await;
}

#[actix::test]
async fn a_damaged_page_of_stored_views_costs_no_session_anything() {
    let prepared = Prepared::wide().await;
    each_page(&prepared, &[("snapshots", "leaf")], 2, |what, _, seen| {
        assert!(seen.listed && seen.hurt.is_empty(), "{what}: {:?}", seen.hurt);
        assert_eq!(seen.appends, APPENDS, "{what}");
    })
    .await;
}

/// SQLite fails the COMMIT of a transaction in which a page could not be read: what cannot be written to the table of a
/// cache costs no append that is committed with it.
#[actix::test]
async fn a_damaged_page_of_stored_views_costs_no_append_that_is_committed_with_a_view() {
    let prepared = Prepared::wide().await;
    let pages = kinds(&prepared.db());
    let leaf = pages.iter().find(|(_, kind)| kind.table == "snapshots").map(|(page, _)| *page).unwrap();
    let mut bytes = prepared.bytes(&prepared.db());
    bytes[PAGE * (leaf - 1)..PAGE * leaf].fill(0xff);
    std::fs::write(prepared.db(), bytes).unwrap();
    let snapshots = SnapshotPolicy { every_events: 5, ..SnapshotPolicy::default() };
    let store = open(&StoreConfig { snapshots, ..prepared.config() }).await;
    let sessions: Vec<_> = (0..6).map(|n| store.open_session(format!("new {n}"))).collect();
    let sessions: Vec<_> = join_all(sessions).await.into_iter().map(Result::unwrap).collect();
    for _ in 0..60 {
        let appends = sessions.iter().map(|session| session.append(TallyBody::Added(1)).unwrap());
        for appended in join_all(appends).await {
            appended.unwrap();
        }
    }
    soon(store.close()).await.unwrap();
}

/// The index of one session stands on several pages.
#[actix::test]
async fn a_damaged_page_of_an_index_that_goes_over_several_costs_no_session_anything() {
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig::directory(directory.path());
    let store = open(&config).await;
    let sessions: Vec<_> = join_all((0..12).map(|n| store.open_session(format!("s{n}")))).await;
    let sessions: Vec<_> = sessions.into_iter().map(Result::unwrap).collect();
    for n in 0..400 {
        let appends =
            sessions.iter().map(|session| session.append_with(keyed(TallyBody::Added(1), &n.to_string())).unwrap());
        assert!(join_all(appends).await.iter().all(Result::is_ok));
    }
    soon(store.close()).await.unwrap();
    let db = directory.path().join("events.db");
    let whole = std::fs::read(&db).unwrap();
    let pages = kinds(&db);
    let leaves = pages.iter().filter(|(_, kind)| kind.table == "event_index" && kind.part == "leaf");
    let leaves: Vec<usize> = leaves.map(|(page, _)| *page).collect();
    assert!(leaves.len() > 3, "{leaves:?}");
    for leaf in [leaves[0], leaves[leaves.len() / 2], leaves[leaves.len() - 1]] {
        let mut bytes = whole.clone();
        bytes[PAGE * (leaf - 1)..PAGE * leaf].fill(0);
        for beside in ["events.db-wal", "events.db-shm"] {
            let _ = std::fs::remove_file(directory.path().join(beside));
        }
        std::fs::write(&db, bytes).unwrap();
        let store = open(&config).await;
        for n in 0..12 {
            let session =
                soon(store.open_session(format!("s{n}"))).await.unwrap_or_else(|error| panic!("page {leaf}: {error}"));
            assert!(session.view().unwrap().head() >= at(400));
            append(&session, TallyBody::Added(1)).await.unwrap();
        }
        soon(store.close()).await.unwrap();
    }
}
