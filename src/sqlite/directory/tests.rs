//! Goal: stores that open, close and die on one directory at once never take each other's names, temporaries or locks.
//! Method: lock handles of one process conflict like those of several, so threads stand for processes; a dead store is
//! what it leaves: files that nobody has locked.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::sqlite::blobs::fault::FaultyFiles;
use crate::sqlite::files::OsFiles;
use crate::sqlite::owner_file::{host_name, owner_file_text};

const SINCE: Timestamp = Timestamp::from_micros(1_700_000_000_000_001);

fn open(path: &Path) -> StoreDirectory {
    StoreDirectory::open(Arc::new(OsFiles), path, SINCE).unwrap()
}

fn names(path: PathBuf) -> Vec<String> {
    fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Ends a store as `kill -9` does: the kernel closes its files, and nothing is removed.
fn kill(directory: StoreDirectory) {
    directory.released.store(true, Ordering::SeqCst);
}

/// What a killed store leaves.
fn leave_dead_owner(root: &Path) -> OwnerId {
    let owner = OwnerId::random().unwrap();
    fs::write(root.join(OWNERS).join(owner.as_str()), "process 1\n").unwrap();
    leave_temporaries(root, &owner);
    owner
}

fn leave_temporaries(root: &Path, owner: &OwnerId) {
    let tmp = root.join(TMP).join(owner.as_str());
    fs::create_dir(&tmp).unwrap();
    fs::write(tmp.join("0"), "half a blob").unwrap();
}

#[test]
fn a_directory_is_made_with_its_parents_for_its_owners_eyes_only_and_durably() {
    let outer = tempfile::tempdir().unwrap();
    let (root, files) = (outer.path().join("a/b/store"), FaultyFiles::default());
    let directory = StoreDirectory::open(Arc::new(files.clone()), &root, SINCE).unwrap();
    let events_db = directory.events_db();
    directory.create_private_file(&events_db).unwrap();
    directory.create_private_file(&events_db).unwrap();

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let me = directory.me().to_string();
    for path in ["a", "a/b", "a/b/store", "a/b/store/blobs", "a/b/store/tmp", "a/b/store/owners"] {
        assert_eq!(mode(&outer.path().join(path)), 0o700, "{path}");
    }
    assert_eq!(mode(directory.tmp()), 0o700);
    for path in [root.join("LOCK"), root.join(OWNERS).join(&me), events_db] {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    assert_eq!(fs::read_to_string(root.join(OWNERS).join(&me)).unwrap(), owner_file_text(&directory.info));

    // Every name but those of the owner, which are garbage after a power cut, is synced by its parent after it was
    // made.
    let operations = files.take_operations();
    for (at, (name, path)) in operations.iter().enumerate() {
        if name.starts_with("create") && path.file_name().unwrap() != me.as_str() {
            let synced = ("sync_directory", path.parent().unwrap().to_owned());
            assert!(operations[at..].contains(&synced), "{} is never synced: {operations:?}", path.display());
        }
    }
}

#[test]
fn a_directory_that_exists_keeps_its_mode_and_its_files() {
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(root.path().join("events.db"), "data").unwrap();
    let directory = open(root.path());
    directory.create_private_file(&directory.events_db()).unwrap();
    assert_eq!(fs::metadata(root.path()).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::read(directory.events_db()).unwrap(), b"data");
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error_with_its_path() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = Error::from(StoreDirectory::open(Arc::new(OsFiles), &path, SINCE).unwrap_err());
        assert!(matches!(error.kind(), ErrorKind::Io { path: named, .. } if *named == path), "{error}");
    }
}

#[test]
fn an_open_that_fails_anywhere_leaves_nothing_that_hinders_the_next() {
    let mut failed = 0;
    for skipped in 0.. {
        let outer = tempfile::tempdir().unwrap();
        let (root, files) = (outer.path().join("store"), FaultyFiles::default());
        fs::create_dir(&root).unwrap();
        for name in [TMP, OWNERS] {
            fs::create_dir(root.join(name)).unwrap();
        }
        leave_dead_owner(&root);
        files.fail_after(skipped, io::ErrorKind::StorageFull);
        match StoreDirectory::open(Arc::new(files.clone()), &root, SINCE) {
            Ok(directory) => drop(directory),
            Err(error) => {
                failed += 1;
                assert!(matches!(Error::from(error).kind(), ErrorKind::DiskFull));
            }
        }
        let met = !files.disarm();
        drop(open(&root));
        assert_eq!((names(root.join(TMP)), names(root.join(OWNERS))), (vec![], vec![]), "operation {skipped}");
        if !met {
            break;
        }
    }
    assert!(failed >= 7, "{failed}");
}

#[test]
fn an_owner_is_alive_until_its_store_is_dropped() {
    let root = tempfile::tempdir().unwrap();
    let (one, other) = (open(root.path()), open(root.path()));
    let id = one.me().to_string();
    let alive = Liveness::Alive(OwnerInfo {
        id: id.clone(),
        process: std::process::id(),
        host: host_name(),
        since: SINCE,
        in_this_process: true,
    });
    assert_eq!(one.liveness(&id).unwrap(), alive);
    assert_eq!(other.liveness(&id).unwrap(), alive);
    drop(one);
    assert_eq!(other.liveness(&id).unwrap(), Liveness::Dead);
    assert_eq!(names(root.path().join(OWNERS)), [other.me().as_str()]);
    assert_eq!(names(root.path().join(TMP)), [other.me().as_str()]);
    for id in ["", "..", "../LOCK", "0123456789abcdef0123456789abcdef"] {
        assert_eq!(other.liveness(id).unwrap(), Liveness::Dead, "{id}");
    }
}

#[test]
fn an_owner_is_dead_however_many_others_look_at_it_and_clear_it_at_once() {
    let root = tempfile::tempdir().unwrap();
    let directory = open(root.path());
    for _ in 0..50 {
        let owner = leave_dead_owner(root.path());
        std::thread::scope(|scope| {
            for n in 0..8 {
                let (directory, owner) = (&directory, &owner);
                scope.spawn(move || {
                    if n == 0 {
                        directory.clear_dead_owners().unwrap();
                    }
                    for _ in 0..20 {
                        assert_eq!(directory.liveness(owner.as_str()).unwrap(), Liveness::Dead);
                    }
                });
            }
        });
    }
}

#[test]
fn an_open_clears_what_dead_owners_left_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let living = open(root.path());
    fs::write(living.tmp().join("0"), "half a blob").unwrap();
    leave_dead_owner(root.path());
    leave_temporaries(root.path(), &OwnerId::random().unwrap());
    for name in [OWNERS, TMP] {
        fs::write(root.path().join(name).join("notes.txt"), "not foldlog's").unwrap();
    }

    drop(open(root.path()));
    for name in [OWNERS, TMP] {
        let mut left = names(root.path().join(name));
        left.sort();
        assert_eq!(left, [living.me().to_string(), "notes.txt".to_owned()]);
    }
    assert!(living.tmp().join("0").exists());
}

#[test]
fn stores_that_open_close_and_die_at_once_keep_their_names_and_temporaries() {
    let root = tempfile::tempdir().unwrap();
    let living = Mutex::new(Vec::<OwnerId>::new());
    drop(open(root.path()));
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                for _ in 0..12 {
                    let directory = open(root.path());
                    let temporary = directory.tmp().join("0");
                    fs::write(&temporary, "half a blob").unwrap();
                    living.lock().unwrap().push(directory.me().clone());
                    let killed = open(root.path());
                    let dead = killed.me().clone();
                    fs::write(killed.tmp().join("0"), "half a blob").unwrap();
                    kill(killed);
                    assert_eq!(directory.liveness(dead.as_str()).unwrap(), Liveness::Dead);
                    for id in living.lock().unwrap().iter() {
                        assert!(matches!(directory.liveness(id.as_str()).unwrap(), Liveness::Alive(_)));
                    }
                    assert!(temporary.exists());
                    assert!(has_name(&directory.owner_file, &directory.owner_path(directory.me())));
                    living.lock().unwrap().retain(|id| id != directory.me());
                    let (me, last) = (directory.me().clone(), open(root.path()));
                    drop(directory);
                    assert_eq!(last.liveness(me.as_str()).unwrap(), Liveness::Dead);
                }
            });
        }
    });
    drop(open(root.path()));
    assert_eq!((names(root.path().join(TMP)), names(root.path().join(OWNERS))), (vec![], vec![]));
}

/// A file is ready once it exists; creating it takes long enough for others to get in the way.
fn lock_or_create(directory: &StoreDirectory, inside: &AtomicUsize, created: &AtomicUsize) {
    let ready = directory.events_db();
    directory
        .lock_shared_or_create(
            || Ok::<_, DirectoryError>(ready.exists()),
            || {
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two create at once");
                created.fetch_add(1, Ordering::SeqCst);
                std::thread::yield_now();
                assert!(!ready.exists());
                directory.create_private_file(&ready)?;
                inside.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            },
        )
        .unwrap();
    assert!(ready.exists());
}

#[test]
fn of_many_stores_that_open_a_new_directory_at_once_one_creates_it_and_all_share_it() {
    for _ in 0..5 {
        let root = tempfile::tempdir().unwrap();
        let (inside, created) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let directories: Vec<_> = (0..16).map(|_| open(root.path())).collect();
        let start = std::sync::Barrier::new(directories.len());
        std::thread::scope(|scope| {
            for directory in directories {
                let (start, inside, created, root) = (&start, &inside, &created, &root);
                scope.spawn(move || {
                    start.wait();
                    lock_or_create(&directory, inside, created);
                    // All hold it together here, or this would wait for ever.
                    start.wait();
                    let exclusive = File::open(root.path().join("LOCK")).unwrap().try_lock();
                    assert!(matches!(exclusive, Err(TryLockError::WouldBlock)));
                    start.wait();
                });
            }
        });
        assert_eq!(created.load(Ordering::SeqCst), 1);
        File::open(root.path().join("LOCK")).unwrap().try_lock().expect("all have let go");
    }
}

#[test]
fn a_directory_that_became_ready_before_the_exclusive_lock_was_free_is_not_created_again() {
    let root = tempfile::tempdir().unwrap();
    let mut looks = 0;
    let is_ready = || {
        looks += 1;
        Ok::<_, DirectoryError>(looks > 1)
    };
    open(root.path()).lock_shared_or_create(is_ready, || panic!("created again")).unwrap();
    assert_eq!(looks, 3);
}

#[test]
fn a_store_that_is_released_lets_go_of_its_locks_even_if_a_child_process_has_copies_of_them() {
    let root = tempfile::tempdir().unwrap();
    let files = FaultyFiles::default();
    let (one, other) = (StoreDirectory::open(Arc::new(files.clone()), root.path(), SINCE).unwrap(), open(root.path()));
    one.lock_shared_or_create(|| Ok::<_, DirectoryError>(true), || unreachable!()).unwrap();
    let _of_child = (one.owner_file.try_clone().unwrap(), one.lock.try_clone().unwrap());

    // Not even the failure to remove the owner file keeps its owner alive.
    files.fail_after(1, io::ErrorKind::Other);
    one.release().unwrap_err();
    assert!(root.path().join(OWNERS).join(one.me().as_str()).exists());
    assert_eq!(other.liveness(one.me().as_str()).unwrap(), Liveness::Dead);
    File::open(root.path().join("LOCK")).unwrap().try_lock().unwrap();
}

#[test]
fn a_creation_that_fails_lets_go_of_the_lock_and_the_next_store_creates() {
    let root = tempfile::tempdir().unwrap();
    let (one, other) = (open(root.path()), open(root.path()));
    let fail = || Err::<(), _>(DirectoryError::Busy { what: "the test", path: PathBuf::new() });
    one.lock_shared_or_create(|| Ok(false), fail).unwrap_err();
    let (inside, created) = (AtomicUsize::new(0), AtomicUsize::new(0));
    lock_or_create(&other, &inside, &created);
    assert_eq!(created.load(Ordering::SeqCst), 1);
}

#[test]
fn a_store_that_must_migrate_while_another_is_open_gives_up_and_says_so() {
    let root = tempfile::tempdir().unwrap();
    let (older, newer) = (open(root.path()), open(root.path()));
    older.lock_shared_or_create(|| Ok::<_, DirectoryError>(true), || unreachable!()).unwrap();
    let refused = newer.try_lock_shared_or_create(3, || Ok::<_, DirectoryError>(false), || unreachable!());
    let error = Error::from(refused.unwrap_err());
    assert!(matches!(error.kind(), ErrorKind::Unavailable { .. }), "{error}");

    older.release().unwrap();
    let mut migrated = 0;
    newer
        .lock_shared_or_create(|| Ok::<_, DirectoryError>(std::mem::replace(&mut migrated, 1) == 1), || Ok(()))
        .unwrap();
}

/// Or the program would be told to send its call to another process, which is itself.
#[test]
fn an_owner_that_leaves_is_of_this_process_for_as_long_as_it_is_alive() {
    let root = tempfile::tempdir().unwrap();
    let watcher = open(root.path());
    for _ in 0..300 {
        let leaving = open(root.path());
        let me = leaving.me().to_string();
        std::thread::scope(|scope| {
            scope.spawn(|| drop(leaving));
            while let Liveness::Alive(owner) = watcher.liveness(&me).unwrap() {
                assert!(owner.in_this_process);
            }
        });
    }
}

/// It shares the open files, and a lock belongs to the open file.
#[test]
fn a_child_by_fork_gives_up_nothing_of_its_parents() {
    let root = tempfile::tempdir().unwrap();
    let parent = open(root.path());
    let (me, file, tmp) = (parent.me().as_str().to_owned(), parent.owner_path(parent.me()), parent.tmp().to_owned());
    let parents = std::cell::Cell::new(Some(parent));
    let ended = foldlog_vfs::ends_well_in_a_forked_child(|| {
        let inherited = parents.take().unwrap();
        inherited.release().unwrap();
        drop(inherited);
    });
    assert!(ended.unwrap() && file.exists() && tmp.exists());
    let other = open(root.path());
    assert!(matches!(other.liveness(&me).unwrap(), Liveness::Alive(owner) if owner.in_this_process));
    drop(parents.take());
    assert_eq!(other.liveness(&me).unwrap(), Liveness::Dead);
}
