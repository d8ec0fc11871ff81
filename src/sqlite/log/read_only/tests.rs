//! Goal: what a call gives was all there at one time, though stores come, write and go while it reads. Method: a store
//! writes at a chosen moment of a read; the files are changed as it would change them.

use std::path::Path;

use super::*;
use crate::id::Timestamp;
use crate::port::{Create, Durability, Medium, Opening, Write};

/// Opens a store, makes some sessions, and closes it.
fn write(directory: &Path, names: &[&str]) {
    let opening = Opening {
        model: "test",
        create: Create::default(),
        now: Timestamp::default(),
        durability: Durability::PowerLoss,
        blob_bytes_max: 1 << 20,
        snapshot_bytes_max: 1 << 20,
    };
    let opened = Medium::directory(directory).open(&opening).unwrap();
    let mut log = opened.log.writer().unwrap();
    let register = |name: &&str| Write::Register { session: SessionId::new(*name).unwrap(), at: Timestamp::default() };
    log.commit(&names.iter().map(register).collect::<Vec<_>>()).unwrap();
    log.close().unwrap();
}

fn open(directory: &Path) -> ReadOnlyReader {
    let database = ReadOnlyDatabase::open(directory.join("events.db"), None, Some("test"), false).unwrap().0;
    ReadOnlyReader { database, open: None, opened: 0 }
}

fn names(reader: &mut SqliteReader) -> Result<Vec<String>, LogError> {
    let rows = LogReader::sessions(reader, None, 1000)?;
    Ok(rows.iter().map(|row| row.session.to_string()).collect())
}

#[test]
fn what_was_read_while_a_store_came_wrote_and_closed_is_read_anew() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &["a"]);
    let mut reader = open(directory.path());
    let mut reads = 0;
    let read = reader.read(|reader| {
        reads += 1;
        let before = names(reader)?;
        if reads == 1 {
            write(directory.path(), &["b"]);
        }
        Ok((before, names(reader).ok()))
    });
    let both = vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(read.unwrap(), (both.clone(), Some(both)));
    assert_eq!(reads, 2);
}

/// What cannot be read in a file that changes says nothing of the file.
#[test]
fn an_error_of_a_read_during_which_a_store_closed_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &["a"]);
    let mut reader = open(directory.path());
    let mut reads = 0;
    let read = reader.read(|reader| {
        reads += 1;
        if reads > 1 {
            return names(reader);
        }
        write(directory.path(), &["b"]);
        Err(LogError::Corrupt("two halves".to_owned()))
    });
    assert_eq!(read.unwrap(), ["a", "b"]);
    // Of a file that stays as it is, it is.
    let damaged = reader.read(|_| Err::<(), _>(LogError::Corrupt("one whole".to_owned())));
    assert!(matches!(damaged, Err(LogError::Corrupt(reason)) if reason == "one whole"));
}

#[test]
fn a_call_that_never_reads_at_one_time_ends_as_busy() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &["a"]);
    let mut reader = open(directory.path());
    let mut reads = 0;
    let read = reader.read(|_| {
        reads += 1;
        write(directory.path(), &[&format!("b{reads}")]);
        Ok(())
    });
    assert!(matches!(read, Err(LogError::Busy)), "{read:?}");
    assert_eq!(reads, ATTEMPTS_MAX);
}

#[test]
fn files_that_were_just_written_are_looked_at_again_before_they_are_relied_on() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &["a"]);
    let database = open(directory.path()).database;
    for has_wal in [false, true] {
        let file = if has_wal { "events.db-wal" } else { "LOCK" };
        std::fs::write(directory.path().join(file), "").unwrap();
        let changed = std::fs::File::options().append(true).open(&database.database.path).unwrap();
        changed.set_modified(std::time::SystemTime::UNIX_EPOCH + Duration::from_micros(now())).unwrap();
        drop(changed);
        let Access::Immutable { database: stamp, wal } = database.look_settled().unwrap() else {
            panic!("nobody writes")
        };
        assert_eq!(wal.is_some(), has_wal);
        let age = now().saturating_sub(stamp.modified().as_micros().unsigned_abs());
        assert!(age >= TICK.as_micros() as u64, "{age}");
    }
}

fn now() -> u64 {
    Clock::System.now().as_micros().unsigned_abs()
}

#[test]
fn each_state_of_the_files_has_its_way_to_be_read() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &["a"]);
    let database = open(directory.path()).database;
    let file = |name: &str| directory.path().join(name);
    assert!(matches!(database.look().unwrap(), Access::Immutable { wal: None, .. }));
    std::fs::write(file("events.db-shm"), "").unwrap();
    assert!(matches!(database.look().unwrap(), Access::Immutable { wal: None, .. }), "an index of nothing");
    std::fs::write(file("events.db-wal"), "").unwrap();
    assert!(matches!(database.look().unwrap(), Access::Shared { .. }), "a store has just opened, perhaps");
    std::fs::remove_file(file("events.db-shm")).unwrap();
    assert!(matches!(database.look().unwrap(), Access::Immutable { wal: Some(_), .. }));
    std::fs::write(file("events.db-wal"), "x").unwrap();
    assert!(matches!(database.look().unwrap(), Access::Shared { .. }), "it is not empty");
}

#[test]
fn what_a_verification_sorts_goes_to_no_file_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &["a"]);
    let in_memory = open(directory.path()).read(|reader| {
        let place: i64 = reader.connection.query_row("PRAGMA temp_store", [], |row| row.get(0))?;
        Ok(place == 2)
    });
    assert!(in_memory.unwrap());
}
