//! Goal: a store that is killed while it makes its directory leaves one that the next store opens, whoever is there at
//! the time. Method: children are killed at random moments of their first open; `FOLDLOG_SEED` repeats the choices.

use std::path::Path;
use std::time::Duration;

use foldlog::{ErrorKind, StoreConfig};

use crate::common::child::{Child, hear, tell};
use crate::common::*;

/// Opens the directory and appends to a session of its own.
pub(crate) async fn create(directory: &Path, name: &str) {
    tell("ready");
    hear().unwrap();
    let store = open(&StoreConfig::directory(directory)).await;
    tell("opened");
    let session = soon(store.open_session(name)).await.unwrap();
    append(&session, TallyBody::Added(1)).await.unwrap();
    tell("appended");
    hear();
    soon(store.close()).await.unwrap();
}

/// Leaves a database as a process does that is killed in the middle of a transaction: pages are written, and the
/// journal that takes them back is there.
fn leave_half_written(database: &Path, sql_before: &str) {
    let outside = tempfile::tempdir().unwrap();
    let path = outside.path().join("events.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch(sql_before).unwrap();
    // A cache this small makes SQLite write pages long before COMMIT.
    let begun = "PRAGMA cache_size = 1; BEGIN; CREATE TABLE t(x); CREATE TABLE u(x);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
         INSERT INTO t SELECT randomblob(100) FROM n;";
    connection.execute_batch(begun).unwrap();
    // Another process copies the files, so that the locks of this connection stay.
    for name in ["events.db", "events.db-journal"] {
        let (from, to) = (outside.path().join(name), database.with_file_name(name));
        assert!(std::process::Command::new("cp").args([&from, &to]).status().unwrap().success());
        assert!(std::fs::metadata(&to).unwrap().len() > 0, "{name}");
    }
}

#[actix::test]
async fn a_half_written_database_of_another_program_is_refused_and_left_as_it_is() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let paths = ["events.db", "events.db-journal"].map(|name| directory.path().join(name));
    leave_half_written(&paths[0], "CREATE TABLE theirs(x); INSERT INTO theirs VALUES (1)");
    let before = paths.each_ref().map(|path| std::fs::read(path).unwrap());
    let opened = soon(foldlog::Store::<Tally>::open_model(StoreConfig::directory(directory.path()))).await;
    let error = opened.map(drop).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::UnsuitablePlace { .. }) && error.to_string().contains("journal"),
        "{error}"
    );
    assert!(paths.each_ref().map(|path| std::fs::read(path).unwrap()) == before, "nothing of it is changed");
}

#[actix::test]
async fn a_directory_whose_makers_are_killed_is_opened_by_the_next() {
    const MAKERS: [&str; 3] = ["a", "b", "c"];
    let _watchdog = watchdog();
    let mut dice = seeded_dice();
    let (mut unmade, mut made) = (0, 0);
    for round in 0..25 {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("store");
        // The last of them is let live in every third round.
        let mut makers: Vec<_> = MAKERS.iter().map(|name| Child::with_task("create", name, &root)).collect();
        for maker in &makers {
            maker.expect("ready");
        }
        for maker in &mut makers {
            maker.say("go");
        }
        let survivor = (round % 3 == 0).then(|| makers.pop().unwrap());
        for maker in &mut makers {
            // The moment is random: there is nothing to wait for.
            std::thread::sleep(Duration::from_micros(dice.below(12_000)));
            maker.strike();
        }
        let mut acknowledged = Vec::new();
        for (maker, name) in makers.into_iter().zip(MAKERS) {
            let told = maker.kill().lines;
            unmade += u32::from(told.is_empty());
            made += u32::from(!told.is_empty());
            if told.iter().any(|line| line == "appended") {
                acknowledged.push(name);
            }
        }
        let store = open(&StoreConfig::directory(&root)).await;
        if let Some(survivor) = survivor {
            survivor.expect("opened");
            survivor.expect("appended");
            acknowledged.push("c");
            assert!(survivor.end().status.success());
        }
        for name in acknowledged {
            assert_eq!(look(&store, name).await.0.sum, 1, "round {round}");
        }
        usable(&store, "d").await;
        soon(store.close()).await.unwrap();
        let store = open(&StoreConfig::directory(&root)).await;
        assert_eq!(std::fs::read_dir(root.join("owners")).unwrap().count(), 1, "round {round}");
        assert_eq!(std::fs::read_dir(root.join("tmp")).unwrap().count(), 1, "round {round}");
        soon(store.close()).await.unwrap();
    }
    println!("{unmade} were killed before they had opened, {made} after");
    assert!(unmade > 0, "no kill came early enough");
}
