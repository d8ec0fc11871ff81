//! Goal: reading makes and changes no file but `events.db-shm`. Method: the listing of a store's directory, with
//! inodes, times and contents, before and after; stores that were closed, killed, copied, and that are open.

use std::path::Path;
use std::process::Command;

use foldlog::{StoreConfig, WalLoss};

use crate::common::child::{self, Child};
use crate::common::*;
use crate::{Writer, assert_reads, assert_reads_of, assert_untouched, companions, listing, open_to_read, prepared};

#[actix::test]
async fn a_store_that_was_closed_is_read_without_a_trace() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let blob = prepared(directory.path()).await;
    let before = listing(directory.path());
    assert_reads(directory.path(), blob, 0).await;
    assert_untouched(directory.path(), &before);
    assert_eq!(companions(directory.path()), [] as [&str; 0]);
}

#[actix::test]
async fn a_store_that_was_killed_is_read_with_all_its_commits_and_only_the_index_is_touched() {
    let _watchdog = watchdog();
    for has_index in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let blob = prepared(directory.path()).await;
        let mut writer = Writer::start(directory.path());
        writer.add();
        writer.add();
        writer.kill();
        assert!(directory.path().join("events.db-wal").metadata().unwrap().len() > 0);
        if !has_index {
            std::fs::remove_file(directory.path().join("events.db-shm")).unwrap();
        }
        let before = listing(directory.path());
        for _ in 0..2 {
            assert_reads(directory.path(), blob, 2).await;
            assert_untouched(directory.path(), &before);
        }
        assert_eq!(companions(directory.path()), ["events.db-shm", "events.db-wal"]);
        let store = open(&StoreConfig::directory(directory.path())).await;
        usable(&store, "s").await;
        soon(store.close()).await.unwrap();
    }
}

/// A copy that somebody makes of a closed store may bring an empty file along.
#[actix::test]
async fn an_empty_write_ahead_log_without_an_index_is_left_alone() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let blob = prepared(directory.path()).await;
    std::fs::write(directory.path().join("events.db-wal"), "").unwrap();
    let before = listing(directory.path());
    assert_reads(directory.path(), blob, 0).await;
    assert_untouched(directory.path(), &before);
    assert_eq!(companions(directory.path()), ["events.db-wal"]);
}

#[actix::test]
async fn beside_a_store_that_is_open_nothing_is_touched_either() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let blob = prepared(directory.path()).await;
    let mut writer = Writer::start(directory.path());
    writer.add();
    let before = listing(directory.path());
    assert_reads(directory.path(), blob, 1).await;
    assert_untouched(directory.path(), &before);
    writer.add();
    writer.close();
}

/// It looks at the write-ahead log of a crash before anything can be written over, as if nobody read: a reader that
/// held the directory's lock would keep it from that.
#[actix::test]
async fn a_store_that_opens_beside_a_reader_finds_what_a_crash_has_damaged() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let blob = prepared(directory.path()).await;
    let mut writer = Writer::start(directory.path());
    for _ in 0..4 {
        writer.add();
    }
    writer.kill();
    let reader = open_to_read(&StoreConfig::directory(directory.path())).await;
    assert_reads_of(&reader, blob, 4).await;
    soon(reader.close()).await.unwrap();
    let wal = directory.path().join("events.db-wal");
    let mut bytes = std::fs::read(&wal).unwrap();
    // In the first of its frames, so that all commits come behind the damage.
    bytes[32 + 24 + 100] ^= 1;
    std::fs::write(&wal, bytes).unwrap();
    let reader = open_to_read(&StoreConfig::directory(directory.path())).await;
    assert_reads_of(&reader, blob, 0).await;
    let store = open(&StoreConfig::directory(directory.path())).await;
    assert_eq!(store.wal_damage().unwrap().loss, WalLoss::Likely);
    usable(&store, "s").await;
    assert_reads_of(&reader, blob, 1).await;
    soon(store.close()).await.unwrap();
    soon(reader.close()).await.unwrap();
}

/// A build of a newer format must get the directory's lock for itself.
#[actix::test]
async fn a_reader_keeps_nobody_from_having_the_directory_alone() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let blob = prepared(directory.path()).await;
    let reader = open_to_read(&StoreConfig::directory(directory.path())).await;
    let lock = directory.path().join("LOCK");
    let alone = Command::new("flock").args(["--exclusive", "--nonblock"]).arg(lock).arg("true").status();
    assert!(alone.unwrap().success());
    assert_reads_of(&reader, blob, 0).await;
    soon(reader.close()).await.unwrap();
}

/// The kernel drops all locks of a process on a file when the process closes any handle of that file.
#[actix::test]
async fn a_store_of_the_same_process_keeps_its_locks_whatever_readers_open_and_close() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig::directory(directory.path());
    let blob = prepared(directory.path()).await;
    // Reads the file as it is, and by the index that all share once the store has opened.
    let early = open_to_read(&config).await;
    assert_reads_of(&early, blob, 0).await;
    let store = open(&config).await;
    append(&soon(store.open_session("s")).await.unwrap(), TallyBody::Added(1)).await.unwrap();
    assert_reads_of(&early, blob, 1).await;
    assert_reads(directory.path(), blob, 1).await;
    assert_eq!(others_find_it(directory.path()), "locked");
    soon(early.close()).await.unwrap();
    assert_eq!(others_find_it(directory.path()), "locked");
    soon(store.close()).await.unwrap();
    assert_eq!(others_find_it(directory.path()), "free");
}

/// A store that opens looks at the files of the database before SQLite does, if it is alone. Closing them would drop
/// the locks of a reader of the same process, and the next process to open would change the index under it.
#[cfg(target_os = "linux")]
#[actix::test]
async fn a_reader_keeps_its_locks_when_a_store_opens_in_its_process() {
    use std::os::unix::fs::MetadataExt;
    let _watchdog = watchdog();
    let root = tempfile::tempdir().unwrap();
    let (live, killed) = (root.path().join("live"), root.path().join("killed"));
    let blob = prepared(&live).await;
    let writer = open(&StoreConfig::directory(&live)).await;
    append(&soon(writer.open_session("s")).await.unwrap(), TallyBody::Added(1)).await.unwrap();
    assert!(std::process::Command::new("cp").arg("-r").arg(&live).arg(&killed).status().unwrap().success());
    soon(writer.close()).await.unwrap();
    let reader = open_to_read(&StoreConfig::directory(&killed)).await;
    assert_reads_of(&reader, blob, 1).await;
    let locks = |file: &str| {
        let inode = format!(":{} ", killed.join(file).metadata().unwrap().ino());
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        locks.lines().filter(|lock| lock.contains("POSIX") && lock.contains(&inode)).count()
    };
    let before = ["events.db", "events.db-shm"].map(locks);
    assert!(before.iter().all(|locks| *locks > 0), "{before:?}");
    let store = open(&StoreConfig::directory(&killed)).await;
    let after = ["events.db", "events.db-shm"].map(locks);
    assert!(before.iter().zip(after).all(|(before, after)| after >= *before), "{before:?} and then {after:?}");
    assert_reads_of(&reader, blob, 1).await;
    usable(&store, "other").await;
    soon(store.close()).await.unwrap();
    soon(reader.close()).await.unwrap();
}

/// Whether another process could have the database to itself.
fn others_find_it(directory: &Path) -> String {
    let child = Child::with_task("lock", "other", directory);
    let found = child.next().unwrap();
    assert!(child.end().status.success());
    found
}

pub(crate) fn lock(directory: &Path) {
    let connection = rusqlite::Connection::open(directory.join("events.db")).unwrap();
    connection.busy_timeout(std::time::Duration::ZERO).unwrap();
    connection.query_row("PRAGMA locking_mode = EXCLUSIVE", [], |_| Ok(())).unwrap();
    let read = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
    child::tell(if read.is_ok() { "free" } else { "locked" });
}
