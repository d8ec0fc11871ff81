//! Appends while a sweep runs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use foldlog::{Store, Sweep};
use futures::future::join_all;

use crate::appends::{self, Load};
use crate::common;
use crate::measure::{Sample, Timing};

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

/// As [`appends::append`] does, while the same store sweeps so many blobs.
pub(crate) async fn append(load: Load, blobs: usize, timing: Timing) -> Sample {
    let directory = common::directory();
    let store = Store::open(appends::config(directory.path(), load.durability)).await.unwrap();
    plant(directory.path(), blobs);
    let sessions = appends::open_sessions(&store, load.sessions).await;
    let window = timing.start();
    let sweep = actix::spawn({
        let store = store.clone();
        async move { store.sweep(Sweep::default().grace(Duration::ZERO)).await.unwrap() }
    });
    let callers = sessions.into_iter().map(|session| actix::spawn(appends::keep_appending(session, load, window)));
    let latencies = join_all(callers.collect::<Vec<_>>()).await.into_iter().flat_map(Result::unwrap).collect();
    let is_swept = sweep.is_finished();
    let sample = window.stop(1, latencies).fact("sweep ended before", f64::from(u8::from(is_swept)));
    sweep.abort();
    store.close().await.unwrap();
    sample
}
