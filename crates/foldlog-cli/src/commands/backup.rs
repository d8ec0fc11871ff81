//! `foldlog backup TO` and `foldlog restore BACKUP TO`: a second copy of everything, and a new store of one.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use clap::{Args, ValueHint};
use foldlog::agent::Agent;
use foldlog::{Backup as Copied, BackupOptions, Store};
use serde::Serialize;

use crate::commands::ls::events_of_all;
use crate::directory::Directory;
use crate::failure::{Exit, Failure};
use crate::terminal::{Output, Progress, bytes, counted, escaped};

#[derive(Debug, Args)]
#[command(
    after_help = "Called again with the same directory, it copies what is new, and takes out of the copy what was deleted \
or redacted. `foldlog restore` makes a store of it."
)]
pub(crate) struct Backup {
    /// The directory of the backup: empty, not there yet, or the backup of this store
    #[arg(value_hint = ValueHint::DirPath)]
    to: PathBuf,
    /// Read the whole copy in the end, and not only what is new
    #[arg(long)]
    verify: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The backup, or the directory of any store: it is only read
    #[arg(value_hint = ValueHint::DirPath)]
    backup: PathBuf,
    /// The new directory: empty, or not there yet
    #[arg(value_hint = ValueHint::DirPath)]
    to: PathBuf,
}

/// A copy in JSON.
#[derive(Serialize)]
struct InJson {
    v: u8,
    sessions: u64,
    sessions_removed: u64,
    events: u64,
    record_bytes: u64,
    blobs: u64,
    blob_bytes: u64,
}

impl Backup {
    pub(crate) fn run(&self, directory: &Directory, output: &mut Output<'_>) -> Result<Exit, Failure> {
        let store = directory.agent("backup", "its host can call Store::<Model>::backup")?;
        let options = with_progress(directory);
        let options = if self.verify { options.verify_everything() } else { options };
        let copied = directory.read(store.backup_with(&self.to, options))?;
        tell(&copied, "verified and in its place", &self.to, output)
    }
}

impl Restore {
    /// The directory is the backup, opened to be read.
    pub(crate) fn run(&self, directory: &Directory, output: &mut Output<'_>) -> Result<Exit, Failure> {
        directory.agent("restore", "its host can call Store::<Model>::restore_model")?;
        let options = with_progress(directory);
        let restored = Store::<Agent>::restore_model_with(&self.backup, &self.to, options);
        let restored = directory.read(restored)?;
        tell(&restored, "verified, and a store of its own", &self.to, output)
    }

    pub(crate) fn backup(&self) -> &Path {
        &self.backup
    }
}

/// A bar of the events. Of a backup that is made again, only what is new is counted.
fn with_progress(directory: &Directory) -> BackupOptions {
    let directory = directory.clone();
    let progress = Mutex::new(Progress::new("events", move || events_of_all(&directory)));
    BackupOptions::default().on_progress(move |copied| {
        if let Ok(mut progress) = progress.lock() {
            progress.set(copied.events);
        }
    })
}

fn tell(copied: &Copied, made: &str, to: &Path, output: &mut Output<'_>) -> Result<Exit, Failure> {
    let Copied { sessions, sessions_removed, copied, .. } = *copied;
    let (events, record_bytes, blobs, blob_bytes) =
        (copied.events, copied.record_bytes, copied.blobs, copied.blob_bytes);
    if output.is_json {
        output.json(&InJson { v: 1, sessions, sessions_removed, events, record_bytes, blobs, blob_bytes })?;
        return Ok(Exit::Done);
    }
    let (new, files) = (counted(events, "event"), counted(blobs, "blob"));
    output.line(format!("copied: {new} of {}, {files} of {}", bytes(record_bytes), bytes(blob_bytes)))?;
    if sessions_removed > 0 {
        output.line(format!("taken out, since they were deleted: {}", counted(sessions_removed, "session")))?;
    }
    output.line(format!("{made}: {}, {}", escaped(&to.display().to_string()), counted(sessions, "session")))?;
    Ok(Exit::Done)
}
