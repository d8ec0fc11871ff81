//! Plays recorded agent runs through a store, opens the store again, and checks that nothing was lost or changed.
//!
//! ```text
//! replay_transcript [--dir DIR] [--memory] [--inline-bytes-max N] FILE...
//! ```
//!
//! One session a file, all files at once, several appends of each in flight. A file is a JSON object with a `history`
//! of chat messages, with tool calls or with thought and action, as SWE-agent records them. Without `--dir` the store
//! is in a temporary directory, which is removed; a session that is in `--dir` already stays as it is, and the new one
//! gets a number. Exits with 1 when anything differs.

mod entry;
mod replay;
mod run;

use std::collections::HashSet;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use foldlog::{Medium, MemoryDisk, Store, StoreConfig};
use futures::future::join_all;
use indicatif::{ProgressBar, ProgressStyle};

use replay::{Blobs, Replayed, Transcript, blobs, check, replay};

const USAGE: &str = "usage: replay_transcript [--dir DIR] [--memory] [--inline-bytes-max N] FILE...";

type Failed = Box<dyn std::error::Error>;

#[derive(Default)]
struct Arguments {
    dir: Option<PathBuf>,
    memory: bool,
    inline_bytes_max: Option<usize>,
    files: Vec<PathBuf>,
}

impl Arguments {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, Failed> {
        let mut arguments = Self::default();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} wants a value; {USAGE}"));
            match word.as_str() {
                "--dir" => arguments.dir = Some(value()?.into()),
                "--memory" => arguments.memory = true,
                "--inline-bytes-max" => arguments.inline_bytes_max = Some(value()?.parse()?),
                _ if word.starts_with("--") => return Err(format!("unknown argument {word}; {USAGE}").into()),
                _ => arguments.files.push(word.into()),
            }
        }
        if arguments.files.is_empty() {
            return Err(USAGE.into());
        }
        if arguments.memory && arguments.dir.is_some() {
            return Err(format!("--memory and --dir exclude one another; {USAGE}").into());
        }
        Ok(arguments)
    }
}

#[actix::main]
async fn main() -> ExitCode {
    env_logger::init();
    let ran = async {
        let arguments = Arguments::read(std::env::args().skip(1))?;
        run_all(arguments).await
    };
    match ran.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("replay_transcript: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run_all(arguments: Arguments) -> Result<(), Failed> {
    let transcripts = arguments.files.iter().map(|path| Transcript::read(path)).collect::<Result<Vec<_>, _>>()?;
    // Removed when it is dropped, at the end of this function.
    let mut temporary = None;
    let medium = if arguments.memory {
        Medium::memory(MemoryDisk::default())
    } else if let Some(dir) = arguments.dir {
        Medium::directory(dir)
    } else {
        let dir = temporary.insert(tempfile::tempdir()?);
        Medium::directory(dir.path().join("store"))
    };
    let mut config = StoreConfig::on(medium);
    config.inline_bytes_max = arguments.inline_bytes_max.unwrap_or(config.inline_bytes_max);

    let store = Store::open(config.clone()).await?;
    let ids = fresh_ids(&store, &transcripts).await?;
    let entries = transcripts.iter().map(|transcript| transcript.history().len() as u64 + 2).sum();
    let progress = progress(entries);
    let begun = Instant::now();
    let plays = transcripts.iter().zip(&ids).map(|(transcript, id)| replay(&store, id, transcript, || progress.inc(1)));
    let played = join_all(plays).await;
    let elapsed = begun.elapsed();
    progress.finish_and_clear();
    store.close().await?;
    let played = played.into_iter().collect::<Result<Vec<_>, _>>()?;

    let store = Store::open(config).await?;
    let told = tell(&store, &transcripts, &ids, &played, elapsed).await;
    store.close().await?;
    told
}

/// The names of the files, with a number where there is a session of that name already.
async fn fresh_ids(store: &Store, transcripts: &[Transcript]) -> Result<Vec<String>, Failed> {
    let mut taken = HashSet::new();
    let mut after = None;
    loop {
        let page = store.list_sessions(after, 1024).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        taken.extend(page.into_iter().map(|session| session.id.to_string()));
    }
    let mut fresh = |name: &str| {
        let mut id = name.to_owned();
        let mut number = 2;
        while !taken.insert(id.clone()) {
            id = format!("{name}-{number}");
            number += 1;
        }
        id
    };
    Ok(transcripts.iter().map(|transcript| fresh(&transcript.name)).collect())
}

fn progress(entries: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(entries);
    match ProgressStyle::with_template("{elapsed_precise} {bar:40} {pos}/{len} appends durable, {per_sec}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Checks every session and prints what it holds. An error names what differs.
async fn tell(
    store: &Store,
    transcripts: &[Transcript],
    ids: &[String],
    played: &[Replayed],
    elapsed: Duration,
) -> Result<(), Failed> {
    let mut out = std::io::stdout().lock();
    let mut differences = Vec::new();
    let (mut events, mut appends, mut bytes, mut all) = (0, 0, 0, Blobs::default());
    let (mut entries, mut inline, mut inline_bytes) = (0, 0, 0);
    for ((transcript, id), one) in transcripts.iter().zip(ids).zip(played) {
        differences.extend(check(store, id, &one.view, transcript.history()).await?);
        let blobs = blobs(store, id).await?;
        let head = one.view.head().get();
        let line = line(head, transcript.bytes, &blobs, one.inline, one.inline_bytes, one.appends, one.elapsed);
        writeln!(out, "{id}: {line}")?;
        events += head;
        appends += one.appends;
        bytes += transcript.bytes;
        entries += transcript.history().len();
        inline += one.inline;
        inline_bytes += one.inline_bytes;
        all.join(blobs);
    }
    writeln!(out, "total: {}", line(events, bytes, &all, inline, inline_bytes, appends, elapsed))?;
    differences.extend(store.verify().await?.problems.iter().map(ToString::to_string));
    if differences.is_empty() {
        writeln!(out, "ok: {} views and {entries} history entries came back equal", ids.len())?;
        return Ok(());
    }
    Err(format!("the store differs from what was played:\n{}", differences.join("\n")).into())
}

fn line(
    events: u64,
    bytes: u64,
    blobs: &Blobs,
    inline: u64,
    inline_bytes: u64,
    appends: u64,
    elapsed: Duration,
) -> String {
    format!(
        "{events} events, {bytes} bytes ({inline} contents inline with {inline_bytes} bytes), {} blobs with {} bytes, \
         {} bytes deduplicated, {appends} appends, {:.0} appends per second",
        blobs.stored(),
        blobs.stored_bytes(),
        blobs.deduplicated_bytes(),
        appends as f64 / elapsed.as_secs_f64().max(1e-9),
    )
}
