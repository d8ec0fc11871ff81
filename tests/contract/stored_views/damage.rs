//! Goal: a stored view that is damaged, or leads elsewhere, is not used, and the next one that is due replaces it.
//! Method: change, cut, forge and remove the files and rows of a closed store.

use std::path::Path;

use foldlog::SnapshotPolicy;
use foldlog::agent::{Agent, AgentBody, Message};

use super::{files_in, folded, open, prepared};

/// Whatever `damage` does, the session opens with the same view, and goes on.
async fn falls_back(what: &str, damage: impl FnOnce(&Path)) {
    let (disk, path, view) = prepared().await;
    damage(&path);
    let store = open::<Agent>(&disk, |config| config.snapshots = SnapshotPolicy::OFF).await;
    assert_eq!(store.read_state("s").await.unwrap().view, view, "{what}");
    let session = store.open_session("s").await.unwrap();
    assert_eq!(*session.view().unwrap(), view, "{what}");
    assert_eq!((store.stats().snapshot_hits, store.stats().snapshot_fallbacks), (0, 2), "{what}");
    session.append(AgentBody::StopRequested).unwrap().await.unwrap();
    store.close().await.unwrap();
    // The next snapshot mends it.
    let store = open::<Agent>(&disk, |_| ()).await;
    let session = store.open_session("s").await.unwrap();
    session.append(AgentBody::MessageAppended(Message::user("x".repeat(9000)))).unwrap().await.unwrap();
    store.close().await.unwrap();
    let store = open::<Agent>(&disk, |_| ()).await;
    store.open_session("s").await.unwrap();
    assert_eq!((store.stats().snapshot_hits, store.stats().snapshot_fallbacks), (1, 0), "{what}");
    store.close().await.unwrap();
}

fn row_of_s(path: &Path, set: &str) {
    let database = rusqlite::Connection::open(path.join("events.db")).unwrap();
    let changed = database.execute(&format!("UPDATE snapshots SET {set} WHERE log_key = 1"), []).unwrap();
    assert_eq!(changed, 1);
}

fn each_file(path: &Path, change: impl Fn(&mut Vec<u8>)) {
    for file in files_in(path) {
        let mut bytes = std::fs::read(&file).unwrap();
        change(&mut bytes);
        std::fs::write(&file, bytes).unwrap();
    }
}

#[actix::test]
async fn a_file_that_is_gone_or_damaged_anywhere_is_not_used() {
    falls_back("gone", |path| files_in(path).iter().for_each(|file| std::fs::remove_file(file).unwrap())).await;
    falls_back("no directory", |path| {
        std::fs::remove_dir_all(path.join("snapshots")).unwrap();
    })
    .await;
    falls_back("empty", |path| each_file(path, Vec::clear)).await;
    falls_back("zeroed", |path| each_file(path, |bytes| bytes.fill(0))).await;
    falls_back("zeroed from the middle on", |path| each_file(path, |bytes| bytes[50..].fill(0))).await;
    falls_back("cut", |path| each_file(path, |bytes| bytes.truncate(bytes.len() - 1))).await;
    falls_back("longer", |path| each_file(path, |bytes| bytes.push(0))).await;
    for at in [0, 1, 5, 30, 60, 100] {
        falls_back(&format!("flipped at {at}"), |path| each_file(path, |bytes| bytes[at] ^= 1)).await;
    }
}

/// Even if nothing was appended since.
#[actix::test]
async fn a_damaged_file_is_replaced_by_the_next_view_that_is_due() {
    for damage in [Vec::clear, |bytes: &mut Vec<u8>| bytes.fill(0), |bytes: &mut Vec<u8>| bytes.truncate(70)] {
        let (disk, path, _) = prepared().await;
        each_file(&path, damage);
        for (hits, fallbacks, written) in [(0, 1, 1), (1, 0, 0)] {
            let store = open::<Agent>(&disk, |_| ()).await;
            let session = store.open_session("other").await.unwrap();
            assert_eq!(*session.view().unwrap().state(), folded(&session).await);
            // Claims the log, as an append would.
            drop(session.take_turn().await.unwrap());
            session.close().await.unwrap();
            store.close().await.unwrap();
            let stats = store.stats();
            let found = (stats.snapshot_hits, stats.snapshot_fallbacks, stats.snapshots_written);
            assert_eq!(found, (hits, fallbacks, written));
            assert_eq!(files_in(&path).len(), 2);
        }
    }
}

#[actix::test]
async fn a_row_that_is_damaged_or_leads_elsewhere_is_not_used() {
    let other = "SELECT digest FROM snapshots WHERE log_key = 2";
    for set in [
        "event_id = event_id - 1",
        "event_id = 1000",
        "event_id = -1",
        "chain = zeroblob(32)",
        "chain = zeroblob(3)",
        "digest = zeroblob(32)",
        "digest = zeroblob(0)",
        &format!("digest = ({other})"),
        "view_schema = view_schema + 1",
        "view_schema = 70000",
        "schema = schema + 1",
    ] {
        falls_back(set, |path| row_of_s(path, set)).await;
    }
    // Everything in the row is that of another log.
    falls_back("another log's", |path| {
        let columns = ["event_id", "chain", "digest", "bytes"];
        let from = |column: &str| format!("{column} = (SELECT {column} FROM snapshots WHERE log_key = 2)");
        row_of_s(path, &columns.map(from).join(", "));
    })
    .await;
}

/// Changes the bytes of every stored view, and then its row and its name, so that they agree.
fn forge(path: &Path, change: impl Fn(&mut Vec<u8>)) {
    let database = rusqlite::Connection::open(path.join("events.db")).unwrap();
    for file in files_in(path) {
        let mut bytes = std::fs::read(&file).unwrap();
        let old = blake3::hash(&bytes);
        std::fs::remove_file(&file).unwrap();
        change(&mut bytes);
        let new = blake3::hash(&bytes);
        let shard = path.join("snapshots").join(&new.to_hex()[..2]);
        std::fs::create_dir_all(&shard).unwrap();
        std::fs::write(shard.join(new.to_hex().as_str()), &bytes).unwrap();
        let set = "UPDATE snapshots SET digest = ?2, chain = ?3, event_id = ?4 WHERE digest = ?1";
        let event = i64::from_le_bytes(bytes[21..29].try_into().unwrap());
        let changed = database.execute(set, (old.as_bytes(), new.as_bytes(), &bytes[37..69], event)).unwrap();
        assert_eq!(changed, 1);
    }
}

#[actix::test]
async fn a_file_that_its_row_agrees_with_and_the_log_does_not_is_not_used() {
    falls_back("other events", |path| forge(path, |bytes| bytes[40] ^= 1)).await;
    falls_back("an event before", |path| forge(path, |bytes| bytes[21] -= 1)).await;
    falls_back("an event that is not there yet", |path| forge(path, |bytes| bytes[21] = 200)).await;
    falls_back("another log", |path| forge(path, |bytes| bytes[6] ^= 1)).await;
    falls_back("another view schema", |path| forge(path, |bytes| bytes[1] ^= 1)).await;
    falls_back("no view", |path| forge(path, |bytes| bytes.truncate(bytes.len() - 1))).await;
}
