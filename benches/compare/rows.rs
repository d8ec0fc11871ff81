//! All rows, by topic.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use crate::appends::{self, Keys, Load};
use crate::by_hand::{self, Inserts};
use crate::figures::thousands;
use crate::level::Level;
use crate::lifecycle::{Beside, Copied};
use crate::long::Long;
use crate::mix;
use crate::options::Options;
use crate::recorded::Recorded;
use crate::row::{Row, Topic};
use crate::subscribers::Subscribers;
use crate::{blobs, lifecycle, snapshots};
use foldlog::Durability::{PowerLoss, ProcessCrash};

/// All rows of a form, and what is left out.
pub(crate) async fn rows(options: &Options) -> (Vec<Row>, Vec<String>) {
    let mut rows = one_session(if options.short { 100_000 } else { 1_000_000 });
    rows.extend(many_sessions());
    rows.extend(lifecycle_rows(if options.short { 10 } else { 1 }));
    let mut left_out = Vec::new();
    match Recorded::read(&options.transcripts()).await {
        Some(recorded) => rows.push(recorded_runs(Arc::new(recorded))),
        None => left_out.push(format!("recorded runs: {} has none", options.transcripts().display())),
    }
    rows.extend(views());
    rows.extend(reopening());
    rows.extend(blob_rows());
    rows.extend(subscriber_rows());
    (rows, left_out)
}

const INSERT: &str = "insert per commit";

fn sessions(count: usize) -> String {
    match count {
        1 => "1 session, one in flight".to_owned(),
        1000 => "1,000 sessions, one in flight each".to_owned(),
        count => format!("{count} sessions, one in flight each"),
    }
}

fn many_sessions() -> Vec<Row> {
    let full = |count| move |timing| appends::append(Load::of(count, PowerLoss), timing);
    let normal = |count| move |timing| appends::append(Load::of(count, ProcessCrash), timing);
    let insert = |count, durability| {
        move |timing| async move { by_hand::insert(Inserts::one_by_one(count, durability), timing) }
    };
    let at_full = |count| Row::new(Topic::Appends, sessions(count), full(count), INSERT, insert(count, PowerLoss));
    let at_normal = |count| {
        Row::new(Topic::AppendsNormal, sessions(count), normal(count), INSERT, insert(count, ProcessCrash))
            .levels(Level::Normal, Level::Normal)
    };
    let keyed = |timing| appends::append(Load { keys: Keys::Each, ..Load::of(100, PowerLoss) }, timing);
    let by_messages = |timing| appends::append_by_messages(Load::of(100, PowerLoss), timing);
    vec![
        at_full(10),
        at_full(100).wanted(20.0).p99_wanted(20.0).sustained(),
        at_full(1000).wanted(30.0).sustained(),
        ceiling(100),
        ceiling(1000),
        at_normal(1),
        at_normal(10),
        at_normal(100),
        at_normal(1000),
        Row::new(Topic::AppendsNormal, sessions(100), full(100), INSERT, insert(100, ProcessCrash))
            .levels(Level::Full, Level::Normal)
            .wanted(7.0)
            .sustained(),
        Row::new(Topic::Features, sessions(100), full(100), "own NORMAL level", normal(100))
            .levels(Level::Full, Level::Normal)
            .wanted(0.95)
            .sustained(),
        Row::new(Topic::Features, sessions(100) + ", an append key each", keyed, "the same without keys", full(100))
            .wanted(0.9)
            .sustained(),
        Row::new(
            Topic::Features,
            "100 sessions, plain handles on multi-thread tokio",
            |timing| async move { appends::append_from_tokio(Load::of(100, PowerLoss), timing) },
            "actor messages on the arbiter",
            by_messages,
        )
        .wanted(0.8),
    ]
}

/// Beside a group commit by hand that has no queue to fill and no thread to wake: what SQLite could do at most with one
/// table and one index.
fn ceiling(count: usize) -> Row {
    let load = Load::of(count, PowerLoss);
    let reached = Rc::new(Cell::new(None));
    let ours = {
        let reached = Rc::clone(&reached);
        move |timing| {
            let reached = Rc::clone(&reached);
            async move {
                let sample = appends::append(load, timing).await;
                reached.set(sample.facts.get(appends::GROUP).map(|group| (group.round() as usize).clamp(2, count)));
                sample
            }
        }
    };
    let other = move |timing| {
        // Ours goes first in the first round.
        let transaction = reached.get().unwrap_or(count.div_ceil(2));
        let inserts = Inserts { transaction, ..Inserts::one_by_one(count, PowerLoss) };
        async move { by_hand::insert(inserts, timing).fact(appends::GROUP, transaction as f64) }
    };
    let beside = "hand-written transactions of the same group size";
    Row::new(Topic::Appends, sessions(count), ours, beside, other).sustained()
}

/// Smaller by `divisor` in the short form.
fn lifecycle_rows(divisor: u64) -> Vec<Row> {
    let events = 1_000_000 / divisor;
    let blobs = 100_000 / divisor;
    let row = |work: String, ours: Beside, other: Beside| {
        let beside = move |beside| move |timing| lifecycle::append(Load::of(100, PowerLoss), beside, timing);
        let what = format!("{}, while {work}", sessions(100));
        Row::new(Topic::Features, what, beside(ours), "the same without", beside(other)).p99_wanted(0.67)
    };
    let copied = Copied::new(events);
    let first = Arc::clone(&copied);
    let repeated = move |_| {
        let copied = Arc::clone(&copied);
        async move { copied.repeated().await }
    };
    let first = move |_| {
        let first = Arc::clone(&first);
        async move { first.first().await }
    };
    let none = Beside::Nothing { events };
    vec![
        row(format!("a session of {} events is erased", thousands(events)), Beside::Delete { events }, none)
            .wanted(0.95),
        row(format!("a backup copies {} events", thousands(events)), Beside::Backup { events }, none).wanted(0.9),
        row(
            format!("a sweep runs over {} blobs", thousands(blobs)),
            Beside::Sweep { blobs: blobs as usize },
            Beside::Nothing { events: 0 },
        )
        .wanted(0.9),
        Row::new(
            Topic::Features,
            format!("a repeated backup of {} events with 1 % new ones", thousands(events)),
            repeated,
            "the first backup",
            first,
        )
        .unit("backups")
        .wanted(10.0),
    ]
}

fn recorded_runs(recorded: Arc<Recorded>) -> Row {
    let by_hand = Arc::clone(&recorded);
    let ours = move |timing| {
        let recorded = Arc::clone(&recorded);
        async move { recorded.append(100, PowerLoss, timing).await }
    };
    let other = move |timing| {
        let recorded = Arc::clone(&by_hand);
        async move { recorded.insert(100, PowerLoss, timing) }
    };
    Row::new(
        Topic::Appends,
        "100 sessions replaying recorded runs, large values as blobs",
        ours,
        "insert per commit, all inline",
        other,
    )
    .wanted(10.0)
    .sustained()
}

fn one_session(long: u64) -> Vec<Row> {
    let alone = |timing| appends::append(Load::of(1, PowerLoss), timing);
    let pipelined = |timing| appends::append(Load { in_flight: 256, ..Load::of(1, PowerLoss) }, timing);
    let insert = |callers, transaction| {
        let inserts = Inserts { sessions: 1, callers, transaction, durability: PowerLoss };
        move |timing| async move { by_hand::insert(inserts, timing) }
    };
    let behind_spawn_blocking = |timing| by_hand::insert_behind_spawn_blocking(PowerLoss, timing);
    let long = Long::new(long, appends::message, std::convert::identity);
    let short = Arc::clone(&long);
    let events = thousands(long.events);
    vec![
        Row::new(Topic::Appends, sessions(1), alone, "insert per commit on the caller's thread", insert(1, 1))
            .wanted(1.0),
        Row::new(
            Topic::Appends,
            sessions(1),
            alone,
            "insert per commit behind spawn_blocking and a Mutex",
            behind_spawn_blocking,
        )
        .wanted(1.0),
        Row::new(Topic::Appends, "1 session, 256 in flight", pipelined, INSERT, insert(256, 1)).wanted(15.0),
        Row::new(
            Topic::Appends,
            "1 session, batches of 100",
            |timing| appends::append_batches(100, PowerLoss, timing),
            "hand-written transactions of 100",
            insert(1, 100),
        )
        .wanted(0.7),
        Row::new(
            Topic::Features,
            format!("append to a session of {events} events"),
            move |timing| {
                let long = Arc::clone(&long);
                async move { long.append(timing).await }
            },
            "to one of 10",
            move |timing| {
                let long = Arc::clone(&short);
                async move { long.append_to_a_short_one(timing).await }
            },
        )
        .wanted(1.0),
    ]
}

/// A side of a long session.
macro_rules! of {
    ($long:expr, $side:ident) => {{
        let long = Arc::clone(&$long);
        move |timing| {
            let long = Arc::clone(&long);
            async move { long.$side(timing).await }
        }
    }};
}

fn views() -> Vec<Row> {
    let long = Long::new(100_000, appends::message, std::convert::identity);
    let held = {
        let long = Arc::clone(&long);
        move |_| {
            let long = Arc::clone(&long);
            async move { long.longest_view_while_held().await }
        }
    };
    vec![
        Row::new(
            Topic::Views,
            "take the view of 100,000 messages during appends",
            of!(long, views_during_appends),
            "clone of a Vec of shared messages",
            of!(long, clone_vec),
        )
        .unit("views")
        .levels(Level::Full, Level::Memory)
        .wanted(1000.0),
        Row::new(
            Topic::Views,
            "longest wait for a view while a commit is held",
            held,
            "the 200 ms that it is held",
            |_| async { Long::held() },
        )
        .unit("waits")
        // Below a twentieth it did not wait for the commit; what is left is the scheduler's.
        .wanted(20.0),
    ]
}

fn reopening() -> Vec<Row> {
    let long = |events| Long::new(events, mix::body, snapshots::off);
    let (small, middle, large) = (long(10_000), long(30_000), long(100_000));
    let reopen = |long: &Arc<Long>| {
        let what = format!("reopen {} events, full fold, mixed with puts", thousands(long.events));
        let scan = of!(long, scan);
        Row::new(Topic::Opening, what, of!(long, reopen), "scan, decode and BLAKE3 of the same rows", scan)
    };
    let by_the_event = "reopen 100,000 events, by the event";
    let mut rows = vec![
        reopen(&large).wanted(0.7),
        reopen(&middle),
        reopen(&small),
        Row::new(Topic::Features, by_the_event, of!(large, reopen), "10,000 events", of!(small, reopen)).wanted(1.0),
    ];
    rows.extend([&large, &middle, &small].map(reopen_with_snapshot));
    rows
}

/// Beside the same events in a directory that has no snapshot.
fn reopen_with_snapshot(full: &Arc<Long>) -> Row {
    let with_snapshot = Long::new(full.events, mix::body, snapshots::on);
    let what = format!("reopen {} events with a snapshot", thousands(full.events));
    let row = Row::new(Topic::Opening, what, of!(with_snapshot, reopen), "own full fold", of!(full, reopen));
    if full.events == 100_000 { row.wanted(50.0) } else { row }
}

fn blob_rows() -> Vec<Row> {
    let row = |size: &str, bytes: usize| {
        let by_hand = move |timing| async move { blobs::write_one_by_one(bytes, timing) };
        Row::new(
            Topic::Blobs,
            format!("blobs of {size}, 64 at once"),
            move |timing| blobs::put(bytes, timing),
            "one after the other",
            by_hand,
        )
        .unit("blobs")
        .levels(Level::Synced, Level::Synced)
        .wanted(2.0)
    };
    vec![row("16 KiB", 16 << 10), row("1 MiB", 1 << 20)]
}

fn subscriber_rows() -> Vec<Row> {
    let row = |what: &str, load: Load, subscribers: Subscribers| {
        let none = move |timing| appends::append(load, timing);
        let followed = move |timing| appends::append(Load { subscribers, ..load }, timing);
        Row::new(Topic::Features, what, followed, "no subscriber", none).wanted(0.8)
    };
    vec![
        row("1 session with 100 subscribers, one in flight", Load::of(1, PowerLoss), Subscribers::OfOne(100)),
        row("100 sessions with a subscriber each, one in flight", Load::of(100, PowerLoss), Subscribers::OneEach),
        row("100 sessions with one feed of all, one in flight", Load::of(100, PowerLoss), Subscribers::Feed)
            .wanted(0.9),
    ]
}
