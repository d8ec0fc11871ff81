//! Goal: a sweep removes what no event names and nothing else, says what it did, and no event comes to name what was
//! swept. Method: blobs that are named, unnamed and new; stores beside the one that sweeps; steps that are held and
//! that fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foldlog::testkit::{Call, Fault, Faults, Group, Port, Sweeping};
use foldlog::{BlobRef, ErrorKind, Redact, Store, Sweep, UntypedStore, Verification};

use crate::common::*;

on_both_media!(
    a_sweep_removes_what_no_event_names_and_leaves_the_rest,
    a_dry_run_tells_the_same_and_removes_nothing,
    what_was_put_lately_stays_for_its_grace_time,
    a_blob_of_the_future_stays_for_a_grace_time_and_goes_without_one,
    an_append_that_names_a_listed_blob_is_refused_alone_until_the_blob_is_put_again,
    a_store_beside_names_no_blob_that_was_swept_though_it_knew_the_blob,
    an_append_that_was_checked_before_a_sweep_and_commits_after_it_is_refused,
    a_sweep_that_fails_is_ended_by_the_next_one,
    what_a_sweep_left_listed_is_counted_once_by_the_next_one,
    what_is_swept_while_it_is_verified_is_no_damage,
    a_sweep_that_nobody_waits_for_ends_and_leaves_nothing_listed,
    a_sweep_that_nobody_waits_for_ends_within_a_shelf,
    a_store_that_closes_ends_its_sweep,
);

fn now() -> Sweep {
    Sweep::default().grace(Duration::ZERO)
}

async fn watched(disk: &TestDisk) -> (Faults, Store<Tally>) {
    let faults = Faults::default();
    let store = disk.try_open_model(|config| *config = faults.watch(config.clone())).await.unwrap();
    (faults, store)
}

async fn put(store: &Store<Tally>, text: &str) -> BlobRef {
    store.put_text(text).await.unwrap()
}

async fn is_there(store: &Store<Tally>, blob: BlobRef) -> bool {
    store.get_bytes(blob.digest).await.is_ok()
}

/// Whether a call is the commit of a step of a sweep.
fn does(step: Sweeping) -> impl Fn(&Call) -> bool + Send + 'static {
    move |call| matches!(call, Call::Commit { group } if group.contains(&Group::Sweep(step)))
}

async fn a_sweep_removes_what_no_event_names_and_leaves_the_rest(disk: TestDisk) {
    let store: Store<Tally> = disk.open_model().await;
    let session = store.open_session("s").await.unwrap();
    let (named, unnamed) = (put(&store, "named").await, put(&store, "nobody names this").await);
    append(&session, TallyBody::Attached(named)).await.unwrap();
    let told = Arc::new(AtomicU64::new(0));
    let progress = Arc::clone(&told);
    let sweep = now().on_progress(move |so_far| progress.store(so_far.removed, Ordering::SeqCst));
    let swept = store.sweep(sweep).await.unwrap();
    assert_eq!((swept.removed, swept.removed_bytes, swept.in_grace, swept.referenced), (1, 17, 0, 1));
    assert_eq!(told.load(Ordering::SeqCst), 1);
    assert!(is_there(&store, named).await && !is_there(&store, unnamed).await);
    assert_refused!(append(&session, TallyBody::Attached(unnamed)).await, ErrorKind::DanglingRef { .. });
    let verification = store.verify().await.unwrap();
    assert!(verification.is_sound() && verification.orphans == 0, "{verification}");
    assert_eq!(put(&store, "nobody names this").await, unnamed);
    append(&session, TallyBody::Attached(unnamed)).await.unwrap();
    assert_eq!(store.sweep(now()).await.unwrap().removed, 0);
    store.close().await.unwrap();
}

async fn a_dry_run_tells_the_same_and_removes_nothing(disk: TestDisk) {
    let store: Store<Tally> = disk.open_model().await;
    let unnamed = put(&store, "unnamed").await;
    let told = store.sweep(now().dry_run()).await.unwrap();
    assert_eq!((told.removed, told.removed_bytes), (1, 7));
    assert!(is_there(&store, unnamed).await);
    assert_eq!(store.verify().await.unwrap().orphans, 1);
    // A store that only reads tells the same, and which blobs.
    let named = Arc::new(std::sync::Mutex::new(Vec::new()));
    let each = |sweep: Sweep| {
        let named = Arc::clone(&named);
        sweep.on_removed(move |digest, bytes| named.lock().unwrap().push((digest, bytes)))
    };
    let reading = UntypedStore::open(disk.config()).await.unwrap();
    assert_eq!(reading.sweep_dry_run(each(now())).await.unwrap(), told);
    assert!(is_there(&store, unnamed).await);
    assert_eq!(store.sweep(each(now().dry_run())).await.unwrap(), told);
    assert_eq!(told.to_string(), "1 blob of 7 bytes would be removed, 0 left for their grace time, 0 named");
    let swept = store.sweep(each(now())).await.unwrap();
    assert_eq!((swept.removed, swept.removed_bytes, swept.in_grace, swept.referenced), (1, 7, 0, 0));
    assert_eq!(swept.to_string(), "1 blob of 7 bytes removed, 0 left for their grace time, 0 named");
    assert_eq!(*named.lock().unwrap(), [(unnamed.digest, 7); 3]);
    reading.close().await.unwrap();
    store.close().await.unwrap();
}

async fn what_was_put_lately_stays_for_its_grace_time(disk: TestDisk) {
    let store: Store<Tally> = disk.open_model().await;
    let unnamed = put(&store, "unnamed").await;
    let swept = store.sweep(Sweep::default()).await.unwrap();
    assert_eq!((swept.removed, swept.in_grace, swept.in_grace_bytes), (0, 1, 7));
    assert!(is_there(&store, unnamed).await);
    store.close().await.unwrap();
}

/// The system's clock was set back since the blob was put. In memory blobs go by another clock.
async fn a_blob_of_the_future_stays_for_a_grace_time_and_goes_without_one(disk: TestDisk) {
    let store: Store<Tally> = disk.open_model().await;
    let unnamed = put(&store, "unnamed").await;
    if let Some(path) = disk.path() {
        let shelves = std::fs::read_dir(path.join("blobs")).unwrap().map(|shelf| shelf.unwrap().path());
        let files = shelves.filter(|shelf| shelf.is_dir()).flat_map(|shelf| std::fs::read_dir(shelf).unwrap());
        let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        assert_eq!(files.len(), 1);
        let later = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(7_000_000_000);
        std::fs::File::options().write(true).open(&files[0]).unwrap().set_modified(later).unwrap();
    }
    let kept = store.sweep(Sweep::default().grace(Duration::from_secs(3600))).await.unwrap();
    assert_eq!((kept.removed, kept.in_grace), (0, 1));
    assert_eq!(store.sweep(now()).await.unwrap().removed, 1);
    assert!(!is_there(&store, unnamed).await);
    store.close().await.unwrap();
}

/// The blob is listed and there: the sweep is held before it removes.
async fn an_append_that_names_a_listed_blob_is_refused_alone_until_the_blob_is_put_again(disk: TestDisk) {
    let store: Store<Tally> = disk.open_model().await;
    let (faults, sweeper) = watched(&disk).await;
    let (session, other) = (store.open_session("s").await.unwrap(), store.open_session("other").await.unwrap());
    let blob = put(&store, "unnamed").await;
    // The commit that removes, after the listing and the scan that follows it.
    let mut listed = faults.hold_where(Port::Commit, does(Sweeping::Remove));
    let sweep = sweeping(sweeper.clone(), now());
    soon(listed.reached()).await;
    // A held commit of another store holds no lock.
    let refused = session.append(TallyBody::Attached(blob)).unwrap();
    let beside = other.append(TallyBody::Added(1)).unwrap();
    assert_refused!(soon(refused).await, ErrorKind::DanglingRef { digest } if *digest == blob.digest);
    soon(beside).await.unwrap();
    assert_head(&session, 0).await;
    // Put again, it is on the list no more, and the append is taken though the sweep has not ended.
    assert_eq!(put(&store, "unnamed").await, blob);
    soon(append(&session, TallyBody::Attached(blob))).await.unwrap();
    listed.release();
    assert_eq!(sweep.join().unwrap().unwrap().removed, 0);
    assert!(is_there(&store, blob).await);
    store.close().await.unwrap();
    sweeper.close().await.unwrap();
}

/// A sweep on a thread of the test.
fn sweeping(store: Store<Tally>, sweep: Sweep) -> std::thread::JoinHandle<Result<foldlog::Swept, foldlog::Error>> {
    std::thread::spawn(move || futures::executor::block_on(store.sweep(sweep)))
}

async fn a_store_beside_names_no_blob_that_was_swept_though_it_knew_the_blob(disk: TestDisk) {
    let (store, sweeper): (Store<Tally>, Store<Tally>) = (disk.open_model().await, disk.open_model().await);
    let session = store.open_session("s").await.unwrap();
    let (kept, swept) = (put(&store, "kept").await, put(&store, "swept").await);
    append(&session, TallyBody::Attached(kept)).await.unwrap();
    assert_eq!(sweeper.sweep(now()).await.unwrap().removed, 1);
    assert_refused!(append(&session, TallyBody::Attached(swept)).await, ErrorKind::DanglingRef { .. });
    append(&session, TallyBody::Attached(kept)).await.unwrap();
    assert_head(&session, 2).await;
    assert_eq!(put(&store, "swept").await, swept);
    append(&session, TallyBody::Attached(swept)).await.unwrap();
    assert!(is_there(&sweeper, swept).await);
    store.close().await.unwrap();
    sweeper.close().await.unwrap();
}

/// The session has looked at the blob, and its commit is held until the whole sweep has ended.
async fn an_append_that_was_checked_before_a_sweep_and_commits_after_it_is_refused(disk: TestDisk) {
    let (faults, store) = watched(&disk).await;
    let sweeper: Store<Tally> = disk.open_model().await;
    let (session, other) = (store.open_session("s").await.unwrap(), store.open_session("other").await.unwrap());
    append(&other, TallyBody::Added(1)).await.unwrap();
    append(&session, TallyBody::Added(1)).await.unwrap();
    let blob = put(&store, "unnamed").await;
    let mut held = faults.hold_where(Port::Commit, |call| {
        matches!(call, Call::Commit { group } if group.iter().any(|write| matches!(write, Group::Append { .. })))
    });
    let checked = session.append(TallyBody::Attached(blob)).unwrap();
    soon(held.reached()).await;
    assert_eq!(sweeper.sweep(now()).await.unwrap().removed, 1);
    held.release();
    assert_refused!(soon(checked).await, ErrorKind::DanglingRef { digest } if *digest == blob.digest);
    append(&session, TallyBody::Added(2)).await.unwrap();
    append(&other, TallyBody::Added(3)).await.unwrap();
    assert_head(&session, 2).await;
    store.close().await.unwrap();
    sweeper.close().await.unwrap();
}

async fn a_sweep_that_fails_is_ended_by_the_next_one(disk: TestDisk) {
    let (faults, store) = watched(&disk).await;
    let session = store.open_session("s").await.unwrap();
    let mut referenced = 0;
    for (number, fault) in [Fault::DiskFull, Fault::CommitLost, Fault::CommitKept].into_iter().enumerate() {
        for nth in 1..=4 {
            let blob = put(&store, &format!("unnamed {number} {nth}")).await;
            faults.fail_nth(Port::Commit, nth, fault);
            let failed = store.sweep(now()).await;
            faults.clear();
            // A step that was written though its commit had failed is asked for by the next sweep again.
            assert!(failed.is_err(), "{fault:?} at the step {nth}: {failed:?}");
            if nth > 1 || fault == Fault::CommitKept {
                assert_refused!(append(&session, TallyBody::Attached(blob)).await, ErrorKind::DanglingRef { .. });
            }
            let was_there = is_there(&store, blob).await;
            // The second step is the one that removes.
            assert_eq!(was_there, nth < 2 || nth == 2 && fault != Fault::CommitKept, "{fault:?} at the step {nth}");
            let swept = store.sweep(now()).await.unwrap();
            let removed = if was_there { (1, blob.bytes) } else { (0, 0) };
            assert_eq!((swept.removed, swept.removed_bytes), removed, "{fault:?} at the step {nth}");
            assert_eq!((swept.referenced, swept.in_grace, swept.in_grace_bytes), (referenced, 0, 0));
            assert!(!is_there(&store, blob).await);
            assert_eq!(put(&store, &format!("unnamed {number} {nth}")).await, blob);
            append(&session, TallyBody::Attached(blob)).await.unwrap();
            referenced += 1;
        }
    }
    assert!(store.verify().await.unwrap().is_sound());
    store.close().await.unwrap();
}

async fn what_a_sweep_left_listed_is_counted_once_by_the_next_one(disk: TestDisk) {
    let (faults, store) = watched(&disk).await;
    let beside: Store<Tally> = disk.open_model().await;
    let session = beside.open_session("s").await.unwrap();
    let named = put(&beside, "named").await;
    // Named after the log was read and before it is listed; and then the sweep fails to take it off the list.
    let mut held = faults.hold_where(Port::Commit, does(Sweeping::List));
    let sweep = sweeping(store.clone(), now());
    soon(held.reached()).await;
    append(&session, TallyBody::Attached(named)).await.unwrap();
    faults.fail_nth(Port::Commit, 2, Fault::DiskFull);
    held.release();
    sweep.join().unwrap().unwrap_err();
    faults.clear();
    let swept = store.sweep(now()).await.unwrap();
    assert_eq!((swept.referenced, swept.removed, swept.in_grace), (1, 0, 0));
    // Listed by a sweep that fails to remove it, and left by one with a grace time.
    let unnamed = put(&store, "unnamed").await;
    faults.fail_nth(Port::Commit, 2, Fault::DiskFull);
    store.sweep(now()).await.unwrap_err();
    faults.clear();
    let swept = store.sweep(Sweep::default()).await.unwrap();
    assert_eq!((swept.referenced, swept.removed, swept.in_grace, swept.in_grace_bytes), (1, 0, 1, 7));
    assert!(is_there(&store, named).await && is_there(&store, unnamed).await);
    store.close().await.unwrap();
    beside.close().await.unwrap();
}

/// Verifies, and lets something happen when the blob was found, by its name or by a reference, and is not read yet.
async fn verify_while(
    faults: &Faults,
    store: &Store<Tally>,
    blob: BlobRef,
    meanwhile: impl Future<Output = ()>,
) -> Verification {
    let is_read = move |call: &Call| matches!(call, Call::GetBlob { digest } if *digest == blob.digest);
    let mut held = faults.hold_where(Port::GetBlob, is_read);
    let verified = store.clone();
    let found = std::thread::spawn(move || futures::executor::block_on(verified.verify()));
    soon(held.reached()).await;
    meanwhile.await;
    assert_eq!(store.sweep(now()).await.unwrap().removed, 1);
    held.release();
    found.join().unwrap().unwrap()
}

async fn what_is_swept_while_it_is_verified_is_no_damage(disk: TestDisk) {
    let (faults, store) = watched(&disk).await;
    let unnamed = put(&store, "unnamed").await;
    let found = verify_while(&faults, &store, unnamed, async {}).await;
    assert!(found.is_sound(), "{:?}", found.problems);
    assert_eq!((found.blobs, found.orphans), (0, 0));

    let redacted = store.open_session("redacted").await.unwrap();
    let (blob, kept) = (put(&store, "of an event that is redacted").await, put(&store, "kept").await);
    append(&redacted, TallyBody::Attached(kept)).await.unwrap();
    append(&redacted, TallyBody::Listed(vec![blob])).await.unwrap();
    let redact = async {
        let order = Redact::new([at(2)]).replace(|_| TallyBody::Listed(Vec::new()));
        soon(redacted.redact(order)).await.unwrap();
    };
    let found = verify_while(&faults, &store, blob, redact).await;
    assert!(found.is_sound(), "{:?}", found.problems);
    assert_eq!((found.sessions, found.blobs, found.orphans), (1, 1, 0));

    let deleted = store.open_session("deleted").await.unwrap();
    let blob = put(&store, "of a session that is deleted").await;
    append(&deleted, TallyBody::Attached(blob)).await.unwrap();
    let delete = async { soon(store.delete_session("deleted")).await.unwrap() };
    let found = verify_while(&faults, &store, blob, delete).await;
    assert!(found.is_sound(), "{:?}", found.problems);
    assert_eq!((found.sessions, found.blobs, found.orphans), (1, 1, 0));
    assert!(store.verify().await.unwrap().is_sound());
    store.close().await.unwrap();
}

/// Begins a sweep, drops its future at the first step that removes, and waits until the sweep has ended.
async fn sweep_and_drop(faults: &Faults, store: &Store<Tally>) {
    let mut held = faults.hold_where(Port::Commit, does(Sweeping::Remove));
    let (dropped, waits) = (store.sweep(now()), held.reached());
    {
        let mut dropped = std::pin::pin!(dropped);
        until_woken_or(dropped.as_mut(), waits).await;
    }
    held.release();
    // What was removed left the list, or is there.
    eventually("the sweep ends", || {
        let commits = faults.operations();
        commits.iter().any(|done| does(Sweeping::Unlist)(&done.call))
    })
    .await;
}

async fn a_sweep_that_nobody_waits_for_ends_and_leaves_nothing_listed(disk: TestDisk) {
    let (faults, store) = watched(&disk).await;
    let session = store.open_session("s").await.unwrap();
    let blobs = [put(&store, "one").await, put(&store, "two").await, put(&store, "three").await];
    sweep_and_drop(&faults, &store).await;
    for (text, blob) in ["one", "two", "three"].into_iter().zip(blobs) {
        if !is_there(&store, blob).await {
            assert_eq!(put(&store, text).await, blob);
        }
        append(&session, TallyBody::Attached(blob)).await.unwrap();
    }
    store.close().await.unwrap();
}

/// All blobs are in one shelf, and are removed in three steps.
async fn a_sweep_that_nobody_waits_for_ends_within_a_shelf(disk: TestDisk) {
    let (faults, store) = watched(&disk).await;
    let session = store.open_session("s").await.unwrap();
    let mut blobs = Vec::new();
    let texts = (0..).map(|n| format!("text {n}"));
    for text in texts.filter(|text| blake3::hash(text.as_bytes()).as_bytes()[0] == 7).take(130) {
        blobs.push(put(&store, &text).await);
    }
    sweep_and_drop(&faults, &store).await;
    let removals = faults.operations().iter().filter(|done| does(Sweeping::Remove)(&done.call)).count();
    assert_eq!(removals, 1, "it went on after nobody waited for it");
    // The rest is on no list, and is left to the next one.
    let mut left = Vec::new();
    for blob in blobs {
        if is_there(&store, blob).await {
            left.push(blob);
        }
    }
    assert_eq!(left.len(), 66);
    append(&session, TallyBody::Attached(left[0])).await.unwrap();
    assert_eq!(store.sweep(now()).await.unwrap().removed, 65);
    assert!(store.verify().await.unwrap().is_sound());
    store.close().await.unwrap();
}

/// Polls the first until the second is done, and drops the first.
async fn until_woken_or<A: Future, B: Future>(first: std::pin::Pin<&mut A>, second: B) {
    let second = std::pin::pin!(second);
    drop(soon(futures::future::select(first, second)).await);
}

async fn a_store_that_closes_ends_its_sweep(disk: TestDisk) {
    let (faults, store) = watched(&disk).await;
    put(&store, "unnamed").await;
    let mut held = faults.hold_where(Port::Commit, does(Sweeping::List));
    let sweep = sweeping(store.clone(), now());
    soon(held.reached()).await;
    let closing = store.clone();
    let closed = std::thread::spawn(move || futures::executor::block_on(closing.close()));
    held.release();
    soon(async { closed.join().unwrap() }).await.unwrap();
    // Ended in time, or told that the store closes.
    if let Err(error) = sweep.join().unwrap() {
        assert!(matches!(error.kind(), ErrorKind::StoreClosed), "{error}");
    }
    let store: Store<Tally> = disk.open_model().await;
    store.sweep(now()).await.unwrap();
    assert!(store.verify().await.unwrap().is_sound());
    store.close().await.unwrap();
}
