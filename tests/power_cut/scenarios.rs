//! Goal: scenarios that a host goes through, few enough operations to cut each. Method: plain calls on plain stores.

use super::common::{Tally, TallyBody};
use foldlog::{
    Append, AppendKey, Describe, Error, EventId, Redact, RetainMode, Retention, SnapshotPolicy, Store, StoreConfig,
    Sweep,
};
use std::time::Duration;

pub(super) async fn appends_batches_and_blobs(config: StoreConfig) -> Result<(), Error> {
    let store = Store::<Tally>::open_model(config).await?;
    let (one, two) = (store.open_session("one").await?, store.open_session("two").await?);
    one.append(TallyBody::Added(1))?.await?;
    let blob = store.put_bytes(vec![7; 3000]).await?;
    one.append(TallyBody::Attached(blob))?.await?;
    // Several in flight, of two sessions: they are committed in one group or in several.
    let receipts =
        [one.append(TallyBody::named("a"))?, two.append(TallyBody::Added(2))?, one.append(TallyBody::named("b"))?];
    for receipt in receipts {
        receipt.await?;
    }
    two.append_batch((1..=20).map(TallyBody::Added).collect())?.await?;
    let keyed = Append::new(TallyBody::Added(5)).key(AppendKey::new("turn-1")?);
    two.append_with(keyed)?.await?;
    // The same bytes again, and others.
    store.put_bytes(vec![7; 3000]).await?;
    // Large enough to be written past the cache.
    let blob = store.put_bytes(vec![8; 300_000]).await?;
    two.append(TallyBody::Attached(blob))?.await?;
    store.close().await
}

/// Blobs are put, named, swept, and put and named again; a store that knew them is beside.
pub(super) async fn sweeps(config: StoreConfig) -> Result<(), Error> {
    let store = Store::<Tally>::open_model(config.clone()).await?;
    let session = store.open_session("one").await?;
    let named = store.put_bytes(vec![1; 3000]).await?;
    session.append(TallyBody::Attached(named))?.await?;
    let unnamed = [store.put_bytes(vec![2; 3000]).await?, store.put_bytes(vec![3; 3000]).await?];
    let beside = Store::<Tally>::open_model(config).await?;
    beside.sweep(Sweep::default().grace(Duration::ZERO)).await?;
    // One of them is put again by each store, and the one that swept it is told of the other.
    store.put_bytes(vec![2; 3000]).await?;
    session.append(TallyBody::Attached(unnamed[0]))?.await?;
    beside.put_bytes(vec![3; 3000]).await?;
    session.append(TallyBody::Attached(unnamed[1]))?.await?;
    store.put_bytes(vec![4; 3000]).await?;
    store.sweep(Sweep::default().grace(Duration::ZERO)).await?;
    beside.close().await?;
    store.close().await
}

/// Titles and labels among appends, some of them in flight together.
pub(super) async fn describes(config: StoreConfig) -> Result<(), Error> {
    for round in ["one", "two"] {
        let store = Store::<Tally>::open_model(config.clone()).await?;
        let session = store.open_session("one").await?;
        session.describe(Describe::new().title(round).label(round, "1"))?.await?;
        let other = store.open_session("two").await?;
        let receipts = [
            session.append(TallyBody::Added(1))?,
            session.describe(Describe::new().label("in flight", "x".repeat(200)))?,
            other.describe(Describe::new().title("other").key(AppendKey::new(round)?))?,
            session.describe(Describe::new().remove_label(round))?,
        ];
        for receipt in receipts {
            receipt.await?;
        }
        store.close().await?;
    }
    Ok(())
}

/// More than a checkpoint's worth of commits, in few of them, again and again, so that the write-ahead log is also
/// begun anew.
pub(super) async fn checkpoints(config: StoreConfig) -> Result<(), Error> {
    let store = Store::<Tally>::open_model(config).await?;
    let session = store.open_session("one").await?;
    for round in 1..=2 {
        for _ in 0..2 {
            let long = TallyBody::named(&"x".repeat(300_000));
            session.append_batch(vec![long.clone(), TallyBody::Added(1), long])?.await?;
        }
        // A checkpoint has a thread of its own, and the next commits do the rest.
        while store.stats().upkeep.runs < round {
            session.append(TallyBody::Added(1))?.await?;
        }
        session.append(TallyBody::Added(round))?.await?;
    }
    store.close().await
}

/// Groups of many sessions, so that the index of recent events fills, and gives its entries to the large one.
pub(super) async fn many_sessions(config: StoreConfig) -> Result<(), Error> {
    let store = Store::<Tally>::open_model(config).await?;
    let mut sessions = Vec::new();
    for n in 0..6 {
        sessions.push(store.open_session(&format!("s{n}")).await?);
    }
    for round in 1..=12 {
        let mut receipts = Vec::new();
        for (n, session) in sessions.iter().enumerate() {
            let append = Append::new(TallyBody::Added(round));
            let append = if n % 2 == 0 { append.key(AppendKey::new(round.to_string())?) } else { append };
            receipts.push(session.append_with(append)?);
        }
        for receipt in receipts {
            receipt.await?;
        }
    }
    store.close().await
}

pub(super) async fn stores_one_after_the_other(config: StoreConfig) -> Result<(), Error> {
    for round in 1..=3 {
        let store = Store::<Tally>::open_model(config.clone()).await?;
        let session = store.open_session("one").await?;
        session.append(TallyBody::Added(round))?.await?;
        let blob = store.put_bytes(vec![round as u8; 700]).await?;
        session.append(TallyBody::Attached(blob))?.await?;
        store.open_session(&format!("of round {round}")).await?.append(TallyBody::Added(1))?.await?;
        store.close().await?;
    }
    Ok(())
}

pub(super) async fn two_stores_at_once(config: StoreConfig) -> Result<(), Error> {
    let one = Store::<Tally>::open_model(config.clone()).await?;
    let two = Store::<Tally>::open_model(config).await?;
    let (of_one, of_two) = (one.open_session("one").await?, two.open_session("two").await?);
    for round in 1..=3 {
        of_one.append(TallyBody::Added(round))?.await?;
        of_two.append(TallyBody::Added(round))?.await?;
        let blob = two.put_bytes(vec![round as u8; 700]).await?;
        of_one.append(TallyBody::Attached(blob))?.await?;
    }
    one.close().await?;
    // The log of a closed store is free to take.
    two.open_session("one").await?.append(TallyBody::Added(9))?.await?;
    two.close().await
}

/// Goes on whatever an answer is. The explorer notes each answer.
pub(super) async fn appends_that_may_fail(config: StoreConfig) -> Result<(), Error> {
    // The open itself may be what fails.
    for _ in 0..2 {
        let Ok(store) = Store::<Tally>::open_model(config.clone()).await else { continue };
        for round in 1..=3 {
            let Ok(session) = store.open_session("one").await else { continue };
            if let Ok(receipt) = session.append(TallyBody::Added(round)) {
                drop(receipt.await);
            }
            if let Ok(blob) = store.put_bytes(vec![round as u8; 700]).await
                && let Ok(receipt) = session.append(TallyBody::Attached(blob))
            {
                drop(receipt.await);
            }
        }
        drop(store.close().await);
    }
    Ok(())
}

/// The same with checkpoints.
pub(super) async fn checkpoints_that_may_fail(config: StoreConfig) -> Result<(), Error> {
    // The second store has read all of it from the disk.
    for _ in 0..2 {
        appends_between_checkpoints(config.clone()).await;
    }
    Ok(())
}

async fn appends_between_checkpoints(config: StoreConfig) {
    let Ok(store) = Store::<Tally>::open_model(config).await else { return };
    for _ in 0..2 {
        let Ok(session) = store.open_session("one").await else { continue };
        for _ in 0..2 {
            let long = TallyBody::named(&"x".repeat(300_000));
            if let Ok(receipt) = session.append_batch(vec![long.clone(), TallyBody::Added(1), long]) {
                drop(receipt.await);
            }
        }
        let before = store.stats().upkeep.runs;
        // A checkpoint that fails is not counted.
        for _ in 0..50 {
            if let Ok(receipt) = session.append(TallyBody::Added(1)) {
                drop(receipt.await);
            }
            if store.stats().upkeep.runs > before {
                break;
            }
        }
    }
    drop(store.close().await);
}

/// Another program's transaction lets a checkpoint copy a part of the log, which is counted as copied and not synced.
/// Then it is gone, and the next checkpoint copies the rest, syncs, and has the log begun anew.
pub(super) async fn a_checkpoint_in_two_parts(config: StoreConfig) -> Result<(), Error> {
    let path = config.medium.as_directory().expect("a scenario is given a directory").to_owned();
    let long = || vec![TallyBody::named(&"x".repeat(600_000)), TallyBody::named(&"y".repeat(600_000))];
    for _ in 0..2 {
        let Ok(store) = Store::<Tally>::open_model(config.clone()).await else { continue };
        if let Ok(session) = store.open_session("one").await {
            let append = async |bodies| {
                if let Ok(receipt) = session.append_batch(bodies) {
                    drop(receipt.await);
                }
            };
            append(vec![TallyBody::Added(1)]).await;
            let reader = rusqlite::Connection::open(path.join("events.db")).expect("the database is there");
            reader.execute_batch("BEGIN; SELECT count(*) FROM events").expect("it can be read");
            let mut answered = std::pin::pin!(append(long()));
            // If its commit fails, what became of it is found out when the reader has gone, and not before.
            let waited = actix::clock::timeout(std::time::Duration::from_secs(1), &mut answered).await;
            drop(reader);
            if waited.is_err() {
                answered.await;
            }
            for _ in 0..3 {
                append(long()).await;
                append(vec![TallyBody::Added(1)]).await;
            }
        }
        drop(store.close().await);
    }
    Ok(())
}

/// A view is stored after every append or so, and again when the session and the store are closed.
pub(super) async fn stored_views(config: StoreConfig) -> Result<(), Error> {
    let snapshots = SnapshotPolicy { every_events: 1, closing_events: 1, ..SnapshotPolicy::default() };
    let config = StoreConfig { snapshots, ..config };
    for round in 1..=3 {
        let store = Store::<Tally>::open_model(config.clone()).await?;
        let session = store.open_session("one").await?;
        for n in 1..=4 {
            session.append(TallyBody::Added(round * n))?.await?;
        }
        // Of several sectors, so that a cut may leave some of a view.
        session.append_batch(vec![TallyBody::named(&"a".repeat(2000)), TallyBody::Added(9)])?.await?;
        store.close().await?;
    }
    Ok(())
}

/// Sessions among others are deleted, with their stored views, and erased; the last of them had the newest events. One
/// is made anew.
pub(super) async fn deletions(config: StoreConfig) -> Result<(), Error> {
    let snapshots = SnapshotPolicy { every_events: 1, closing_events: 1, ..SnapshotPolicy::default() };
    let config = StoreConfig { snapshots, ..config };
    let store = Store::<Tally>::open_model(config.clone()).await?;
    let names = ["kept", "one", "two", "three"];
    for round in 1..=6_u64 {
        for name in names {
            let session = store.open_session(name).await?;
            let keyed = Append::new(TallyBody::named(&name.repeat(round as usize * 40)));
            session.append_with(keyed.key(AppendKey::new(format!("{name}-{round}"))?))?.await?;
        }
    }
    store.resume_session("one").await?.close().await?;
    store.delete_session("one").await?;
    store.erase_deleted().await?;
    store.delete_session("three").await?;
    store.open_session("three").await?.append(TallyBody::Added(1))?.await?;
    store.delete_session("two").await?;
    store.resume_session("kept").await?.append(TallyBody::Added(1))?.await?;
    store.close().await?;
    // Another one goes on with it.
    let store = Store::<Tally>::open_model(config).await?;
    store.resume_session("kept").await?.append(TallyBody::Added(1))?.await?;
    store.erase_deleted().await?;
    store.delete_session("three").await?;
    store.close().await
}

/// Sessions go by their bytes, so many that room is given back to the file system, and the file is smaller in the end.
pub(super) async fn retention(config: StoreConfig) -> Result<(), Error> {
    let database = config.medium.as_directory().expect("a scenario is given a directory").join("events.db");
    let bytes = || std::fs::metadata(&database).expect("the database is there").len();
    let store = Store::<Tally>::open_model(config.clone()).await?;
    for name in ["large", "small", "kept"] {
        let session = store.open_session(name).await?;
        let text = name.repeat(if name == "large" { 100_000 } else { 100 });
        session
            .append_batch(vec![TallyBody::Added(1), TallyBody::Noted(text.clone()), TallyBody::Noted(text)])?
            .await?;
        session.close().await?;
    }
    for _ in 0..3 {
        let session = store.open_session("large").await?;
        session.append(TallyBody::Noted("large".repeat(100_000)))?.await?;
        session.close().await?;
        store.open_session("kept").await?.append(TallyBody::Added(1))?.await?;
    }
    store.close().await?;
    let before = bytes();
    let store = Store::<Tally>::open_model(config).await?;
    let done = store.retain(&Retention::new().record_bytes_max(100_000), RetainMode::Apply).await?;
    assert_eq!(done.gone(), 2, "{done:?}");
    store.resume_session("kept").await?.append(TallyBody::Added(1))?.await?;
    store.close().await?;
    assert!(bytes() * 2 < before, "{before} bytes became {}", bytes());
    Ok(())
}

/// Events with append keys are redacted among others, twice over, with stored views and beside deletions; and again by
/// the next store.
pub(super) async fn redactions(config: StoreConfig) -> Result<(), Error> {
    let snapshots = SnapshotPolicy { every_events: 1, closing_events: 1, ..SnapshotPolicy::default() };
    let config = StoreConfig { snapshots, ..config };
    let store = Store::<Tally>::open_model(config.clone()).await?;
    for round in 1..=5_u64 {
        for name in ["kept", "one", "gone"] {
            let session = store.open_session(name).await?;
            let keyed = Append::new(TallyBody::named(&name.repeat(round as usize * 60)));
            session.append_with(keyed.key(AppendKey::new(format!("{name}-{round}"))?))?.await?;
        }
    }
    let redact = |events: &[u64]| {
        let events = events.iter().map(|event| EventId::new(*event));
        Redact::new(events).replace(|event| match event.body() {
            TallyBody::Named { .. } => TallyBody::named("-"),
            body => body.clone(),
        })
    };
    let session = store.resume_session("one").await?;
    session.redact(redact(&[2, 3])).await?;
    session.append(TallyBody::Added(1))?.await?;
    store.delete_session("gone").await?;
    session.redact(redact(&[3, 5])).await?;
    session.describe(Describe::new().title("a title that goes"))?.await?;
    store.close().await?;
    let store = Store::<Tally>::open_model(config).await?;
    let session = store.resume_session("one").await?;
    session.append(TallyBody::Added(1))?.await?;
    session.redact(redact(&[1, 9])).await?;
    store.close().await
}

/// A directory is made one of format 1, as far as its tables say, and is brought to the format of this build again.
pub(super) async fn a_migration(config: StoreConfig) -> Result<(), Error> {
    let database = config.medium.as_directory().expect("a scenario is given a directory").join("events.db");
    for round in 1..=2 {
        let store = Store::<Tally>::open_model(config.clone()).await?;
        store.open_session("one").await?.append(TallyBody::Added(round))?.await?;
        store.close().await?;
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
        let older = rusqlite::Connection::open_with_flags_and_vfs(&database, flags, foldlog_vfs::NAME);
        let older = older.expect("the database is there");
        let downgrade = "PRAGMA synchronous = FULL; BEGIN; DROP TABLE redactions; DROP TABLE deleted_logs;
             DROP TABLE swept_blobs; PRAGMA user_version = 1; COMMIT";
        // Nothing has synced the name of its write-ahead log, so it may copy nothing from there.
        let no_checkpoint = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        older.set_db_config(no_checkpoint, true).expect("a setting of SQLite");
        older.execute_batch(downgrade).expect("nobody else writes");
        older.close().expect("nothing is under way");
    }
    let store = Store::<Tally>::open_model(config).await?;
    store.open_session("one").await?.append(TallyBody::Added(3))?.await?;
    store.close().await
}
