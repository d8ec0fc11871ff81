//! Goal: a watch sees what SQLite does to the files of its directory, decides on it, and sees nothing else. Method: one
//! database in a watched directory and one beside it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails may panic")]

use std::path::Path;
use std::sync::{Arc, Mutex};

use foldlog_vfs::{Failure, NAME, Operation, Watch};
use rusqlite::{Connection, OpenFlags};

#[derive(Debug, Default)]
struct Seen {
    operations: Mutex<Vec<String>>,
    fails: Mutex<Option<Failure>>,
}

impl Watch for Seen {
    fn operate(&self, operation: &Operation<'_>, run: &mut dyn FnMut() -> Result<(), Failure>) -> Result<(), Failure> {
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        let seen = match operation {
            Operation::Open { path, makes: true } => format!("make {}", name(path)),
            Operation::Write { path, .. } => format!("write {}", name(path)),
            Operation::Sync { path } => format!("sync {}", name(path)),
            Operation::Remove { path, .. } => format!("remove {}", name(path)),
            _ => return run(),
        };
        self.operations.lock().unwrap().push(seen);
        match (operation, *self.fails.lock().unwrap()) {
            (Operation::Write { .. }, Some(failure)) => Err(failure),
            (Operation::Write { .. }, None) if std::thread::current().name() == Some("panics") => panic!("on purpose"),
            _ => run(),
        }
    }
}

fn open(directory: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags_and_vfs(directory.join("x.db"), flags, NAME).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    connection.execute_batch("CREATE TABLE IF NOT EXISTS t(n); INSERT INTO t VALUES (1)").unwrap();
    connection
}

fn count(connection: &Connection) -> i64 {
    connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}

#[test]
fn a_watch_sees_and_decides_on_the_files_of_its_directory_alone() {
    let (directory, beside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let seen = Arc::new(Seen::default());
    let watched = foldlog_vfs::watch(directory.path(), Arc::clone(&seen) as _).unwrap();
    let root = directory.path().canonicalize().unwrap();
    let connection = open(&root);
    let operations = std::mem::take(&mut *seen.operations.lock().unwrap());
    for operation in ["make x.db", "make x.db-wal", "write x.db-wal"] {
        assert!(operations.iter().any(|seen| seen == operation), "{operation}: {operations:?}");
    }

    *seen.fails.lock().unwrap() = Some(Failure::DISK_FULL);
    let error = connection.execute_batch("INSERT INTO t VALUES (2)").unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DiskFull));
    let other = open(&beside.path().canonicalize().unwrap());
    other.execute_batch("INSERT INTO t VALUES (2)").unwrap();
    assert_eq!(count(&other), 2);

    *seen.fails.lock().unwrap() = None;
    assert_eq!(count(&connection), 1);
    connection.execute_batch("INSERT INTO t VALUES (2)").unwrap();
    drop(watched);
    seen.operations.lock().unwrap().clear();
    // What is open stays watched, what is opened now is not.
    connection.execute_batch("INSERT INTO t VALUES (3)").unwrap();
    assert!(!seen.operations.lock().unwrap().is_empty());
    connection.close().unwrap();
    seen.operations.lock().unwrap().clear();
    assert_eq!(count(&open(&root)), 4);
    assert_eq!(*seen.operations.lock().unwrap(), [""; 0]);
}

#[test]
fn a_watch_that_panics_is_a_device_that_fails() {
    let directory = tempfile::tempdir().unwrap();
    let _watched = foldlog_vfs::watch(directory.path(), Arc::new(Seen::default())).unwrap();
    let connection = open(&directory.path().canonicalize().unwrap());
    let panics = std::thread::Builder::new().name("panics".to_owned());
    let failed =
        panics.spawn(move || connection.execute_batch("INSERT INTO t VALUES (2)").map_err(|error| error.to_string()));
    assert!(failed.unwrap().join().unwrap().unwrap_err().contains("disk I/O error"));
}
