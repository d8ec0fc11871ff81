//! Goal: the explorer finds losses where there are any. Method: one kind of sync is left out, and disks lose something.

use super::{cuts, cuts_of, scenarios};
use foldlog::testkit::SyncOf;

#[actix::test]
async fn each_sync_that_is_left_out_is_missed() {
    let kinds = [SyncOf::WriteAheadLog, SyncOf::BlobFile, SyncOf::BlobDirectory, SyncOf::StoreDirectory];
    for kind in kinds {
        let report = cuts_of(40).without(kind).run(scenarios::appends_batches_and_blobs).await.unwrap();
        println!("without {kind:?}: {} of {} disks lose something", report.lost, report.images);
        assert!(report.lost > 0, "nobody misses the syncs of {kind:?}");
    }
}

/// A sweep that is committed and not synced removes files that the log after the cut says nothing of; a blob that is
/// put again needs the syncs that any other needs.
#[actix::test]
async fn each_sync_that_is_left_out_around_a_sweep_is_missed() {
    for kind in [SyncOf::WriteAheadLog, SyncOf::BlobFile, SyncOf::BlobDirectory] {
        let report = cuts_of(40).without(kind).run(scenarios::sweeps).await.unwrap();
        println!("sweeps without {kind:?}: {} of {} disks lose something", report.lost, report.images);
        assert!(report.lost > 0, "nobody misses the syncs of {kind:?}");
    }
}

/// Once the database is synced, the write-ahead log may be written from its beginning again.
#[actix::test]
async fn a_checkpoint_that_does_not_sync_the_database_is_missed() {
    let report = cuts().without(SyncOf::Database).cuts_max(50).run(scenarios::checkpoints).await.unwrap();
    println!("without the database's: {} of {} disks lose something", report.lost, report.images);
    assert!(report.lost > 0);
}
