//! Goal: a stored view is a cache. With it, without it, and with a damaged one, a session opens with the view that its
//! events give; it costs bounded disk, and writing it harms nothing. Method: sessions that are closed and opened again
//! with the smallest intervals, beside a fold of all events by hand.

mod agreement;
mod bounds;
mod damage;
mod leftovers;
mod traps;

use std::path::{Path, PathBuf};

use foldlog::agent::{Agent, AgentBody, Eval, Message, SessionInfo, Step, StepId, Turn, TurnId};
use foldlog::agent::{StepStatus, TurnStatus};
use foldlog::testkit::Dice;
use foldlog::{ErrorKind, EventId, Session, SessionModel, SnapshotPolicy, Store, StoreConfig};

use crate::common::TestDisk;

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
            M::apply(&mut view, event.as_model().unwrap());
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

/// Appends the next body that the session accepts: one may name what is not there.
async fn append_one<M: SessionModel>(session: &Session<M>, dice: &mut Dice, body: fn(&mut Dice) -> M::Body) {
    loop {
        match session.append(body(dice)).unwrap().await {
            Err(error) if matches!(error.kind(), ErrorKind::BodyRefused { .. }) => {}
            appended => return drop(appended.unwrap()),
        }
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
            append_one(&session, &mut dice, agent_body).await;
        }
        session.close().await.unwrap();
    }
    store.close().await.unwrap();
    assert_eq!(files_in(&path).len(), 2);
    let store = open::<Agent>(&disk, |config| config.snapshots = SnapshotPolicy::OFF).await;
    let session = store.open_session("s").await.unwrap();
    for _ in 0..10 {
        append_one(&session, &mut dice, agent_body).await;
    }
    let view = foldlog::View::clone(&session.view().unwrap());
    store.close().await.unwrap();
    assert_eq!((store.stats().snapshot_hits, store.stats().snapshots_written), (1, 0));
    (disk, path, view)
}
