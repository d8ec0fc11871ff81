//! Goal: a backup is the store at one commit, and one that fails leaves the one before. Method: backups into one
//! directory, also beside appends and while things fail, each read and compared with the reference; some of them are
//! restored.

use std::path::Path;

use foldlog::{EventId, LogEvent, ReadOnlyStore, Store, StoreConfig};

use crate::common::{Tally, TallyBody, soon};
use crate::truth::{assert_described, shown};
use crate::world::World;

/// Each session of a copy, with its events.
type Copied = Vec<(String, Vec<TallyBody>)>;

/// Where the backups of a history go.
#[derive(Default)]
pub struct Backups {
    directory: Option<tempfile::TempDir>,
    /// What the last one that was answered has.
    last: Option<Copied>,
    restored: usize,
}

async fn open(path: &Path) -> Result<ReadOnlyStore<Tally>, foldlog::Error> {
    soon(Store::open_model_read_only(StoreConfig::directory(path))).await
}

/// Reads a copy, and checks what it says by itself.
async fn read(path: &Path) -> Copied {
    let copy = open(path).await.unwrap();
    let mut copied = Copied::new();
    for row in soon(copy.list_sessions(None, 10)).await.unwrap() {
        let mut log: Vec<LogEvent<Tally>> = Vec::new();
        loop {
            let after = log.last().map_or(EventId::ZERO, |event| event.id());
            let page = soon(copy.events_after(&row.id, after, 1000)).await.unwrap();
            log.extend(page.events);
            if !page.more {
                break;
            }
        }
        let log: Vec<_> = log.iter().map(shown).collect();
        assert_described(&row.title, &row.labels, &log);
        for body in &log {
            if let TallyBody::Attached(blob) = body {
                soon(copy.get_bytes(blob.digest)).await.expect("a blob that the copy names");
            }
        }
        copied.push((row.id.to_string(), log));
    }
    let found = soon(copy.verify()).await.unwrap();
    assert!(found.is_sound() && found.orphans == 0, "{found}: {:?}", found.problems);
    soon(copy.close()).await.unwrap();
    copied
}

impl World {
    pub async fn back_up(&mut self, store: usize) {
        let is_settled = !self.is_stormy && self.dice.one_in(2);
        if is_settled {
            self.settle_made().await;
        }
        let directory = self.backups.directory.get_or_insert_with(|| tempfile::tempdir().unwrap());
        let to = directory.path().join("backup");
        let opened = self.stores[store].clone().unwrap();
        let made = soon(opened.backup(&to)).await;
        self.trace.add(format!("back up store {store}: {made:?}"));
        if let Err(error) = made {
            assert!(self.is_stormy, "{error:?}");
            self.figures.backups_failed += 1;
            match &self.backups.last {
                Some(last) => assert_eq!(read(&to).await, *last, "the backup of before"),
                None => assert!(open(&to).await.is_err(), "a backup that was cut off"),
            }
            return;
        }
        self.figures.backups += 1;
        let copied = read(&to).await;
        let names: Vec<_> = copied.iter().map(|(name, _)| name.as_str()).collect();
        for truth in &self.truths {
            let found = copied.iter().find(|(name, _)| *name == truth.name);
            match found {
                Some((_, log)) if is_settled => assert_eq!(*log, truth.log, "{} in a backup", truth.name),
                Some((_, log)) => truth.check(log),
                None => assert!(!truth.is_made, "{} is not in a backup of {names:?}", truth.name),
            }
        }
        if is_settled && self.dice.one_in(3) {
            self.restore(&to, &copied).await;
        }
        self.backups.last = Some(copied);
    }

    async fn restore(&mut self, backup: &Path, copied: &Copied) {
        self.trace.add("restore".to_owned());
        self.figures.restored += 1;
        self.backups.restored += 1;
        let to = backup.with_file_name(format!("restored {}", self.backups.restored));
        soon(Store::<Tally>::restore_model(backup, &to)).await.unwrap();
        let store = soon(Store::<Tally>::open_model(StoreConfig::directory(&to))).await.unwrap();
        for (name, log) in copied {
            let session = soon(store.resume_session(name)).await.unwrap();
            assert_eq!(*session.view().unwrap().state(), crate::truth::folded(log));
            let appended = soon(session.append(TallyBody::Added(1)).unwrap()).await.unwrap();
            assert_eq!(appended.head.get(), log.len() as u64 + 1, "it goes on");
        }
        soon(store.close()).await.unwrap();
    }
}
