//! Goal: a write-ahead log that is damaged before its end is reported, and a copy is kept before SQLite writes over it;
//! what was before the damage is there; a cut between two commits is not seen, as the documents say. Method: copy the
//! files of a store that is open, change the copy, open it. With `FOLDLOG_FLIPS` set, every place of every frame is
//! flipped.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use foldlog::{Store, StoreConfig, WalLoss};

use crate::common::*;
use crate::{Original, look_at_all, plain};

const FRAME: usize = 24 + 4096;

/// The files of a store as a crash leaves them, with all commits in the write-ahead log.
struct Crashed {
    directory: tempfile::TempDir,
    sessions: Vec<Original>,
    wal: Vec<u8>,
}

/// By another process: to close a handle of `events.db` in this one would drop SQLite's locks.
fn copy(from: &Path, to: &Path) {
    for name in ["events.db", "events.db-wal"] {
        let copied = Command::new("cp").arg(from.join(name)).arg(to.join(name)).status().unwrap();
        assert!(copied.success());
    }
}

async fn crashed() -> Crashed {
    let (live, directory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(&StoreConfig::directory(live.path())).await;
    for round in 0..4 {
        for name in ["a", "b"] {
            let session = soon(store.open_session(name)).await.unwrap();
            append(&session, TallyBody::Noted(format!("{round}").repeat(3000))).await.unwrap();
        }
    }
    let sessions = look_at_all(&store).await;
    copy(live.path(), directory.path());
    soon(store.close()).await.unwrap();
    let wal = std::fs::read(directory.path().join("events.db-wal")).unwrap();
    assert_eq!(wal.len() % FRAME, 32);
    Crashed { directory, sessions, wal }
}

impl Crashed {
    /// A copy with another write-ahead log.
    fn with(&self, wal: &[u8]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        copy(self.directory.path(), directory.path());
        std::fs::write(directory.path().join("events.db-wal"), wal).unwrap();
        directory
    }

    /// The numbers of the frames that end a transaction.
    fn commits(&self) -> Vec<usize> {
        let frames = (self.wal.len() - 32) / FRAME;
        let ends = |frame: &usize| self.wal[32 + (frame - 1) * FRAME + 4..][..4] != [0; 4];
        (1..=frames).filter(ends).collect()
    }

    /// Asserts that each session shows a beginning of what it held, and gives back how many events they show together.
    async fn assert_prefix(&self, store: &Store<Tally>) -> usize {
        let mut events = 0;
        for found in look_at_all(store).await {
            let original = self.sessions.iter().find(|original| original.name == found.name).unwrap();
            assert!(original.events.starts_with(&found.events));
            events += found.events.len();
        }
        events
    }
}

fn copies(directory: &Path) -> Vec<PathBuf> {
    let names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut copies: Vec<_> = names.filter(|path| path.to_string_lossy().contains(".damaged-")).collect();
    copies.sort();
    copies
}

#[actix::test]
async fn a_flip_in_any_frame_is_reported_and_a_copy_is_kept() {
    let crashed = crashed().await;
    let commits = crashed.commits();
    let frames = *commits.last().unwrap();
    assert!(commits.len() >= 10, "{commits:?}");
    // In the header of the file, in each salt, checksum and page.
    let mut places = vec![(0, 17)];
    places.extend((1..=frames).flat_map(|frame| [0, 9, 17, 24, 4000].map(|byte| (frame, byte))));
    if number_of("FOLDLOG_FLIPS").is_none() {
        // Two or three of each frame, the others of the next.
        places = places.into_iter().step_by(2).collect();
    }
    for (frame, byte) in places {
        let mut wal = crashed.wal.clone();
        wal[if frame == 0 { byte } else { 32 + (frame - 1) * FRAME + byte }] ^= 4;
        let directory = crashed.with(&wal);
        let store = open(&StoreConfig::directory(directory.path())).await;
        let damage = store.wal_damage().unwrap_or_else(|| panic!("frame {frame}, byte {byte}")).clone();
        assert_eq!(damage.first_bad_frame, frame as u64, "byte {byte}: {damage:?}");
        // SQLite skips a frame with other salts, and compares the salts of the last frame with nothing else.
        let last = commits.len() - 1;
        let is_last = frame > commits[last - 1];
        assert_eq!(damage.loss, if is_last { WalLoss::Possible } else { WalLoss::Likely }, "frame {frame}: {damage}");
        assert_eq!(damage.lost_commits as usize, commits.iter().filter(|commit| **commit >= frame).count());
        let evidence = damage.evidence.clone().unwrap();
        assert_eq!(std::fs::read(&evidence).unwrap(), wal);
        assert_eq!(evidence.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        crashed.assert_prefix(&store).await;
        let session = soon(store.open_session("new")).await.unwrap();
        append(&session, TallyBody::Added(1)).await.unwrap();
        assert!(soon(store.verify()).await.unwrap().is_sound());
        // A second store on the directory reports nothing, since the first one has reported the damage.
        let second = open(&StoreConfig::directory(directory.path())).await;
        assert_eq!(second.wal_damage(), None);
        soon(second.close()).await.unwrap();
        soon(store.close()).await.unwrap();
        let again = open(&StoreConfig::directory(directory.path())).await;
        assert_eq!(again.wal_damage(), None);
        soon(again.close()).await.unwrap();
        assert_eq!(copies(directory.path()), [evidence]);
    }
}

/// A log that is cut between two commits has lost acknowledged events, and nothing in it can tell that they were there.
#[actix::test]
async fn a_clean_cut_is_not_seen() {
    let crashed = crashed().await;
    let commits = crashed.commits();
    let mut counts = Vec::new();
    let cuts = [0].iter().chain(&commits).map(|commit| 32 + commit * FRAME);
    for cut in cuts.flat_map(|cut| [cut, (cut + 1000).min(crashed.wal.len())]) {
        let directory = crashed.with(&crashed.wal[..cut]);
        let store = open(&StoreConfig::directory(directory.path())).await;
        assert_eq!(store.wal_damage(), None);
        counts.push(crashed.assert_prefix(&store).await);
        assert!(soon(store.verify()).await.unwrap().is_sound());
        soon(store.close()).await.unwrap();
        assert_eq!(copies(directory.path()), [] as [PathBuf; 0]);
    }
    assert!(counts.is_sorted());
    assert_eq!((counts[0], *counts.last().unwrap()), (0, 8));
    let all: Vec<_> = crashed.sessions.iter().flat_map(|session| &session.events).collect();
    assert_eq!(all.len(), 8);
}

#[actix::test]
async fn eight_copies_are_kept_and_the_first_stay() {
    let crashed = crashed().await;
    let directory = tempfile::tempdir().unwrap();
    for number in 1..=10 {
        copy(crashed.directory.path(), directory.path());
        let mut wal = crashed.wal.clone();
        wal[32 + 24 + number] ^= 1;
        std::fs::write(directory.path().join("events.db-wal"), &wal).unwrap();
        let store = open(&StoreConfig::directory(directory.path())).await;
        let damage = store.wal_damage().unwrap();
        assert_eq!(damage.evidence.is_some(), number <= 8, "{damage}");
        if let Some(evidence) = &damage.evidence {
            assert!(evidence.ends_with(format!("events.db-wal.damaged-{number}")));
        }
        soon(store.close()).await.unwrap();
        assert_eq!(copies(directory.path()).len(), number.min(8));
    }
}

/// The salvage of a damaged write-ahead log gives what SQLite reads of it.
#[actix::test]
async fn a_salvage_reads_what_is_before_the_damage() {
    let crashed = crashed().await;
    let commits = crashed.commits();
    let mut wal = crashed.wal.clone();
    wal[32 + (commits[5] - 1) * FRAME + 100] ^= 1;
    let directory = crashed.with(&wal);
    let mut salvage = Store::<Tally>::salvage_model(directory.path()).unwrap();
    let (sessions, stopped_by) = salvage.sessions();
    assert!(stopped_by.is_none() && !sessions.is_empty());
    for session in sessions {
        let salvaged = salvage.session(session.as_str()).unwrap();
        let original = crashed.sessions.iter().find(|original| original.name == session.as_str()).unwrap();
        let events: Vec<_> = of_model(salvaged.events).map(|event| plain(&event)).collect();
        assert!(!events.is_empty() && events.len() < original.events.len());
        assert!(original.events.starts_with(&events));
    }
    drop(salvage);
    assert_eq!(std::fs::read(directory.path().join("events.db-wal")).unwrap(), wal);
}
