//! Goal: whatever SIGKILL cuts off while events are redacted, an event is whole or redacted, what was answered as
//! erased is in no byte of the directory, and the next store finishes the rest. Method: a child says secrets in two
//! sessions and redacts some of them, and is killed at a random moment, over and over on one directory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use foldlog::testkit::Dice;
use foldlog::{Erasure, LogEvent, Redact, SnapshotPolicy, StoreConfig};

use crate::common::child::{Child, tell};
use crate::common::*;

fn config(directory: &Path) -> StoreConfig {
    let snapshots = SnapshotPolicy { every_events: 4, closing_events: 1, ..SnapshotPolicy::default() };
    StoreConfig { snapshots, ..StoreConfig::directory(directory) }
}

/// A text that is nowhere else.
fn secret(life: &str, number: u64) -> String {
    blake3::hash(format!("{life} {number}").as_bytes()).to_hex().to_string()
}

pub(crate) async fn redact_until_killed(directory: &Path, life: &str) {
    let mut dice = Dice::new(life.parse().unwrap());
    let store = open(&config(directory)).await;
    let sessions = [store.open_session("one").await.unwrap(), store.open_session("two").await.unwrap()];
    let mut number = 0;
    let mut said = Vec::new();
    loop {
        for _ in 0..1 + dice.below(6) {
            let place = dice.below(2) as usize;
            let secret = secret(life, number);
            let body = TallyBody::Noted(secret.repeat(1 + dice.below(200) as usize));
            let keyed = keyed(body, &secret[..40]);
            tell(format!("says {} {secret}", sessions[place].id()));
            let head = soon(sessions[place].append_with(keyed).unwrap()).await.unwrap().head;
            tell(format!("said {head} {secret}"));
            said.push((place, head, secret));
            number += 1;
        }
        let (place, event, secret) = said.swap_remove(dice.below(said.len() as u64) as usize);
        tell(format!("redacts - {secret}"));
        let redact = Redact::new([event]).replace(|_| TallyBody::Noted("gone".to_owned()));
        let redaction = soon(sessions[place].redact(redact)).await.unwrap();
        let word = if redaction.erasure == Erasure::Complete { "erased" } else { "redacted" };
        tell(format!("{word} - {secret}"));
    }
}

/// What is known of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Known {
    /// It may be there.
    Perhaps,
    Said,
    /// It is there as a whole, or not at all.
    Redacting,
    Redacted,
    Erased,
}

#[derive(Default)]
struct Told(BTreeMap<String, Known>);

impl Told {
    fn hear(&mut self, line: &str) {
        let mut words = line.split(' ');
        let known = match words.next().unwrap() {
            "says" => Known::Perhaps,
            "said" => Known::Said,
            "redacts" => Known::Redacting,
            "redacted" => Known::Redacted,
            "erased" => Known::Erased,
            other => panic!("{other:?}"),
        };
        self.0.insert(words.nth(1).unwrap().to_owned(), known);
    }

    fn no_byte(&self, directory: &Path, from: Known) {
        let gone = self.0.iter().filter(|(_, known)| **known >= from);
        let gone: BTreeSet<[u8; 16]> = gone.map(|(secret, _)| secret.as_bytes()[..16].try_into().unwrap()).collect();
        for path in files_below(directory) {
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes.windows(16).find(|window| window[0].is_ascii_hexdigit() && gone.contains(*window));
            assert_eq!(found, None, "in {}", path.display());
        }
    }

    async fn look(&mut self, directory: &Path) {
        self.no_byte(directory, Known::Erased);
        let store = open(&config(directory)).await;
        let mut there = BTreeSet::new();
        for name in ["one", "two"] {
            let Ok(session) = soon(store.resume_session(name)).await else { continue };
            for event in all_events(&session).await {
                let LogEvent::Model(event) = event else { continue };
                let TallyBody::Noted(text) = event.body() else { panic!("{event:?}") };
                if text != "gone" {
                    there.insert(text[..64].to_owned());
                }
            }
        }
        for (secret, known) in &mut self.0 {
            match (*known, there.contains(secret)) {
                (Known::Said, false) => panic!("{secret} is lost"),
                (Known::Redacted | Known::Erased, true) => panic!("{secret} is back"),
                (Known::Redacting, true) => *known = Known::Said,
                (Known::Redacting, false) => *known = Known::Redacted,
                _ => {}
            }
        }
        assert!(soon(store.erase_deleted()).await.unwrap().is_complete());
        let found = soon(store.verify()).await.unwrap();
        assert!(found.is_sound(), "{:?}", found.problems);
        soon(store.close()).await.unwrap();
        self.no_byte(directory, Known::Redacted);
    }
}

#[actix::test]
async fn kills_while_events_are_redacted_leave_each_whole_or_gone_and_no_byte_of_what_was_answered() {
    let _watchdog = watchdog();
    let mut dice = seeded_dice();
    let directory = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    for _ in 0..number_of("FOLDLOG_KILLS").unwrap_or(20) {
        let mut child = Child::with_task("redact", &dice.next_u64().to_string(), directory.path());
        let mut lines: Vec<_> = (0..dice.below(40)).map(|_| child.next().expect("it ends only when killed")).collect();
        // The moment is random, so there is nothing to wait for.
        actix::clock::sleep(Duration::from_micros(dice.below(6_000))).await;
        assert!(child.is_alive(), "it ended by itself");
        lines.extend(child.kill().lines);
        lines.iter().for_each(|line| told.hear(line));
        told.look(directory.path()).await;
    }
    assert!(told.0.values().any(|known| *known >= Known::Redacted), "nothing was redacted");
}
