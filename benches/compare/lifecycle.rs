//! What makes room and what copies: appends beside it, and backups themselves.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldlog::{Durability, Store, Sweep};
use futures::future::join_all;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::appends::{self, Load};
use crate::common;
use crate::measure::{Sample, Timing};

/// What the store does while sessions append. Each side has another session of so many events, which nobody appends to.
#[derive(Clone, Copy)]
pub(crate) enum Beside {
    Nothing {
        events: u64,
    },
    /// The other session is deleted, and is being erased.
    Delete {
        events: u64,
    },
    Backup {
        events: u64,
    },
    Sweep {
        blobs: usize,
    },
}

impl Beside {
    fn events(self) -> u64 {
        match self {
            Self::Nothing { events } | Self::Delete { events } | Self::Backup { events } => events,
            Self::Sweep { .. } => 0,
        }
    }
}

/// Writes blobs that no event names, without a sync: the sweep does not care.
fn plant(directory: &Path, blobs: usize) {
    for number in 0..blobs {
        let bytes = format!("nobody names blob {number}");
        let name = blake3::hash(bytes.as_bytes()).to_hex();
        let shard = directory.join("blobs").join(&name[..2]);
        fs::create_dir_all(&shard).unwrap();
        fs::write(shard.join(name.as_str()), bytes).unwrap();
    }
}

/// Appends events to one session, at the faster level: nothing of this is measured.
async fn prepare(directory: &Path, session: &str, events: u64) {
    let store = Store::open(appends::config(directory, Durability::ProcessCrash)).await.unwrap();
    let session = store.open_session(session).await.unwrap();
    for from in (0..events).step_by(4096) {
        let bodies = (from..events.min(from + 4096)).map(appends::message).collect();
        session.append_batch(bodies).unwrap().await.unwrap();
    }
    session.close().await.unwrap();
    store.close().await.unwrap();
}

/// As [`appends::append`] does, beside other work of the same store.
pub(crate) async fn append(load: Load, beside: Beside, timing: Timing) -> Sample {
    let (directory, copy) = (common::directory(), common::directory());
    if beside.events() > 0 {
        prepare(directory.path(), "large", beside.events()).await;
    }
    let store = Store::open(appends::config(directory.path(), load.durability)).await.unwrap();
    if let Beside::Sweep { blobs } = beside {
        plant(directory.path(), blobs);
    }
    let sessions = appends::open_sessions(&store, load.sessions).await;
    let window = timing.start();
    let work = actix::spawn({
        let (store, to) = (store.clone(), copy.path().join("copy"));
        async move {
            match beside {
                Beside::Nothing { .. } => {}
                // The erasing goes on by itself, as it does in a host.
                Beside::Delete { .. } => store.delete_session("large").await.unwrap(),
                Beside::Backup { .. } => drop(store.backup(to).await.unwrap()),
                Beside::Sweep { .. } => drop(store.sweep(Sweep::default().grace(Duration::ZERO)).await.unwrap()),
            }
        }
    });
    let callers = sessions.into_iter().map(|session| actix::spawn(appends::keep_appending(session, load, window)));
    let latencies = join_all(callers.collect::<Vec<_>>()).await.into_iter().flat_map(Result::unwrap).collect();
    let ended = matches!(beside, Beside::Backup { .. } | Beside::Sweep { .. }) && work.is_finished();
    let mut sample = window.stop(1, latencies).fact("ended before the appends", f64::from(u8::from(ended)));
    work.abort();
    let steps = store.stats().erasing_step_micros;
    if steps.count() > 0 {
        sample = sample.fact("step p99, ms", steps.quantile(0.99) as f64 / 1e3);
        sample = sample.fact("longest step, ms", steps.max() as f64 / 1e3).fact("steps", steps.count() as f64);
    }
    store.close().await.unwrap();
    sample
}

/// A store of one session, made when it is first asked for, which grows by a hundredth with each repeated backup.
pub(crate) struct Copied {
    events: u64,
    prepared: OnceCell<(TempDir, TempDir)>,
}

impl Copied {
    pub(crate) fn new(events: u64) -> Arc<Self> {
        Arc::new(Self { events, prepared: OnceCell::new() })
    }

    async fn directories(&self) -> (&Path, &Path) {
        let make = || async {
            let made = (common::directory(), common::directory());
            prepare(made.0.path(), "large", self.events).await;
            made
        };
        let (directory, copies) = self.prepared.get_or_init(make).await;
        (directory.path(), copies.path())
    }

    pub(crate) async fn first(&self) -> Sample {
        let (directory, copies) = self.directories().await;
        let to = copies.join("first");
        let _ = fs::remove_dir_all(&to);
        back_up(directory, &to).await
    }

    pub(crate) async fn repeated(&self) -> Sample {
        let (directory, copies) = self.directories().await;
        let to = copies.join("repeated");
        back_up(directory, &to).await;
        prepare(directory, "large", self.events / 100).await;
        back_up(directory, &to).await
    }
}

async fn back_up(directory: &Path, to: &Path) -> Sample {
    let store = Store::open(appends::config(directory, Durability::PowerLoss)).await.unwrap();
    let (started, written) = (Instant::now(), bytes_written());
    store.backup(to).await.unwrap();
    let sample = Sample::rate(1, started.elapsed());
    let sample = match (written, bytes_written()) {
        (Some(before), Some(after)) => sample.fact("MB written", (after - before) as f64 / 1e6),
        _ => sample,
    };
    store.close().await.unwrap();
    sample
}

/// What this process has written to files; `None` where the system does not tell.
fn bytes_written() -> Option<u64> {
    let io = fs::read_to_string("/proc/self/io").ok()?;
    io.lines().find_map(|line| line.strip_prefix("wchar: "))?.parse().ok()
}
