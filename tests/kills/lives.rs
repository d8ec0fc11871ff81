//! Goal: nothing that was acknowledged or shown is lost to SIGKILL, whatever the process was doing. Method: a child
//! with several sessions, batches, blobs, append keys and subscribers tells what it knows, is killed at a random
//! moment, and its directory is looked at from here; over and over. `FOLDLOG_KILLS=2000` is the long form,
//! `FOLDLOG_SEED` repeats the choices, though not the moments.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use foldlog::testkit::Dice;
use foldlog::{ErrorKind, Item, Receipt, Restart, Session, Store, StoreConfig, SubscribeFrom};
use futures::StreamExt;

use crate::common::child::{Child, tell};
use crate::common::*;

const SESSIONS: u64 = 6;
/// The last of them are mostly idle.
const BUSY_SESSIONS: u64 = 4;
/// After so many kills a new directory is used, since each look at a directory folds all of its logs.
const KILLS_OF_A_DIRECTORY: u64 = 20;

// --- the child ---

/// Opens the store, works and closes it, over and over, until it is killed.
pub(crate) async fn live_until_killed(directory: &Path, life: &str) {
    let mut dice = Dice::new(life.parse().unwrap());
    let mut bodies = 0;
    loop {
        live(directory, &mut dice, life, &mut bodies).await;
    }
}

/// A child tells the digest of a body instead of the body.
fn digest(body: &TallyBody) -> String {
    blake3::hash(format!("{body:?}").as_bytes()).to_hex().to_string()
}

fn digests(bodies: &[TallyBody]) -> String {
    bodies.iter().map(digest).collect::<Vec<_>>().join(",")
}

/// Opens the store, works, and closes it.
async fn live(directory: &Path, dice: &mut Dice, life: &str, bodies: &mut u64) {
    let store = open(&StoreConfig::directory(directory)).await;
    let mut sessions = Vec::new();
    for n in 0..SESSIONS {
        sessions.push(follow(&store, n).await);
    }
    let mut answers = Vec::new();
    for _ in 0..10 + dice.below(80) {
        let n = if dice.one_in(30) { dice.below(SESSIONS) } else { dice.below(BUSY_SESSIONS) };
        let session = &sessions[n as usize];
        let mut next = || {
            *bodies += 1;
            TallyBody::Noted(format!("{life} {bodies} {}", "x".repeat((*bodies * 37 % 400) as usize)))
        };
        match dice.below(20) {
            0..8 => {
                let body = next();
                answers.push(answer(session, vec![body.clone()], session.append(body).unwrap()));
            }
            8..12 => {
                let batch: Vec<_> = (0..2 + dice.below(5)).map(|_| next()).collect();
                answers.push(answer(session, batch.clone(), session.append_batch(batch).unwrap()));
            }
            12..15 => {
                *bodies += 1;
                let key = format!("{life}-{bodies}");
                // Told before it is tried: the retry finds out what became of it.
                tell(format!("tries {} {key}", session.id()));
                let receipt = session.append_with(keyed(keyed_body(&key), &key)).unwrap();
                answers.push(answer(session, vec![keyed_body(&key)], receipt));
            }
            15..18 => {
                *bodies += 1;
                let bytes = format!("{life} {bodies}").repeat(1 + dice.below(300) as usize).into_bytes();
                let blob = soon(store.put_bytes(bytes)).await.unwrap();
                let body = TallyBody::Attached(blob);
                answers.push(answer(session, vec![body.clone()], session.append(body).unwrap()));
            }
            18 => {
                soon(session.close()).await.unwrap();
                sessions[n as usize] = follow(&store, n).await;
            }
            _ => match dice.below(3) {
                0 => soon(store.persist_address().send(Restart)).await.unwrap(),
                1 => soon(store.blob_address().send(Restart)).await.unwrap(),
                _ => soon(session.address().unwrap().send(Restart)).await.unwrap(),
            },
        }
        if answers.len() > 20 || dice.one_in(5) {
            wait_for(&mut answers).await;
        }
    }
    wait_for(&mut answers).await;
    soon(store.close()).await.unwrap();
}

type Answers = Vec<tokio::task::JoinHandle<()>>;

async fn wait_for(answers: &mut Answers) {
    for answer in answers.drain(..) {
        soon(answer).await.unwrap();
    }
}

/// Tells the answer once it is there.
fn answer(session: &Session<Tally>, bodies: Vec<TallyBody>, receipt: Receipt<Tally>) -> tokio::task::JoinHandle<()> {
    let session = session.id().clone();
    actix::spawn(async move {
        match soon(receipt).await {
            Ok(appended) => tell(format!("acknowledged {session} {} {}", ids_of(&appended)[0], digests(&bodies))),
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::NotWritten { .. }), "{error:?}");
                tell(format!("refused {session} 0 {}", digests(&bodies)));
            }
        }
    })
}

fn keyed_body(key: &str) -> TallyBody {
    TallyBody::Noted(format!("under the key {key}"))
}

/// Opens a session, and tells what its subscriber sees.
async fn follow(store: &Store<Tally>, n: u64) -> Session<Tally> {
    let session = soon(store.open_session(format!("s{n}"))).await.unwrap();
    let mut stream = soon(session.subscribe(SubscribeFrom::Now)).await.unwrap();
    let id = session.id().clone();
    actix::spawn(async move {
        while let Some(item) = stream.next().await {
            if let Item::Event(event) = item {
                let body = event.body().expect("no own events here");
                tell(format!("saw {id} {} {}", event.id(), digest(body)));
            }
        }
    });
    session
}

// --- the parent ---

/// What was told of one directory.
#[derive(Default)]
struct Told {
    /// By session and event id.
    acknowledged: BTreeMap<(String, u64), String>,
    seen: BTreeMap<(String, u64), String>,
    refused: BTreeSet<(String, String)>,
    /// The session of each append key that was tried.
    tried: BTreeMap<String, String>,
    lost: BTreeSet<(String, u64)>,
}

#[derive(Debug, Default)]
struct Figures {
    kills: u64,
    looks: u64,
    before_anything_was_told: u64,
    checked: u64,
    seen: u64,
    refused: u64,
    retried: u64,
    retried_and_there: u64,
    lost: u64,
}

impl Told {
    fn hear(&mut self, line: &str) {
        let words: Vec<_> = line.split(' ').collect();
        let session = words[1].to_owned();
        match words[0] {
            "tries" => drop(self.tried.insert(words[2].to_owned(), session)),
            "refused" => self.refused.extend(words[3].split(',').map(|digest| (session.clone(), digest.to_owned()))),
            "acknowledged" => {
                for (digest, id) in words[3].split(',').zip(words[2].parse::<u64>().unwrap()..) {
                    let before = self.acknowledged.insert((session.clone(), id), digest.to_owned());
                    assert!(before.is_none(), "event {id} of {session} was acknowledged twice");
                }
            }
            "saw" => drop(self.seen.insert((session, words[2].parse().unwrap()), words[3].to_owned())),
            other => panic!("told {other}"),
        }
    }

    /// Opens the directory and compares.
    async fn look(&mut self, directory: &Path, figures: &mut Figures) {
        let store = open(&StoreConfig::directory(directory)).await;
        let mut logs: HashMap<String, Vec<String>> = HashMap::new();
        for summary in soon(store.list_sessions(None, 100)).await.unwrap() {
            let session = soon(store.open_session(&summary.id)).await.unwrap();
            logs.insert(summary.id.to_string(), look_at(&store, &session).await);
        }
        for (told, what) in [(&self.acknowledged, "acknowledged"), (&self.seen, "shown")] {
            for ((session, id), digest) in told {
                if logs.get(session).and_then(|log| log.get(*id as usize - 1)) != Some(digest)
                    && self.lost.insert((session.clone(), *id))
                {
                    figures.lost += 1;
                    println!("LOST: event {id} of {session} was {what}, and is not there");
                }
            }
        }
        for (session, digest) in &self.refused {
            assert!(!logs.get(session).is_some_and(|log| log.contains(digest)), "refused, and there: {digest}");
        }
        assert!(soon(store.verify()).await.unwrap().is_sound(), "no reference dangles");

        let tried = std::mem::take(&mut self.tried);
        for (key, name) in tried {
            let session = soon(store.open_session(&name)).await.unwrap();
            let appended = soon(session.append_with(keyed(keyed_body(&key), &key)).unwrap()).await.unwrap();
            let (id, digest) = (ids_of(&appended)[0], digest(&keyed_body(&key)));
            let known = logs.get(&name).is_some_and(|log| log.contains(&digest));
            assert_eq!(appended.repeated, known, "{key}");
            figures.retried += 1;
            figures.retried_and_there += u64::from(known);
            let there = look_at(&store, &session).await.iter().filter(|found| **found == digest).count();
            assert_eq!(there, 1, "exactly one copy of {key}");
            let told = self.acknowledged.insert((name, id), digest.clone());
            assert!(told.is_none_or(|told| told == digest));
        }
        for n in 0..SESSIONS {
            let session = soon(store.open_session(format!("s{n}"))).await.unwrap();
            let body = TallyBody::Noted(format!("look {} at {n}", figures.looks));
            let appended = append(&session, body.clone()).await.unwrap();
            self.acknowledged.insert((session.id().to_string(), ids_of(&appended)[0]), digest(&body));
        }
        soon(store.close()).await.unwrap();
        figures.looks += 1;
    }
}

/// The digests of a session's log, whose ids are dense and whose fold is the view.
async fn look_at(store: &Store<Tally>, session: &Session<Tally>) -> Vec<String> {
    let events = whole_log(session).await;
    assert!(events.iter().zip(1..).all(|(event, id)| event.id().get() == id), "the ids of {} are dense", session.id());
    let (view, stored) = (session.view().unwrap(), soon(store.read_state(session.id())).await.unwrap());
    assert_eq!(*view, stored.view);
    assert_eq!((view.head().get(), view.counters.event), (events.len() as u64, events.len() as u64));
    events.iter().map(|event| digest(event.body())).collect()
}

#[actix::test]
async fn i1_kills_at_random_moments_lose_nothing_that_was_acknowledged_or_shown() {
    let kills = number_of("FOLDLOG_KILLS");
    let _watchdog = kills.is_none().then(watchdog);
    let mut dice = seeded_dice();
    let (mut figures, begun) = (Figures::default(), Instant::now());
    let is_over = |figures: &Figures| match kills {
        Some(kills) => figures.kills >= kills,
        None => figures.kills >= 80 || begun.elapsed() > Duration::from_secs(25),
    };
    while !is_over(&figures) {
        let directory = tempfile::tempdir().unwrap();
        let mut told = Told::default();
        for of_directory in 1..=KILLS_OF_A_DIRECTORY {
            let seed = dice.next_u64();
            let mut child = Child::with_task("live", &seed.to_string(), directory.path());
            let wanted = if dice.one_in(6) { 0 } else { dice.below(120) };
            let mut lines: Vec<_> = (0..wanted).map(|_| child.next().expect("it ends only when killed")).collect();
            // The moment is random, so there is nothing to wait for.
            let micros = dice.below(if wanted == 0 { 60_000 } else { 4_000 });
            actix::clock::sleep(Duration::from_micros(micros)).await;
            assert!(child.is_alive(), "kill {}: it ended by itself", figures.kills);
            lines.extend(child.kill().lines);
            figures.kills += 1;
            figures.before_anything_was_told += u64::from(lines.is_empty());
            for line in lines {
                told.hear(&line);
            }
            let last = of_directory == KILLS_OF_A_DIRECTORY || is_over(&figures);
            // Not after each kill, so that some children find what the killed one left.
            if last || !dice.one_in(3) {
                told.look(directory.path(), &mut figures).await;
            }
            if last {
                break;
            }
        }
        figures.checked += told.acknowledged.len() as u64;
        figures.seen += told.seen.len() as u64;
        figures.refused += told.refused.len() as u64;
    }
    println!("{} kills, {} acknowledged events checked, {} lost", figures.kills, figures.checked, figures.lost);
    println!("in {:?}: {figures:?}", begun.elapsed());
    assert_eq!(figures.lost, 0);
    assert!(figures.checked > figures.kills, "the children did not get to work");
}
