//! Goal: a backup that is cut off anywhere is never taken for a whole one, an earlier backup survives it, and the next
//! one goes on. Method: each operation on the disk of the copy fails in turn; the power is cut after each; the process
//! is killed at each step. `FOLDLOG_FAULTS=1` and `FOLDLOG_CUTS=n` are the long forms, as in `failing_disk` and
//! `power_cut`.

use super::*;
use foldlog::testkit::{DiskError, Lasting, PowerCuts, SyncOf, TestDisk as FaultyDisk};
use foldlog::{Error, ErrorKind};
use std::sync::Arc;

type Wholes = BTreeMap<String, Whole>;

/// A store that stands still, at two moments, and the finished backup of the first.
struct Fixture {
    places: Places,
    first: Wholes,
    second: Wholes,
}

impl Fixture {
    async fn new() -> Self {
        let places = Places::new();
        let store = open(&StoreConfig::directory(places.path("store"))).await;
        fill(&store, 1).await;
        soon(store.backup(places.path("b"))).await.unwrap();
        let first = whole_of(&places.path("b")).await;
        fill(&store, 2).await;
        soon(store.close()).await.unwrap();
        let second = whole_of(&places.path("store")).await;
        assert_ne!(first, second);
        Self { places, first, second }
    }

    /// The store, its copies made through a disk.
    async fn source(&self, disk: &FaultyDisk) -> ReadOnlyStore<Tally> {
        let config = disk.beside(self.places.path("store"));
        soon(Store::<Tally>::open_model_read_only(config)).await.unwrap()
    }

    fn put_first_backup(&self, to: &Path) {
        copy_directory(&self.places.path("b"), to);
    }
}

/// What a directory is: `None` if a store refuses it as unfinished, or if nothing is there.
async fn what_is(path: &Path) -> Result<Option<Wholes>, String> {
    match Store::<Tally>::open_model_read_only(StoreConfig::directory(path)).await {
        Ok(store) => {
            let verification = store.verify().await.map_err(|error| error.to_string())?;
            if let Some(problem) = verification.problems.first() {
                return Err(problem.to_string());
            }
            let found = whole(&store).await;
            store.close().await.map_err(|error| error.to_string())?;
            Ok(Some(found))
        }
        Err(error) if is_refused_by_name(&error) => {
            // The same for a store that would write, which must make nothing there either.
            let twin = tempfile::tempdir().map_err(|error| error.to_string())?;
            copy_directory(path, twin.path());
            match Store::<Tally>::open_model(StoreConfig::directory(twin.path())).await {
                Err(error) if is_refused_by_name(&error) => Ok(None),
                Err(error) => Err(format!("refused as something else: {error}")),
                Ok(store) => {
                    let sessions = store.list_sessions(None, 1).await.map_err(|error| error.to_string())?;
                    drop(store.close().await);
                    // Before the mark is durable there is nothing.
                    let is_empty = sessions.is_empty()
                        && (!path.exists() || files_below(path).iter().all(|it| it.ends_with("LOCK")));
                    if is_empty { Ok(None) } else { Err("an unfinished copy became a store".to_owned()) }
                }
            }
        }
        Err(error) => Err(format!("refused as something else: {error}")),
    }
}

fn is_refused_by_name(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::UnsuitablePlace { reason } => reason.contains("was not finished"),
        ErrorKind::NoStore { .. } => true,
        _ => false,
    }
}

fn assert_typed(error: &Error, what: &str) {
    let allowed = matches!(
        error.kind(),
        ErrorKind::DiskFull | ErrorKind::Io { .. } | ErrorKind::Unavailable { .. } | ErrorKind::UnsuitablePlace { .. }
    );
    assert!(allowed, "{what}: {error:?}");
}

/// Fails each operation of a backup into a directory that `prepare` has made, and looks at what is left.
async fn each_operation_fails(
    prepare: impl Fn(&Fixture, &Path),
    is_allowed: impl Fn(&Fixture, Option<&Wholes>) -> bool,
) {
    let fixture = Fixture::new().await;
    let long = number_of("FOLDLOG_FAULTS").is_some();
    let mut injected = 0;
    let errors = [DiskError::Full, DiskError::Device, DiskError::ReadOnly];
    let faults = errors.iter().flat_map(|error| [(*error, Lasting::Once), (*error, Lasting::UntilCleared)]);
    for (number, (error, lasting)) in faults.enumerate() {
        let apart = if long { 1 } else { 7 };
        for after in (number..).step_by(apart) {
            let disk = FaultyDisk::volatile().unwrap();
            let to = disk.path().join("copy");
            prepare(&fixture, &to);
            let source = fixture.source(&disk).await;
            disk.fail(after as u64, error, lasting);
            let outcome = soon(source.backup(&to)).await;
            let met = disk.clear();
            let what = format!("{error:?} {lasting:?} after {after}, met by {met:?}");
            if let Err(error) = &outcome {
                assert_typed(error, &what);
            }
            let left = soon(what_is(&to)).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            match outcome {
                Ok(_) => assert_eq!(left.as_ref(), Some(&fixture.second), "{what}"),
                Err(_) => assert!(is_allowed(&fixture, left.as_ref()), "{what}"),
            }
            soon(source.backup(&to)).await.unwrap_or_else(|error| panic!("{what}, and then: {error}"));
            assert_eq!(soon(what_is(&to)).await.unwrap().as_ref(), Some(&fixture.second), "{what}");
            soon(source.close()).await.unwrap();
            injected += met.len();
            if met.is_empty() {
                break;
            }
        }
    }
    println!("{injected} faults");
    assert!(injected > 30);
}

#[actix::test]
async fn a_first_backup_on_a_failing_disk_is_no_backup_or_a_whole_one() {
    let is_allowed = |fixture: &Fixture, left: Option<&Wholes>| left.is_none_or(|left| *left == fixture.second);
    each_operation_fails(|_, _| (), is_allowed).await;
}

#[actix::test]
async fn a_later_backup_on_a_failing_disk_leaves_the_one_before_or_a_whole_one() {
    let is_allowed = |fixture: &Fixture, left: Option<&Wholes>| {
        left.is_some_and(|left| [&fixture.first, &fixture.second].contains(&left))
    };
    each_operation_fails(|fixture, to| fixture.put_first_backup(to), is_allowed).await;
}

fn cuts() -> PowerCuts<Tally> {
    let long = number_of("FOLDLOG_CUTS");
    let cuts = PowerCuts::new(TallyBody::Added(1)).seed(seed()).mixed(long.unwrap_or(1));
    if long.is_some() { cuts } else { cuts.cuts_max(70) }
}

/// Two backups, the second of a store that has gone on, into a directory of the disk.
async fn two_backups(cuts: PowerCuts<Tally>) -> foldlog::testkit::PowerCutReport {
    let places = Places::new();
    let store_path = places.path("store");
    let store = open(&StoreConfig::directory(&store_path)).await;
    fill(&store, 1).await;
    let states = Arc::new(std::sync::Mutex::new(vec![whole_of(&store_path).await]));
    let noted = Arc::clone(&states);
    let scenario = async |disk: &FaultyDisk, done: &dyn Fn()| {
        let beside = Store::<Tally>::open_model_read_only(disk.beside(&store_path)).await?;
        beside.backup(disk.path()).await?;
        done();
        fill(&store, 2).await;
        let second = whole_of(&store_path).await;
        noted.lock().unwrap().push(second);
        beside.backup(disk.path()).await?;
        done();
        beside.close().await
    };
    let check = |path: &Path, done: u64| {
        let left = futures::executor::block_on(what_is(path))?;
        let states = states.lock().unwrap();
        let is_right = match (&left, done) {
            (None, 0) => true,
            (Some(left), 0) => *left == states[0],
            (Some(left), 1) => states.contains(left),
            (Some(left), _) => *left == states[1],
            (None, _) => false,
        };
        if is_right { Ok(()) } else { Err(format!("after {done} backups: {:?}", left.map(|left| left.len()))) }
    };
    let report = cuts.run_steps(scenario, check).await.unwrap();
    soon(store.close()).await.unwrap();
    report
}

#[actix::test]
async fn a_power_cut_at_any_moment_of_two_backups_leaves_each_that_was_answered_and_no_half_one() {
    let report = two_backups(cuts()).await;
    println!("{report}");
    assert_eq!(report.losses, [], "{report}");
}

#[actix::test]
async fn each_sync_that_a_backup_leaves_out_is_missed() {
    for kind in [SyncOf::Database, SyncOf::BlobFile, SyncOf::BlobDirectory, SyncOf::StoreDirectory] {
        let report = two_backups(cuts().without(kind)).await;
        println!("without {kind:?}: {} of {} disks lose something", report.lost, report.images);
        assert!(report.lost > 0, "nobody misses the syncs of {kind:?}");
    }
}
