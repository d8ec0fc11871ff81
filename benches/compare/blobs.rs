//! Durable blobs: many at once through a store, beside one file after the other.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use foldlog::{Durability, Store};
use futures::future::join_all;

use crate::measure::{Sample, Timing};
use crate::{appends, common};

/// How many puts are in flight.
const AT_ONCE: u64 = 64;

/// Bytes that no other number has.
fn content(bytes: usize, number: u64) -> Vec<u8> {
    let mut content = vec![b'.'; bytes];
    content[..8].copy_from_slice(&number.to_le_bytes());
    content
}

pub(crate) async fn put(bytes: usize, timing: Timing) -> Sample {
    let directory = common::directory();
    let store = Store::open(appends::config(directory.path(), Durability::PowerLoss)).await.unwrap();
    let mut number = 0;
    let (mut started, mut counted, mut count) = (Instant::now(), false, 0);
    let begun = started;
    while !counted || started.elapsed() < timing.timed {
        if !counted && begun.elapsed() >= timing.warm_up {
            (started, counted) = (Instant::now(), true);
        }
        let puts = (number..number + AT_ONCE).map(|number| store.put_bytes(content(bytes, number)));
        for put in join_all(puts).await {
            put.unwrap();
        }
        number += AT_ONCE;
        if counted {
            count += AT_ONCE;
        }
    }
    // All of it is durable: closing would add nothing to it.
    let sample = Sample::rate(usize::try_from(count).unwrap(), started.elapsed());
    store.close().await.unwrap();
    sample
}

/// What a host would write by hand: a temporary file, synced, given its name, which is its digest, and the directory
/// synced.
pub(crate) fn write_one_by_one(bytes: usize, timing: Timing) -> Sample {
    let directory = common::directory();
    let mut number = 0;
    let begun = Instant::now();
    while begun.elapsed() < timing.warm_up {
        write(directory.path(), &content(bytes, number));
        number += 1;
    }
    let (started, mut count) = (Instant::now(), 0);
    while count == 0 || started.elapsed() < timing.timed {
        write(directory.path(), &content(bytes, number));
        number += 1;
        count += 1;
    }
    Sample::rate(count, started.elapsed())
}

fn write(directory: &Path, bytes: &[u8]) {
    let temporary = directory.join("temporary");
    let mut file = File::create_new(&temporary).unwrap();
    file.write_all(bytes).unwrap();
    file.sync_all().unwrap();
    fs::rename(&temporary, directory.join(blake3::hash(bytes).to_hex().as_str())).unwrap();
    File::open(directory).unwrap().sync_all().unwrap();
}
