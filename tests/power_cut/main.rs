//! Goal: a power cut at any moment loses nothing that was acknowledged. Method: run a scenario on a disk that records
//! every operation, rebuild the disk as it could be after a cut at each of them, open a store on it, and look. Then
//! leave out one kind of sync after the other, and see each missed.
//!
//! The short form tries every cut of one scenario and some of the others, which the seed chooses. `FOLDLOG_CUTS=n` is
//! the long form: n mixtures of what was not synced at each cut, and every cut, but for scenarios with thousands of
//! operations, of which it tries n times as many cuts as the short form. `FOLDLOG_SEED` chooses the mixtures and the
//! cuts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

#[path = "../common/mod.rs"]
mod common;
mod controls;
mod scenarios;

use common::{Tally, TallyBody, number_of, seed};
use foldlog::testkit::{PowerCutReport, PowerCuts};
use foldlog::{Durability, Error, StoreConfig};

/// The mixtures of the long form.
fn long_form() -> Option<u64> {
    number_of("FOLDLOG_CUTS")
}

/// How many mixtures are tried at each cut.
fn mixed(default: u64) -> u64 {
    long_form().unwrap_or(default)
}

/// For scenarios with so many operations that every cut would take minutes.
fn cuts_max(default: usize) -> usize {
    long_form().map_or(default, |times| times as usize * default)
}

/// Some of the cuts in the short form, every one in the long form.
fn cuts_of(short: usize) -> PowerCuts<Tally> {
    cuts().cuts_max(if long_form().is_some() { usize::MAX } else { short })
}

/// How many syncs lie between two that are failed: in the long form each is.
fn syncs_apart(short: usize) -> usize {
    if long_form().is_some() { 1 } else { short }
}

fn cuts() -> PowerCuts<Tally> {
    PowerCuts::new(TallyBody::Added(1)).seed(seed()).mixed(mixed(2))
}

fn nothing_lost(what: &str, report: &PowerCutReport) {
    println!("{what}: {report}");
    assert_eq!(report.losses, [], "{report}");
    assert_eq!(report.events_given_up, 0);
    assert!(report.events_checked > 0, "nothing was looked for");
}

#[actix::test]
async fn a_power_cut_at_any_moment_of_appends_batches_and_blobs_loses_nothing_acknowledged() {
    nothing_lost("appends", &cuts().run(scenarios::appends_batches_and_blobs).await.unwrap());
}

#[actix::test]
async fn a_power_cut_at_any_moment_of_sweeps_loses_no_blob_that_an_event_names() {
    nothing_lost("sweeps", &cuts_of(150).run(scenarios::sweeps).await.unwrap());
}

#[actix::test]
async fn a_power_cut_at_any_moment_of_describes_loses_nothing_acknowledged() {
    nothing_lost("describes", &cuts_of(120).run(scenarios::describes).await.unwrap());
}

#[actix::test]
async fn a_power_cut_at_any_moment_around_checkpoints_loses_nothing_acknowledged() {
    nothing_lost(
        "checkpoints",
        &cuts().mixed(mixed(1)).cuts_max(cuts_max(50)).run(scenarios::checkpoints).await.unwrap(),
    );
}

#[actix::test]
async fn a_power_cut_at_any_moment_of_many_sessions_loses_nothing_acknowledged() {
    nothing_lost("many sessions", &cuts_of(60).run(scenarios::many_sessions).await.unwrap());
}

#[actix::test]
async fn a_power_cut_at_any_moment_of_closing_and_reopening_loses_nothing_acknowledged() {
    nothing_lost("reopening", &cuts_of(80).run(scenarios::stores_one_after_the_other).await.unwrap());
}

#[actix::test]
async fn a_power_cut_at_any_moment_of_a_migration_loses_nothing_acknowledged() {
    nothing_lost("migration", &cuts_of(120).run(scenarios::a_migration).await.unwrap());
}

#[actix::test]
async fn a_power_cut_at_any_moment_of_deletions_loses_nothing_of_others_and_brings_nothing_back() {
    nothing_lost("deletions", &cuts_of(80).run(scenarios::deletions).await.unwrap());
}

#[actix::test]
async fn a_power_cut_at_any_moment_of_a_retention_and_of_giving_room_back_loses_nothing_of_others() {
    let cuts = cuts().mixed(mixed(1)).cuts_max(cuts_max(50));
    nothing_lost("retention", &cuts.run(scenarios::retention).await.unwrap());
}

#[actix::test]
async fn a_power_cut_at_any_moment_of_redactions_loses_nothing_and_brings_no_byte_back() {
    nothing_lost("redactions", &cuts_of(80).run(scenarios::redactions).await.unwrap());
}

#[actix::test]
async fn a_sync_that_fails_while_events_are_redacted_and_a_power_cut_after_it_bring_nothing_back() {
    let failed = each_sync_fails(syncs_apart(9), 10, async |config| {
        // It goes as far as it comes.
        drop(scenarios::redactions(config).await);
        Ok(())
    })
    .await;
    assert!(failed > 3);
}

#[actix::test]
async fn a_sync_that_fails_while_sessions_are_deleted_and_a_power_cut_after_it_bring_nothing_back() {
    let failed = each_sync_fails(syncs_apart(9), 10, async |config| {
        // It goes as far as it comes.
        drop(scenarios::deletions(config).await);
        Ok(())
    })
    .await;
    assert!(failed > 3);
}

/// Nothing of a view is synced but the row that names its file: one that is gone, empty, or half there is not used, and
/// its log is folded.
#[actix::test]
async fn a_power_cut_at_any_moment_of_storing_views_loses_nothing_acknowledged() {
    let report = cuts_of(60).run(scenarios::stored_views).await.unwrap();
    nothing_lost("views", &report);
    assert!(report.snapshot_fallbacks > 0, "no disk lost a view: {report}");
}

#[actix::test]
async fn a_power_cut_at_any_moment_of_two_stores_on_one_directory_loses_nothing_acknowledged() {
    nothing_lost("two stores", &cuts_of(80).run(scenarios::two_stores_at_once).await.unwrap());
}

#[actix::test]
async fn at_the_level_of_process_crashes_a_power_cut_leaves_a_prefix() {
    let cuts = cuts_of(80).durability(Durability::ProcessCrash);
    let report = cuts.run(scenarios::appends_batches_and_blobs).await.unwrap();
    println!("process crash: {report}, {} given up", report.events_given_up);
    assert_eq!(report.losses, [], "{report}");
    // The events that this level may lose are noticed, so a loss at the other level would be, too.
    assert!(report.events_given_up > 0);
}

/// The kernel may drop pages that it could not write, and count them as written: a later sync proves nothing.
#[actix::test]
async fn a_sync_that_fails_and_a_power_cut_after_it_lose_nothing_acknowledged() {
    let failed = each_sync_fails(syncs_apart(4), cuts_max(10), scenarios::appends_that_may_fail).await;
    assert!(failed > 10);
}

#[actix::test]
async fn a_sync_of_a_checkpoint_that_fails_and_a_power_cut_after_it_lose_nothing_acknowledged() {
    let failed = each_sync_fails(syncs_apart(8), 10, scenarios::checkpoints_that_may_fail).await;
    assert!(failed > 2);
}

/// SQLite does not copy again what it has counted as copied, whether that was synced or not.
#[actix::test]
async fn a_sync_that_fails_after_a_reader_held_a_checkpoint_back_and_a_power_cut_lose_nothing_acknowledged() {
    let failed = each_sync_fails(syncs_apart(9), 10, scenarios::a_checkpoint_in_two_parts).await;
    assert!(failed > 5);
}

/// Lets the syncs of a scenario fail, one at a time.
async fn each_sync_fails(
    apart: usize,
    cuts_max: usize,
    scenario: impl AsyncFn(StoreConfig) -> Result<(), Error>,
) -> u64 {
    let (mut failed, mut cut_points, mut disks) = (0, 0, 0);
    for after in (0..).step_by(apart) {
        let cuts = cuts().mixed(0).cuts_max(cuts_max).failing_sync(after);
        let report = cuts.run(&scenario).await.unwrap();
        assert_eq!(report.losses, [], "sync {after} fails: {report}");
        if !report.sync_failed {
            break;
        }
        failed += 1;
        cut_points += report.cuts;
        disks += report.images;
    }
    println!("{failed} syncs failed, one at a time: {cut_points} cut points, {disks} disks rebuilt, 0 lost");
    failed
}
