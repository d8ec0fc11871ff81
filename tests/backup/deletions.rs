//! Goal: what was deleted in the store goes from the copy, with its blobs and every byte of it; and a session that is
//! deleted while a backup runs is in the copy whole or not at all. Method: take the rows of a session away as another
//! process would, also while a backup is held at each of its calls; then look for its bytes in each file.

use super::*;
use foldlog::testkit::{Fault, Faults, Port};

/// What only the session `secret` says.
const SECRET: &str = "sk-live-4eC39HqLyjWDarjtT1zdp7dc";

/// A session that says the secret in events, a title and a blob, between the events of others.
async fn fill_with_secret(store: &Store<Tally>) {
    fill(store, 1).await;
    let (secret, other) = (store.open_session("secret").await.unwrap(), store.open_session("s2").await.unwrap());
    for n in 0..10 {
        append(&secret, TallyBody::Noted(format!("{n} {SECRET}"))).await.unwrap();
        append(&other, TallyBody::Noted("x".repeat(n * 7))).await.unwrap();
    }
    append(&secret, TallyBody::Noted(SECRET.repeat(400))).await.unwrap();
    secret.describe(foldlog::Describe::new().title(SECRET)).unwrap().await.unwrap();
    let blob = store.put_bytes(format!("{SECRET} in a blob").into_bytes()).await.unwrap();
    append(&secret, TallyBody::Attached(blob)).await.unwrap();
    fill(store, 2).await;
}

/// Takes a session away, and its blobs that no other one names.
fn take_away(path: &Path, session: &str, blobs: &[Digest]) {
    let connection = rusqlite::Connection::open(path.join("events.db")).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
    connection
        .execute_batch(&format!(
            "PRAGMA foreign_keys = OFF; BEGIN IMMEDIATE;
             CREATE TEMP TABLE gone AS SELECT log_key FROM sessions WHERE session_id = '{session}';
             DELETE FROM sessions WHERE log_key IN gone; DELETE FROM events WHERE log_key IN gone;
             DELETE FROM event_index WHERE log_key IN gone; DELETE FROM logs WHERE log_key IN gone; COMMIT;"
        ))
        .unwrap();
    for digest in blobs {
        let digest = digest.to_string();
        std::fs::remove_file(path.join("blobs").join(&digest[..2]).join(&digest)).unwrap();
    }
}

fn files_with_secret(path: &Path) -> Vec<PathBuf> {
    let has_secret = |file: &PathBuf| {
        let bytes = std::fs::read(file).unwrap();
        bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
    };
    files_below(path).into_iter().filter(has_secret).collect()
}

/// The blobs of a session that no other one of these names.
async fn blobs_of(store: &ReadOnlyStore<Tally>, session: &str) -> Vec<Digest> {
    store.read_state(session).await.unwrap().view.blobs.iter().map(|blob| blob.digest).collect()
}

#[actix::test]
async fn a_session_that_was_deleted_goes_from_the_copy_with_every_byte() {
    let places = Places::new();
    let store = open(&StoreConfig::directory(places.path("store"))).await;
    fill_with_secret(&store).await;
    soon(store.close()).await.unwrap();
    let source = read_only(&places.path("store")).await;
    soon(source.backup(places.path("b"))).await.unwrap();
    assert_eq!(files_with_secret(&places.path("b")).len(), 2, "the database and the blob");
    let blobs = blobs_of(&source, "secret").await;
    take_away(&places.path("store"), "secret", &blobs);
    let made = soon(source.backup(places.path("b"))).await.unwrap();
    assert_eq!((made.sessions, made.sessions_removed, made.copied), (6, 1, Default::default()));
    assert_eq!(whole_of(&places.path("b")).await, whole(&source).await);
    assert_eq!(files_with_secret(&places.path("b")), Vec::<PathBuf>::new());
    assert_eq!(blobs_in(&places.path("b")).len(), 8);
    soon(source.close()).await.unwrap();
    // The same name again is another session.
    let store = open(&StoreConfig::directory(places.path("store"))).await;
    append(&store.open_session("secret").await.unwrap(), TallyBody::Added(7)).await.unwrap();
    soon(store.backup(places.path("b"))).await.unwrap();
    let copy = whole_of(&places.path("b")).await;
    assert_eq!((copy["secret"].view.sum, copy["secret"].events.len()), (7, 1));
    soon(store.close()).await.unwrap();
}

/// A backup that was cut off has copied a blob, and its session is deleted before the next one.
#[actix::test]
async fn a_blob_that_a_cut_off_backup_has_left_goes_with_its_session() {
    for has_earlier in [false, true] {
        let places = Places::new();
        let store = open(&StoreConfig::directory(places.path("store"))).await;
        fill(&store, 3).await;
        if has_earlier {
            soon(store.backup(places.path("b"))).await.unwrap();
        }
        fill_with_secret(&store).await;
        soon(store.close()).await.unwrap();
        let faults = Faults::default();
        let config = faults.watch(StoreConfig::directory(places.path("store")));
        let store = open(&config).await;
        let source = read_only(&places.path("store")).await;
        let blobs = blobs_of(&source, "secret").await;
        // The blobs are copied in the order of their events: four of each round, and the secret one between two rounds.
        let nth = if has_earlier { 6 } else { 10 };
        faults.fail_nth(Port::GetBlob, nth, Fault::Io);
        soon(store.backup(places.path("b"))).await.unwrap_err();
        assert!(blobs_in(&places.path("b")).contains(&blobs[0]), "{has_earlier}");
        faults.clear();
        soon(store.close()).await.unwrap();
        take_away(&places.path("store"), "secret", &blobs);
        soon(source.backup(places.path("b"))).await.unwrap();
        assert_eq!(whole_of(&places.path("b")).await, whole(&source).await);
        assert_eq!(files_with_secret(&places.path("b")), Vec::<PathBuf>::new(), "{has_earlier}");
        soon(source.close()).await.unwrap();
    }
}

#[actix::test]
async fn a_session_that_is_deleted_while_a_backup_runs_is_in_it_whole_or_not_at_all() {
    // How many calls of each kind a backup has at most here.
    let moments = (0..6)
        .map(|n| (Port::Scan, n))
        .chain((0..9).step_by(2).map(|n| (Port::GetBlob, n)))
        .chain([(Port::Sessions, 0)]);
    let (mut without, mut with) = (0, 0);
    for (port, nth) in moments {
        let places = Places::new();
        let faults = Faults::default();
        let store = open(&faults.watch(StoreConfig::directory(places.path("store")))).await;
        fill_with_secret(&store).await;
        let source = read_only(&places.path("store")).await;
        let (before, blobs) = (whole(&source).await, blobs_of(&source, "secret").await);
        let calls = std::sync::atomic::AtomicU64::new(0);
        let mut held = faults.hold_where(port, move |_| calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == nth);
        let to = places.path("b");
        let backup = actix::spawn({
            let (store, to) = (store.clone(), to.clone());
            async move { store.backup(to).await }
        });
        let is_held = {
            let reached = Box::pin(held.reached());
            let ended = Box::pin(eventually("the backup ends", || backup.is_finished()));
            matches!(soon(futures::future::select(reached, ended)).await, futures::future::Either::Left(_))
        };
        take_away(&places.path("store"), "secret", &blobs);
        held.release();
        soon(backup).await.unwrap().unwrap_or_else(|error| panic!("{port:?} {nth}: {error}"));
        let copy = whole_of(&to).await;
        match copy.get("secret") {
            Some(copied) => {
                assert_eq!(*copied, before["secret"], "{port:?} {nth}");
                with += 1;
            }
            None => {
                assert!(is_held, "it was deleted after the backup");
                assert_eq!(copy, whole(&source).await);
                assert_eq!(files_with_secret(&to), Vec::<PathBuf>::new(), "{port:?} {nth}");
                without += 1;
            }
        }
        soon(source.close()).await.unwrap();
        drop(soon(store.close()).await);
    }
    println!("{with} with the session, {without} without");
    assert!(without > 6);
}

/// Rows that are taken out of a copy take their neighbours along to other pages. What stood in the place of those goes,
/// too.
#[actix::test]
async fn events_that_stood_beside_deleted_ones_leave_no_byte_in_the_copy_when_they_are_deleted_themselves() {
    let places = Places::new();
    let to = places.path("b");
    let store = open(&StoreConfig::directory(places.path("store"))).await;
    let mut dice = foldlog::testkit::Dice::new(3);
    let mut sessions = Vec::new();
    for n in 0..20 {
        sessions.push((store.open_session(format!("s{n}")).await.unwrap(), Vec::new()));
    }
    for round in 0..1200 {
        let place = dice.below(20) as usize;
        let (session, secrets) = &mut sessions[place];
        let texts = (0..1 + dice.below(8)).map(|n| {
            let secret = blake3::hash(format!("{round} {n}").as_bytes()).to_hex().to_string();
            let bytes = 20 + dice.below(if n == 7 { 2500 } else { 200 });
            secrets.push(secret[..16].to_owned());
            TallyBody::Noted(secret[..16].bytes().cycle().take(bytes as usize).map(char::from).collect())
        });
        let _ = soon(session.append_batch(texts.collect()).unwrap()).await.unwrap();
    }
    soon(store.backup(&to)).await.unwrap();
    let mut gone = std::collections::HashSet::new();
    while sessions.len() > 1 {
        let (session, secrets) = sessions.swap_remove(dice.below(sessions.len() as u64) as usize);
        soon(store.delete_session(session.id())).await.unwrap();
        gone.extend(secrets.into_iter().map(String::into_bytes));
        soon(store.backup(&to)).await.unwrap();
        let bytes = std::fs::read(to.join("events.db")).unwrap();
        let found = bytes.windows(16).filter(|window| window[0].is_ascii_hexdigit() && gone.contains(*window)).count();
        assert_eq!(found, 0, "{} sessions are left", sessions.len());
    }
    soon(store.close()).await.unwrap();
}
