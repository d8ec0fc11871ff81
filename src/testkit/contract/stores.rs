//! The model in stores: in memory and in a directory.

use std::sync::Arc;

use crate::clock::{Clock, ManualClock};
use crate::config::StoreConfig;
use crate::error::{Error, ErrorKind};
use crate::id::{AppendKey, Digest, EventId};
use crate::model::{SessionModel, View};
use crate::port::{BlobError, BlobListing, BlobLook, BlobStore, OpenedMedium, Put, SweepCount};
use crate::session::{Append, Describe};
use crate::store::{Session, Store};
use crate::testkit::contract::pure::{AT, Folded, id_of, is_behind_own_event};
use crate::testkit::contract::{Claim, Dice, Finding, ensure};
use crate::testkit::layered::layered;
use crate::threads::Restart;

/// The most bodies with references that are tried against a store that has no blobs.
const DANGLING: usize = 8;

pub(super) fn check<M: SessionModel>(folded: &Folded<M>, dice: &mut Dice) -> Result<(), Finding> {
    futures::executor::block_on(async {
        on_medium(folded, dice, &StoreConfig::memory()).await?;
        let no_disk = |error| (Claim::OneView, format!("no temporary directory: {error}"));
        let directory = tempfile::tempdir().map_err(no_disk)?;
        on_medium(folded, dice, &StoreConfig::directory(directory.path())).await?;
        dangling(folded).await
    })
}

async fn on_medium<M: SessionModel>(folded: &Folded<M>, dice: &mut Dice, config: &StoreConfig) -> Result<(), Finding> {
    let mut config = config.clone();
    config.clock = Clock::Manual(ManualClock::new(AT));
    // The generator makes references up, so this blob store has every blob.
    config.medium =
        layered(config.medium, |opened| OpenedMedium { blobs: Arc::new(EveryBlob(opened.blobs)), ..opened });

    let store: Store<M> = Store::open_model(config.clone()).await.map_err(failed)?;
    let single = store.open_session("single").await.map_err(failed)?;
    for (number, body) in folded.bodies.iter().enumerate() {
        describe_ahead_of(number, &single).await?;
        append(&single, Append::new(body.clone())).await.map_err(failed)?;
    }
    one_view("appended one by one", &*view_of(&single)?, folded)?;
    let batched = store.open_session("batched").await.map_err(failed)?;
    let mut rest = folded.bodies.as_slice();
    while !rest.is_empty() {
        let begun = folded.bodies.len() - rest.len();
        describe_ahead_of(begun, &batched).await?;
        let most = rest.len().min(1 + dice.below(9) as usize);
        let count = (1..most).find(|count| is_behind_own_event(begun + count)).unwrap_or(most);
        let (batch, later) = rest.split_at(count);
        append(&batched, Append::batch(batch.to_vec())).await.map_err(failed)?;
        rest = later;
    }
    one_view("appended in batches", &*view_of(&batched)?, folded)?;
    keys_and_heads(&store, folded).await?;

    let restarted = match single.address() {
        Ok(address) => address.send(Restart).await.is_ok(),
        Err(error) => return Err(failed(error)),
    };
    ensure(restarted, Claim::OneView, || "the session's actor does not restart".to_owned())?;
    single.recovery().await.map_err(failed)?;
    one_view("after a restart", &*view_of(&single)?, folded)?;
    let other: Store<M> = Store::open_model(config.clone()).await.map_err(failed)?;
    let theirs = other.resume_session("batched").await.map_err(failed)?;
    one_view("in another store", &*view_of(&theirs)?, folded)?;
    other.close().await.map_err(failed)?;
    store.close().await.map_err(failed)?;

    let store: Store<M> = Store::open_model(config).await.map_err(failed)?;
    let again = store.resume_session("single").await.map_err(failed)?;
    one_view("after a reopening", &*view_of(&again)?, folded)?;
    let stored = store.read_state("batched").await.map_err(failed)?;
    one_view("read from the log", &stored.view, folded)?;
    store.close().await.map_err(failed)
}

/// Appends the event of foldlog's own that is ahead of a body, if there is one.
async fn describe_ahead_of<M: SessionModel>(body: usize, session: &Session<M>) -> Result<(), Finding> {
    if !is_behind_own_event(body) {
        return Ok(());
    }
    let describe = Describe::new().label("body", body.to_string());
    session.describe(describe).map_err(failed)?.await.map(drop).map_err(failed)
}

async fn append<M: SessionModel>(session: &Session<M>, append: Append<M>) -> Result<(EventId, bool), Error> {
    session.append_with(append)?.await.map(|appended| (appended.head, appended.repeated))
}

fn view_of<M: SessionModel>(session: &Session<M>) -> Result<Arc<View<M>>, Finding> {
    session.view().map_err(failed)
}

fn one_view<M: SessionModel>(when: &str, view: &View<M>, folded: &Folded<M>) -> Result<(), Finding> {
    let head = folded.bodies.len().checked_sub(1).map_or(EventId::ZERO, id_of);
    let described = (0..folded.bodies.len()).rfind(|body| is_behind_own_event(*body)).map(|body| body.to_string());
    ensure(view.core().labels.get("body") == described.as_ref(), Claim::OneView, || {
        format!("{when} the labels are {:?}", view.core().labels)
    })?;
    ensure(view.head() == head, Claim::OneView, || format!("{when} the view is at {}, not {head}", view.head()))?;
    ensure(*view.state() == folded.view, Claim::OneView, || {
        format!("{when} the view is {:?}, and not {:?}", view.state(), folded.view)
    })
}

async fn keys_and_heads<M: SessionModel>(store: &Store<M>, folded: &Folded<M>) -> Result<(), Finding> {
    let Some(body) = folded.bodies.first() else { return Ok(()) };
    let session = store.open_session("keyed").await.map_err(failed)?;
    let key = AppendKey::new("contract").map_err(failed)?;
    let keyed = || Append::new(body.clone()).key(key.clone());
    let (head, _) = append(&session, keyed()).await.map_err(failed)?;
    let retried = append(&session, keyed()).await;
    ensure(matches!(&retried, Ok((again, true)) if *again == head), Claim::AppendKeys, || {
        format!("a retry of {body:?} gives {retried:?}")
    })?;
    let view = view_of(&session)?;
    let stale = append(&session, Append::new(body.clone()).expect_head(EventId::new(head.get() + 7))).await;
    let is_refused = matches!(&stale, Err(error) if matches!(error.kind(), ErrorKind::HeadMoved { .. }));
    let after = view_of(&session)?;
    ensure(is_refused && *view == *after, Claim::StaleHeads, || format!("a stale head gives {stale:?}"))
}

/// A store that has no blobs refuses every body that names one.
async fn dangling<M: SessionModel>(folded: &Folded<M>) -> Result<(), Finding> {
    let store: Store<M> = Store::open_model(StoreConfig::memory()).await.map_err(failed)?;
    let session = store.open_session("dangling").await.map_err(failed)?;
    let references = |body: &&M::Body| {
        let mut count = 0;
        M::blob_refs(body, &mut |_| count += 1);
        count > 0
    };
    for body in folded.bodies.iter().filter(references).take(DANGLING) {
        let answer = append(&session, Append::new(body.clone())).await;
        let is_refused = matches!(&answer, Err(error) if matches!(error.kind(), ErrorKind::DanglingRef { .. }));
        ensure(is_refused, Claim::DanglingRefs, || format!("{body:?} gives {answer:?}"))?;
    }
    store.close().await.map_err(failed)
}

fn failed(error: Error) -> Finding {
    (Claim::OneView, format!("a store says: {error}"))
}

/// A blob store that claims to have every blob.
struct EveryBlob(Arc<dyn BlobStore>);

impl BlobStore for EveryBlob {
    fn put(&self, bytes: &[u8]) -> Result<Put, BlobError> {
        self.0.put(bytes)
    }

    fn get(&self, digest: &Digest) -> Result<Vec<u8>, BlobError> {
        self.0.get(digest)
    }

    fn ensure_durable(&self, _: &Digest, _: u64) -> Result<bool, BlobError> {
        Ok(true)
    }

    fn is_known_durable(&self, _: &Digest, _: u64) -> bool {
        true
    }

    fn inspect(&self, digest: &Digest) -> Result<u64, BlobError> {
        self.0.inspect(digest)
    }

    fn remove(&self, digest: &Digest) -> Result<(), BlobError> {
        self.0.remove(digest)
    }

    fn forget(&self, digest: &Digest) {
        self.0.forget(digest);
    }

    fn look(&self, digest: &Digest) -> Result<Option<BlobLook>, BlobError> {
        self.0.look(digest)
    }

    fn sweeps_seen(&self) -> Option<SweepCount> {
        self.0.sweeps_seen()
    }

    fn see_sweeps(&self, count: SweepCount) {
        self.0.see_sweeps(count);
    }

    fn list(&self, first: u8) -> Result<BlobListing, BlobError> {
        self.0.list(first)
    }

    fn rescan(&self) -> Result<(), BlobError> {
        self.0.rescan()
    }

    fn concurrency(&self) -> usize {
        self.0.concurrency()
    }
}
