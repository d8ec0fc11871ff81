//! Goal: a repair makes a new directory that a store can live in, of exactly the valid beginnings of the sessions of a
//! damaged one, says what is missing, and leaves the damaged one as it is; nothing half is ever taken for a store.
//! Method: damage a closed store in each way, repair, compare, and go on in the new directory; kill a repair on the
//! way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use foldlog::{Create, Describe, Error, ErrorKind, Repair, SessionSummary, SnapshotPolicy, Store, StoreConfig};

use crate::common::child::{Child, tell};
use crate::common::*;
use crate::{Original, Prepared, look_at_all, note};

/// A directory for what is repaired, which does not exist yet.
pub(crate) struct Target(tempfile::TempDir);

impl Target {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("repaired")
    }

    /// What there is beside and instead of the repaired directory.
    fn names(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.0.path()).unwrap();
        names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect()
    }

    async fn open(&self) -> Store<Tally> {
        let config = StoreConfig { create: Create::Never, ..StoreConfig::directory(self.path()) };
        soon(Store::open_model(config)).await.unwrap()
    }
}

/// Every file but SQLite's index of the write-ahead log, and its bytes.
pub(crate) fn bytes_below(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = files_below(directory).into_iter().filter(|path| !path.to_str().unwrap().ends_with("-shm"));
    files.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// Repairs, and checks what must hold whatever is damaged: the old directory is as it was; the new one verifies, and
/// has of each session a beginning of what it held, as counted and as reported; and appends go on there. Gives how many
/// events each session has.
pub(crate) async fn repaired(prepared: &Prepared, what: &str) -> Result<(Repair, BTreeMap<String, usize>), Error> {
    let before = bytes_below(prepared.directory.path());
    let target = Target::new();
    let repair = Store::<Tally>::repair_model(prepared.directory.path(), target.path());
    assert!(bytes_below(prepared.directory.path()) == before, "{what}: the damaged directory is as it was");
    if repair.is_err() {
        assert_eq!(target.names(), [""; 0], "{what}: nothing is left of a repair that fails");
    }
    let repair = repair?;
    assert_eq!(target.names(), ["repaired"]);
    let store = target.open().await;
    let verification = soon(store.verify()).await.unwrap();
    assert!(verification.problems.is_empty(), "{what}: {:?}", verification.problems);
    let taken = look_at_all(&store).await;
    let counts: BTreeMap<_, _> = taken.iter().map(|session| (session.name.clone(), session.events.len())).collect();
    assert_eq!(repair.sessions, counts.len() as u64, "{what}");
    assert_eq!(repair.events, counts.values().sum::<usize>() as u64, "{what}");
    for session in &taken {
        let original = prepared.sessions.iter().find(|original| original.name == session.name);
        let original = original.unwrap_or_else(|| panic!("{what}: there was no session {}", session.name));
        assert!(original.events.starts_with(&session.events), "{what}: {}", session.name);
        if session.events.len() == original.events.len() {
            assert_eq!(session.view, original.view, "{what}: {}", session.name);
        } else {
            let next = session.events.len() as u64 + 1;
            let named = |problem: &foldlog::Problem| {
                problem.session.as_ref().is_some_and(|id| id.as_str() == session.name)
                    && problem.event == Some(at(next))
            };
            // Where the index has lost the rest, too, only the parts of the table that cannot be read are named.
            let is_named = repair.not_taken.iter().any(|problem| named(problem) || problem.session.is_none());
            assert!(is_named, "{what}: {} is shorter: {:?}", session.name, repair.not_taken);
        }
    }
    for session in taken.iter().take(3) {
        usable(&store, &session.name).await;
    }
    usable(&store, "new").await;
    let verification = soon(store.verify()).await.unwrap();
    assert!(verification.problems.is_empty(), "{what}: {:?}", verification.problems);
    soon(store.close()).await.unwrap();
    Ok((repair, counts))
}

/// The rows that a repair takes as they are.
fn rows(directory: &Path) -> Vec<String> {
    let connection = rusqlite::Connection::open(directory.join("events.db")).unwrap();
    let mut rows = Vec::new();
    for sql in [
        "SELECT position, log_key, event_id, event_type, event_at, hex(append_key), hex(chain), hex(record) FROM events
         ORDER BY position",
        "SELECT log_key, hex(log_id), parent_log, fork_event_id, hex(fork_chain), epoch, '', '' FROM logs
         ORDER BY log_key",
        "SELECT session_id, log_key, created, title, labels, '', '', '' FROM sessions ORDER BY session_id",
    ] {
        let mut statement = connection.prepare(sql).unwrap();
        let text = |row: &rusqlite::Row<'_>| -> rusqlite::Result<String> {
            (0..8).map(|at| row.get_ref(at).map(|value| format!("{value:?} "))).collect()
        };
        rows.extend(statement.query_map([], text).unwrap().map(Result::unwrap));
    }
    connection.close().unwrap();
    rows
}

#[actix::test]
async fn a_repair_of_a_sound_store_takes_every_row_as_it_is() {
    let prepared = Prepared::new(700).await;
    prepared.sql("UPDATE logs SET epoch = 7 WHERE log_key % 2 = 0");
    let (repair, counts) = repaired(&prepared, "sound").await.unwrap();
    assert!(repair.is_whole(), "{:?}", repair.not_taken);
    assert_eq!((repair.blobs, repair.blob_bytes), (2, prepared.blobs[..2].iter().map(|blob| blob.bytes).sum()));
    let expected: BTreeMap<_, _> =
        prepared.sessions.iter().map(|original| (original.name.clone(), original.events.len())).collect();
    assert_eq!(counts, expected);
    let target = Target::new();
    let repair = Store::<Tally>::repair_model(prepared.directory.path(), target.path()).unwrap();
    let told = format!("taken: 6 sessions, {} events, 2 blobs; left behind: 0 events; problems: 0", repair.events);
    assert_eq!(repair.to_string(), told);
    assert_eq!(rows(&target.path()), rows(prepared.directory.path()));
    let connection = rusqlite::Connection::open(target.path().join("events.db")).unwrap();
    let owned = connection.query_row("SELECT count(owner) FROM logs", [], |row| row.get::<_, i64>(0));
    assert_eq!(owned, Ok(0), "nobody owns what was repaired");
    connection.close().unwrap();
    // A retry finds its append key, and the blobs are there.
    let store = target.open().await;
    let few = soon(store.open_session("few")).await.unwrap();
    let retried = soon(few.append_with(keyed(TallyBody::Added(1), "key")).unwrap()).await.unwrap();
    assert!(retried.repeated);
    assert_eq!(soon(store.get_bytes(prepared.blobs[0].digest)).await.unwrap(), "a first blob".repeat(20).as_bytes());
    assert_refused!(soon(store.get_bytes(prepared.blobs[2].digest)).await, ErrorKind::UnknownBlob { .. });
    soon(store.close()).await.unwrap();
    // What was repaired can be repaired.
    let again = Target::new();
    assert!(Store::<Tally>::repair_model(target.path(), again.path()).unwrap().is_whole());
    assert_eq!(rows(&again.path()), rows(&target.path()));
}

/// Each damages session `few`, whose appends have the events 1 to 3, 4, 5 to 6, and 7.
#[actix::test]
async fn exactly_the_whole_appends_before_the_damage_are_taken() {
    let few = "log_key = (SELECT log_key FROM sessions WHERE session_id = 'few')";
    let prepared = Prepared::new(20).await;
    for (damage, left) in [
        ("UPDATE events SET record = CAST(record || x'00' AS BLOB) WHERE event_id = 4", 3),
        ("UPDATE events SET chain = zeroblob(32) WHERE event_id = 1", 0),
        ("UPDATE events SET chain = x'00' WHERE event_id = 6", 4),
        ("UPDATE events SET event_at = event_at + 1 WHERE event_id = 7", 6),
        ("UPDATE events SET append_key = NULL WHERE event_id = 7", 6),
        ("UPDATE events SET append_key = x'aa' WHERE event_id = 5", 4),
        ("UPDATE events SET event_id = 99 WHERE event_id = 5", 4),
        ("DELETE FROM events WHERE event_id = 3", 0),
        ("DELETE FROM events WHERE event_id > 5", 4),
    ] {
        prepared.restore();
        prepared.sql(&format!("{damage} AND {few}"));
        let (repair, counts) = repaired(&prepared, damage).await.unwrap();
        for original in &prepared.sessions {
            let left = if original.name == "few" { left } else { original.events.len() };
            assert_eq!(counts[&original.name], left, "{damage}: {}", original.name);
        }
        let [problem] = &repair.not_taken[..] else { panic!("{damage}: {:?}", repair.not_taken) };
        assert_eq!(problem.event, Some(at(left as u64 + 1)), "{damage}");
        let kind = problem.error.kind();
        assert!(matches!(kind, ErrorKind::CorruptEvent { .. } | ErrorKind::NewerRecord { .. }), "{damage}: {kind:?}");
    }
}

/// The record has the type, too, under the chain hash.
#[actix::test]
async fn a_damaged_type_costs_no_event() {
    let few = "log_key = (SELECT log_key FROM sessions WHERE session_id = 'few')";
    let prepared = Prepared::new(20).await;
    let whole = rows(prepared.directory.path());
    for event_type in ["'noted'", "'later'", "''"] {
        prepared.restore();
        prepared.sql(&format!("UPDATE events SET event_type = {event_type} WHERE event_id IN (2, 5) AND {few}"));
        let mut salvage = Store::<Tally>::salvage_model(prepared.directory.path()).unwrap();
        let salvaged = salvage.session("few").unwrap();
        assert!(salvaged.stopped_by.is_none() && salvaged.events.len() == 7, "{salvaged:?}");
        drop(salvage);
        let target = Target::new();
        let repair = Store::<Tally>::repair_model(prepared.directory.path(), target.path()).unwrap();
        assert!(repair.is_whole(), "{repair:?}");
        assert_eq!(rows(&target.path()), whole, "the new database has the right types");
    }
}

/// What nobody can read makes no new directory that looks whole.
#[actix::test]
async fn a_repair_that_could_take_nothing_is_an_error_and_makes_nothing() {
    let prepared = Prepared::new(20).await;
    let foreign = tempfile::tempdir().unwrap();
    let connection = rusqlite::Connection::open(foreign.path().join("events.db")).unwrap();
    connection.execute_batch("CREATE TABLE theirs(x)").unwrap();
    connection.close().unwrap();
    let mut bytes = prepared.bytes(&prepared.db());
    bytes[100..4096].fill(0);
    std::fs::write(prepared.db(), bytes).unwrap();
    let absent = foreign.path().join("absent");
    for from in [foreign.path(), prepared.directory.path(), &absent] {
        let target = Target::new();
        let refused = Store::<Tally>::repair_model(from, target.path()).expect_err("nothing to take");
        let kind = refused.kind();
        let is_named = matches!(
            kind,
            ErrorKind::CorruptStore { .. } | ErrorKind::UnsuitablePlace { .. } | ErrorKind::NotAStore { .. }
        );
        assert!(is_named, "{refused}");
        assert!(!target.path().exists());
    }
}

/// SQLite says nothing of commits that it cannot read.
#[actix::test]
async fn a_repair_tells_of_a_write_ahead_log_that_is_damaged_gone_or_of_another_time() {
    let root = tempfile::tempdir().unwrap();
    let live = root.path().join("live");
    let config = StoreConfig { snapshots: SnapshotPolicy::OFF, ..StoreConfig::directory(&live) };
    let copy = |name: &str| {
        let copy = root.path().join(name);
        assert!(std::process::Command::new("cp").arg("-r").arg(&live).arg(&copy).status().unwrap().success());
        copy
    };
    let mut copies = Vec::new();
    for round in 0..3 {
        let store = open(&config).await;
        let session = soon(store.open_session("s")).await.unwrap();
        for _ in 0..5 {
            append(&session, TallyBody::Added(1)).await.unwrap();
        }
        copies.push(copy(&format!("killed-{round}")));
        soon(store.close()).await.unwrap();
    }
    let repaired = |name: &str| {
        Store::<Tally>::repair_model(root.path().join(name), root.path().join(format!("{name}.new"))).unwrap()
    };
    assert!(repaired("killed-2").is_whole());
    let damaged = copy("damaged");
    for file in ["events.db", "events.db-wal", "events.db-shm"] {
        std::fs::copy(copies[2].join(file), damaged.join(file)).unwrap();
    }
    let wal = damaged.join("events.db-wal");
    let mut bytes = std::fs::read(&wal).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&wal, bytes).unwrap();
    let repair = repaired("damaged");
    assert!(!repair.is_whole() && repair.not_taken[0].to_string().contains("events.db-wal is damaged"), "{repair:?}");

    std::fs::remove_file(&wal).unwrap();
    std::fs::remove_dir_all(root.path().join("damaged.new")).unwrap();
    let repair = repaired("damaged");
    assert!(!repair.is_whole() && repair.not_taken[0].to_string().contains("events.db-wal is gone"), "{repair:?}");

    std::fs::copy(copies[0].join("events.db"), copies[2].join("events.db")).unwrap();
    std::fs::remove_dir_all(root.path().join("killed-2.new")).unwrap();
    let repair = Store::<Tally>::repair_model(&copies[2], root.path().join("killed-2.new"));
    let told = match &repair {
        Ok(repair) => repair.not_taken.iter().map(ToString::to_string).collect(),
        Err(error) => vec![error.to_string()],
    };
    assert!(told.iter().any(|told| told.contains("not of one time")), "{told:?}");
}

#[actix::test]
async fn an_event_whose_blob_is_damaged_ends_its_session_and_no_other() {
    let prepared = Prepared::new(20).await;
    let store = open(&prepared.config()).await;
    let session = soon(store.open_session("blobs")).await.unwrap();
    append(&session, TallyBody::Added(1)).await.unwrap();
    let [first, second, _] = prepared.blobs[..] else { panic!("three blobs") };
    append(&session, TallyBody::Attached(second)).await.unwrap();
    append(&session, TallyBody::Attached(first)).await.unwrap();
    soon(store.close()).await.unwrap();
    let whole = bytes_below(prepared.directory.path());
    for (blob, left) in [(first, 0), (second, 0)] {
        for damage in [0, 1, 2] {
            let path = prepared.blob_file(&blob);
            match damage {
                0 => std::fs::remove_file(&path).unwrap(),
                1 => std::fs::write(&path, "other").unwrap(),
                _ => std::fs::write(&path, "").unwrap(),
            }
            let target = Target::new();
            let repair = Store::<Tally>::repair_model(prepared.directory.path(), target.path()).unwrap();
            let [problem] = &repair.not_taken[..] else { panic!("{:?}", repair.not_taken) };
            assert_eq!((problem.event, problem.digest), (Some(at(left + 1)), Some(blob.digest)));
            let is_blob = matches!(problem.error.kind(), ErrorKind::UnknownBlob { .. } | ErrorKind::CorruptBlob { .. });
            assert!(is_blob, "{problem:?}");
            let store = target.open().await;
            let session = soon(store.open_session("blobs")).await.unwrap();
            assert_head(&session, left).await;
            usable(&store, "few").await;
            assert!(soon(store.verify()).await.unwrap().problems.is_empty());
            soon(store.close()).await.unwrap();
            std::fs::write(&path, &whole[&path]).unwrap();
        }
    }
}

/// Whatever the list of sessions says of it.
#[actix::test]
async fn a_repaired_session_has_the_title_and_labels_that_its_events_give() {
    let labels = |store: &[SessionSummary]| store[0].labels.keys().cloned().collect::<Vec<_>>();
    for (damage, title, kept) in [
        ("SELECT 1", "two", vec!["a", "b"]),
        ("UPDATE sessions SET title = 'other', labels = CAST(x'ff' AS TEXT)", "two", vec!["a", "b"]),
        ("UPDATE events SET record = x'00' WHERE event_id = 4", "one", vec!["a"]),
        ("UPDATE events SET record = x'00' WHERE event_id = 1", "", vec![]),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let from = directory.path().join("damaged");
        let store = open(&StoreConfig::directory(&from)).await;
        let session = soon(store.open_session("s")).await.unwrap();
        append(&session, TallyBody::Added(1)).await.unwrap();
        soon(session.describe(Describe::new().title("one").label("a", "1")).unwrap()).await.unwrap();
        append(&session, TallyBody::Added(2)).await.unwrap();
        soon(session.describe(Describe::new().title("two").label("b", "2")).unwrap()).await.unwrap();
        soon(store.close()).await.unwrap();
        let by_hand = rusqlite::Connection::open(from.join("events.db")).unwrap();
        by_hand.execute_batch(damage).unwrap();
        by_hand.close().unwrap();
        let to = directory.path().join("repaired");
        let repair = Store::<Tally>::repair_model(&from, &to).unwrap();
        assert_eq!(repair.is_whole(), !damage.contains("record"), "{damage}: {:?}", repair.not_taken);
        let store = open(&StoreConfig::directory(&to)).await;
        let listed = soon(store.list_sessions(None, 10)).await.unwrap();
        assert_eq!(
            (listed[0].title.as_str(), labels(&listed)),
            (title, kept.iter().map(|l| (*l).to_owned()).collect())
        );
        assert!(soon(store.verify()).await.unwrap().problems.is_empty());
        usable(&store, "s").await;
        soon(store.close()).await.unwrap();
    }
}

#[actix::test]
async fn what_leads_to_no_session_or_to_no_log_is_reported() {
    let prepared = Prepared::new(20).await;
    let others = |gone: &[&str]| prepared.sessions.len() - gone.len();
    for (damage, gone, wanted) in [
        ("DELETE FROM sessions WHERE session_id = 'few'", vec!["few"], "7 events and no session that can be read"),
        ("UPDATE sessions SET session_id = CAST(x'ff' AS TEXT) WHERE session_id = 'few'", vec!["few"], "no session id"),
        ("UPDATE sessions SET log_key = 77 WHERE session_id = 'few'", vec!["few"], "its log is not there"),
        (
            "UPDATE sessions SET log_key = (SELECT log_key FROM sessions WHERE session_id = 'few')
             WHERE session_id = 'many'",
            vec!["many"],
            "one of them is wrong",
        ),
        ("UPDATE logs SET log_id = zeroblob(3) WHERE log_key = 3", vec![], "log_id"),
    ] {
        prepared.restore();
        prepared.sql(&format!("PRAGMA foreign_keys = OFF; {damage}"));
        let (repair, counts) = repaired(&prepared, damage).await.unwrap();
        let texts: Vec<_> = repair.not_taken.iter().map(ToString::to_string).collect();
        if wanted == "log_id" {
            assert_eq!((counts.len(), texts.is_empty()), (others(&["one session"]), false), "{texts:?}");
            continue;
        }
        assert_eq!(counts.len(), others(&gone), "{damage}");
        assert!(gone.iter().all(|name| !counts.contains_key(*name)), "{damage}");
        assert!(texts.iter().any(|text| text.contains(wanted)), "{damage}: {texts:?}");
    }
}

#[actix::test]
async fn a_target_that_holds_anything_is_refused_by_name_and_left_as_it_is() {
    let prepared = Prepared::new(10).await;
    let from = prepared.directory.path();
    let target = Target::new();
    let refused = |to: &Path, what: &str| match Store::<Tally>::repair_model(from, to) {
        Err(error) => {
            let text = error.to_string();
            assert!(matches!(error.kind(), ErrorKind::InvalidArgument { .. }) && text.contains(what), "{text}");
        }
        Ok(repair) => panic!("not refused: {repair:?}"),
    };
    std::fs::create_dir(target.path()).unwrap();
    std::fs::write(target.path().join("theirs"), "theirs").unwrap();
    refused(&target.path(), "holds theirs");
    refused(from, "holds LOCK");
    refused(&from.join("repaired"), "lies in the damaged directory");
    assert_eq!(std::fs::read(target.path().join("theirs")).unwrap(), b"theirs");
    assert_eq!(target.names(), ["repaired"]);
    // A file, and a repair that another one is making.
    let file = target.0.path().join("file");
    std::fs::write(&file, "theirs").unwrap();
    assert!(Store::<Tally>::repair_model(from, &file).is_err());
    assert_eq!(std::fs::read(&file).unwrap(), b"theirs");
    std::fs::remove_file(&file).unwrap();
    std::fs::remove_file(target.path().join("theirs")).unwrap();
    std::fs::create_dir(target.0.path().join("repaired.part")).unwrap();
    refused(&target.path(), "repaired.part is there");
    std::fs::remove_dir(target.0.path().join("repaired.part")).unwrap();
    assert_refused!(Store::repair(from, target.path()), ErrorKind::WrongModel { .. });
    // An empty directory is taken.
    assert!(Store::<Tally>::repair_model(from, target.path()).unwrap().is_whole());
    assert_eq!(target.names(), ["repaired"]);
    assert!(bytes_below(from).iter().eq(prepared.files.iter().map(|(path, bytes)| (path, bytes))));
}

/// A blob of the damaged directory that is a pipe holds the repair where it copies that blob.
#[actix::test]
async fn a_repair_that_is_killed_half_way_is_never_taken_for_a_store() {
    let prepared = Prepared::new(20).await;
    let target = Target::new();
    let blob = prepared.blob_file(&prepared.blobs[1]);
    std::fs::remove_file(&blob).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&blob).status().unwrap().success());
    let directories = format!("{}\n{}", prepared.directory.path().display(), target.path().display());
    let child = Child::with_task("repair", &directories, target.0.path());
    child.expect("repairing");
    // Opening a pipe to write waits for the one who reads, which is the repair: half of the blobs are copied now.
    let pipe = std::fs::OpenOptions::new().write(true).open(&blob).unwrap();
    assert!(child.kill().lines.is_empty());
    drop(pipe);
    std::fs::remove_file(&blob).unwrap();
    assert_eq!(target.names(), ["repaired.part"]);
    let half = target.0.path().join("repaired.part");
    for create in [Create::Never, Create::WhereEmpty] {
        let config = StoreConfig { create, ..StoreConfig::directory(&half) };
        let opened = soon(Store::<Tally>::open_model(config)).await;
        let error = opened.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::NoStore { .. } | ErrorKind::CorruptStore { .. }), "{error:?}");
    }
    prepared.restore();
    assert_refused!(
        Store::<Tally>::repair_model(prepared.directory.path(), target.path()),
        ErrorKind::InvalidArgument { .. }
    );
    std::fs::remove_dir_all(&half).unwrap();
    assert!(Store::<Tally>::repair_model(prepared.directory.path(), target.path()).unwrap().is_whole());
}

/// What a child does: repairs, and tells when it begins and when it has ended.
pub(crate) fn as_a_child(directories: &str) {
    let (from, to) = directories.split_once('\n').unwrap();
    tell("repairing");
    let repair = Store::<Tally>::repair_model(from, to).unwrap();
    tell(repair);
}

#[actix::test]
async fn a_repair_works_beside_a_store_and_does_not_disturb_it() {
    let prepared = Prepared::new(20).await;
    let store = open(&prepared.config()).await;
    let session = soon(store.open_session("few")).await.unwrap();
    for _ in 0..3 {
        let appended = append(&session, TallyBody::Added(1)).await.unwrap();
        append(&session, note(5000)).await.unwrap();
        let target = Target::new();
        let repair = Store::<Tally>::repair_model(prepared.directory.path(), target.path()).unwrap();
        assert!(repair.is_whole(), "{:?}", repair.not_taken);
        let repaired = target.open().await;
        // The store that lives in the old directory owns nothing here.
        let copy = soon(repaired.open_session("few")).await.unwrap();
        assert_eq!(*copy.view().unwrap(), *session.view().unwrap());
        append(&copy, TallyBody::Added(1)).await.unwrap();
        soon(repaired.close()).await.unwrap();
        assert_eq!(session.view().unwrap().head(), appended.head.next());
    }
    soon(store.close()).await.unwrap();
}

/// How many events of a session's beginning are whole appends, by the sizes of [`Prepared::new`].
pub(crate) fn whole_appends(original: &Original, events: usize) -> usize {
    let ends: Vec<usize> = match original.name.as_str() {
        "blobs" => vec![2],
        "few" => vec![3, 4, 6, 7],
        "large" => vec![1, 3, 5],
        "many" => (1..=70).map(|append| append * 10).collect(),
        "none" => vec![],
        "one" => vec![1],
        // Of `Prepared::wide`.
        _ => vec![2, 4],
    };
    ends.into_iter().filter(|end| *end <= events).max().unwrap_or(0)
}
