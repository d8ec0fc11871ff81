//! A year of a store in a minute: plays recorded agent runs, titles and labels them, plants a key and redacts it,
//! deletes, retains, sweeps, backs up and restores, and tells what the disk holds after each step.
//!
//! ```text
//! housekeeping [--dir DIR] FILE...
//! ```
//!
//! The files are those of `replay_transcript`. Without `--dir` everything is in a temporary directory, which is
//! removed. Exits with 1 if the planted key is found in any byte of a directory, or if anything else is not as it
//! should be.

#[path = "replay_transcript/entry.rs"]
#[allow(dead_code, reason = "replay_transcript compares, too")]
mod entry;
#[path = "replay_transcript/replay.rs"]
#[allow(dead_code, reason = "replay_transcript compares, too")]
mod replay;
#[path = "replay_transcript/run.rs"]
mod run;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use foldlog::agent::{Agent, AgentBody, Message, Part};
use foldlog::{Append, AppendKey, Content, Describe, Erasure, EventId, Redact, RetainMode, Retention};
use foldlog::{Session, Store, StoreConfig, Sweep};

type Failed = Box<dyn std::error::Error>;

const KEY: &str = "sk-live-51Hc9vJ2eZqT0housekeeping";

#[actix::main]
async fn main() -> ExitCode {
    env_logger::init();
    match run(std::env::args().skip(1)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("housekeeping: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(mut words: impl Iterator<Item = String>) -> Result<(), Failed> {
    let (mut dir, mut files) = (None, Vec::new());
    while let Some(word) = words.next() {
        match word.as_str() {
            "--dir" => dir = Some(PathBuf::from(words.next().ok_or("--dir wants a value")?)),
            _ => files.push(PathBuf::from(word)),
        }
    }
    let temporary = tempfile::tempdir()?;
    let dir = dir.unwrap_or_else(|| temporary.path().to_owned());
    let [live, backup, restored] = ["live", "backup", "restored"].map(|name| dir.join(name));
    let mut config = StoreConfig::directory(&live);
    config.inline_bytes_max = 1024;
    let store = Store::open(config).await?;

    for file in &files {
        let transcript = replay::Transcript::read(file)?;
        replay::replay(&store, &transcript.name, &transcript, || ()).await?;
        let session = store.resume_session(&transcript.name).await?;
        let title = format!("The run {}", transcript.name);
        session.describe(Describe::new().title(title).label("kind", "recorded"))?.await?;
        session.close().await?;
    }
    for number in 1..=9 {
        let session = store.open_session(format!("small-{number}")).await?;
        let long = store.intern_text(format!("a text of session {number}, {}", "long ".repeat(400))).await?;
        session.append(AgentBody::MessageAppended(Message::user(long)))?.await?;
        session.close().await?;
    }
    tell("played and described", &store, &live).await?;

    let session = store.open_session("with-a-key").await?;
    let events = plant(&store, &session).await?;
    expect(holds(&live, KEY)?, "the key is in the directory before it is redacted")?;
    let redacted = session.redact(Redact::new(events).reason("a key that was pasted")).await?;
    if let Erasure::Pending(pending) = redacted.erasure {
        println!("  {} blobs are left for a sweep", pending.blobs.len());
    }
    println!("  {}", store.sweep(Sweep::default().grace(Duration::ZERO)).await?);
    tell("planted a key, redacted it and swept", &store, &live).await?;
    expect(!holds(&live, KEY)?, "the key is in no byte of the directory")?;
    session.close().await?;

    store.delete_session("small-1").await?;
    expect(store.erase_deleted().await?.is_complete(), "nothing of the deleted session is left")?;
    tell("deleted a session", &store, &live).await?;

    let newest = Retention::new().sessions_max(files.len() + 4);
    let (would, done) =
        (store.retain(&newest, RetainMode::DryRun).await?, store.retain(&newest, RetainMode::Apply).await?);
    for (session, planned) in done.sessions.iter().zip(&would.sessions) {
        println!("  {}: {}", session.id, session.verdict);
        expect(session.id == planned.id, "a dry run tells what is done")?;
    }
    expect(store.erase_deleted().await?.is_complete(), "nothing of the deleted sessions is left")?;
    println!("  {}", store.sweep(Sweep::default().grace(Duration::ZERO)).await?);
    tell("kept the newest and swept", &store, &live).await?;

    for round in ["first", "second"] {
        let made = store.backup(&backup).await?;
        println!("  {round} backup: {} sessions, {} new events", made.sessions, made.copied.events);
    }
    Store::restore(&backup, &restored).await?;
    let copy = Store::open(StoreConfig::directory(&restored)).await?;
    for listed in store.list_sessions(None, 1000).await? {
        let (here, there) = (store.resume_session(&listed.id).await?, copy.resume_session(&listed.id).await?);
        expect(here.view()? == there.view()?, "a restored session is the session")?;
    }
    tell("restored a backup", &copy, &restored).await?;
    copy.close().await?;
    store.close().await?;
    for directory in [&live, &backup, &restored] {
        expect(!holds(directory, KEY)?, "the key is in no byte of a directory")?;
    }
    Ok(())
}

/// Puts the key wherever a secret may come to be: into messages, arguments, a blob, a title and an append key.
async fn plant(store: &Store, session: &Session) -> Result<Vec<EventId>, Failed> {
    let before = session.view()?.head();
    let pasted = AgentBody::MessageAppended(Message::user(format!("my key is {KEY}")));
    session.append_with(Append::<Agent>::new(pasted).key(AppendKey::new(KEY)?))?.await?;
    let call = Part::tool_call("call_1", "bash", format!(r#"{{"cmd":"export KEY={KEY}"}}"#));
    session.append(AgentBody::MessageAppended(Message::answer([call])))?.await?;
    let large = Content::Blob(store.put_text(format!("{KEY}{}", " and more".repeat(500))).await?);
    session.append(AgentBody::MessageAppended(Message::user(large)))?.await?;
    session.describe(Describe::new().title(format!("About {KEY}")))?.await?;
    let head = session.view()?.head();
    Ok((before.get() + 1..=head.get()).map(EventId::new).collect())
}

fn expect(holds: bool, what: &str) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(format!("this does not hold: {what}").into()) }
}

async fn tell(step: &str, store: &Store, directory: &Path) -> Result<(), Failed> {
    let found = store.verify().await?;
    expect(found.is_sound(), "the store is sound")?;
    let (mut files, mut bytes) = (0, 0);
    for file in all_files(directory)? {
        (files, bytes) = (files + 1, bytes + file.metadata()?.len());
    }
    println!("{step}: {} sessions, {} events, {bytes} bytes in {files} files", found.sessions, found.events);
    Ok(())
}

fn holds(directory: &Path, text: &str) -> Result<bool, Failed> {
    for file in all_files(directory)? {
        let bytes = std::fs::read(file)?;
        if bytes.windows(text.len()).any(|found| found == text.as_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn all_files(directory: &Path) -> Result<Vec<PathBuf>, Failed> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() { files.extend(all_files(&path)?) } else { files.push(path) }
    }
    Ok(files)
}
