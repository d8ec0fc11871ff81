//! Goal: what was redacted in the store is redacted in the copy, with every byte of it, at the next backup; a redaction
//! while a backup runs leaves a copy of before or of after it; and a restored store has it as the store does. Method: a
//! secret in bodies, a title, an append key and a blob; redact it, also while a backup is held at each of its calls;
//! then verify the copy, compare it with the store, and look for the secret in each file.

use super::*;
use foldlog::testkit::{Call, Faults, Port};
use foldlog::{Append, Describe, Erasure, Redact, Redaction, Session};

/// What only the redacted events say.
const SECRET: &str = "sk-live-8aQe51NnTqWcXz0yRkLmUvPo";

/// A session that says the secret between events of its own and of others, and which events do.
async fn fill_with_secret(store: &Store<Tally>) -> (Session<Tally>, Vec<EventId>) {
    fill(store, 1).await;
    let (secret, other) = (store.open_session("s2").await.unwrap(), store.open_session("s3").await.unwrap());
    let mut said = Vec::new();
    for n in 0..3 {
        said.push(append(&secret, TallyBody::Noted(format!("{n} {SECRET}"))).await.unwrap().head);
        append(&other, TallyBody::Added(n)).await.unwrap();
    }
    said.push(append(&secret, TallyBody::Noted(SECRET.repeat(400))).await.unwrap().head);
    said.push(secret.append_with(keyed_secret()).unwrap().await.unwrap().head);
    let described = secret.describe(Describe::new().title(SECRET).label("kept", "no")).unwrap().await.unwrap();
    said.push(described.head);
    let blob = store.put_bytes(format!("{SECRET} in a blob").into_bytes()).await.unwrap();
    said.push(append(&secret, TallyBody::Listed(vec![blob])).await.unwrap().head);
    fill(store, 2).await;
    (secret, said)
}

fn keyed_secret() -> Append<Tally> {
    keyed(TallyBody::Noted(SECRET.to_owned()), SECRET)
}

/// Redacts events, which name no blob any more then.
async fn redact(session: &Session<Tally>, events: &[EventId]) -> Redaction {
    let replace = |event: &foldlog::Event<Tally>| match event.body() {
        TallyBody::Listed(_) => TallyBody::Listed(Vec::new()),
        _ => TallyBody::Noted("gone".to_owned()),
    };
    soon(session.redact(Redact::new(events.iter().copied()).replace(replace))).await.unwrap()
}

/// The files with the secret, or with the hash by which its append key is looked up.
fn files_with_secret(path: &Path) -> Vec<PathBuf> {
    let hash = blake3::hash(SECRET.as_bytes());
    let has = |bytes: &[u8], wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
    let has_secret = |file: &PathBuf| {
        let bytes = std::fs::read(file).unwrap();
        has(&bytes, SECRET.as_bytes()) || has(&bytes, &hash.as_bytes()[..8])
    };
    files_below(path).into_iter().filter(has_secret).collect()
}

async fn redacted_in(path: &Path) -> u64 {
    let store = read_only(path).await;
    let found = soon(store.verify()).await.unwrap();
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    soon(store.close()).await.unwrap();
    found.redacted
}

/// What a store has now.
async fn whole_source(path: &Path) -> BTreeMap<String, Whole> {
    let source = read_only(path).await;
    let found = whole(&source).await;
    soon(source.close()).await.unwrap();
    found
}

#[actix::test]
async fn a_redaction_is_applied_to_the_copy_with_every_byte() {
    let places = Places::new();
    let (from, to) = (places.path("store"), places.path("b"));
    let store = open(&StoreConfig::directory(&from)).await;
    let (session, said) = fill_with_secret(&store).await;
    soon(store.backup(&to)).await.unwrap();
    assert_eq!(files_with_secret(&to).len(), 2, "the database and the blob");
    // In two parts: the second one is of a log that the copy has a redaction of.
    for (events, left) in [(&said[..2], 2), (&said[2..], 0)] {
        redact(&session, events).await;
        let made = soon(store.backup(&to)).await.unwrap();
        assert_eq!(made.copied.events, 1, "foldlog.redacted");
        assert_eq!(whole_of(&to).await, whole_source(&from).await);
        assert_eq!(files_with_secret(&to).len(), left);
    }
    assert_eq!(redacted_in(&to).await, said.len() as u64);
    let copy = whole_of(&to).await;
    assert_eq!((copy["s2"].summary.title.as_str(), copy["s2"].summary.labels.len()), ("", 0));
    assert_eq!(copy["s1"].summary.title, "title 2", "other sessions are listed as before");
    assert_eq!(soon(store.backup(&to)).await.unwrap().copied, Default::default());
    // What comes later is copied as always.
    append(&session, TallyBody::Added(9)).await.unwrap();
    assert_eq!(soon(store.backup(&to)).await.unwrap().copied.events, 1);
    assert_eq!(whole_of(&to).await, whole_source(&from).await);
    soon(store.close()).await.unwrap();
}

#[actix::test]
async fn a_restored_store_has_the_redaction_as_the_store_does() {
    let places = Places::new();
    let (from, to, restored) = (places.path("store"), places.path("b"), places.path("r"));
    let store = open(&StoreConfig::directory(&from)).await;
    let (session, said) = fill_with_secret(&store).await;
    soon(store.backup(&to)).await.unwrap();
    redact(&session, &said).await;
    soon(store.backup(&to)).await.unwrap();
    soon(Store::<Tally>::restore_model(&to, &restored)).await.unwrap();
    assert_eq!(whole_of(&restored).await, whole_source(&from).await);
    soon(store.close()).await.unwrap();

    let store = open(&StoreConfig::directory(&restored)).await;
    let session = store.open_session("s2").await.unwrap();
    let head = session.view().unwrap().head();
    let retried = session.append_with(keyed_secret()).unwrap().await.unwrap();
    assert_eq!((retried.head, session.view().unwrap().head()), (said[4], head), "the retry finds the first result");
    let other = append(&session, TallyBody::Noted("another secret".to_owned())).await.unwrap().head;
    soon(store.backup(places.path("b2"))).await.unwrap();
    redact(&session, &[other, said[0]]).await;
    soon(store.backup(places.path("b2"))).await.unwrap();
    assert_eq!(whole_of(&places.path("b2")).await, whole_source(&restored).await);
    assert_eq!(redacted_in(&places.path("b2")).await, said.len() as u64 + 1);
    soon(store.close()).await.unwrap();
    for place in [to, restored, places.path("b2")] {
        assert_eq!(files_with_secret(&place), Vec::<PathBuf>::new(), "{}", place.display());
    }
}

/// A reader keeps the old bytes in the write-ahead log of the store.
#[actix::test]
async fn a_store_with_an_erasure_pending_is_backed_up_and_nothing_is_pending_in_the_copy() {
    let places = Places::new();
    let (from, to) = (places.path("store"), places.path("b"));
    let store = open(&StoreConfig::directory(&from)).await;
    let (session, said) = fill_with_secret(&store).await;
    let reader = rusqlite::Connection::open(from.join("events.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM events;").unwrap();
    let redaction = redact(&session, &said).await;
    let Erasure::Pending(pending) = redaction.erasure else { panic!("{redaction:?}") };
    assert!(pending.log);
    let counts = |path: &Path| -> Vec<i64> {
        let connection = rusqlite::Connection::open(path.join("events.db")).unwrap();
        let mut select = connection.prepare("SELECT count FROM redactions").unwrap();
        select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(counts(&from), [-1]);
    soon(store.backup(&to)).await.unwrap();
    assert_eq!(whole_of(&to).await, whole_source(&from).await);
    assert_eq!(files_with_secret(&to), Vec::<PathBuf>::new());
    assert_eq!(counts(&to), [1]);
    reader.execute_batch("COMMIT").unwrap();
    soon(store.close()).await.unwrap();
}

#[actix::test]
async fn a_redaction_while_a_backup_runs_is_in_it_whole_or_not_at_all() {
    // How many calls of each kind a backup has at most here. A log that is read again is read by pages.
    let moments: Vec<(Port, u64)> = (0..8)
        .map(|n| (Port::Scan, n))
        .chain((0..10).step_by(3).map(|n| (Port::GetBlob, n)))
        .chain([(Port::Sessions, 0), (Port::Page, 0)])
        .collect();
    let (mut of_before, mut of_after) = (0, 0);
    for (port, nth, has_earlier) in moments.into_iter().flat_map(|(port, nth)| [(port, nth, false), (port, nth, true)])
    {
        let case = format!("{port:?} {nth} {has_earlier}");
        let places = Places::new();
        let (from, to) = (places.path("store"), places.path("b"));
        let store = open(&StoreConfig::directory(&from)).await;
        let (session, said) = fill_with_secret(&store).await;
        if has_earlier {
            soon(store.backup(&to)).await.unwrap();
            redact(&session, &said[..1]).await;
            fill(&store, 3).await;
        }
        let before = whole_source(&from).await;
        let faults = Faults::default();
        let copying = open(&faults.watch(StoreConfig::directory(&from))).await;
        let calls = std::sync::atomic::AtomicU64::new(0);
        let nth_call = move |_: &Call| calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == nth;
        let mut held = faults.hold_where(port, nth_call);
        let backup = actix::spawn({
            let (copying, to) = (copying.clone(), to.clone());
            async move { copying.backup(to).await }
        });
        let reached = Box::pin(held.reached());
        let ended = Box::pin(eventually("the backup ends", || backup.is_finished()));
        soon(futures::future::select(reached, ended)).await;
        redact(&session, &said).await;
        // As a sweep does.
        let blob = before["s2"].view.blobs.iter().map(|blob| blob.digest).find(|digest| {
            let bytes = std::fs::read(from.join("blobs").join(&digest.to_string()[..2]).join(digest.to_string()));
            bytes.unwrap().starts_with(SECRET.as_bytes())
        });
        let blob = blob.unwrap().to_string();
        std::fs::remove_file(from.join("blobs").join(&blob[..2]).join(&blob)).unwrap();
        held.release();
        soon(backup).await.unwrap().unwrap_or_else(|error| panic!("{case}: {error}"));
        let (copy, after) = (whole_of(&to).await, whole_source(&from).await);
        if copy == before {
            of_before += 1;
        } else {
            assert_eq!(copy, after, "{case}");
            assert_eq!(files_with_secret(&to), Vec::<PathBuf>::new(), "{case}");
            of_after += 1;
        }
        soon(copying.backup(&to)).await.unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(whole_of(&to).await, after, "{case}");
        assert_eq!(files_with_secret(&to), Vec::<PathBuf>::new(), "{case}");
        drop(soon(copying.close()).await);
        soon(store.close()).await.unwrap();
    }
    println!("{of_after} with the redaction, {of_before} without");
    assert!(of_after > 6 && of_before > 1);
}
