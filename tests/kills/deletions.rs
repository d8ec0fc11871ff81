//! Goal: whatever SIGKILL cuts off while sessions are deleted, none of them comes back, none of their bytes stays once
//! the next store has erased them, and other sessions lose nothing. Method: a child makes, deletes and erases sessions
//! beside one that it keeps, and is killed at a random moment, over and over on one directory.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use foldlog::testkit::Dice;
use foldlog::{ErrorKind, RetainMode, Retention, SnapshotPolicy, StoreConfig, Verdict};

use crate::common::child::{Child, tell};
use crate::common::*;

fn config(directory: &Path) -> StoreConfig {
    let snapshots = SnapshotPolicy { every_events: 4, closing_events: 1, ..SnapshotPolicy::default() };
    StoreConfig { snapshots, ..StoreConfig::directory(directory) }
}

/// A text that is nowhere else.
fn secret(name: &str) -> String {
    blake3::hash(name.as_bytes()).to_hex().to_string()
}

pub(crate) async fn delete_until_killed(directory: &Path, life: &str) {
    let mut dice = Dice::new(life.parse().unwrap());
    let store = open(&config(directory)).await;
    let kept = soon(store.open_session("kept")).await.unwrap();
    let mut made = 0_u64;
    loop {
        let name = format!("{life}-{made}-{}", secret(&format!("{life} {made}")));
        let session = soon(store.open_session(&name)).await.unwrap();
        for n in 0..1 + dice.below(8) {
            let body = TallyBody::Noted(secret(&name).repeat(1 + dice.below(200) as usize));
            let _ = soon(session.append_with(keyed(body, &format!("{}-{n}", &secret(&name)[..40]))).unwrap())
                .await
                .unwrap();
            let appended = append(&kept, TallyBody::Added(1)).await.unwrap();
            tell(format!("kept {}", appended.head));
        }
        tell(format!("made {name}"));
        if dice.one_in(3) {
            soon(session.close()).await.unwrap();
        }
        if dice.below(4) > 0 {
            tell(format!("deletes {name}"));
            soon(store.delete_session(&name)).await.unwrap();
            tell(format!("deleted {name}"));
        }
        if dice.one_in(4) {
            soon(store.erase_deleted()).await.unwrap();
        }
        made += 1;
    }
}

/// The same, but sessions go by a rule, several at once, some of them so large that room is given back to the file
/// system.
pub(crate) async fn retain_until_killed(directory: &Path, life: &str) {
    let mut dice = Dice::new(life.parse().unwrap());
    let store = open(&config(directory)).await;
    let kept = soon(store.open_session("kept")).await.unwrap();
    let rule = Retention::new().sessions_max(4);
    for round in 0_u64.. {
        for made in 0..1 + dice.below(4) {
            let name = format!("{life}-{round}-{made}-{}", secret(&format!("{life} {round} {made}")));
            let session = soon(store.open_session(&name)).await.unwrap();
            let times = if dice.one_in(4) { 10_000 } else { 1 + dice.below(100) as usize };
            append(&session, TallyBody::Noted(secret(&name).repeat(times))).await.unwrap();
            soon(session.close()).await.unwrap();
            tell(format!("made {name}"));
            let appended = append(&kept, TallyBody::Added(1)).await.unwrap();
            tell(format!("kept {}", appended.head));
        }
        for (mode, word) in [(RetainMode::DryRun, "deletes"), (RetainMode::Apply, "deleted")] {
            let done = soon(store.retain(&rule, mode)).await.unwrap();
            for session in done.sessions.iter().filter(|session| matches!(session.verdict, Verdict::Gone)) {
                tell(format!("{word} {}", session.id));
            }
        }
    }
}

#[derive(Default)]
struct Told {
    kept: u64,
    made: BTreeSet<String>,
    may_be_gone: BTreeSet<String>,
    gone: BTreeSet<String>,
}

impl Told {
    fn hear(&mut self, line: &str) {
        match line.split_once(' ').unwrap() {
            ("kept", head) => self.kept = head.parse().unwrap(),
            ("made", name) => drop(self.made.insert(name.to_owned())),
            ("deletes", name) => drop(self.may_be_gone.insert(name.to_owned())),
            ("deleted", name) => drop(self.gone.insert(name.to_owned())),
            other => panic!("{other:?}"),
        }
    }

    async fn look(&mut self, directory: &Path) {
        let store = open(&config(directory)).await;
        for name in &self.made {
            let found = soon(store.resume_session(name)).await;
            match found {
                Ok(_) => assert!(!self.gone.contains(name), "{name} is back"),
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::UnknownSession { .. }), "{name}: {error:?}");
                    assert!(self.may_be_gone.contains(name), "{name} is lost");
                    self.gone.insert(name.clone());
                }
            }
        }
        if self.kept > 0 {
            let kept = soon(store.resume_session("kept")).await.unwrap();
            assert!(kept.view().unwrap().head().get() >= self.kept);
            assert_eq!(log_ids(&kept).await.len() as u64, kept.view().unwrap().head().get());
        }
        assert!(soon(store.erase_deleted()).await.unwrap().is_complete());
        let found = soon(store.verify()).await.unwrap();
        assert!(found.is_sound(), "{:?}", found.problems);
        soon(store.close()).await.unwrap();
        let secrets: BTreeSet<Vec<u8>> =
            self.gone.iter().map(|name| secret(name).into_bytes()[..16].to_vec()).collect();
        for path in files_below(directory) {
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes.windows(16).find(|window| window[0].is_ascii_hexdigit() && secrets.contains(*window));
            assert_eq!(found, None, "in {}", path.display());
        }
        // Named once more below, and that takes long.
        self.made.retain(|name| !self.gone.contains(name));
    }
}

#[actix::test]
async fn kills_while_sessions_are_deleted_bring_nothing_back_and_lose_nothing_of_others() {
    kill_over_and_over("delete", 25).await;
}

#[actix::test]
async fn kills_while_sessions_go_by_a_rule_bring_nothing_back_and_lose_nothing_of_others() {
    kill_over_and_over("retain", 15).await;
}

async fn kill_over_and_over(task: &str, kills: u64) {
    let _watchdog = watchdog();
    let mut dice = seeded_dice();
    let directory = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    for _ in 0..number_of("FOLDLOG_KILLS").unwrap_or(kills) {
        let mut child = Child::with_task(task, &dice.next_u64().to_string(), directory.path());
        let mut lines: Vec<_> = (0..dice.below(60)).map(|_| child.next().expect("it ends only when killed")).collect();
        // The moment is random, so there is nothing to wait for.
        actix::clock::sleep(Duration::from_micros(dice.below(6_000))).await;
        assert!(child.is_alive(), "it ended by itself");
        lines.extend(child.kill().lines);
        lines.iter().for_each(|line| told.hear(line));
        told.look(directory.path()).await;
    }
    println!("{} sessions deleted, {} left", told.gone.len(), told.made.len());
    assert!(told.gone.len() > 10 && told.kept > 0);
}
