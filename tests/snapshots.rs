//! Goal: a stored view is a cache. With it, without it, and with a damaged one, a session opens with the view that its
//! events give; it costs bounded disk, and writing it harms nothing.
//! Method: sessions that are closed and opened again after random numbers of events, with the smallest intervals, beside a
//! fold of all events by hand; files and rows that are damaged in every way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Tally, TallyBody, TestDisk, eventually};
use foldlog::agent::{Agent, AgentBody, Eval, Message, SessionInfo, Step, StepId, Turn, TurnId};
use foldlog::agent::{StepStatus, TurnStatus};
use foldlog::testkit::Dice;
use foldlog::{Condition, Event, EventId, Session, SessionModel, SnapshotPolicy, Store, StoreConfig};

/// A snapshot whenever one can be.
const EAGER: SnapshotPolicy =
    SnapshotPolicy { every_events: 1, every_bytes: 1, closing_events: 1, bytes_max: 64 << 20 };

fn eager(config: StoreConfig) -> StoreConfig {
    StoreConfig { snapshots: EAGER, page_events_max: 7, ..config }
}

async fn open<M: SessionModel>(disk: &TestDisk, change: impl FnOnce(&mut StoreConfig)) -> Store<M> {
    let mut config = eager(disk.config());
    change(&mut config);
    Store::open_model(config).await.unwrap()
}

/// The view that the events of a session give.
async fn folded<M: SessionModel>(session: &Session<M>) -> M::View {
    let mut view = M::View::default();
    let mut after = EventId::ZERO;
    loop {
        let page = session.events_after(after, 100).await.unwrap();
        let Some(last) = page.events.last() else { return view };
        after = last.id();
        for event in &page.events {
            M::apply(&mut view, event);
        }
    }
}

fn files_in(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for shard in std::fs::read_dir(directory.join("snapshots")).unwrap() {
        for file in std::fs::read_dir(shard.unwrap().path()).unwrap() {
            files.push(file.unwrap().path());
        }
    }
    files
}

fn agent_body(dice: &mut Dice) -> AgentBody {
    let n = dice.below(9);
    match dice.below(12) {
        0 => AgentBody::SessionStarted(SessionInfo { id: Some(format!("host {n}")), ..SessionInfo::default() }),
        1 => AgentBody::TurnStarted(Turn::default()),
        2 => AgentBody::TurnPut(Turn { id: TurnId::new(n + 1), status: TurnStatus::Final, ..Turn::default() }),
        3 => AgentBody::StepStarted(Step::default()),
        4 => AgentBody::StepPut(Step { id: StepId::new(n + 1), status: StepStatus::Done, ..Step::default() }),
        5 => AgentBody::EvalAdded(Eval { code: Some(format!("run({n})").into()), ..Eval::default() }),
        6 => AgentBody::VarsSnapshotted(format!("{{\"x\":{n}}}").into()),
        7 => AgentBody::SessionCompacted {
            vars: None,
            boundary: EventId::new(n),
            message: Message::system(format!("so far: {n}")),
        },
        _ => AgentBody::MessageAppended(Message::user("a".repeat(n as usize * 10))),
    }
}

fn tally_body(dice: &mut Dice) -> TallyBody {
    match dice.below(3) {
        0 => TallyBody::named(&format!("n{}", dice.below(100))),
        _ => TallyBody::Added(1 + dice.below(9)),
    }
}

/// Appends, closes and opens again, at random moments.
async fn agrees_with_its_events<M: SessionModel>(disk: &TestDisk, seed: u64, body: fn(&mut Dice) -> M::Body) {
    let mut dice = Dice::new(seed);
    let mut hits = 0;
    for _ in 0..12 {
        let store = open::<M>(disk, |config| config.snapshots.every_events = 1 + seed % 5).await;
        let session = store.open_session("s").await.unwrap();
        assert_eq!(*session.view().unwrap().state(), folded(&session).await, "seed {seed}, opened");
        let state = store.read_state("s").await.unwrap();
        assert_eq!(state.view, *session.view().unwrap(), "seed {seed}, read");
        for _ in 0..dice.below(30) {
            session.append(body(&mut dice)).unwrap().await.unwrap();
        }
        assert_eq!(*session.view().unwrap().state(), folded(&session).await, "seed {seed}, appended");
        store.close().await.unwrap();
        let stats = store.stats();
        assert_eq!(stats.snapshot_fallbacks, 0, "seed {seed}");
        hits += stats.snapshot_hits;
        if let Some(path) = disk.path() {
            assert!(files_in(&path).len() <= 1, "seed {seed}: one file a log");
        }
    }
    assert!(hits > 10, "seed {seed}: {hits}");
}

#[actix::test]
async fn a_stored_view_and_its_tail_are_the_fold_of_all_events() {
    for seed in 0..6 {
        for disk in [TestDisk::directory(), TestDisk::memory()] {
            agrees_with_its_events::<Agent>(&disk, seed, agent_body).await;
        }
        for disk in [TestDisk::directory(), TestDisk::memory()] {
            agrees_with_its_events::<Tally>(&disk, seed, tally_body).await;
        }
    }
}

/// A store with many sessions would not be done with theirs in time.
#[actix::test]
async fn a_session_that_is_closed_stores_its_view_and_a_store_that_closes_stores_none() {
    for disk in [TestDisk::directory(), TestDisk::memory()] {
        let store = open::<Agent>(&disk, |config| {
            config.snapshots = SnapshotPolicy { closing_events: 3, ..SnapshotPolicy::OFF };
        })
        .await;
        let mut dice = Dice::new(1);
        for (name, events, written) in [("short", 2, 0), ("long", 3, 1)] {
            let session = store.open_session(name).await.unwrap();
            for _ in 0..events {
                session.append(agent_body(&mut dice)).unwrap().await.unwrap();
            }
            session.close().await.unwrap();
            assert_eq!(store.stats().snapshots_written, written, "{name}");
        }
        let session = store.open_session("open").await.unwrap();
        for _ in 0..10 {
            session.append(agent_body(&mut dice)).unwrap().await.unwrap();
        }
        store.close().await.unwrap();
        assert_eq!(store.stats().snapshots_written, 1);
    }
}

/// A directory whose session `s` has 40 events, 30 of them in a snapshot, and the view of all.
async fn prepared() -> (TestDisk, PathBuf, foldlog::View<Agent>) {
    let disk = TestDisk::directory();
    let path = disk.path().unwrap();
    let mut dice = Dice::new(7);
    let store = open::<Agent>(&disk, |config| config.snapshots.every_events = u64::MAX).await;
    for name in ["s", "other"] {
        let session = store.open_session(name).await.unwrap();
        for _ in 0..30 {
            session.append(agent_body(&mut dice)).unwrap().await.unwrap();
        }
        session.close().await.unwrap();
    }
    store.close().await.unwrap();
    assert_eq!(files_in(&path).len(), 2);
    let store = open::<Agent>(&disk, |config| config.snapshots = SnapshotPolicy::OFF).await;
    let session = store.open_session("s").await.unwrap();
    for _ in 0..10 {
        session.append(agent_body(&mut dice)).unwrap().await.unwrap();
    }
    let view = foldlog::View::clone(&session.view().unwrap());
    store.close().await.unwrap();
    assert_eq!((store.stats().snapshot_hits, store.stats().snapshots_written), (1, 0));
    (disk, path, view)
}

/// Whatever `damage` does, the session opens with the same view, and goes on.
async fn falls_back(what: &str, damage: impl FnOnce(&Path)) {
    let (disk, path, view) = prepared().await;
    damage(&path);
    let store = open::<Agent>(&disk, |config| config.snapshots = SnapshotPolicy::OFF).await;
    assert_eq!(store.read_state("s").await.unwrap().view, view, "{what}");
    let session = store.open_session("s").await.unwrap();
    assert_eq!(*session.view().unwrap(), view, "{what}");
    assert_eq!((store.stats().snapshot_hits, store.stats().snapshot_fallbacks), (0, 2), "{what}");
    session.append(AgentBody::StopRequested).unwrap().await.unwrap();
    store.close().await.unwrap();
    // The next snapshot mends it.
    let store = open::<Agent>(&disk, |_| ()).await;
    let session = store.open_session("s").await.unwrap();
    session.append(AgentBody::MessageAppended(Message::user("x".repeat(9000)))).unwrap().await.unwrap();
    store.close().await.unwrap();
    let store = open::<Agent>(&disk, |_| ()).await;
    store.open_session("s").await.unwrap();
    assert_eq!((store.stats().snapshot_hits, store.stats().snapshot_fallbacks), (1, 0), "{what}");
    store.close().await.unwrap();
}

fn row_of_s(path: &Path, set: &str) {
    let database = rusqlite::Connection::open(path.join("events.db")).unwrap();
    let changed = database.execute(&format!("UPDATE snapshots SET {set} WHERE log_key = 1"), []).unwrap();
    assert_eq!(changed, 1);
}

fn each_file(path: &Path, change: impl Fn(&mut Vec<u8>)) {
    for file in files_in(path) {
        let mut bytes = std::fs::read(&file).unwrap();
        change(&mut bytes);
        std::fs::write(&file, bytes).unwrap();
    }
}

#[actix::test]
async fn a_file_that_is_gone_or_damaged_anywhere_is_not_used() {
    falls_back("gone", |path| files_in(path).iter().for_each(|file| std::fs::remove_file(file).unwrap())).await;
    falls_back("no directory", |path| {
        std::fs::remove_dir_all(path.join("snapshots")).unwrap();
    })
    .await;
    falls_back("empty", |path| each_file(path, Vec::clear)).await;
    falls_back("zeroed", |path| each_file(path, |bytes| bytes.fill(0))).await;
    falls_back("zeroed from the middle on", |path| each_file(path, |bytes| bytes[50..].fill(0))).await;
    falls_back("cut", |path| each_file(path, |bytes| bytes.truncate(bytes.len() - 1))).await;
    falls_back("longer", |path| each_file(path, |bytes| bytes.push(0))).await;
    for at in [0, 1, 5, 30, 60, 100] {
        falls_back(&format!("flipped at {at}"), |path| each_file(path, |bytes| bytes[at] ^= 1)).await;
    }
}

/// Even if nothing was appended since.
#[actix::test]
async fn a_damaged_file_is_replaced_by_the_next_view_that_is_due() {
    for damage in [Vec::clear, |bytes: &mut Vec<u8>| bytes.fill(0), |bytes: &mut Vec<u8>| bytes.truncate(70)] {
        let (disk, path, _) = prepared().await;
        each_file(&path, damage);
        for (hits, fallbacks, written) in [(0, 1, 1), (1, 0, 0)] {
            let store = open::<Agent>(&disk, |_| ()).await;
            let session = store.open_session("other").await.unwrap();
            assert_eq!(*session.view().unwrap().state(), folded(&session).await);
            // Claims the log, as an append would.
            drop(session.take_turn().await.unwrap());
            session.close().await.unwrap();
            store.close().await.unwrap();
            let stats = store.stats();
            let found = (stats.snapshot_hits, stats.snapshot_fallbacks, stats.snapshots_written);
            assert_eq!(found, (hits, fallbacks, written));
            assert_eq!(files_in(&path).len(), 2);
        }
    }
}

#[actix::test]
async fn a_row_that_is_damaged_or_leads_elsewhere_is_not_used() {
    let other = "SELECT digest FROM snapshots WHERE log_key = 2";
    for set in [
        "event_id = event_id - 1",
        "event_id = 1000",
        "event_id = -1",
        "chain = zeroblob(32)",
        "chain = zeroblob(3)",
        "digest = zeroblob(32)",
        "digest = zeroblob(0)",
        &format!("digest = ({other})"),
        "view_schema = view_schema + 1",
        "view_schema = 70000",
        "schema = schema + 1",
    ] {
        falls_back(set, |path| row_of_s(path, set)).await;
    }
    // All of another log's row.
    falls_back("another log's", |path| {
        let columns = ["event_id", "chain", "digest", "bytes"];
        let from = |column: &str| format!("{column} = (SELECT {column} FROM snapshots WHERE log_key = 2)");
        row_of_s(path, &columns.map(from).join(", "));
    })
    .await;
}

/// Changes the bytes of every stored view, and lets its row and its name agree with them.
fn forge(path: &Path, change: impl Fn(&mut Vec<u8>)) {
    let database = rusqlite::Connection::open(path.join("events.db")).unwrap();
    for file in files_in(path) {
        let mut bytes = std::fs::read(&file).unwrap();
        let old = blake3::hash(&bytes);
        std::fs::remove_file(&file).unwrap();
        change(&mut bytes);
        let new = blake3::hash(&bytes);
        let shard = path.join("snapshots").join(&new.to_hex()[..2]);
        std::fs::create_dir_all(&shard).unwrap();
        std::fs::write(shard.join(new.to_hex().as_str()), &bytes).unwrap();
        let set = "UPDATE snapshots SET digest = ?2, chain = ?3, event_id = ?4 WHERE digest = ?1";
        let event = i64::from_le_bytes(bytes[21..29].try_into().unwrap());
        let changed = database.execute(set, (old.as_bytes(), new.as_bytes(), &bytes[37..69], event)).unwrap();
        assert_eq!(changed, 1);
    }
}

#[actix::test]
async fn a_file_that_its_row_agrees_with_and_the_log_does_not_is_not_used() {
    falls_back("other events", |path| forge(path, |bytes| bytes[40] ^= 1)).await;
    falls_back("an event before", |path| forge(path, |bytes| bytes[21] -= 1)).await;
    falls_back("an event that is not there yet", |path| forge(path, |bytes| bytes[21] = 200)).await;
    falls_back("another log", |path| forge(path, |bytes| bytes[6] ^= 1)).await;
    falls_back("another view schema", |path| forge(path, |bytes| bytes[1] ^= 1)).await;
    falls_back("no view", |path| forge(path, |bytes| bytes.truncate(bytes.len() - 1))).await;
}

/// Adds numbers; what it does with views depends on the sum.
struct Brittle;

/// Whether a view of 50 is taken from its bytes: another build might not.
static TAKES_50: AtomicBool = AtomicBool::new(true);

#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Add(u64);

impl SessionModel for Brittle {
    const NAME: &'static str = "brittle";
    const SCHEMA: u16 = 1;
    type Body = Add;
    type View = u64;
    type Counters = ();
    type Transient = ();

    fn event_type(_: &Add) -> &'static str {
        "add"
    }

    fn apply(sum: &mut u64, event: &Event<Self>) {
        *sum += event.body().0;
    }

    fn encode_view(sum: &u64) -> Option<Vec<u8>> {
        assert_ne!(*sum, 100, "this view panics when it is encoded");
        foldlog::encode_view(sum)
    }

    fn decode_view(bytes: foldlog::Bytes) -> Result<u64, foldlog::DecodeError> {
        let sum = foldlog::decode_view(&bytes)?;
        assert!(sum != 50 || TAKES_50.load(Ordering::SeqCst), "this view panics when it is decoded");
        match sum {
            70 => Ok(71),
            80 => Err(foldlog::DecodeError::Unknown),
            _ => Ok(sum),
        }
    }

    fn decode(_: &str, _: u16, bytes: &[u8]) -> Result<Add, foldlog::DecodeError> {
        foldlog::decode_body(bytes)
    }
}

#[actix::test]
async fn a_model_that_panics_over_the_bytes_of_a_view_loses_nothing() {
    for disk in [TestDisk::directory(), TestDisk::memory()] {
        TAKES_50.store(true, Ordering::SeqCst);
        let store = open::<Brittle>(&disk, |config| config.snapshots.every_events = u64::MAX).await;
        store.open_session("s").await.unwrap().append(Add(50)).unwrap().await.unwrap();
        store.close().await.unwrap();
        assert_eq!(store.stats().snapshots_written, 1);
        TAKES_50.store(false, Ordering::SeqCst);
        let store = open::<Brittle>(&disk, |config| config.snapshots.every_events = u64::MAX).await;
        let session = store.open_session("s").await.unwrap();
        assert_eq!((*session.view().unwrap().state(), store.stats().snapshot_fallbacks), (50, 1));
        session.append(Add(50)).unwrap().await.unwrap();
        store.close().await.unwrap();
        assert_eq!(store.stats().snapshots_written, 0);
        let store = open::<Brittle>(&disk, |_| ()).await;
        assert_eq!(*store.open_session("s").await.unwrap().view().unwrap().state(), 100);
        store.close().await.unwrap();
        // A view that panics when it is decoded, one that does not decode, and one that comes back as another.
        for sum in [50, 80, 70] {
            let store = open::<Brittle>(&disk, |config| config.snapshots.every_events = u64::MAX).await;
            let session = store.open_session(format!("of {sum}")).await.unwrap();
            session.append(Add(sum)).unwrap().await.unwrap();
            store.close().await.unwrap();
            assert_eq!(store.stats().snapshots_written, 0, "{sum}");
            let store = open::<Brittle>(&disk, |_| ()).await;
            let session = store.open_session(format!("of {sum}")).await.unwrap();
            assert_eq!((*session.view().unwrap().state(), store.stats().snapshot_fallbacks), (sum, 0));
            store.close().await.unwrap();
        }
    }
}

/// Whether a view that stands before the log's last event is stored as if it were the last one's.
#[actix::test]
async fn a_session_that_cannot_be_folded_to_its_end_stores_no_view() {
    for disk in [TestDisk::directory(), TestDisk::memory()] {
        for _ in 0..2 {
            let store = open::<Tally>(&disk, |_| ()).await;
            let session = store.open_session("s").await.unwrap();
            if session.view().unwrap().head() == EventId::ZERO {
                session.append(TallyBody::Added(1)).unwrap().await.unwrap();
                session.append(TallyBody::Poisoned).unwrap().await.unwrap();
            }
            assert_eq!((session.view().unwrap().sum, session.view().unwrap().head()), (1, EventId::new(1)));
            assert_eq!(session.condition(), Condition::Unfoldable { event: EventId::new(2) });
            store.close().await.unwrap();
        }
    }
}

#[actix::test]
async fn a_view_that_cannot_be_stored_harms_no_append() {
    let disk = TestDisk::directory();
    let path = disk.path().unwrap();
    let store = open::<Agent>(&disk, |_| ()).await;
    std::fs::remove_dir(path.join("snapshots")).unwrap();
    std::fs::write(path.join("snapshots"), "in the way").unwrap();
    let session = store.open_session("s").await.unwrap();
    let mut dice = Dice::new(3);
    for _ in 0..50 {
        session.append(agent_body(&mut dice)).unwrap().await.unwrap();
    }
    store.close().await.unwrap();
    assert_eq!(store.stats().snapshots_written, 0);
}

#[actix::test]
async fn a_verification_counts_damaged_views_and_finds_damaged_rows() {
    let (disk, path, _) = prepared().await;
    let store = open::<Agent>(&disk, |_| ()).await;
    let found = store.verify().await.unwrap();
    assert!(found.is_sound(), "{:?}", found.problems);
    assert_eq!(found.snapshots, 2);
    let files = files_in(&path);
    std::fs::remove_file(&files[0]).unwrap();
    let found = store.verify().await.unwrap();
    assert!(found.is_sound(), "{:?}", found.problems);
    assert_eq!(found.snapshots, 1);
    std::fs::write(&files[1], "not a view").unwrap();
    let found = store.verify().await.unwrap();
    // A power cut leaves both: nothing is lost with them.
    assert!(found.is_sound(), "{:?}", found.problems);
    assert_eq!((found.snapshots, found.damaged_snapshots), (0, 1));
    // Of both, since either file may be that of `s`.
    let database = rusqlite::Connection::open(path.join("events.db")).unwrap();
    assert_eq!(database.execute("UPDATE snapshots SET chain = zeroblob(7)", []).unwrap(), 2);
    assert_eq!(store.verify().await.unwrap().problems.len(), 2);
    store.close().await.unwrap();
}

#[actix::test]
async fn files_that_a_crash_left_are_removed_by_the_next_store_that_comes_alone() {
    let (disk, path, view) = prepared().await;
    let named = files_in(&path);
    let orphan = named[0].with_file_name(format!("{}{}", &named[0].file_name().unwrap().to_str().unwrap()[..62], "00"));
    let new = named[1].with_file_name(format!("{}{}", &named[1].file_name().unwrap().to_str().unwrap()[..62], "00"));
    let one = open::<Agent>(&disk, |_| ()).await;
    std::fs::write(&orphan, "left by a crash").unwrap();
    std::fs::write(&new, "about to be named").unwrap();
    let later = named[1].metadata().unwrap().modified().unwrap() + std::time::Duration::from_secs(3600);
    std::fs::File::options().write(true).open(&new).unwrap().set_modified(later).unwrap();
    // Not alone.
    let other = open::<Agent>(&disk, |_| ()).await;
    assert_eq!(other.read_state("s").await.unwrap().view, view);
    assert!(orphan.exists());
    one.close().await.unwrap();
    other.close().await.unwrap();
    assert!(orphan.exists());
    let store = open::<Agent>(&disk, |_| ()).await;
    eventually("it is removed", || !orphan.exists()).await;
    store.close().await.unwrap();
    assert!(new.exists() && named.iter().all(|file| file.exists()));
}

#[actix::test]
async fn a_view_over_the_limit_is_not_stored_and_one_below_it_is() {
    for (bytes_max, expected) in [(2000, 0), (20_000, 1)] {
        let disk = TestDisk::directory();
        let store = open::<Agent>(&disk, |config| {
            config.snapshots = SnapshotPolicy { every_events: u64::MAX, bytes_max, ..EAGER };
            config.snapshots.every_bytes = u64::MAX;
        })
        .await;
        let session = store.open_session("s").await.unwrap();
        for _ in 0..5 {
            session.append(AgentBody::MessageAppended(Message::user("x".repeat(1000)))).unwrap().await.unwrap();
        }
        session.close().await.unwrap();
        store.close().await.unwrap();
        assert_eq!(store.stats().snapshots_written, expected);
        assert_eq!(files_in(&disk.path().unwrap()).len() as u64, expected);
    }
}

#[actix::test]
async fn two_stores_use_each_others_views() {
    for disk in [TestDisk::directory(), TestDisk::memory()] {
        let one = open::<Tally>(&disk, |_| ()).await;
        let other = open::<Tally>(&disk, |_| ()).await;
        let session = one.open_session("s").await.unwrap();
        for n in 1..=20 {
            session.append(TallyBody::Added(n)).unwrap().await.unwrap();
        }
        eventually("a view is stored", || one.stats().snapshots_written > 0).await;
        assert_eq!(other.read_state("s").await.unwrap().view, *session.view().unwrap());
        let taken = other.open_session("s").await.unwrap();
        taken.take_over().await.unwrap();
        taken.append(TallyBody::Added(100)).unwrap().await.unwrap();
        assert_eq!(*taken.view().unwrap().state(), folded(&taken).await);
        assert!(other.stats().snapshot_hits > 0);
        // The one that was robbed reads what the other wrote.
        assert_eq!(one.read_state("s").await.unwrap().view, *taken.view().unwrap());
        one.close().await.unwrap();
        other.close().await.unwrap();
    }
}

#[actix::test]
async fn an_append_key_from_before_a_stored_view_is_still_known() {
    for disk in [TestDisk::directory(), TestDisk::memory()] {
        let append = || foldlog::Append::new(TallyBody::Added(4)).key(foldlog::AppendKey::new("k").unwrap());
        let store = open::<Tally>(&disk, |_| ()).await;
        let session = store.open_session("s").await.unwrap();
        let first = session.append_with(append()).unwrap().await.unwrap();
        store.close().await.unwrap();
        let store = open::<Tally>(&disk, |_| ()).await;
        let session = store.open_session("s").await.unwrap();
        assert_eq!(store.stats().snapshot_hits, 1);
        let again = session.append_with(append()).unwrap().await.unwrap();
        assert!(again.repeated);
        assert_eq!((again.head, session.view().unwrap().head()), (first.head, first.head));
        store.close().await.unwrap();
    }
}

#[actix::test]
async fn equal_views_have_equal_digests_whatever_they_came_from() {
    let disk = TestDisk::directory();
    let mut dice = Dice::new(11);
    let store = open::<Agent>(&disk, |_| ()).await;
    let session = store.open_session("s").await.unwrap();
    for _ in 0..60 {
        session.append(agent_body(&mut dice)).unwrap().await.unwrap();
    }
    let live = session.view().unwrap().digest();
    assert!(live.is_some());
    store.close().await.unwrap();
    let store = open::<Agent>(&disk, |_| ()).await;
    assert_eq!(store.open_session("s").await.unwrap().view().unwrap().digest(), live);
    assert_eq!(store.stats().snapshot_hits, 1);
    store.close().await.unwrap();
}
